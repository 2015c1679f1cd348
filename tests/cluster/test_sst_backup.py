# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfer by mariadb-backup: our program against itself and against the stock script, both ways, in each mode."""
import contextlib

import sst
from common import OURS, running


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False) as lab:
        sst.offer(lab)
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


def test_ist_leaves_the_data_alone(lab):
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (1000001, 'while the node was away')")
    lab[2].start().wait_synced()
    lab.checksums("sst")
    assert "the donor sends only the IST" in lab[2].log()


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
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (1000002, 'while the node was away')")
    lab[2].start().wait_synced()
    lab.checksums("sst")
    assert "the donor sends only the IST" in lab[2].log()


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
