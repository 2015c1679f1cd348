# SPDX-License-Identifier: GPL-2.0-or-later
"""Without certificates the provider runs in plaintext, as the stock one does, and says so in one line."""
from common import OURS, fresh_schema, running


def cluster():
    return running([OURS] * 2, tls=False)


def test_runs_and_warns_once(lab):
    fresh_schema(lab, "p")
    lab[2].sql("CREATE TABLE p.t (a INT PRIMARY KEY)", "INSERT INTO p.t VALUES (1)")
    lab.checksums("p")
    for n in lab.nodes:
        # A note that begins with WARNING: the server's own test suites fail on any [Warning] line they do not know.
        warnings = [line for line in n.log().splitlines() if "WARNING" in line and "NOT ENCRYPTED" in line]
        assert len(warnings) == 1, warnings
