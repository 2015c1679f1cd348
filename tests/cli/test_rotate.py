# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec rotate: a new CA on a running cluster of both providers, killed and resumed, undone, and refused when unfit."""
import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from common import OURS, STOCK, labs, running, wait_until
from test_cert import XEBEC, run


def cluster():
    return cluster_of([OURS, STOCK])


@contextlib.contextmanager
def cluster_of(providers, by_tcp=(), requires="X509"):
    """Each node reads its certificates through a directory of its own, which deploy and rotate switch. The command talks
    to the servers through their sockets, or by TCP to the nodes of these numbers, with a client certificate, which is rotated too."""
    with running(providers, start=False) as lab:
        old = os.path.join(lab.dir, "old")
        make(lab, "old")
        for n in lab.nodes:
            n.certs_dir = os.path.join(n.dir, "tls")
            tls = "ssl_ca={d}/ca.pem\nssl_cert={d}/server-cert.pem\nssl_key={d}/server-key.pem\n".format(d=n.certs_dir)
            n.extra_config = tls
            n.extra_options = "socket.ssl_ca={d}/ca.pem;socket.ssl_cert={d}/server-cert.pem;socket.ssl_key={d}/server-key.pem".format(d=n.certs_dir)
        lab.by_tcp = ()
        run("deploy", inventory(lab, old), "--certs-only")
        lab.certs = lab[1].certs_dir    # for clients and snapshots
        lab.certs_now = old
        lab.start_all()
        lab.by_tcp = by_tcp
        if by_tcp:
            lab[1].sql("CREATE USER admin@'%%' IDENTIFIED BY 'secret' REQUIRE %s" % requires, "GRANT ALL ON *.* TO admin@'%'",
                       "CREATE USER admin@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO admin@localhost")
            lab.wait_equal_seqno()
            lab.password_file = os.path.join(lab.dir, "password")
            with open(lab.password_file, "w") as f:
                f.write("secret\n")
        yield lab


def make(lab, name, *arguments):
    path = os.path.join(lab.dir, name)
    shutil.rmtree(path, ignore_errors=True)
    nodes = [x for n in lab.nodes for x in ("--node", n.name + "=127.0.0.1")]
    run("cert init", path, "--cluster", name, *nodes, *arguments)
    return path


def inventory(lab, certs):
    path = os.path.join(lab.dir, "inventory")
    with open(path, "w") as f:
        f.write("[cluster]\nname = %s\ncerts = %s\nowner = %s\n" % (lab.cluster, certs, getpass.getuser()))
        if lab.by_tcp:
            f.write("user = admin\npassword_file = %s\n" % lab.password_file)
        for n in lab.nodes:
            f.write("[node %s]\naddress = 127.0.0.1\nport = %d\ngroup_port = %d\nist_port = %d\nsst_port = %d\n"
                    "certs_dir = %s\nfragment = %s/x.cnf\n" % (n.name, n.port, n.group_port, n.ist_port, n.sst_port, n.certs_dir, n.dir))
            if n.index not in lab.by_tcp:
                f.write("socket = %s/s.sock\n" % n.dir)
    return path


def shown(lab, certs):
    """Every node shows clients and peers what is in certs, and trusts it."""
    for n in lab.nodes:
        d = os.path.join(certs, n.name)
        for port in (n.port, n.group_port):
            text = run("cert check", "127.0.0.1:%d" % port, "--ca", d + "/ca.pem", *(("--cert", d + "/server-cert.pem") if port == n.group_port else ()))
            assert "-node-" + n.name in text, text


class Writes:
    """Commits rows on node 1 until it is left; every row that was acknowledged must be there afterwards."""
    def __init__(self, lab):
        self.lab, self.is_over, self.acknowledged, self.errors, self.longest_s = lab, False, 0, [], 0.0
        lab[1].sql("CREATE DATABASE IF NOT EXISTS r", "CREATE OR REPLACE TABLE r.t (id INT PRIMARY KEY)")

    def work(self):
        c = self.lab[1].connect()
        with c.cursor() as cursor:
            while not self.is_over:
                started = time.monotonic()
                try:
                    cursor.execute("INSERT INTO r.t VALUES (%d)" % self.acknowledged)
                    self.acknowledged += 1
                    self.longest_s = max(self.longest_s, time.monotonic() - started)
                except labs.pymysql.MySQLError as e:
                    self.errors.append(e)
                    return
        c.close()

    def __enter__(self):
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        wait_until("the first rows", lambda: self.acknowledged > 10)
        return self

    def __exit__(self, *exception):
        self.is_over = True
        self.thread.join()
        if exception[0] is None:
            assert not self.errors, self.errors
            for n in self.lab.nodes:
                assert n.sql("SET SESSION wsrep_sync_wait=15", "SELECT COUNT(*) FROM r.t")[0][0] == self.acknowledged
            self.lab.checksums("r")
            print("# %d rows committed, the slowest in %.3f s" % (self.acknowledged, self.longest_s), flush=True)


