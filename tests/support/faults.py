# SPDX-License-Identifier: GPL-2.0-or-later
"""A cluster under load on all nodes while nodes are killed, frozen, restarted and cut off, one after the other (as root).

What the issue of mixed clusters asks of the end: no acknowledged commit lost or doubled, all tables equal, the same seqno, the
same cluster, no snapshot, and no complaint about protocol or checksums in any log.
"""
import contextlib
import os
import signal
import subprocess
import threading
import time

import pymysql

from common import STOCK, assert_no_complaints, assert_no_snapshot, fresh_schema, log_sizes, running, wait_until
from network import Network
from writers import Writers

SECONDS = int(os.environ.get("XEBEC_FAULT_SECONDS", "300"))   # the faults may take longer: every one comes at every node
SLOW = 300.0   # seconds: a node that comes back must catch up with what the others write meanwhile
SYSBENCH = ["sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-user=root", "--mysql-db=sb", "--tables=4", "--table-size=2000",
            "--db-ps-mode=disable", "--mysql-ignore-errors=all"]


@contextlib.contextmanager
def cluster_with_cables(size):
    with running([STOCK] * size, start=False, slave_threads=4, gcache_size="512M", sst="mariabackup") as lab:
        network = lab.network = Network(lab)
        try:
            yield lab
        finally:
            lab.close()
            network.close()


class Load:
    """sysbench and changes of tables on every node, begun again when a server goes away, beside the counted writers."""

    def __init__(self, lab):
        self.lab, self.is_over, self.altered = lab, threading.Event(), 0
        self.tables = threading.Lock()     # held while tables change
        self.writers = Writers(lab, "f.counted", 3, pause_s=0)
        self.threads = [threading.Thread(target=self.sysbench, args=(n,)) for n in lab.nodes] + [threading.Thread(target=self.change_tables)]
        for t in self.threads:
            t.start()

    def sysbench(self, node):
        while not self.is_over.is_set():
            run = subprocess.Popen(SYSBENCH + ["--mysql-socket=%s/s.sock" % node.dir, "--threads=2", "--time=3600", "run"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while run.poll() is None and not self.is_over.is_set():
                self.is_over.wait(0.2)
            run.kill()
            run.wait()
            self.is_over.wait(0.5)

    def change_tables(self):
        for i in range(10 ** 9):
            if self.is_over.wait(0.5):
                return
            node = self.lab.nodes[i % len(self.lab.nodes)]
            with self.tables, contextlib.suppress(pymysql.MySQLError, OSError):
                if node.is_running():
                    node.sql("CREATE TABLE IF NOT EXISTS f.ddl (a INT AUTO_INCREMENT PRIMARY KEY)",
                             "ALTER TABLE f.ddl ADD COLUMN IF NOT EXISTS c%d INT" % (i % 5), "INSERT INTO f.ddl VALUES ()",
                             "ALTER TABLE f.ddl DROP COLUMN IF EXISTS c%d" % ((i + 2) % 5))
                    self.altered += 1

    @contextlib.contextmanager
    def no_changes_of_tables(self):
        assert self.tables.acquire(timeout=120), "a change of a table hangs"
        try:
            yield
        finally:
            self.tables.release()

    def stop(self):
        self.is_over.set()
        self.writers.stop()
        for t in self.threads:
            t.join(120)
            assert not t.is_alive(), "a load hangs"


def killed(lab, node, load):
    with load.no_changes_of_tables():   # a node that is killed while it changes one must take a snapshot
        reached = max(int(n.status("wsrep_last_committed")) for n in lab.nodes)
        wait_until("%s has applied what was acknowledged" % node.name, lambda: int(node.status("wsrep_last_committed")) >= reached)
        node.wait_no_ddl()
        node.kill()
    node.start_recovered().wait_synced(SLOW)


def frozen(lab, node, load):
    node.signal(signal.SIGSTOP)
    time.sleep(15)   # the fault itself
    node.signal(signal.SIGCONT)


def restarted(lab, node, load):
    node.stop()
    node.start().wait_synced(SLOW)


def cut_off(lab, node, load):
    lab.network.pull_cable(node)
    others = [n for n in lab.nodes if n is not node]
    wait_until("the others go on without %s" % node.name,
               lambda: all(n.try_status("wsrep_cluster_size") == str(len(others)) for n in others))
    wait_until("%s stands alone" % node.name, lambda: node.try_status("wsrep_cluster_status") != "Primary")
    lab.network.push_cable(node)


def prepare(lab):
    fresh_schema(lab, "f")
    fresh_schema(lab, "sb")
    subprocess.run([a for a in SYSBENCH if "ignore" not in a] + ["--mysql-socket=%s/s.sock" % lab[1].dir, "prepare"], check=True, capture_output=True)
    lab.wait_equal_seqno()


def make_faults(lab, victims, load):
    """Every fault at every victim, and all over again until the time is up -> number of faults"""
    began, count = time.monotonic(), 0
    while True:
        for fault in (killed, frozen, restarted, cut_off):
            for n in victims:
                print("#   %4d s: %s %s" % (time.monotonic() - began, n.name, fault.__name__), flush=True)
                fault(lab, n, load)
                lab.wait_size(len(lab.nodes), SLOW)
                n.wait_synced(SLOW)
                count += 1
        if time.monotonic() - began > SECONDS:
            return count


def endure(lab, providers, victims=None):
    """victims: indices of the nodes that suffer; None: all"""
    lab.start_over(providers)
    prepare(lab)
    began, sizes, load = time.monotonic(), log_sizes(lab), Load(lab)
    try:
        faults = make_faults(lab, [lab[i] for i in victims] if victims else lab.nodes, load)
    finally:
        load.stop()
    lab.wait_size(len(lab.nodes))
    count = load.writers.check()
    for schema in ("f", "sb"):
        assert lab.checksums(schema)
    assert load.altered > 0
    # A snapshot while tables change is another matter: mariadb-backup loses that race with either provider.
    assert_no_snapshot(lab, sizes)
    assert len({(n.status("wsrep_cluster_state_uuid"), n.status("wsrep_last_committed")) for n in lab.nodes}) == 1
    assert_no_complaints(lab)
    print("#   %s: %d s, %d faults, %d counted commits, seqno %s, %d changes of tables" %
          ([("stock" if n.provider == STOCK else "ours") for n in lab.nodes], time.monotonic() - began, faults, count,
           lab[1].status("wsrep_last_committed"), load.altered))
