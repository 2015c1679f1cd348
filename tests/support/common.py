# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests with real servers share: where they run, which provider they test, and small helpers around SQL."""
import contextlib
import os
import re
import shutil
import tempfile

import lab as labs

DEADLOCK = 1213

# The tests themselves are proved against the stock provider with XEBEC_PROVIDER=/usr/lib/galera/libgalera_smm.so.
OURS, STOCK, Trouble, wait_until = labs.OURS, labs.STOCK, labs.Trouble, labs.wait_until


@contextlib.contextmanager
def running(providers, start=True, **settings):
    """A lab under a temporary directory; kept for inspection when XEBEC_KEEP is set or something fails.
    State transfers go by our program unless the module names a method: each call of a stock script takes 10 s of processor
    time, even for an IST, so only where it is the subject."""
    settings.setdefault("sst", "xebec" if settings.get("tls", True) else "xebec_backup")
    directory = tempfile.mkdtemp(prefix="xebec-cluster-")
    lab = labs.Lab(directory, providers, **settings)
    try:
        with lab:
            yield lab.start_all() if start else lab
    except BaseException:
        print("# kept: %s" % directory, flush=True)
        raise
    if os.environ.get("XEBEC_KEEP"):
        print("# kept: %s" % directory, flush=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def errno_of(connection, statement):
    """Runs the statement -> 0 or the server's error number"""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        return 0
    except labs.pymysql.MySQLError as e:
        return e.args[0]


def fresh_schema(lab, name):
    """Drops and makes the schema on node 1, waits until all have it."""
    lab.running()[0].sql("DROP DATABASE IF EXISTS `%s`" % name, "CREATE DATABASE `%s`" % name)
    lab.wait_equal_seqno()


def log_sizes(lab):
    return {n.name: len(n.log()) for n in lab.nodes}


SNAPSHOT_SENT = ("Streaming the backup", "WSREP_SST: [INFO] sent to ")   # the stock script of mariabackup, our program


def has_sent_snapshot(node, size=0):
    """Since its log had this size"""
    return any(words in node.log()[size:] for words in SNAPSHOT_SENT)


def assert_no_snapshot(lab, sizes):
    """Since log_sizes() no donor has sent a snapshot: who joined has come by IST."""
    senders = [n.name for n in lab.nodes if has_sent_snapshot(n, sizes[n.name])]
    assert not senders, "snapshots sent by %s" % senders


# What stands in no log of a cluster whose nodes speak the protocol, whatever happens to them; in the words of either provider.
COMPLAINTS = re.compile("|".join((
    "checksum", "protocol error", "protocol violation", "malformed", "inconsisten", "exception",
    "is no group communication", r"WSREP: Refused \S+:\d+", "and so are further ones", r"PC: message of \S+ dropped", "PC: weight change of",
    "Own history differs", r"IST: (write set|configuration change) \d+:", r"certification: (write set \d+ from \S+ failed|preordered event)",
    "unexpected (?!eof)", "left the commit order in state", "Brute-force abort of transaction", "message of a type that is never sent",
    # closed, cut or gone with its node is no complaint, nor is a wait that ended
    r"connection to peer \S+ at \S+ dropped: (?!closed by peer|Connection reset|Broken pipe|Connection timed out|No route|timed out, no messages|"
    r"cannot send|peer is evicted|refused by peer: evicted|peer is connected already)")), re.IGNORECASE)
HARMLESS = ("Passing config to GCS", "Using CRC-32C for message checksums")


def complaints(node):
    return [line for line in node.log().splitlines() if COMPLAINTS.search(line) and not any(h in line for h in HARMLESS)]


def assert_no_complaints(lab):
    for n in lab.nodes:
        bad = complaints(n)
        assert not bad, (n.name, bad[:3])
