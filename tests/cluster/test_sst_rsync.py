# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfer by rsync: our program against itself and against the stock script, both ways, plain and in TLS."""
import contextlib
import os
import signal
import socket

import sst
from common import OURS, running, wait_until


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="rsync", user="mysql") as lab:
        lab[1].extra_options = "pc.weight=3"    # it stays primary when node 2 is killed
        sst.make_certificate(lab, "node", "node.example")
        use(lab, True, True, tls(lab))
        set_server(lab)
        lab[1].start(bootstrap=True).wait_synced()
        sst.fill(lab[1])
        yield lab


def tls(lab, more=""):
    """A certificate whose name can go with a request, and with it the secret of the join."""
    return "encrypt=4\ntca={c}/ca.pem\ntcert={c}/node-cert.pem\ntkey={c}/node-key.pem\n{more}".format(c=lab.certs, more=more)


# The stock script takes TLS of the server's own files for granted, unless it is told otherwise.
PLAIN = "encrypt=0\nssl-mode=DISABLED\n"


def set_server(lab, more=""):
    for node in lab.nodes:
        node.extra_config = "innodb_log_file_size=16M\n" + more


def use(lab, is_donor_ours, is_joiner_ours, config):
    for node, is_ours in ((lab[1], is_donor_ours), (lab[2], is_joiner_ours)):
        node.sst_config = config
        sst.use_program(node, is_ours, "rsync")


def transfer(lab, is_donor_ours, is_joiner_ours, config):
    """Node 1 goes on under its old program unless that must change; node 2 is filled anew."""
    lab[2].stop()
    must_restart = bool(lab[1].launcher) != is_donor_ours
    use(lab, is_donor_ours, is_joiner_ours, config)
    if must_restart:
        lab[1].stop()
        lab[1].start(bootstrap=True).wait_synced()
    else:
        lab[1].write_config()   # the program reads the files when it runs
    with sst.Wire(lab[2].sst_port, b"canary-") as wire:
        sst.rejoin(lab, lab[2])
    assert wire.packets > 100 and (wire.found > 0) == (config == PLAIN), (wire.packets, wire.found)
    for node, is_ours in ((lab[1], is_donor_ours), (lab[2], is_joiner_ours)):
        assert ("WSREP_SST: [INFO] %s" % ("sent to" if node is lab[1] else "received")) in node.log() or not is_ours, node.log_path


def come_back_by_ist(lab, number):
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (%d, 'while the node was away')" % number)
    lab[2].start().wait_synced()
    lab.checksums("sst")
    assert "the donor sends only the IST" in lab[2].log()


def test_tls_ours_to_ours(lab):
    transfer(lab, True, True, tls(lab))
    assert "donor 127.0.0.1:" in lab[2].log() and ", TLSv1.3 TLS_AES_256_GCM_SHA384, certificate CN=node.example" in lab[2].log()


def test_ist_leaves_the_data_alone(lab):
    come_back_by_ist(lab, 1000001)


def test_plain_ours_to_ours(lab):
    transfer(lab, True, True, PLAIN)
    assert "NOT ENCRYPTED" in lab[2].log() and "NOT ENCRYPTED" in lab[1].log()


def test_plain_ours_to_stock(lab):
    transfer(lab, True, False, PLAIN)


def test_plain_stock_to_ours(lab):
    transfer(lab, False, True, PLAIN)


def test_ist_stock_to_ours(lab):
    come_back_by_ist(lab, 1000002)


def tls_with_stock(lab, *cases):
    """The stock script speaks TLS by stunnel, which it takes from the PATH. For VERIFY_IDENTITY that wants the peer's very certificate."""
    with open(lab.certs + "/bundle.pem", "w") as f:
        f.write(open(lab.certs + "/ca.pem").read() + open(lab.certs + "/node-cert.pem").read())
    files = "ssl-ca={c}/bundle.pem\nssl-cert={c}/node-cert.pem\nssl-key={c}/node-key.pem\n".format(c=lab.certs)
    set_server(lab, files)    # the server's own section goes before [sst]
    for is_donor_ours, is_joiner_ours, mode in cases:
        transfer(lab, is_donor_ours, is_joiner_ours, "ssl-mode=%s\n%s" % (mode, files))
        if is_joiner_ours:
            come_back_by_ist(lab, 1000003)
    set_server(lab)


def test_tls_with_stock(lab):
    """(The other two combinations: tests/full/test_sst_rsync_stock.py.)"""
    tls_with_stock(lab, (False, True, "VERIFY_CA"), (True, False, "VERIFY_IDENTITY"))


def begin_join(lab, config):
    """Node 2 starts anew, slowly, by our programs; returns when data flows."""
    lab[2].stop()
    use(lab, True, True, config + "rlimit=8m\n")
    lab[1].write_config()
    sst.wipe(lab[2])
    lab[2].start()
    wait_until("data to flow", lambda: "[INFO] received" in lab[2].log(), 60)
    assert os.path.exists(lab[2].data + "/sst_in_progress")   # by which supervisors know that the server must not be killed


