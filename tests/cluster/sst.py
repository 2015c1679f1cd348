# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of state transfers share: which program serves a node, and what must hold after a transfer."""
import os
import shutil
import socket
import subprocess
import threading

from common import Trouble, wait_until
from lab import ROOT

PROGRAM = os.environ.get("XEBEC_SST", os.path.join(ROOT, "build/release/src/sst/xebec-sst"))
NAMES = ["wsrep_sst_xebec", "wsrep_sst_xebec_backup", "wsrep_sst_xtrabackup-v2"]


def offer(lab):
    """Our program under its method names, in a directory of the lab's PATH."""
    directory = os.path.join(lab.dir, "bin")
    os.makedirs(directory, exist_ok=True)
    for name in NAMES:
        if not os.path.lexists(os.path.join(directory, name)):
            os.symlink(PROGRAM, os.path.join(directory, name))
    lab.path = directory + ":"


def use_program(node, is_ours, method="mariabackup"):
    """The method by our program or by the stock one: the server looks into /usr/bin first, so ours is mounted over
    it in a mount namespace of the node's own."""
    node.launcher = ["unshare", "--mount", "sh", "-c",
                     'mount --bind "$0" /usr/bin/wsrep_sst_%s && exec "$@"' % method, PROGRAM] if is_ours else []


def tls_config(lab, encrypt, more=""):
    c = lab.certs
    if encrypt in (0, 1):
        return "encrypt=%d\n%s" % (encrypt, more)
    if encrypt == 2:
        pem = os.path.join(c, "pair.pem")
        if not os.path.exists(pem):
            with open(pem, "w") as f:
                f.write(open(c + "/server-cert.pem").read() + open(c + "/server-key.pem").read())
        return "encrypt=2\ntca=%s/ca.pem\ntcert=%s\n%s" % (c, pem, more)
    if encrypt == 3:
        return "encrypt=3\ntcert=%s/server-cert.pem\ntkey=%s/server-key.pem\n%s" % (c, c, more)
    return "encrypt=4\nssl-ca=%s/ca.pem\nssl-cert=%s/server-cert.pem\nssl-key=%s/server-key.pem\n%s" % (c, c, c, more)


def fill(node, schema="sst", rows=60000):
    node.sql("DROP DATABASE IF EXISTS `%s`" % schema, "CREATE DATABASE `%s`" % schema,
             "CREATE TABLE `%s`.t (id INT PRIMARY KEY, v VARBINARY(300))" % schema,
             "INSERT INTO `%s`.t SELECT seq, CONCAT('canary-', RANDOM_BYTES(250)) FROM `%s`.seq_1_to_%d" % (schema, schema, rows))


def wipe(node):
    shutil.rmtree(node.data, ignore_errors=True)
    if os.path.exists(node.log_path):
        os.remove(node.log_path)


def rejoin(lab, node, schema="sst", limit=150):
    """A fresh node joins by a snapshot and is equal afterwards. (The stock script leaves files of its own: not looked at.)"""
    wipe(node)
    node.start().wait_synced(limit)
    lab.wait_size(len(lab.running()))
    lab.checksums(schema)
    if node.launcher or lab.sst == "xebec":
        no_leftovers(node)


def no_leftovers(*nodes):
    """Neither helper processes nor files of the transfer are left."""
    for n in nodes:
        left = [f for f in (".sst", "sst_in_progress", "wsrep_sst.pid", "xtrabackup_galera_info", "donor_galera_info", "xebec_sst_info", "rsync_sst_complete",
                                      "rsync_sst.conf", "rsync_sst.log", "wsrep_sst_binlog.tar", "tables_flushed")
                if os.path.lexists(os.path.join(n.data, f))]
        if left:
            raise Trouble("%s is left in %s" % (left, n.data))
    wait_until("the helper processes to end", lambda: not helpers(nodes), 20)


def helpers(nodes):
    """-> command lines of processes that work for a node of these and are no server"""
    return [line for n in nodes for line in helpers_of(n.dir + "/")]


def helpers_of(directory):
    words = ("wsrep_sst_", "mariadb-backup", "mbstream", "rsync", "mariadb-dump")
    return [" ".join(line) for _, line in processes() if directory in " ".join(line) and any(w in " ".join(line) for w in words)]


def pids_of(program, word):
    """-> pids of the processes that run the program, with the word in their command line"""
    return [pid for pid, line in processes() if line[0] == program and word in line]


def processes():
    """-> (pid, words of the command line) of each"""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                line = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        yield int(pid), line


def make_certificate(lab, name, common_name, ca="ca", days=365):
    """NAME-cert.pem and NAME-key.pem beside the lab's, signed by its CA, or self-signed with ca=None."""
    c = lab.certs
    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=c)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + "-key.pem")
    if ca is None:
        run("openssl", "req", "-x509", "-new", "-key", name + "-key.pem", "-subj", "/CN=" + common_name, "-days", str(days), "-out", name + "-cert.pem")
        return
    run("openssl", "req", "-new", "-key", name + "-key.pem", "-subj", "/CN=" + common_name, "-out", name + ".csr")
    run("openssl", "x509", "-req", "-in", name + ".csr", "-CA", ca + ".pem", "-CAkey", ca + "-key.pem", "-set_serial", "7", "-days", str(days),
        "-out", name + "-cert.pem")


def files_of(node):
    """-> {path: size} of the tables in a node's data directory"""
    return {os.path.join(d, f): os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(node.data) for f in names
            if f.endswith((".ibd", ".MYD", ".MYI", ".frm"))}


def forget_position(node):
    """The node will need a snapshot, but has all its data."""
    with open(os.path.join(node.data, "grastate.dat"), "w") as f:
        f.write("# GALERA saved state\nversion: 2.1\nuuid:    00000000-0000-0000-0000-000000000000\nseqno:   -1\nsafe_to_bootstrap: 0\n")


class Wire:
    """Listens on loopback while it is open -> found: how often the word was seen in packets from or to the port."""
    def __init__(self, port, word):
        self.port, self.word, self.found, self.packets = port.to_bytes(2, "big"), word, 0, 0
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)   # SO_RCVBUFFORCE
        self.socket.bind(("lo", 0))
        self.socket.settimeout(0.2)
        self.is_open = True
        self.thread = threading.Thread(target=self.listen)

    def listen(self):
        while self.is_open:
            try:
                packet = self.socket.recv(1 << 17)
            except TimeoutError:
                continue
            if self.port in (packet[34:36], packet[36:38]):
                self.packets += 1
                self.found += self.word in packet

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.is_open = False
        self.thread.join()
        self.socket.close()
