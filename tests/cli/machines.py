# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines of a test's own, so that commands run as an administrator types them: default ports and paths, ssh, scp, systemctl.

Each is a network namespace at a bridge (network.py) with a name and a mount namespace in which /etc/mysql, /var/lib/mysql, /run and so on are
directories of the test. db1 and db2 run sshd and have MariaDB, stopped, with Debian's paths; `admin` has the keys.
Needs root. close() ends what runs there, by pid.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys

import lab as labs
from common import wait_until
from network import Network
from test_cert import XEBEC
sys.path.insert(0, os.path.join(labs.ROOT, "tests/cluster"))
import sst  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SSHD = "/usr/sbin/sshd"
BOUND = ("/etc/mysql", "/var/lib/mysql", "/var/log", "/var/tmp", "/run", "/root", "/usr/lib/galera", "/etc/hosts", "/usr/bin/systemctl",
         "/usr/bin/wsrep_sst_mariabackup", "/usr/bin/wsrep_sst_rsync", "/usr/bin/wsrep_sst_mysqldump")
OF_MYSQL = ("/var/lib/mysql", "/var/log/mysql")
SERVER = """[mysqld]
user = mysql
datadir = /var/lib/mysql
socket = /run/mysqld/mysqld.sock
pid-file = /run/mysqld/mysqld.pid
log_error = /var/log/mysql/error.log
tmpdir = /var/tmp
bind-address = 0.0.0.0
skip_name_resolve = ON
innodb_flush_log_at_trx_commit = 0
innodb_buffer_pool_size = 128M
innodb_flush_method = fsync
[client-server]
socket = /run/mysqld/mysqld.sock
!includedir /etc/mysql/mariadb.conf.d/
"""


class Machine:
    def __init__(self, directory, index, name, hosts):
        self.index, self.name, self.dir, self.sshd = index, name, os.path.join(directory, name), None
        for path in BOUND:
            own = self.path(path)
            os.makedirs(os.path.dirname(own), exist_ok=True)
            if os.path.isdir(path):
                os.mkdir(own)
        os.chmod(self.path("/var/tmp"), 0o1777)
        for path in ("/run/mysqld", "/run/sshd", "/run/xebec", "/var/log/mysql"):
            os.mkdir(self.path(path))
        shutil.chown(self.path("/run/mysqld"), "mysql")
        os.mkdir(self.path("/root/.ssh"), 0o700)
        with open(self.path("/etc/hosts"), "w") as f:
            f.write(hosts)
        shutil.copy(os.path.join(HERE, "systemctl.py"), self.path("/usr/bin/systemctl"))
        os.chmod(self.path("/usr/bin/systemctl"), 0o755)
        for path in BOUND:
            if "wsrep_sst_" in path:
                shutil.copy(sst.PROGRAM, self.path(path))
        os.symlink(self.bound_program(), self.path("/run/xebec/wsrep_sst_xebec"))

    @staticmethod
    def bound_program():
        return "/usr/bin/wsrep_sst_mariabackup"     # the name of the link chooses the method

    def path(self, path):
        """Where the machine's file is for us."""
        return self.dir + path

    def inside(self, *command):
        """-> the command line that runs it on this machine"""
        binds = "".join("mount --bind %s %s && " % (self.path(p), p) for p in BOUND)
        return self.launcher + ["unshare", "--mount", "--uts", "sh", "-c", "hostname %s && " % self.name + binds + 'exec "$@"', "sh"] + list(command)

    def log(self):
        try:
            with open(self.path("/var/log/mysql/error.log"), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def install(self, template):
        shutil.copytree(template, self.path("/var/lib/mysql"), dirs_exist_ok=True)
        for provider in (labs.OURS, labs.STOCK):
            shutil.copy(provider, self.path("/usr/lib/galera/"))
        os.mkdir(self.path("/etc/mysql/mariadb.conf.d"))
        with open(self.path("/etc/mysql/my.cnf"), "w") as f:
            f.write(SERVER)
        for path in OF_MYSQL:
            subprocess.run(["chown", "-R", "mysql:", self.path(path)], check=True)

    def listen(self):
        """Its sshd, which every command from elsewhere comes through."""
        d = self.path("/root/.ssh")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d + "/host"], check=True)
        with open(d + "/sshd_config", "w") as f:
            f.write("HostKey /root/.ssh/host\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
                    "MaxStartups 50\nSubsystem sftp internal-sftp\n")
        self.sshd = subprocess.Popen(self.inside(SSHD, "-D", "-e", "-f", "/root/.ssh/sshd_config"), stderr=subprocess.DEVNULL)

    def stop(self):
        with contextlib.suppress(OSError, ValueError):
            with open(self.path("/run/mysqld/unit.pid")) as f:
                os.kill(int(f.read()), signal.SIGKILL)
        if self.sshd:
            self.sshd.terminate()
            self.sshd.wait()


@contextlib.contextmanager
def machines(directory):
    them = Machines(directory)
    try:
        yield them.begin(directory)
    finally:
        them.close()


class Machines:
    def __init__(self, directory):
        os.chmod(directory, 0o755)
        hosts = "127.0.0.1 localhost\n10.77.0.1 db1.example db1\n10.77.0.2 db2.example db2\n"
        self.servers = [Machine(directory, 1, "db1", hosts), Machine(directory, 2, "db2", hosts)]
        self.administrator = Machine(directory, 9, "admin", hosts)
        self.nodes = self.servers + [self.administrator]    # for Network
        self.network = Network(self)

    def begin(self, directory):
        self.make_keys()
        template = os.path.join(directory, "template")
        subprocess.run(["mariadb-install-db", "--no-defaults", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=socket",
                        "--datadir=" + template], check=True, capture_output=True)
        for m in self.servers:
            m.install(template)
            m.listen()
        for m in self.servers:
            wait_until("sshd of " + m.name, lambda: self.run("ssh root@%s true" % m.name).returncode == 0)
        return self

    def make_keys(self):
        d = self.administrator.path("/root/.ssh")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d + "/id_ed25519"], check=True)
        with open(d + "/config", "w") as f:
            f.write("StrictHostKeyChecking accept-new\nLogLevel ERROR\n")
        for m in self.servers:
            shutil.copy(d + "/id_ed25519.pub", m.path("/root/.ssh/authorized_keys"))

    def run(self, script):
        """What the administrator types in his home directory -> the finished process, with output and errors in stdout"""
        environment = {"PATH": os.path.dirname(XEBEC) + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        return subprocess.run(self.administrator.inside("bash", "-euo", "pipefail", "-c", "cd; " + script), env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")

    def close(self):
        for m in self.servers:
            m.stop()
        self.network.close()
