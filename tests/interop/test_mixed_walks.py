# SPDX-License-Identifier: GPL-2.0-or-later
"""One stock node and two of ours: what a cluster lives through, most of it at a node of each kind. tests/full has the other mix."""
import concurrent.futures
import re
import signal

from common import (DEADLOCK, OURS, STOCK, assert_no_complaints, assert_no_snapshot, errno_of, fresh_schema, has_sent_snapshot, log_sizes, running,
                    wait_until)

UNKNOWN_METHOD = 1231


def cluster():
    return running([STOCK, OURS, OURS])


def one_of_each(lab):
    """Node 1 is alone of its kind."""
    return lab[1], lab[3]


def victims(lab, index):
    """Of what takes long: in `make check`, where node 1 is a stock one, this node, in `make check-full` one of each kind."""
    return [lab[index]] if lab[1].provider == STOCK else one_of_each(lab)


def others(lab, node):
    return [n for n in lab.nodes if n is not node]


def table(lab, schema, columns="id INT PRIMARY KEY, v INT", rows=0):
    fresh_schema(lab, schema)
    lab[1].sql("CREATE TABLE %s.t (%s)" % (schema, columns))
    if rows:
        lab[1].sql("INSERT INTO %s.t SELECT seq, 0 FROM %s.seq_1_to_%d" % (schema, schema, rows))
    lab.wait_equal_seqno()
    return schema + ".t"


def race(lab, statements):
    """Two transactions at nodes of both kinds, of which only one can commit -> its index"""
    connections = [n.connect(autocommit=False) for n in one_of_each(lab)]
    for c, s in zip(connections, statements):
        assert errno_of(c, s) == 0, s
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda c: errno_of(c, "COMMIT"), connections))
    for c in connections:
        c.close()
    assert sorted(results) == [0, DEADLOCK], (statements, results)
    lab.wait_equal_seqno()
    return results.index(0)


# ---- what clients do


def test_unique_keys(lab):
    t = table(lab, "uk", "id INT AUTO_INCREMENT PRIMARY KEY, v INT, UNIQUE KEY (v)")
    for i in range(10):
        race(lab, ["INSERT INTO %s (v) VALUES (%d)" % (t, i)] * 2)
    assert lab[2].value("SELECT COUNT(*) FROM %s" % t) == 10
    lab.checksums("uk")


def test_foreign_keys(lab):
    t = table(lab, "fk", "id INT PRIMARY KEY, v INT", 20)
    lab[2].sql("CREATE TABLE fk.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES fk.t (id))",
               "CREATE TABLE fk.heir (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES fk.t (id) ON DELETE CASCADE)",
               "INSERT INTO fk.heir SELECT id, id FROM fk.t")
    lab.wait_equal_seqno()
    kept = 0
    for i in range(1, 11):
        turn = i % 2      # who deletes
        statements = ["DELETE FROM %s WHERE id = %d" % (t, i), "INSERT INTO fk.child VALUES (%d, %d)" % (i, i)]
        kept += race(lab, statements[::1 if turn else -1]) == turn
    assert lab[1].value("SELECT COUNT(*) FROM fk.child") == kept
    for n in lab.nodes:
        assert n.value("SELECT COUNT(*) FROM %s" % t) == n.value("SELECT COUNT(*) FROM fk.heir") == 10 + kept
        assert n.value("SELECT COUNT(*) FROM fk.child LEFT JOIN %s USING (id) WHERE t.id IS NULL" % t) == 0
    lab.checksums("fk")


def test_row_of_64_megabytes(lab):
    t = table(lab, "big", "id INT PRIMARY KEY, b LONGBLOB")
    lab[1].sql("INSERT INTO %s VALUES (1, REPEAT('x', 64 << 20))" % t)
    lab.wait_equal_seqno(180)
    lab.checksums("big")
    assert [n.value("SELECT LENGTH(b) FROM %s" % t) for n in lab.nodes] == [64 << 20] * 3
    lab[1].sql("DROP DATABASE big")


