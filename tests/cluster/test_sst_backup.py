# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfer by mariadb-backup: our program against itself and against the stock script, both ways, in each mode."""
import contextlib
import os
import socket

import sst
from common import OURS, running, wait_until


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="mariabackup") as lab:
        sst.offer(lab)
        lab[1].extra_options = "pc.weight=3"    # it stays primary when node 2 is killed
        lab[1].sst_config = sst.tls_config(lab, 4)
        sst.use_program(lab[1], True)
        lab[1].start(bootstrap=True).wait_synced()
        sst.fill(lab[1])
        yield lab


def transfer(lab, is_donor_ours, is_joiner_ours, config):
    """Node 1 goes on under its old program unless that must change; node 2 is filled anew."""
    lab[2].stop()
    lab[1].sst_config = lab[2].sst_config = config
    sst.use_program(lab[2], is_joiner_ours)
    if bool(lab[1].launcher) != is_donor_ours:
        sst.use_program(lab[1], is_donor_ours)
        lab[1].stop()
        lab[1].start(bootstrap=True).wait_synced()
    else:
        lab[1].write_config()   # the program reads the files when it runs
    sst.rejoin(lab, lab[2])
    for node, is_ours in ((lab[1], is_donor_ours), (lab[2], is_joiner_ours)):
        assert ("WSREP_SST: [INFO] %s" % ("sent to" if node is lab[1] else "received")) in node.log() or not is_ours, node.log_path


def test_encrypt_4_ours_to_ours(lab):
    transfer(lab, True, True, sst.tls_config(lab, 4))
    assert "donor 127.0.0.1" in lab[2].log() and "TLSv1.3" in lab[2].log()


def come_back_by_ist(lab, number):
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (%d, 'while the node was away')" % number)
    lab[2].start().wait_synced()
    lab.checksums("sst")
    assert "the donor sends only the IST" in lab[2].log()


def test_ist_leaves_the_data_alone(lab):
    come_back_by_ist(lab, 1000001)


def test_encrypt_0_ours_to_ours(lab):
    transfer(lab, True, True, sst.tls_config(lab, 0))
    assert "NOT ENCRYPTED" in lab[2].log() and "NOT ENCRYPTED" in lab[1].log()


def test_encrypt_4_ours_to_stock(lab):
    transfer(lab, True, False, sst.tls_config(lab, 4))


def test_encrypt_0_ours_to_stock(lab):
    transfer(lab, True, False, sst.tls_config(lab, 0))


def test_encrypt_4_stock_to_ours(lab):
    transfer(lab, False, True, sst.tls_config(lab, 4))


def test_ist_stock_to_ours(lab):
    come_back_by_ist(lab, 1000002)


def test_encrypt_0_stock_to_ours(lab):
    transfer(lab, False, True, sst.tls_config(lab, 0))


OLD_MODES = {
    1: "encrypt-algo=aes-256-ctr\nencrypt-key=a-key-of-the-test\n",
    2: "",
    3: "",
}


def test_old_modes_ours_to_ours(lab):
    for encrypt, more in OLD_MODES.items():
        transfer(lab, True, True, sst.tls_config(lab, encrypt, more))
        for node in lab.nodes:
            assert "encrypt=1, 2 and 3 are deprecated" in node.log(), encrypt
            assert ("the other node is NOT VERIFIED" in node.log()) or encrypt != 3
            assert "a-key-of-the-test" not in node.log()


def test_old_modes_ours_to_stock(lab):
    for encrypt, more in OLD_MODES.items():
        transfer(lab, True, False, sst.tls_config(lab, encrypt, more))


def test_old_modes_stock_to_ours(lab):
    for encrypt, more in OLD_MODES.items():
        transfer(lab, False, True, sst.tls_config(lab, encrypt, more))


def test_compressor_and_limit(lab):
    transfer(lab, True, True, sst.tls_config(lab, 4, "compressor=zstd -1\ndecompressor=zstd -dc\nrlimit=2m\n"))
    transfer(lab, True, False, sst.tls_config(lab, 4, "compressor=zstd -1\ndecompressor=zstd -dc\n"))


