/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members in one process over TLS on loopback: order, leaving, isolation, strangers, certificates, restored views. */
#include "member/member.h"
#include "support/certs.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define WAIT_S 60 /* longer than anything takes on a slow machine */
#define ORDER_MAX 4096
#define QUICK                                                                                                          \
    "evs.suspect_timeout=PT1.5S;evs.inactive_timeout=PT3S;evs.keepalive_period=PT0.3S;evs.install_timeout=PT1.5S;"     \
    "evs.inactive_check_period=PT0.2S;gmcast.peer_timeout=PT1.5S;gmcast.time_wait=PT1S"

static struct certs certs;
static const char *group_name = "lab";
static struct tls_context *own_tls, *other_tls, *new_tls, *strict_tls;
static char directory[] = "/tmp/xebec-member-XXXXXX";

/* One member and what it was told. */
struct node {
    struct member *member;
    struct group *group;
    struct xb_options *options;
    char data_dir[128], name[16];
    struct xb_isolation isolation;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Under the mutex. */
    bool is_primary, has_left;
    int left_code;
    size_t member_count, change_count;
    uint64_t order[ORDER_MAX]; /* numbers in the write sets, in their order */
    size_t order_count;
    char log[16384];
};

static void node_log(void *ctx, enum xb_log_level level, const char *line) {
    struct node *node = ctx;
    if (getenv("MEMBER_TEST_LOG")) fprintf(stderr, "%s: %s\n", node->name, line);
    pthread_mutex_lock(&node->mutex);
    size_t used = strlen(node->log);
    snprintf(node->log + used, sizeof(node->log) - used, "%s\n", line);
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->mutex);
}

static void *alloc_action(void *ctx, size_t size) {
    return malloc(size);
}

static void free_action(void *ctx, void *buf) {
    free(buf);
}

static void note_write_set(struct node *node, const struct gcs_action *action) {
    uint64_t number;
    assert_true(action->size >= sizeof(number));
    memcpy(&number, action->buf, sizeof(number));
    pthread_mutex_lock(&node->mutex);
    if (node->order_count < ORDER_MAX) node->order[node->order_count++] = number;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->mutex);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    struct node *node = ctx;
    if (action->type == GCS_WRITESET) note_write_set(node, action);
    if (action->type == GCS_CCHANGE) {
        struct gcs_cchange change;
        struct xb_error error;
        assert_int_equal(gcs_cchange_decode(&change, action->buf, action->size, &error), 0);
        pthread_mutex_lock(&node->mutex);
        node->is_primary = change.conf_id >= 0 && action->seqno >= 0;
        node->member_count = change.member_count;
        node->change_count++;
        pthread_cond_broadcast(&node->changed);
        pthread_mutex_unlock(&node->mutex);
        gcs_cchange_clear(&change);
    }
    free(action->buf);
}

static int64_t cached(void *ctx) {
    return -1;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {}

static void on_started(void *ctx, struct group *group) {
    struct node *node = ctx;
    node->group = group;
}

static void on_left(void *ctx, int code, const struct xb_error *error) {
    struct node *node = ctx;
    pthread_mutex_lock(&node->mutex);
    node->has_left = true;
    node->left_code = code;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->mutex);
}

static struct node *new_node(const char *name) {
    struct node *node = calloc(1, sizeof(*node));
    assert_non_null(node);
    snprintf(node->name, sizeof(node->name), "%s", name);
    snprintf(node->data_dir, sizeof(node->data_dir), "%s/%s", directory, name);
    mkdir(node->data_dir, 0700);
    pthread_mutex_init(&node->mutex, NULL);
    pthread_cond_init(&node->changed, NULL);
    return node;
}

