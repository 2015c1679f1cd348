/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three nodes on one totally ordered bus. The first gets messages of every user type, as if from the second or third:
 * in the primary component, in the midst of a state exchange, and outside.
 */
#include "fuzz.h"
#include "gcs/core.h"
#include "support/vectors.h"

enum op { OP_RECEIVE, OP_RUN, OP_VIEW, OP_WAIT, OP_SUBMIT, OP_CALL, OP_COUNT };
enum { ARG_TYPE = 0x0f, ARG_SOURCE = 0x10, ARG_UUID = 0x20, ARG_STATE = 0x40, ARG_ALL = 0x80 }; /* of OP_RECEIVE */

#define NODES 3
#define LOG_MAX 1024
#define BUFFER_MAX (1 << 20) /* what the history would refuse for lack of room */
#define SUBMISSIONS_MAX 32

struct entry {
    int sender;
    uint8_t type;
    enum evs_order order;
    uint8_t *bytes;
    size_t size;
    bool is_for_all;
};

struct node {
    struct world *world;
    struct gcs *gcs;
    struct xb_uuid uuid;
    struct xb_random random;
    size_t cursor, buffers;
    bool is_over;
};

struct submission {
    struct gcs_submission gcs;
    struct node *node;
    struct iovec part;
    uint8_t *bytes;
    bool is_pending;
};

struct world {
    int64_t now_ns;
    struct node nodes[NODES];
    struct entry log[LOG_MAX];
    size_t count;
    unsigned members;
    bool is_refusing;
    struct submission submissions[SUBMISSIONS_MAX];
    size_t causal_asked, causal_answered;
};

static struct xb_uuid node_uuid(int n) {
    return (struct xb_uuid){{(uint8_t)(0x30 + n), 1, 2, 3, 4, 5, 0x11, 0xee, 0x80, (uint8_t)n}};
}

static int index_of(const struct node *node) {
    return (int)(node - node->world->nodes);
}

/* ---- what the nodes call */

static int on_submit(void *ctx, struct xb_buf *buf, uint8_t type, enum evs_order order, int64_t now_ns) {
    struct node *node = ctx;
    struct world *world = node->world;
    fuzz_require(buf->size > 0 && buf->size <= PC_PAYLOAD_MAX && buf->head >= XB_BUF_HEADROOM - 20);
    if (!(world->members >> index_of(node) & 1)) return -ENOTCONN;
    if (world->is_refusing || world->count == LOG_MAX) return -EAGAIN;
    world->log[world->count++] = (struct entry){
        index_of(node), type, order, fuzz_copy(xb_buf_data(buf), buf->size), buf->size, order != EVS_LOCAL_CAUSAL};
    xb_buf_unref(buf);
    return 0;
}

static void on_fatal(void *ctx, const struct xb_error *error) {
    struct node *node = ctx;
    fuzz_require(!node->is_over && error->code < 0 && error->text[0]);
    node->is_over = true;
}

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

static void take_action(struct node *node, const struct gcs_action *action) {
    if (action->type == GCS_CCHANGE) {
        struct gcs_cchange change;
        fuzz_require(!gcs_cchange_decode(&change, action->buf, action->size, NULL));
        gcs_cchange_clear(&change);
    }
    if (action->buf) on_free(node, action->buf);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    take_action(ctx, action);
}

