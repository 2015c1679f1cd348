# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad certificates on every channel of the provider: what is refused, with which words, on whose side."""
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess

from common import OURS, fresh_schema, labs, running, wait_until
from relay import Gate

# kind -> what the peers' log says about a holder of such a certificate; None: it does not get as far as dialling
REFUSED_BY_PEERS = {
    "expired": "certificate verify failed: certificate has expired (peer certificate 'CN=bad'); renew the certificate",
    "future": "certificate verify failed: certificate is not yet valid (peer certificate 'CN=bad'); check the clocks of both hosts",
    "other-ca": "certificate verify failed: unable to get local issuer certificate (peer certificate 'CN=bad'); "
                "add the CA that signed it to socket.ssl_ca",
    "wrong-name": "certificate verify failed: hostname mismatch (peer certificate 'CN=bad'); none of its names is in "
                  "socket.ssl_verify_peer_name",
    "revoked": "certificate verify failed: certificate revoked (peer certificate 'CN=bad'); issue a new certificate",
    "client-only": "certificate verify failed: unsuitable certificate purpose (peer certificate 'CN=bad'); a node certificate "
                   "needs clientAuth and serverAuth",
}
# kind -> what the node's own log says when it starts with these files; the first group does not start at all
REFUSES_TO_START = {
    "wrong-key": "'key values mismatch'; the key does not belong to the certificate of socket.ssl_cert",
    "truncated": "; the file is damaged or cut off: copy it again",
    "swapped": "; the file holds a key and no certificate: are the files swapped?",
}
WARNED_AT_START = {
    "expired": "WARNING: own certificate 'CN=bad' has expired: peers refuse an expired one; renew it and set socket.ssl_reload=1",
    "future": "WARNING: own certificate 'CN=bad': certificate is not yet valid; check the clocks",
    "other-ca": "WARNING: own certificate 'CN=bad': unable to get local issuer certificate; add the CA that signed it to socket.ssl_ca",
    "client-only": "WARNING: own certificate 'CN=bad' lacks serverAuth in its extended key usage",
    "cn-equal": "WARNING: own certificate 'CN={ca}' has the name of its CA, which makes it look self-signed: issue one with "
                "another common name",
    "world-readable": "(socket.ssl_key) can be read by everybody (mode 0644): chmod 600",
}


def openssl(directory, *arguments):
    subprocess.run(("openssl",) + arguments, check=True, cwd=directory, capture_output=True)


