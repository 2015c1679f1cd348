/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One make-believe server: what it asks of the provider, and what is answered. */
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

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
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(group_port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_alone),
        cmocka_unit_test(test_pausing_and_desync),
        cmocka_unit_test(test_pausing_without_a_group),
        cmocka_unit_test(test_fixed_answers_and_odd_calls),
        cmocka_unit_test(test_the_allowlist_does_not_hang_a_statement),
        cmocka_unit_test(test_large_write_sets_are_refused),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
