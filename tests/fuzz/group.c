/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole stack: three nodes on the simulator's network, one of which gets the real messages of the others with
 * changes, as from a member that has gone mad. So the changes reach every layer in every state it really has.
 */
#include "fuzz.h"
#include "sim/stack.h"

#include <stdlib.h>

enum op { OP_RUN, OP_CHANGE, OP_SUBMIT, OP_CALL, OP_FAULT, OP_COUNT };
enum { ARG_SKIP = 0x0f, ARG_CUT = 0x10, ARG_TWICE = 0x20 }; /* of OP_CHANGE: messages let through before; cut; repeat */

#define NODES 3
#define BUFFER_MAX (1 << 20)
#define SUBMISSIONS_MAX 32

struct world;

struct node {
    struct world *world;
    struct stack stack;
    size_t buffers;
};

struct submission {
    struct gcs_submission gcs;
    struct node *node;
    struct iovec part;
    uint8_t bytes[3000];
    bool is_pending;
};

struct world {
    struct net *net;
    struct xb_random random;
    struct node nodes[NODES];
    struct submission submissions[SUBMISSIONS_MAX];
    /* The change to come. */
    bool is_armed;
    unsigned skip;
    uint8_t arg;
    uint8_t change[64];
    size_t change_size;
};

static int index_of(const struct node *node) {
    return (int)(node - node->world->nodes);
}

static int64_t now(const struct node *node) {
    return stack_now(&node->stack);
}

/* ---- what the stack calls */

static void *on_alloc(void *ctx, size_t size) {
    struct node *node = ctx;
    if (size > BUFFER_MAX) return NULL;
    node->buffers++;
    return malloc(size);
}

static void on_free(void *ctx, void *buf) {
    struct node *node = ctx;
    node->buffers--;
    free(buf);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    if (action->buf) on_free(ctx, action->buf);
}

