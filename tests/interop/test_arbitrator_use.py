# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec-arbitrator as its user meets it: command line, configuration file, background, log, backups, manual page, unit."""
import contextlib
import os
import re
import signal
import subprocess
import tempfile

from arbitrators import ARBITRATOR, Arbitrator
from common import OURS, STOCK, fresh_schema, labs, running, wait_until

PACKAGING = os.path.join(labs.ROOT, "packaging")


@contextlib.contextmanager
def cluster():
    with running([STOCK, OURS]) as lab:
        fresh_schema(lab, "u")
        lab[1].sql("CREATE TABLE u.t (a INT PRIMARY KEY)", "INSERT INTO u.t VALUES (1)")
        yield lab


def run(*arguments):
    return subprocess.run([ARBITRATOR] + list(arguments), capture_output=True, text=True, timeout=60)


def options_of(lab):
    return "gmcast.listen_addr=tcp://127.0.0.1:%d;%s" % (labs.free_ports(1)[0], lab.tls_options())


def configuration(lab, **more):
    """-> path of a configuration file, its directory"""
    directory = tempfile.mkdtemp(dir=lab.dir, prefix="configured-")
    settings = dict(address="gcomm://" + lab.members(), group=lab.cluster, options='"%s"' % options_of(lab), workdir=directory, log=directory + "/log")
    settings.update(more)
    path = directory + "/arbitrator.cnf"
    with open(path, "w") as f:
        f.write("# a comment\n\n" + "".join("%s = %s\n" % s for s in settings.items()))
    return path, directory


def read(path):
    with open(path) as f:
        return f.read()


def wait_member(lab, directory):
    wait_until("the arbitrator is synced", lambda: os.path.exists(directory + "/log") and "Synchronized with group" in read(directory + "/log"))
    lab.wait_size(3)


def processes_with(text):
    """-> pids of processes with this text in their command line"""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if text in read("/proc/%s/cmdline" % pid):
                found.append(int(pid))
    return found


def test_help_version_and_mistakes(lab):
    for option in ("--help", "-?", "-h"):
        done = run(option)
        assert done.returncode == 0 and "--address=ADDRESS" in done.stdout, done
    for option in ("--version", "-V", "-v"):
        assert re.fullmatch(r"xebec-arbitrator \d+\.\d+\.\d+\n", run(option).stdout)
    broken = configuration(lab, colour="red")[0]
    for arguments, says in ((["--group", "x"], "--address"), (["--address", "gcomm://127.0.0.1"], "--group"),
                            (["--cfg", "/nonexistent/file"], "/nonexistent/file"), (["--cfg", broken], "colour"),
                            (["-a", "gcomm://127.0.0.1", "-g", "x", "-l", "/nonexistent/log"], "/nonexistent/log"),
                            (["-a", "gcomm://127.0.0.1", "-g", "x", "-o", "nosuch.option=1"], "nosuch.option"),
                            (["-a", "gcomm://127.0.0.1", "-g", "x", "-d", "-o", "nosuch.option=1"], "nosuch.option"),
                            (["-a", "gcomm://127.0.0.1", "-g", "x", "-o", "socket.ssl_key=/nonexistent.pem;socket.ssl_cert=/nonexistent.pem"], "/nonexistent.pem")):
        done = run(*arguments)
        assert done.returncode == 1 and says in done.stderr, (arguments, done)


def test_configuration_file(lab):
    path, directory = configuration(lab, name="voter", group="wrong")
    process = subprocess.Popen([ARBITRATOR, "--cfg", path, "-g", lab.cluster])    # what the command line says counts more
    lab.others.append(process)
    wait_member(lab, directory)
    assert "(voter)" in lab[2].log()
    assert os.path.exists(directory + "/gvwstate.dat")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert not os.path.exists(directory + "/gvwstate.dat")
    lab.wait_size(2)


def test_positional_address_and_log_on_stderr(lab):
    with subprocess.Popen([ARBITRATOR, "gcomm://" + lab.members(), "-g", lab.cluster, "-o", options_of(lab), "-w", lab.dir],
                          stderr=subprocess.PIPE, text=True) as process:
        lab.others.append(process)
        assert any("Synchronized with group" in line for line in process.stderr)
        process.terminate()
        assert process.wait(30) == 0
    lab.wait_size(2)


def test_in_the_background(lab):
    path, directory = configuration(lab, daemon=1)
    assert run("--cfg", path).returncode == 0     # it is back at once
    wait_member(lab, directory)
    pids = processes_with(path)
    assert len(pids) == 1, pids
    assert os.getsid(pids[0]) == pids[0] and os.readlink("/proc/%d/fd/0" % pids[0]) == "/dev/null"
    os.kill(pids[0], signal.SIGTERM)
    lab.wait_size(2)
    wait_until("it ends", lambda: not processes_with(path))


def wait_backup(lab, donor):
    """An arbitrator that asks this node for a backup; the node runs its script and is Synced again."""
    done = os.path.join(donor.data, "backup_sst_complete")
    assert not os.path.exists(done)
    arbitrator = Arbitrator(lab, "--donor", donor.name, "--sst", "backup:argument")
    assert arbitrator.process.wait(60) == 0, arbitrator.log()
    wait_until("the script is done", lambda: os.path.exists(done))
    donor.wait_synced()
    lab.wait_size(2)
    assert re.search(r"\(garb\) requested state transfer from '%s'\. Selected \S+ \(%s\)" % (donor.name, donor.name), lab[1].log())
    assert lab[1].status("wsrep_cluster_state_uuid") in read(done)
    lab[1].sql("INSERT INTO u.t VALUES (%d)" % (10 + donor.index))
    lab.checksums("u")


def test_backup_from_a_stock_donor(lab):
    wait_backup(lab, lab[1])


def test_backup_from_our_donor(lab):
    wait_backup(lab, lab[2])


def test_a_donor_that_does_not_exist(lab):
    arbitrator = Arbitrator(lab, "--donor", "nobody", "--sst", "backup")
    assert arbitrator.process.wait(60) == 1, arbitrator.log()
    assert "--donor" in arbitrator.log(), arbitrator.log()
    lab.wait_size(2)


def test_manual_page(lab):
    page = os.path.join(PACKAGING, "man/xebec-arbitrator.8")
    done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, env=dict(os.environ, MANWIDTH="100", LC_ALL="C.UTF-8"))
    assert done.returncode == 0 and not done.stderr, done.stderr
    long_options = r"(?<![\w-])--[a-z]+"
    explained = set(re.findall(long_options, done.stdout))
    offered = set(re.findall(long_options, run("--help").stdout)) - {"--usage"}
    assert offered == explained and len(offered) > 10, offered ^ explained


def test_systemd_unit(lab):
    """systemd finds no fault in it, and what it starts becomes a member."""
    text = read(os.path.join(PACKAGING, "systemd/xebec-arbitrator.service")).replace("@sbindir@", os.path.dirname(ARBITRATOR))
    unit = os.path.join(lab.dir, "xebec-arbitrator.service")
    with open(unit, "w") as f:
        f.write(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert done.returncode == 0 and "xebec" not in done.stderr, done.stderr
    path, directory = configuration(lab)
    command = re.search(r"^ExecStart=(.*)", text, re.M)[1]
    command = command.replace("/etc/xebec/arbitrator.cnf", path).replace("%S/xebec-arbitrator", directory).split()
    process = subprocess.Popen(command)
    lab.others.append(process)
    wait_member(lab, directory)
    process.terminate()                # as systemd stops it
    assert process.wait(30) == 0
    lab.wait_size(2)
