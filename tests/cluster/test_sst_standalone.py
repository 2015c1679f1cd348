# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec-sst send and receive by hand: a backup of a server without a cluster, its progress, pause, limit, and refusals."""
import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import time

import sst
from common import OURS, Trouble, running, wait_until
from lab import free_ports

SILENCE = 4   # seconds


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False) as lab:
        lab[1].sst_config = "sst-idle-timeout=%d\ndonor-timeout=2\n" % SILENCE
        start_alone(lab[1])
        sst.fill(lab[1], rows=100000)
        lab.port = free_ports(1)[0]
        lab.backup = os.path.join(lab.dir, "backup")
        yield lab


def start_alone(node):
    node.start(arguments=["--wsrep-on=OFF", "--wsrep-provider=none"])
    wait_until("the server to answer", lambda: node.try_status("uptime"))


def certificates(lab, name="server"):
    return ["--ssl-ca=%s/%s.pem" % (lab.certs, "ca" if name == "server" else name + "-cert")] + \
           ["--ssl-%s=%s/%s-%s.pem" % (k, lab.certs, name, k) for k in ("cert", "key")]


class Pair:
    """A receiver, and a sender with its ticket. Nothing of them outlives the block."""

    def __init__(self, lab, send=(), receive=(), change=str, stderr=None):
        self.lab, self.logs = lab, [os.path.join(lab.dir, f) for f in ("send.log", "receive.log")]
        with open(self.logs[1], "w") as log:
            self.receiver = subprocess.Popen([sst.PROGRAM, "receive", "--listen=127.0.0.1:%d" % lab.port, "--into=" + lab.backup,
                                              "--defaults-file=%s/my.cnf" % lab[1].dir] + certificates(lab) + list(receive),
                                             stdout=subprocess.PIPE, stderr=log, text=True)
        self.ticket = self.receiver.stdout.readline()
        with open(self.logs[0], "w") as log:
            self.sender = subprocess.Popen([sst.PROGRAM, "send", "--defaults-file=%s/my.cnf" % lab[1].dir] + list(send),
                                           stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr or log, text=True)
        with contextlib.suppress(BrokenPipeError):
            self.sender.stdin.write(change(self.ticket))
            self.sender.stdin.close()

    def log(self, index):
        with open(self.logs[index], errors="replace") as f:
            return f.read()

    def wait_for_data(self):
        wait_until("data to flow", lambda: "sent " in self.log(0), 30)

    def end(self):
        """-> exit codes and words of both"""
        try:
            return self.sender.wait(120), self.receiver.wait(60), self.log(0), self.log(1)
        except subprocess.TimeoutExpired as e:
            raise Trouble("a program hangs:\n%s\n%s" % (self.log(0), self.log(1))) from e

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for p in (self.sender, self.receiver):
            if p.poll() is None:
                p.kill()
                p.wait()
        shutil.rmtree(self.lab.backup, ignore_errors=True)


def sums(node):
    return node.sql("CHECKSUM TABLE sst.t")


def nothing_left(lab):
    wait_until("the helper processes to end", lambda: not sst.helpers_of(lab.dir + "/"), 10)
    assert not os.path.exists(lab.backup)
    left = [f for f in os.listdir(lab[1].dir) if f.startswith("xebec-sst-")]
    assert not left, left


def test_backup_and_restore(lab):
    with Pair(lab, receive=["--prepare"]) as pair:
        sent, received, send_log, receive_log = pair.end()
        assert (sent, received) == (0, 0), (send_log, receive_log)
        assert re.search(r"joiner 127.0.0.1:\d+: TLSv1.3 .*verified on both sides", send_log)
        assert "the backup is in '%s'" % lab.backup in receive_log
        sst.wipe(lab[2])
        shutil.move(lab.backup, lab[2].data)    # as mariadb-backup --move-back does
        start_alone(lab[2])
        assert sums(lab[2]) == sums(lab[1])
        lab[2].stop()
    nothing_left(lab)


def test_lines_and_limit(lab):
    start = time.monotonic()
    with Pair(lab, send=["--rlimit=10m", "--connections=2"]) as pair:
        sent, received, send_log, receive_log = pair.end()
        assert (sent, received) == (0, 0), (send_log, receive_log)
        for word, log in (("sent", send_log), ("received", receive_log)):
            assert re.search(word + r" \d+% \([\d.]+ MiB of [\d.]+ MiB\), [\d.]+ [KM]iB/s, \d+:\d\d left", log), log
        assert "over 2 connections" in send_log
        wire = os.path.getsize(os.path.join(lab.backup, "sst/t.ibd"))    # random bytes, so at least so much
        assert time.monotonic() - start > 0.9 * wire / (10 << 20)


