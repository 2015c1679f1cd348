# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests/cluster/test_sst_rsync.py does with the stock script in TLS, in the combinations that it leaves out (make check-full, as root)."""
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))
from test_sst_rsync import cluster, tls_with_stock  # noqa: E402


def test_the_other_combinations(lab):
    tls_with_stock(lab, (False, True, "VERIFY_IDENTITY"), (True, False, "VERIFY_CA"))