/* address NULL: bootstrap */
static int open_node(struct node *node, const char *address, struct tls_context *tls, const char *options,
                     struct xb_error *error) {
    node->options = xb_options_new();
    assert_int_equal(xb_options_start(node->options, QUICK ";gmcast.listen_addr=tcp://127.0.0.1:0", error), 0);
    assert_int_equal(xb_options_start(node->options, options, error), 0);
    static struct xb_log logs[16];
    static size_t log_count;
    struct xb_log *log = &logs[log_count++ % 16];
    *log = (struct xb_log){node_log, node, false};
    struct member_config config = {
        .group_name = group_name,
        .address = address ? address : "gcomm://",
        .data_dir = node->data_dir,
        .node_name = node->name,
        .node_incoming = "",
        .repl_version_max = 11,
        .appl_version_max = 6,
        .seqno = -1,
        .options = node->options,
        .tls = tls,
        .isolation = &node->isolation,
    };
    struct gcs_up gcs_up = {node, alloc_action, free_action, on_action, cached, on_causal};
    struct member_up up = {.ctx = node, .started = on_started, .left = on_left};
    node->member = member_open(&config, &gcs_up, &up, log, error);
    return node->member ? 0 : error->code;
}

static void must_open(struct node *node, const char *address, struct tls_context *tls) {
    struct xb_error error = {0};
    if (open_node(node, address, tls, "", &error)) fail_msg("%s: %s", node->name, error.text);
}

static void free_node(struct node *node) {
    member_close(node->member);
    xb_isolation_clear(&node->isolation);
    xb_options_free(node->options);
    pthread_mutex_destroy(&node->mutex);
    pthread_cond_destroy(&node->changed);
    free(node);
}

static void address_of(const struct node *node, char text[128]) {
    snprintf(text, 128, "gcomm://%s", strstr(member_listen_address(node->member), "://") + 3);
}

static bool has_members(struct node *node, size_t count) {
    return count ? node->is_primary && node->member_count == count : !node->is_primary;
}

static bool has_order(struct node *node, size_t count) {
    return node->order_count >= count;
}

static bool has_left(struct node *node, size_t ignored) {
    return node->has_left;
}

static void wait_until(struct node *node, bool (*is_so)(struct node *node, size_t n), size_t n, const char *what) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    int rc = 0;
    pthread_mutex_lock(&node->mutex);
    while (!is_so(node, n) && !rc) rc = pthread_cond_timedwait(&node->changed, &node->mutex, &until);
    size_t count = node->member_count;
    pthread_mutex_unlock(&node->mutex);
    if (rc) fail_msg("%s: no %s %zu (members %zu)\n%s", node->name, what, n, count, node->log);
}

/* A write set that holds one number. */
struct write_set {
    struct member_task task;
    struct gcs_submission submission;
    struct iovec part;
    uint64_t number;
    struct node *node;
    _Atomic(int) result; /* 1: not yet */
};

static void on_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct write_set *ws = submission->ctx;
    if (action) {
        note_write_set(ws->node, action);
        free(action->buf);
    }
    pthread_mutex_lock(&ws->node->mutex);
    atomic_store(&ws->result, result);
    pthread_cond_broadcast(&ws->node->changed);
    pthread_mutex_unlock(&ws->node->mutex);
}

static void run_submit(struct member_task *task, struct group *group, int64_t now_ns) {
    struct write_set *ws = (struct write_set *)task;
    gcs_submit(group_gcs(group), &ws->submission, now_ns);
}

static void post_write_set(struct node *node, struct write_set *ws, uint64_t number) {
    *ws = (struct write_set){.task = {.run = run_submit}, .number = number, .node = node};
    atomic_store(&ws->result, 1);
    ws->part = (struct iovec){&ws->number, sizeof(ws->number)};
    ws->submission =
        (struct gcs_submission){.type = GCS_WRITESET, .parts = &ws->part, .part_count = 1, .done = on_done, .ctx = ws};
    assert_int_equal(member_post(node->member, &ws->task), 0);
}

struct peers_seen {
    size_t count, tls_count;
};

static void see_peer(void *ctx, const struct xb_uuid *peer, const char *address, const struct tls_info *tls) {
    struct peers_seen *seen = ctx;
    seen->count++;
    seen->tls_count += tls && !strcmp(tls->peer_subject, "CN=node") && !strncmp(address, "ssl://127.0.0.1:", 16);
}

#define POSTERS 3
#define EACH 200

struct poster {
    struct node *node;
    uint64_t base;
    struct write_set *sets;
};

static void *post_many(void *arg) {
    struct poster *poster = arg;
    for (uint64_t i = 0; i < EACH; i++) post_write_set(poster->node, &poster->sets[i], poster->base + i);
    return NULL;
}

