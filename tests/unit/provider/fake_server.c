/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The make-believe server from start to stop; fake_server.h. */
#include "engine.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

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
    memset(engine_streams[index], 0, sizeof(engine_streams[index]));
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
    fake_current = s;
    int rc = s->t.recv(&s->t, s);
    CHECK(rc == 0 || rc == 6 || rc == 8);
    pthread_mutex_lock(&s->state_lock);
    if (rc != 6) s->last_recv_result = rc;
    pthread_mutex_unlock(&s->state_lock);
    atomic_fetch_sub(&s->receivers, 1);
    return NULL;
}

struct connect_call {
    struct fake_server *server;
    const char *url;
    bool is_bootstrap;
    int rc;
};

static void *run_connect(void *arg) {
    struct connect_call *call = arg;
    struct abi_table *t = &call->server->t;
    call->rc = t->connect(t, "fake", call->url, "", call->is_bootstrap);
    return NULL;
}

/* As a running server does it. In the process's main thread it would be a server that starts, which the provider ends
 * with the process when its state does not come. */
static int connect_in_a_thread(struct fake_server *server, const char *url, bool is_bootstrap) {
    struct connect_call call = {server, url, is_bootstrap, 0};
    pthread_t thread;
    pthread_create(&thread, NULL, run_connect, &call);
    pthread_join(thread, NULL);
    return call.rc;
}

int fake_connect(struct fake_server *server, const char *address, bool is_bootstrap) {
    char url[256];
    pthread_mutex_lock(&server->state_lock);
    server->is_final = server->is_synced = server->is_primary = false;
    pthread_mutex_unlock(&server->state_lock);
    snprintf(url, sizeof(url), "gcomm://%s", address);
    int rc = connect_in_a_thread(server, url, is_bootstrap);
    if (rc) return rc;
    server->applier_count = FAKE_APPLIERS;
    atomic_store(&server->receivers, FAKE_APPLIERS);
    for (int i = 0; i < FAKE_APPLIERS; i++) pthread_create(&server->appliers[i], NULL, run_applier, server);
    return 0;
}

int fake_start(struct fake_server *server, const char *address, bool is_bootstrap, const char *options) {
    char text[512], node[32], dir[128];
    struct abi_gtid start = server->position;
    snprintf(
        text, sizeof(text),
        "gcache.size=4M;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;"
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
    };
    fake_callbacks(&args);
    fake_current = server;
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
