/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group stack of two nodes on the simulator's network: how a membership ends. */
#include "sim/stack.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define NODES 2

struct node {
    struct stack stack;
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

static int64_t now(const struct node *node) {
    return stack_now(&node->stack);
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

static void on_done(struct gcs_submission *gcs, int result, const struct gcs_action *action) {
    struct submission *submission = gcs->ctx;
    submission->done_count++;
    submission->result = result;
    if (action) free(action->buf);
}

/* ---- running ---- */

static void run_for(struct world *world, int64_t duration_ns) {
    int64_t end_ns = net_now(world->net) + duration_ns;
    while (net_step(world->net, end_ns)) {
    }
}

static void get_status(const struct node *node, struct gcs_status *status) {
    gcs_get_status(group_gcs(node->stack.group), status, now(node));
}

static void submit(struct node *node, struct submission *submission) {
    static char byte = 'x';
    submission->part = (struct iovec){&byte, 1};
    submission->gcs = (struct gcs_submission){
        .type = GCS_WRITESET, .parts = &submission->part, .part_count = 1, .done = on_done, .ctx = submission};
    gcs_submit(group_gcs(node->stack.group), &submission->gcs, now(node));
}

static void begin(struct world *world) {
    *world = (struct world){0};
    xb_random_seed(&world->random, 1);
    world->net = net_new(&world->random);
    for (int i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->stack = (struct stack){.net = world->net, .host = i, .host_count = NODES};
        node->stack.up = (struct gcs_up){node, on_alloc, on_free, on_action, on_cached, on_causal};
        xb_random_seed(&node->stack.random, (uint64_t)i + 1);
        for (int to = 0; to < NODES; to++) net_set_delay(world->net, i, to, XB_MS / 10, XB_MS / 5);
    }
    stack_start(&world->nodes[0].stack, true);
    run_for(world, XB_SECOND);
    stack_start(&world->nodes[1].stack, false);
    run_for(world, 5 * XB_SECOND);
    struct gcs_status status;
    get_status(&world->nodes[0], &status);
    assert_int_equal(status.member_count, NODES);
    assert_int_equal(status.group_state, GCS_PRIMARY);
}

static void end(struct world *world) {
    for (int i = 0; i < NODES; i++) stack_stop(&world->nodes[i].stack, false);
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
    struct gcs *gcs = group_gcs(node->stack.group);
    struct gcs_status status;
    get_status(node, &status);
    struct submission sent = {0}, late = {0};
    int token;
    submit(node, &sent);
    stack_settle(&node->stack);
    assert_int_equal(sent.done_count, 0);
    set_silence(&world, true);
    assert_int_equal(gcs_vote(gcs, &status.group_uuid, status.seqno, 0, NULL, 0, now(node)), 0);
    gcs_causal(gcs, &token, now(node));
    assert_int_equal(node->vote_count, 0);
    assert_int_equal(node->causal_count, 0);

    group_leave(node->stack.group, now(node));
    assert_false(node->stack.has_left);
    assert_int_equal(node->vote_count, 1);
    assert_int_equal(node->vote_result, -ECONNABORTED);
    assert_int_equal(node->causal_count, 1);
    assert_int_equal(node->causal_result, -ECONNABORTED);
    submit(node, &late);
    assert_int_equal(late.done_count, 1);
    assert_int_equal(late.result, -ECONNABORTED);
    assert_int_equal(gcs_vote(gcs, &status.group_uuid, status.seqno + 1, 0, NULL, 0, now(node)), -ECONNABORTED);
    assert_int_equal(sent.done_count, 0); /* it may still be ordered */

    run_for(&world, 2 * STACK_LINGER_NS);
    assert_true(node->stack.has_left);
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
    group_leave(node->stack.group, now(node));
    stack_settle(&node->stack);
    run_for(&world, STACK_LINGER_NS / 2);
    assert_true(node->stack.has_left);
    assert_int_equal(node->stack.left_code, 0);
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
