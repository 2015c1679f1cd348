/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The make-believe server; fake_server.h. */
#include "fake_server.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BF_HOLDER (UINT64_C(1) << 63) /* an applier or a replay holds the row */
#define FLAG_END 0x001
#define FLAG_ROLLBACK 0x002
#define FLAG_ISOLATION 0x004
#define FLAG_START 0x040

#define CHECK(condition)                                                                                         \
    do {                                                                                                         \
        if (!(condition)) {                                                                                      \
            fprintf(stderr, "%s:%d: %s: " #condition " does not hold\n", __FILE__, __LINE__, __func__);          \
            abort();                                                                                             \
        }                                                                                                        \
    } while (0)

struct change {
    int64_t row, by;
};

/* Fragments of other nodes that are not committed yet: a fake streaming applier. */
#define STREAMS_MAX 256
struct stream {
    union abi_uuid source;
    uint64_t trx;
    size_t count;
    struct change changes[FAKE_ROWS];
};
static struct stream streams[8][STREAMS_MAX];

static __thread struct fake_server *current;

static void log_line(int level, const char *text) {
    static const char *const words[] = {"FATAL", "ERROR", "WARN", "info", "debug"};
    if (level <= ABI_LOG_ERROR && current) atomic_fetch_add(&current->log_errors, 1);
    if (getenv("FAKE_VERBOSE")) fprintf(stderr, "%s %s\n", words[level], text);
}

/* ---- order ---- */

static void see(struct fake_server *s, int64_t seqno) {
    CHECK(seqno > 0 && seqno < FAKE_SEQNO_MAX);
    CHECK(atomic_fetch_add(&s->seen[seqno], 1) == 0);
}

static void entered(struct fake_server *s, int64_t seqno) {
    CHECK(atomic_exchange(&s->inside, seqno) == 0);
    CHECK(atomic_exchange(&s->last_entered, seqno) < seqno);
    CHECK(atomic_load(&s->callbacks) == 0);
    see(s, seqno);
}

static void leaving(struct fake_server *s, int64_t seqno) {
    CHECK(atomic_exchange(&s->inside, 0) == seqno);
}

static void commit(struct fake_server *s, int64_t seqno, const struct change *changes, size_t count) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        s->rows[changes[i].row] += changes[i].by;
        s->history_hash = s->history_hash * 1099511628211u + (uint64_t)(seqno * 31 + changes[i].row * 7 + changes[i].by);
    }
    s->position.seqno = seqno;
    pthread_mutex_unlock(&s->lock);
}

/* ---- row locks ---- */

/* With the lock held. */
static bool is_told_to_abort(const struct fake_server *s, uint64_t holder) {
    for (int i = 0; i < FAKE_ROWS; i++)
        if (s->holders[i] == holder && s->is_victim[i]) return true;
    return false;
}

/* As the real server: with the lock of what is contended held, so the provider must not wait. */
static void abort_local(struct fake_server *s, uint64_t victim, int64_t bf_seqno) {
    int64_t victim_seqno = -7;
    int rc = s->t.abort_certification(&s->t, bf_seqno, victim, &victim_seqno);
    CHECK(rc == 0 || rc == 10);
    CHECK(victim_seqno != -7);
    if (rc) return;
    atomic_fetch_add(&s->aborts, 1);
    for (int i = 0; i < FAKE_ROWS; i++)
        if (s->holders[i] == victim) s->is_victim[i] = true;
    pthread_cond_broadcast(&s->freed);
}

/* Who is in the way? For an applier also a local transaction in the neighbour row, as with gap locks: so transactions
 * whose keys do not conflict are removed too, and have to replay. */
static uint64_t in_the_way(const struct fake_server *s, int64_t row, uint64_t holder, bool is_bf) {
    uint64_t other = s->holders[row], neighbour = s->holders[row ^ 1];
    if (other && other != holder) return other;
    return is_bf && neighbour && neighbour != holder && !(neighbour & BF_HOLDER) ? neighbour : 0;
}

