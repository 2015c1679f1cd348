# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec-arbitrator as a member of a running stock cluster over TLS, through joins, crashes and partitions of its peers."""
import os
import signal

from arbitrators import Arbitrator, with_arbitrator
from common import STOCK, assert_no_snapshot, fresh_schema, log_sizes, running, wait_until


def cluster():
    return running([STOCK] * 2)


def test_joins_and_leaves_gracefully(lab):
    fresh_schema(lab, "a")
    a = with_arbitrator(lab)
    lab[1].sql("CREATE TABLE a.t (id INT PRIMARY KEY, v LONGTEXT)")
    lab[2].sql("SET SESSION wsrep_sync_wait=15", "INSERT INTO a.t VALUES (1, REPEAT('x', 10000000))")
    lab.checksums("a")
    a.process.send_signal(signal.SIGTERM)
    assert a.stop() == 0          # a second signal is harmless
    lab.wait_size(2)
    lab[1].sql("INSERT INTO a.t VALUES (2, 'after')")


def test_keeps_quorum_when_a_node_crashes(lab):
    a = with_arbitrator(lab)
    lab[2].kill()
    wait_until("node 1 and the arbitrator go on", lambda: lab[1].try_status("wsrep_cluster_size") == "2" and lab[1].status("wsrep_cluster_status") == "Primary")
    lab[1].sql("INSERT INTO a.t VALUES (3, 'crash')")
    lab[2].start().wait_synced()
    lab.wait_size(3)
    lab.checksums("a")
    assert a.stop() == 0


def test_outlives_both_nodes(lab):
    a = with_arbitrator(lab)
    lab.wait_equal_seqno()
    for n in lab.nodes:
        n.stop()
    assert a.process.poll() is None
    assert a.stop() == 0
    # With the arbitrator in the last configuration neither node may think that it was the last one: the operator says so.
    assert [n.grastate()["safe_to_bootstrap"] for n in lab.nodes] == ["0", "0"]
    state = os.path.join(lab[2].data, "grastate.dat")
    with open(state) as f:
        text = f.read()
    with open(state, "w") as f:
        f.write(text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
    lab[2].start(bootstrap=True).wait_synced()
    lab[1].start().wait_synced()
    lab.wait_size(2)


def test_a_node_comes_back_to_an_arbitrator(lab):
    """The arbitrator alone keeps what the group had: the node that left last is up to date, the other takes what it lacks."""
    a = with_arbitrator(lab)
    lab[1].sql("INSERT INTO a.t VALUES (5, 'before')")
    lab.wait_equal_seqno()
    lab[1].stop()
    wait_until("node 2 and the arbitrator", lambda: lab[2].status("wsrep_cluster_size") == "2")
    lab[2].sql("INSERT INTO a.t VALUES (6, 'last')")
    lab[2].stop()
    wait_until("the arbitrator is alone", lambda: "1 member\n" in a.log())
    sizes = log_sizes(lab)
    lab[2].start().wait_synced()
    lab[1].start().wait_synced()
    lab.wait_size(3)
    assert_no_snapshot(lab, sizes)
    assert [n.status("wsrep_protocol_replicator") for n in lab.nodes] == ["11", "11"]
    lab[1].sql("INSERT INTO a.t VALUES (7, 'after')")
    assert lab[1].value("SELECT COUNT(*) FROM a.t WHERE id IN (5, 6, 7)") == 3
    lab.checksums("a")
    assert a.stop() == 0


def test_partition_and_merge(lab):
    a = with_arbitrator(lab)
    lab[2].sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=1'")
    wait_until("node 1 keeps quorum with the arbitrator", lambda: lab[1].try_status("wsrep_cluster_size") == "2" and lab[1].status("wsrep_cluster_status") == "Primary", limit=40)
    lab[1].sql("INSERT INTO a.t VALUES (4, 'partition')")
    lab[2].sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=0'")
    lab[2].wait_synced()
    lab.wait_size(3)
    lab.checksums("a")
    a.process.send_signal(signal.SIGSTOP)
    wait_until("the frozen arbitrator is excluded", lambda: lab[1].try_status("wsrep_cluster_size") == "2", limit=40)
    a.process.send_signal(signal.SIGCONT)
    lab.wait_size(3)
    assert a.stop() == 0


def test_a_wrong_group_name_is_refused(lab):
    a = Arbitrator(lab, "--group", "other")
    wait_until("it gives up", lambda: a.process.poll() is not None, limit=60)
    assert a.process.returncode != 0
    assert "invalid group" in a.log(), a.log()
    assert lab[1].status("wsrep_cluster_size") == "2"