def test_verify_ca_with_secret(lab):
    config = ("ssl-mode=VERIFY_CA\nssl-ca={c}/ca.pem\nssl-cert={c}/node-cert.pem\nssl-key={c}/node-key.pem\n").format(c=lab.certs)
    sst.make_certificate(lab, "node", "node.example")
    for is_donor_ours, is_joiner_ours in ((True, True), (False, True), (True, False)):
        # The server's own section goes before [sst] (spec 08 section 7.1), so the files have to be the same there.
        for node in lab.nodes:
            node.extra_config = "ssl_cert=%s/node-cert.pem\nssl_key=%s/node-key.pem\n" % (lab.certs, lab.certs)
        transfer(lab, is_donor_ours, is_joiner_ours, config)
    for node in lab.nodes:
        node.extra_config = ""


def refused(lab, donor_config, joiner_config):
    """Node 2 asks for a snapshot that must fail. Both have our program; its data stays, node 1 is synced again."""
    if not os.path.exists(lab[2].data):
        transfer(lab, True, True, sst.tls_config(lab, 4))
    sst.use_program(lab[2], True)
    if not lab[1].launcher:
        lab[2].stop()
        lab[1].stop()
        sst.use_program(lab[1], True)
        lab[1].start(bootstrap=True).wait_synced()
    lab[2].stop()
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
    transfer(lab, True, True, sst.tls_config(lab, 4))
    for donor, joiner in ((0, 4), (4, 0), (1, 4)):
        more = OLD_MODES[1] if 1 in (donor, joiner) else ""
        donor_log, joiner_log = refused(lab, sst.tls_config(lab, donor, more), sst.tls_config(lab, joiner, more))
        assert "set [sst] encrypt alike on both nodes" in donor_log, (donor, joiner, donor_log)
        assert "this node encrypt=%d: set [sst] encrypt alike on both nodes" % joiner in joiner_log, (donor, joiner)
    transfer(lab, True, True, sst.tls_config(lab, 4))


def test_certificates_are_checked(lab):
    """A foreign, an expired certificate, and a key that does not belong to its certificate, on either side."""
    sst.make_certificate(lab, "foreign", "stranger", ca=None)
    sst.make_certificate(lab, "expired", "expired", days=-1)
    good = sst.tls_config(lab, 4)
    foreign = "encrypt=4\ntca={c}/foreign-cert.pem\ntcert={c}/foreign-cert.pem\ntkey={c}/foreign-key.pem\n".format(c=lab.certs)
    expired = "encrypt=4\ntca={c}/ca.pem\ntcert={c}/expired-cert.pem\ntkey={c}/expired-key.pem\n".format(c=lab.certs)
    crossed = "encrypt=4\ntca={c}/ca.pem\ntcert={c}/server-cert.pem\ntkey={c}/client-key.pem\n".format(c=lab.certs)
    for config, words in ((foreign, "is refused"), (expired, "has expired; renew it"), (crossed, "do not belong together")):
        donor_log, _ = refused(lab, config, good)
        assert words in donor_log, (words, donor_log)
        donor_log, joiner_log = refused(lab, good, config)
        assert words in donor_log + joiner_log, (words, joiner_log)
    transfer(lab, True, True, good)


def test_strangers_change_nothing(lab):
    """Port scans and health checks during both stages."""
    lab[2].stop()
    for node in lab.nodes:
        sst.use_program(node, True)
        node.sst_config = sst.tls_config(lab, 4, "rlimit=4m\n")
    lab[1].write_config()
    sst.wipe(lab[2])
    lab[2].start()
    wait_until("data to flow", lambda: "[INFO] received" in lab[2].log(), 60)
    for words in (b"", b"GET / HTTP/1.0\r\n\r\n", b"XBSTCK01", b"\x16\x03\x01"):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", lab[2].sst_port), 5) as s:
            s.sendall(words)
    lab[2].wait_synced()
    lab.checksums("sst")
    sst.no_leftovers(*lab.nodes)


def test_nothing_readable_on_the_wire(lab):
    """The rows hold a word: it is seen in plain text, and in no encrypted mode."""
    for encrypt in (0, 1, 2, 3, 4):
        with sst.Wire(lab[2].sst_port, b"canary-") as wire:
            transfer(lab, True, True, sst.tls_config(lab, encrypt, OLD_MODES.get(encrypt, "")))
        assert wire.packets > 100 and (wire.found > 0) == (encrypt == 0), (encrypt, wire.packets, wire.found)
