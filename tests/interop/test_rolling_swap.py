# SPDX-License-Identifier: GPL-2.0-or-later
"""Three stock nodes become ours, one at a time, and stock again, under load, by IST only; no acknowledged commit is lost."""
from common import OURS, STOCK, assert_no_complaints, assert_no_snapshot, fresh_schema, log_sizes, running
from writers import Writers


def cluster():
    return running([STOCK] * 3, gcache_size="256M")


def swap(lab, node, provider):
    node.stop()
    node.provider = provider
    node.start().wait_synced()
    assert node.status("wsrep_provider_name") == ("Xebec" if provider == OURS else "Galera")


def test_swap_under_load(lab):
    fresh_schema(lab, "sw")
    sizes = log_sizes(lab)
    writers = Writers(lab, "sw.t")
    try:
        for provider in (OURS, STOCK):
            for n in lab.nodes:
                swap(lab, n, provider)
    finally:
        writers.stop()
    lab.wait_size(3)
    count = writers.check()
    lab.checksums("sw")
    assert_no_snapshot(lab, sizes)
    assert_no_complaints(lab)
    print("#   %d commits acknowledged, %d refused, %d without answer" % (count, len(writers.refused), len(writers.unknown)))
