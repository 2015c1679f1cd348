# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests/interop/test_mixed_walks.py does, with one node of ours and two stock ones; and automatic eviction (make check-full)."""
import os
import signal
import sys
import threading

from common import OURS, STOCK, labs, running, wait_until

sys.path.insert(0, os.path.join(labs.ROOT, "tests/interop"))
from test_mixed_walks import *  # noqa: E402, F403: the tests, which the runner finds here by their names
from test_mixed_walks import one_of_each, others, restart_evicted  # noqa: E402


def cluster():
    return running([OURS, STOCK, STOCK])


def freeze_until_evicted(victim, uuid, rest):
    """Silent for 3 s again and again: less than evs.suspect_timeout, more than what counts as late."""
    for _ in range(10):
        victim.signal(signal.SIGSTOP)
        threading.Event().wait(3)
        victim.signal(signal.SIGCONT)
        threading.Event().wait(2)
        if all(uuid in n.status("wsrep_evs_evict_list") for n in rest):
            return
    raise AssertionError("%s is late again and again, and is not evicted: %s" % (victim.name, [n.status("wsrep_evs_delayed") for n in rest]))


def test_node_that_is_late_again_and_again_is_evicted(lab):
    for victim in one_of_each(lab):
        size = len(victim.log())
        for n in lab.nodes:
            n.sql("SET GLOBAL wsrep_provider_options='evs.auto_evict=2'")
        freeze_until_evicted(victim, victim.status("wsrep_gcomm_uuid"), others(lab, victim))
        for n in others(lab, victim):
            n.sql("SET GLOBAL wsrep_provider_options='evs.auto_evict=0'")
        restart_evicted(lab, victim, size)
