# SPDX-License-Identifier: GPL-2.0-or-later
"""Five nodes, two of one kind and three of the other: bootstrap by each, SST and IST both ways, then load and faults (make check-full)."""
from common import OURS, STOCK
from faults import cluster_with_cables, endure
from mixes import donors_of, exercise


def cluster():
    return cluster_with_cables(5)


def grow(lab, providers):
    """Node 1 bootstraps; node 2, of the other kind, has its snapshot from node 1, and node 5, of node 1's kind, from node 2."""
    lab.renew(providers)
    lab[1].start(bootstrap=True).wait_synced()
    for joiner, donor in ((2, 1), (3, 2), (4, 1), (5, 2)):
        join_from(lab, lab[joiner], lab[donor])
    lab.wait_size(5)


def join_from(lab, joiner, donor):
    joiner.extra_config = "wsrep_sst_donor=%s" % donor.name
    joiner.start().wait_synced()
    assert donors_of(lab, joiner)[-1] == donor.name
    assert "Streaming the backup" in donor.log()


def rejoin_both_ways(lab):
    """By IST, of a stock node from one of ours and the reverse; writes everywhere, before and after."""
    for joiner, donor in ((lab[1], lab[2]), (lab[2], lab[1])):
        joiner.extra_config = "wsrep_sst_donor=%s" % donor.name
    before = {n.name: len(donors_of(lab, n)) for n in lab.nodes}
    exercise(lab, lab[1], lab[2])
    assert donors_of(lab, lab[1])[before["n1"]:] == ["n2", "n2"]
    assert donors_of(lab, lab[2])[before["n2"]:] == ["n1", "n1"]


def test_two_stock_and_three_of_ours(lab):
    grow(lab, [STOCK, OURS, OURS, OURS, STOCK])
    rejoin_both_ways(lab)


def test_three_stock_and_two_of_ours(lab):
    grow(lab, [OURS, STOCK, STOCK, STOCK, OURS])
    rejoin_both_ways(lab)


def test_faults_at_two_stock_and_three_of_ours(lab):
    endure(lab, [STOCK, OURS, OURS, OURS, STOCK], victims=(1, 2))


def test_faults_at_three_stock_and_two_of_ours(lab):
    endure(lab, [OURS, STOCK, STOCK, STOCK, OURS], victims=(1, 2))
