# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfer by the method xebec: several verified TLS connections, resumed when they break."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import sst
from common import OURS, running, wait_until


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="xebec") as lab:
        sst.offer(lab)
        lab[1].extra_options = "pc.weight=3"    # it stays primary when node 2 is killed
        lab[1].start(bootstrap=True).wait_synced()
        sst.fill(lab[1])
        yield lab


def configure(lab, more=""):
    for n in lab.nodes:
        n.sst_config = sst.tls_config(lab, 4, more)
    lab[1].write_config()


def begin_join(lab):
    """Node 2 starts anew; returns when data flows."""
    lab[2].stop()
    sst.wipe(lab[2])
    lab[2].start()
    wait_until("data to flow", lambda: "WSREP_SST: [INFO] received" in lab[2].log(), 60)


def finish_join(lab):
    lab[2].wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    sst.no_leftovers(*lab.nodes)


def test_join(lab):
    configure(lab)
    lab[2].start().wait_synced()
    finish_join(lab)
    assert re.search(r"joiner \S+: TLSv1.3 \S+, certificate CN=lab-server, verified on both sides", lab[1].log())
    assert "the donor has connected, verified on both sides, cluster " in lab[2].log()
    assert "over 2 connections" in lab[1].log() or os.cpu_count() != 2


def test_ist(lab):
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (1000001, 'while the node was away')")
    lab[2].start()
    finish_join(lab)
    assert "the donor sends only the IST" in lab[2].log()


def test_strangers_change_nothing(lab):
    configure(lab, "rlimit=3m\n")
    begin_join(lab)
    for words in (b"", b"GET / HTTP/1.0\r\n\r\n", b"XBSTCK01", os.urandom(3000)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", lab[2].sst_port), 5) as s:
            s.sendall(words)
    silent = socket.create_connection(("127.0.0.1", lab[2].sst_port), 5)
    finish_join(lab)
    silent.close()


def test_broken_connections_resume(lab):
    configure(lab, "rlimit=3m\n")
    begin_join(lab)
    for _ in range(3):
        subprocess.run(["ss", "-K", "dport", "=", str(lab[2].sst_port)], check=True, capture_output=True)
        seen = lab[2].log().count("[INFO] received")
        wait_until("more data", lambda: lab[2].log().count("[INFO] received") > seen, 60)
    finish_join(lab)
    assert "connecting anew, nothing is lost" in lab[1].log()


def test_pause(lab):
    """Longer than either side would stand silence; the program itself goes on, and with it its watch over the server."""
    configure(lab, "rlimit=3m\nsst-idle-timeout=4\n")
    begin_join(lab)
    program = next(pid for pid, line in sst.processes() if line[0] == "wsrep_sst_xebec" and lab[1].data + "/" in line)
    sizes = [len(n.log()) for n in lab.nodes]
    os.kill(program, signal.SIGTSTP)
    wait_until("the donor to pause", lambda: "paused until SIGCONT comes" in lab[1].log()[sizes[0]:])
    time.sleep(7)      # the pause itself
    with open("/proc/%d/stat" % program) as f:
        assert f.read().rsplit(")", 1)[1].split()[0] != "T"
    assert lab[2].log()[sizes[1]:].count("[INFO] received") <= 2     # what was under way
    os.kill(program, signal.SIGCONT)
    configure(lab, "sst-idle-timeout=4\n")
    finish_join(lab)
    donor, joiner = [n.log()[size:] for n, size in zip(lab.nodes, sizes)]
    assert "going on" in donor and "(0 resumed)" in donor and "silent" not in donor + joiner, donor


def test_foreign_certificate_is_refused(lab):
    """The donor's certificate is of another CA: no byte moves, both say why, the joiner's data and position stay, so that IST does
    once the certificate is right."""
    sst.make_certificate(lab, "foreign", "stranger", ca=None)
    if not lab[2].is_running():
        lab[2].start().wait_synced()
    lab[2].stop()
    lab[1].sql("INSERT INTO sst.t VALUES (1000002, 'while the node was away')")
    before, state = sst.files_of(lab[2]), lab[2].grastate()
    configure(lab)
    config = "encrypt=4\ntca={c}/foreign-cert.pem\ntcert={c}/foreign-cert.pem\ntkey={c}/foreign-key.pem\n".format(c=lab.certs)
    lab[1].sst_config = config
    lab[1].write_config()
    lab[2].start()
    wait_until("the joiner's server to end", lambda: not lab[2].is_running(), 60)
    wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
    assert "is refused" in lab[1].log() and "was not touched" in lab[2].log()
    assert sst.files_of(lab[2]) == before
    assert lab[2].grastate() == state and int(state["seqno"]) > 0, (lab[2].grastate(), state)
    configure(lab)
    size = len(lab[2].log())
    lab[2].start()
    finish_join(lab)
    assert "the donor sends only the IST" in lab[2].log()[size:]


def test_nothing_readable_on_the_wire(lab):
    """(That the listener sees plain text is shown in test_sst_backup.)"""
    configure(lab)
    lab[2].stop()
    sst.wipe(lab[2])
    with sst.Wire(lab[2].sst_port, b"canary-") as wire:
        lab[2].start()
        finish_join(lab)
    assert wire.packets > 100 and wire.found == 0, (wire.packets, wire.found)
