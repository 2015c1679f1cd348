/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group stack of two nodes on the simulator's network: how a membership ends. */
#include "group/group.h"
#include "sim/network.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NODES 2
#define CALENDAR_NS (1700000000 * XB_SECOND)
#define LINGER_NS (20 * XB_SECOND)

struct world;

struct node {
    struct world *world;
    struct group *group;
    struct xb_random random;
    int64_t tick_ns;
    bool has_left, is_settling;
    int left_code;
    int vote_result;   /* of its own vote */
    int causal_result; /* of its last causal read */
    int vote_count, causal_count;
};

struct world {
    struct net *net;
    struct xb_random random;
    struct node nodes[NODES];
};

struct submission {
    struct gcs_submission gcs;
    struct iovec part;
    int result, done_count;
};

static int index_of(const struct node *node) {
    return (int)(node - node->world->nodes);
}

static int64_t now(const struct node *node) {
    return net_now(node->world->net);
}

/* ---- what the stack calls ---- */

static void *on_alloc(void *ctx, size_t size) {
    return malloc(size);
}

static void on_free(void *ctx, void *buf) {
    free(buf);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    struct node *node = ctx;
    if (action->is_own_vote) {
        node->vote_count++;
        node->vote_result = (int)action->code;
    }
    free(action->buf);
}

