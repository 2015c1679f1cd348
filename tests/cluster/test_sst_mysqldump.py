# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfer by mysqldump: our program on the donor, over TLS, with an account that may do nothing without it."""
import contextlib
import os
import signal

import sst
from common import OURS, STOCK, running, wait_until

ACCOUNT, PASSWORD = "sslsst", "pass\\#word 1"


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="mysqldump") as lab:
        lab[1].extra_options = "pc.weight=3"    # it stays primary when node 2 is killed
        lab.sst_auth = '"%s:%s"' % (ACCOUNT, PASSWORD.replace("\\", "\\\\"))
        for node in lab.nodes:
            sst.use_program(node, True, "mysqldump")
        lab[1].start(bootstrap=True).wait_synced()
        make_account(lab[1])
        sst.fill(lab[1], rows=20000)
        lab[1].sql("CREATE PROCEDURE sst.p() SELECT 1", "CREATE VIEW sst.v AS SELECT id FROM sst.t")
        yield lab


def make_account(node, *more):
    node.sql("DROP USER IF EXISTS ''@localhost",    # it would be taken before sslsst@%
             "CREATE OR REPLACE USER %s IDENTIFIED BY '%s' REQUIRE SSL" % (ACCOUNT, PASSWORD.replace("\\", "\\\\")),
             "GRANT ALL ON *.* TO %s WITH GRANT OPTION" % ACCOUNT, *more)


def prepare(node, *statements):
    """The manual's step: the joiner is started once without the provider, and gets the account."""
    node.start(arguments=["--wsrep-provider=none", "--wsrep-on=OFF"])
    wait_until("a server without provider", lambda: node.try_status("uptime"), 60)
    make_account(node, "CREATE DATABASE only_here", "CREATE TABLE only_here.t (a INT)", *statements)
    node.stop()


def fresh(lab, *statements):
    lab[2].stop()
    sst.wipe(lab[2])
    prepare(lab[2], *statements)


def finish(lab):
    lab[2].wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)


def test_fresh_node_joins(lab):
    fresh(lab)
    with sst.Wire(lab[2].port, b"canary-") as wire:
        lab[2].start()
        finish(lab)
    assert wire.packets > 100 and wire.found == 0, (wire.packets, wire.found)
    lab[2].sql("INSERT INTO sst.t VALUES (5000000, 'from the joiner')")
    lab.checksums("sst")
    assert "[INFO] sent to 127.0.0.1" in lab[1].log() and PASSWORD not in lab[1].log()
    assert lab[2].sql("SELECT COUNT(*) FROM sst.v")[0][0] == lab[1].sql("SELECT COUNT(*) FROM sst.t")[0][0]
    assert not lab[2].sql("SHOW DATABASES LIKE 'only_here'")
    assert lab[2].sql("CALL sst.p()") == ((1,),)


def test_ist(lab):
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (5000001, 'while the node was away')")
    before = len(lab[1].log())
    lab[2].start()
    finish(lab)
    assert "only the IST is needed" in lab[1].log()[before:] and "sent to" not in lab[1].log()[before:]


def refused(lab):
    """Node 2 asks for a snapshot that must fail -> what the donor's program said"""
    before, joiner_before = len(lab[1].log()), len(lab[2].log())
    lab[2].start()
    wait_until("the joiner to leave the group", lambda: "The donor failed to send its state" in lab[2].log()[joiner_before:], 90)
    lab[2].kill()
    wait_until("the donor to be synced", lambda: lab[1].try_status("wsrep_local_state_comment") == "Synced", 60)
    wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
    return lab[1].log()[before:]


def user(name, password, rights):
    return ["CREATE OR REPLACE USER %s IDENTIFIED BY '%s' REQUIRE SSL" % (name, password), "GRANT %s ON *.* TO %s WITH GRANT OPTION" % (rights, name)]


