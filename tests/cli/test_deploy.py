# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec config and deploy: fragments that MariaDB reads, all nodes or none, here and through a real sshd on loopback."""
import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import tempfile

import lab as labs
from test_cert import run

SSHD = "/usr/sbin/sshd"


@contextlib.contextmanager
def cluster():
    directory = tempfile.mkdtemp(prefix="xebec-cli-")
    run("cert init", directory + "/certs", "--cluster", "shop", "--node", "n1=127.0.0.1", "--node", "n2=127.0.0.2")
    yield directory
    shutil.rmtree(directory)


def inventory(directory, more="", n2=""):
    """Two nodes, each in a directory of its own -> path"""
    for n in ("n1", "n2"):
        shutil.rmtree("%s/%s" % (directory, n), ignore_errors=True)
        os.makedirs("%s/%s" % (directory, n))
    path = directory + "/inventory"
    with open(path, "w") as f:
        f.write("[cluster]\nname = shop\ncerts = {d}/certs\nowner = {user}\n{more}\n"
                "[node n1]\naddress = 127.0.0.1\ncerts_dir = {d}/n1/tls\nfragment = {d}/n1/x.cnf\n"
                "[node n2]\naddress = 127.0.0.2\nport=3307\ncerts_dir = {d}/n2/tls\nfragment = {d}/n2/x.cnf\n{n2}\n"
                .format(d=directory, more=more, n2=n2, user=getpass.getuser()))
    return path


def read(path):
    with open(path) as f:
        return f.read()


def tree(directory):
    return {os.path.join(r, f): read(os.path.join(r, f)) for n in ("n1", "n2") for r, _, fs in os.walk(os.path.join(directory, n)) for f in fs}


def defaults(path, group):
    return subprocess.run(["my_print_defaults", "--defaults-file=" + path, group], check=True, capture_output=True, text=True).stdout


def check_deployed(directory):
    for n in ("n1", "n2"):
        assert read("%s/%s/tls/server-cert.pem" % (directory, n)) == read("%s/certs/%s/server-cert.pem" % (directory, n))
        assert os.stat("%s/%s/tls/server-key.pem" % (directory, n)).st_mode & 0o777 == 0o600
        assert not os.path.exists("%s/%s/tls/ca-key.pem" % (directory, n))
        assert "wsrep_node_name = %s\n" % n in read("%s/%s/x.cnf" % (directory, n))
        run("cert check", "%s/%s/tls" % (directory, n), "--owner", getpass.getuser())


def test_fragments(directory):
    inv = inventory(directory, "provider = /usr/lib/libxebec_smm.so", "options = gcache.size=64M")
    run("config", inv, "-o", directory + "/out")
    assert read(directory + "/out/n2.cnf") == run("config", inv, "n2") == json.loads(run("config", inv, "n2", "--json"))["n2"]
    server = defaults(directory + "/out/n2.cnf", "mysqld")
    assert "--ssl_key=%s/n2/tls/server-key.pem\n" % directory in server and "--port=3307\n" in server
    assert "gcomm://127.0.0.1:4567,127.0.0.2:4567\n" in server and "gcache.size=64M" in server and "socket.ssl_ca=" in server
    assert "--encrypt=4\n" in defaults(directory + "/out/n2.cnf", "sst")
    assert "--ssl_cert=%s/n2/tls/client-cert.pem\n" % directory in defaults(directory + "/out/n2.cnf", "client")
    run("config", inv, "n9", code=2)


def test_inventories_that_are_not_acceptable(directory):
    for bad in ("fragment = x.cnf", "ssh = -oProxyCommand=evil", "ssh = a b", "fragment = /etc/$(id).cnf", "port = 0", "wrong = 1",
                "address = a;b", "options = a\"b"):
        message = run("deploy", inventory(directory, n2=bad), code=3)
        assert "line" in message, message
    assert "cannot read" in run("config", directory + "/nothing", code=3)


def test_deploys_and_replaces(directory):
    inv = inventory(directory)
    assert "new" in run("deploy", inv, "--dry-run") and tree(directory) == {}
    run("deploy", inv)
    check_deployed(directory)
    assert set(json.loads(run("deploy", inv, "--dry-run", "--json"))["nodes"]["n1"].values()) == {"same"}
    run("cert init", directory + "/certs", "--cluster", "shop", "--keep-ca", "--force", "--node", "n1=127.0.0.1", "--node", "n2=127.0.0.2")
    changes = json.loads(run("deploy", inv, "--json"))["nodes"]["n2"]
    assert changes["server-key.pem"] == "changed" and changes["ca.pem"] == "same"
    check_deployed(directory)


def test_a_failing_node_undoes_all(directory):
    inv = inventory(directory)
    os.makedirs(directory + "/n1/tls")
    for path in ("/n1/tls/old", "/n1/x.cnf"):
        with open(directory + path, "w") as f:
            f.write("old\n")
    os.makedirs(directory + "/n2/tls/sub")
    os.makedirs(directory + "/n2/tls.d/before-xebec/in-the-way")
    before = tree(directory)
    assert "n2" in run("deploy", inv, code=3)
    assert tree(directory) == {p.replace("n1/tls/", "n1/tls.d/before-xebec/"): t for p, t in before.items()}
    assert read(directory + "/n1/tls/old") == "old\n" and os.path.isdir(directory + "/n2/tls/sub")
    shutil.rmtree(directory + "/n2/tls.d")
    run("deploy", inv)
    check_deployed(directory)


def test_unfit_certificates_are_not_deployed(directory):
    inv = inventory(directory)
    key = directory + "/certs/n2/server-key.pem"
    good = read(key)
    shutil.copy(directory + "/certs/n1/server-key.pem", key)
    assert "does not belong" in run("deploy", inv, code=3)
    with open(key, "w") as f:
        f.write(good)
    assert tree(directory) == {}


@contextlib.contextmanager
def sshd(directory):
    """A real sshd with keys of its own -> ssh's configuration file"""
    d = directory + "/ssh"
    os.makedirs(d, mode=0o700)
    os.makedirs("/run/sshd", exist_ok=True)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "%s/%s" % (d, key)], check=True)
    port = labs.free_ports(1)[0]
    with open(d + "/sshd_config", "w") as f:
        f.write("Port {p}\nListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/user.pub\nStrictModes no\nUsePAM no\n"
                "PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n".format(p=port, d=d))
    with open(d + "/config", "w") as f:
        f.write("Host far\n HostName 127.0.0.1\n Port {p}\n IdentityFile {d}/user\n IdentitiesOnly yes\n StrictHostKeyChecking no\n"
                " UserKnownHostsFile {d}/known\n".format(p=port, d=d))
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", d + "/sshd_config"], stderr=subprocess.DEVNULL)
    try:
        def listens():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        labs.wait_until("sshd listens", listens)
        yield d + "/config"
    finally:
        server.terminate()
        server.wait()


def test_through_ssh(directory):
    with sshd(directory) as config:
        inv = inventory(directory, "ssh_config = " + config, "ssh = far")
        run("deploy", inv, "--dry-run")
        assert tree(directory) == {}
        run("deploy", inv)
        check_deployed(directory)
    assert "node n2" in run("deploy", inv, code=3)   # nobody listens any more
    check_deployed(directory)
