# SPDX-License-Identifier: GPL-2.0-or-later
"""An arbitrator, ours or the stock one, as a process beside a lab's servers."""
import os
import signal
import subprocess
import tempfile

from common import labs, wait_until

ARBITRATOR = os.environ.get("XEBEC_ARBITRATOR", os.path.join(labs.ROOT, "build/release/src/arbitrator/xebec-arbitrator"))
GARBD = "/usr/bin/garbd"   # Debian package galera-arbitrator-4


class Arbitrator:
    """Started when made. Later arguments win, so `arguments` may contradict those given by default."""

    def __init__(self, lab, *arguments, program=ARBITRATOR, options="", tls=True):
        self.port = labs.free_ports(1)[0]
        self.dir = tempfile.mkdtemp(dir=lab.dir, prefix="arbitrator-")
        self.options = ";".join(filter(None, ["gmcast.listen_addr=tcp://127.0.0.1:%d" % self.port, lab.tls_options() if tls else "", options]))
        self.log_path = os.path.join(self.dir, "log")
        self.process = subprocess.Popen([program, "--address", "gcomm://" + lab.members(), "--group", lab.cluster, "--options", self.options,
                                         "--workdir", self.dir, "--log", self.log_path] + list(arguments))
        lab.others.append(self.process)

    def log(self):
        try:
            with open(self.log_path) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_synced(self):
        wait_until("the arbitrator is synced", self.is_synced)
        return self

    def is_synced(self):
        if self.process.poll() is not None:
            raise labs.Trouble("the arbitrator ended with %d; the end of its log:\n%s" % (self.process.returncode, self.log()[-2500:]))
        # ours; the stock one says how its state in the group changes
        return "Synchronized with group" in self.log() or "Shifting JOINED -> SYNCED" in self.log()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)


def with_arbitrator(lab, **how):
    """-> an arbitrator that all nodes count as a member"""
    size = len(lab.running()) + 1
    arbitrator = Arbitrator(lab, **how).wait_synced()
    lab.wait_size(size)
    return arbitrator