static int64_t on_cached(void *ctx) {
    return 1;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {
    struct node *node = ctx;
    fuzz_require(token == node->world && (result == 0) == (group_uuid != NULL));
    node->world->causal_answered++;
}

static void on_done(struct gcs_submission *gcs, int result, const struct gcs_action *action) {
    struct submission *submission = gcs->ctx;
    fuzz_require(submission->is_pending);
    submission->is_pending = false;
    if (action) take_action(submission->node, action);
    free(submission->bytes);
}

/* ---- running */

static void run(struct world *world, int index) {
    struct node *node = &world->nodes[index];
    while (node->cursor < world->count) {
        const struct entry *entry = &world->log[node->cursor++];
        if (!(world->members >> index & 1) || (!entry->is_for_all && index && entry->sender != index)) continue;
        if (entry->order == EVS_LOCAL_CAUSAL && entry->sender != index) continue;
        struct pc_message message = {.source = world->nodes[entry->sender].uuid,
                                     .user_type = entry->type,
                                     .order = entry->order,
                                     .payload = entry->bytes,
                                     .size = entry->size};
        gcs_message(node->gcs, &message, world->now_ns);
    }
}

static void tick(struct world *world) {
    for (int i = 0; i < NODES; i++)
        for (int rounds = 0; gcs_tick(world->nodes[i].gcs, world->now_ns) <= world->now_ns; rounds++)
            fuzz_require(rounds < 1000);
}

static void run_all(struct world *world) {
    for (size_t before = SIZE_MAX; before != world->count;) {
        before = world->count;
        for (int i = 0; i < NODES; i++) run(world, i);
        tick(world);
    }
}

static void change_view(struct world *world, unsigned members, bool is_primary, bool is_bootstrap) {
    struct pc_member list[NODES];
    struct pc_view view = {
        .id = {.type = is_primary ? VIEW_PRIM : VIEW_NON_PRIM}, .is_bootstrap = is_bootstrap, .members = list};
    for (int i = 0; i < NODES; i++)
        if (members >> i & 1) list[view.member_count++].uuid = node_uuid(i);
    world->members = members;
    for (int i = 0; i < NODES; i++) {
        world->nodes[i].cursor = world->count;
        if (members >> i & 1) gcs_view(world->nodes[i].gcs, &view, world->now_ns, 1700000000 * XB_SECOND);
    }
}

static void begin(struct world *world, uint8_t mode) {
    *world = (struct world){.now_ns = XB_SECOND};
    for (int i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        *node = (struct node){.world = world, .uuid = node_uuid(i)};
        xb_random_seed(&node->random, (uint64_t)i + 1);
        struct gcs_config config = {.uuid = node->uuid,
                                    .name = "node",
                                    .incoming = "10.0.0.1:3306",
                                    .repl_version_max = 11,
                                    .appl_version_max = 4,
                                    .seqno = -1};
        gcs_options_default(&config.options);
        config.options.stateless = i == 2 && mode & 1;
        config.options.fc_single_primary = mode & 2;
        config.options.sync_donor = mode & 4;
        config.options.recv_q_hard_limit = mode & 8 ? 1 << 16 : INT64_MAX;
        struct gcs_down down = {node, on_submit, on_fatal};
        struct gcs_up up = {node, on_alloc, on_free, on_action, on_cached, on_causal};
        node->gcs = gcs_new(&config, &down, &up, &node->random, NULL);
        fuzz_require(node->gcs);
    }
    change_view(world, 1, true, true);
    run_all(world);
    change_view(world, 7, true, false);
}

static void end(struct world *world) {
    for (int i = 0; i < NODES; i++) {
        gcs_free(world->nodes[i].gcs);
        fuzz_require(world->nodes[i].buffers == 0);
    }
    for (size_t i = 0; i < world->count; i++) free(world->log[i].bytes);
    for (size_t i = 0; i < SUBMISSIONS_MAX; i++) fuzz_require(!world->submissions[i].is_pending);
    fuzz_require(world->causal_asked == world->causal_answered);
}

/* ---- steps */

static void receive(struct world *world, struct fuzz_steps *step) {
    const struct gcs *gcs = world->nodes[0].gcs;
    uint8_t type = step->arg & ARG_TYPE;
    int sender = step->arg & ARG_SOURCE ? 2 : 1;
    if (step->arg & ARG_UUID && step->size >= 16) memcpy(step->data, gcs->group_uuid.bytes, 16);
    if (step->arg & ARG_STATE && type == GCS_MSG_STATE_UUID && step->size >= 16)
        memcpy(step->data, gcs->state_uuid.bytes, 16);
    if (step->arg & ARG_STATE && type == GCS_MSG_STATE && step->size >= 24)
        memcpy(step->data + 8, gcs->state_uuid.bytes, 16);
    if (!step->size || world->count == LOG_MAX || !(world->members >> sender & 1)) return;
    world->log[world->count++] = (struct entry){
        sender, type, EVS_SAFE, fuzz_copy(step->data, step->size), step->size, (step->arg & ARG_ALL) != 0};
}

static void submit(struct world *world, const struct fuzz_steps *step) {
    struct submission *submission = NULL;
    for (size_t i = 0; i < SUBMISSIONS_MAX && !submission; i++)
        if (!world->submissions[i].is_pending) submission = &world->submissions[i];
    if (!submission) return;
    struct node *node = &world->nodes[step->arg % NODES];
    size_t size = step->arg & 0x40 ? 100000 : step->size;
    uint8_t *bytes = calloc(1, size + 1);
    memcpy(bytes, step->data, step->size < size ? step->size : size);
    *submission = (struct submission){.node = node, .part = {bytes, size}, .bytes = bytes, .is_pending = true};
    submission->gcs = (struct gcs_submission){.type = step->arg & 0x10 ? GCS_STATE_REQ : GCS_WRITESET,
                                              .parts = &submission->part,
                                              .part_count = 1,
                                              .done = on_done,
                                              .is_out_of_order = step->arg & 0x20,
                                              .ctx = submission};
    gcs_submit(node->gcs, &submission->gcs, world->now_ns);
}

static void call(struct world *world, const struct fuzz_steps *step) {
    struct gcs *gcs = world->nodes[0].gcs;
    struct xb_uuid uuid = gcs->group_uuid;
    int64_t seqno = (int64_t)fuzz_number(step, 0, 4), value = (int64_t)fuzz_number(step, 4, 8);
    struct gcs_status status;
    struct gcs_options options;
    struct submission *submission = &world->submissions[seqno % SUBMISSIONS_MAX];
    gcs_options_default(&options);
    switch (step->arg & 15) {
    case 0:
        gcs_join(gcs, &uuid, seqno, -(int)(step->arg >> 4), world->now_ns);
        break;
    case 1:
        gcs_report_last_applied(gcs, &uuid, seqno, world->now_ns);
        break;
    case 2:
        gcs_vote(gcs, &uuid, seqno, value, step->data, step->size, world->now_ns);
        break;
    case 3:
        world->causal_asked++;
        gcs_causal(gcs, world, world->now_ns);
        break;
    case 4:
        gcs_set_queue_length(gcs, seqno, seqno * 100, step->arg & 0x10, world->now_ns);
        break;
    case 5:
        options.fc_limit = seqno & 0xffff;
        options.vote_policy = step->arg >> 4;
        gcs_set_options(gcs, &options, world->now_ns);
        break;
    case 6:
        world->is_refusing = step->arg & 0x10;
        break;
    case 7:
        if (submission->is_pending) gcs_cancel(submission->node->gcs, &submission->gcs, world->now_ns);
        break;
    case 8:
        gcs_close(gcs, world->now_ns);
        break;
    case 9:
        gcs_error(gcs, -ECONNABORTED, world->now_ns);
        break;
    default:
        gcs_get_status(gcs, &status, world->now_ns);
        break;
    }
}

static void act(struct world *world, struct fuzz_steps *step) {
    switch (step->op % OP_COUNT) {
    case OP_RECEIVE:
        receive(world, step);
        break;
    case OP_RUN:
        run_all(world);
        break;
    case OP_VIEW:
        change_view(world, step->arg & 6 ? (step->arg & 7) | 1 : 1, step->arg & 8, step->arg & 16);
        break;
    case OP_WAIT:
        world->now_ns += (int64_t)(fuzz_number(step, 0, 2) + 1) * XB_MS;
        break;
    case OP_SUBMIT:
        submit(world, step);
        break;
    case OP_CALL:
        call(world, step);
        break;
    }
    tick(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct world world;
    if (!size) return 0;
    begin(&world, data[0]);
    struct fuzz_steps step = fuzz_steps_init(data + 1, size - 1);
    for (int count = 0; fuzz_next(&step); count++)
        if (count < 500) act(&world, &step);
    run_all(&world);
    end(&world);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct fuzz_seed seed;
    struct vectors v = vectors_load("gcs");
    struct vector record;
    for (unsigned n = 0; vectors_next(&v, &record); n++) {
        uint8_t fix = n / 8 % 2 ? ARG_UUID : ARG_STATE, source = n % 2 ? ARG_SOURCE : 0;
        if (n % 4 == 0) {
            seed.size = 1;
            seed.bytes[0] = (uint8_t)(n / 4);
            if (n % 8) fuzz_add(&seed, OP_RUN, 0, NULL, 0); /* else in the midst of the exchange */
        }
        fuzz_add(&seed, OP_RECEIVE, (uint8_t)(fix | source | (record.data[0] & ARG_TYPE) | (n % 3 ? 0 : ARG_ALL)),
                 record.data + 17, record.size - 17);
        if (n % 4 == 1) fuzz_add(&seed, OP_SUBMIT, (uint8_t)(n * 3), record.data, n % 25);
        if (n % 16 == 2) fuzz_add(&seed, OP_VIEW, (uint8_t)(n / 16), NULL, 0);
        fuzz_add(&seed, OP_RUN, 0, NULL, 0);
        fuzz_add(&seed, OP_CALL, (uint8_t)(n / 4), record.data, 12);
        if (n % 4 != 3) continue;
        fuzz_add(&seed, OP_WAIT, 0, (uint8_t[]){0xff, 8}, 2);
        fuzz_add(&seed, OP_CALL, 3, NULL, 0);
        take(ctx, seed.bytes, seed.size);
    }
    free(v.bytes);
}
