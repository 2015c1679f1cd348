/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The make-believe server's clients: local transactions, streams, isolated statements. */
#include "engine.h"

#include <sched.h>
#include <string.h>

/* ---- local transactions ---- */

static int append_row_key(struct fake_server *s, struct abi_ws_handle *handle, int64_t row) {
    struct abi_buf parts[3] = {{"db", 2}, {"rows", 4}, {&row, sizeof(row)}};
    struct abi_key key = {parts, 3};
    return s->t.append_key(&s->t, handle, &key, 1, 3, true);
}

/* Nothing of the transaction stays; if it was ordered its seqno is passed in order (spec 01 section 10.2). */
static void roll_back(struct fake_server *s, struct abi_ws_handle *handle, const struct abi_trx_meta *meta) {
    struct abi_buf none = {NULL, 0};
    engine_unlock_rows(s, handle->trx_id);
    if (meta->gtid.seqno >= 0) {
        struct abi_gtid upto = {meta->gtid.uuid, meta->gtid.seqno - 1};
        CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
        engine_entered(s, meta->gtid.seqno);
        CHECK(s->t.sync_wait(&s->t, &upto, 2147483647, NULL) == 0);
        engine_commit(s, meta->gtid.seqno, NULL, 0);
        engine_leaving(s, meta->gtid.seqno);
        CHECK(s->t.commit_order_leave(&s->t, handle, meta, &none) == 0);
    }
    CHECK(s->t.release(&s->t, handle) == 0);
    CHECK(!handle->opaque);
}

static int replay(struct fake_server *s, struct abi_ws_handle *handle, struct abi_trx_meta *meta) {
    engine_unlock_rows(s, handle->trx_id);
    int rc = s->t.replay_trx(&s->t, handle, s);
    CHECK(rc == 0 || rc == 3);
    atomic_fetch_add(rc ? &s->replays_failed : &s->replays, 1);
    if (rc) {
        roll_back(s, handle, meta);
        return 1213;
    }
    CHECK(s->t.release(&s->t, handle) == 0);
    CHECK(!handle->opaque);
    atomic_fetch_add(&s->commits, 1);
    return 0;
}

static struct abi_trx_meta new_meta(void) {
    struct abi_trx_meta meta;
    memset(&meta, 0, sizeof(meta));
    meta.gtid.seqno = meta.depends_on = -1;
    meta.stid.trx = meta.stid.conn = UINT64_MAX;
    return meta;
}

static int commit_ordered(struct fake_server *s, struct abi_ws_handle *handle, struct abi_trx_meta *meta,
                          const struct change *changes, size_t count) {
    struct abi_buf none = {NULL, 0};
    int rc = s->t.commit_order_enter(&s->t, handle, meta);
    CHECK(rc == 0 || rc == 4);
    if (rc == 4) return replay(s, handle, meta);
    engine_entered(s, meta->gtid.seqno);
    engine_commit(s, meta->gtid.seqno, changes, count);
    engine_leaving(s, meta->gtid.seqno);
    CHECK(s->t.commit_order_leave(&s->t, handle, meta, &none) == 0);
    engine_unlock_rows(s, handle->trx_id);
    CHECK(s->t.release(&s->t, handle) == 0);
    CHECK(!handle->opaque);
    atomic_fetch_add(&s->commits, 1);
    return 0;
}

/* Told to abort before the provider knew of it? */
static bool is_aborted(struct fake_server *s, uint64_t id) {
    pthread_mutex_lock(&s->lock);
    bool is = engine_is_told_to_abort(s, id);
    pthread_mutex_unlock(&s->lock);
    return is;
}

/* Row locks in ascending order, so that local transactions do not deadlock among themselves. */
static bool lock_changes(struct fake_server *s, uint64_t id, struct change *changes, int first_row, int count,
                         int64_t by) {
    for (int i = 0; i < count; i++) {
        changes[i] = (struct change){first_row + i, by + i};
        if (!engine_lock_row(s, changes[i].row, id, -1, false)) return false;
    }
    return true;
}

