# SPDX-License-Identifier: GPL-2.0-or-later
"""sysbench writes to all three encrypted nodes at once; nothing diverges."""
import re
import subprocess

from common import OURS, fresh_schema, running

SECONDS, TABLES = 60, 4
COMMON = ["--db-driver=mysql", "--mysql-user=root", "--mysql-db=sb", "--tables=%d" % TABLES, "--table-size=2000",
          "--db-ps-mode=disable", "--mysql-ignore-errors=1213,1205,1180,1020"]


def cluster():
    return running([OURS] * 3, slave_threads=8)


def sysbench(node, *arguments):
    return ["sysbench", "oltp_read_write", "--mysql-socket=%s/s.sock" % node.dir] + COMMON + list(arguments)


def test_sysbench_on_all_nodes_at_once(lab):
    fresh_schema(lab, "sb")
    subprocess.run(sysbench(lab[1], "prepare"), check=True, capture_output=True)
    lab.wait_equal_seqno()
    runs = [subprocess.Popen(sysbench(n, "--threads=4", "--time=%d" % SECONDS, "run"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for n in lab.nodes]
    outputs = [r.communicate(timeout=SECONDS + 120)[0] for r in runs]
    assert all(r.returncode == 0 for r in runs), outputs
    for n, o in zip(lab.nodes, outputs):
        print("#   %s: %s" % (n.name, [line.strip() for line in o.splitlines() if "transactions:" in line or "95th" in line]))
        assert int(re.search(r"transactions: +(\d+)", o)[1]) > 0, o
        assert n.status("wsrep_replicated") != "0" and n.status("wsrep_received") != "0"
    lab.wait_size(3)
    sums = lab.checksums("sb")
    assert set(sums) == {"sbtest%d" % i for i in range(1, TABLES + 1)} and None not in sums.values(), sums
    for n in lab.nodes:
        assert n.status("wsrep_local_state_comment") == "Synced"
