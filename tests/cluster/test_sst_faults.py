# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfers that go wrong in the middle, methods xebec and mariabackup: full disk, cut network, killed servers and programs (as root).

Asked each time: both sides say what, where and what to do; the donor is synced again; the joiner's data and position are as they
were, so that it comes back by IST; it starts again without hand work; no process and no file is left over. Where a fault comes is
decided by the bytes that have passed a relay in front of the joiner. Each fault here meets one of the two methods; all of them
meet both in tests/full/test_sst_faults_matrix.py.
"""
import contextlib
import os
import re
import signal
import subprocess
import uuid

import sst
from common import OURS, running, wait_until
from relay import Cut

METHODS = ("xebec", "mariabackup")
ROWS = 20000                 # of 4 KB
SILENCE, PATIENCE = 4, 2     # seconds
TIMEOUTS = "sst-idle-timeout=%d\ndonor-timeout=%d\n" % (SILENCE, PATIENCE)
SLOW = TIMEOUTS + "rlimit=40m\n"   # a whole transfer takes some seconds, so that a fault finds it in the middle


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="xebec", gcache_size="8M") as lab:
        sst.offer(lab)
        lab.cut = Cut("127.0.0.3", lab[2].sst_port)
        lab[1].extra_options = "pc.weight=3"    # it stays primary when node 2 is killed
        name_joiner(lab, lab[1], "127.0.0.3")
        name_joiner(lab, lab[2], "127.0.0.2")
        configure(lab)
        try:
            lab[1].start(bootstrap=True).wait_synced()
            fill(lab[1])
            yield lab
        finally:
            lab.cut.close()


def name_joiner(lab, node, address):
    """`joiner.test` is the relay for the donor, and the joiner itself for the joiner; the stock script's name is ours."""
    hosts = os.path.join(node.dir, "hosts")
    with open(hosts, "w") as f:
        f.write("127.0.0.1 localhost\n%s joiner.test\n" % address)
    node.launcher = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /usr/bin/wsrep_sst_mariabackup && '
                     'mount --bind "$1" /etc/hosts && shift && exec "$@"', sst.PROGRAM, hosts]
    node.extra_config = "wsrep_sst_receive_address=joiner.test:%d\n" % lab[2].sst_port


def fill(node):
    node.sql("CREATE DATABASE sst", "CREATE TABLE sst.t (id INT PRIMARY KEY, v VARBINARY(4000))",
             "INSERT INTO sst.t SELECT seq, CONCAT(%s) FROM sst.seq_1_to_%d" % (",".join(["RANDOM_BYTES(1000)"] * 4), ROWS))


def configure(lab, more=TIMEOUTS):
    for n in lab.nodes:
        n.sst_config = sst.tls_config(lab, 4, more)
    lab[1].write_config()


def must_take_snapshot(lab):
    """Node 2 is stopped, its data has a position, and that is of another history, so that IST is not possible
    -> its tables, its position"""
    if not os.path.isdir(lab[2].data):
        lab[2].start().wait_synced()
    lab[2].stop()
    with open(os.path.join(lab[2].data, "grastate.dat"), "w") as f:
        f.write("# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   77\nsafe_to_bootstrap: 0\n" % uuid.uuid1())
    return {path: size for path, size in sst.files_of(lab[2]).items() if "/.sst/" not in path}, lab[2].grastate()


def begin(lab, method, share):
    """A transfer that has come so far, where the relay holds it -> what node 2 had before"""
    before = must_take_snapshot(lab)
    lab.sst = method
    configure(lab, SLOW)
    lab.sizes = [len(n.log()) for n in lab.nodes]
    lab.cut.stop_after(int(share * ROWS * 4000))
    lab[2].start()
    wait_until("%d%% of the rows to have passed" % (share * 100), lab.cut.is_reached, 60)
    return before


def new_logs(lab):
    return [n.log()[size:] for n, size in zip(lab.nodes, lab.sizes)]


def failed(lab, before, is_donor_gone=False):
    """The attempt has ended on both sides, and cost nothing -> their logs"""
    wait_until("the joiner's server to end", lambda: not lab[2].is_running(), 60)
    if not is_donor_gone:
        wait_until("the donor to be synced", lambda: lab[1].try_status("wsrep_local_state_comment") == "Synced", 60)
    wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
    files, state = before
    now = {path: size for path, size in sst.files_of(lab[2]).items() if "/.sst/" not in path}   # of a killed program: goes at the next start
    assert now == files, {path: (files.get(path), now.get(path)) for path in files.keys() | now.keys() if files.get(path) != now.get(path)}
    assert lab[2].grastate() == state, (lab[2].grastate(), state)
    return new_logs(lab)


def comes_back(lab):
    """Without hand work; nothing is left over."""
    configure(lab)
    lab.cut.pass_all()
    lab[2].start().wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    sst.no_leftovers(*lab.nodes)
    left = [f for n in lab.nodes for f in os.listdir(n.dir) if f.startswith("xebec-sst-")]
    assert not left, left


