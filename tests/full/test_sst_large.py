# SPDX-License-Identifier: GPL-2.0-or-later
"""A data set of 2 GB goes by methods xebec and mariabackup while it changes; a pulled cable is noticed without any timeout of [sst]
(make check-full, as root: network namespaces)."""
import contextlib
import os
import sys
import threading

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))
import sst  # noqa: E402
from common import OURS, running, wait_until  # noqa: E402
from network import Network  # noqa: E402

MEGABYTES = int(os.environ.get("XEBEC_SST_MEGABYTES", "2000"))
TABLES = 4
TCP_NOTICES = 150   # seconds: 120 and what the machine may take


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="xebec", gcache_size="64M") as lab:
        sst.offer(lab)
        network = lab.network = Network(lab)
        lab[1].extra_options = "pc.weight=3"
        for n in lab.nodes:
            n.launcher += ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /usr/bin/wsrep_sst_mariabackup && exec "$@"', sst.PROGRAM]
            n.sst_config = sst.tls_config(lab, 4)
        try:
            lab[1].start(bootstrap=True).wait_synced()
            fill(lab[1])
            yield lab
        finally:
            lab.close()
            network.close()


def fill(node):
    """Half of each row is random, as data that shrinks to one half."""
    node.sql("CREATE DATABASE sst")
    rows = MEGABYTES * 1000000 // 8000 // TABLES
    for t in range(TABLES):
        node.sql("CREATE TABLE sst.t%d (id INT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(8000))" % t)
        for start in range(0, rows, 5000):
            node.sql("INSERT INTO sst.t%d (v) SELECT CONCAT(%s, REPEAT('x', 4000)) FROM sst.seq_1_to_%d" %
                     (t, ",".join(["RANDOM_BYTES(1000)"] * 4), min(5000, rows - start)))


class Changes:
    """Rows are updated on a node while this is open."""

    def __init__(self, node):
        self.node, self.is_over, self.count = node, threading.Event(), 0
        self.thread = threading.Thread(target=self.change)

    def change(self):
        with contextlib.closing(self.node.connect()) as c, c.cursor() as cursor:
            while not self.is_over.is_set():
                cursor.execute("UPDATE sst.t%d SET v = REPEAT(%d, 1000) WHERE id = %d" % (self.count % TABLES, self.count, self.count // TABLES + 1))
                self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.is_over.set()
        self.thread.join()


def test_two_gigabytes(lab):
    for method in ("xebec", "mariabackup"):
        lab[2].stop()
        sst.wipe(lab[2])
        lab.sst = method
        with Changes(lab[1]) as changes:
            lab[2].start().wait_synced(1200)
        assert changes.count > 0
        lab.wait_size(2)
        lab.checksums("sst")
        sst.no_leftovers(*lab.nodes)
        print("#   %s: %s" % (method, [line for line in lab[2].log().splitlines() if "received" in line and " files, " in line][-1]), flush=True)


def test_pulled_cable(lab):
    """The joiner is cut off from everybody in the middle: both programs end, the donor is synced, the joiner comes back."""
    for method in ("xebec", "mariabackup"):
        lab[2].stop()
        sst.wipe(lab[2])
        lab.sst = method
        for n in lab.nodes:
            n.sst_config = sst.tls_config(lab, 4, "rlimit=20m\n")
        lab[1].write_config()
        lab[2].start()
        wait_until("data to flow", lambda: "[INFO] received" in lab[2].log(), 60)
        lab.network.pull_cable(lab[2])
        wait_until("the joiner's server to end", lambda: not lab[2].is_running(), TCP_NOTICES)
        wait_until("the donor to be synced", lambda: lab[1].try_status("wsrep_local_state_comment") == "Synced", TCP_NOTICES)
        wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
        lab.network.push_cable(lab[2])
        for n in lab.nodes:
            n.sst_config = sst.tls_config(lab, 4)
        lab[1].write_config()
        lab[2].start().wait_synced(1200)
        lab.wait_size(2)
        lab.checksums("sst")
        sst.no_leftovers(*lab.nodes)
