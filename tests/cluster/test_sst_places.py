# SPDX-License-Identifier: GPL-2.0-or-later
"""State transfer where nothing is as usual: servers of root on IPv6, engine files and binary logs in directories of their own, all encrypted at rest."""
import contextlib
import os
import re
import subprocess

import sst
from common import OURS, running, wait_until

ACCOUNT, PASSWORD = "sslsst", "pass word"
PLACES = {"innodb_data_home_dir": "home", "innodb_log_group_home_dir": "log", "innodb_undo_directory": "undo",
          "aria_log_dir_path": "aria"}


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False, sst="rsync_wan", user="root") as lab:
        make_certificate(lab)
        for node in lab.nodes:
            node.address = "[::1]"
            node.launcher = launcher(lab, node)
            configure(lab, node)
        lab[1].extra_options = "pc.weight=3"
        install(lab[1])
        lab[1].start(bootstrap=True).wait_synced()
        sst.fill(lab[1], rows=20000)
        lab[1].sql("CREATE TABLE sst.aria (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=Aria TRANSACTIONAL=1",
                   "DROP USER IF EXISTS ''@localhost", "CREATE USER %s IDENTIFIED BY '%s' REQUIRE SSL" % (ACCOUNT, PASSWORD),
                   "GRANT ALL ON *.* TO %s WITH GRANT OPTION" % ACCOUNT)
        yield lab


def make_certificate(lab):
    """A name that can go with a request, for ssl-mode=VERIFY_IDENTITY, and the address that the client of mysqldump looks for."""
    def openssl(*words):
        subprocess.run(("openssl",) + words, check=True, capture_output=True, cwd=lab.certs)
    with open(lab.certs + "/names", "w") as f:
        f.write("subjectAltName=DNS:node.example,DNS:localhost,IP:::1\n")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "node-key.pem")
    openssl("req", "-new", "-key", "node-key.pem", "-subj", "/CN=node.example", "-out", "node.csr")
    openssl("x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-set_serial", "8", "-days", "365",
            "-extfile", "names", "-out", "node-cert.pem")


def launcher(lab, node):
    """Our program under all names, and none of the other node's keys."""
    other = lab[3 - node.index]
    os.makedirs(other.dir + "/keys", exist_ok=True)
    return ["unshare", "--mount", "sh", "-c",
            'for m in mariabackup mysqldump rsync; do mount --bind "$0" /usr/bin/wsrep_sst_$m; done; mount -t tmpfs none %s/keys; exec "$@"' % other.dir,
            sst.PROGRAM]


def configure(lab, node):
    sst.offer(lab)
    for place in PLACES.values():
        os.makedirs("%s/%s" % (node.dir, place), exist_ok=True)
    os.makedirs(node.dir + "/binlog", exist_ok=True)
    os.makedirs(node.dir + "/keys", exist_ok=True)
    write_key(node)
    node.extra_config = ("bind-address=::1\nlog_bin={d}/binlog/changes\nlog_slave_updates=ON\nserver_id=7\ninnodb_log_file_size=16M\n"
                         "wsrep_gtid_mode=ON\nwsrep_gtid_domain_id={domain}\ninnodb_undo_tablespaces=2\n"
                         "innodb_data_file_path=system1:12M;system2:12M:autoextend\n").format(d=node.dir, domain=10 + node.index)
    node.extra_config += "ssl_cert={c}/node-cert.pem\nssl_key={c}/node-key.pem\n".format(c=lab.certs)
    node.extra_config += "".join("%s=%s/%s\n" % (key, node.dir, place) for key, place in PLACES.items()) + encryption(node)
    node.sst_config = "sst-max-binlogs=2\nencrypt=4\nssl-mode=VERIFY_IDENTITY\nssl-ca={c}/ca.pem\nssl-cert={c}/node-cert.pem\nssl-key={c}/node-key.pem\n".format(c=lab.certs)


def write_key(node, digit="0"):
    with open(node.dir + "/keys/all", "w") as f:
        f.write("1;%s\n" % (digit * 64))


def encryption(node):
    return ("plugin_load_add=file_key_management\nfile_key_management_filename=%s/keys/all\ninnodb_encrypt_tables=FORCE\n"
            "innodb_encrypt_log=ON\nencrypt_binlog=ON\naria_encrypt_tables=ON\nencrypt_tmp_files=ON\n" % node.dir)


def install(node):
    node.write_config()
    subprocess.run(node.launcher + ["mariadb-install-db", "--defaults-file=%s/my.cnf" % node.dir, "--user=root", "--skip-test-db", "--wsrep-on=OFF",
                                    "--wsrep-provider=none", "--auth-root-authentication-method=normal"], check=True, capture_output=True)