def test_reads_with_sync_wait_are_never_stale(lab):
    t = table(lab, "sw", rows=1)
    for node in one_of_each(lab):
        writer, readers = node.connect(), [n.connect() for n in others(lab, node)]
        for r in readers:
            assert errno_of(r, "SET SESSION wsrep_sync_wait=1") == 0
        for i in range(1, 101):
            assert errno_of(writer, "UPDATE %s SET v = %d" % (t, i)) == 0
            for r in readers:
                with r.cursor() as cursor:
                    cursor.execute("SELECT v FROM %s" % t)
                    assert cursor.fetchone()[0] == i
        for c in [writer] + readers:
            c.close()


def stream(node, t, first, count):
    """-> a connection with a transaction under way, in fragments of 5 rows"""
    c = node.connect(autocommit=False)
    with c.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_trx_fragment_unit='rows', SESSION wsrep_trx_fragment_size=5")
        for i in range(first, first + count):
            cursor.execute("INSERT INTO %s VALUES (%d, %d)" % (t, i, node.index))
    return c


def fragments(node):
    return node.value("SELECT COUNT(*) FROM mysql.wsrep_streaming_log")


def wait_fragments(nodes, count):
    wait_until("%d fragments at each" % count, lambda: all(fragments(n) == count for n in nodes))


def test_streaming_commits_and_rolls_back(lab):
    t = table(lab, "sr")
    for node in one_of_each(lab):
        c = stream(node, t, 1000 * node.index, 50)
        wait_fragments(lab.nodes, 10)
        assert others(lab, node)[0].value("SELECT COUNT(*) FROM %s WHERE v = %d" % (t, node.index)) == 0
        c.commit()
        wait_fragments(lab.nodes, 0)
        c.close()
        c = stream(node, t, 1000 * node.index + 500, 50)
        wait_fragments(lab.nodes, 10)
        c.rollback()
        wait_fragments(lab.nodes, 0)
        c.close()
    lab.checksums("sr")
    assert [n.value("SELECT COUNT(*) FROM %s" % t) for n in lab.nodes] == [100] * 3


def test_desync(lab):
    t = table(lab, "ds")
    for node in one_of_each(lab):
        other = others(lab, node)[0]
        node.sql("SET GLOBAL wsrep_desync=ON")
        wait_until("desynced", lambda: node.status("wsrep_local_state_comment") == "Donor/Desynced")
        assert node.status("wsrep_desync_count") == "1"
        other.sql("INSERT INTO %s SELECT %d00 + seq, 1 FROM ds.seq_1_to_50" % (t, node.index))
        node.sql("INSERT INTO %s VALUES (%d, 2)" % (t, node.index), "SET GLOBAL wsrep_desync=OFF")
        node.wait_synced()
        assert node.status("wsrep_desync_count") == "0"
    lab.checksums("ds")


def test_backup_locks(lab):
    """A node that is locked for a backup holds up nobody, and catches up afterwards."""
    t = table(lab, "bl")
    locks = (("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"),
             ("BACKUP STAGE START", "BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL", "BACKUP STAGE BLOCK_COMMIT", "BACKUP STAGE END"))
    for node in one_of_each(lab):
        for i, (*lock, unlock) in enumerate(locks):
            c, row = node.connect(), 10 * node.index + i
            for statement in lock:
                assert errno_of(c, statement) == 0, statement
            for n in others(lab, node):
                n.sql("SET SESSION wsrep_sync_wait=15", "INSERT INTO %s VALUES (%d, 1) ON DUPLICATE KEY UPDATE v = v + 1" % (t, row))
            with c.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM %s WHERE id = %d" % (t, row))
                assert cursor.fetchone()[0] == 0
            assert errno_of(c, unlock) == 0
            c.close()
            node.wait_synced()
            lab.checksums("bl")
    assert lab[2].sql("SELECT COUNT(*), SUM(v) FROM %s" % t) == ((4, 8),)


def test_mariadb_10_11_has_no_non_blocking_operations(lab):
    for n in lab.nodes:
        assert errno_of(n.connect(), "SET SESSION wsrep_OSU_method=NBO") == UNKNOWN_METHOD


def test_nobody_has_complained(lab):
    lab.wait_size(3)
    assert_no_complaints(lab)


# ---- what administrators do, and what happens to them


