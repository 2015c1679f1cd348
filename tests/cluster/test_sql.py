# SPDX-License-Identifier: GPL-2.0-or-later
"""SQL on three encrypted nodes: what is written on one is on all."""
import random
import threading

from common import DEADLOCK, OURS, errno_of, fresh_schema, running, wait_until


def cluster():
    return running([OURS] * 3)


def test_ddl_and_dml_from_each_node(lab):
    fresh_schema(lab, "a")
    for n in lab.nodes:
        i = n.index
        n.sql("CREATE TABLE a.pk%d (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(50), UNIQUE KEY (v))" % i,
              "CREATE TABLE a.nopk%d (x INT, y VARCHAR(50))" % i,
              "CREATE TABLE a.parent%d (id INT PRIMARY KEY)" % i,
              "CREATE TABLE a.child%d (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES a.parent%d(id) ON DELETE CASCADE)" % (i, i))
    for n in lab.nodes:
        for i in (1, 2, 3):
            n.sql("SET SESSION wsrep_sync_wait=15",
                  "INSERT INTO a.pk%d (v) VALUES ('%s-%d-a'), ('%s-%d-b')" % (i, n.name, i, n.name, i),
                  "INSERT INTO a.nopk%d VALUES (%d, '%s'), (%d, '%s')" % (i, i, n.name, i, n.name),
                  "INSERT INTO a.parent%d VALUES (%d), (%d)" % (i, 10 * n.index, 10 * n.index + 1),
                  "INSERT INTO a.child%d VALUES (%d, %d), (%d, %d)" % (i, n.index, 10 * n.index, 100 + n.index, 10 * n.index + 1),
                  "UPDATE a.pk%d SET v = CONCAT(v, '-u') WHERE v LIKE '%s%%a'" % (i, n.name),
                  "DELETE FROM a.parent%d WHERE id = %d" % (i, 10 * n.index + 1),
                  "UPDATE a.nopk%d SET x = x + 1 WHERE y = '%s'" % (i, n.name))
    lab[2].sql("ALTER TABLE a.pk1 ADD COLUMN extra INT DEFAULT 7")
    lab[3].sql("CREATE INDEX extra ON a.pk1 (extra)")
    lab[1].sql("DROP TABLE a.nopk3")
    lab[2].sql("CREATE VIEW a.v AS SELECT v FROM a.pk1")
    lab[3].sql("TRUNCATE TABLE a.nopk2")
    assert len(lab.checksums("a")) == 11
    assert [n.value("SELECT COUNT(*) FROM a.child1") for n in lab.nodes] == [3, 3, 3]
    assert [n.value("SELECT COUNT(*) FROM a.v") for n in lab.nodes] == [6, 6, 6]


def test_rows_of_1_and_64_megabytes(lab):
    fresh_schema(lab, "big")
    lab[1].sql("CREATE TABLE big.t (id INT PRIMARY KEY, b LONGBLOB)")
    lab.wait_equal_seqno()
    for n in lab.nodes:
        c = n.connect(max_allowed_packet=256 << 20)
        with c.cursor() as cursor:
            cursor.execute("INSERT INTO big.t VALUES (%d, REPEAT('%s', 1048576))" % (n.index, n.index))
        c.close()
    lab[2].sql("INSERT INTO big.t VALUES (64, REPEAT('x', 64 << 20))")
    lab.checksums("big")
    assert [n.value("SELECT SUM(LENGTH(b)) FROM big.t") for n in lab.nodes] == [(64 << 20) + (3 << 20)] * 3


