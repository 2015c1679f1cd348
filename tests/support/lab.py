# SPDX-License-Identifier: GPL-2.0-or-later
"""Real MariaDB servers on loopback, with any mix of providers, for the demo and the cluster tests.

A Lab owns a directory, free ports, certificates and its servers, and stops these by pid. Everything that a server says
is in DIR/nI/error.log. Nothing here sleeps to hide a race: every wait is for a condition and has a limit.
"""
import contextlib
import fcntl
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pymysql

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STOCK = "/usr/lib/galera/libgalera_smm.so"
OURS = os.environ.get("XEBEC_PROVIDER", os.path.join(ROOT, "build/release/src/provider/libxebec_smm.so"))
XEBEC = os.environ.get("XEBEC_CLI", os.path.join(ROOT, "build/release/src/cli/xebec"))
SST_PROGRAM = os.environ.get("XEBEC_SST", os.path.join(ROOT, "build/release/src/sst/xebec-sst"))
LOG_SIZE = "192M"   # rows of 64 MB fit


class Trouble(Exception):
    pass


def free_ports(count):
    """-> count ports that nobody listens on, below the range that the kernel hands out by itself (or a port of a stopped
    node might be taken by a connection before it starts again), and out of the runner's other jobs' way (for the same reason)"""
    first, last = (int(p) for p in os.environ.get("XEBEC_PORTS", "10000-32000").split("-"))
    found = []
    while len(found) < count:
        port = random.randint(first, last)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def wait_until(what, condition, limit=60.0, step=0.05):
    """Calls condition until it is true -> its value; Trouble after limit seconds."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Trouble("timed out after %g s: %s" % (limit, what))
        time.sleep(step)


class Node:
    def __init__(self, lab, index, provider):
        self.lab, self.index, self.provider = lab, index, provider
        self.name = "n%d" % index
        self.address = "127.0.0.1"   # network.py gives it another one, in a network namespace
        self.dir = os.path.join(lab.dir, self.name)
        self.port, self.group_port, self.ist_port, self.sst_port = lab.ports[4 * index - 4:4 * index]
        self.process, self.extra_options, self.extra_config = None, "", ""
        self.sst_config = None  # text of [sst]; None: encrypt=4 with the lab's certificates
        self.launcher = []      # what stands in front of the server's command line
        os.makedirs(self.dir, exist_ok=True)

    # ---- files

    @property
    def data(self):
        return os.path.join(self.dir, "data")

    @property
    def log_path(self):
        return os.path.join(self.dir, "error.log")

    def log(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def grastate(self):
        """-> {uuid, seqno, safe_to_bootstrap} as text"""
        with open(os.path.join(self.data, "grastate.dat")) as f:
            return dict(line.split(":", 1) for line in f.read().replace(" ", "").splitlines()
                        if ":" in line and not line.startswith("#"))

    def provider_options(self):
        o = ["base_port=%d" % self.group_port, "gmcast.listen_addr=tcp://%s:%d" % (self.address, self.group_port),
             "ist.recv_addr=%s:%d" % (self.address, self.ist_port), "gcache.size=%s" % self.lab.gcache_size]
        return ";".join(o + [x for x in (self.lab.tls_options(), self.lab.provider_options, self.extra_options) if x])

    def write_config(self):
        lab, c = self.lab, self.lab.certs
        server_tls = ("ssl_ca={c}/ca.pem\nssl_cert={c}/server-cert.pem\nssl_key={c}/server-key.pem\n"
                      "require_secure_transport=ON\n").format(c=c) if lab.tls else ""
        client_tls = ("ssl_ca={c}/ca.pem\nssl_cert={c}/client-cert.pem\nssl_key={c}/client-key.pem\n").format(c=c) if lab.tls else ""
        sst_tls = ("encrypt=4\nssl_ca={c}/ca.pem\nssl_cert={c}/server-cert.pem\nssl_key={c}/server-key.pem\n").format(c=c) \
            if lab.tls and lab.sst != "mysqldump" else ""
        if self.sst_config is not None:
            sst_tls = self.sst_config
        with open(os.path.join(self.dir, "my.cnf"), "w") as f:
            f.write("""[mysqld]
