# SPDX-License-Identifier: GPL-2.0-or-later
"""One node of ours among two stock ones, and one stock node among two of ours, over TLS: SST, IST, writes everywhere."""
from common import OURS, STOCK, assert_no_complaints, assert_no_snapshot, fresh_schema, log_sizes, running


def cluster():
    return running([STOCK] * 3, start=False)


def exercise(lab, rejoining):
    """Writes on every node; the node `rejoining` misses some and comes back by IST; then all are equal."""
    fresh_schema(lab, "m")
    lab[1].sql("CREATE TABLE m.t (id INT AUTO_INCREMENT PRIMARY KEY, node INT, v VARCHAR(100))")
    for n in lab.nodes:
        n.sql("SET SESSION wsrep_sync_wait=15", *["INSERT INTO m.t (node, v) VALUES (%d, REPEAT('v', %d))" % (n.index, i) for i in range(50)])
    rejoining.stop()
    others = lab.running()
    for n in others:
        n.sql("CREATE TABLE m.while_away%d (a INT PRIMARY KEY)" % n.index, "UPDATE m.t SET v = CONCAT(v, 'x') WHERE node = %d" % n.index)
    sizes = log_sizes(lab)
    rejoining.start().wait_synced()
    lab.wait_size(3)
    rejoining.kill()
    for n in others:
        n.sql("INSERT INTO m.t (node, v) VALUES (%d, 'killed')" % n.index)
    rejoining.start_recovered().wait_synced()
    lab.wait_size(3)
    assert_no_snapshot(lab, sizes)
    for n in lab.nodes:
        n.sql("SET SESSION wsrep_sync_wait=15", "DELETE FROM m.t WHERE node = %d LIMIT 5" % n.index, "CREATE TABLE m.end%d (a INT PRIMARY KEY)" % n.index)
    assert len(lab.checksums("m")) == 6
    uuids = {n.status("wsrep_cluster_state_uuid") for n in lab.nodes}
    assert len(uuids) == 1
    assert_no_complaints(lab)


def test_ours_joins_two_stock_nodes(lab):
    lab.start_over([STOCK, STOCK, OURS])
    exercise(lab, lab[3])


def test_stock_joins_two_of_ours(lab):
    lab.start_over([OURS, OURS, STOCK])
    exercise(lab, lab[3])