def test_conflicting_updates_fail_on_exactly_one_side(lab):
    fresh_schema(lab, "c")
    lab[1].sql("CREATE TABLE c.t (id INT PRIMARY KEY, v INT)", "INSERT INTO c.t VALUES (1, 0)")
    lab.wait_equal_seqno()
    done = 0
    for attempt in range(20):
        a, b = lab[1].connect(autocommit=False), lab[2].connect(autocommit=False)
        wait_until("equal start", lambda: lab[1].value("SELECT v FROM c.t") == lab[2].value("SELECT v FROM c.t") == done)
        for c in (a, b):
            assert errno_of(c, "UPDATE c.t SET v = v + 1 WHERE id = 1") == 0
        results = [None, None]

        def commit(i, c):
            results[i] = errno_of(c, "COMMIT")
        threads = [threading.Thread(target=commit, args=x) for x in ((0, a), (1, b))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        a.close(), b.close()
        assert sorted(results) == [0, DEADLOCK], (attempt, results)
        done += 1
    lab.checksums("c")
    assert lab[3].value("SELECT v FROM c.t") == done


def test_auto_increment_on_all_nodes_at_once(lab):
    fresh_schema(lab, "ai")
    lab[1].sql("CREATE TABLE ai.t (id INT AUTO_INCREMENT PRIMARY KEY, node INT)")
    lab.wait_equal_seqno()
    errors = []

    def insert(n):
        c = n.connect()
        for _ in range(100):
            e = errno_of(c, "INSERT INTO ai.t (node) VALUES (%d)" % n.index)
            if e:
                errors.append((n.name, e))
        c.close()
    threads = [threading.Thread(target=insert, args=(n,)) for n in lab.nodes for _ in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:5]
    lab.checksums("ai")
    assert lab[2].value("SELECT COUNT(*) FROM ai.t") == 600


def test_hot_rows_stay_consistent(lab):
    """Many conflicts, replays and aborts: the sum of what clients were told equals what is there, everywhere."""
    fresh_schema(lab, "hot")
    lab[1].sql("CREATE TABLE hot.t (id INT PRIMARY KEY, v INT)", "INSERT INTO hot.t VALUES (1,0),(2,0),(3,0)")
    lab.wait_equal_seqno()
    counts, odd = [], []

    def update(n, seed):
        rng, c, ok = random.Random(seed), n.connect(), 0
        for _ in range(150):
            e = errno_of(c, "UPDATE hot.t SET v = v + 1 WHERE id = %d" % rng.randint(1, 3))
            ok += e == 0
            if e not in (0, DEADLOCK, 1205):
                odd.append(e)
        c.close()
        counts.append(ok)
    threads = [threading.Thread(target=update, args=(n, 10 * n.index + k)) for n in lab.nodes for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not odd, odd[:5]
    lab.checksums("hot")
    assert lab[1].value("SELECT SUM(v) FROM hot.t") == sum(counts), (lab[1].sql("SELECT * FROM hot.t"), sum(counts))


def test_streaming_commits_and_rolls_back(lab):
    fresh_schema(lab, "sr")
    lab[1].sql("CREATE TABLE sr.t (id INT PRIMARY KEY, v VARCHAR(200))")
    lab.wait_equal_seqno()
    c = lab[2].connect(autocommit=False)
    with c.cursor() as cursor:
        cursor.execute("SET SESSION wsrep_trx_fragment_unit='rows', SESSION wsrep_trx_fragment_size=5")
        for i in range(100):
            cursor.execute("INSERT INTO sr.t VALUES (%d, REPEAT('a', 200))" % i)
    wait_until("fragments stored on node 1", lambda: lab[1].value("SELECT COUNT(*) FROM mysql.wsrep_streaming_log") > 0)
    assert lab[1].value("SELECT COUNT(*) FROM sr.t") == 0
    c.commit()
    with c.cursor() as cursor:
        for i in range(1000, 1100):
            cursor.execute("INSERT INTO sr.t VALUES (%d, REPEAT('b', 200))" % i)
    c.rollback()
    c.close()
    lab.checksums("sr")
    assert [n.value("SELECT COUNT(*) FROM sr.t") for n in lab.nodes] == [100] * 3
    wait_until("fragments removed", lambda: all(n.value("SELECT COUNT(*) FROM mysql.wsrep_streaming_log") == 0 for n in lab.nodes))


def test_streaming_transaction_loses_a_conflict(lab):
    fresh_schema(lab, "src")
    lab[1].sql("CREATE TABLE src.t (id INT PRIMARY KEY, v INT)", "INSERT INTO src.t SELECT seq, 0 FROM src.seq_1_to_50")
    lab.wait_equal_seqno()
    c = lab[1].connect(autocommit=False)
    assert errno_of(c, "SET SESSION wsrep_trx_fragment_unit='statements', SESSION wsrep_trx_fragment_size=1") == 0
    for i in range(1, 11):
        assert errno_of(c, "UPDATE src.t SET v = 1 WHERE id = %d" % i) == 0
    # Fragments hold their rows on the other nodes: a writer there waits, and wins or loses, but nobody diverges.
    other = lab[3].connect()
    errno_of(other, "SET SESSION innodb_lock_wait_timeout=2")
    second = errno_of(other, "UPDATE src.t SET v = 2 WHERE id = 20")
    first = errno_of(c, "UPDATE src.t SET v = 1 WHERE id = 20") or errno_of(c, "COMMIT")
    assert 0 in (first, second), (first, second)
    c.close(), other.close()
    lab.checksums("src")


def test_sync_wait_reads_are_never_stale(lab):
    fresh_schema(lab, "sw")
    lab[1].sql("CREATE TABLE sw.t (id INT PRIMARY KEY, v INT)", "INSERT INTO sw.t VALUES (1, 0)")
    lab.wait_equal_seqno()
    writer, readers = lab[1].connect(), [n.connect() for n in lab.nodes[1:]]
    for r in readers:
        assert errno_of(r, "SET SESSION wsrep_sync_wait=1") == 0
    for i in range(1, 201):
        assert errno_of(writer, "UPDATE sw.t SET v = %d WHERE id = 1" % i) == 0
        for r in readers:
            with r.cursor() as cursor:
                cursor.execute("SELECT v FROM sw.t WHERE id = 1")
                assert cursor.fetchone()[0] == i
    for c in [writer] + readers:
        c.close()


def test_desync_and_resync(lab):
    lab[2].sql("SET GLOBAL wsrep_desync=ON")
    wait_until("desynced", lambda: lab[2].status("wsrep_local_state_comment") == "Donor/Desynced")
    lab[1].sql("CREATE DATABASE IF NOT EXISTS ds", "CREATE TABLE ds.t (a INT PRIMARY KEY)", "INSERT INTO ds.t SELECT seq FROM ds.seq_1_to_100")
    assert lab[2].status("wsrep_desync_count") == "1"
    lab[2].sql("SET GLOBAL wsrep_desync=OFF")
    lab[2].wait_synced()
    lab.checksums("ds")


def test_flush_tables_with_read_lock(lab):
    fresh_schema(lab, "ftwrl")
    lab[1].sql("CREATE TABLE ftwrl.t (a INT PRIMARY KEY)")
    lab.wait_equal_seqno()
    c = lab[3].connect()
    assert errno_of(c, "FLUSH TABLES WITH READ LOCK") == 0
    before = lab[3].status("wsrep_last_committed")
    lab[1].sql("INSERT INTO ftwrl.t VALUES (1)")
    lab[2].sql("SET SESSION wsrep_sync_wait=1", "INSERT INTO ftwrl.t VALUES (2)")
    assert lab[3].status("wsrep_last_committed") == before
    with c.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM ftwrl.t")
        assert cursor.fetchone()[0] == 0
    assert errno_of(c, "UNLOCK TABLES") == 0
    c.close()
    lab.checksums("ftwrl")
    assert lab[3].value("SELECT COUNT(*) FROM ftwrl.t") == 2
    lab[3].wait_synced()


def test_concurrent_ddl_and_dml(lab):
    fresh_schema(lab, "cd")
    lab[1].sql("CREATE TABLE cd.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
    lab.wait_equal_seqno()
    stop, odd = threading.Event(), []

    def insert(n):
        c = n.connect()
        while not stop.is_set():
            e = errno_of(c, "INSERT INTO cd.t (v) VALUES (1)")
            if e not in (0, DEADLOCK, 1205, 1412):
                odd.append((n.name, e))
        c.close()
    threads = [threading.Thread(target=insert, args=(n,)) for n in lab.nodes]
    for t in threads:
        t.start()
    try:
        for i in range(5):
            lab[1 + i % 3].sql("ALTER TABLE cd.t ADD COLUMN c%d INT DEFAULT %d" % (i, i))
            lab[1 + (i + 1) % 3].sql("CREATE TABLE cd.extra%d (a INT PRIMARY KEY)" % i)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not odd, odd[:5]
    lab.checksums("cd")


def test_status_and_options(lab):
    for n in lab.nodes:
        assert n.status("wsrep_cluster_status") == "Primary"
        assert n.status("wsrep_connected") == "ON"
        assert n.status("wsrep_local_state") == "4"
        assert n.status("wsrep_evs_state") == "OPERATIONAL"
        assert n.status("wsrep_cluster_weight") == "3"
        assert len(n.status("wsrep_incoming_addresses").split(",")) == 3
    options = lab[1].value("SELECT @@wsrep_provider_options")
    assert "repl.max_ws_size = 2147483647; " in options and "socket.ssl = YES; " in options
    lab[1].sql("SET GLOBAL wsrep_provider_options='gcs.fc_limit=32; evs.send_window=6'")
    assert "gcs.fc_limit = 32; " in lab[1].value("SELECT @@wsrep_provider_options")
    c = lab[1].connect()
    assert errno_of(c, "SET GLOBAL wsrep_provider_options='a=1'") == 1210
    assert errno_of(c, "SET GLOBAL wsrep_provider_options='pc.weight=x'") == 1210
    assert errno_of(c, "SET GLOBAL wsrep_provider_options='gcache.size=1G'") == 1210
    assert errno_of(c, "SET GLOBAL wsrep_provider_options='%s'" % options.replace("'", "")) == 0
    c.close()
    lab[2].sql("SET GLOBAL wsrep_provider_options='pc.weight=2'")
    wait_until("weights add up", lambda: all(n.status("wsrep_cluster_weight") == "4" for n in lab.nodes))
    lab[2].sql("SET GLOBAL wsrep_provider_options='pc.weight=1'")
