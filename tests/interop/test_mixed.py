# SPDX-License-Identifier: GPL-2.0-or-later
"""One node of ours among two stock ones, and one stock node among two of ours, over TLS: SST, IST, writes everywhere."""
from common import OURS, STOCK, running
from mixes import exercise


def cluster():
    return running([STOCK] * 3, start=False)


def test_ours_joins_two_stock_nodes(lab):
    lab.start_over([STOCK, STOCK, OURS])
    exercise(lab, lab[3])


def test_stock_joins_two_of_ours(lab):
    lab.start_over([OURS, OURS, STOCK])
    exercise(lab, lab[3])