/* Three members; write sets of several threads of one node have one order everywhere. */
static void test_group_of_three(void **state) {
    struct node *a = new_node("a"), *b = new_node("b"), *c = new_node("c");
    char address[128];
    must_open(a, NULL, own_tls);
    assert_int_equal(strncmp(member_listen_address(a->member), "ssl://127.0.0.1:", 16), 0);
    address_of(a, address);
    must_open(b, address, own_tls);
    wait_until(a, has_members, 2, "members");
    must_open(c, address, own_tls);
    struct node *nodes[] = {a, b, c};
    for (size_t i = 0; i < 3; i++) wait_until(nodes[i], has_members, 3, "members");

    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    for (size_t i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){a, 1000 * (i + 1), calloc(EACH, sizeof(struct write_set))};
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    for (size_t i = 0; i < POSTERS; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 3; i++) wait_until(nodes[i], has_order, POSTERS * EACH, "write sets");
    assert_memory_equal(a->order, b->order, POSTERS * EACH * sizeof(uint64_t));
    assert_memory_equal(a->order, c->order, POSTERS * EACH * sizeof(uint64_t));
    uint64_t next[POSTERS] = {1000, 2000, 3000}; /* each thread's own order is kept */
    for (size_t i = 0; i < POSTERS * EACH; i++) assert_int_equal(a->order[i], next[a->order[i] / 1000 - 1]++);

    struct peers_seen seen = {0};
    member_each_peer(b->member, see_peer, &seen);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.tls_count, 2);
    struct net_stats stats;
    member_net_stats(b->member, &stats);
    assert_int_equal(stats.plain_bytes_sent + stats.plain_bytes_received, 0);
    assert_true(stats.datagrams_received > 0);

    /* one leaves gracefully: the others go on, its state file is gone, theirs are there */
    char path[160];
    free_node(c);
    snprintf(path, sizeof(path), "%s/c/gvwstate.dat", directory);
    assert_int_equal(access(path, F_OK), -1);
    wait_until(a, has_members, 2, "members");
    wait_until(b, has_members, 2, "members");
    snprintf(path, sizeof(path), "%s/a/gvwstate.dat", directory);
    assert_int_equal(access(path, F_OK), 0);
    free_node(b);
    wait_until(a, has_members, 1, "members");
    free_node(a);
    for (size_t i = 0; i < POSTERS; i++) free(posters[i].sets);
}

/* Isolation cuts a member off, the others go on; afterwards it comes back. */
static void test_isolation(void **state) {
    struct node *a = new_node("a"), *b = new_node("b"), *c = new_node("c");
    char address[128];
    must_open(a, NULL, own_tls);
    address_of(a, address);
    must_open(b, address, own_tls);
    must_open(c, address, own_tls);
    wait_until(a, has_members, 3, "members");
    xb_isolation_set(&c->isolation, XB_ISOLATED);
    wait_until(a, has_members, 2, "members");
    wait_until(c, has_members, 0, "loss of the primary component");
    xb_isolation_set(&c->isolation, XB_NORMAL);
    wait_until(c, has_members, 3, "members");
    xb_isolation_set(&c->isolation, XB_DISCONNECT); /* by force */
    wait_until(c, has_left, 0, "end");
    assert_true(c->left_code < 0);
    wait_until(a, has_members, 2, "members");
    /* a task is still run, and refused by the group */
    struct write_set ws;
    post_write_set(c, &ws, 1);
    struct peers_seen seen = {0};
    member_each_peer(c->member, see_peer, &seen);
    assert_int_equal(seen.count, 0);
    assert_true(atomic_load(&ws.result) < 0);
    free_node(c);
    free_node(b);
    free_node(a);
}