datadir={n.data}
socket={n.dir}/s.sock
pid-file={n.dir}/pid
port={n.port}
bind-address={n.address}
log-error={n.log_path}
binlog_format=ROW
default_storage_engine=InnoDB
innodb_autoinc_lock_mode=2
innodb_flush_log_at_trx_commit=0
innodb_buffer_pool_size=32M
innodb_log_file_size={log_size}
innodb_flush_method=fsync
aria_pagecache_buffer_size=8M
key_buffer_size=1M
max_allowed_packet=256M
max_connections=400
tmpdir={n.dir}
user={user}
wsrep_on=ON
wsrep_provider={n.provider}
wsrep_cluster_name={lab.cluster}
wsrep_node_name={n.name}
wsrep_cluster_address=gcomm://{members}
wsrep_node_address={n.address}:{n.group_port}
wsrep_node_incoming_address={n.address}:{n.port}
wsrep_sst_method={lab.sst}
wsrep_sst_receive_address={n.address}:{sst_port}
wsrep_sst_auth={lab.sst_auth}
wsrep_slave_threads={lab.slave_threads}
wsrep_provider_options="{options}"
{server_tls}{n.extra_config}
[sst]
{sst_tls}
[client]
user=root
socket={n.dir}/s.sock
{client_tls}
""".format(n=self, lab=lab, user=lab.user, log_size=LOG_SIZE, members=lab.members(), options=self.provider_options(),
           sst_port=self.port if lab.sst == "mysqldump" else self.sst_port, server_tls=server_tls, sst_tls=sst_tls,
           client_tls=client_tls))

    # ---- life

    def start(self, bootstrap=False, arguments=()):
        if not os.path.isdir(os.path.join(self.data, "mysql")):
            self.lab.install(self.data)
        self.write_config()
        self.lab.hand_over()
        command = ["mariadbd", "--defaults-file=%s/my.cnf" % self.dir] + (["--wsrep-new-cluster"] if bootstrap else [])
        environment = dict(os.environ, PATH=self.lab.path + os.environ["PATH"])
        self.process = subprocess.Popen(self.launcher + command + list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(os.path.join(self.dir, "stderr.log"), "a"), env=environment,
                                        start_new_session=True)
        return self

    def start_recovered(self):
        """After a crash, as the server's start script does it: the storage engine says up to where it has the data."""
        log = self.dir + "/recover.log"
        self.write_config()
        subprocess.run(["mariadbd", "--defaults-file=%s/my.cnf" % self.dir, "--wsrep-recover", "--log-error=" + log], check=False)
        with open(log) as f:
            lines = [line for line in f if "Recovered position:" in line]
        return self.start(arguments=["--wsrep-start-position=" + lines[-1].split("Recovered position:")[1].strip()])

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait_synced(self, limit=120.0):
        def synced():
            if not self.is_running():
                raise Trouble("%s ended while starting (exit code %s); the end of its log:\n%s" %
                              (self.name, self.process.returncode if self.process else None, self.log()[-2500:]))
            return self.try_status("wsrep_local_state_comment") == "Synced" and self.try_status("wsrep_ready") == "ON"
        wait_until("%s synced; see %s" % (self.name, self.log_path), synced, limit)
        return self

    def stop(self, limit=90.0):
        if not self.is_running():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Trouble("%s did not stop within %g s; see %s" % (self.name, limit, self.log_path))

    def wait_no_ddl(self):
        """Until nothing is under way that would make a killed node ask for a snapshot."""
        wait_until("%s has finished all DDL" % self.name, lambda: not self.grastate()["uuid"].startswith("00000000-"))

    def kill(self):
        self.process.kill()
        self.process.wait()
        # A killed server leaves the programs of its state transfer behind, in its own process group.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def signal(self, number):
        self.process.send_signal(number)

    # ---- SQL

    def connect(self, **more):
        arguments = dict(unix_socket=os.path.join(self.dir, "s.sock"), user="root", autocommit=True, connect_timeout=10)
        arguments.update(more)
        return pymysql.connect(**arguments)

    def sql(self, *statements):
        """Runs the statements on one connection -> rows of the last one"""
        c = self.connect()
        try:
            with c.cursor() as cursor:
                for s in statements:
                    cursor.execute(s)
                return cursor.fetchall()
        finally:
            c.close()

    def value(self, statement):
        rows = self.sql(statement)
        return rows[0][0] if rows else None

    def status(self, name):
        rows = self.sql("SHOW GLOBAL STATUS LIKE '%s'" % name)
        return rows[0][1] if rows else None

    def try_status(self, name):
        try:
            return self.status(name)
        except pymysql.MySQLError:
            return None


def make_certificates(directory, cluster):
    """CA, server and client in MySQL's file names, valid here, and longer than any clock that a test turns"""
    subprocess.run([XEBEC, "cert", "init", directory, "--cluster", cluster, "--days", "3650", "--host", "localhost", "--host", "127.0.0.1"],
                   check=True, capture_output=True)


