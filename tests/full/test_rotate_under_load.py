# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec rotate to a new CA, twice, on three nodes with sysbench on each: ours, stock, mixed (make check-full)."""
import contextlib
import os
import subprocess
import sys
import threading
import time

from common import OURS, STOCK, errno_of, fresh_schema, labs, wait_until
sys.path.insert(0, os.path.join(labs.ROOT, "tests/cli"))
from test_cert import run  # noqa: E402
from test_rotate import cluster_of, inventory, make, shown, views  # noqa: E402

SYSBENCH = ["sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-user=root", "--mysql-db=sb", "--tables=4", "--table-size=2000", "--db-ps-mode=disable"]
CONFLICTS = "--mysql-ignore-errors=1213,1020,1205"    # any other error ends sysbench: a node that has left for a moment, too
DEADLOCK = 1213


@contextlib.contextmanager
def cluster():
    """Each test has a cluster of its own."""
    yield None


class Client:
    """Commits numbered rows on one node, remembers which were acknowledged and the longest time between two."""

    def __init__(self, node):
        self.node, self.acknowledged, self.errors, self.longest_s, self.is_over = node, 0, [], 0.0, threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        connection, last = self.node.connect(), time.monotonic()
        while not self.is_over.is_set():
            error = errno_of(connection, "INSERT INTO counted.t VALUES (%d, %d)" % (self.node.index, self.acknowledged))
            now = time.monotonic()
            if error == 0:
                self.acknowledged, self.longest_s, last = self.acknowledged + 1, max(self.longest_s, now - last), now
            elif error != DEADLOCK:
                self.errors.append(error)
                return
        connection.close()


class Load:
    def __init__(self, lab):
        self.lab = lab
        fresh_schema(lab, "counted")
        fresh_schema(lab, "sb")
        lab[1].sql("CREATE TABLE counted.t (node INT, number INT, PRIMARY KEY (node, number))")
        subprocess.run(SYSBENCH + ["--mysql-socket=%s/s.sock" % lab[1].dir, "prepare"], check=True, capture_output=True)
        lab.wait_equal_seqno()

    def __enter__(self):
        self.clients = [Client(n) for n in self.lab.nodes]
        self.sysbench = [subprocess.Popen(SYSBENCH + [CONFLICTS, "--mysql-socket=%s/s.sock" % n.dir, "--threads=2", "--time=3600", "run"],
                                          stdout=open(os.path.join(n.dir, "sysbench.log"), "w"), stderr=subprocess.STDOUT) for n in self.lab.nodes]
        wait_until("rows on every node", lambda: all(c.acknowledged > 10 for c in self.clients))
        return self

    def __exit__(self, *exception):
        lived = [p.poll() is None for p in self.sysbench]
        for p in self.sysbench:
            p.kill()
            p.wait()
        for c in self.clients:
            c.is_over.set()
            c.thread.join()
        if exception[0] is None:
            assert all(lived), "sysbench has ended; see sysbench.log of %s" % self.lab.dir
            self.check()

    def check(self):
        self.lab.wait_equal_seqno()
        for c in self.clients:
            assert not c.errors, (c.node.name, c.errors)
            for n in self.lab.nodes:
                found = n.sql("SET SESSION wsrep_sync_wait=15", "SELECT COUNT(*), COUNT(DISTINCT number), MAX(number) FROM counted.t WHERE node=%d" % c.node.index)
                assert found[0] == (c.acknowledged, c.acknowledged, c.acknowledged - 1), (c.node.name, n.name, found, c.acknowledged)
        self.lab.checksums("counted")
        self.lab.checksums("sb")
        print("#   %d counted commits, %d write sets; longest stall of a client on each node: %s s" %
              (sum(c.acknowledged for c in self.clients), int(self.lab[1].status("wsrep_last_committed")), ", ".join("%.2f" % c.longest_s for c in self.clients)),
              flush=True)


def refuses_the_old(lab, node, old):
    return "tls-handshake" in run("cert check", "127.0.0.1:%d" % node.group_port, "--cert", old + "/n1/server-cert.pem", code=1)


def rotate_twice(providers):
    with cluster_of(providers) as lab:
        before, first, old = views(lab), make(lab, "first"), lab.certs_now
        with Load(lab):
            began = time.monotonic()
            run("rotate", inventory(lab, old), "--to", first)
            seconds = time.monotonic() - began
            lab.certs_now = make(lab, "second")
            run("rotate", inventory(lab, first), "--to", lab.certs_now)
            assert views(lab) == before, "somebody has left"
        shown(lab, lab.certs_now)
        for n in lab.nodes:
            if n.provider == STOCK:     # it trusts the CAs that it has loaded until it is restarted, as the command says
                n.stop()
                n.start().wait_synced()
            assert refuses_the_old(lab, n, old) and refuses_the_old(lab, n, first), n.name
        print("#   %s: the first rotation took %.0f s" % (["stock" if p == STOCK else "ours" for p in providers], seconds), flush=True)


def test_ours(_):
    rotate_twice([OURS] * 3)


def test_stock(_):
    rotate_twice([STOCK] * 3)


def test_mixed(_):
    rotate_twice([OURS, STOCK, OURS])
