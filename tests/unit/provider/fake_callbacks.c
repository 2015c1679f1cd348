/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the make-believe server does when the provider calls: applying, views, snapshots. */
#include "engine.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

__thread struct fake_server *fake_current;

_Atomic(const char *) fake_wanted_line;
_Atomic(int) fake_wanted_lines;

static void log_line(int level, const char *text) {
    static const char *const words[] = {"FATAL", "ERROR", "WARN", "info", "debug"};
    if (level <= ABI_LOG_ERROR && fake_current) atomic_fetch_add(&fake_current->log_errors, 1);
    if (level == ABI_LOG_WARNING && fake_current) atomic_fetch_add(&fake_current->log_warnings, 1);
    const char *wanted = atomic_load(&fake_wanted_line);
    if (wanted && strstr(text, wanted)) atomic_fetch_add(&fake_wanted_lines, 1);
    if (getenv("FAKE_VERBOSE")) fprintf(stderr, "%s %s\n", words[level], text);
}

/* ---- callbacks ---- */

static int order_only(struct fake_server *s, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta) {
    struct abi_buf none = {NULL, 0};
    CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
    engine_entered(s, meta->gtid.seqno);
    engine_commit(s, meta->gtid.seqno, NULL, 0);
    engine_leaving(s, meta->gtid.seqno);
    return s->t.commit_order_leave(&s->t, handle, meta, &none);
}

/* The operation goes on in a thread of its own, here in the test's. */
static int begin_nbo(struct fake_server *s, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta) {
    int rc = order_only(s, handle, meta);
    atomic_store(&s->nbo, meta->gtid.seqno);
    return rc;
}

static int apply_changes(struct fake_server *s, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta,
                         const struct change *changes, size_t count, const struct change *all, size_t all_count) {
    uint64_t holder = BF_HOLDER | (uint64_t)meta->gtid.seqno;
    struct abi_buf error = {NULL, 0};
    char text[64];
    for (size_t i = 0; i < count; i++) CHECK(engine_lock_row(s, changes[i].row, holder, meta->gtid.seqno, true));
    if (s->apply_us) usleep((useconds_t)s->apply_us);
    CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
    engine_entered(s, meta->gtid.seqno);
    for (size_t i = 0; i < count; i++)
        if (changes[i].row == s->poison_row) {
            snprintf(text, sizeof(text), " cannot change row %" PRId64 ";", s->poison_row);
            error = (struct abi_buf){text, strlen(text) + 1};
        }
    if (error.ptr)
        engine_commit(s, meta->gtid.seqno, NULL, 0);
    else
        engine_commit(s, meta->gtid.seqno, all, all_count);
    engine_leaving(s, meta->gtid.seqno);
    int rc = s->t.commit_order_leave(&s->t, handle, meta, &error);
    engine_unlock_rows(s, holder);
    return rc;
}

static int execute(struct fake_server *s, const struct abi_ws_handle *handle, const struct abi_buf *data,
                   const struct abi_trx_meta *meta) {
    int64_t factor;
    struct abi_buf none = {NULL, 0};
    CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
    engine_entered(s, meta->gtid.seqno);
    memcpy(&factor, data->ptr, sizeof(factor));
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < FAKE_ROWS; i++) s->rows[i] *= factor;
    pthread_mutex_unlock(&s->lock);
    engine_commit(s, meta->gtid.seqno, NULL, 0);
    engine_leaving(s, meta->gtid.seqno);
    return s->t.commit_order_leave(&s->t, handle, meta, &none);
}