def test_each_step_is_named(lab):
    """The donor has every account as it should be; the joiner lacks one, another has another password, a third no rights."""
    for name in ("absent", "misspelt", "powerless"):
        lab[1].sql(*user(name, "right", "ALL"))
    fresh(lab, *user("misspelt", "wrong", "ALL") + user("powerless", "right", "SELECT"))
    cases = (("absent:right", "step 3, the account on the joiner"), ("misspelt:right", "step 3, the account on the joiner"),
             ("powerless:right", "step 3, the account on the joiner"), ("nobody:nothing", "step 1, the account on the donor"),
             ("", "step 2, wsrep_sst_auth"))
    for auth, words in cases:
        lab[1].sql("SET GLOBAL wsrep_sst_auth='%s'" % auth)
        log = refused(lab)
        assert words in log and ("GRANT ALL" in log or not auth), (auth, log)
    lab[1].sql("SET GLOBAL wsrep_sst_auth='%s:%s'" % (ACCOUNT, PASSWORD.replace("\\", "\\\\")))


def test_joiner_out_of_reach(lab):
    """The address that the joiner announces is nobody's, and then the donor's own."""
    for port, words in ((lab[2].sst_port, "step 6, the way to the joiner: nothing answers at 127.0.0.1:"),
                        (lab[1].port, "is the donor itself. Set wsrep_sst_receive_address")):
        lab[2].extra_config = "wsrep_sst_receive_address=127.0.0.1:%d\n" % port
        assert words in refused(lab), words
    lab[2].extra_config = ""


def test_server_certificate_is_verified(lab):
    """A certificate of another CA, and one that is not made out to the joiner's address."""
    sst.make_certificate(lab, "foreign", "127.0.0.1", ca=None)
    sst.make_certificate(lab, "unnamed", "somebody.else")
    fresh(lab)
    for name in ("foreign", "unnamed"):
        lab[2].extra_config = "ssl_cert={c}/{n}-cert.pem\nssl_key={c}/{n}-key.pem\n".format(c=lab.certs, n=name)
        assert "step 4, TLS of the joiner's server" in refused(lab), name
    lab[2].extra_config = "skip_ssl\nrequire_secure_transport=OFF\n"
    assert "step 4, TLS of the joiner's server" in refused(lab)
    lab[2].extra_config = ""
    lab[1].sst_config = "tca={c}/ca.pem\ntcert={c}/server-cert.pem\ntkey={c}/client-key.pem\n".format(c=lab.certs)
    lab[1].write_config()
    assert "step 5, TLS files of the donor" in refused(lab)
    lab[1].sst_config = None
    lab[1].write_config()


def test_killed_program(lab):
    """The donor's program is killed in the middle: the joiner does not take half for the whole. Beside that, an account that
    may be used without TLS is warned of."""
    lab[1].sql("INSERT INTO sst.t SELECT id + 1000000, v FROM sst.t WHERE id <= 20000")
    fresh(lab, "ALTER USER %s REQUIRE NONE" % ACCOUNT)
    before = len(lab[1].log())
    lab[2].start()
    wait_until("the dump to run", lambda: any("mariadb-dump" in h for h in sst.helpers_of(lab[1].dir)), 60, 0.01)
    for pid in sst.pids_of("wsrep_sst_mysqldump", lab[1].data + "/"):
        os.kill(pid, signal.SIGKILL)
    wait_until("the helper processes to end", lambda: not sst.helpers_of(lab[1].dir), 30)
    # The server tries three times.
    finish(lab)
    assert "may be used without TLS" in lab[1].log()[before:]


def test_stock_nodes(lab):
    """A stock node joins from ours by our program, then ours from it by the stock script."""
    lab[2].stop()
    lab[2].provider = lab[2].lab.readable(STOCK)
    sst.use_program(lab[2], False, "mysqldump")
    fresh(lab)
    lab[2].start()
    finish(lab)
    assert "[INFO] sent to 127.0.0.1" in lab[1].log()
    lab[1].stop()
    sst.wipe(lab[1])
    prepare(lab[1])
    lab[1].start().wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    lab[1].sql("INSERT INTO sst.t VALUES (5000003, 'from ours'), (5000004, 'after the stock script')")
    lab.checksums("sst")
