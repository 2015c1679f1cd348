# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec cert init and cert check on files: what we make is right by openssl's judgement, what is broken is named."""
import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
XEBEC = os.environ.get("XEBEC_CLI", os.path.join(ROOT, "build/release/src/cli/xebec"))


@contextlib.contextmanager
def cluster():
    """A directory for the tests; they need no servers."""
    directory = tempfile.mkdtemp(prefix="xebec-cli-")
    yield directory
    shutil.rmtree(directory)


def run(command, *arguments, code=0):
    done = subprocess.run([XEBEC] + command.split() + list(arguments), capture_output=True, text=True)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def openssl(*arguments):
    return subprocess.run(["openssl"] + list(arguments), check=True, capture_output=True, text=True).stdout


def rules(*targets, code=1):
    """-> the set of rules that cert check finds broken"""
    return {f["rule"] for f in json.loads(run("cert check", "--json", *targets, code=code))["findings"]}


def fresh(directory, name, *arguments):
    path = os.path.join(directory, name)
    shutil.rmtree(path, ignore_errors=True)
    run("cert init", path, "--cluster", "t", *arguments)
    return path


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_init_of_every_kind(directory):
    for kind in ("rsa:2048", "rsa:3072", "rsa:4096", "ec:p256", "ec:p384", "ed25519"):
        d = fresh(directory, "kinds", "--algorithm", kind, "--node", "n1=db1,10.0.0.1", "--node", "n2")
        certs = [os.path.join(d, p) for p in ("server-cert.pem", "client-cert.pem", "n1/server-cert.pem", "n2/server-cert.pem")]
        openssl("verify", "-CAfile", d + "/ca.pem", "-x509_strict", *certs)
        openssl("verify", "-CAfile", d + "/ca.pem", "-purpose", "sslserver", certs[0], *certs[2:])
        openssl("verify", "-CAfile", d + "/ca.pem", "-purpose", "sslclient", *certs)
        subjects = [openssl("x509", "-in", c, "-noout", "-subject") for c in certs + [d + "/ca.pem"]]
        assert len(set(subjects)) == len(subjects), subjects
        assert "db1" in openssl("x509", "-in", certs[2], "-noout", "-ext", "subjectAltName")
        assert "10.0.0.1" in openssl("x509", "-in", certs[2], "-noout", "-ext", "subjectAltName")
        assert "ffdhe2048" in openssl("dhparam", "-in", d + "/dhparams.pem", "-noout", "-text")
        for name in ("ca-key.pem", "server-key.pem", "client-key.pem", "n1/server-key.pem"):
            assert mode(os.path.join(d, name)) == 0o600, name
        assert not os.path.exists(d + "/n1/ca-key.pem")
        assert rules(d, code=0) == set()


def make_dh_group(directory, option, bits):
    d = fresh(directory, "generated", option)
    text = openssl("dhparam", "-in", d + "/dhparams.pem", "-check", "-noout", "-text")
    assert "%d bit" % bits in text and "ffdhe" not in text, text


def test_a_fresh_dh_group(directory):
    """Of the shortest length that is allowed; the default takes up to minutes: tests/full/test_dh_group.py."""
    make_dh_group(directory, "--generate=1024", 1024)
    for bits in ("1023", "512", "8193", "many", ""):
        assert "is no number of bits from 1024 to 8192" in run("cert init", directory + "/none", "--generate=" + bits, code=2)


def test_a_client_certificate_is_for_clients_alone(directory):
    d = fresh(directory, "client")
    done = subprocess.run(["openssl", "verify", "-CAfile", d + "/ca.pem", "-purpose", "sslserver", d + "/client-cert.pem"], capture_output=True)
    assert done.returncode != 0


def test_nothing_is_overwritten(directory):
    d = fresh(directory, "twice")
    before = {n: open(os.path.join(d, n)).read() for n in os.listdir(d)}
    assert "nothing is overwritten" in run("cert init", d, code=3)
    run("cert init", d, "--keep-ca")
    assert before == {n: open(os.path.join(d, n)).read() for n in os.listdir(d)}
    run("cert init", d, "--keep-ca", "--force")
    after = {n: open(os.path.join(d, n)).read() for n in os.listdir(d)}
    assert {n for n in before if before[n] != after[n]} == {"server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"}
    run("cert init", d, "--keep-ca", "--node", "late=10.0.0.9")
    openssl("verify", "-CAfile", d + "/ca.pem", d + "/late/server-cert.pem")


def test_encrypted_keys(directory):
    password = os.path.join(directory, "password")
    with open(password, "w") as f:
        f.write("open sesame\n")
    d = fresh(directory, "encrypted", "--password-file", password, "--encrypt-keys")
    openssl("pkey", "-in", d + "/server-key.pem", "-passin", "file:" + password, "-noout")
    assert "ENCRYPTED" in open(d + "/ca-key.pem").read()
    assert rules(d, "--password-file", password, code=0) == {"key-encrypted"}
    run("cert init", d, "--keep-ca", "--node", "n1", code=3)
    run("cert init", d, "--keep-ca", "--node", "n1", "--password-file", password)


def sign(d, kind, subject, *more):
    """A certificate by hand, for what `cert init` would never make."""
    extensions = d + "/ext"
    with open(extensions, "w") as f:
        f.write("\n".join(more))
    openssl("req", "-new", "-key", "%s/%s-key.pem" % (d, kind), "-subj", subject, "-out", d + "/req")
    openssl("x509", "-req", "-in", d + "/req", "-CA", d + "/ca.pem", "-CAkey", d + "/ca-key.pem", "-days", "90",
            "-extfile", extensions, "-out", "%s/%s-cert.pem" % (d, kind))


