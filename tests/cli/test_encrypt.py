# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec encrypt: encryption is turned on in a running plaintext cluster, two nodes of ours and a stock one, under writes."""
import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess

from common import OURS, STOCK, fresh_schema, running
from restarter import Restarter
from test_cert import XEBEC, run
from writers import Writers


def cluster():
    return cluster_of([OURS, OURS, STOCK])


@contextlib.contextmanager
def cluster_of(providers):
    with running(providers, start=False, tls=False) as lab:
        for n in lab.nodes:
            os.makedirs(n.dir + "/conf.d")
            n.extra_config = "!includedir %s/conf.d" % n.dir
        lab.start_all()
        lab.restarter = Restarter(lab)
        nodes = [x for n in lab.nodes for x in ("--node", n.name + "=127.0.0.1")]
        run("cert init", lab.certs, "--cluster", lab.cluster, *nodes)
        lab.inventory = os.path.join(lab.dir, "inventory")
        with open(lab.inventory, "w") as f:
            f.write("[cluster]\nname = %s\ncerts = %s\nowner = %s\nsst_method = %s\n" % (lab.cluster, lab.certs, getpass.getuser(), lab.sst))
            for n in lab.nodes:
                f.write("[node %s]\naddress = 127.0.0.1\nport = %d\ngroup_port = %d\nist_port = %d\nsst_port = %d\nsocket = %s/s.sock\n"
                        "certs_dir = %s/tls\nfragment = %s/conf.d/x.cnf\nrestart = %s %s\n"
                        "options = base_port=%d;gmcast.listen_addr=tcp://127.0.0.1:%d;gcache.size=64M\n"
                        % (n.name, n.port, n.group_port, n.ist_port, n.sst_port, n.dir, n.dir, n.dir, lab.restarter.command, n.name,
                           n.group_port, n.group_port))
        try:
            yield lab
        finally:
            lab.restarter.close()


def group(lab):
    """-> what xebec status says of each node's group communication"""
    answer = json.loads(subprocess.run([XEBEC, "status", "--json", lab.inventory], capture_output=True, text=True).stdout)
    assert all(n["state"] == "Synced" and n["size"] == str(len(lab.nodes)) for n in answer.values()), answer
    return [n["group"] for n in answer.values()]


def test_dry_run_changes_nothing(lab):
    text = run("encrypt", "--dry-run", lab.inventory)
    assert all("node %s: certificates to" % n.name in text for n in lab.nodes)
    assert not os.path.exists(lab.inventory + ".encryption") and not os.path.exists(lab[1].dir + "/tls")
    assert "nothing is under way" in run("encrypt", "--resume", lab.inventory, code=3)


def test_unfit_certificates_do_not_begin_to_travel(lab):
    key = lab.certs + "/n2/server-key.pem"
    os.rename(key, key + ".away")
    shutil.copy(lab.certs + "/n1/server-key.pem", key)
    assert "does not belong" in run("encrypt", lab.inventory, code=3)
    os.rename(key + ".away", key)
    assert not os.path.exists(lab.inventory + ".encryption") and not os.path.exists(lab[1].dir + "/tls")


def test_a_node_that_does_not_take_it_stops_it_and_abort_goes_back(lab):
    included = lab[2].extra_config
    lab[2].extra_config = ""
    text = run("encrypt", "--wait", "25", lab.inventory, code=3)
    assert "node n2 runs with socket.ssl=NO" in text and "%s/conf.d/x.cnf" % lab[2].dir in text and "NOT undone" not in text, text
    lab[2].extra_config = included
    assert group(lab) == ["plaintext allowed" if lab[1].provider == STOCK else "PLAINTEXT", "PLAINTEXT", "PLAINTEXT"]
    assert "under way" in run("encrypt", lab.inventory, code=3)
    run("encrypt", "--abort", lab.inventory)
    assert group(lab) == ["PLAINTEXT"] * 3
    assert not os.path.exists(lab.inventory + ".encryption") and not os.path.exists(lab[1].dir + "/conf.d/x.cnf")


def killed_at(lab, line, *arguments):
    process = subprocess.Popen([XEBEC, "encrypt", lab.inventory, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for said in process.stdout:
        if line in said:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL


def test_one_node_at_a_time_under_writes(lab):
    fresh_schema(lab, "e")
    writers = Writers(lab, "e.t")
    try:
        killed_at(lab, "node n2: new files")
        assert "Paused" in run("encrypt", "--resume", "--pause", lab.inventory)
        assert "encrypted" not in group(lab)      # it may still be spoken: who answers late is taken for plain
        killed_at(lab, "node n3: new files", "--resume")
        assert "Done" in run("encrypt", "--resume", lab.inventory)
    finally:
        writers.stop()
    print("# %d commits acknowledged, all are there" % writers.check(), flush=True)
    lab.checksums("e")
    assert group(lab) == ["encrypted"] * 3
    assert not os.path.exists(lab.inventory + ".encryption")


def test_the_audit_is_green(lab):
    lab[1].sql("DELETE FROM mysql.global_priv WHERE Host <> 'localhost'", "FLUSH PRIVILEGES")   # root@HOSTNAME needs no TLS
    answer = json.loads(run("audit", "--json", lab.inventory))
    for c in answer["channels"]:
        assert c["protocol"] == "TLSv1.3" and c["plaintext"] == "refused", c
        assert c["channel"] == "clients" or [c[k] for k in ("anonymous", "other_ca", "expired")] == ["refused"] * 3, c


def test_a_node_that_has_lost_its_data_comes_back_by_an_encrypted_snapshot(lab):
    lab[2].stop()
    subprocess.run(["rm", "-r", lab[2].data], check=True)
    size = len(lab[2].log())
    lab[2].extra_config += "\nwsrep_sst_method=mariabackup\n"     # the stock script, which says how it listens
    lab[2].start().wait_synced()
    said = lab[2].log()[size:]
    assert "openssl-listen" in said, said
    lab.checksums("e")
