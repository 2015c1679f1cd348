/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three nodes in a primary component on a make-believe EVS: one log of messages, which all deliver in the same order.
 * The first gets anything, as if from the second or third; EVS views come as EVS would give them.
 */
#include "fuzz.h"
#include "pc/pc_internal.h"
#include "support/vectors.h"

#include <stdlib.h>

enum op { OP_RECEIVE, OP_RUN, OP_TRANS, OP_REG, OP_WAIT, OP_SUBMIT, OP_CALL, OP_COUNT };
enum { ARG_SOURCE = 0x01, ARG_SEAL = 0x02, ARG_USER = 0x04, ARG_SEQ = 0x08, ARG_ALL = 0x10 }; /* of OP_RECEIVE */

#define NODES 3
#define LOG_MAX 1024

struct entry {
    int sender;
    uint8_t user_type;
    enum evs_order order;
    uint8_t *bytes;
    size_t size;
    bool is_for_all;
};

struct node {
    struct world *world;
    int index;
    struct pc *pc;
    struct xb_uuid uuid;
    size_t cursor; /* in the log */
    bool is_over;
};

struct world {
    int64_t now_ns;
    struct node nodes[NODES];
    struct entry log[LOG_MAX];
    size_t count;
    struct view_id view;
    unsigned members; /* of the EVS view, bits */
    bool is_trans, is_refusing;
};

static struct xb_uuid node_uuid(int n) {
    return (struct xb_uuid){{(uint8_t)(0x30 + n), 1, 2, 3, 4, 5, 0x11, 0xee, 0x80, (uint8_t)n}};
}

static int on_submit(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    struct node *node = ctx;
    struct world *world = node->world;
    bool is_member = world->members >> node->index & 1;
    fuzz_require(buf->size > 0 && buf->size <= EVS_PAYLOAD_MAX && buf->head >= 8 + 20 + 68);
    if (world->is_trans || world->is_refusing || !is_member || world->count == LOG_MAX) return -EAGAIN;
    world->log[world->count++] =
        (struct entry){node->index, user_type, order, fuzz_copy(xb_buf_data(buf), buf->size), buf->size, true};
    xb_buf_unref(buf);
    return 0;
}

static void check_view(const struct node *node, const struct pc_view *view) {
    fuzz_require(!node->is_over);
    for (size_t i = 1; i < view->member_count; i++)
        fuzz_require(xb_uuid_compare(&view->members[i - 1].uuid, &view->members[i].uuid) < 0);
}

static void on_stable_view(void *ctx, const struct pc_view *view, int64_t now_ns) {
    check_view(ctx, view);
}

static bool on_is_evicted(void *ctx, const struct xb_uuid *uuid) {
    return uuid->bytes[0] == 0xee;
}

static void on_view(void *ctx, const struct pc_view *view, int64_t now_ns) {
    check_view(ctx, view);
}

static void on_message(void *ctx, const struct pc_message *message, int64_t now_ns) {
    struct node *node = ctx;
    fuzz_require(!node->is_over && message->size <= PC_PAYLOAD_MAX);
    volatile uint8_t last = message->size ? message->payload[message->size - 1] : 0;
    (void)last;
}

static void on_save(void *ctx, const struct pc_saved_view *saved) {
    static char text[65536];
    static struct pc_saved_view again;
    struct xb_error error;
    if (!saved) return;
    int size = pc_saved_view_format(saved, text, sizeof(text));
    fuzz_require(size > 0 && !pc_saved_view_parse(text, (size_t)size, &again, &error));
}

static void on_weight_changed(void *ctx, int weight) {
    fuzz_require(weight >= 0 && weight <= 255);
}

static void on_fatal(void *ctx, const struct xb_error *error, bool is_conflict) {
    struct node *node = ctx;
    fuzz_require(!node->is_over && error->code < 0 && error->text[0]);
    node->is_over = true;
}

/* ---- running */

static void run(struct world *world, int index, size_t max) {
    struct node *node = &world->nodes[index];
    for (; max && node->cursor < world->count; max--) {
        const struct entry *entry = &world->log[node->cursor++];
        if (!(world->members >> index & 1) || (!entry->is_for_all && index)) continue;
        struct evs_message message = {.source = world->nodes[entry->sender].uuid,
                                      .view = world->view,
                                      .user_type = entry->user_type,
                                      .order = entry->order,
                                      .seq = 1,
                                      .payload = entry->bytes,
                                      .size = entry->size};
        pc_evs_message(node->pc, &message, world->now_ns);
    }
}