def test_isolated_node_comes_back(lab):
    t = table(lab, "iso")
    for node in victims(lab, 3):
        node.sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=1'")
        wait_until("%s is not primary" % node.name, lambda: node.try_status("wsrep_cluster_status") == "non-Primary", 40)
        c = node.connect()
        assert errno_of(c, "INSERT INTO %s VALUES (%d, 1)" % (t, node.index)) != 0
        c.close()
        wait_until("two are left", lambda: all(n.status("wsrep_cluster_size") == "2" for n in others(lab, node)))
        others(lab, node)[0].sql("INSERT INTO %s VALUES (%d, 2)" % (t, node.index))
        node.sql("SET GLOBAL wsrep_provider_options='gmcast.isolate=0'")
        lab.wait_size(3)
        node.wait_synced()
    assert lab.checksums("iso") and lab[2].value("SELECT MIN(v) FROM %s" % t) == 2


def test_killed_node_leaves_no_part_of_a_streaming_transaction(lab):
    t = table(lab, "srk")
    sizes = log_sizes(lab)
    for node in one_of_each(lab):
        rest = others(lab, node)
        c = stream(node, t, 1, 30)
        wait_fragments(lab.nodes, 6)
        node.wait_no_ddl()
        node.kill()
        c.close()
        wait_fragments(rest, 0)
        assert [n.value("SELECT COUNT(*) FROM %s" % t) for n in rest] == [0, 0]
        rest[1].sql("INSERT INTO %s SELECT seq, 9 FROM srk.seq_1_to_30" % t)     # nothing holds the rows
        node.start_recovered().wait_synced()
        lab.wait_size(3)
        wait_fragments(lab.nodes, 0)
        lab.checksums("srk")
        rest[0].sql("DELETE FROM %s" % t)
    assert_no_snapshot(lab, sizes)


def bootstrap_survivor(lab, survivor):
    dead = others(lab, survivor)
    for n in dead:
        n.wait_no_ddl()
        n.kill()
    wait_until("%s is not primary" % survivor.name, lambda: survivor.status("wsrep_cluster_status") == "non-Primary", 40)
    assert errno_of(survivor.connect(), "INSERT INTO pcb.t VALUES (0, 0)") != 0
    survivor.sql("SET GLOBAL wsrep_provider_options='pc.bootstrap=1'")
    wait_until("%s is primary" % survivor.name, lambda: survivor.status("wsrep_cluster_status") == "Primary")
    survivor.wait_synced()
    survivor.sql("INSERT INTO pcb.t VALUES (%d, 1)" % survivor.index)
    for n in dead:
        n.start_recovered()
    for n in dead:
        n.wait_synced()
    lab.wait_size(3)


def test_survivor_of_three_is_made_primary(lab):
    table(lab, "pcb")
    sizes = log_sizes(lab)
    for node in one_of_each(lab):
        bootstrap_survivor(lab, node)
    lab.checksums("pcb")
    assert lab[2].value("SELECT COUNT(*) FROM pcb.t") == 2
    assert_no_snapshot(lab, sizes)


def test_all_stop_and_start_from_the_last_one(lab):
    t = table(lab, "stop")
    sizes = log_sizes(lab)
    for last in one_of_each(lab):
        rest = others(lab, last)
        last.sql("INSERT INTO %s VALUES (%d, 1)" % (t, last.index))
        lab.wait_equal_seqno()
        for n in rest:
            n.stop()
        last.sql("INSERT INTO %s VALUES (%d, 2)" % (t, 10 + last.index))
        last.stop()
        assert [n.grastate()["safe_to_bootstrap"] for n in lab.nodes] == ["1" if n is last else "0" for n in lab.nodes]
        last.start(bootstrap=True).wait_synced()
        for n in rest:
            n.start()
        for n in rest:
            n.wait_synced()
        lab.wait_size(3)
    lab.checksums("stop")
    assert lab[2].value("SELECT COUNT(*) FROM %s" % t) == 4
    assert_no_snapshot(lab, sizes)


def saved_view(node):
    """-> the view of gvwstate.dat; behind it may stand our checksum"""
    with open(node.data + "/gvwstate.dat") as f:
        return re.search("#vwbeg.*#vwend", f.read(), re.DOTALL)[0]


