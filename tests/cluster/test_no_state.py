# SPDX-License-Identifier: GPL-2.0-or-later
"""A server that starts and whose state transfer fails ends at once and says why; put right, it joins."""
import contextlib
import os

from common import OURS, running

ROUNDS = 5   # the server's own way out, which is not taken, hung or crashed once in three

LATE_FAILURE = """#!/bin/sh
case "$*" in *joiner*) echo "ready 127.0.0.1:1"; sleep 1;; esac
exit 2
"""


@contextlib.contextmanager
def cluster():
    with running([OURS] * 2, start=False) as lab:
        program = os.path.join(lab.programs, "wsrep_sst_late")
        with open(program, "w") as f:
            f.write(LATE_FAILURE)
        os.chmod(program, 0o755)
        lab[1].start(bootstrap=True).wait_synced()
        lab[1].sql("CREATE DATABASE t", "CREATE TABLE t.x (id INT PRIMARY KEY)", "INSERT INTO t.x VALUES (1)")
        yield lab


def fail_to_start(lab, method, reason):
    node = lab[2]
    node.extra_config = "wsrep_sst_method=%s\n" % method
    for _ in range(ROUNDS):
        seen = len(node.log())
        node.start()
        assert node.process.wait(60) == 1, node.process.returncode
        said = node.log()[seen:]
        assert reason in said and "The server cannot start without a state" in said, said
        lab.wait_size(1)   # the donor is not held up


def test_a_program_that_is_not_there(lab):
    fail_to_start(lab, "nosuch", "The server could not prepare to receive a state")


def test_a_program_that_fails_later(lab):
    fail_to_start(lab, "late", "The donor failed to send its state")


def test_put_right_it_joins(lab):
    lab[2].extra_config = ""
    lab[2].start().wait_synced()
    assert lab[2].value("SELECT COUNT(*) FROM t.x") == 1
