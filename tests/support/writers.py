# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that write to all nodes while a test does something to the cluster, and that remember what was acknowledged.

They pause between two statements, or they would take most of the machine from what a test is about; XEBEC_WRITER_PAUSE=0
(seconds) makes them as fast as they can be, as `make check-full` does.
Each statement inserts (client, number) once. An acknowledged one must be there at the end, exactly once; one that the
server refused must not be there; one whose connection broke may be there, once.
"""
import os
import threading

import pymysql

from common import DEADLOCK, errno_of

PAUSE_S = float(os.environ.get("XEBEC_WRITER_PAUSE", "0.01"))
UNKNOWN_COMMAND = 1047  # the node is not ready
REFUSED = (DEADLOCK, UNKNOWN_COMMAND, 1205, 1290)


class Writer:
    """Inserts numbered rows on one node in a thread of its own, and knows which were acknowledged and how others failed."""

    def __init__(self, node, table):
        self.node, self.table, self.stopped, self.acknowledged, self.errors = node, table, threading.Event(), [], []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        c, i = self.node.connect(), 0
        while not self.stopped.wait(PAUSE_S):
            i += 1
            error = errno_of(c, "INSERT INTO %s VALUES (%d, %d)" % (self.table, i, self.node.index))
            if error == 0:
                self.acknowledged.append(i)
            else:
                self.errors.append(error)
        c.close()

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return len(self.acknowledged)


class Writers:
    def __init__(self, lab, table, count=6, pause_s=PAUSE_S):
        self.lab, self.table, self.pause_s = lab, table, pause_s
        self.acknowledged, self.refused, self.unknown = set(), set(), set()
        self.is_over = threading.Event()
        lab.running()[0].sql("CREATE TABLE %s (id BIGINT AUTO_INCREMENT PRIMARY KEY, client INT, number INT, KEY (client, number))" % table)
        lab.wait_equal_seqno()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]
        for t in self.threads:
            t.start()

    def connect(self, turn):
        """-> a connection to one of the nodes that take one, or None"""
        nodes = self.lab.nodes
        for i in range(len(nodes)):
            try:
                return nodes[(turn + i) % len(nodes)].connect(read_timeout=60)
            except (pymysql.MySQLError, OSError):
                pass
        self.is_over.wait(0.1)
        return None

    def run(self, client):
        connection, turn = None, client
        number = 0
        while not self.is_over.wait(self.pause_s):
            connection = connection or self.connect(turn)
            if not connection:
                continue
            number += 1
            try:
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO %s (client, number) VALUES (%d, %d)" % (self.table, client, number))
                self.acknowledged.add((client, number))
            except (pymysql.MySQLError, OSError) as e:
                code = e.args[0] if e.args else 0
                (self.refused if code in REFUSED else self.unknown).add((client, number))
                if code != DEADLOCK:
                    connection, turn = None, turn + 1

    def stop(self):
        self.is_over.set()
        for t in self.threads:
            t.join(120)
            assert not t.is_alive(), "a client hangs"

    def check(self):
        """What the tables say against what the clients were told; call after stop() -> count of acknowledged commits"""
        self.lab.wait_equal_seqno()
        rows = self.lab.running()[0].sql("SELECT client, number FROM %s" % self.table)
        found = set(rows)
        assert len(rows) == len(found), "%d rows doubled" % (len(rows) - len(found))
        assert not self.acknowledged - found, "lost: %s" % sorted(self.acknowledged - found)[:10]
        assert not self.refused & found, "refused but there: %s" % sorted(self.refused & found)[:10]
        assert not found - self.acknowledged - self.unknown
        assert self.acknowledged, "nothing was written"
        return len(self.acknowledged)