static int64_t on_cached(void *ctx) {
    return 1;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {}

static void on_done(struct gcs_submission *gcs, int result, const struct gcs_action *action) {
    struct submission *submission = gcs->ctx;
    fuzz_require(submission->is_pending);
    submission->is_pending = false;
    if (action && action->buf) on_free(submission->node, action->buf);
}

/* ---- what comes from the network */

/* Three bytes a change: where, what. Values of "what" above 0xf0 spread over more bytes. */
static void change(struct world *world, uint8_t *body, size_t size) {
    for (size_t at = 0; at + 3 <= world->change_size; at += 3) {
        size_t place = (world->change[at] | (size_t)world->change[at + 1] << 8) % size;
        uint8_t what = world->change[at + 2];
        size_t width = what > 0xf0 ? what & 0x0f : 1;
        for (size_t i = place; i < size && i < place + width; i++) body[i] = width == 1 ? body[i] ^ what : 0xff;
    }
}

static void on_received(void *ctx, gmcast_conn conn, const uint8_t *body, size_t size) {
    struct node *node = ctx;
    struct world *world = node->world;
    struct group *group = node->stack.group;
    if (index_of(node) != 0 || !world->is_armed || world->skip-- > 0) {
        group_received(group, conn, body, size, now(node));
        return;
    }
    world->is_armed = false;
    uint8_t *copy = fuzz_copy(body, size);
    change(world, copy, size);
    if (world->arg & ARG_CUT) {
        size_t cut = world->change_size > 2 ? world->change[0] % size + 1 : size;
        uint8_t *shorter = fuzz_copy(copy, cut);
        free(copy);
        copy = shorter;
        size = cut;
    }
    group_received(group, conn, copy, size, now(node));
    if (world->arg & ARG_TWICE && !node->stack.has_left) group_received(group, conn, copy, size, now(node));
    free(copy);
}

/* ---- running */

static void stop(struct node *node, bool is_silent) {
    stack_stop(&node->stack, is_silent);
    fuzz_require(node->buffers == 0);
}

static void start(struct node *node, bool is_bootstrap) {
    fuzz_require(node->buffers == 0);
    stack_start(&node->stack, is_bootstrap);
}

static void run_for(struct world *world, int64_t duration_ns) {
    int64_t end_ns = net_now(world->net) + duration_ns;
    for (int events = 0; net_step(world->net, end_ns); events++) fuzz_require(events < 2000000);
}

static void submit(struct world *world, struct node *node, enum gcs_action_type type, size_t size, uint8_t salt) {
    struct submission *submission = NULL;
    for (size_t i = 0; i < SUBMISSIONS_MAX && !submission; i++)
        if (!world->submissions[i].is_pending) submission = &world->submissions[i];
    if (!submission || !node->stack.group) return;
    *submission = (struct submission){.node = node, .is_pending = true};
    memset(submission->bytes, type == GCS_STATE_REQ ? 0 : salt, sizeof(submission->bytes));
    submission->part = (struct iovec){submission->bytes, size < 1 ? 1 : size};
    submission->gcs = (struct gcs_submission){
        .type = type, .parts = &submission->part, .part_count = 1, .done = on_done, .ctx = submission};
    gcs_submit(group_gcs(node->stack.group), &submission->gcs, now(node));
    stack_settle(&node->stack);
}

static void join(struct node *node) {
    struct gcs_status status;
    if (!node->stack.group) return;
    gcs_get_status(group_gcs(node->stack.group), &status, now(node));
    gcs_join(group_gcs(node->stack.group), &status.group_uuid, status.seqno, 0, now(node));
    stack_settle(&node->stack);
}

static void begin(struct world *world) {
    *world = (struct world){0};
    xb_random_seed(&world->random, 1);
    world->net = net_new(&world->random);
    for (int i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->world = world;
        node->stack = (struct stack){.net = world->net, .host = i, .host_count = NODES, .receive = on_received};
        node->stack.up = (struct gcs_up){node, on_alloc, on_free, on_action, on_cached, on_causal};
        xb_random_seed(&node->stack.random, (uint64_t)i + 1);
        for (int to = 0; to < NODES; to++) net_set_delay(world->net, i, to, XB_MS / 10, XB_MS / 5);
    }
    start(&world->nodes[0], true);
    for (int i = 1; i < NODES; i++) {
        start(&world->nodes[i], false);
        run_for(world, 2 * XB_SECOND);
        submit(world, &world->nodes[i], GCS_STATE_REQ, 28, 0);
        run_for(world, 50 * XB_MS);
        join(&world->nodes[0]);
        join(&world->nodes[i]);
        run_for(world, 50 * XB_MS);
    }
    struct gcs_status status;
    gcs_get_status(group_gcs(world->nodes[0].stack.group), &status, net_now(world->net));
    fuzz_require(status.member_count == NODES && status.group_state == GCS_PRIMARY);
}

static void end(struct world *world) {
    for (int i = 0; i < NODES; i++) stop(&world->nodes[i], false);
    net_free(world->net);
    for (size_t i = 0; i < SUBMISSIONS_MAX; i++) fuzz_require(!world->submissions[i].is_pending);
}

/* ---- steps */

static void call(struct world *world, struct node *node, uint8_t kind, const struct fuzz_steps *step) {
    if (!node->stack.group) return;
    struct gcs *gcs = group_gcs(node->stack.group);
    struct gcs_status status;
    gcs_get_status(gcs, &status, now(node));
    switch (kind) {
    case 0:
        join(node);
        return;
    case 1:
        gcs_report_last_applied(gcs, &status.group_uuid, status.seqno, now(node));
        break;
    case 2:
        gcs_vote(gcs, &status.group_uuid, status.seqno, (int64_t)fuzz_number(step, 0, 8), "no", 2, now(node));
        break;
    case 3:
        gcs_causal(gcs, world, now(node));
        break;
    case 4:
        gcs_set_queue_length(gcs, (int64_t)fuzz_number(step, 0, 2), 0, false, now(node));
        break;
    case 5:
        pc_set_weight(group_pc(node->stack.group), (int)fuzz_number(step, 0, 1), now(node));
        break;
    case 6:
        pc_bootstrap(group_pc(node->stack.group), now(node));
        break;
    case 7:
        group_leave(node->stack.group, now(node));
        break;
    }
    stack_settle(&node->stack);
}

static void fault(struct world *world, struct node *node, uint8_t kind) {
    int other = (index_of(node) + 1) % NODES;
    switch (kind) {
    case 0:
        if (index_of(node)) stop(node, false);
        break;
    case 1:
        if (index_of(node)) stop(node, true);
        break;
    case 2:
        if (!node->stack.group) start(node, false);
        break;
    case 3:
        net_reset(world->net, index_of(node), other);
        break;
    case 4:
        net_cut(world->net, index_of(node), other, true);
        break;
    case 5:
        net_cut(world->net, index_of(node), other, false);
        break;
    }
}

static void act(struct world *world, const struct fuzz_steps *step) {
    struct node *node = &world->nodes[step->arg % NODES];
    switch (step->op % OP_COUNT) {
    case OP_RUN:
        run_for(world, (int64_t)(fuzz_number(step, 0, 2) % 4096 + 1) * XB_MS);
        break;
    case OP_CHANGE:
        world->is_armed = true;
        world->skip = step->arg & ARG_SKIP;
        world->arg = step->arg;
        world->change_size = step->size < sizeof(world->change) ? step->size : sizeof(world->change);
        memcpy(world->change, step->data, world->change_size);
        break;
    case OP_SUBMIT:
        submit(world, node, step->arg & 0x80 ? GCS_STATE_REQ : GCS_WRITESET, step->arg & 0x40 ? 2900 : step->size % 200,
               step->arg);
        break;
    case OP_CALL:
        call(world, node, step->arg >> 4 & 7, step);
        break;
    case OP_FAULT:
        fault(world, node, step->arg >> 4 & 7);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct world world;
    begin(&world);
    struct fuzz_steps step = fuzz_steps_init(data, size);
    for (int count = 0; fuzz_next(&step); count++)
        if (count < 40) act(&world, &step);
    run_for(&world, XB_SECOND);
    end(&world);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct fuzz_seed seed;
    struct xb_random random;
    xb_random_seed(&random, 7);
    for (unsigned n = 0; n < 200; n++) {
        seed.size = 0;
        if (n % 2) fuzz_add(&seed, OP_FAULT, (uint8_t)(1 + n % 6 * 16 + n % 2), NULL, 0);
        for (unsigned i = 0; i < 4; i++) {
            uint8_t bytes[12];
            xb_random_bytes(&random, bytes, sizeof(bytes));
            for (size_t at = 0; at < sizeof(bytes); at += 3) bytes[at + 1] = 0; /* headers are what counts */
            bytes[0] %= 120;
            fuzz_add(&seed, OP_CHANGE, (uint8_t)(n + i * 5), bytes, 3 * (1 + n % 4));
            fuzz_add(&seed, OP_SUBMIT, (uint8_t)(n * 7 + i), bytes, sizeof(bytes));
            fuzz_add(&seed, OP_CALL, (uint8_t)((n + i) * 16 + i), bytes, 8);
            fuzz_add(&seed, OP_RUN, 0, (uint8_t[]){(uint8_t)(n * 3), i == 3 ? 16 : 0}, 2);
        }
        fuzz_add(&seed, OP_FAULT, (uint8_t)(0x20 + 1 + n % 2), NULL, 0);
        fuzz_add(&seed, OP_RUN, 0, (uint8_t[]){0xff, 31}, 2);
        take(ctx, seed.bytes, seed.size);
    }
}
