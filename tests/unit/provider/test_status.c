/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status variables of the provider: what a reset takes back and what not, what is shown on demand. */
#include "group.h"

#include "base/buf.h"
#include "datagram/datagram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static double number(struct fake_server *s, const char *name) {
    char *text = fake_stat_text(s, name);
    double value = strtod(text, NULL);
    assert_true(text[0] != 0);
    free(text);
    return value;
}

/* The second node applies slowly, so that it stops the first one. */
static void test_reset(void **state) {
    static const char *const taken_back[] = {"cert_deps_distance", "cert_interval",        "apply_window",
                                             "commit_window",      "local_recv_queue_max", "local_recv_queue_avg",
                                             "flow_control_sent",  "flow_control_recv",    "flow_control_paused"};
    static const char *const kept[] = {"received", "received_bytes", "flow_control_paused_ns", "last_committed"};
    double before[sizeof(kept) / sizeof(kept[0])];
    struct client clients[4];
    (void)state;
    start_nodes(2);
    struct abi_table *t = &nodes[1].t;
    nodes[1].apply_us = 2000;
    assert_int_equal(t->options_set(t, "gcs.fc_limit=2"), 0);
    for (unsigned i = 0; i < 4; i++) start_client(&clients[i], &nodes[0], i + 1, 100, FAKE_ROWS);
    run_clients(clients, 4);
    assert_equal_nodes(2);
    for (size_t i = 0; i < sizeof(taken_back) / sizeof(taken_back[0]); i++)
        if (number(&nodes[1], taken_back[i]) <= 0) fail_msg("%s has not grown", taken_back[i]);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) before[i] = number(&nodes[1], kept[i]);
    t->stats_reset(t);
    for (size_t i = 0; i < sizeof(taken_back) / sizeof(taken_back[0]); i++)
        if (number(&nodes[1], taken_back[i]) != 0) fail_msg("%s is not taken back", taken_back[i]);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        assert_true(before[i] > 0);
        if (number(&nodes[1], kept[i]) < before[i]) fail_msg("%s is taken back", kept[i]);
    }
    stop_nodes(2);
}

static bool is_shown(struct fake_server *s, const char *name) {
    char *text = fake_stat_text(s, name);
    bool is = text[0] != 0;
    free(text);
    return is;
}

/* Those of the group layers ascend by name. */
static void assert_ascending(struct fake_server *s) {
    struct abi_stats_var *stats = s->t.stats_get(&s->t), *v = stats;
    while (strcmp(v->name, "cluster_weight")) v++;
    for (; strcmp(v->name, "gmcast_segment"); v++) assert_true(strcmp(v[0].name, v[1].name) < 0);
    s->t.stats_free(&s->t, stats);
}

static void test_details_of_evs(void **state) {
    static const char *const names[] = {"evs_causal_hs",     "evs_deliv_safe", "evs_outq_avg",      "evs_recovered",
                                        "evs_retransmitted", "evs_safe_hs",    "evs_sent_delegate", "evs_sent_gap",
                                        "evs_sent_install",  "evs_sent_join",  "evs_sent_leave",    "evs_sent_user"};
    struct client client;
    struct abi_gtid reached;
    (void)state;
    start_nodes(2);
    struct fake_server *s = &nodes[0];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) assert_false(is_shown(s, names[i]));
    assert_int_equal(s->t.options_set(&s->t, "evs.info_log_mask=0x4"), 0);
    start_client(&client, s, 1, 50, FAKE_ROWS);
    run_clients(&client, 1);
    assert_int_equal(s->t.sync_wait(&s->t, NULL, 30, &reached), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!is_shown(s, names[i])) fail_msg("%s is not shown", names[i]);
    assert_ascending(s);
    assert_true(number(s, "evs_deliv_safe") >= 50);
    assert_true(number(s, "evs_sent_user") >= 50);
    assert_true(number(s, "evs_sent_gap") > 0 && number(s, "evs_sent_join") > 0);
    assert_true(number(s, "evs_sent_install") + number(&nodes[0], "evs_sent_install") > 0);
    assert_int_equal(s->t.options_set(&s->t, "evs.info_log_mask=0x3"), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) assert_false(is_shown(s, names[i]));
    stop_nodes(2);
}

/* Who holds up delivery: the other members of the view, by the UUID that each shows of itself. */
static void test_lag_of_members(void **state) {
    (void)state;
    start_nodes(2);
    char *lag = fake_stat_text(&nodes[0], "peers_lag"), *uuid = fake_stat_text(&nodes[1], "gcomm_uuid");
    assert_int_equal(strncmp(lag, uuid, 36), 0);
    assert_true(lag[36] == '|' && strtoll(lag + 37, NULL, 10) >= 0);
    assert_string_equal(strrchr(lag, '|'), "|alive");
    assert_int_equal(fake_stat(&nodes[0], "peers_dropped"), 0);
    free(lag);
    free(uuid);
    fake_stop(&nodes[1]);
    assert_true(fake_wait_view(&nodes[0], true, 1, 200));
    assert_false(is_shown(&nodes[0], "peers_lag"));
    fake_stop(&nodes[0]);
    for (int i = 0; i < 2; i++) fake_destroy(&nodes[i]);
}

/* A stranger whose datagrams are whole, and no gmcast. */
static void test_strangers_are_counted(void **state) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)group_port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    uint8_t noise[64] = "no message", byte;
    (void)state;
    start_nodes(1);
    struct fake_server *s = &nodes[0];
    assert_int_equal(number(s, "peers_violations"), 0);
    for (int i = 1; i <= 3; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
        struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, sizeof(noise));
        memcpy(xb_buf_data(buf), noise, sizeof(noise));
        datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
        assert_int_equal(send(fd, xb_buf_data(buf), buf->size, MSG_NOSIGNAL), (ssize_t)buf->size);
        xb_buf_unref(buf);
        while (recv(fd, &byte, 1, 0) > 0) {
        } /* its greeting, then the end */
        close(fd);
        assert_int_equal(number(s, "peers_violations"), i);
    }
    assert_int_equal(number(s, "peers_refused"), 0);
    assert_int_equal(number(s, "peers_foreign"), 0);
    stop_nodes(1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_strangers_are_counted),
        cmocka_unit_test(test_details_of_evs),
        cmocka_unit_test(test_lag_of_members),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