def test_each_broken_thing_is_named(directory):
    san = "subjectAltName=DNS:db1"
    both = "extendedKeyUsage=serverAuth,clientAuth"

    d = fresh(directory, "broken")
    with open(d + "/server-cert.pem") as f:
        whole = f.read()
    with open(d + "/server-cert.pem", "w") as f:
        f.write(whole[:200])
    assert "unreadable" in rules(d)
    with open(d + "/server-cert.pem", "w") as f:
        f.write("")
    assert "unreadable" in rules(d)
    os.remove(d + "/server-cert.pem")
    assert rules(d) == {"missing"}

    d = fresh(directory, "broken")
    shutil.copy(d + "/client-key.pem", d + "/server-key.pem")
    assert rules(d) == {"key-does-not-fit"}

    d = fresh(directory, "broken")
    os.chmod(d + "/server-key.pem", 0o644)
    assert rules(d) == {"key-readable-by-others"}
    os.chmod(d + "/server-key.pem", 0o600)
    os.chmod(d, 0o777)
    assert rules(d) == {"directory-writable-by-others"}
    os.chmod(d, 0o755)
    assert "owner" in rules(d, "--owner", "nobody")

    other = fresh(directory, "other")
    shutil.copy(other + "/ca.pem", d + "/ca.pem")
    assert rules(d) == {"chain"}

    d = fresh(directory, "broken")
    ca = re.search(r"CN ?= ?(\S+)", openssl("x509", "-in", d + "/ca.pem", "-noout", "-subject")).group(1)
    sign(d, "server", "/CN=" + ca, san, both)
    assert rules(d) == {"same-name-as-ca"}
    sign(d, "server", "/O=other/CN=" + ca, san, both)
    assert rules(d, code=0) == {"same-common-name-as-ca"}
    assert rules(d, "--strict") == {"same-common-name-as-ca"}
    sign(d, "server", "/CN=s", both)
    assert rules(d, code=0) == {"no-subject-alternative-name"}
    sign(d, "server", "/CN=s", san, "extendedKeyUsage=serverAuth")
    assert rules(d) == {"purpose"}
    sign(d, "server", "/CN=s", san)
    assert rules(d, code=0) == set()
    sign(d, "server", "/CN=s", san, "keyUsage=keyAgreement")
    assert rules(d) == {"key-usage"}
    assert "wrong-host" in rules(d, "--host", "db2")

    d = fresh(directory, "broken", "--days", "20")
    assert rules(d, code=0) == {"expires-soon"}
    openssl("dhparam", "-dsaparam", "-out", d + "/dhparams.pem", "1024")
    assert rules(d, code=0) == {"expires-soon", "dh-small"}
    openssl("dhparam", "-dsaparam", "-out", d + "/dhparams.pem", "512")
    assert "dh-refused" in rules(d)


def test_an_intermediate_must_come_along(directory):
    d = fresh(directory, "intermediate")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", d + "/mid-key.pem", "-subj", "/CN=mid", "-out", d + "/req")
    with open(d + "/ext", "w") as f:
        f.write("basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign")
    openssl("x509", "-req", "-in", d + "/req", "-CA", d + "/ca.pem", "-CAkey", d + "/ca-key.pem", "-days", "90", "-extfile", d + "/ext", "-out", d + "/mid.pem")
    root, root_key = open(d + "/ca.pem").read(), open(d + "/ca-key.pem").read()
    shutil.copy(d + "/mid.pem", d + "/ca.pem")
    shutil.copy(d + "/mid-key.pem", d + "/ca-key.pem")
    sign(d, "server", "/CN=s", "subjectAltName=DNS:db1")
    with open(d + "/ca.pem", "w") as f:
        f.write(root)
    with open(d + "/ca-key.pem", "w") as f:
        f.write(root_key)
    assert rules(d) == {"chain"}
    with open(d + "/server-cert.pem", "a") as f:
        f.write(open(d + "/mid.pem").read())
    assert rules(d, code=0) == set()


def test_nodes_with_different_cas(directory):
    a, b = fresh(directory, "a"), fresh(directory, "b")
    assert rules(a, b) == {"ca-differs"}
    union = open(a + "/ca.pem").read() + open(b + "/ca.pem").read()
    for d in (a, b):
        with open(d + "/ca.pem", "w") as f:
            f.write(union)
    assert rules(a, b, code=0) == set()


def test_every_finding_says_what_mends_it(directory):
    d = fresh(directory, "mend", "--days", "5")
    text = run("cert check", d)
    assert "expires-soon" in text and "breaks:" in text and "xebec cert init %s --keep-ca --force" % d in text
    run("cert init", d, "--keep-ca", "--force")   # what it says does mend it
    assert rules(d, code=0) == set()


def test_usage(directory):
    assert "Usage:" in run("cert init --help")
    assert "HOST:PORT" in run("cert check --help")
    for bad in (["cert", "init"], ["cert", "check"], ["nothing"], ["cert", "init", "x", "--days", "0"],
                ["cert", "init", directory + "/x", "--algorithm", "rot13"], ["cert", "init", "x", "--node", "../evil"]):
        run(" ".join(bad), code=2)
    assert not os.path.exists(directory + "/x")