def test_all_are_killed_and_find_the_primary_view_again(lab):
    t = table(lab, "ka")
    for n in lab.nodes:
        n.sql("SET GLOBAL innodb_flush_log_at_trx_commit=1")
    for n in lab.nodes:
        n.sql("INSERT INTO %s VALUES (%d, 1)" % (t, n.index))
    lab.wait_equal_seqno()
    uuid, sizes = lab[1].status("wsrep_cluster_state_uuid"), log_sizes(lab)
    for n in lab.nodes:
        n.wait_no_ddl()
        n.signal(signal.SIGKILL)
    for n in lab.nodes:
        n.kill()
    assert len({saved_view(n) for n in lab.nodes}) == 1
    for n in lab.nodes:
        n.start_recovered()
    for n in lab.nodes:
        n.wait_synced()
    lab.wait_size(3)
    assert lab.checksums("ka") and lab[3].value("SELECT COUNT(*) FROM %s" % t) == 3
    assert {n.status("wsrep_cluster_state_uuid") for n in lab.nodes} == {uuid}
    assert_no_snapshot(lab, sizes)


def wait_out(lab, node):
    """The node has left; the others go on."""
    wait_until("%s is out" % node.name, lambda: node.try_status("wsrep_ready") == "OFF")
    wait_until("two are left", lambda: all(n.status("wsrep_cluster_size") == "2" and n.status("wsrep_cluster_status") == "Primary"
                                           for n in others(lab, node)))


def come_back_by_snapshot(lab, node):
    sizes = log_sizes(lab)
    node.stop()
    assert node.grastate()["seqno"] == "-1", node.grastate()
    node.start().wait_synced()
    lab.wait_size(3)
    assert any(has_sent_snapshot(n, sizes[n.name]) for n in others(lab, node)), "%s came back without a snapshot" % node.name


def test_who_cannot_apply_is_voted_out(lab):
    """A row is missing on one node only, and another one changes it."""
    t = table(lab, "v1", rows=10)
    for loser in victims(lab, 1):
        loser.sql("SET SESSION wsrep_on=OFF", "DELETE FROM %s WHERE id = %d" % (t, loser.index))
        others(lab, loser)[1].sql("UPDATE %s SET v = 7 WHERE id = %d" % (t, loser.index))
        wait_out(lab, loser)
        come_back_by_snapshot(lab, loser)
        lab.checksums("v1")


def test_who_alone_can_apply_is_voted_out(lab):
    """A row is on one node only, and this one changes it."""
    t = table(lab, "v2", rows=10)
    for loser in victims(lab, 3):
        loser.sql("SET SESSION wsrep_on=OFF", "INSERT INTO %s VALUES (%d, 0)" % (t, 100 + loser.index))
        errno_of(loser.connect(), "UPDATE %s SET v = 7 WHERE id = %d" % (t, 100 + loser.index))
        wait_out(lab, loser)
        come_back_by_snapshot(lab, loser)
        lab.checksums("v2")
    assert lab[2].value("SELECT COUNT(*) FROM %s" % t) == 10


def restart_evicted(lab, victim, size):
    """It has given up, as its log says since it had this size; the others forget it, and it comes back as somebody else."""
    rest = others(lab, victim)
    wait_out(lab, victim)
    wait_until("%s knows it" % victim.name, lambda: "has been evicted out of the cluster" in victim.log()[size:])
    wait_until("%s has given up" % victim.name, lambda: victim.status("wsrep_connected") == "OFF")
    for n in rest:
        n.sql("SET GLOBAL wsrep_provider_options='evs.evict='")
        assert n.status("wsrep_evs_evict_list") == ""
    victim.stop()
    victim.start().wait_synced()
    lab.wait_size(3)


def test_evicted_node_stays_out_until_it_is_restarted(lab):
    t = table(lab, "ev")
    for victim in one_of_each(lab):
        rest, uuid, size = others(lab, victim), victim.status("wsrep_gcomm_uuid"), len(victim.log())
        rest[1].sql("SET GLOBAL wsrep_provider_options='evs.evict=%s'" % uuid)
        wait_until("both know it", lambda: all(uuid in n.status("wsrep_evs_evict_list") for n in rest))
        wait_out(lab, victim)
        rest[0].sql("INSERT INTO %s VALUES (%d, 1)" % (t, victim.index))
        restart_evicted(lab, victim, size)
        assert victim.status("wsrep_gcomm_uuid") != uuid
    lab.checksums("ev")
