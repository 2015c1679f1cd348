# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests/cluster/test_sst_faults.py does, with both methods everywhere (make check-full, as root)."""
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))
from test_sst_faults import METHODS, cluster, comes_back, cut_network, full_disk, kill_program, kill_server_of_donor, kill_server_of_joiner  # noqa: E402


def test_cut_network(lab):
    for method in METHODS:
        for share in (0.1, 0.5, 0.9):
            cut_network(lab, method, share)
    comes_back(lab)


def test_killed(lab):
    for method in METHODS:
        for victim in lab.nodes:
            kill_program(lab, method, victim)
        kill_server_of_joiner(lab, method)
        kill_server_of_donor(lab, method)
    comes_back(lab)


def test_full_disk(lab):
    for method in METHODS:
        full_disk(lab, method)
