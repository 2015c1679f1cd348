# SPDX-License-Identifier: GPL-2.0-or-later
"""Strangers at the group port and at the IST port: nobody gets in, the cluster goes on, memory stays bounded."""
import contextlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import time

from common import OURS, fresh_schema, labs, running, wait_until
from relay import Gate


def cluster():
    return running([OURS] * 3)


def resident_kb(node):
    with open("/proc/%d/status" % node.process.pid) as f:
        return int(next(line for line in f if line.startswith("VmRSS:")).split()[1])


def check_alive(lab, table, number):
    """Commits on every node, nobody left, nobody came."""
    for n in lab.running():
        n.sql("INSERT INTO %s VALUES (%d, %d)" % (table, number, n.index))
    assert all(n.status("wsrep_cluster_size") == str(len(lab.running())) for n in lab.running())
    lab.wait_equal_seqno()


def prepare(lab, schema):
    fresh_schema(lab, schema)
    lab[1].sql("CREATE TABLE %s.t (a INT, node INT, PRIMARY KEY (a, node))" % schema)
    lab.wait_equal_seqno()
    return schema + ".t"


def lines_after(node, size, *words):
    return [line for line in node.log()[size:].splitlines() if all(w.lower() in line.lower() for w in words)]


def certificate(lab, kind):
    """-> directory with ca.pem, server-cert.pem, server-key.pem of a stranger"""
    directory = os.path.join(lab.dir, "certs-" + kind)
    if os.path.isdir(directory):
        return directory
    if kind == "other-ca":
        labs.make_certificates(directory, "stranger")
        return directory
    os.makedirs(directory)
    shutil.copy(lab.certs + "/ca.pem", directory)
    run = lambda *a: subprocess.run(a, check=True, cwd=directory, capture_output=True)  # noqa: E731
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server-key.pem")
    run("openssl", "req", "-new", "-key", "server-key.pem", "-subj", "/CN=late node", "-out", "r.csr")
    with open(directory + "/index.txt", "w"):
        pass
    with open(directory + "/ca.cnf", "w") as f:
        f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index.txt\nnew_certs_dir=%s\nserial=%s/serial\ndefault_md=sha256\npolicy=p\n"
                "[p]\ncommonName=supplied\n" % (directory, directory, directory))
    with open(directory + "/serial", "w") as f:
        f.write("77\n")
    run("openssl", "ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", lab.certs + "/ca-key.pem", "-in", "r.csr",
        "-out", "server-cert.pem", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-notext")
    return directory


def tls_attempt(port, directory):
    """Dials as a node with the given certificate would -> bytes that the node sends after the handshake, b"" if refused"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if directory:
        context.load_cert_chain(directory + "/server-cert.pem", directory + "/server-key.pem")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw) as s:
        s.settimeout(5)
        return s.recv(100)
    return b""


def test_certificates_that_are_not_ours(lab):
    table = prepare(lab, "ce")
    size = len(lab[1].log())
    assert tls_attempt(lab[1].group_port, lab.certs), "a good certificate must get the gmcast handshake"
    for kind in ("other-ca", "expired"):
        assert tls_attempt(lab[1].group_port, certificate(lab, kind)) == b"", kind
    assert tls_attempt(lab[1].group_port, None) == b""
    check_alive(lab, table, 1)
    assert wait_until("the reasons are logged", lambda: lines_after(lab[1], size, "expired") and lines_after(lab[1], size, "127.0.0.1", "issuer"))


def test_plaintext_peer(lab):
    table = prepare(lab, "pl")
    size = len(lab[1].log())
    with socket.create_connection(("127.0.0.1", lab[1].group_port)) as s:
        s.settimeout(10)
        # A whole plaintext gmcast handshake response; a node that speaks TLS must not say a plain word.
        s.sendall(bytes.fromhex("84000002") + bytes(136))
        with contextlib.suppress(OSError):
            got = s.recv(1000)
            assert not got or got[0] == 0x15, got      # nothing, or a TLS alert
    check_alive(lab, table, 1)
    assert wait_until("the reason is logged", lambda: lines_after(lab[1], size, "127.0.0.1", "plain") or lines_after(lab[1], size, "127.0.0.1", "wrong version"))


def flood(port, connections, payload):
    """Opens many connections, sends what payload(i) says -> the sockets"""
    sockets = []
    for i in range(connections):
        s = socket.socket()
        s.setblocking(False)
        with contextlib.suppress(OSError):
            s.connect_ex(("127.0.0.1", port))
        sockets.append(s)
    time.sleep(0.2)   # not for the server: lets the kernel finish the handshakes of these sockets
    for i, s in enumerate(sockets):
        with contextlib.suppress(OSError):
            data = payload(i)
            if data:
                s.send(data)
    return sockets


def test_silence_and_noise_at_the_group_port(lab):
    table = prepare(lab, "no")
    rng = random.Random(1)
    before, size = resident_kb(lab[1]), len(lab[1].log())
    silent = flood(lab[1].group_port, 1000, lambda i: b"")
    check_alive(lab, table, 1)
    noise = flood(lab[1].group_port, 200, lambda i: rng.randbytes(rng.randint(1, 3000)))
    hello = flood(lab[1].group_port, 100, lambda i: bytes.fromhex("16030100c8010000c40303") + rng.randbytes(190))
    check_alive(lab, table, 2)
    grown = resident_kb(lab[1]) - before   # while they are all there
    wait_until("the silent ones are thrown out", lambda: len(os.listdir("/proc/%d/fd" % lab[1].process.pid)) < 500, limit=30)
    check_alive(lab, table, 3)
    for s in silent + noise + hello:
        s.close()
    grown = max(grown, resident_kb(lab[1]) - before)
    assert grown < 80 * 1024, "%d kB more" % grown
    wait_until("the reason is logged", lambda: lines_after(lab[1], size, "127.0.0.1", "too many connections that do not finish their handshake"))
    lines = lines_after(lab[1], size, "127.0.0.1")
    assert len(lines) < 20, lines   # a reason is not said again and again


def test_silence_and_noise_of_one(lab):
    """Nobody crowds these out: each has its line, with its own reason. (The same host and reason again would be silent for a while.)"""
    table = prepare(lab, "on")
    for node, payload, words in ((lab[2], b"", "TLS handshake not finished in time"), (lab[2], b"GET / HTTP/1.0\r\n\r\n", "does not speak TLS"),
                                 (lab[3], bytes.fromhex("16030100c8010000c40303"), "TLS handshake not finished in time")):
        size = len(node.log())
        with socket.create_connection(("127.0.0.1", node.group_port)) as s:
            s.sendall(payload)
            port = s.getsockname()[1]
            wait_until("the line about %r" % payload, lambda: lines_after(node, size, "127.0.0.1:%d" % port, words), limit=30)
            assert len(lines_after(node, size, "127.0.0.1:%d" % port)) == 1
    check_alive(lab, table, 1)


def test_authenticated_garbage(lab):
    """A holder of a good certificate that talks nonsense loses its connection, and nothing else happens."""
    table = prepare(lab, "ag")
    rng = random.Random(2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(lab.certs + "/server-cert.pem", lab.certs + "/server-key.pem")
    for _ in range(60):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", lab[2].group_port), 5) as raw, context.wrap_socket(raw) as s:
            s.settimeout(5)
            s.recv(100)
            s.sendall(rng.randbytes(rng.randint(8, 2000)))
            while s.recv(4096):
                pass
    check_alive(lab, table, 1)


def meet_strangers(port, count, rng):
    """Every second one sends noise, the others nothing -> the sockets; fails if one is not let in"""
    sockets = []
    for i in range(count):
        sockets.append(socket.create_connection(("127.0.0.1", port), 5))
        if i % 2:
            with contextlib.suppress(OSError):
                sockets[-1].sendall(rng.randbytes(100))
    return sockets


def test_strangers_at_the_ist_port(lab):
    """The donor is told the address of a gate that keeps it out until the strangers have come."""
    table = prepare(lab, "is")
    lab[3].stop()
    lab[1].sql("INSERT INTO %s VALUES (1, 1)" % table)
    gate = Gate(lab[3].ist_port)
    size = len(lab[3].log())
    lab[3].extra_options = "ist.recv_addr=127.0.0.1:%d;ist.recv_bind=127.0.0.1:%d" % (gate.port, lab[3].ist_port)
    sockets = []
    try:
        lab[3].start()
        assert gate.arrived.wait(60), "no donor came for IST; see %s" % lab[3].log_path
        sockets = meet_strangers(lab[3].ist_port, 100, random.Random(3))
        for kind in ("other-ca", "expired"):
            assert tls_attempt(lab[3].ist_port, certificate(lab, kind)) == b"", kind
        assert lab[3].try_status("wsrep_ready") != "ON"
        gate.opened.set()
        lab[3].wait_synced()
    finally:
        lab[3].extra_options = ""
        gate.close()
        for s in sockets:
            s.close()
    check_alive(lab, table, 2)
    lab.checksums("is")
    assert lines_after(lab[3], size, "IST", "refused 127.0.0.1"), "no line about the strangers"