static void run_all(struct world *world) {
    for (size_t before = SIZE_MAX; before != world->count;) {
        before = world->count;
        for (int i = 0; i < NODES; i++) run(world, i, SIZE_MAX);
    }
}

static void give_view(struct world *world, int index, const struct view_id *id, unsigned members, unsigned left,
                      unsigned gone) {
    struct xb_uuid in[NODES], out[NODES], away[NODES];
    struct evs_view view = {.id = *id, .version = 1, .members = in, .left = out, .partitioned = away};
    for (int i = 0; i < NODES; i++) {
        if (members >> i & 1) in[view.member_count++] = node_uuid(i);
        if (left >> i & 1) out[view.left_count++] = node_uuid(i);
        if (gone >> i & 1) away[view.partitioned_count++] = node_uuid(i);
    }
    pc_evs_view(world->nodes[index].pc, &view, world->now_ns);
}

/* The view ends: those in `stay` go on together, the others are gone or have left. */
static void trans(struct world *world, unsigned stay, unsigned left) {
    if (world->is_trans) return;
    stay = (stay & world->members) | 1;
    unsigned gone = world->members & ~stay & ~left;
    left &= world->members & ~stay;
    world->is_trans = true;
    struct view_id id = world->view;
    id.type = VIEW_TRANS;
    for (int i = 0; i < NODES; i++)
        if (stay >> i & 1) give_view(world, i, &id, stay, left, gone);
    world->members = stay;
}

static void reg(struct world *world, unsigned members) {
    if (!world->is_trans) return;
    run_all(world);
    world->view = (struct view_id){.type = VIEW_REG, .uuid = node_uuid(0), .seq = world->view.seq + 1};
    world->is_trans = false;
    unsigned old = world->members;
    world->members |= members & 7;
    for (int i = 0; i < NODES; i++) {
        if (!(world->members >> i & 1)) continue;
        /* Who comes back has seen its own end of the old view. */
        struct view_id id = {.type = VIEW_TRANS, .uuid = world->view.uuid, .seq = world->view.seq - 1};
        if (!(old >> i & 1)) give_view(world, i, &id, 1u << i, 0, 7 & ~(1u << i));
        world->nodes[i].cursor = world->count;
        give_view(world, i, &world->view, world->members, 0, 0);
    }
}

static void begin(struct world *world, uint8_t mode) {
    *world = (struct world){.now_ns = XB_SECOND, .is_trans = true, .members = 1};
    static struct pc_saved_view saved;
    saved = (struct pc_saved_view){.my_uuid = node_uuid(0), .id = {VIEW_PRIM, node_uuid(0), 5}, .member_count = NODES};
    for (int i = 0; i < NODES; i++) saved.members[i].uuid = node_uuid(i);
    struct view_id id = {.type = VIEW_TRANS};
    for (int i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        *node = (struct node){.world = world, .index = i, .uuid = node_uuid(i)};
        struct pc_options options;
        pc_options_default(&options);
        options.checksum = mode & 1;
        options.weight = mode >> 4;
        options.npvo = mode & 2;
        options.ignore_sb = mode & 4;
        struct pc_down down = {node, on_submit, on_stable_view, on_is_evicted};
        struct pc_up up = {node, on_view, on_message, on_save, on_weight_changed, on_fatal};
        node->pc = pc_new(&node->uuid, (uint8_t)i, &options, mode & 8 ? &saved : NULL, &down, &up, NULL);
        pc_start(node->pc, i == 0 && !(mode & 8), world->now_ns);
        id.uuid = node->uuid;
        give_view(world, i, &id, 1u << i, 0, 0);
    }
    if (mode & 8) world->view.seq = 6;
    reg(world, 1);
    run_all(world);
    trans(world, 1, 0);
    reg(world, 7);
}

static void end(struct world *world) {
    for (int i = 0; i < NODES; i++) pc_free(world->nodes[i].pc);
    for (size_t i = 0; i < world->count; i++) free(world->log[i].bytes);
}

