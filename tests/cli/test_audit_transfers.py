# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec audit --transfers while a node takes a snapshot: its IST and SST ports are open, and refuse whom they must."""
import contextlib
import os
import sys

from common import OURS, labs, running
from relay import Gate
from test_audit import audit, inventory
sys.path.insert(0, os.path.join(labs.ROOT, "tests/cluster"))
import sst  # noqa: E402

STRANGERS = ("plaintext", "old_tls", "anonymous", "other_ca", "expired")


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False) as lab:
        lab[1].extra_options = "pc.weight=3"
        for n in lab.nodes:
            sst.use_program(n, True)
        lab[1].start(bootstrap=True).wait_synced()
        sst.fill(lab[1])
        yield lab


def test_closed_without_a_transfer(lab):
    channels, _, _ = audit(lab, "--transfers", code=1)     # node 2 does not run
    assert not any(channels["n1", kind]["open"] for kind in ("IST", "SST")), channels


def test_open_during_one(lab):
    """The donor is kept waiting at the IST port, to which it comes first; when that has taken it too long the node begins anew."""
    path, gate = inventory(lab), Gate(lab[2].ist_port)
    lab[2].extra_options = "ist.recv_addr=127.0.0.1:%d;ist.recv_bind=127.0.0.1:%d" % (gate.port, lab[2].ist_port)
    lab[2].start()
    try:
        assert gate.arrived.wait(60), "no donor came"
        channels, _, _ = audit(lab, "--transfers", code=1, path=path)     # node 2 takes no SQL yet
        for kind in ("IST", "SST"):
            c = channels["n2", kind]
            assert c["open"] and c["protocol"] == "TLSv1.3" and c["days_left"] > 30, c
            assert [c[k] for k in STRANGERS] == ["refused"] * len(STRANGERS), c
    finally:
        gate.close()
        lab[2].kill()
    lab[2].extra_options = ""
    lab[2].start().wait_synced()
    lab.checksums("sst")
