# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec rotate on three nodes of ours under writes, by TCP."""
from common import OURS
from test_rotate import cluster_of, test_a_new_ca_under_writes, test_killed_at_every_step_and_resumed  # noqa: F401


def cluster():
    return cluster_of([OURS] * 3, by_tcp=(1, 2, 3))