/* ---- steps */

static void receive(struct world *world, struct fuzz_steps *step) {
    uint8_t user_type = step->arg & ARG_USER ? 1 : PC_USER_TYPE;
    if (step->size >= PC_HEADER_SIZE) {
        if (step->arg & ARG_SEQ) xb_store_le(step->data + 4, world->nodes[0].pc->current.seq, 4);
        if (step->arg & ARG_SEAL) xb_store_le(step->data + 2, pc_message_crc(step->data, step->size), 2);
    }
    int sender = step->arg & ARG_SOURCE ? 2 : 1;
    if (!step->size || world->count == LOG_MAX || !(world->members >> sender & 1)) return;
    world->log[world->count++] = (struct entry){
        sender, user_type, EVS_SAFE, fuzz_copy(step->data, step->size), step->size, (step->arg & ARG_ALL) != 0};
}

static void submit(struct world *world, const struct fuzz_steps *step) {
    size_t size = step->size && step->size <= PC_PAYLOAD_MAX ? step->size : 1;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    memset(xb_buf_data(buf), step->arg, size);
    if (pc_submit(world->nodes[step->arg % NODES].pc, buf, 1, EVS_SAFE, world->now_ns)) xb_buf_unref(buf);
}

static void call(struct world *world, const struct fuzz_steps *step) {
    struct pc *pc = world->nodes[0].pc;
    switch (step->arg & 7) {
    case 0:
        pc_bootstrap(pc, world->now_ns);
        break;
    case 1:
        pc_set_weight(pc, (int)fuzz_number(step, 0, 2), world->now_ns);
        break;
    case 2:
        pc_set_ignore(pc, step->arg & 8, step->arg & 0x10);
        break;
    case 3:
        world->is_refusing = step->arg & 8;
        break;
    case 4:
        pc_closing(pc);
        break;
    default:
        fuzz_require(pc_cluster_weight(pc) >= 0);
        break;
    }
}

static void act(struct world *world, struct fuzz_steps *step) {
    switch (step->op % OP_COUNT) {
    case OP_RECEIVE:
        receive(world, step);
        break;
    case OP_RUN:
        if (step->arg & 0x80)
            run(world, step->arg % NODES, step->arg >> 2 & 0x0f);
        else
            run_all(world);
        break;
    case OP_TRANS:
        trans(world, step->arg & 7, step->arg >> 4 & 7);
        break;
    case OP_REG:
        reg(world, step->arg & 7);
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
    for (int i = 0; i < NODES; i++)
        for (int rounds = 0; pc_tick(world->nodes[i].pc, world->now_ns) <= world->now_ns; rounds++)
            fuzz_require(rounds < 100);
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
    struct vectors v = vectors_load("pc");
    struct vector record;
    for (unsigned n = 0; vectors_next(&v, &record); n++) {
        uint8_t fix = n / 8 % 2 ? ARG_SEAL | ARG_SEQ : 0, user = record.data[0] == PC_USER_TYPE ? 0 : ARG_USER;
        if (n % 4 == 0) {
            seed.size = 1;
            seed.bytes[0] = (uint8_t)(n / 4);
            if (n % 8) fuzz_add(&seed, OP_RUN, 0, NULL, 0); /* else in the midst of the exchange */
        }
        fuzz_add(&seed, OP_RECEIVE, (uint8_t)(fix | user | n % 2 | (n % 3 ? 0 : ARG_ALL)), record.data + 1,
                 record.size - 1);
        if (n % 4 == 1) fuzz_add(&seed, OP_SUBMIT, (uint8_t)n, record.data, n % 50);
        if (n % 4 == 2) fuzz_add(&seed, OP_TRANS, (uint8_t)(n / 4 * 37), NULL, 0);
        if (n % 4 == 2) fuzz_add(&seed, OP_REG, 7, NULL, 0);
        fuzz_add(&seed, OP_RUN, 0, NULL, 0);
        fuzz_add(&seed, OP_WAIT, 0, (uint8_t[]){0xff, 8}, 2);
        if (n % 4 != 3) continue;
        fuzz_add(&seed, OP_CALL, (uint8_t)(n / 4), (uint8_t[]){2, 0}, 2);
        take(ctx, seed.bytes, seed.size);
    }
    free(v.bytes);
}