int fake_add(struct fake_server *server, unsigned *seed, int first_row, int count, int64_t by) {
    struct abi_ws_handle handle = {atomic_fetch_add(&server->next_trx, 1) + 1, NULL};
    struct abi_trx_meta meta = new_meta();
    struct change changes[FAKE_TRX_ROWS];
    struct abi_buf data = {changes, sizeof(*changes) * (size_t)count};
    fake_current = server;
    if (!lock_changes(server, handle.trx_id, changes, first_row, count, by)) {
        roll_back(server, &handle, &meta);
        return 1213;
    }
    int rc = 0;
    for (int i = 0; i < count && !rc; i++) rc = append_row_key(server, &handle, changes[i].row);
    if (!rc) rc = server->t.append_data(&server->t, &handle, &data, 1, 0, true);
    if (rc) {
        roll_back(server, &handle, &meta);
        return 1047;
    }
    if (rand_r(seed) % 4 == 0) sched_yield();
    if (is_aborted(server, handle.trx_id)) {
        roll_back(server, &handle, &meta);
        return 1213;
    }
    rc = server->t.certify(&server->t, 1, &handle, FLAG_START | FLAG_END, &meta);
    switch (rc) {
    case 0:
        CHECK(meta.gtid.seqno > 0 && meta.depends_on < meta.gtid.seqno);
        return commit_ordered(server, &handle, &meta, changes, (size_t)count);
    case 4:
        CHECK(meta.gtid.seqno > 0);
        return replay(server, &handle, &meta);
    case 3:
        atomic_fetch_add(&server->conflicts, 1);
        roll_back(server, &handle, &meta);
        return 1213;
    case 6:
    case 7:
        CHECK(meta.gtid.seqno == -1);
        roll_back(server, &handle, &meta);
        return 1047;
    default:
        CHECK(!"known result");
    }
    return -1;
}

/* ---- streaming ---- */

static int give_up_stream(struct fake_server *s, struct abi_ws_handle *handle) {
    int rc = s->t.rollback(&s->t, handle->trx_id, NULL);
    CHECK(rc == 0 || rc == 3);
    engine_unlock_rows(s, handle->trx_id);
    rc = s->t.release(&s->t, handle);
    CHECK(rc == 0 || rc == 4);
    if (rc == 4) CHECK(s->t.release(&s->t, handle) == 0);
    return rc;
}

/* -> 0, or the transaction is given up */
static int send_fragment(struct fake_server *s, struct abi_ws_handle *handle, const struct change *change,
                         bool is_first) {
    struct abi_trx_meta meta = new_meta();
    struct abi_buf data = {change, sizeof(*change)}, none = {NULL, 0};
    if (append_row_key(s, handle, change->row) || s->t.append_data(&s->t, handle, &data, 1, 0, true)) return 1047;
    if (is_aborted(s, handle->trx_id)) return 1213;
    int rc = s->t.certify(&s->t, 1, handle, is_first ? FLAG_START : 0, &meta);
    if (!rc) {
        rc = s->t.commit_order_enter(&s->t, handle, &meta);
        CHECK(rc == 0 || rc == 3);
    }
    if (rc) { /* ordered or not: release passes the seqno, the server does nothing at it */
        if (meta.gtid.seqno >= 0) engine_see(s, meta.gtid.seqno);
        return 1213;
    }
    engine_entered(s, meta.gtid.seqno);
    engine_commit(s, meta.gtid.seqno, NULL, 0);
    engine_leaving(s, meta.gtid.seqno);
    CHECK(s->t.commit_order_leave(&s->t, handle, &meta, &none) == 0);
    return s->t.release(&s->t, handle) == 0 ? 0 : 1213;
}

