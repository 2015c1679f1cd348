# SPDX-License-Identifier: GPL-2.0-or-later
"""A node joins by a snapshot while clients write as fast as they can: nobody is thrown out, no commit is lost, whichever node donates."""
import contextlib
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))
import sst  # noqa: E402
from common import OURS, fresh_schema, running  # noqa: E402
from writers import Writers  # noqa: E402


@contextlib.contextmanager
def cluster():
    with running([OURS] * 3, start=False, sst="xebec", user="mysql") as lab:
        sst.offer(lab)
        for n in lab.nodes:
            n.sst_config = sst.tls_config(lab, 4)
            n.extra_config = "innodb_log_file_size=32M\n"
            sst.use_program(n, True, "rsync")
        lab[1].start(bootstrap=True).wait_synced()
        sst.fill(lab[1], rows=100000)
        lab[2].start().wait_synced()
        yield lab


def join_under_load(lab, method, donor):
    lab[3].stop()
    sst.wipe(lab[3])
    lab.sst = method
    lab[3].extra_config += "wsrep_sst_donor=%s\n" % donor.name
    lab.wait_size(2)
    fresh_schema(lab, "w")
    views, sent = int(lab[1].status("wsrep_cluster_conf_id")), len(donor.log())
    writers = Writers(lab, "w.t", pause_s=0)
    try:
        lab[3].start().wait_synced(300)
        lab.wait_size(3)
    finally:
        writers.stop()
    assert "[INFO] sent to " in donor.log()[sent:]
    assert int(lab[1].status("wsrep_cluster_conf_id")) == views + 1, "somebody has left"
    print("#   %s from %s: %d commits meanwhile" % (method, donor.name, writers.check()))
    for schema in ("sst", "w"):
        lab.checksums(schema)
    sst.no_leftovers(*lab.nodes)


def test_xebec(lab):
    for donor in lab.nodes[:2]:
        join_under_load(lab, "xebec", donor)


def test_rsync(lab):
    for donor in lab.nodes[:2]:
        join_under_load(lab, "rsync", donor)