def test_bar_on_a_terminal(lab):
    ours, theirs = pty.openpty()
    with Pair(lab, send=["--rlimit=10m"], stderr=theirs) as pair:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):      # EIO: the program has ended
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
        assert pair.end()[:2] == (0, 0)
        assert re.search(rb"\r\[#+\.+\] \d+% \(", shown), shown
        assert re.search(rb"\nxebec-sst: sent to 127.0.0.1 over", shown), shown


def state_of(process):
    with open("/proc/%d/stat" % process.pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def test_pause(lab):
    """As ^Z does it: the sender stops, the receiver waits longer than it would for a silent one, and both go on."""
    with Pair(lab, send=["--rlimit=10m"]) as pair:
        pair.wait_for_data()
        pair.sender.send_signal(signal.SIGTSTP)
        wait_until("the sender to stop", lambda: state_of(pair.sender) == "T", 10)
        time.sleep(SILENCE + 3)      # the pause itself
        assert pair.receiver.poll() is None
        pair.sender.send_signal(signal.SIGCONT)
        sent, received, send_log, receive_log = pair.end()
        assert (sent, received) == (0, 0), (send_log, receive_log)
        assert "paused until SIGCONT comes" in send_log and "going on" in send_log
        assert "silent" not in send_log + receive_log and "(0 resumed)" in send_log


def test_killed(lab):
    """The other one says so. What a killed sender has left in the directory for temporary files goes with the next one."""
    for victim in (0, 1):
        with Pair(lab, send=["--rlimit=10m"]) as pair:
            pair.wait_for_data()
            (pair.sender, pair.receiver)[victim].kill()
            codes = pair.end()
            assert codes[1 - victim] == 1, codes
            assert "could not be replaced" in codes[2] or "all connections of the donor broke" in codes[3], codes
    with Pair(lab) as pair:
        assert pair.end()[:2] == (0, 0)
    nothing_left(lab)


def test_refusals(lab):
    sst.make_certificate(lab, "foreign", "stranger", ca=None)
    wrong_secret = lambda ticket: re.sub(":[0-9a-f]{32}@", ":%s@" % ("0" * 32), ticket)      # noqa: E731
    wrong_name = lambda ticket: "0" * 64 + ticket[64:]      # noqa: E731
    for send, change, words in (([], lambda ticket: "nonsense here\n", "it is the line that xebec-sst receive prints"),
                                ([], wrong_secret, "does not know the secret of this join"),
                                ([], wrong_name, "shows another certificate"),
                                (certificates(lab, "foreign"), str, "is refused"),
                                (["--datadir=/nowhere"], str, "set --datadir"),
                                (["--frequency=3"], str, "is not an option of send"),
                                (["--rlimit=much"], str, "is not a number with k, m, g or t")):
        with Pair(lab, send=send, change=change) as pair:
            assert pair.sender.wait(60) == 1
            pair.receiver.send_signal(signal.SIGTERM)
            assert pair.receiver.wait(30) == 1
            assert words in pair.log(0) + pair.log(1), (words, pair.log(0), pair.log(1))
        nothing_left(lab)


def test_receiver_keeps_what_is_there(lab):
    os.makedirs(lab.backup)
    with open(os.path.join(lab.backup, "file"), "w"):
        pass
    done = subprocess.run([sst.PROGRAM, "receive", "--listen=127.0.0.1:%d" % lab.port, "--into=" + lab.backup] + certificates(lab),
                          capture_output=True, text=True)
    assert done.returncode == 1 and "is no empty directory" in done.stderr, done
    assert os.listdir(lab.backup) == ["file"]
    shutil.rmtree(lab.backup)


def test_help_names_all_options(lab):
    shown = subprocess.run([sst.PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    for option in ("listen", "into", "prepare", "ticket", "datadir", "socket", "rlimit", "connections", "defaults-file", "ssl-ca"):
        assert "--" + option in shown, option
    assert subprocess.run([sst.PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.startswith("xebec-sst ")
