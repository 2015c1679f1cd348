# SPDX-License-Identifier: GPL-2.0-or-later
"""A hot table in a cluster of both providers: all nodes certify alike, with many conflicts."""
import random
import threading

import pymysql

from common import DEADLOCK, OURS, STOCK, assert_no_complaints, fresh_schema, running

CLIENTS, TRANSACTIONS, ROWS = 9, 250, 30


def cluster():
    return running([STOCK, OURS, OURS])


class Client(threading.Thread):
    """Two updates of random rows of few; every third transaction inserts and deletes as well."""

    def __init__(self, node, index):
        super().__init__()
        self.node, self.index = node, index
        self.committed, self.conflicts, self.error = 0, 0, None

    def statements(self, rng, i):
        a, b = rng.sample(range(ROWS), 2)
        yield "UPDATE hot.t SET n = n + 1, last = %d WHERE id = %d" % (self.index, a)
        yield "UPDATE hot.t SET n = n + 1, last = %d WHERE id = %d" % (self.index, b)
        if i % 3 == 0:
            yield "INSERT INTO hot.u (a, b) VALUES (%d, %d) ON DUPLICATE KEY UPDATE b = b + 1" % (a, b)
            yield "DELETE FROM hot.u WHERE a = %d" % b

    def run(self):
        rng = random.Random(self.index)
        try:
            connection = self.node.connect(autocommit=False, read_timeout=60)
            for i in range(TRANSACTIONS):
                try:
                    with connection.cursor() as cursor:
                        for s in self.statements(rng, i):
                            cursor.execute(s)
                    connection.commit()
                    self.committed += 1
                except pymysql.MySQLError as e:
                    if e.args[0] not in (DEADLOCK, 1205):
                        raise
                    self.conflicts += 1
                    connection.rollback()
        except Exception as e:
            self.error = e


def number(node, status):
    return int(node.status(status))


def test_conflicts_on_both_providers(lab):
    fresh_schema(lab, "hot")
    lab[1].sql("CREATE TABLE hot.t (id INT PRIMARY KEY, n INT, last INT)", "CREATE TABLE hot.u (a INT PRIMARY KEY, b INT)",
               "INSERT INTO hot.t VALUES " + ",".join("(%d, 0, 0)" % i for i in range(ROWS)))
    lab.wait_equal_seqno()
    clients = [Client(lab.nodes[i % 3], i) for i in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
        assert c.error is None, c.error
    lab.wait_size(3)
    lab.checksums("hot")
    committed, conflicts = sum(c.committed for c in clients), sum(c.conflicts for c in clients)
    assert lab[1].value("SELECT SUM(n) FROM hot.t") == 2 * committed, "an update was lost or doubled"
    ratio, failures = conflicts / (committed + conflicts), {n.name: number(n, "wsrep_local_cert_failures") for n in lab.nodes}
    print("#   %d committed, %d conflicts (%d%%), certification failures %s" % (committed, conflicts, 100 * ratio, failures))
    assert 0.05 < ratio < 0.45, "not the load that this test is about"
    assert sum(failures.values()) > 0, "nothing was left to certification"
    for n in lab.nodes:
        assert number(n, "wsrep_cluster_conf_id") == 3, "somebody left"
        own = sum(c.conflicts for c in clients if c.node is n)
        causes = failures[n.name] + number(n, "wsrep_local_bf_aborts") + number(n, "Innodb_deadlocks")
        assert failures[n.name] <= own <= causes, "%s: its clients saw %d conflicts; certification failures %d, with other causes %d" % (
            n.name, own, failures[n.name], causes)
    assert_no_complaints(lab)
