#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""systemctl of a test's machine (machines.py): knows the one unit mariadb, and runs it as Debian's unit file says.

start returns when the server has told that it is ready, as units of Type=notify do. What it prints goes to its error log.
"""
import os
import signal
import socket
import subprocess
import sys
import time

PID, NOTIFY, NEW_CLUSTER, OURS = "/run/mysqld/unit.pid", "/run/mysqld/notify", "/run/mariadb-wsrep-new-cluster", "/run/xebec"
PATIENCE_S = 300


def server():
    """-> pid of the running server, or None"""
    try:
        with open(PID) as f:
            pid = int(f.read())
        with open("/proc/%d/stat" % pid) as f:
            return None if f.read().rsplit(")", 1)[1].split()[0] == "Z" else pid
    except (OSError, ValueError):
        return None


def arguments():
    """-> what galera_new_cluster and galera_recovery have to say, as words"""
    words = []
    if os.path.exists(NEW_CLUSTER):
        with open(NEW_CLUSTER) as f:
            words += f.read().strip().split("=", 1)[1].split()
    recovery = subprocess.run(["galera_recovery"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if recovery.returncode:
        sys.exit("galera_recovery failed")
    return words + recovery.stdout.split()


def start():
    if server():
        return
    words = arguments()
    if os.path.exists(NOTIFY):
        os.remove(NOTIFY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(NOTIFY)
        os.chmod(NOTIFY, 0o777)
        ready.settimeout(0.2)
        environment = dict(os.environ, NOTIFY_SOCKET=NOTIFY, PATH=OURS + ":/usr/sbin:/usr/bin:/sbin:/bin")
        with open("/var/log/mysql/error.log", "a") as log:
            process = subprocess.Popen(["mariadbd"] + words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        with open(PID, "w") as f:
            f.write(str(process.pid))
        wait(process, ready)


def wait(process, ready):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit("Job for mariadb.service failed because the control process exited with error code %d." % process.returncode)
        try:
            if "READY=1" in ready.recv(4096).decode():
                return
        except TimeoutError:
            pass
    sys.exit("Job for mariadb.service failed because a timeout was exceeded.")


def stop(number=signal.SIGTERM):
    pid, end = server(), time.monotonic() + PATIENCE_S
    if pid:
        os.kill(pid, number)
    while server():
        if time.monotonic() > end:
            sys.exit("mariadb.service: stopping timed out.")
        time.sleep(0.05)


def main(words):
    if words in (["start", "mariadb"], ["start", "mariadb.service"]):
        start()
    elif words == ["stop", "mariadb"]:
        stop()
    elif words in (["restart", "mariadb"], ["restart", "mariadb.service"]):
        stop()
        start()
    elif words == ["kill", "-s", "KILL", "mariadb"]:
        stop(signal.SIGKILL)
    else:
        sys.exit("systemctl of a test's machine does not know: " + " ".join(words))


main(sys.argv[1:])