/* A node whose certificate is of another CA does not get in, and is told why. */
static void test_stranger(void **state) {
    struct node *a = new_node("a"), *x = new_node("x");
    char address[128];
    must_open(a, NULL, own_tls);
    address_of(a, address);
    struct xb_error error = {0};
    assert_int_equal(open_node(x, address, other_tls, "pc.wait_prim_timeout=PT2S", &error), -ETIMEDOUT);
    assert_non_null(strstr(error.text, "failed to reach primary view: 110"));
    assert_non_null(strstr(error.text, "certificate verify failed"));
    assert_non_null(strstr(error.text, "CN=node"));
    pthread_mutex_lock(&x->mutex);
    assert_non_null(strstr(x->log, "Failed to establish connection to 127.0.0.1:"));
    pthread_mutex_unlock(&x->mutex);
    free_node(x);
    x = new_node("x");
    assert_int_equal(open_node(x, address, NULL, "pc.wait_prim_timeout=PT2S", &error), -ETIMEDOUT); /* plain text */
    free_node(x);
    assert_int_equal(a->member_count, 1);
    pthread_mutex_lock(&a->mutex);
    assert_non_null(strstr(a->log, "Failed to establish connection from 127.0.0.1:"));
    pthread_mutex_unlock(&a->mutex);
    free_node(a);
}

static void test_refused_starts(void **state) {
    struct node *a = new_node("a");
    must_open(a, NULL, own_tls);
    struct xb_error error = {0};
    char options[160], own[128];
    static const struct {
        const char *address;
        int code;
        const char *text;
    } cases[] = {{"10.0.0.1", -EINVAL, "gcomm://"},
                 {"dummy://", -ESOCKTNOSUPPORT, "dummy"},
                 {"gcomm://127.0.0.1:1?evs.suspect_timeout=PT0.6S", -ERANGE, "evs.keepalive_period"}};
    for (size_t i = 0; i < 3; i++) {
        struct node *b = new_node("b");
        assert_int_equal(open_node(b, cases[i].address, own_tls, "", &error), cases[i].code);
        assert_non_null(strstr(error.text, cases[i].text));
        free_node(b);
    }
    struct node *b = new_node("b"); /* the port is in use */
    snprintf(options, sizeof(options), "gmcast.listen_addr=%s", member_listen_address(a->member));
    address_of(a, own);
    assert_int_equal(open_node(b, own, own_tls, options, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "cannot listen at 127.0.0.1:"));
    free_node(b);
    free_node(a);
    b = new_node("b"); /* nobody but itself */
    assert_int_equal(open_node(b, own, own_tls, options, &error), -EINVAL);
    assert_string_equal(error.text, "No address to connect");
    free_node(b);
}

/* New certificates for new connections: the node after the swap is accepted by both. */
static void test_tls_swap(void **state) {
    struct node *a = new_node("a"), *b = new_node("b"), *c = new_node("c");
    char address[128];
    must_open(a, NULL, own_tls);
    address_of(a, address);
    must_open(b, address, own_tls);
    wait_until(a, has_members, 2, "members");
    member_set_tls(a->member, other_tls);
    member_set_tls(b->member, other_tls);
    must_open(c, address, other_tls);
    wait_until(a, has_members, 3, "members");
    wait_until(b, has_members, 3, "members");
    free_node(c);
    free_node(b);
    free_node(a);
}

static void see_new(void *ctx, const struct xb_uuid *peer, const char *address, const struct tls_info *tls) {
    struct peers_seen *seen = ctx;
    seen->count++;
    seen->tls_count += tls && !strcmp(tls->peer_subject, "CN=new-node");
}

/* Waits until both peers of the node are connected, with new certificates. */
static void await_new_peers(struct node *node) {
    struct peers_seen seen;
    for (int i = 0; i < WAIT_S * 50; i++) {
        seen = (struct peers_seen){0};
        member_each_peer(node->member, see_new, &seen);
        if (seen.count == 2 && seen.tls_count == 2) return;
        usleep(20000);
    }
    fail_msg("%s: %zu peers, %zu with new certificates\n%s", node->name, seen.count, seen.tls_count, node->log);
}

/* New certificates on one node after the other: all connections show them in the end, and no membership changes, also
 * while write sets are under way. */