int fake_stream(struct fake_server *server, unsigned *seed, int first_row, int count, int64_t by, bool is_rollback) {
    struct abi_ws_handle handle = {atomic_fetch_add(&server->next_trx, 1) + 1, NULL};
    struct abi_trx_meta meta = new_meta();
    struct change changes[FAKE_TRX_ROWS];
    fake_current = server;
    for (int i = 0; i < count; i++) {
        changes[i] = (struct change){first_row + i, by + i};
        if (!engine_lock_row(server, changes[i].row, handle.trx_id, -1, false) ||
            send_fragment(server, &handle, &changes[i], i == 0)) {
            give_up_stream(server, &handle);
            return 1213;
        }
        if (rand_r(seed) % 4 == 0) sched_yield();
    }
    if (is_rollback) {
        give_up_stream(server, &handle);
        return 0;
    }
    struct abi_buf parts[2] = {{"db", 2}, {"rows", 4}};
    struct abi_key key = {parts, 2};
    CHECK(server->t.append_key(&server->t, &handle, &key, 1, 0, true) == 0);
    if (is_aborted(server, handle.trx_id)) {
        give_up_stream(server, &handle);
        return 1213;
    }
    /* A replay will find here what the stream was. */
    struct abi_trx_meta own = {.stid = {.node = server->uuid, .trx = handle.trx_id}};
    engine_add_to_stream(server, &own, changes, (size_t)count);
    int rc = server->t.certify(&server->t, 1, &handle, FLAG_END | 0x008, &meta);
    if (rc == 0) {
        rc = commit_ordered(server, &handle, &meta, changes, (size_t)count);
        engine_end_stream(server, &own);
        return rc;
    }
    if (rc == 4) return replay(server, &handle, &meta);
    CHECK(rc == 3 || rc == 6 || rc == 7);
    engine_end_stream(server, &own);
    server->t.rollback(&server->t, handle.trx_id, NULL);
    roll_back(server, &handle, &meta);
    return 1213;
}

/* ---- total order isolation ---- */

/* Its place of the order passes and nothing is done there. */
static void pass_toi(struct fake_server *s, uint64_t conn, int64_t seqno) {
    struct abi_buf none = {NULL, 0};
    engine_entered(s, seqno);
    engine_commit(s, seqno, NULL, 0);
    engine_leaving(s, seqno);
    CHECK(s->t.to_execute_end(&s->t, conn, &none) == 0);
}

static int start_toi(struct fake_server *s, uint64_t conn, int64_t factor, uint32_t flags, struct abi_trx_meta *meta) {
    struct abi_buf part = {"db", 2}, action = {&factor, sizeof(factor)};
    struct abi_key key = {&part, 1};
    fake_current = s;
    return s->t.to_execute_start(&s->t, conn, &key, 1, &action, 1, flags, meta);
}

int fake_toi(struct fake_server *server, uint64_t conn, int64_t factor) {
    struct abi_buf none = {NULL, 0};
    struct abi_trx_meta meta = new_meta();
    int rc = start_toi(server, conn, factor, FLAG_START | FLAG_END, &meta);
    if (meta.gtid.seqno < 0) {
        CHECK(rc == 6 || rc == 7);
        CHECK(server->t.to_execute_end(&server->t, conn, &none) == 6);
        return rc;
    }
    if (rc) { /* in the way of a non-blocking operation */
        CHECK(rc == 3);
        pass_toi(server, conn, meta.gtid.seqno);
        return rc;
    }
    engine_entered(server, meta.gtid.seqno);
    /* Everything before is finished, so no applier holds a row; local ones in the way are removed, as by a DDL. */
    for (int i = 0; i < FAKE_ROWS; i++)
        CHECK(engine_lock_row(server, i, BF_HOLDER | (uint64_t)meta.gtid.seqno, -1, true));
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < FAKE_ROWS; i++) server->rows[i] *= factor;
    pthread_mutex_unlock(&server->lock);
    engine_commit(server, meta.gtid.seqno, NULL, 0);
    engine_unlock_rows(server, BF_HOLDER | (uint64_t)meta.gtid.seqno);
    engine_leaving(server, meta.gtid.seqno);
    CHECK(server->t.to_execute_end(&server->t, conn, &none) == 0);
    return 0;
}

void fake_nbo_begin(struct fake_server *server, uint64_t conn) {
    struct abi_trx_meta meta = new_meta();
    CHECK(start_toi(server, conn, 1, FLAG_START, &meta) == 0);
    atomic_store(&server->nbo, meta.gtid.seqno);
    pass_toi(server, conn, meta.gtid.seqno);
}

void fake_nbo_end(struct fake_server *server, uint64_t conn) {
    struct abi_trx_meta meta = new_meta();
    meta.gtid.seqno = atomic_exchange(&server->nbo, 0);
    CHECK(start_toi(server, conn, 1, FLAG_END, &meta) == 0);
    pass_toi(server, conn, meta.gtid.seqno);
}