def views(lab):
    return [n.status("wsrep_cluster_conf_id") for n in lab.nodes]


def test_a_new_ca_under_writes(lab):
    before, new = views(lab), make(lab, "first")
    with Writes(lab):
        text = run("rotate", inventory(lab, lab.certs_now), "--to", new)
    assert "Phase 3" in text and "certs = " + new in text
    shown(lab, new)
    # Ours drops the old CA at once; the stock provider keeps what it has loaded, and that is said.
    old = lab.certs_now
    for n in lab.nodes:
        is_stock = n.provider == STOCK
        assert ("node %s still takes the old certificate" % n.name in text) == is_stock, text
        if not is_stock:
            assert "tls-handshake" in run("cert check", "127.0.0.1:%d" % n.group_port, "--cert", old + "/n1/server-cert.pem", code=1)
    lab.certs_now = new
    assert views(lab) == before     # nobody has left
    assert not os.path.exists(os.path.join(lab.dir, "inventory.rotation"))


def test_the_nodes_come_back_with_it(lab):
    lab[2].stop()
    lab[2].start().wait_synced()
    shown(lab, lab.certs_now)


def test_unfit_certificates_do_not_begin_to_travel(lab):
    bad = make(lab, "bad")
    shutil.copy(bad + "/n1/server-key.pem", bad + "/n2/server-key.pem")
    assert "does not belong" in run("rotate", inventory(lab, lab.certs_now), "--to", bad, code=3)
    assert not os.path.exists(os.path.join(lab.dir, "inventory.rotation"))
    shown(lab, lab.certs_now)


def killed_at(lab, line, new):
    """Kills a rotation when it has said the line."""
    process = subprocess.Popen([XEBEC, "rotate", inventory(lab, lab.certs_now), "--to", new], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for said in process.stdout:
        if line in said:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL


def test_killed_at_every_step_and_resumed(lab):
    for i, line in enumerate(("Phase 1", "node n1", "Phase 2", "Phase 3")):
        new = make(lab, "again%d" % i)
        with Writes(lab):
            killed_at(lab, line, new)
            path = inventory(lab, lab.certs_now)
            assert "under way" in run("rotate", path, "--to", new, code=3)
            run("rotate", path, "--resume")
        lab.certs_now = new
        shown(lab, new)


def test_killed_and_aborted(lab):
    for line in ("Phase 2", "Phase 3"):
        new = make(lab, "aborted")
        killed_at(lab, line, new)
        run("rotate", inventory(lab, lab.certs_now), "--abort")
        shown(lab, lab.certs_now)
        assert not os.path.exists(os.path.join(lab.dir, "inventory.rotation"))


def test_a_hanging_node_is_noticed_before_anything_is_touched(lab):
    new = make(lab, "later")
    path = inventory(lab, lab.certs_now)
    lab[2].signal(signal.SIGSTOP)
    try:
        assert not json.loads(run("rotate", path, "--to", new, "--json", code=3).splitlines()[0])["done"]
        assert not os.path.exists(path + ".rotation")
    finally:
        lab[2].signal(signal.SIGCONT)
    lab[2].wait_synced()
    lab.wait_size(2)
    run("rotate", path, "--to", new)
    lab.certs_now = new
    shown(lab, new)


def test_a_node_that_dies_in_it_stops_it_and_resume_ends_it(lab):
    new, path = make(lab, "last"), inventory(lab, lab.certs_now)
    process = subprocess.Popen([XEBEC, "rotate", path, "--to", new], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    for line in process.stdout:
        said += line
        if "Phase 2" in line:
            lab[2].kill()
    assert process.wait() == 3 and "going back to the end of phase 1" in said, said
    shown_by_first = run("cert check", "127.0.0.1:%d" % lab[1].port)
    assert "-node-n1" in shown_by_first and "last-node" not in shown_by_first, shown_by_first
    lab[2].start().wait_synced()
    lab.wait_size(2)
    run("rotate", path, "--resume")
    lab.certs_now = new
    shown(lab, new)


def test_renewal_under_the_same_ca(lab):
    new = lab.certs_now + "-renewed"
    shutil.copytree(lab.certs_now, new)
    nodes = [x for n in lab.nodes for x in ("--node", n.name + "=127.0.0.1")]
    run("cert init", new, "--cluster", "renewed", "--keep-ca", "--force", *nodes)
    run("rotate", inventory(lab, lab.certs_now), "--to", new)
    lab.certs_now = new
    shown(lab, new)
