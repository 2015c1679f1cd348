# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and status variables of our provider are those of the stock one: names, values after a start, what can be set."""
import contextlib
import re

from common import OURS, STOCK, errno_of, running, wait_until

# What only we have. Our options have no value unless they are given, so that a saved string fits the stock provider.
OUR_STATUS = {"wsrep_peers", "wsrep_peers_lag", "wsrep_peers_dropped", "wsrep_peers_foreign",
              "wsrep_peers_refused", "wsrep_peers_violations", "wsrep_ssl_version", "wsrep_ssl_cipher",
              "wsrep_ssl_cert_days_left", "wsrep_ssl_plaintext"}

# Status of a fresh server that rightly differs: who it is and who made it; what time and chance decide.
OWN_STATUS = {"wsrep_" + name for name in (
    "local_state_uuid cluster_state_uuid gcomm_uuid checkpoint_position se_checkpoint provider_name provider_vendor provider_version "
    "evs_repl_latency local_send_queue_max local_send_queue_avg local_recv_queue_max local_recv_queue_avg flow_control_paused_ns "
    "flow_control_paused").split()}

# Without a value after a start, so not shown.
UNSHOWN = ("cert.max_length cert.length_check evs.evict gcs.stateless gcs.vote_policy gmcast.group gmcast.isolate gmcast.mcast_port gmcast.mira "
           "gmcast.peer_addr ist.keep_keys ist.recv_bind pc.bootstrap socket.dynamic socket.non_blocking socket.ssl_compression "
           "socket.ssl_password_file socket.ssl_reload").split()
UNKNOWN = ("pc.allow_sb pc.wait_restored_prim_timeout gcache.freeze_purge_at_seqno gcache.keep_pages_count evs.consensus_timeout "
           "gcs.fc_auto_evict_window repl.nosuch PC.WEIGHT nosuch").split()

VALUES = ("", "0", "1", "-1", "+1", "2", "8", "1K", "0x10", "1.5", "0.5", "x", "yes", "NO", "t", "PT1S", "PT10S", "10", "P1D", "pt1s", "FLAT16", "flat8a")
# These end the group connection, or its being primary, of the only member.
DANGEROUS = {("gmcast.isolate", "1"), ("gmcast.isolate", "+1"), ("gmcast.isolate", "2"), ("pc.weight", "0")}

# Where the stock provider takes what means nothing, or what it would refuse at a start, we do not: all of VALUES that we accept.
STRICTER = {name: set(values.split(",")) for name, values in {
    "base_port": "0,1,+1,2,8,10",                           # it takes any text
    "evs.auto_evict": "0,1,+1,2,8,10",                      # -1 becomes 2^32 - 1
    "evs.inactive_timeout": "8,10,PT10S,P1D",               # below evs.install_timeout
    "gcache.keep_pages_size": "0,1,+1,2,8,10,1K,0x10",      # negative, or a suffix without a number
    "gcache.mem_size": "0,1,+1,2,8,10,1K,0x10",
    "gcache.page_size": "0,1,+1,2,8,10,1K,0x10",
    "gcs.fc_factor": "0,1,+1,0.5",                          # an empty number
    "gcs.max_throttle": "0,0.5",
    "gcs.recv_q_soft_limit": "0,0.5",
    "gcs.sync_donor": "0,1,yes,NO",                         # an empty boolean
    "gmcast.mira": "0,1,+1,2,8,10",                         # negative
    "pc.bootstrap": ",0,1,yes,NO",                          # any text sets it off
    "repl.max_ws_size": "0,1,+1,2,8,10",                    # negative
    "repl.proto_max": "10",                                 # any text; the next start hangs
    "socket.recv_buf_size": "0,1,+1,2,8,10,1K,0x10",        # a suffix without a number
    "socket.ssl_reload": "0,1,yes,NO",                      # any text sets it off
}.items()}
# A number, as at a start; for the stock provider a boolean once it runs.
OTHER = {"gcs.fc_debug": set("0,1,+1,2,8,10,1K,0x10".split(","))}


@contextlib.contextmanager
def cluster():
    """Two clusters of one server each: node 1 stock, node 2 ours."""
    with running([STOCK, OURS], start=False) as lab:
        for n in lab.nodes:
            n.start(bootstrap=True).wait_synced()
        yield lab


def shown(node):
    """-> {name: value}, the node's own directory and port made equal"""
    text = node.value("SELECT @@GLOBAL.wsrep_provider_options")
    text = text.replace(node.dir, "DIR").replace(str(node.group_port), "PORT").replace(str(node.ist_port), "IST_PORT")
    return dict(pair.split(" = ", 1) for pair in text.split("; ") if pair)


def status(node):
    return {name.lower(): value for name, value in node.sql("SHOW GLOBAL STATUS LIKE 'wsrep%'")}


def differences(a, b):
    return {k: (a.get(k), b.get(k)) for k in sorted(set(a) | set(b)) if a.get(k) != b.get(k)}


def test_options_shown(lab):
    stock, ours = shown(lab[1]), shown(lab[2])
    assert len(stock) > 70, stock
    assert list(stock) == sorted(stock)
    assert list(ours) == sorted(ours)
    assert not differences(stock, ours), differences(stock, ours)


def kind(value):
    return "number" if re.fullmatch(r"-?\d+(\.\d+)?", value) else "text"