/* A local transaction waits for others, an applier removes local ones. -> false: this (local) one is to be aborted */
static bool lock_row(struct fake_server *s, int64_t row, uint64_t holder, int64_t bf_seqno, bool is_bf) {
    uint64_t told = 0;
    bool may_go_on = true;
    pthread_mutex_lock(&s->lock);
    for (uint64_t other; (other = in_the_way(s, row, holder, is_bf)) != 0;) {
        may_go_on = is_bf || !is_told_to_abort(s, holder);
        if (!may_go_on) break;
        if (is_bf && !(other & BF_HOLDER) && other != told) {
            abort_local(s, other, bf_seqno);
            told = other;
        }
        pthread_cond_wait(&s->freed, &s->lock);
    }
    if (may_go_on) {
        s->holders[row] = holder;
        s->is_victim[row] = false;
    }
    pthread_mutex_unlock(&s->lock);
    return may_go_on;
}

static void unlock_rows(struct fake_server *s, uint64_t holder) {
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < FAKE_ROWS; i++)
        if (s->holders[i] == holder) {
            s->holders[i] = 0;
            s->is_victim[i] = false;
        }
    pthread_cond_broadcast(&s->freed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- callbacks ---- */

/* With the lock held. */
static struct stream *find_stream(struct fake_server *s, const struct abi_trx_meta *m, bool is_made) {
    struct stream *empty = NULL;
    for (int i = 0; i < STREAMS_MAX; i++) {
        struct stream *stream = &streams[s->index][i];
        if (!stream->trx && !empty) empty = stream;
        if (stream->trx == m->stid.trx && !memcmp(&stream->source, &m->stid.node, 16)) return stream;
    }
    if (!is_made) return NULL;
    CHECK(empty);
    empty->trx = m->stid.trx;
    empty->source = m->stid.node;
    empty->count = 0;
    return empty;
}

static void add_to_stream(struct fake_server *s, const struct abi_trx_meta *m, const struct change *changes,
                          size_t count) {
    pthread_mutex_lock(&s->lock);
    struct stream *stream = find_stream(s, m, true);
    for (size_t i = 0; i < count; i++) stream->changes[stream->count++] = changes[i];
    pthread_mutex_unlock(&s->lock);
}

/* Its end; -> what it was */
static struct stream end_stream(struct fake_server *s, const struct abi_trx_meta *m) {
    struct stream whole = {.trx = 0};
    pthread_mutex_lock(&s->lock);
    struct stream *stream = find_stream(s, m, false);
    if (stream) {
        whole = *stream;
        stream->trx = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return whole;
}

static int order_only(struct fake_server *s, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta) {
    struct abi_buf none = {NULL, 0};
    CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
    entered(s, meta->gtid.seqno);
    commit(s, meta->gtid.seqno, NULL, 0);
    leaving(s, meta->gtid.seqno);
    return s->t.commit_order_leave(&s->t, handle, meta, &none);
}

static int apply_changes(struct fake_server *s, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta,
                         const struct change *changes, size_t count, const struct change *all, size_t all_count) {
    uint64_t holder = BF_HOLDER | (uint64_t)meta->gtid.seqno;
    struct abi_buf error = {NULL, 0};
    char text[64];
    for (size_t i = 0; i < count; i++) CHECK(lock_row(s, changes[i].row, holder, meta->gtid.seqno, true));
    CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
    entered(s, meta->gtid.seqno);
    for (size_t i = 0; i < count; i++)
        if (changes[i].row == s->poison_row) {
            snprintf(text, sizeof(text), " cannot change row %" PRId64 ";", s->poison_row);
            error = (struct abi_buf){text, strlen(text) + 1};
        }
    if (error.ptr)
        commit(s, meta->gtid.seqno, NULL, 0);
    else
        commit(s, meta->gtid.seqno, all, all_count);
    leaving(s, meta->gtid.seqno);
    int rc = s->t.commit_order_leave(&s->t, handle, meta, &error);
    unlock_rows(s, holder);
    return rc;
}

static int on_apply(void *recv_ctx, const struct abi_ws_handle *handle, uint32_t flags, const struct abi_buf *data,
                    const struct abi_trx_meta *meta, bool *exit_loop) {
    struct fake_server *s = recv_ctx;
    const struct change *changes = data->ptr;
    size_t count = data->len / sizeof(struct change);
    (void)exit_loop;
    current = s;
    CHECK(atomic_load(&s->callbacks) == 0);
    if (flags & FLAG_ISOLATION) {
        int64_t factor;
        struct abi_buf none = {NULL, 0};
        CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
        entered(s, meta->gtid.seqno);
        memcpy(&factor, data->ptr, sizeof(factor));
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < FAKE_ROWS; i++) s->rows[i] *= factor;
        pthread_mutex_unlock(&s->lock);
        commit(s, meta->gtid.seqno, NULL, 0);
        leaving(s, meta->gtid.seqno);
        return s->t.commit_order_leave(&s->t, handle, meta, &none);
    }
    if (flags & FLAG_ROLLBACK) { /* failed somewhere, skipped, or the end of a stream */
        end_stream(s, meta);
        return order_only(s, handle, meta);
    }
    if (!(flags & FLAG_END)) {
        add_to_stream(s, meta, changes, count);
        return apply_changes(s, handle, meta, changes, count, NULL, 0);
    }
    if (!(flags & FLAG_START)) {
        struct stream whole = end_stream(s, meta);
        return apply_changes(s, handle, meta, NULL, 0, whole.changes, whole.count);
    }
    return apply_changes(s, handle, meta, changes, count, changes, count);
}

static void begin_callback(struct fake_server *s) {
    CHECK(atomic_fetch_add(&s->callbacks, 1) == 0);
    CHECK(atomic_load(&s->inside) == 0);
}

static int on_connected(void *app_ctx, const struct abi_view_info *view) {
    struct fake_server *s = app_ctx;
    begin_callback(s);
    CHECK(view->my_idx >= 0 && view->my_idx < view->memb_num);
    s->uuid = view->members[view->my_idx].id;
    CHECK(!strcmp(view->members[view->my_idx].name, s->name));
    atomic_fetch_sub(&s->callbacks, 1);
    return 0;
}

static int on_view(void *app_ctx, void *recv_ctx, const struct abi_view_info *view, const char *state, size_t len) {
    struct fake_server *s = app_ctx;
    struct abi_gtid committed;
    (void)recv_ctx;
    CHECK(!state && !len);
    current = s;
    begin_callback(s);
    if (view->status == 0) {
        CHECK(view->capabilities == 0x2d17f);
        CHECK(s->t.last_committed_id(&s->t, &committed) == 0);
        CHECK(committed.seqno == view->state_id.seqno - 1);
        see(s, view->state_id.seqno);
        CHECK(atomic_exchange(&s->last_entered, view->state_id.seqno) < view->state_id.seqno);
        pthread_mutex_lock(&s->lock);
        s->position = view->state_id;
        s->is_running_engine = true;
        /* Streams of nodes that are gone are rolled back by the server. */
        for (int i = 0; i < STREAMS_MAX; i++) {
            bool is_member = false;
            for (int k = 0; k < view->memb_num; k++)
                if (!memcmp(&streams[s->index][i].source, &view->members[k].id, 16)) is_member = true;
            if (!is_member) streams[s->index][i].trx = 0;
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
    atomic_fetch_sub(&s->callbacks, 1);
    return 0;
}

static int on_synced(void *app_ctx) {
    struct fake_server *s = app_ctx;
    begin_callback(s);
    pthread_mutex_lock(&s->state_lock);
    s->is_synced = s->is_primary = true;
    pthread_cond_broadcast(&s->state_changed);
    pthread_mutex_unlock(&s->state_lock);
    atomic_fetch_sub(&s->callbacks, 1);
    return 0;
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
    if (!s->is_running_engine) {
        *size = 5 + sizeof(s);
        *request = malloc(*size);
        memcpy(*request, "fake", 5);
        memcpy((char *)*request + 5, &s, sizeof(s));
    }
    atomic_fetch_sub(&s->callbacks, 1);
    return 0;
}

static void *send_snapshot(void *arg) {
    struct snapshot *snapshot = arg;
    struct fake_server *joiner = snapshot->joiner, *donor = snapshot->donor;
    struct abi_gtid gtid = snapshot->gtid;
    pthread_mutex_lock(&joiner->lock);
    if (snapshot->is_bypass) {
        gtid = joiner->position;
    } else {
        memcpy(joiner->rows, snapshot->rows, sizeof(joiner->rows));
        memcpy(streams[joiner->index], snapshot->streams, sizeof(snapshot->streams));
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
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    pthread_t thread;
    (void)recv_ctx;
    (void)state;
    begin_callback(s);
    CHECK(request->len == 5 + sizeof(s) && !memcmp(request->ptr, "fake", 5));
    memcpy(&snapshot->joiner, (const char *)request->ptr + 5, sizeof(s));
    snapshot->donor = s;
    snapshot->gtid = *state_id;
    snapshot->is_bypass = is_bypass;
    pthread_mutex_lock(&s->lock);
    if (!is_bypass) CHECK(s->position.seqno <= state_id->seqno); /* below: the last one was an aborted fragment */
    memcpy(snapshot->rows, s->rows, sizeof(s->rows));
    memcpy(snapshot->streams, streams[s->index], sizeof(snapshot->streams));
    snapshot->history_hash = s->history_hash;
    pthread_mutex_unlock(&s->lock);
    pthread_create(&thread, NULL, send_snapshot, snapshot);
    pthread_detach(thread);
    atomic_fetch_sub(&s->callbacks, 1);
    return 0;
}

/* ---- life ---- */

void fake_init(struct fake_server *server, int index, int port, const char *dir) {
    memset(server, 0, sizeof(*server));
    snprintf(server->name, sizeof(server->name), "n%d", index + 1);
    snprintf(server->dir, sizeof(server->dir), "%s", dir);
    server->index = index;
    server->port = port;
    server->poison_row = -1;
    server->seen = calloc(FAKE_SEQNO_MAX, 1);
    server->position.seqno = -1;
    memset(streams[index], 0, sizeof(streams[index]));
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->freed, NULL);
    pthread_mutex_init(&server->state_lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&server->state_changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void fake_destroy(struct fake_server *server) {
    free((void *)server->seen);
    pthread_cond_destroy(&server->freed);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->state_changed);
    pthread_mutex_destroy(&server->state_lock);
}

static void *run_applier(void *arg) {
    struct fake_server *s = arg;
    current = s;
    int rc = s->t.recv(&s->t, s);
    CHECK(rc == 0 || rc == 6 || rc == 8);
    pthread_mutex_lock(&s->state_lock);
    if (rc != 6) s->last_recv_result = rc;
    pthread_mutex_unlock(&s->state_lock);
    atomic_fetch_sub(&s->receivers, 1);
    return NULL;
}

int fake_connect(struct fake_server *server, const char *address, bool is_bootstrap) {
    char url[256];
    pthread_mutex_lock(&server->state_lock);
    server->is_final = server->is_synced = server->is_primary = false;
    pthread_mutex_unlock(&server->state_lock);
    snprintf(url, sizeof(url), "gcomm://%s", address);
    int rc = server->t.connect(&server->t, "fake", url, "", is_bootstrap);
    if (rc) return rc;
    server->applier_count = FAKE_APPLIERS;
    atomic_store(&server->receivers, FAKE_APPLIERS);
    for (int i = 0; i < FAKE_APPLIERS; i++) pthread_create(&server->appliers[i], NULL, run_applier, server);
    return 0;
}

int fake_start(struct fake_server *server, const char *address, bool is_bootstrap, const char *options) {
    char text[512], node[32], dir[128];
    struct abi_gtid start = server->position;
    snprintf(text, sizeof(text), "gcache.size=4M;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;"
             "evs.keepalive_period=PT0.5S;evs.install_timeout=PT2S;gmcast.peer_timeout=PT2S;pc.wait_prim_timeout=PT20S;%s",
             options);
    snprintf(node, sizeof(node), "127.0.0.1:%d", server->port);
    snprintf(dir, sizeof(dir), "%s/", server->dir);
    CHECK(wsrep_loader(&server->t) == 0);
    struct abi_init_args args = {
        .app_ctx = server,
        .node_name = server->name,
        .node_address = node,
        .node_incoming = node,
        .data_dir = dir,
        .options = text,
        .proto_ver = 4,
        .state_id = &start,
        .logger_cb = log_line,
        .connected_cb = on_connected,
        .view_cb = on_view,
        .sst_request_cb = on_sst_request,
        .apply_cb = on_apply,
        .sst_donate_cb = on_sst_donate,
        .synced_cb = on_synced,
    };
    current = server;
    int rc = server->t.init(&server->t, &args);
    if (rc) return rc;
    CHECK(server->t.capabilities(&server->t) == 0x2d17f);
    return fake_connect(server, address, is_bootstrap);
}

void fake_disconnect(struct fake_server *server) {
    CHECK(server->t.disconnect(&server->t) == 0);
    for (int i = 0; i < server->applier_count; i++) pthread_join(server->appliers[i], NULL);
    if (server->applier_count) CHECK(server->is_final);
    server->applier_count = 0;
}

void fake_stop(struct fake_server *server) {
    fake_disconnect(server);
    server->t.free(&server->t);
    CHECK(!server->t.ctx);
    server->t.free(&server->t);
    server->is_running_engine = false;
}

static bool wait_state(struct fake_server *s, bool (*is_reached)(struct fake_server *s, int a, int b), int a, int b,
                       int seconds) {
    int64_t deadline_ns = xb_clock_monotonic_ns() + seconds * XB_SECOND;
    struct timespec at = {.tv_sec = deadline_ns / XB_SECOND, .tv_nsec = deadline_ns % XB_SECOND};
    pthread_mutex_lock(&s->state_lock);
    int rc = 0;
    while (!is_reached(s, a, b) && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&s->state_changed, &s->state_lock, &at);
    bool is_there = is_reached(s, a, b);
    pthread_mutex_unlock(&s->state_lock);
    return is_there;
}

static bool is_synced(struct fake_server *s, int a, int b) {
    (void)a;
    (void)b;
    return s->is_synced;
}

static bool is_view(struct fake_server *s, int is_primary, int members) {
    return s->is_primary == (bool)is_primary && s->view_size == members;
}

static bool is_final(struct fake_server *s, int a, int b) {
    (void)a;
    (void)b;
    return s->is_final;
}

bool fake_wait_synced(struct fake_server *server, int seconds) {
    return wait_state(server, is_synced, 0, 0, seconds);
}

bool fake_wait_view(struct fake_server *server, bool is_primary, int members, int seconds) {
    return wait_state(server, is_view, is_primary, members, seconds);
}

bool fake_wait_final(struct fake_server *server, int seconds) {
    return wait_state(server, is_final, 0, 0, seconds);
}

/* ---- local transactions ---- */

static int append_row_key(struct fake_server *s, struct abi_ws_handle *handle, int64_t row) {
    struct abi_buf parts[3] = {{"db", 2}, {"rows", 4}, {&row, sizeof(row)}};
    struct abi_key key = {parts, 3};
    return s->t.append_key(&s->t, handle, &key, 1, 3, true);
}

/* Nothing of the transaction stays; if it was ordered its seqno is passed in order (spec 01 section 10.2). */
static void roll_back(struct fake_server *s, struct abi_ws_handle *handle, const struct abi_trx_meta *meta) {
    struct abi_buf none = {NULL, 0};
    unlock_rows(s, handle->trx_id);
    if (meta->gtid.seqno >= 0) {
        struct abi_gtid upto = {meta->gtid.uuid, meta->gtid.seqno - 1};
        CHECK(s->t.commit_order_enter(&s->t, handle, meta) == 0);
        entered(s, meta->gtid.seqno);
        CHECK(s->t.sync_wait(&s->t, &upto, 2147483647, NULL) == 0);
        commit(s, meta->gtid.seqno, NULL, 0);
        leaving(s, meta->gtid.seqno);
        CHECK(s->t.commit_order_leave(&s->t, handle, meta, &none) == 0);
    }
    CHECK(s->t.release(&s->t, handle) == 0);
    CHECK(!handle->opaque);
}

static int replay(struct fake_server *s, struct abi_ws_handle *handle, struct abi_trx_meta *meta) {
    unlock_rows(s, handle->trx_id);
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
    entered(s, meta->gtid.seqno);
    commit(s, meta->gtid.seqno, changes, count);
    leaving(s, meta->gtid.seqno);
    CHECK(s->t.commit_order_leave(&s->t, handle, meta, &none) == 0);
    unlock_rows(s, handle->trx_id);
    CHECK(s->t.release(&s->t, handle) == 0);
    CHECK(!handle->opaque);
    atomic_fetch_add(&s->commits, 1);
    return 0;
}

/* Told to abort before the provider knew of it? */
static bool is_aborted(struct fake_server *s, uint64_t id) {
    pthread_mutex_lock(&s->lock);
    bool is = is_told_to_abort(s, id);
    pthread_mutex_unlock(&s->lock);
    return is;
}

/* Row locks in ascending order, so that local transactions do not deadlock among themselves. */
static bool lock_changes(struct fake_server *s, uint64_t id, struct change *changes, int first_row, int count,
                         int64_t by) {
    for (int i = 0; i < count; i++) {
        changes[i] = (struct change){first_row + i, by + i};
        if (!lock_row(s, changes[i].row, id, -1, false)) return false;
    }
    return true;
}

int fake_add(struct fake_server *server, unsigned *seed, int first_row, int count, int64_t by) {
    struct abi_ws_handle handle = {atomic_fetch_add(&server->next_trx, 1) + 1, NULL};
    struct abi_trx_meta meta = new_meta();
    struct change changes[FAKE_TRX_ROWS];
    struct abi_buf data = {changes, sizeof(*changes) * (size_t)count};
    current = server;
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
    unlock_rows(s, handle->trx_id);
    rc = s->t.release(&s->t, handle);
    CHECK(rc == 0 || rc == 4);
    if (rc == 4) CHECK(s->t.release(&s->t, handle) == 0);
    return rc;
}

/* -> 0, or the transaction is given up */
static int send_fragment(struct fake_server *s, struct abi_ws_handle *handle, const struct change *change, bool is_first) {
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
        if (meta.gtid.seqno >= 0) see(s, meta.gtid.seqno);
        return 1213;
    }
    entered(s, meta.gtid.seqno);
    commit(s, meta.gtid.seqno, NULL, 0);
    leaving(s, meta.gtid.seqno);
    CHECK(s->t.commit_order_leave(&s->t, handle, &meta, &none) == 0);
    return s->t.release(&s->t, handle) == 0 ? 0 : 1213;
}

int fake_stream(struct fake_server *server, unsigned *seed, int first_row, int count, int64_t by, bool is_rollback) {
    struct abi_ws_handle handle = {atomic_fetch_add(&server->next_trx, 1) + 1, NULL};
    struct abi_trx_meta meta = new_meta();
    struct change changes[FAKE_TRX_ROWS];
    current = server;
    for (int i = 0; i < count; i++) {
        changes[i] = (struct change){first_row + i, by + i};
        if (!lock_row(server, changes[i].row, handle.trx_id, -1, false) ||
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
    add_to_stream(server, &own, changes, (size_t)count);
    int rc = server->t.certify(&server->t, 1, &handle, FLAG_END | 0x008, &meta);
    if (rc == 0) {
        rc = commit_ordered(server, &handle, &meta, changes, (size_t)count);
        end_stream(server, &own);
        return rc;
    }
    if (rc == 4) return replay(server, &handle, &meta);
    CHECK(rc == 3 || rc == 6 || rc == 7);
    end_stream(server, &own);
    server->t.rollback(&server->t, handle.trx_id, NULL);
    roll_back(server, &handle, &meta);
    return 1213;
}

/* ---- total order isolation ---- */

int fake_toi(struct fake_server *server, uint64_t conn, int64_t factor) {
    struct abi_buf part = {"db", 2}, action = {&factor, sizeof(factor)}, none = {NULL, 0};
    struct abi_key key = {&part, 1};
    struct abi_trx_meta meta = new_meta();
    current = server;
    int rc = server->t.to_execute_start(&server->t, conn, &key, 1, &action, 1, FLAG_START | FLAG_END, &meta);
    if (meta.gtid.seqno < 0) {
        CHECK(rc == 6 || rc == 7);
        CHECK(server->t.to_execute_end(&server->t, conn, &none) == 6);
        return rc;
    }
    CHECK(rc == 0);
    entered(server, meta.gtid.seqno);
    /* Everything before is finished, so no applier holds a row; local ones in the way are removed, as by a DDL. */
    for (int i = 0; i < FAKE_ROWS; i++) CHECK(lock_row(server, i, BF_HOLDER | (uint64_t)meta.gtid.seqno, -1, true));
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < FAKE_ROWS; i++) server->rows[i] *= factor;
    pthread_mutex_unlock(&server->lock);
    commit(server, meta.gtid.seqno, NULL, 0);
    unlock_rows(server, BF_HOLDER | (uint64_t)meta.gtid.seqno);
    leaving(server, meta.gtid.seqno);
    CHECK(server->t.to_execute_end(&server->t, conn, &none) == 0);
    return 0;
}

/* ---- status ---- */

int64_t fake_last_committed(struct fake_server *server) {
    struct abi_gtid gtid;
    CHECK(server->t.last_committed_id(&server->t, &gtid) == 0);
    return gtid.seqno;
}

char *fake_stat_text(struct fake_server *server, const char *name) {
    struct abi_stats_var *stats = server->t.stats_get(&server->t);
    char text[512] = "";
    CHECK(stats);
    for (struct abi_stats_var *v = stats; v->name; v++)
        if (!strcmp(v->name, name)) {
            if (v->type == ABI_STAT_STRING) snprintf(text, sizeof(text), "%s", v->value.string);
            if (v->type == ABI_STAT_INT64) snprintf(text, sizeof(text), "%" PRId64, v->value.int64);
            if (v->type == ABI_STAT_DOUBLE) snprintf(text, sizeof(text), "%g", v->value.dbl);
        }
    server->t.stats_free(&server->t, stats);
    return strdup(text);
}

int64_t fake_stat(struct fake_server *server, const char *name) {
    char *text = fake_stat_text(server, name);
    int64_t value = strtoll(text, NULL, 10);
    free(text);
    return value;
}

void fake_wait_position(struct fake_server *server, int64_t seqno) {
    struct abi_gtid gtid;
    CHECK(server->t.last_committed_id(&server->t, &gtid) == 0);
    gtid.seqno = seqno;
    CHECK(server->t.sync_wait(&server->t, &gtid, 30, NULL) == 0);
}

void fake_check_seen(struct fake_server *server) {
    int64_t last = fake_last_committed(server);
    for (int64_t seqno = server->seen_from + 1; seqno <= last; seqno++) CHECK(atomic_load(&server->seen[seqno]) == 1);
    for (int64_t seqno = last + 1; seqno < FAKE_SEQNO_MAX; seqno++) CHECK(atomic_load(&server->seen[seqno]) == 0);
}
