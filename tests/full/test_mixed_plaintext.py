# SPDX-License-Identifier: GPL-2.0-or-later
"""Without certificates: a stock node, our arbitrator and ours, and the reverse; SST and IST both ways, writes (make check-full)."""
from arbitrators import ARBITRATOR, GARBD, with_arbitrator
from common import OURS, STOCK, running
from mixes import donors_of, exercise


def cluster():
    return running([STOCK] * 2, start=False, tls=False, sst="mariabackup")


def grow_and_exercise(lab, providers, arbitrator):
    """The first node bootstraps, the arbitrator joins it, the second node takes a snapshot; each comes back by IST from the other."""
    lab.renew(providers)
    lab[1].start(bootstrap=True).wait_synced()
    with_arbitrator(lab, program=arbitrator)
    lab[2].start().wait_synced()
    lab.wait_size(3)
    assert "Streaming the backup" in lab[1].log()
    exercise(lab, lab[2], lab[1])
    for n, other in ((lab[1], lab[2]), (lab[2], lab[1])):
        assert set(donors_of(lab, n)) == {other.name}, donors_of(lab, n)


def test_our_node_and_arbitrator_join_stock(lab):
    grow_and_exercise(lab, [STOCK, OURS], ARBITRATOR)


def test_stock_node_and_arbitrator_join_ours(lab):
    grow_and_exercise(lab, [OURS, STOCK], GARBD)
