# SPDX-License-Identifier: GPL-2.0-or-later
"""Mixed clusters under load on all nodes while each node in turn is killed, frozen, restarted and cut off (make check-full)."""
from common import OURS, STOCK
from faults import cluster_with_cables, endure


def cluster():
    return cluster_with_cables(3)


def test_two_of_ours(lab):
    endure(lab, [STOCK, OURS, OURS])


def test_two_stock(lab):
    endure(lab, [OURS, STOCK, STOCK])


def test_all_ours(lab):
    endure(lab, [OURS] * 3)