def cut_network(lab, method, share):
    """Nothing passes any more, and no connection ends: noticed in bounded time, on both sides."""
    donor, joiner = failed(lab, begin(lab, method, share))
    for log in (donor, joiner):
        assert "was silent for %d s (sst-idle-timeout)" % SILENCE in log, (method, share, log)
    assert "state transfer failed (donor)" in donor and "state transfer failed (joiner)" in joiner


def test_cut_network(lab):
    for method, share in (("xebec", 0.1), ("mariabackup", 0.5), ("xebec", 0.9)):
        cut_network(lab, method, share)
    comes_back(lab)


def test_a_short_cut_costs_nothing(lab):
    begin(lab, "xebec", 0.5)
    wait_until("both sides to notice", lambda: all("was silent for" in log for log in new_logs(lab)), 30)
    lab.cut.heal()
    lab[2].wait_synced()
    assert "connecting anew, nothing is lost" in new_logs(lab)[0]
    lab.checksums("sst")
    sst.no_leftovers(*lab.nodes)


def program_of(node):
    """-> pid of the node's transfer program"""
    found = [pid for pid, line in sst.processes() if line[0] in ("wsrep_sst_xebec", "wsrep_sst_mariabackup") and node.data + "/" in line]
    assert len(found) == 1, found
    return found[0]


def kill(lab, method, kill_it):
    before = begin(lab, method, 0.5)
    kill_it(lab)
    lab.cut.heal()      # what the others say passes
    return before


def kill_program(lab, method, victim):
    donor, joiner = failed(lab, kill(lab, method, lambda lab: os.kill(program_of(victim), signal.SIGKILL)))
    survivor = joiner if victim is lab[1] else donor
    assert "state transfer failed" in survivor and "127.0.0." in survivor, survivor


def test_killed_programs(lab):
    kill_program(lab, "xebec", lab[1])
    kill_program(lab, "mariabackup", lab[2])
    comes_back(lab)


def kill_server(node):
    node.process.kill()
    node.process.wait()


def kill_server_of_joiner(lab, method):
    before = kill(lab, method, lambda lab: kill_server(lab[2]))
    wait_until("the joiner's program to end with its server", lambda: not sst.helpers([lab[2]]), 5)
    assert "state transfer failed (donor)" in failed(lab, before)[0]


def kill_server_of_donor(lab, method):
    """The joiner's program knows at once. It alone is looked at: a cluster of two is gone with its donor."""
    before = kill(lab, method, lambda lab: kill_server(lab[1]))
    wait_until("the joiner's program to end", lambda: "state transfer failed (joiner)" in new_logs(lab)[1], 10)
    lab[2].kill()
    failed(lab, before, is_donor_gone=True)
    mark_safe_to_bootstrap(lab[1])
    lab[1].start(bootstrap=True).wait_synced()


def test_killed_servers(lab):
    kill_server_of_joiner(lab, "mariabackup")
    kill_server_of_donor(lab, "xebec")
    comes_back(lab)


def mark_safe_to_bootstrap(node):
    path = os.path.join(node.data, "grastate.dat")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))


@contextlib.contextmanager
def small_disk(node):
    """The node is empty, and its data directory a file system of its own that has hardly any room."""
    node.stop()
    sst.wipe(node)
    os.makedirs(node.data)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", node.data], check=True)
    config = node.extra_config
    node.extra_config += "innodb_log_file_size=16M\n"
    try:
        node.lab.install(node.data)
        give_room(node, 20)
        yield
    finally:
        node.kill()
        node.extra_config = config
        subprocess.run(["umount", node.data], check=True)
        os.rmdir(node.data)


def give_room(node, mebibytes):
    """Beside what is there now"""
    used = os.statvfs(node.data)
    size = (used.f_blocks - used.f_bfree) * used.f_frsize + (mebibytes << 20)
    subprocess.run(["mount", "-o", "remount,size=%d" % size, node.data], check=True)


def full_disk(lab, method):
    """Refused while the old data is there when its place would not do either; when it does, it makes room."""
    with small_disk(lab[2]):
        os.remove(os.path.join(lab[2].data, "ib_logfile0"))
        give_room(lab[2], 20)
        lab.sst = method
        lab.sizes = [len(lab[1].log()), 0]
        before = must_take_snapshot(lab)
        lab[2].start()
        for log in failed(lab, before):
            assert re.search(r"the disk of '%s/?' is too small: \d+ MiB are still to come, .*: make room there" % lab[2].data, log), log
        give_room(lab[2], 210)
        with open(os.path.join(lab[2].data, "ib_logfile0"), "wb") as f:     # as a larger database would have
            os.posix_fallocate(f.fileno(), 0, 150 << 20)
        comes_back(lab)
        assert "has no room for the old data beside the new" in lab[2].log()


def test_full_disk(lab):
    full_disk(lab, "mariabackup")
