# SPDX-License-Identifier: GPL-2.0-or-later
"""One node of ours among two stock ones, and one stock node among two of ours, over TLS: SST, IST, writes everywhere."""
from common import OURS, STOCK, running
from mixes import exercise


def cluster():
    return running([STOCK] * 3, start=False)


def join_two(lab, pair, joiner):
    """The third node joins two of the other kind by the stock script; what they exchange beside it is the subject."""
    lab.renew(pair * 2 + [joiner])
    lab[1].start(bootstrap=True).wait_synced()
    lab[2].start().wait_synced()
    method, lab.sst = lab.sst, "mariabackup"
    lab[3].start().wait_synced()
    lab.sst = method
    lab.wait_size(3)
    assert any("Streaming the backup" in n.log() for n in lab.nodes), "not by the stock script"
    exercise(lab, lab[3])


def test_ours_joins_two_stock_nodes(lab):
    join_two(lab, [STOCK], OURS)


def test_stock_joins_two_of_ours(lab):
    join_two(lab, [OURS], STOCK)