class Authority:
    """Signs with the CA of a lab, `openssl ca` style: any validity, revocation."""

    def __init__(self, certs, directory):
        self.certs, self.dir = certs, directory
        os.makedirs(directory)
        open(directory + "/index.txt", "w").close()
        for name in ("serial", "crlnumber"):
            with open(directory + "/" + name, "w") as f:
                f.write("1000\n")
        with open(directory + "/ca.cnf", "w") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase={0}/index.txt\nnew_certs_dir={0}\nserial={0}/serial\ncrlnumber={0}/crlnumber\n"
                    "default_md=sha256\ndefault_crl_days=30\npolicy=p\nunique_subject=no\ncertificate={1}/ca.pem\nprivate_key={1}/ca-key.pem\n"
                    "[p]\ncommonName=supplied\n".format(directory, certs))

    def sign(self, kind, name="bad", start="20250101000000Z", end="20400101000000Z", usage="serverAuth,clientAuth",
             san="DNS:bad.example,IP:127.0.0.99"):
        """-> directory with ca.pem, server-cert.pem, server-key.pem"""
        d = os.path.join(self.dir, kind)
        os.makedirs(d)
        shutil.copy(self.certs + "/ca.pem", d)
        openssl(d, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server-key.pem")
        os.chmod(d + "/server-key.pem", 0o600)
        openssl(d, "req", "-new", "-key", "server-key.pem", "-subj", "/CN=" + name, "-out", "r.csr")
        with open(d + "/ext", "w") as f:
            f.write("basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n" % (usage, san))
        openssl(d, "ca", "-batch", "-config", self.dir + "/ca.cnf", "-in", "r.csr", "-out", "server-cert.pem", "-startdate", start,
                "-enddate", end, "-extfile", "ext", "-notext")
        return d

    def name(self):
        """-> the common name of the CA"""
        subject = subprocess.run(("openssl", "x509", "-in", self.certs + "/ca.pem", "-noout", "-subject", "-nameopt", "multiline"),
                                 check=True, capture_output=True, text=True).stdout
        return re.search(r"commonName += (.+)", subject)[1]

    def revoke(self, directory):
        openssl(self.dir, "ca", "-config", "ca.cnf", "-revoke", directory + "/server-cert.pem")

    def revocation_list(self, path):
        openssl(self.dir, "ca", "-config", "ca.cnf", "-gencrl", "-out", path)


def make_kinds(lab):
    """-> {kind: directory}"""
    ca = Authority(lab.certs, os.path.join(lab.dir, "authority"))
    lab.ca_name = ca.name()
    kinds = {
        "good": ca.sign("good", name="good", san="DNS:localhost,IP:127.0.0.1"),
        "expired": ca.sign("expired", start="20200101000000Z", end="20210101000000Z"),
        "future": ca.sign("future", start="20390101000000Z"),
        "wrong-name": ca.sign("wrong-name"),
        "revoked": ca.sign("revoked", san="DNS:localhost,IP:127.0.0.1"),
        "client-only": ca.sign("client-only", usage="clientAuth", san="DNS:localhost,IP:127.0.0.1"),
        "cn-equal": ca.sign("cn-equal", name=lab.ca_name),
        "world-readable": ca.sign("world-readable", san="DNS:localhost,IP:127.0.0.1"),
    }
    os.chmod(kinds["world-readable"] + "/server-key.pem", 0o644)
    ca.revoke(kinds["revoked"])
    ca.revocation_list(lab.dir + "/crl.pem")
    other = os.path.join(lab.dir, "other")
    labs.make_certificates(other, "stranger")
    kinds["other-ca"] = Authority(other, os.path.join(lab.dir, "other-authority")).sign("other-ca")
    shutil.copy(lab.certs + "/ca.pem", kinds["other-ca"])
    for kind in REFUSES_TO_START:
        kinds[kind] = os.path.join(lab.dir, "files-" + kind)
        shutil.copytree(kinds["good"], kinds[kind])
    shutil.copy(kinds["wrong-name"] + "/server-key.pem", kinds["wrong-key"])
    with open(kinds["good"] + "/server-cert.pem") as f:
        whole = f.read()
    with open(kinds["truncated"] + "/server-cert.pem", "w") as f:
        f.write(whole[:len(whole) // 2])
    shutil.copy(kinds["good"] + "/server-key.pem", kinds["swapped"] + "/server-cert.pem")
    shutil.copy(kinds["good"] + "/server-cert.pem", kinds["swapped"] + "/server-key.pem")
    return kinds


@contextlib.contextmanager
def cluster():
    """Two members that look at names and revocations; node 3 is the one that is given bad files."""
    with running([OURS] * 3, start=False) as lab:
        lab.kinds = make_kinds(lab)
        for n in (lab[1], lab[2]):
            n.extra_options = strict(lab)
        lab[1].start(bootstrap=True).wait_synced()
        lab[2].start().wait_synced()
        yield lab


def strict(lab):
    return "socket.ssl_crl=%s/crl.pem;socket.ssl_verify_peer_name=address" % lab.dir


def node_options(directory):
    return "socket.ssl_key={0}/server-key.pem;socket.ssl_cert={0}/server-cert.pem;socket.ssl_ca={0}/ca.pem".format(directory)


def lines_after(node, size, text):
    return [line for line in node.log()[size:].splitlines() if text in line]


def end(node):
    """Ends a server that may wait for its group."""
    if node.is_running():
        node.kill()


def start_bad(lab, kind):
    """Node 3 tries to join with such files -> sizes of the logs of node 3 and node 1 before"""
    sizes = len(lab[3].log()), len(lab[1].log())
    lab[3].extra_options = node_options(lab.kinds[kind]) + ";pc.wait_prim_timeout=PT4S"
    lab[3].start()
    return sizes


def test_group_port_refuses(lab):
    """A node with such a certificate does not become a member, both logs say why."""
    for kind, words in REFUSED_BY_PEERS.items():
        own, peers = start_bad(lab, kind)
        try:
            wait_until("%s: node 1 says why" % kind, lambda: lines_after(lab[1], peers, words))
            if kind in WARNED_AT_START:
                assert lines_after(lab[3], own, WARNED_AT_START[kind].format(ca=lab.ca_name)), kind
            wait_until("%s: node 3 gives up" % kind, lambda: not lab[3].is_running())
            assert lab[1].status("wsrep_cluster_size") == "2"
        finally:
            end(lab[3])


def test_unusable_files(lab):
    """The node does not start, and says which file is unfit and why."""
    for kind, words in REFUSES_TO_START.items():
        own, _ = start_bad(lab, kind)
        try:
            wait_until("%s: node 3 ends" % kind, lambda: not lab[3].is_running())
            lines = lines_after(lab[3], own, words)
            assert lines and lab.kinds[kind] in lines[0], (kind, lines)
        finally:
            end(lab[3])


def test_warnings(lab):
    for kind in ("cn-equal", "world-readable"):
        own, _ = start_bad(lab, kind)
        try:
            wait_until("%s: warning" % kind, lambda: lines_after(lab[3], own, WARNED_AT_START[kind].format(ca=lab.ca_name)))
            if kind == "cn-equal":
                wait_until("node 3 gives up", lambda: not lab[3].is_running())
            else:
                lab[3].wait_synced()
        finally:
            end(lab[3])
            lab.wait_size(2)


def tls_attempt(port, directory):
    """-> bytes that the node sends after the handshake, b"" if refused"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(directory + "/server-cert.pem", directory + "/server-key.pem")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as s:
        s.settimeout(5)
        return s.recv(100)
    return b""


def test_ist_port_refuses(lab):
    """The joiner's IST port, and the right donor is served afterwards."""
    fresh_schema(lab, "ma")
    lab[3].extra_options = strict(lab)
    lab[3].start().wait_synced()
    lab[3].stop()
    lab[1].sql("CREATE TABLE ma.t (a INT PRIMARY KEY)", "INSERT INTO ma.t VALUES (1)")
    gate = Gate(lab[3].ist_port)
    size = len(lab[3].log())
    lab[3].extra_options = strict(lab) + ";ist.recv_addr=127.0.0.1:%d;ist.recv_bind=127.0.0.1:%d" % (gate.port, lab[3].ist_port)
    lab[3].start()
    try:
        assert gate.arrived.wait(60), "no donor came"
        for kind, words in REFUSED_BY_PEERS.items():
            assert tls_attempt(lab[3].ist_port, lab.kinds[kind]) == b"", kind
        gate.opened.set()
        lab[3].wait_synced()
    finally:
        gate.close()
    said = lines_after(lab[3], size, "IST: refused 127.0.0.1, still waiting for the donor: certificate verify failed")
    assert said, "no line about the refused"
    lab.checksums("ma")


def test_plaintext_is_refused(lab):
    """In both directions: a plain dialler gets nothing, and a gossiped tcp:// address is dialled with TLS."""
    assert lab[1].status("wsrep_ssl_plaintext") == "refused"
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)
    port = listener.getsockname()[1]
    lab[1].sql("SET GLOBAL wsrep_provider_options='gmcast.peer_addr=add:tcp://127.0.0.1:%d'" % port)
    with contextlib.closing(listener), listener.accept()[0] as s:
        s.settimeout(30)
        assert s.recv(1) == b"\x16", "the first byte is not that of a TLS handshake"
    lab[1].sql("SET GLOBAL wsrep_provider_options='gmcast.peer_addr=del:tcp://127.0.0.1:%d'" % port)
    size = len(lab[1].log())
    with socket.create_connection(("127.0.0.1", lab[1].group_port)) as s:
        s.settimeout(30)
        s.sendall(bytes.fromhex("84000002") + bytes(136))
        with contextlib.suppress(OSError):
            got = s.recv(100)
            assert not got or got[0] == 0x15, got
    wait_until("node 1 says why", lambda: lines_after(lab[1], size, "the peer does not speak TLS"))


def test_status(lab):
    assert lab[1].status("wsrep_ssl_version") == "TLSv1.3"
    assert re.fullmatch("TLS_[A-Z0-9_]+", lab[1].status("wsrep_ssl_cipher"))
    assert 3000 < int(lab[1].status("wsrep_ssl_cert_days_left")) < 4000


def test_authenticated_garbage(lab):
    """A holder of a good certificate that talks nonsense: one line, with its subject."""
    size = len(lab[2].log())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(lab.kinds["good"] + "/server-cert.pem", lab.kinds["good"] + "/server-key.pem")
    for _ in range(20):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", lab[2].group_port), 5) as raw, context.wrap_socket(raw) as s:
            s.settimeout(10)
            s.recv(100)
            s.sendall(b"\xff" * 200)
            while s.recv(4096):
                pass
    lines = wait_until("the line", lambda: lines_after(lab[2], size, "after the TLS handshake (certificate 'CN=good')"))
    assert len(lines) <= 3, lines     # one in 10 s for a reason
