# SPDX-License-Identifier: GPL-2.0-or-later
"""The stock garbd as a member of our cluster over TLS: it joins, votes when a node crashes, freezes, leaves and comes back."""
import contextlib
import signal

from arbitrators import GARBD, Arbitrator, with_arbitrator
from common import OURS, assert_no_complaints, fresh_schema, running, wait_until


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2) as lab:
        fresh_schema(lab, "g")
        lab[1].sql("CREATE TABLE g.t (id INT PRIMARY KEY, v LONGTEXT)")
        yield lab


def count(lab, size):
    return lambda: lab[1].try_status("wsrep_cluster_size") == str(size) and lab[1].status("wsrep_cluster_status") == "Primary"


def test_joins_leaves_and_comes_back(lab):
    for i in range(2):
        garbd = with_arbitrator(lab, program=GARBD)
        lab[2].sql("SET SESSION wsrep_sync_wait=15", "INSERT INTO g.t VALUES (%d, REPEAT('x', 10000000))" % i)
        lab.checksums("g")
        # SIGINT: with SIGTERM it may hang on its way out
        assert garbd.stop(signal.SIGINT) == 0
        lab.wait_size(2)
        # A peer that has left is not one that is lost: nobody waits for it.
        lab[1].sql("INSERT INTO g.t VALUES (%d, 'without it')" % (10 + i))


def test_keeps_quorum_when_a_node_crashes(lab):
    garbd = with_arbitrator(lab, program=GARBD)
    lab[2].kill()
    wait_until("node 1 and garbd go on", count(lab, 2))
    lab[1].sql("INSERT INTO g.t VALUES (20, 'crash')")
    lab[2].start_recovered().wait_synced()
    lab.wait_size(3)
    lab.checksums("g")
    garbd.process.kill()
    garbd.process.wait()
    wait_until("two nodes go on without it", count(lab, 2))
    lab[1].sql("INSERT INTO g.t VALUES (21, 'without it')")


def test_frozen_and_partitioned(lab):
    garbd = with_arbitrator(lab, program=GARBD)
    garbd.process.send_signal(signal.SIGSTOP)
    wait_until("the frozen garbd is excluded", count(lab, 2), limit=40)
    garbd.process.send_signal(signal.SIGCONT)
    lab.wait_size(3)
    lab[2].sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=1'")
    wait_until("node 1 keeps quorum with garbd", count(lab, 2), limit=40)
    lab[1].sql("INSERT INTO g.t VALUES (30, 'partition')")
    lab[2].sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=0'")
    lab[2].wait_synced()
    lab.wait_size(3)
    lab.checksums("g")
    assert garbd.stop(signal.SIGINT) == 0
    assert_no_complaints(lab)


def test_a_plaintext_garbd_is_kept_out(lab):
    garbd = Arbitrator(lab, program=GARBD, tls=False)
    wait_until("it gives up", lambda: garbd.process.poll() is not None, limit=90)
    assert garbd.process.returncode != 0
    assert lab[1].status("wsrep_cluster_size") == "2"
