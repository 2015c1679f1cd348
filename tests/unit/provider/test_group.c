/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Groups of make-believe servers in one process, through the provider interface, over real sockets. */
#include "cutter.h"
#include "engine.h"
#include "fake_server.h"
#include "rogue.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE_PORT 28600
#define NODES 3

static char root[64];
static struct fake_server nodes[NODES];
static char addresses[128];

static int setup_all(void **state) {
    (void)state;
    snprintf(root, sizeof(root), "/tmp/xb_group_XXXXXX");
    if (!mkdtemp(root)) return -1;
    for (int i = 0; i < NODES; i++) {
        char one[32];
        snprintf(one, sizeof(one), "%s127.0.0.1:%d", i ? "," : "", BASE_PORT + i * 10);
        strcat(addresses, one);
    }
    return 0;
}

static int teardown_all(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void init_node(int i) {
    static int round;
    char dir[96];
    snprintf(dir, sizeof(dir), "%s/%d-%d", root, round++, i);
    assert_int_equal(mkdir(dir, 0700), 0);
    fake_init(&nodes[i], i, BASE_PORT + i * 10, dir);
}

static void init_nodes(int count) {
    for (int i = 0; i < count; i++) init_node(i);
}

static void start_nodes(int count) {
    init_nodes(count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? addresses : "", i == 0, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
}

static void stop_nodes(int count) {
    for (int i = count - 1; i >= 0; i--) fake_stop(&nodes[i]);
    for (int i = 0; i < count; i++) fake_destroy(&nodes[i]);
}

static void assert_equal_nodes(int count) {
    int64_t last = 0;
    for (int i = 0; i < count; i++)
        if (fake_last_committed(&nodes[i]) > last) last = fake_last_committed(&nodes[i]);
    for (int i = 0; i < count; i++) {
        struct abi_gtid reached;
        assert_int_equal(nodes[i].t.sync_wait(&nodes[i].t, NULL, 30, &reached), 0);
        fake_wait_position(&nodes[i], last);
        fake_check_seen(&nodes[i]);
    }
    for (int i = 1; i < count; i++) {
        assert_memory_equal(nodes[0].rows, nodes[i].rows, sizeof(nodes[0].rows));
        assert_int_equal(nodes[0].history_hash, nodes[i].history_hash);
    }
}

/* ---- load ---- */

struct client {
    struct fake_server *server;
    unsigned seed;
    int transactions, span, first;
    bool is_streaming;
    _Atomic(bool) *is_over;
    int64_t done, refused;
    pthread_t thread;
};

static void *run_client(void *arg) {
    struct client *client = arg;
    for (int i = 0; client->is_over ? !atomic_load(client->is_over) : i < client->transactions; i++) {
        int count = 1 + (int)((unsigned)rand_r(&client->seed) % FAKE_TRX_ROWS);
        int row = client->first + (int)((unsigned)rand_r(&client->seed) % (unsigned)(client->span - count));
        int kind = rand_r(&client->seed) % 8, rc;
        if (client->is_streaming && kind < 4)
            rc = fake_stream(client->server, &client->seed, row, count, i % 100, kind == 0);
        else
            rc = fake_add(client->server, &client->seed, row, count, i % 100);
        if (rc == 0) client->done++;
        if (rc == 1047) client->refused++;
    }
    return NULL;
}

static void start_client(struct client *client, struct fake_server *server, unsigned seed, int transactions, int span) {
    *client = (struct client){.server = server, .seed = seed, .transactions = transactions, .span = span};
}

static void run_clients(struct client *clients, int count) {
    for (int i = 0; i < count; i++) pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    for (int i = 0; i < count; i++) pthread_join(clients[i].thread, NULL);
}

/* ---- one node ---- */

static void test_a_node_alone(void **state) {
    struct client clients[4];
    (void)state;
    start_nodes(1);
    struct fake_server *s = &nodes[0];
    assert_int_equal(fake_last_committed(s), 1);
    for (unsigned i = 0; i < 4; i++) start_client(&clients[i], s, i + 1, 200, FAKE_ROWS);
    run_clients(clients, 4);
    assert_equal_nodes(1);
    assert_int_equal(fake_stat(s, "local_commits"), 800);
    assert_int_equal(fake_stat(s, "open_transactions"), 0);
    assert_int_equal(fake_stat(s, "local_state"), 4);
    assert_int_equal(fake_last_committed(s), 801);
    assert_int_equal(fake_toi(s, 7, -1), 0);
    assert_int_equal(fake_stat(s, "open_connections"), 0);
    stop_nodes(1);
}

/* A node that is in no group has no position to pause at: any other negative number would look like one. */
static void test_pausing_without_a_group(void **state) {
    (void)state;
    start_nodes(1);
    fake_disconnect(&nodes[0]);
    assert_int_equal(nodes[0].t.pause(&nodes[0].t), -1);
    fake_stop(&nodes[0]);
    fake_destroy(&nodes[0]);
}

static void test_pausing_and_desync(void **state) {
    struct client client;
    (void)state;
    start_nodes(1);
    struct fake_server *s = &nodes[0];
    start_client(&client, s, 5, 300, FAKE_ROWS);
    pthread_create(&client.thread, NULL, run_client, &client);
    for (int i = 0; i < 20; i++) {
        int64_t seqno = s->t.pause(&s->t);
        assert_true(seqno >= 1);
        assert_int_equal(fake_last_committed(s), seqno);
        for (int k = 0; k < 50; k++) sched_yield();
        assert_int_equal(fake_last_committed(s), seqno);
        assert_int_equal(s->t.resume(&s->t), 0);
    }
    assert_int_equal(s->t.resume(&s->t), 0); /* not paused: a warning */
    pthread_join(client.thread, NULL);
    assert_int_equal(s->t.desync(&s->t), 0);
    assert_int_equal(fake_stat(s, "local_state"), 2);
    assert_int_equal(s->t.desync(&s->t), 0); /* nests */
    assert_int_equal(fake_stat(s, "desync_count"), 2);
    assert_int_equal(s->t.resync(&s->t), 0);
    assert_int_equal(fake_stat(s, "local_state"), 2);
    s->is_synced = false;
    assert_int_equal(s->t.resync(&s->t), 0);
    assert_true(fake_wait_synced(s, 200));
    assert_int_equal(fake_stat(s, "local_state"), 4);
    stop_nodes(1);
}

static void test_fixed_answers_and_odd_calls(void **state) {
    (void)state;
    start_nodes(1);
    struct fake_server *s = &nodes[0];
    struct abi_table *t = &s->t;
    struct abi_ws_handle none = {UINT64_MAX, NULL}, unknown = {4711, NULL};
    struct abi_trx_meta meta = {.gtid = {{{0}}, -1}, .stid = {{{0}}, UINT64_MAX, UINT64_MAX}, .depends_on = -1};
    struct abi_buf error = {NULL, 0};
    struct abi_gtid gtid = {{{1}}, 5};
    int64_t victim = 7;
    assert_int_equal(t->release(t, &none), 0);
    assert_int_equal(t->release(t, &unknown), 0);
    assert_int_equal(t->certify(t, 1, &unknown, 0x41, &meta), 0);
    assert_int_equal(meta.gtid.seqno, -1);
    assert_int_equal(t->abort_certification(t, 5, 4711, &victim), 0);
    assert_int_equal(victim, -1);
    assert_int_equal(t->to_execute_end(t, 99, &error), 6);
    assert_int_equal(t->commit_order_enter(t, &unknown, &meta), 2);
    assert_int_equal(t->sync_wait(t, &gtid, 1, NULL), 2); /* another history */
    assert_int_equal(t->sst_sent(t, &gtid, 0), 6);
    assert_int_equal(t->sst_received(t, &gtid, NULL, 0), 6);
    assert_int_equal(t->enc_set_key(t, NULL), 9);
    assert_int_equal(t->snapshot(t, NULL, NULL), 9);
    assert_int_equal(t->lock(t, "x", false, 1, 0), 9);
    assert_int_equal(t->unlock(t, "x", 1), 0);
    assert_false(t->is_locked(t, "x", NULL, NULL));
    assert_int_equal(t->free_connection(t, 1), 0);
    assert_int_equal(t->connect(t, "fake", "gcomm://", "", true), 7); /* is connected */
    t->stats_reset(t);
    stop_nodes(1);
}

static pthread_mutex_t server_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(int) lookups;

/* As the server's does: its thread for the lookup needs a lock that statements hold as well. */
static int look_up(void *ctx, int key_kind, const struct abi_buf *value) {
    (void)ctx;
    (void)key_kind;
    CHECK(value->len == strlen("127.0.0.1") && memcmp(value->ptr, "127.0.0.1", value->len) == 0);
    atomic_fetch_add(&lookups, 1);
    pthread_mutex_lock(&server_lock);
    pthread_mutex_unlock(&server_lock);
    return 0;
}

/* An option is set with the server's lock held while the group thread wants to know about a host. */
static void test_the_allowlist_does_not_hang_a_statement(void **state) {
    struct abi_allowlist_v1 service = {look_up, NULL};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(BASE_PORT), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    (void)state;
    assert_int_equal(wsrep_init_allowlist_service_v1(&service), 0);
    start_nodes(2); /* the second is looked up and let in */
    int before = atomic_load(&lookups), fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(before > 0);
    atomic_store(&fake_wanted_line, "IP 127.0.0.1 not looked up in the allowlist: the server has not answered");
    pthread_mutex_lock(&server_lock);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    while (atomic_load(&lookups) == before) sched_yield();
    assert_int_equal(nodes[0].t.options_set(&nodes[0].t, "evs.send_window=5;evs.user_send_window=3"), 0);
    assert_int_equal(atomic_load(&fake_wanted_lines), 1); /* and is not called a stranger */
    pthread_mutex_unlock(&server_lock);
    atomic_store(&fake_wanted_line, NULL);
    close(fd);
    stop_nodes(2);
    wsrep_deinit_allowlist_service_v1();
}

static void test_options(void **state) {
    (void)state;
    start_nodes(1);
    struct abi_table *t = &nodes[0].t;
    char *before = t->options_get(t);
    assert_non_null(strstr(before, "repl.max_ws_size = 2147483647; "));
    assert_int_equal(t->options_set(t, before), 0); /* a saved string can be restored */
    assert_int_equal(t->options_set(t, NULL), 0);
    assert_int_equal(t->options_set(t, " ; ;"), 0);
    assert_int_equal(t->options_set(t, "a=1"), 7);
    assert_int_equal(t->options_set(t, "a"), 7);
    assert_int_equal(t->options_set(t, "gcs.fc_limit=33;no.such=1"), 7); /* all or nothing */
    char *after = t->options_get(t);
    assert_string_equal(before, after);
    free(after);
    assert_int_equal(t->options_set(t, "gcs.fc_limit=1024;evs.suspect_timeout=PT1.5S;pc.ignore_sb=true;"
                                       "repl.max_ws_size=4096;repl.key_format=flat16a;cert.log_conflicts=yes"),
                     0);
    after = t->options_get(t);
    assert_non_null(strstr(after, "gcs.fc_limit = 1K; "));
    assert_non_null(strstr(after, "evs.suspect_timeout = PT1.5S; "));
    assert_non_null(strstr(after, "repl.max_ws_size = 4096; "));
    free(after);
    assert_int_equal(t->options_set(t, before), 0);
    assert_int_equal(t->options_set(t, "socket.ssl_reload=1"), 0); /* TLS is off: nothing */
    assert_int_equal(t->options_set(t, "gcache.size=1M"), 7);
    assert_int_equal(t->options_set(t, "repl.key_format=xx"), 7);
    assert_int_equal(t->options_set(t, "evs.suspect_timeout=PT0.01S"), 7);
    free(before);
    stop_nodes(1);
}

/* A list of peers may be long: it is kept whole, and what is shown can be given back. */
static void test_a_long_value_is_kept_whole(void **state) {
    static char option[20000] = "socket.ssl_allowed_peers=", shown[20100];
    (void)state;
    start_nodes(1);
    struct abi_table *t = &nodes[0].t;
    for (int i = 0; strlen(option) < sizeof(option) - 40; i++) sprintf(option + strlen(option), "db%d.example,", i);
    char *value = strchr(option, '=') + 1;
    snprintf(shown, sizeof(shown), "socket.ssl_allowed_peers = %s; ", value);
    assert_int_equal(t->options_set(t, option), 0);
    for (int round = 0; round < 2; round++) {
        char *all = t->options_get(t);
        assert_non_null(strstr(all, shown));
        assert_int_equal(t->options_set(t, all), 0);
        free(all);
    }
    stop_nodes(1);
}

/* Of an option that must be equal on all nodes for ever, a limit that nothing could stay below, a deprecated one. */
static void test_ignored_options_are_named(void **state) {
    (void)state;
    init_nodes(1);
    assert_int_equal(fake_start(&nodes[0], "", true, "cert.max_length=100;gcs.fc_limit=0;gcs.fc_master_slave=no"), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    assert_int_equal(atomic_load(&nodes[0].log_warnings), 4); /* and of the state file that is not there yet */
    stop_nodes(1);
}

static void test_large_write_sets_are_refused(void **state) {
    (void)state;
    start_nodes(1);
    struct abi_table *t = &nodes[0].t;
    struct abi_ws_handle handle = {900001, NULL};
    struct abi_buf part = {"db", 2}, data = {calloc(1, 100000), 100000};
    struct abi_key key = {&part, 1};
    assert_int_equal(t->options_set(t, "repl.max_ws_size=4096"), 0);
    assert_int_equal(t->append_key(t, &handle, &key, 1, 3, true), 0);
    assert_int_equal(t->append_data(t, &handle, &data, 1, 0, true), 5);
    assert_int_equal(t->release(t, &handle), 0);
    assert_null(handle.opaque);
    free((void *)data.ptr);
    stop_nodes(1);
}

/* ---- three nodes ---- */

static void test_conflicts_leave_all_nodes_equal(void **state) {
    struct client clients[9];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 9; i++) start_client(&clients[i], &nodes[i % 3], i + 1, 150, 16);
    run_clients(clients, 9);
    assert_equal_nodes(3);
    int64_t commits = 0, aborts = 0, replays = 0;
    for (int i = 0; i < 3; i++) {
        commits += atomic_load(&nodes[i].commits);
        aborts += atomic_load(&nodes[i].aborts);
        replays += atomic_load(&nodes[i].replays);
        assert_int_equal(fake_stat(&nodes[i], "open_transactions"), 0);
        assert_int_equal(fake_stat(&nodes[i], "local_commits"), atomic_load(&nodes[i].commits));
    }
    print_message("commits %ld aborts %ld replays %ld\n", (long)commits, (long)aborts, (long)replays);
    assert_true(commits > 100);
    stop_nodes(3);
}

static void *run_toi(void *arg) {
    struct fake_server *s = arg;
    for (int i = 0; i < 20; i++) assert_int_equal(fake_toi(s, (uint64_t)(1000 + i), -1), 0);
    return NULL;
}

static void test_isolated_statements_among_transactions(void **state) {
    struct client clients[6];
    pthread_t tois[3];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 6; i++) {
        start_client(&clients[i], &nodes[i % 3], i + 1, 100, 32);
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (int i = 0; i < 3; i++) pthread_create(&tois[i], NULL, run_toi, &nodes[i]);
    for (int i = 0; i < 6; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 3; i++) pthread_join(tois[i], NULL);
    assert_equal_nodes(3);
    stop_nodes(3);
}

static void test_streaming(void **state) {
    struct client clients[6];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 6; i++) {
        start_client(&clients[i], &nodes[i % 3], i + 1, 100, 24);
        clients[i].is_streaming = true;
    }
    run_clients(clients, 6);
    assert_equal_nodes(3);
    for (int i = 0; i < 3; i++) assert_int_equal(fake_stat(&nodes[i], "open_transactions"), 0);
    stop_nodes(3);
}

static void test_joining_and_rejoining_under_load(void **state) {
    struct client clients[4];
    _Atomic(bool) is_over = false;
    (void)state;
    init_nodes(3);
    assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    for (unsigned i = 0; i < 4; i++) {
        start_client(&clients[i], &nodes[0], i + 1, 0, FAKE_ROWS);
        clients[i].is_over = &is_over;
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (int i = 1; i < 3; i++) { /* snapshots */
        assert_int_equal(fake_start(&nodes[i], addresses, false, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    for (int round = 0; round < 3; round++) { /* restarts: increments with a snapshot channel */
        fake_stop(&nodes[2]);
        assert_int_equal(fake_start(&nodes[2], addresses, false, ""), 0);
        assert_true(fake_wait_synced(&nodes[2], 200));
    }
    for (int round = 0; round < 3; round++) { /* reconnects of a running server: increments alone */
        fake_disconnect(&nodes[1]);
        assert_int_equal(fake_connect(&nodes[1], addresses, false), 0);
        assert_true(fake_wait_synced(&nodes[1], 200));
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 4; i++) pthread_join(clients[i].thread, NULL);
    assert_equal_nodes(3);
    print_message("seqno %ld\n", (long)fake_last_committed(&nodes[0]));
    stop_nodes(3);
}

static void test_a_partition_and_back(void **state) {
    struct client clients[6];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 6; i++) { /* those of the third node are refused most of the time, and end with the rest */
        start_client(&clients[i], &nodes[i % 3], i + 1, 3000, FAKE_ROWS);
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (int round = 0; round < 2; round++) {
        struct abi_table *t = &nodes[2].t;
        unsigned seed = 1;
        assert_int_equal(t->options_set(t, "gmcast.isolate=1"), 0);
        assert_true(fake_wait_view(&nodes[0], true, 2, 200));
        assert_true(fake_wait_view(&nodes[2], false, 1, 200));
        assert_int_equal(fake_add(&nodes[2], &seed, 3, 1, 1), 1047);
        assert_int_equal(fake_toi(&nodes[2], 5, -1), 6);
        assert_int_equal(t->sync_wait(t, NULL, 1, NULL), 3);
        assert_int_equal(t->options_set(t, "gmcast.isolate=0"), 0);
        assert_true(fake_wait_synced(&nodes[2], 200));
    }
    for (int i = 0; i < 6; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 3; i++) assert_true(fake_wait_view(&nodes[i], true, 3, 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

static void test_a_node_that_is_alone_with_its_error_leaves(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(3);
    nodes[2].poison_row = 7;
    assert_int_equal(fake_add(&nodes[0], &seed, 7, 1, 5), 0);
    assert_true(fake_wait_final(&nodes[2], 200));
    assert_int_equal(fake_stat(&nodes[2], "local_state"), 5);
    char *comment = fake_stat_text(&nodes[2], "local_state_comment");
    assert_string_equal(comment, "Inconsistent");
    free(comment);
    assert_int_equal(fake_add(&nodes[2], &seed, 1, 1, 5), 1047);
    assert_true(fake_wait_view(&nodes[0], true, 2, 200));
    assert_int_equal(fake_add(&nodes[1], &seed, 8, 1, 5), 0);
    assert_equal_nodes(2);
    fake_disconnect(&nodes[2]); /* a running server cannot take the snapshot that it would need */
    assert_int_equal(fake_connect(&nodes[2], addresses, false), 0);
    assert_true(fake_wait_final(&nodes[2], 200));
    fake_stop(&nodes[2]); /* and comes back with a snapshot */
    nodes[2].poison_row = -1;
    nodes[2].position = (struct abi_gtid){{{0}}, -1};
    assert_int_equal(fake_start(&nodes[2], addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

static void test_an_error_of_all_others_removes_the_origin(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(3);
    nodes[1].poison_row = nodes[2].poison_row = 7;
    assert_int_equal(fake_add(&nodes[0], &seed, 7, 1, 5), 0);
    assert_true(fake_wait_final(&nodes[0], 200));
    assert_int_equal(fake_stat(&nodes[0], "local_state"), 5);
    assert_true(fake_wait_view(&nodes[1], true, 2, 200));
    assert_int_equal(fake_add(&nodes[1], &seed, 8, 1, 5), 0);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[1]));
    assert_memory_equal(nodes[1].rows, nodes[2].rows, sizeof(nodes[1].rows));
    stop_nodes(3);
}

/* Whatever the server cannot do, it goes on running, and gets its final view; the others go on (spec 01 section 29). */
static void test_failing_callbacks_end_the_membership_only(void **state) {
    static const enum fake_callback callbacks[] = {FAKE_CONNECTED, FAKE_SYNCED, FAKE_SST_REQUEST};
    unsigned seed = 1;
    (void)state;
    for (size_t i = 0; i < sizeof(callbacks) / sizeof(callbacks[0]); i++) {
        init_nodes(2);
        assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
        assert_true(fake_wait_synced(&nodes[0], 200));
        atomic_store(&nodes[1].failing, callbacks[i]);
        assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0);
        assert_true(fake_wait_final(&nodes[1], 200));
        assert_int_equal(fake_stat(&nodes[1], "local_state"), 5);
        assert_int_equal(fake_add(&nodes[1], &seed, 1, 1, 5), 1047);
        assert_true(fake_wait_view(&nodes[0], true, 1, 200));
        assert_int_equal(fake_add(&nodes[0], &seed, 8, 1, 5), 0);
        fake_stop(&nodes[1]);
        assert_int_equal(nodes[1].last_recv_result, 8);
        atomic_store(&nodes[1].failing, FAKE_NONE);
        assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0);
        assert_true(fake_wait_synced(&nodes[1], 200));
        assert_equal_nodes(2);
        stop_nodes(2);
    }
}

static void test_a_view_that_the_server_cannot_take(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    init_node(2);
    atomic_store(&nodes[1].failing, FAKE_VIEW);
    assert_int_equal(fake_start(&nodes[2], addresses, false, ""), 0);
    assert_true(fake_wait_final(&nodes[1], 200));
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_true(fake_wait_view(&nodes[0], true, 2, 200));
    assert_int_equal(fake_add(&nodes[0], &seed, 8, 1, 5), 0);
    fake_stop(&nodes[1]);
    assert_int_equal(nodes[1].last_recv_result, 8);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[0]));
    assert_memory_equal(nodes[0].rows, nodes[2].rows, sizeof(nodes[0].rows));
    fake_stop(&nodes[2]);
    fake_stop(&nodes[0]);
    for (int i = 0; i < 3; i++) fake_destroy(&nodes[i]);
}

/* The joiner leaves, since its server waits for a snapshot; the donor is Synced again, and donates the next time. */
static void test_a_donor_that_cannot_donate(void **state) {
    unsigned seed = 1;
    (void)state;
    init_nodes(2);
    assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    nodes[0].is_synced = false;
    atomic_store(&nodes[0].failing, FAKE_SST_DONATE);
    assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0);
    assert_true(fake_wait_final(&nodes[1], 200));
    assert_true(fake_wait_synced(&nodes[0], 200));
    assert_int_equal(fake_add(&nodes[0], &seed, 8, 1, 5), 0);
    fake_stop(&nodes[1]);
    assert_int_equal(nodes[1].last_recv_result, 8);
    atomic_store(&nodes[0].failing, FAKE_NONE);
    assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    assert_equal_nodes(2);
    stop_nodes(2);
}

/* A member that asks to be sent the history somewhere else: refused if the donor is told to, a host may be named. */
static void test_where_a_donor_may_be_sent(void **state) {
    static const struct {
        const char *allowed;
        bool is_refused;
    } cases[] = {{"ist.donate_to=members", true}, {"ist.donate_to=members, 127.0.0.2", false}, {"", false}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        init_nodes(2);
        assert_int_equal(fake_start(&nodes[0], "", true, cases[i].allowed), 0);
        assert_true(fake_wait_synced(&nodes[0], 200));
        assert_int_equal(fake_start(&nodes[1], addresses, false, "ist.recv_addr=127.0.0.2"), 0);
        if (cases[i].is_refused) {
            assert_true(fake_wait_final(&nodes[1], 200));
            fake_stop(&nodes[1]);
            assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0); /* 127.0.0.1, where it is a member */
        }
        assert_true(fake_wait_synced(&nodes[1], 200));
        assert_equal_nodes(2);
        stop_nodes(2);
    }
}

static void *run_nbo_end(void *arg) {
    fake_nbo_end(arg, 77);
    return NULL;
}

static void test_a_statement_beside_a_non_blocking_operation(void **state) {
    unsigned seed = 1;
    pthread_t ends[3];
    (void)state;
    start_nodes(3);
    fake_nbo_begin(&nodes[0], 77);
    assert_int_equal(fake_toi(&nodes[1], 5, -1), 3);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[1]));
    assert_int_equal(fake_add(&nodes[2], &seed, 3, 1, 5), 0); /* rows are not in its way */
    assert_equal_nodes(3);
    for (int i = 0; i < 3; i++) assert_int_equal(atomic_load(&nodes[i].failed_tois), i != 1);
    for (int i = 0; i < 3; i++) pthread_create(&ends[i], NULL, run_nbo_end, &nodes[i]);
    for (int i = 0; i < 3; i++) pthread_join(ends[i], NULL);
    assert_int_equal(fake_toi(&nodes[1], 5, -1), 0);
    assert_equal_nodes(3);
    stop_nodes(3);
}

/*
 * All others write without a pause, faster than the joiner applies. Joined, it would never come to the end of its queue
 * by itself: flow control has to see to it.
 */
static void test_a_slow_joiner_catches_up_under_endless_load(void **state) {
    struct client clients[6];
    _Atomic(bool) is_over = false;
    (void)state;
    init_nodes(3);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? addresses : "", i == 0, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    for (unsigned i = 0; i < 6; i++) {
        start_client(&clients[i], &nodes[i % 2], i + 1, 0, FAKE_ROWS);
        clients[i].is_over = &is_over;
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    nodes[2].apply_us = 1000;
    assert_int_equal(fake_start(&nodes[2], addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_int_equal(fake_stat(&nodes[2], "local_state"), 4);
    atomic_store(&is_over, true);
    for (int i = 0; i < 6; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 6; i++) assert_true(clients[i].done > 0);
    assert_equal_nodes(3);
    stop_nodes(3);
}

/* What has come is applied, and the rest is asked for again, with other work going on. */
static void test_an_increment_that_breaks_is_resumed(void **state) {
    struct client client, away;
    char options[96];
    (void)state;
    start_nodes(2);
    fake_stop(&nodes[1]);
    start_client(&away, &nodes[0], 1, 3000, FAKE_ROWS);
    run_clients(&away, 1);
    int from = BASE_PORT + 60, to = BASE_PORT + 61;
    struct cutter *cutter = cutter_start(from, to, 200000);
    snprintf(options, sizeof(options), "ist.recv_addr=127.0.0.1:%d;ist.recv_bind=127.0.0.1:%d", from, to);
    start_client(&client, &nodes[0], 2, 5000, FAKE_ROWS); /* all of it fits into the history */
    pthread_create(&client.thread, NULL, run_client, &client);
    assert_int_equal(fake_start(&nodes[1], addresses, false, options), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    pthread_join(client.thread, NULL);
    assert_int_equal(cutter_stop(cutter), 2);
    assert_equal_nodes(2);
    stop_nodes(2);
}

/* The storage engine lost its last transactions in a crash, which it finds out after the request has been sent: the
 * stream begins too high, and is asked for again from where the server really is. */
static void test_a_server_that_is_further_back_than_it_said(void **state) {
    struct client away;
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    assert_int_equal(fake_add(&nodes[0], &seed, 1, 1, 5), 0);
    fake_wait_position(&nodes[1], fake_last_committed(&nodes[0]));
    nodes[1].lost_hash = nodes[1].history_hash;
    for (int i = 0; i < 5; i++) assert_int_equal(fake_add(&nodes[0], &seed, 2 + i, 1, 0), 0); /* change nothing */
    fake_wait_position(&nodes[1], fake_last_committed(&nodes[0]));
    fake_stop(&nodes[1]);
    nodes[1].lost = 5;
    start_client(&away, &nodes[0], 1, 3000, FAKE_ROWS); /* so that the index needs nothing from there */
    run_clients(&away, 1);
    assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    assert_int_equal(nodes[1].lost, 0);
    assert_equal_nodes(2);
    stop_nodes(2);
}

static int64_t saved_seqno(const struct fake_server *server) {
    char path[160], text[512] = "";
    snprintf(path, sizeof(path), "%s/grastate.dat", server->dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    const char *line = strstr(text, "seqno:");
    assert_non_null(line);
    return strtoll(line + 6, NULL, 10);
}

/* What no node can read has a place in the order of all: every one leaves, says who sent it, and keeps its position. */
static void test_a_write_set_that_nobody_can_read(void **state) {
    static const struct {
        const void *bytes;
        size_t size;
    } cases[] = {{"x", 1},
                 {"G\x63\x40\x14"
                  "a header that goes on with nonsense, for at least sixty-four bytes ....",
                  72}};
    unsigned seed = 1;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char dir[96];
        start_nodes(2);
        snprintf(dir, sizeof(dir), "%s/rogue%zu", root, i);
        assert_int_equal(mkdir(dir, 0700), 0);
        struct rogue *rogue = rogue_join(addresses, BASE_PORT + 50, dir);
        assert_int_equal(fake_add(&nodes[0], &seed, 1, 1, 5), 0);
        int64_t last = fake_last_committed(&nodes[0]);
        rogue_order(rogue, cases[i].bytes, cases[i].size);
        for (int n = 0; n < 2; n++) {
            assert_true(fake_wait_final(&nodes[n], 200));
            assert_int_equal(fake_stat(&nodes[n], "local_state"), 5);
            assert_int_equal(fake_add(&nodes[n], &seed, 1, 1, 5), 1047);
        }
        rogue_leave(rogue);
        stop_nodes(2);
        for (int n = 0; n < 2; n++) {
            assert_int_equal(nodes[n].last_recv_result, 8);
            assert_int_equal(saved_seqno(&nodes[n]), last);
        }
        assert_memory_equal(nodes[0].rows, nodes[1].rows, sizeof(nodes[0].rows));
    }
}

/* Both halves of a group were made primary by hand, and have written. The half that gives way has a position in the
 * history of the other, which never had what stands there: only a snapshot brings it back, and its running server cannot
 * take one. */
static void test_who_gives_way_to_another_primary_needs_a_snapshot(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    assert_int_equal(nodes[1].t.options_set(&nodes[1].t, "gmcast.isolate=1"), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(fake_wait_view(&nodes[i], false, 1, 200));
        assert_int_equal(nodes[i].t.options_set(&nodes[i].t, "pc.bootstrap=1"), 0);
        assert_true(fake_wait_view(&nodes[i], true, 1, 200));
        assert_int_equal(fake_add(&nodes[i], &seed, 5 + i, 1, 5), 0);
    }
    assert_int_equal(nodes[1].t.options_set(&nodes[1].t, "gmcast.isolate=0"), 0);
    while (!fake_wait_final(&nodes[0], 0) && !fake_wait_final(&nodes[1], 0)) sched_yield();
    int loser = fake_wait_final(&nodes[1], 0), winner = !loser;
    assert_int_equal(fake_stat(&nodes[loser], "local_state"), 5);
    fake_disconnect(&nodes[loser]);
    assert_int_equal(fake_connect(&nodes[loser], addresses, false), 0);
    assert_true(fake_wait_final(&nodes[loser], 200));
    fake_stop(&nodes[loser]);
    assert_int_equal(nodes[loser].last_recv_result, 8);
    assert_int_equal(saved_seqno(&nodes[loser]), -1);
    assert_int_equal(fake_add(&nodes[winner], &seed, 9, 1, 5), 0);
    assert_int_equal(fake_start(&nodes[loser], addresses, false, ""), 0); /* its server still says where it was */
    assert_true(fake_wait_synced(&nodes[loser], 200));
    assert_equal_nodes(2);
    stop_nodes(2);
}

static void test_bootstrap_is_refused_where_it_is_not_safe(void **state) {
    (void)state;
    start_nodes(2);
    fake_stop(&nodes[1]);
    fake_stop(&nodes[0]); /* the last one */
    assert_int_equal(fake_start(&nodes[1], "", true, ""), 7);
    nodes[1].t.free(&nodes[1].t);
    assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    assert_int_equal(fake_start(&nodes[1], addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    assert_equal_nodes(2);
    stop_nodes(2);
}

static void test_bad_starts(void **state) {
    (void)state;
    init_nodes(1);
    assert_int_equal(fake_start(&nodes[0], "", true, "no.such=1"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "repl.proto_max=12"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "repl.key_format=xx"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "socket.ssl=yes"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "socket.ssl_key=/nonexistent;socket.ssl_cert=/nonexistent"), 7);
    /* nobody answers: the primary view does not come */
    assert_int_equal(fake_start(&nodes[0], "127.0.0.1:28690", false, "pc.wait_prim_timeout=PT2S"), 7);
    assert_int_equal(fake_connect(&nodes[0], "", true), 0); /* the same instance can try again */
    assert_true(fake_wait_synced(&nodes[0], 200));
    stop_nodes(1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_alone),
        cmocka_unit_test(test_pausing_and_desync),
        cmocka_unit_test(test_pausing_without_a_group),
        cmocka_unit_test(test_fixed_answers_and_odd_calls),
        cmocka_unit_test(test_the_allowlist_does_not_hang_a_statement),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_a_long_value_is_kept_whole),
        cmocka_unit_test(test_ignored_options_are_named),
        cmocka_unit_test(test_large_write_sets_are_refused),
        cmocka_unit_test(test_conflicts_leave_all_nodes_equal),
        cmocka_unit_test(test_isolated_statements_among_transactions),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_joining_and_rejoining_under_load),
        cmocka_unit_test(test_a_partition_and_back),
        cmocka_unit_test(test_a_node_that_is_alone_with_its_error_leaves),
        cmocka_unit_test(test_an_error_of_all_others_removes_the_origin),
        cmocka_unit_test(test_failing_callbacks_end_the_membership_only),
        cmocka_unit_test(test_a_view_that_the_server_cannot_take),
        cmocka_unit_test(test_a_donor_that_cannot_donate),
        cmocka_unit_test(test_where_a_donor_may_be_sent),
        cmocka_unit_test(test_a_statement_beside_a_non_blocking_operation),
        cmocka_unit_test(test_a_slow_joiner_catches_up_under_endless_load),
        cmocka_unit_test(test_an_increment_that_breaks_is_resumed),
        cmocka_unit_test(test_a_server_that_is_further_back_than_it_said),
        cmocka_unit_test(test_a_write_set_that_nobody_can_read),
        cmocka_unit_test(test_who_gives_way_to_another_primary_needs_a_snapshot),
        cmocka_unit_test(test_bootstrap_is_refused_where_it_is_not_safe),
        cmocka_unit_test(test_bad_starts),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
