# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec encrypt on three stock nodes: what tests/cli/test_encrypt.py does on a mixed cluster (make check-full)."""
import os
import sys

from common import STOCK, labs
sys.path.insert(0, os.path.join(labs.ROOT, "tests/cli"))
from test_encrypt import *  # noqa: E402,F401,F403
from test_encrypt import cluster_of  # noqa: E402


def cluster():
    return cluster_of([STOCK] * 3)