static int64_t on_cached(void *ctx) {
    return -1;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {
    struct node *node = ctx;
    node->causal_count++;
    node->causal_result = result;
}

static void on_left(void *ctx, int code, const struct xb_error *error, bool is_conflict) {
    struct node *node = ctx;
    node->has_left = true;
    node->left_code = code;
}

static void on_done(struct gcs_submission *gcs, int result, const struct gcs_action *action) {
    struct submission *submission = gcs->ctx;
    submission->done_count++;
    submission->result = result;
    if (action) free(action->buf);
}

/* ---- what the network calls ---- */

static void on_accepted(void *ctx, gmcast_conn conn, const char *host) {
    struct node *node = ctx;
    group_accepted(node->group, conn, host, now(node));
}

static void on_connected(void *ctx, gmcast_conn conn) {
    struct node *node = ctx;
    group_connected(node->group, conn, now(node));
}

static void on_received(void *ctx, gmcast_conn conn, const uint8_t *body, size_t size) {
    struct node *node = ctx;
    group_received(node->group, conn, body, size, now(node));
}

static void on_lost(void *ctx, gmcast_conn conn, int reason) {
    struct node *node = ctx;
    group_lost(node->group, conn, reason, now(node));
}

static void settle(void *ctx);

static void on_tick(void *ctx, uint64_t arg) {
    struct node *node = ctx;
    if (node->tick_ns != now(node)) return;
    node->tick_ns = XB_NEVER;
    settle(node);
}

static void settle(void *ctx) {
    struct node *node = ctx;
    if (node->is_settling || node->has_left) return;
    node->is_settling = true;
    int64_t next_ns;
    do {
        next_ns = group_tick(node->group, now(node), CALENDAR_NS + now(node));
    } while (next_ns <= now(node));
    node->is_settling = false;
    if (node->has_left) {
        net_down(node->world->net, index_of(node), false);
    } else if (next_ns < node->tick_ns) {
        node->tick_ns = next_ns;
        net_at(node->world->net, next_ns, on_tick, node, 0);
    }
}

/* ---- running ---- */

static void start(struct node *node, bool is_bootstrap) {
    int index = index_of(node);
    node->tick_ns = XB_NEVER;
    struct group_config config = {
        .is_bootstrap = is_bootstrap, .announce_timeout_ns = 3 * XB_SECOND, .linger_ns = LINGER_NS};
    char address[NET_ADDRESS_SIZE], other[NET_ADDRESS_SIZE];
    config.gmcast = (struct gmcast_config){.uuid = xb_uuid_new(CALENDAR_NS + now(node), &node->random),
                                           .group = "test",
                                           .checksum = DATAGRAM_CHECKSUM_CRC32C,
                                           .peer_timeout_ns = 3 * XB_SECOND,
                                           .time_wait_ns = 5 * XB_SECOND,
                                           .max_initial_reconnect_attempts = INT32_MAX};
    strcpy(config.gmcast.listen_address, net_address(index, address));
    evs_options_default(&config.evs);
    pc_options_default(&config.pc);
    config.gcs = (struct gcs_config){
        .name = "n", .incoming = address, .repl_version_max = 11, .appl_version_max = 4, .seqno = -1};
    gcs_options_default(&config.gcs.options);
    struct gmcast_io io = net_io(node->world->net, index);
    struct gcs_up gcs_up = {node, on_alloc, on_free, on_action, on_cached, on_causal};
    struct group_up group_up = {.ctx = node, .left = on_left};
    node->group = group_new(&config, &io, &gcs_up, &group_up, &node->random, NULL, now(node));
    assert_non_null(node->group);
    struct net_process process = {node, on_accepted, on_connected, on_received, on_lost, settle};
    net_up(node->world->net, index, &process);
    const char *peers[] = {net_address(1 - index, other)};
    group_start(node->group, peers, is_bootstrap ? 0 : 1, now(node), CALENDAR_NS + now(node));
    settle(node);
}

static void run_for(struct world *world, int64_t duration_ns) {
    int64_t end_ns = net_now(world->net) + duration_ns;
    while (net_step(world->net, end_ns)) {
    }
}

static void get_status(const struct node *node, struct gcs_status *status) {
    gcs_get_status(group_gcs(node->group), status, now(node));
}

static void submit(struct node *node, struct submission *submission) {
    static char byte = 'x';
    submission->part = (struct iovec){&byte, 1};
    submission->gcs = (struct gcs_submission){
        .type = GCS_WRITESET, .parts = &submission->part, .part_count = 1, .done = on_done, .ctx = submission};
    gcs_submit(group_gcs(node->group), &submission->gcs, now(node));
}

static void begin(struct world *world) {
    *world = (struct world){0};
    xb_random_seed(&world->random, 1);
    world->net = net_new(&world->random);
    for (int i = 0; i < NODES; i++) {
        world->nodes[i].world = world;
        xb_random_seed(&world->nodes[i].random, (uint64_t)i + 1);
        for (int to = 0; to < NODES; to++) net_set_delay(world->net, i, to, XB_MS / 10, XB_MS / 5);
    }
    start(&world->nodes[0], true);
    run_for(world, XB_SECOND);
    start(&world->nodes[1], false);
    run_for(world, 5 * XB_SECOND);
    struct gcs_status status;
    get_status(&world->nodes[0], &status);
    assert_int_equal(status.member_count, NODES);
    assert_int_equal(status.group_state, GCS_PRIMARY);
}

static void end(struct world *world) {
    for (int i = 0; i < NODES; i++) {
        if (!world->nodes[i].has_left) net_down(world->net, i, false);
        group_free(world->nodes[i].group);
    }
    net_free(world->net);
}

static void set_silence(struct world *world, bool is_silent) {
    net_cut(world->net, 0, 1, is_silent);
    net_cut(world->net, 1, 0, is_silent);
}

/* The other node is silent, so nothing is ordered and leaving takes all of the linger time. Nobody may wait for that.
 */
static void test_leave_answers_at_once(void **state) {
    struct world world;
    begin(&world);
    struct node *node = &world.nodes[0];
    struct gcs *gcs = group_gcs(node->group);
    struct gcs_status status;
    get_status(node, &status);
    struct submission sent = {0}, late = {0};
    int token;
    submit(node, &sent);
    settle(node);
    assert_int_equal(sent.done_count, 0);
    set_silence(&world, true);
    assert_int_equal(gcs_vote(gcs, &status.group_uuid, status.seqno, 0, NULL, 0, now(node)), 0);
    gcs_causal(gcs, &token, now(node));
    assert_int_equal(node->vote_count, 0);
    assert_int_equal(node->causal_count, 0);

    group_leave(node->group, now(node));
    assert_false(node->has_left);
    assert_int_equal(node->vote_count, 1);
    assert_int_equal(node->vote_result, -ECONNABORTED);
    assert_int_equal(node->causal_count, 1);
    assert_int_equal(node->causal_result, -ECONNABORTED);
    submit(node, &late);
    assert_int_equal(late.done_count, 1);
    assert_int_equal(late.result, -ECONNABORTED);
    assert_int_equal(gcs_vote(gcs, &status.group_uuid, status.seqno + 1, 0, NULL, 0, now(node)), -ECONNABORTED);
    assert_int_equal(sent.done_count, 0); /* it may still be ordered */

    run_for(&world, 2 * LINGER_NS);
    assert_true(node->has_left);
    assert_int_equal(sent.done_count, 1);
    end(&world);
}

/* What was sent before the leave is ordered, on this node too. */
static void test_leave_after_sending(void **state) {
    struct world world;
    begin(&world);
    struct node *node = &world.nodes[0];
    struct submission sent = {0};
    submit(node, &sent);
    group_leave(node->group, now(node));
    settle(node);
    run_for(&world, LINGER_NS / 2);
    assert_true(node->has_left);
    assert_int_equal(node->left_code, 0);
    assert_int_equal(sent.done_count, 1);
    assert_int_equal(sent.result, 0);
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leave_answers_at_once),
        cmocka_unit_test(test_leave_after_sending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
