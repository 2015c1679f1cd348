# SPDX-License-Identifier: GPL-2.0-or-later
"""New certificates in a running cluster, one node of it stock: nobody leaves, no commit is lost, the old ones are gone."""
import contextlib
import os
import shutil
import subprocess

from common import OURS, STOCK, errno_of, fresh_schema, running, wait_until
from writers import Writer

RELOAD = "SET GLOBAL wsrep_provider_options='socket.ssl_reload=1'"


def sign(lab, name, usage="serverAuth,clientAuth"):
    """-> directory with server-cert.pem and server-key.pem of the lab's CA"""
    d = os.path.join(lab.dir, "signed-" + name.replace(" ", "-"))
    os.makedirs(d)
    run = lambda *a: subprocess.run(a, check=True, cwd=d, capture_output=True)  # noqa: E731
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server-key.pem")
    run("openssl", "req", "-new", "-key", "server-key.pem", "-subj", "/CN=" + name, "-out", "r.csr")
    with open(d + "/ext", "w") as f:
        f.write("basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=IP:127.0.0.1\n" % usage)
    run("openssl", "x509", "-req", "-in", "r.csr", "-CA", lab.certs + "/ca.pem", "-CAkey", lab.certs + "/ca-key.pem", "-CAcreateserial",
        "-days", "100", "-extfile", "ext", "-out", "server-cert.pem")
    return d


def files(node):
    return os.path.join(node.dir, "tls")


def install(node, directory):
    """Each file is replaced at once, one after the other."""
    os.makedirs(files(node), exist_ok=True)
    for name in ("server-key.pem", "server-cert.pem"):
        shutil.copy(os.path.join(directory, name), files(node) + "/new")
        os.chmod(files(node) + "/new", 0o600)
        os.rename(files(node) + "/new", os.path.join(files(node), name))


def options(lab, node):
    return "socket.ssl_key={0}/server-key.pem;socket.ssl_cert={0}/server-cert.pem;socket.ssl_ca={1}/ca.pem".format(files(node), lab.certs)


@contextlib.contextmanager
def cluster():
    with running([OURS, OURS, STOCK], start=False) as lab:
        for n in lab.nodes:
            install(n, sign(lab, "old %s" % n.name))
            n.extra_options = options(lab, n)
        lab[2].extra_options += ";socket.ssl_watch=YES"
        lab.start_all()
        yield lab


def peers(node):
    """-> subjects of the certificates that the peers of a node of ours have shown"""
    return sorted(p.split("|")[4] for p in node.status("wsrep_peers").split(";") if p)


def test_unfit_files(lab):
    """The old set stays, the error names the file; the cluster goes on."""
    before, size = peers(lab[2]), len(lab[1].log())
    install(lab[1], sign(lab, "client only", usage="clientAuth"))
    c = lab[1].connect()
    with contextlib.closing(c):
        assert errno_of(c, RELOAD)
    log = lab[1].log()[size:]
    assert "The certificate files are not usable; the old ones stay in use: '%s/server-cert.pem' (socket.ssl_cert) is unfit" % files(lab[1]) in log
    assert "lacks serverAuth" in log
    shutil.copy(lab.certs + "/server-key.pem", files(lab[1]))
    with contextlib.closing(lab[1].connect()) as c:
        assert errno_of(c, RELOAD)
    assert "key values mismatch" in lab[1].log()[size:]
    assert peers(lab[2]) == before
    assert all(n.status("wsrep_cluster_size") == "3" for n in lab.nodes)


def test_rotation_under_load(lab):
    fresh_schema(lab, "ro")
    lab[1].sql("CREATE TABLE ro.t (a INT, node INT, PRIMARY KEY (a, node))")
    lab.wait_equal_seqno()
    views = [n.status("wsrep_cluster_conf_id") for n in lab.nodes]
    writers = [Writer(n, "ro.t") for n in lab.nodes]
    for n in (lab[3], lab[1], lab[2]):      # stock first: it makes none of its connections anew, ours do it then
        install(n, sign(lab, "new %s" % n.name))
        if n is not lab[2]:      # that one watches its files
            n.sql(RELOAD)
    wait_until("node 1 sees the new ones", lambda: peers(lab[1]) == ["CN=new n2", "CN=new n3"])
    wait_until("node 2 sees the new ones", lambda: peers(lab[2]) == ["CN=new n1", "CN=new n3"])
    for w in writers:
        w.stop()
        assert not w.errors, w.errors[:3]
    lab.wait_equal_seqno()
    assert [n.status("wsrep_cluster_conf_id") for n in lab.nodes] == views
    for w in writers:
        assert w.acknowledged and lab[1].value("SELECT COUNT(*) FROM ro.t WHERE node=%d" % w.node.index) == len(w.acknowledged)
    lab.checksums("ro")


def test_revocation_cuts_a_member(lab):
    """Node 3's certificate is revoked on both others: it is cut off, they stay together."""
    d = os.path.join(lab.dir, "crl")
    os.makedirs(d)
    open(d + "/index.txt", "w").close()
    with open(d + "/crlnumber", "w") as f:
        f.write("01\n")
    with open(d + "/ca.cnf", "w") as f:
        f.write("[ca]\ndefault_ca=d\n[d]\ndatabase={0}/index.txt\ncrlnumber={0}/crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n"
                "certificate={1}/ca.pem\nprivate_key={1}/ca-key.pem\n".format(d, lab.certs))
    for arguments in (["-revoke", files(lab[3]) + "/server-cert.pem"], ["-gencrl", "-out", d + "/crl.pem"]):
        subprocess.run(["openssl", "ca", "-config", d + "/ca.cnf"] + arguments, check=True, capture_output=True)
    for n in (lab[1], lab[2]):
        n.sql("SET GLOBAL wsrep_provider_options='socket.ssl_crl=%s/crl.pem'" % d)
    for n in (lab[1], lab[2]):
        wait_until("%s without node 3" % n.name, lambda: n.status("wsrep_cluster_size") == "2" and n.status("wsrep_ready") == "ON")
    assert "certificate is not accepted any more: " in lab[1].log() and "certificate revoked" in lab[1].log()
    lab[3].kill()
    lab[1].sql("INSERT INTO ro.t VALUES (0, 0)")
