# SPDX-License-Identifier: GPL-2.0-or-later
"""What every mix of providers must be able to do: writes on all nodes, and a node that comes back by IST."""
import re

from common import assert_no_complaints, assert_no_snapshot, fresh_schema, log_sizes


def exercise(lab, *rejoining):
    """Writes on every node; each node of `rejoining` in turn misses some and comes back by IST, twice; then all are equal."""
    size = int(lab[1].status("wsrep_cluster_size"))   # arbitrators count
    fresh_schema(lab, "m")
    lab[1].sql("CREATE TABLE m.t (id INT AUTO_INCREMENT PRIMARY KEY, node INT, v VARCHAR(100))")
    for n in lab.nodes:
        n.sql("SET SESSION wsrep_sync_wait=15", *["INSERT INTO m.t (node, v) VALUES (%d, REPEAT('v', %d))" % (n.index, i) for i in range(50)])
    lab.wait_equal_seqno()
    sizes = log_sizes(lab)
    for node in rejoining:
        node.stop()
        others = lab.running()
        for n in others:
            n.sql("CREATE TABLE m.while%d_away%d (a INT PRIMARY KEY)" % (node.index, n.index), "UPDATE m.t SET v = CONCAT(v, 'x') WHERE node = %d" % n.index)
        node.start().wait_synced()
        lab.wait_size(size)
        lab.wait_equal_seqno()
        node.wait_no_ddl()
        node.kill()
        for n in others:
            n.sql("INSERT INTO m.t (node, v) VALUES (%d, 'killed')" % n.index)
        node.start_recovered().wait_synced()
        lab.wait_size(size)
    assert_no_snapshot(lab, sizes)
    for n in lab.nodes:
        n.sql("SET SESSION wsrep_sync_wait=15", "DELETE FROM m.t WHERE node = %d LIMIT 5" % n.index, "CREATE TABLE m.end%d (a INT PRIMARY KEY)" % n.index)
    assert len(lab.checksums("m")) == 1 + len(rejoining) * (len(lab.nodes) - 1) + len(lab.nodes)
    assert len({n.status("wsrep_cluster_state_uuid") for n in lab.nodes}) == 1
    assert_no_complaints(lab)


def donors_of(lab, joiner):
    """-> names of the donors that the group chose for this node, one a transfer; in the words of whichever node has heard of most"""
    chosen = r"\(%s\) requested state transfer from '[^']*'\. Selected \S+ \((\w+)\)" % joiner.name
    return max((re.findall(chosen, n.log()) for n in lab.nodes), key=len)
