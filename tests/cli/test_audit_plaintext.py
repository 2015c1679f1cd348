# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec audit on an unencrypted cluster of both providers finds every open channel, by knocking and by capture."""
import json

from common import OURS, STOCK, fresh_schema, running
from test_audit import inventory
from test_cert import run


def cluster():
    return running([OURS, STOCK], tls=False)


def test_every_open_channel_is_found(lab):
    run("cert init", lab.certs)
    path = inventory(lab)
    lab[1].sql("ALTER USER audit@'%' REQUIRE NONE")
    lab.wait_equal_seqno()
    answer = json.loads(run("audit", "--json", "--proof", "2", path, code=1))
    channels = {(c["node"], c["channel"]): c for c in answer["channels"]}
    proofs = {(p["node"], p["channel"]): p for p in answer["proof"]}
    where = {(f["rule"], *f["where"].split()[:2]) for f in answer["findings"]}
    for n in ("n1", "n2"):
        assert channels[n, "clients"]["plaintext"] == "ACCEPTED" and channels[n, "group"]["plaintext"] == "ACCEPTED", channels
        assert ("plaintext", n, "group") in where and ("plaintext", n, "clients") in where, where
        assert proofs[n, "clients"]["hits"] > 0 and ("canary-in-clear", n, "clients") in where
    assert proofs["n1", "group"]["hits"] + proofs["n2", "group"]["hits"] > 100, proofs


def test_files_that_are_named_but_switched_off(lab):
    """socket.ssl=NO beside the files means plain text: the node comes back by an increment, and gives one."""
    fresh_schema(lab, "off")
    lab[1].extra_options = "socket.ssl=NO;socket.ssl_key={c}/server-key.pem;socket.ssl_cert={c}/server-cert.pem;socket.ssl_ca={c}/ca.pem".format(c=lab.certs)
    for joiner, donor in ((lab[1], lab[2]), (lab[2], lab[1])):
        joiner.stop()
        donor.sql("CREATE TABLE off.from_%s (a INT PRIMARY KEY)" % donor.name, "INSERT INTO off.from_%s VALUES (1)" % donor.name)
        joiner.start().wait_synced()
    lab.wait_size(2)
    assert lab[1].status("wsrep_ssl_plaintext") == "only" and len(lab.checksums("off")) == 2