static int on_apply(void *recv_ctx, const struct abi_ws_handle *handle, uint32_t flags, const struct abi_buf *data,
                    const struct abi_trx_meta *meta, bool *exit_loop) {
    struct fake_server *s = recv_ctx;
    const struct change *changes = data->ptr;
    size_t count = data->len / sizeof(struct change);
    (void)exit_loop;
    fake_current = s;
    CHECK(atomic_load(&s->callbacks) == 0);
    if (flags & FLAG_ISOLATION) return (flags & FLAG_END) ? execute(s, handle, data, meta) : begin_nbo(s, handle, meta);
    if (flags & FLAG_ROLLBACK) { /* failed somewhere, skipped, or the end of a stream */
        /* The first fragment of a stream has data. What has none is a statement that failed when it was certified,
         * which only a non-blocking operation can bring about (spec 01 section 29). */
        if (flags == (FLAG_ROLLBACK | FLAG_START) && !data->len) atomic_fetch_add(&s->failed_tois, 1);
        engine_end_stream(s, meta);
        return order_only(s, handle, meta);
    }
    if (!(flags & FLAG_END)) {
        engine_add_to_stream(s, meta, changes, count);
        return apply_changes(s, handle, meta, changes, count, NULL, 0);
    }
    if (!(flags & FLAG_START)) {
        struct stream whole = engine_end_stream(s, meta);
        return apply_changes(s, handle, meta, NULL, 0, whole.changes, whole.count);
    }
    return apply_changes(s, handle, meta, changes, count, changes, count);
}

static void begin_callback(struct fake_server *s) {
    CHECK(atomic_fetch_add(&s->callbacks, 1) == 0);
    CHECK(atomic_load(&s->inside) == 0);
}

/* -> what the callback returns */
static int end_callback(struct fake_server *s, enum fake_callback callback) {
    atomic_fetch_sub(&s->callbacks, 1);
    return atomic_load(&s->failing) == (int)callback;
}

static int on_connected(void *app_ctx, const struct abi_view_info *view) {
    struct fake_server *s = app_ctx;
    begin_callback(s);
    CHECK(view->my_idx >= 0 && view->my_idx < view->memb_num);
    s->uuid = view->members[view->my_idx].id;
    CHECK(!strcmp(view->members[view->my_idx].name, s->name));
    return end_callback(s, FAKE_CONNECTED);
}

