# SPDX-License-Identifier: GPL-2.0-or-later
"""All certificates expire, and every connection is lost: xebec rotate --recover brings the cluster back, no server restarts."""
import datetime
import os
import shutil
import sys

from common import OURS, STOCK, wait_until
from test_cert import ROOT, run
from test_rotate import cluster_of, inventory, make, shown
sys.path.insert(0, os.path.join(ROOT, "tests/cluster"))
from test_tls_matrix import Authority  # noqa: E402

ALIVE_S = 25


def cluster():
    """Node 1 is told by its socket; the others by TCP, where a client certificate would be refused as expired."""
    return cluster_of([OURS, OURS, STOCK], by_tcp=(2, 3), requires="SSL")


def short_lived(lab):
    """-> directory with certificates of the same CA that expire in a moment"""
    path = os.path.join(lab.dir, "short")
    ca = Authority(lab.certs_now, path)
    end = (datetime.datetime.utcnow() + datetime.timedelta(seconds=ALIVE_S)).strftime("%Y%m%d%H%M%SZ")
    for n in lab.nodes:
        ca.sign(n.name, name="short-" + n.name, san="IP:127.0.0.1", end=end)
        for name in ("client-cert.pem", "client-key.pem"):
            shutil.copy(os.path.join(lab.certs_now, n.name, name), os.path.join(path, n.name))
    return path


def set_option(node, text):
    node.sql("SET SESSION wsrep_on=OFF", "SET GLOBAL wsrep_provider_options='%s'" % text)


def part(lab):
    """Every connection ends; the nodes may dial again afterwards."""
    for n in lab.nodes:
        set_option(n, "gmcast.isolate=1")
    for n in lab.nodes:
        wait_until("%s alone" % n.name, lambda: n.status("wsrep_cluster_status") == "non-Primary")
    for n in lab.nodes:
        set_option(n, "gmcast.isolate=0")


def test_recovery(lab):
    lab[1].sql("CREATE DATABASE x", "CREATE TABLE x.t (a INT PRIMARY KEY)", "INSERT INTO x.t VALUES (1)")
    short = short_lived(lab)
    run("deploy", "--certs-only", inventory(lab, short))
    for n in lab.nodes:
        n.sql("SET GLOBAL wsrep_provider_options='socket.ssl_reload=1'", "FLUSH LOCAL SSL")
    wait_until("the certificates have expired", lambda: "expired" in run_any("cert check", short + "/n1"))
    part(lab)
    wait_until("node 1 refuses the others", lambda: "certificate has expired" in lab[1].log())
    assert all(n.status("wsrep_cluster_status") == "non-Primary" for n in lab.nodes)
    servers = [n.process.pid for n in lab.nodes]
    new = make(lab, "new")
    text = run("rotate", inventory(lab, short), "--to", new, "--recover")
    assert "Done" in text and text.count("reloaded") == 3, text
    lab.wait_size(3)
    assert [n.process.pid for n in lab.nodes] == servers and all(n.is_running() for n in lab.nodes)
    shown(lab, new)
    lab[2].sql("INSERT INTO x.t VALUES (2)")
    lab.checksums("x")


def run_any(command, *arguments):
    """What the command says, whatever its exit code."""
    for code in (0, 1):
        try:
            return run(command, *arguments, code=code)
        except AssertionError:
            pass
    return ""