class Lab:
    def __init__(self, directory, providers, tls=True, sst="mariabackup", provider_options="", slave_threads=4,
                 gcache_size="64M", cluster="lab", fresh=True, user=None):
        self.dir, self.tls, self.sst = os.path.abspath(directory), tls, sst
        self.provider_options, self.slave_threads, self.gcache_size, self.cluster = provider_options, slave_threads, gcache_size, cluster
        self.user = user or pwd.getpwuid(os.getuid()).pw_name   # of the servers
        self.sst_auth = "root:"
        self.certs, self.programs = os.path.join(self.dir, "certs"), os.path.join(self.dir, "programs")
        self.path = self.programs + ":"
        self.others = []    # other processes that must not outlive the lab
        if fresh:
            shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, exist_ok=True)
        self.offer_own_transfers()
        self.ports = free_ports(4 * len(providers))
        if tls and not os.path.exists(os.path.join(self.certs, "ca.pem")):
            make_certificates(self.certs, cluster)
        self.nodes = [Node(self, i + 1, self.readable(p)) for i, p in enumerate(providers)]

    def readable(self, provider):
        """The repository may lie where only root can look; a server of another user gets a copy."""
        if self.is_own_user():
            return provider
        return shutil.copy(provider, self.dir)

    def offer_own_transfers(self):
        """The lab's servers find our program under its two names that the stock scripts do not have."""
        os.makedirs(self.programs, exist_ok=True)
        program = self.readable(SST_PROGRAM)
        for method in ("xebec", "xebec_backup"):
            path = os.path.join(self.programs, "wsrep_sst_" + method)
            if not os.path.lexists(path):
                os.symlink(program, path)

    def is_own_user(self):
        return self.user == pwd.getpwuid(os.getuid()).pw_name

    def tls_options(self):
        if not self.tls:
            return ""
        return "socket.ssl_key={c}/server-key.pem;socket.ssl_cert={c}/server-cert.pem;socket.ssl_ca={c}/ca.pem".format(c=self.certs)

    def hand_over(self):
        """A server that root starts for another user needs what root has made."""
        if not self.is_own_user():
            subprocess.run(["chown", "-R", self.user, self.dir], check=True)

    def members(self):
        return ",".join("%s:%d" % (n.address, n.group_port) for n in self.nodes)

    def install(self, data):
        """A fresh data directory: a copy of one that is made once in a lab, or in a run of the tests (XEBEC_TEMPLATE)."""
        template = os.environ.get("XEBEC_TEMPLATE", os.path.join(self.dir, "template"))
        with open(template + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(template):
                self.make_template(template)
        subprocess.run(["cp", "-R", "--reflink=auto", "--sparse=always", template + "/.", data], check=True)   # much is an empty log

    def make_template(self, template):
        done = subprocess.run(["mariadb-install-db", "--no-defaults", "--user=" + pwd.getpwuid(os.getuid()).pw_name, "--skip-test-db",
                               "--auth-root-authentication-method=normal", "--innodb-log-file-size=" + LOG_SIZE, "--datadir=" + template,
                               "--tmpdir=" + self.dir],   # a server that starts clears it of temporary tables: not of another lab's
                              capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(template, ignore_errors=True)   # nobody must take half of one
            raise Trouble("mariadb-install-db failed:\n" + done.stdout + done.stderr)

    def __getitem__(self, index):
        """lab[1] is node 1"""
        return self.nodes[index - 1]

    def renew(self, providers):
        """Stops all; where they were there are new empty servers of these providers, not started."""
        self.close()
        for n, provider in zip(self.nodes, providers):
            shutil.rmtree(n.dir, ignore_errors=True)
            address, launcher = n.address, n.launcher
            n.__init__(self, n.index, provider)
            n.address, n.launcher = address, launcher

    def start_over(self, providers):
        """Begins again with new servers of these providers."""
        self.renew(providers)
        self.start_all()      # by SST, all but the first
        self.wait_size(len(self.nodes))

    def start_all(self):
        self.nodes[0].start(bootstrap=True).wait_synced()
        for n in self.nodes[1:]:
            n.start().wait_synced()
        return self

    def running(self):
        return [n for n in self.nodes if n.is_running()]

    def wait_size(self, size, limit=60.0):
        wait_until("cluster size %d on all running nodes" % size,
                   lambda: all(n.try_status("wsrep_cluster_size") == str(size) and n.try_status("wsrep_ready") == "ON"
                               for n in self.running()), limit)

    def wait_equal_seqno(self, limit=60.0):
        """All running nodes have committed the same -> that seqno"""
        def equal():
            seqnos = {n.try_status("wsrep_last_committed") for n in self.running()}
            return seqnos.pop() if len(seqnos) == 1 and None not in seqnos else None
        return wait_until("equal wsrep_last_committed", equal, limit)

    def checksums(self, schema):
        """-> {table: checksum} if equal on all running nodes, else Trouble"""
        self.wait_equal_seqno()
        results = {}
        for n in self.running():
            tables = [r[0] for r in n.sql("SELECT table_name FROM information_schema.tables WHERE table_schema='%s' "
                                          "AND table_type='BASE TABLE' ORDER BY 1" % schema)]
            results[n.name] = {t: n.value("SHOW TABLES FROM `%s` LIKE '%s'" % (schema, t)) and
                               n.sql("CHECKSUM TABLE `%s`.`%s`" % (schema, t))[0][1] for t in tables}
        first = next(iter(results.values()))
        for name, sums in results.items():
            if sums != first:
                raise Trouble("tables differ: %s" % {k: {t: v.get(t) for t in set(first) | set(sums) if first.get(t) != sums.get(t)}
                                                     for k, v in results.items()})
        return first

    def close(self):
        for process in self.others:
            if process.poll() is None:
                process.kill()
                process.wait()
        for n in self.nodes:
            if n.is_running():
                try:
                    n.signal(signal.SIGCONT)
                    n.stop(30)
                except Trouble as e:
                    print(e, file=sys.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