static void test_renewal(void **state) {
    struct node *nodes[3] = {new_node("a"), new_node("b"), new_node("c")};
    char address[128];
    must_open(nodes[0], NULL, own_tls);
    address_of(nodes[0], address);
    must_open(nodes[1], address, own_tls);
    must_open(nodes[2], address, own_tls);
    size_t changes[3];
    for (size_t i = 0; i < 3; i++) wait_until(nodes[i], has_members, 3, "members");
    for (size_t i = 0; i < 3; i++) changes[i] = nodes[i]->change_count;
    struct write_set *sets = calloc(3 * EACH, sizeof(*sets));
    for (size_t i = 0; i < 3; i++) {
        struct poster poster = {nodes[0], 1000 * i, sets + i * EACH}; /* the others have no state yet */
        pthread_t thread;
        pthread_create(&thread, NULL, post_many, &poster);
        member_set_tls(nodes[i]->member, new_tls);
        pthread_join(thread, NULL);
    }
    for (size_t i = 0; i < 3; i++) await_new_peers(nodes[i]);
    for (size_t i = 0; i < 3; i++) wait_until(nodes[i], has_order, 3 * EACH, "write sets");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(nodes[i]->change_count, changes[i]);
        assert_int_equal(nodes[i]->order_count, 3 * EACH);
        assert_memory_equal(nodes[i]->order, nodes[0]->order, 3 * EACH * sizeof(uint64_t));
    }
    for (size_t i = 3; i-- > 0;) free_node(nodes[i]);
    free(sets);
}

static bool has_line(struct node *node, size_t ignored) {
    return strstr(node->log, "whose certificate is not accepted any more") != NULL;
}

/* A certificate that is revoked while its holder is a member: both others cut it off and go on; they stay together. */
static void test_revoked_member(void **state) {
    struct node *a = new_node("a"), *b = new_node("b"), *c = new_node("c");
    char address[128];
    must_open(a, NULL, new_tls);
    address_of(a, address);
    must_open(b, address, new_tls);
    must_open(c, address, own_tls); /* the one that strict_tls does not know any more */
    wait_until(a, has_members, 3, "members");
    wait_until(b, has_members, 3, "members");
    member_set_tls(a->member, strict_tls);
    member_set_tls(b->member, strict_tls);
    wait_until(a, has_line, 0, "line about the cut");
    wait_until(a, has_members, 2, "members");
    wait_until(b, has_members, 2, "members");
    assert_non_null(strstr(a->log, "certificate revoked"));
    free_node(c);
    free_node(b);
    free_node(a);
}

static bool has_refused(struct node *node, size_t ignored) {
    return strstr(node->log,
                  "after the TLS handshake (certificate 'CN=node'): it belongs to the group 'wrong' and this "
                  "node to 'lab': compare wsrep_cluster_name") != NULL;
}

/* A node of another cluster, with a certificate of the same CA. */
static void test_wrong_group(void **state) {
    struct node *a = new_node("a"), *x = new_node("x");
    char address[128];
    must_open(a, NULL, own_tls);
    address_of(a, address);
    struct xb_error error = {0};
    group_name = "wrong";
    int rc = open_node(x, address, own_tls, "pc.wait_prim_timeout=PT2S", &error);
    group_name = "lab";
    assert_int_equal(rc, -ETIMEDOUT);
    wait_until(a, has_refused, 0, "line about the group");
    assert_int_equal(a->member_count, 1);
    free_node(x);
    free_node(a);
}

struct kept_file {
    char path[160], text[4096], listen[128];
    size_t size;
    struct xb_uuid uuid;
};

/* Waits until the state file knows three members, and keeps it. */
static void keep_file(const struct node *node, struct kept_file *kept) {
    snprintf(kept->path, sizeof(kept->path), "%s/gvwstate.dat", node->data_dir);
    snprintf(kept->listen, sizeof(kept->listen), "%s", member_listen_address(node->member));
    kept->uuid = member_uuid(node->member);
    for (int i = 0; i < WAIT_S * 50; i++) {
        FILE *f = fopen(kept->path, "r");
        kept->size = f ? fread(kept->text, 1, sizeof(kept->text) - 1, f) : 0;
        if (f) fclose(f);
        kept->text[kept->size] = '\0';
        size_t members = 0;
        for (const char *p = kept->text; (p = strstr(p, "member:")); p++) members++;
        if (members == 3) return;
        usleep(20000);
    }
    fail_msg("no state file with three members");
}

