# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec audit on an unencrypted cluster of both providers finds every open channel, by knocking and by capture."""
import json

from common import OURS, STOCK, running
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
    assert proofs["n1", "group"]["hits"] + proofs["n2", "group"]["hits"] > 20000, proofs
