# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec status and audit on an encrypted cluster of both providers: all is refused that must be, and no canary is seen."""
import json
import os
import subprocess

from common import OURS, STOCK, labs, running
from test_cert import XEBEC, run


def cluster():
    return running([OURS, STOCK])


def inventory(lab, more=""):
    """-> path of an inventory of the lab's nodes; with an account for the audit, made on first use"""
    lab[1].sql("CREATE USER IF NOT EXISTS audit@'%' IDENTIFIED BY 'secret' REQUIRE SSL", "GRANT ALL ON xebec_proof.* TO audit@'%'",
               "GRANT SELECT ON mysql.* TO audit@'%'")
    lab.wait_equal_seqno()
    password = os.path.join(lab.dir, "password")
    with open(password, "w") as f:
        f.write("secret\n")
    path = os.path.join(lab.dir, "inventory")
    with open(path, "w") as f:
        f.write("[cluster]\nname = %s\ncerts = %s\nuser = audit\npassword_file = %s\n%s\n" % (lab.cluster, lab.certs, password, more))
        for n in lab.nodes:
            f.write("[node %s]\naddress = 127.0.0.1\nport = %d\ngroup_port = %d\nist_port = %d\nsst_port = %d\n"
                    % (n.name, n.port, n.group_port, n.ist_port, n.sst_port))
    return path


def audit(lab, *arguments, code=0, path=None):
    """-> ({(node, channel): row}, {rule: [where]}, {(node, channel): proof})"""
    answer = json.loads(run("audit", "--json", path or inventory(lab), *arguments, code=code))
    found = {}
    for f in answer["findings"]:
        found.setdefault(f["rule"], []).append(f["where"])
    return ({(c["node"], c["channel"]): c for c in answer["channels"]}, found, {(p["node"], p["channel"]): p for p in answer["proof"]})


def test_status(lab):
    answer = json.loads(run("status", "--json", inventory(lab)))
    assert sorted(answer) == ["n1", "n2"]
    for node in answer.values():
        assert node["good"] and node["state"] == "Synced" and node["size"] == "2" and node["group"] == "encrypted" and node["clients"] == "encrypted"
        assert node["days_left"] > 30
    assert "Synced" in run("status", inventory(lab))


def test_watch(lab):
    process = subprocess.Popen([XEBEC, "status", "--watch=1", inventory(lab)], stdout=subprocess.PIPE, text=True)
    heads = 0
    for line in process.stdout:
        heads += line.startswith("node ")
        if heads == 2:
            break
    assert process.poll() is None
    process.terminate()
    process.wait()


def test_everything_that_must_be_refused_is(lab):
    channels, found, _ = audit(lab)
    for n in ("n1", "n2"):
        assert channels[n, "clients"]["plaintext"] == "refused", channels
        group = channels[n, "group"]
        assert [group[k] for k in ("plaintext", "old_tls", "anonymous", "other_ca", "expired")] == ["refused"] * 5, group
        assert group["protocol"] == "TLSv1.3" and "server" in group["certificate"] and group["days_left"] > 30
        assert channels[n, "clients"]["protocol"] == "TLSv1.3"
    assert not [r for r in found if r not in ("name-unfit-for-sst", "account-without-ssl", "old-tls-accepted")], found
    lab.wait_size(2)    # and the cluster has not suffered


def test_an_account_without_ssl_is_named(lab):
    lab[1].sql("CREATE USER plain@'%'")
    lab.wait_equal_seqno()
    _, found, _ = audit(lab)
    assert "'plain'@'%'" in found["account-without-ssl"]
    lab[1].sql("DROP USER plain@'%'")
    lab.wait_equal_seqno()


def test_a_server_that_lets_plain_clients_in_is_named(lab):
    lab[2].sql("SET GLOBAL require_secure_transport=OFF")
    channels, found, _ = audit(lab, code=1)
    assert channels["n2", "clients"]["plaintext"] == "ACCEPTED" and channels["n1", "clients"]["plaintext"] == "refused"
    assert found["plaintext-accepted"] == ["n2"]
    assert "plaintext allowed" in run("status", inventory(lab), code=1)
    lab[2].sql("SET GLOBAL require_secure_transport=ON")


def test_proof(lab):
    _, found, proofs = audit(lab, "--proof", "2")
    for key in (("n1", "clients"), ("n2", "clients"), ("n1", "group"), ("n2", "group")):
        assert proofs[key]["hits"] == 0, proofs
    assert proofs["n1", "clients"]["bytes"] > 1000 and proofs["n1", "group"]["bytes"] + proofs["n2", "group"]["bytes"] > 50000, proofs
    assert "canary-in-clear" not in found
    assert lab[1].value("SHOW DATABASES LIKE 'xebec_proof'") is None


def test_cert_check_of_running_servers(lab):
    n = lab[1]
    c = lab.certs
    text = run("cert check", "127.0.0.1:%d" % n.port, "127.0.0.1:%d" % n.group_port, "--ca", c + "/ca.pem", "--cert", c + "/server-cert.pem",
               "--host", "127.0.0.1")
    assert text.count("signed by") >= 2, text
    assert "chain" in run("cert check", "127.0.0.1:%d" % n.port, "--ca", c + "/client-cert.pem", code=1)
    assert "tls-handshake" in run("cert check", "127.0.0.1:%d" % n.group_port, "--cert", foreign(lab) + "/server-cert.pem", code=1)
    assert "unreachable" in run("cert check", "127.0.0.1:%d" % labs.free_ports(1)[0], code=1)


def foreign(lab):
    path = os.path.join(lab.dir, "foreign")
    if not os.path.exists(path):
        run("cert init", path)
    return path


def test_an_unusable_key_of_the_ca(lab):
    """No expired certificate can be made then, so none is tried; all else is."""
    key = os.path.join(lab.certs, "ca-key.pem")
    with open(key) as f:
        good = f.read()
    with open(os.path.join(lab.certs, "server-cert.pem")) as f:
        certificate = f.read()
    encrypted = subprocess.run(["openssl", "pkey", "-aes256", "-passout", "pass:word"], input=good, check=True, capture_output=True, text=True).stdout
    try:
        for text in (None, "", "nonsense", good[:60], certificate, encrypted):
            if text is None:
                os.remove(key)
            else:
                with open(key, "w") as f:
                    f.write(text)
            channels, _, _ = audit(lab)
            assert [channels["n1", "group"][k] for k in ("expired", "other_ca", "anonymous")] == ["not tried", "refused", "refused"], text
    finally:
        with open(key, "w") as f:
            f.write(good)


def test_a_dead_node_is_named(lab):
    lab[2].stop()
    channels, found, _ = audit(lab, code=1)
    assert not channels["n2", "group"]["open"] and any(w.startswith("n2 group") for w in found["unreachable"])
    assert not json.loads(run("status", "--json", inventory(lab), code=1))["n2"]["good"]
    lab[2].start().wait_synced()
