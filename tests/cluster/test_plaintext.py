# SPDX-License-Identifier: GPL-2.0-or-later
"""Without certificates the provider runs in plaintext, as the stock one does, and says so in one line."""
import os
import shutil

from common import OURS, fresh_schema, labs, running, wait_until


def cluster():
    return running([OURS] * 2, tls=False)


def test_runs_and_warns_once(lab):
    fresh_schema(lab, "p")
    lab[2].sql("CREATE TABLE p.t (a INT PRIMARY KEY)", "INSERT INTO p.t VALUES (1)")
    lab.checksums("p")
    for n in lab.nodes:
        # A note that begins with WARNING: the server's own test suites fail on any [Warning] line they do not know.
        warnings = [line for line in n.log().splitlines() if "WSREP: WARNING" in line and "NOT ENCRYPTED" in line]
        assert len(warnings) == 1, warnings


def test_ssl_auto(lab):
    """The three files of the data directory are enough; a missing one stops the start, with its name."""
    made, names = lab.dir + "/auto", ("ca.pem", "server-cert.pem", "server-key.pem")
    labs.make_certificates(made, "lab")
    for n in reversed(lab.nodes):
        n.stop()
        n.extra_options = "socket.ssl_auto=YES"
        for name in names:
            shutil.copy(os.path.join(made, name), n.data)
    for missing in names:
        path, size = os.path.join(lab[1].data, missing), len(lab[1].log())
        os.remove(path)
        lab[1].start(bootstrap=True)
        wait_until("node 1 ends", lambda: not lab[1].is_running())
        assert any(missing in line and "ERROR" in line for line in lab[1].log()[size:].splitlines()), missing
        shutil.copy(os.path.join(made, missing), path)
    lab[1].start(bootstrap=True).wait_synced()
    lab[2].start().wait_synced()
    assert all(n.status("wsrep_ssl_plaintext") == "refused" and n.status("wsrep_ssl_version") == "TLSv1.3" for n in lab.nodes)
    lab.checksums("p")