def test_status(lab):
    wait_until("nothing left to apply", lambda: all(n.status("wsrep_local_recv_queue") == "0" for n in lab.nodes))
    stock, ours = status(lab[1]), status(lab[2])
    assert set(ours) - set(stock) == OUR_STATUS, set(ours) - set(stock)
    assert not set(stock) - set(ours), set(stock) - set(ours)
    assert {k: kind(v) for k, v in stock.items()} == {k: kind(ours[k]) for k in stock}
    for which in (stock, ours):
        which["wsrep_incoming_addresses"] = re.sub(r":\d+", ":PORT", which["wsrep_incoming_addresses"])
    other = {k: v for k, v in differences(stock, {k: ours[k] for k in stock}).items() if k not in OWN_STATUS}
    assert not other, other


def test_more_status(lab):
    """What the group layer counts, shown when it is asked for: the same names in the same order, the same form."""
    def names(node):
        return [name for name, value in node.sql("SHOW GLOBAL STATUS LIKE 'wsrep_evs%'")]

    before = names(lab[2])
    for n in lab.nodes:
        n.sql("SET GLOBAL wsrep_provider_options='evs.info_log_mask=0x4'", "CREATE DATABASE more_status")
    stock, ours = status(lab[1]), status(lab[2])
    assert names(lab[1]) == names(lab[2]), (names(lab[1]), names(lab[2]))
    assert len(names(lab[2])) == len(before) + 12, names(lab[2])
    for name in names(lab[1]):
        assert kind(stock[name]) == kind(ours[name]), (name, stock[name], ours[name])
    for name in ("wsrep_evs_safe_hs", "wsrep_evs_causal_hs"):
        bounds = [[pair.split(":")[0] for pair in which[name].split(",")] for which in (stock, ours)]
        assert bounds[0] == bounds[1], bounds
        parts = [float(pair.split(":")[1]) for pair in ours[name].split(",")]
        assert abs(sum(parts) - 1) < 1e-4 or not any(p == p for p in parts), ours[name]
    for n in lab.nodes:
        n.sql("SET GLOBAL wsrep_provider_options='evs.info_log_mask=0'")
    assert names(lab[2]) == before


def accepted(node, connection, name, value, old):
    """Sets the option, then back to its old text if it has one."""
    code = errno_of(connection, "SET GLOBAL wsrep_provider_options='%s=%s'" % (name, value))
    assert code in (0, 1210), (node.name, name, value, code)
    if old is not None:
        back = errno_of(connection, "SET GLOBAL wsrep_provider_options='%s=%s'" % (name, old))
        assert back == 0, (node.name, name, value, old)
    return code == 0


def outcomes(node):
    """-> {(name, value): accepted?}"""
    text = node.value("SELECT @@GLOBAL.wsrep_provider_options")
    old = dict(pair.split(" = ", 1) for pair in text.split("; ") if pair)
    found = {}
    connection = node.connect()
    try:
        for name in sorted(old) + UNSHOWN + UNKNOWN:
            # evs.version and others change the membership, and until that is done the stock provider refuses pc.weight
            wait_until("%s stable" % node.name, lambda: node.status("wsrep_evs_state") == "OPERATIONAL")
            for value in VALUES:
                if (name, value) not in DANGEROUS:
                    found[name, value] = accepted(node, connection, name, value, old.get(name))
    finally:
        connection.close()
    assert errno_of(node.connect(), "SET GLOBAL wsrep_provider_options='%s'" % text) == 0   # a saved string can be restored
    return found


def test_settings_at_run_time(lab):
    stock, ours = outcomes(lab[1]), outcomes(lab[2])
    assert 100 < sum(stock.values()) < len(stock) / 2
    for name, values in {**STRICTER, **OTHER}.items():
        assert {v for n, v in ours if n == name and ours[n, v]} == values, (name, {v for n, v in ours if n == name and ours[n, v]})
        assert name in OTHER or all(stock[name, v] for v in values), name
        assert any(stock[k] != ours[k] for k in ours if k[0] == name), "%s does not differ any more" % name
    other = {k: v for k, v in differences(stock, ours).items() if k[0] not in STRICTER and k[0] not in OTHER}
    assert not other, other


def test_our_options(lab):
    """Unknown to the stock provider, not shown until they are given."""
    setting = "SET GLOBAL wsrep_provider_options='gcache.reader_limit=%s'"
    assert errno_of(lab[1].connect(), setting % "1G") == 1210
    assert errno_of(lab[2].connect(), setting % "x") == errno_of(lab[2].connect(), setting % "-1") == 1210
    assert "gcache.reader_limit" not in shown(lab[2])
    assert errno_of(lab[2].connect(), setting % "1024M") == 0
    assert shown(lab[2])["gcache.reader_limit"] == "1G"


def test_separators_in_values(lab):
    """What is shown can be restored, whatever is in a value; the stock provider refuses its own text then."""
    node = lab[2]
    before = node.value("SELECT @@GLOBAL.wsrep_provider_options")
    assert errno_of(node.connect(), r"SET GLOBAL wsrep_provider_options='base_host=x\\;y\\=z;pc.weight=2'") == 0
    changed = node.value("SELECT @@GLOBAL.wsrep_provider_options")
    assert r"base_host = x\;y\=z; " in changed and "pc.weight = 2; " in changed, changed
    for text in (before, changed, before):
        assert errno_of(node.connect(), "SET GLOBAL wsrep_provider_options='%s'" % text.replace("\\", r"\\")) == 0
        assert node.value("SELECT @@GLOBAL.wsrep_provider_options") == text
