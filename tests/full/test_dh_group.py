# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec cert init --generate as it is by default: the search for a group of 2048 bits takes up to minutes (make check-full)."""
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))
from test_cert import cluster, make_dh_group  # noqa: E402


def test_a_fresh_group_of_2048_bits(directory):
    make_dh_group(directory, "--generate", 2048)