def join(lab, method):
    """Node 2 asks for a snapshot by the method; what it has is of no use to it."""
    lab[2].stop()
    lab.sst = method
    lab[1].sql("FLUSH BINARY LOGS", "INSERT INTO sst.t SELECT MAX(id) + 1, '%s' FROM sst.t" % method, "FLUSH BINARY LOGS")
    if os.path.isdir(lab[2].data):
        sst.forget_position(lab[2])
    else:
        os.makedirs(lab[2].data + "/mysql")
    before = len(lab[1].log())
    lab[2].start().wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    assert "[INFO] sent to " in lab[1].log()[before:], lab[1].log_path
    sst.no_leftovers(*lab.nodes)
    assert lab[2].value("SELECT @@wsrep_gtid_domain_id") == 11
    assert lab[1].value("SELECT @@gtid_binlog_pos") == lab[2].value("SELECT @@gtid_binlog_pos") != ""
    lab[2].sql("INSERT INTO sst.t SELECT MAX(id) + 1, 'from the joiner' FROM sst.t")
    lab.wait_equal_seqno()
    assert lab[1].value("SELECT @@gtid_binlog_pos") == lab[2].value("SELECT @@gtid_binlog_pos")
    in_places(lab[2])


def in_places(node):
    """Each file is where the node's configuration wants it, and readable to nobody without the key."""
    for place, name in (("home", "system1"), ("home", "system2"), ("log", "ib_logfile0"), ("undo", "undo001"), ("undo", "undo002"),
                        ("aria", "aria_log_control")):
        assert os.path.exists("%s/%s/%s" % (node.dir, place, name)), (place, name)
        assert not os.path.exists("%s/%s" % (node.data, name)), name
    for directory in (node.data + "/sst", node.dir + "/binlog"):
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), "rb") as f:
                assert b"canary-" not in f.read(), name


def logs(node):
    return [r[0] for r in node.sql("SHOW BINARY LOGS")]


def test_rsync_wan(lab):
    """The second time only what differs is sent, and the joiner has the last two binary logs of the donor."""
    join(lab, "rsync_wan")
    first = sent_bytes(lab)
    join(lab, "rsync_wan")
    assert sent_bytes(lab) < first / 4, (sent_bytes(lab), first)
    assert logs(lab[2])[:2] == logs(lab[1])[-2:] and len(logs(lab[2])) == 3, (logs(lab[1]), logs(lab[2]))


def test_xebec(lab):
    join(lab, "xebec")


def test_mariabackup(lab):
    join(lab, "mariabackup")


def test_keys_that_do_not_fit(lab):
    """A joiner without the donor's keys, or with others: it says so, and its data stays until they are there."""
    lab[2].stop()
    before, config = sst.files_of(lab[2]), lab[2].extra_config
    for change, words in ((lambda: None, "set plugin_load_add=file_key_management and its options in [mysqld]"),
                          (lambda: write_key(lab[2], "f"), "has this node's file_key_management the same keys as the donor's?")):
        lab[2].extra_config = config.replace(encryption(lab[2]), "") if "plugin_load_add" in words else config
        change()
        lab.sst = "xebec"
        sst.forget_position(lab[2])
        size = len(lab[2].log())
        lab[2].start()
        wait_until("the joiner to give up", lambda: not lab[2].is_running(), 60)
        wait_until("the helper processes to end", lambda: not sst.helpers(lab.nodes), 20)
        assert words in lab[2].log()[size:] and "was not touched" in lab[2].log()[size:], lab[2].log()[size:]
        assert sst.files_of(lab[2]) == before
    write_key(lab[2])
    # rsync copies the files unseen: the server then ends, and takes another snapshot once it has its keys.
    lab.sst = "rsync"
    lab[2].extra_config = config.replace(encryption(lab[2]), "")
    size = len(lab[2].log())
    lab[2].start()
    wait_until("the joiner's server to end", lambda: not lab[2].is_running(), 60)
    assert "the required encryption key management plugin was not found" in lab[2].log()[size:], lab[2].log()[size:]
    lab[2].extra_config = config
    lab[2].start().wait_synced()
    lab.wait_size(2)
    lab.checksums("sst")
    in_places(lab[2])


def test_mysqldump(lab):
    lab[1].sql("SET GLOBAL wsrep_sst_auth='%s:%s'" % (ACCOUNT, PASSWORD))
    join(lab, "mysqldump")
    assert lab[1].value("SELECT @@gtid_binlog_state") == lab[2].value("SELECT @@gtid_binlog_state") != ""


def sent_bytes(lab):
    """What the last snapshot took on the wire, by the donor's log."""
    number, unit = re.findall(r"sent to ::1, 100% \(([0-9.]+) ([KMG]?)i?B", lab[1].log())[-1]
    return float(number) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[unit]