def finish_join(lab):
    lab[2].wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    sst.no_leftovers(*lab.nodes)


def test_strangers_change_nothing(lab):
    """Port scans and health checks while rsync works, in TLS and without."""
    for config in (tls(lab), PLAIN):
        begin_join(lab, config)
        for words in (b"", b"GET / HTTP/1.0\r\n\r\n", b"XBSTCK01", b"\x16\x03\x01", os.urandom(3000)):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", lab[2].sst_port), 5) as s:
                s.sendall(words)
        silent = socket.create_connection(("127.0.0.1", lab[2].sst_port), 5)
        finish_join(lab)
        silent.close()


def refused(lab, donor_config, joiner_config):
    """Node 2, whose data is whole, asks for a snapshot that must fail -> what both said; the data is as it was."""
    if not os.path.exists(os.path.join(lab[2].data, "sst")):
        transfer(lab, True, True, tls(lab))
    lab[2].stop()
    use(lab, True, True, tls(lab))
    sst.forget_position(lab[2])
    before = sst.files_of(lab[2])
    for node, config in ((lab[1], donor_config), (lab[2], joiner_config)):
        node.sst_config = config
        node.write_config()
    sizes = [len(n.log()) for n in lab.nodes]
    lab[2].start()
    # A server whose program failed before `ready` says that it aborts, but may then not end: not what is tested here.
    wait_until("the joiner's server to give up", lambda: not lab[2].is_running() or "[ERROR] Aborting" in lab[2].log()[sizes[1]:], 60)
    lab[2].kill()
    wait_until("the donor to be synced", lambda: lab[1].try_status("wsrep_local_state_comment") == "Synced", 60)
    wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
    assert sst.files_of(lab[2]) == before
    return [n.log()[size:] for n, size in zip(lab.nodes, sizes)]


def test_mode_mismatch_is_named_on_both_sides(lab):
    for donor, joiner in ((PLAIN, tls(lab)), (tls(lab), PLAIN)):
        donor_log, joiner_log = refused(lab, donor, joiner)
        assert "set [sst] encrypt alike on both nodes" in donor_log, donor_log
        assert "set [sst] encrypt alike on both nodes" in joiner_log, joiner_log


def test_certificates_are_checked(lab):
    """A certificate of another CA, an expired one, and a key that belongs to another, on either side."""
    sst.make_certificate(lab, "foreign", "stranger", ca=None)
    sst.make_certificate(lab, "expired", "expired", days=-1)
    text = "encrypt=4\ntca={c}/%s.pem\ntcert={c}/%s-cert.pem\ntkey={c}/%s-key.pem\n".replace("{c}", lab.certs)
    for config, words in ((text % ("foreign-cert", "foreign", "foreign"), "is refused"), (text % ("ca", "expired", "expired"), "has expired; renew it"),
                          (text % ("ca", "server", "client"), "do not belong together")):
        donor_log, joiner_log = refused(lab, config, tls(lab))
        assert words in donor_log, (words, donor_log)
        donor_log, joiner_log = refused(lab, tls(lab), config)
        assert words in donor_log + joiner_log, (words, joiner_log)
    # A certificate of the CA that is made out to nobody here: good enough unless the identity is asked for.
    sst.make_certificate(lab, "unnamed", "some body")
    config = text % ("ca", "unnamed", "unnamed")
    donor_log, _ = refused(lab, config + "ssl-mode=VERIFY_IDENTITY\n", config)
    assert "is not made out to '127.0.0.1'" in donor_log, donor_log
    transfer(lab, True, True, config)


def test_killed_programs(lab):
    """Either program killed: the donor is synced again, the joiner starts again without help, nothing is left over."""
    for victim in (lab[1], lab[2]):
        begin_join(lab, tls(lab))
        os.kill(sst.pids_of("wsrep_sst_rsync", victim.data + "/")[0], signal.SIGKILL)
        wait_until("the joiner's server to end", lambda: not lab[2].is_running(), 100)
        wait_until("the donor to be synced", lambda: lab[1].try_status("wsrep_local_state_comment") == "Synced", 60)
        wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
        lab[1].sql("CREATE OR REPLACE TABLE sst.is_not_locked (a INT)")
        use(lab, True, True, tls(lab))
        lab[1].write_config()
        lab[2].start()
        finish_join(lab)


def test_killed_server_of_the_joiner(lab):
    begin_join(lab, tls(lab))
    lab[2].process.kill()
    lab[2].process.wait()
    wait_until("the joiner's program to end with its server", lambda: not sst.helpers([lab[2]]), 5)
    wait_until("the donor to be synced", lambda: lab[1].try_status("wsrep_local_state_comment") == "Synced", 60)
    use(lab, True, True, tls(lab))
    lab[1].write_config()
    lab[2].start()
    finish_join(lab)
