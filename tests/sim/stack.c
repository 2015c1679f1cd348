/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process that is nothing but its group stack; stack.h. */
#include "sim/stack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_ROUNDS_MAX 5000 /* beyond it the stack would never come to rest */

static void require(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "stack: %s\n", what);
    abort();
}

int64_t stack_now(const struct stack *stack) {
    return net_now(stack->net);
}

static void on_left(void *ctx, int code, const struct xb_error *error) {
    struct stack *stack = ctx;
    require(!stack->has_left, "the membership ends twice");
    require(code == 0 || error->text[0], "the membership ends without a reason");
    stack->has_left = true;
    stack->left_code = code;
}

/* ---- what the network calls ---- */

static void on_accepted(void *ctx, gmcast_conn conn, const char *host) {
    struct stack *stack = ctx;
    group_accepted(stack->group, conn, host, stack_now(stack));
}

static void on_connected(void *ctx, gmcast_conn conn) {
    struct stack *stack = ctx;
    if (!stack->has_left) group_connected(stack->group, conn, stack_now(stack));
}

static void on_received(void *ctx, gmcast_conn conn, const uint8_t *body, size_t size) {
    struct stack *stack = ctx;
    if (stack->has_left) return;
    if (stack->receive)
        stack->receive(stack->up.ctx, conn, body, size);
    else
        group_received(stack->group, conn, body, size, stack_now(stack));
}

static void on_lost(void *ctx, gmcast_conn conn, int reason) {
    struct stack *stack = ctx;
    if (!stack->has_left) group_lost(stack->group, conn, reason, stack_now(stack));
}

static void on_settle(void *ctx) {
    stack_settle(ctx);
}

/* ---- life ---- */

static void on_tick(void *ctx, uint64_t arg) {
    struct stack *stack = ctx;
    (void)arg;
    if (!stack->group || stack->tick_ns != stack_now(stack)) return;
    stack->tick_ns = XB_NEVER;
    stack_settle(stack);
}

void stack_settle(struct stack *stack) {
    if (!stack->group || stack->is_settling) return;
    int64_t now_ns = stack_now(stack), next_ns = now_ns;
    stack->is_settling = true;
    for (int rounds = 0; next_ns <= now_ns; rounds++) {
        require(rounds < SETTLE_ROUNDS_MAX, "it does not come to rest");
        next_ns = group_tick(stack->group, now_ns, STACK_CALENDAR_NS + now_ns);
    }
    stack->is_settling = false;
    if (stack->has_left) {
        stack_stop(stack, false);
    } else if (next_ns < stack->tick_ns) {
        stack->tick_ns = next_ns;
        net_at(stack->net, next_ns, on_tick, stack, 0);
    }
}

void stack_stop(struct stack *stack, bool is_silent) {
    if (!stack->group) return;
    net_down(stack->net, stack->host, is_silent);
    group_free(stack->group);
    stack->group = NULL;
}

static struct group_config make_config(struct stack *stack, bool is_bootstrap, const char *name, const char *address) {
    int64_t calendar_ns = STACK_CALENDAR_NS + stack_now(stack);
    struct group_config config = {
        .is_bootstrap = is_bootstrap, .announce_timeout_ns = 3 * XB_SECOND, .linger_ns = STACK_LINGER_NS};
    config.gmcast = (struct gmcast_config){.uuid = xb_uuid_new(calendar_ns, &stack->random),
                                           .group = "stacks",
                                           .checksum = DATAGRAM_CHECKSUM_CRC32C,
                                           .peer_timeout_ns = 3 * XB_SECOND,
                                           .time_wait_ns = 5 * XB_SECOND,
                                           .max_initial_reconnect_attempts = INT32_MAX};
    strcpy(config.gmcast.listen_address, address);
    evs_options_default(&config.evs);
    pc_options_default(&config.pc);
    config.pc.checksum = false; /* or every message that a fuzzer changes would end there */
    config.gcs = (struct gcs_config){
        .name = name, .incoming = address, .repl_version_max = 11, .appl_version_max = 4, .seqno = -1};
    gcs_options_default(&config.gcs.options);
    return config;
}

void stack_start(struct stack *stack, bool is_bootstrap) {
    char address[NET_ADDRESS_SIZE], others[NET_HOSTS_MAX][NET_ADDRESS_SIZE], name[16];
    const char *peers[NET_HOSTS_MAX];
    size_t count = 0;
    snprintf(name, sizeof(name), "n%d", stack->host);
    struct group_config config = make_config(stack, is_bootstrap, name, net_address(stack->host, address));
    struct gmcast_io io = net_io(stack->net, stack->host);
    struct group_up group_up = {.ctx = stack, .left = on_left};
    int64_t now_ns = stack_now(stack);
    stack->has_left = stack->is_settling = false;
    stack->tick_ns = XB_NEVER;
    stack->group = group_new(&config, &io, &stack->up, &group_up, &stack->random, NULL, now_ns);
    require(stack->group != NULL, "no memory");
    struct net_process process = {stack, on_accepted, on_connected, on_received, on_lost, on_settle};
    net_up(stack->net, stack->host, &process);
    for (int i = 0; i < stack->host_count && !is_bootstrap; i++)
        if (i != stack->host) peers[count++] = net_address(i, others[i]);
    group_start(stack->group, peers, count, now_ns, STACK_CALENDAR_NS + now_ns);
    stack_settle(stack);
}
