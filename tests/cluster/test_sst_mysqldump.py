# SPDX-License-Identifier: GPL-2.0-or-later
"""A fresh node joins by mysqldump."""
from common import OURS, fresh_schema, running


def cluster():
    return running([OURS] * 2, start=False, sst="mysqldump")


def test_fresh_node_joins_by_mysqldump(lab):
    lab[1].start(bootstrap=True).wait_synced()
    fresh_schema(lab, "md")
    lab[1].sql("CREATE TABLE md.t (id INT PRIMARY KEY, v TEXT)", "INSERT INTO md.t SELECT seq, REPEAT('x', 100) FROM md.seq_1_to_1000")
    lab[2].start().wait_synced()
    lab.wait_size(2)
    lab[2].sql("INSERT INTO md.t VALUES (5000, 'from the joiner')")
    lab.checksums("md")