/* All nodes are killed (their state files stay) and started again: the group re-forms, in new incarnations. */
static void test_restore(void **state) {
    static const char *const names[] = {"a", "b", "c"};
    struct node *nodes[3];
    struct kept_file kept[3];
    char address[400], first[128];
    nodes[0] = new_node("a");
    must_open(nodes[0], NULL, own_tls);
    address_of(nodes[0], first);
    for (size_t i = 1; i < 3; i++) {
        nodes[i] = new_node(names[i]);
        must_open(nodes[i], first, own_tls);
    }
    for (size_t i = 0; i < 3; i++) keep_file(nodes[i], &kept[i]);
    for (size_t i = 0; i < 3; i++) free_node(nodes[i]);
    snprintf(address, sizeof(address), "gcomm://%s,%s,%s", strstr(kept[0].listen, "://") + 3,
             strstr(kept[1].listen, "://") + 3, strstr(kept[2].listen, "://") + 3);
    for (size_t i = 0; i < 3; i++) {
        FILE *f = fopen(kept[i].path, "w");
        assert_int_equal(fwrite(kept[i].text, 1, kept[i].size, f), kept[i].size);
        fclose(f);
        nodes[i] = new_node(names[i]);
        char options[160];
        snprintf(options, sizeof(options), "gmcast.listen_addr=%s", kept[i].listen);
        struct xb_error error = {0};
        if (open_node(nodes[i], address, own_tls, options, &error)) fail_msg("%s", error.text);
        struct xb_uuid uuid = member_uuid(nodes[i]->member);
        assert_true(xb_uuid_is_same_node(&uuid, &kept[i].uuid));
        assert_int_equal(xb_uuid_incarnation(&uuid), (uint16_t)(xb_uuid_incarnation(&kept[i].uuid) + 1));
    }
    for (size_t i = 0; i < 3; i++) wait_until(nodes[i], has_members, 3, "members");
    for (size_t i = 0; i < 3; i++) free_node(nodes[i]);
}

/* A configured name instead of a number. */
static void test_names(void **state) {
    struct node *a = new_node("a"), *b = new_node("b");
    char address[160];
    must_open(a, NULL, own_tls);
    snprintf(address, sizeof(address), "gcomm://no.such.host.invalid,localhost:%s",
             strrchr(member_listen_address(a->member), ':') + 1);
    must_open(b, address, own_tls);
    wait_until(a, has_members, 2, "members");
    free_node(b);
    free_node(a);
}

static struct tls_context *load(const char *key, const char *cert, const char *ca, const char *crl) {
    struct tls_config config = {.key_file = certs_path(&certs, key),
                                .cert_file = certs_path(&certs, cert),
                                .ca_file = certs_path(&certs, ca),
                                .crl_file = crl ? certs_path(&certs, crl) : NULL};
    struct tls_context *context = tls_context_load(&config, NULL);
    assert_non_null(context);
    return context;
}

static int prepare(void **state) {
    assert_non_null(mkdtemp(directory));
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "other-ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "stranger", &(struct cert_wish){.issuer = "other-ca"});
    certs_make(&certs, "new-node", &(struct cert_wish){.issuer = "ca"});
    certs_revoke(&certs, "ca.crl", "ca", "node");
    own_tls = load("node.key", "node.crt", "ca.crt", NULL);
    other_tls = load("stranger.key", "stranger.crt", "other-ca.crt", NULL);
    new_tls = load("new-node.key", "new-node.crt", "ca.crt", NULL);
    strict_tls = load("new-node.key", "new-node.crt", "ca.crt", "ca.crl");
    return 0;
}

static int clean(void **state) {
    static const char *const names[] = {"a", "b", "c", "x"};
    for (size_t i = 0; i < 4; i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s/%s/gvwstate.dat", directory, names[i]);
        unlink(path);
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        rmdir(path);
    }
    rmdir(directory);
    tls_context_unref(own_tls);
    tls_context_unref(other_tls);
    tls_context_unref(new_tls);
    tls_context_unref(strict_tls);
    certs_clean(&certs);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_of_three), cmocka_unit_test(test_isolation), cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_refused_starts), cmocka_unit_test(test_tls_swap),  cmocka_unit_test(test_restore),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_renewal),   cmocka_unit_test(test_revoked_member),
        cmocka_unit_test(test_wrong_group),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