static int on_view(void *app_ctx, void *recv_ctx, const struct abi_view_info *view, const char *state, size_t len) {
    struct fake_server *s = app_ctx;
    struct abi_gtid committed;
    (void)recv_ctx;
    CHECK(!state && !len);
    fake_current = s;
    begin_callback(s);
    if (view->status == 0) {
        CHECK(view->capabilities == 0x2d17f);
        CHECK(s->t.last_committed_id(&s->t, &committed) == 0);
        CHECK(committed.seqno == view->state_id.seqno - 1);
        engine_see(s, view->state_id.seqno);
        CHECK(atomic_exchange(&s->last_entered, view->state_id.seqno) < view->state_id.seqno);
        pthread_mutex_lock(&s->lock);
        s->position = view->state_id;
        s->is_running_engine = true;
        /* Streams of nodes that are gone are rolled back by the server. */
        for (int i = 0; i < STREAMS_MAX; i++) {
            bool is_member = false;
            for (int k = 0; k < view->memb_num; k++)
                if (!memcmp(&engine_streams[s->index][i].source, &view->members[k].id, 16)) is_member = true;
            if (!is_member) engine_streams[s->index][i].trx = 0;
        }
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_lock(&s->state_lock);
    s->is_primary = view->status == 0;
    s->view_size = view->memb_num;
    if (!s->is_primary) s->is_synced = false;
    if (!view->memb_num) {
        CHECK(view->my_idx == -1);
        s->is_final = true;
    }
    pthread_cond_broadcast(&s->state_changed);
    pthread_mutex_unlock(&s->state_lock);
    return end_callback(s, FAKE_VIEW) && view->status == 0;
}

static int on_synced(void *app_ctx) {
    struct fake_server *s = app_ctx;
    begin_callback(s);
    pthread_mutex_lock(&s->state_lock);
    s->is_synced = s->is_primary = true;
    pthread_cond_broadcast(&s->state_changed);
    pthread_mutex_unlock(&s->state_lock);
    return end_callback(s, FAKE_SYNCED);
}

/* ---- snapshots: the request is the joiner's address in memory ---- */

struct snapshot {
    struct fake_server *donor, *joiner;
    struct abi_gtid gtid;
    int64_t rows[FAKE_ROWS];
    struct stream streams[STREAMS_MAX];
    uint64_t history_hash;
    bool is_bypass;
};

static int on_sst_request(void *app_ctx, void **request, size_t *size) {
    struct fake_server *s = app_ctx;
    begin_callback(s);
    if ((!s->is_running_engine || s->takes_live) && atomic_load(&s->failing) != FAKE_SST_REQUEST) {
        *size = 5 + sizeof(s);
        *request = malloc(*size);
        memcpy(*request, "fake", 5);
        memcpy((char *)*request + 5, &s, sizeof(s));
    }
    return end_callback(s, FAKE_SST_REQUEST);
}

static void *send_snapshot(void *arg) {
    struct snapshot *snapshot = arg;
    struct fake_server *joiner = snapshot->joiner, *donor = snapshot->donor;
    struct abi_gtid gtid = snapshot->gtid;
    pthread_mutex_lock(&joiner->lock);
    if (snapshot->is_bypass) {
        for (; joiner->lost > 0; joiner->lost--) {
            atomic_store(&joiner->seen[joiner->position.seqno--], 0);
            joiner->history_hash = joiner->lost_hash;
        }
        atomic_store(&joiner->last_entered, joiner->position.seqno);
        gtid = joiner->position;
    } else {
        memcpy(joiner->rows, snapshot->rows, sizeof(joiner->rows));
        memcpy(engine_streams[joiner->index], snapshot->streams, sizeof(snapshot->streams));
        joiner->history_hash = snapshot->history_hash;
        joiner->position = gtid;
        joiner->seen_from = gtid.seqno;
        memset((void *)joiner->seen, 0, FAKE_SEQNO_MAX);
        atomic_store(&joiner->last_entered, gtid.seqno);
    }
    joiner->is_running_engine = true;
    pthread_mutex_unlock(&joiner->lock);
    CHECK(joiner->t.sst_received(&joiner->t, &gtid, NULL, 0) == 0);
    CHECK(donor->t.sst_sent(&donor->t, &snapshot->gtid, 0) == 0);
    free(snapshot);
    return NULL;
}

static int on_sst_donate(void *app_ctx, void *recv_ctx, const struct abi_buf *request, const struct abi_gtid *state_id,
                         const struct abi_buf *state, bool is_bypass) {
    struct fake_server *s = app_ctx;
    pthread_t thread;
    (void)recv_ctx;
    (void)state;
    begin_callback(s);
    CHECK(request->len == 5 + sizeof(s) && !memcmp(request->ptr, "fake", 5));
    if (atomic_load(&s->failing) == FAKE_SST_DONATE) return end_callback(s, FAKE_SST_DONATE);
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    memcpy(&snapshot->joiner, (const char *)request->ptr + 5, sizeof(s));
    snapshot->donor = s;
    snapshot->gtid = *state_id;
    snapshot->is_bypass = is_bypass;
    pthread_mutex_lock(&s->lock);
    if (!is_bypass) CHECK(s->position.seqno <= state_id->seqno); /* below: the last one was an aborted fragment */
    memcpy(snapshot->rows, s->rows, sizeof(s->rows));
    memcpy(snapshot->streams, engine_streams[s->index], sizeof(snapshot->streams));
    snapshot->history_hash = s->history_hash;
    pthread_mutex_unlock(&s->lock);
    pthread_create(&thread, NULL, send_snapshot, snapshot);
    pthread_detach(thread);
    return end_callback(s, FAKE_SST_DONATE);
}

void fake_callbacks(struct abi_init_args *args) {
    args->logger_cb = log_line;
    args->connected_cb = on_connected;
    args->view_cb = on_view;
    args->sst_request_cb = on_sst_request;
    args->apply_cb = on_apply;
    args->sst_donate_cb = on_sst_donate;
    args->synced_cb = on_synced;
}
