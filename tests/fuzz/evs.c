/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Three nodes in an operational view, the first of which gets anything: messages as if from the second or third or from
 * a stranger, mixed with the real ones. What a message has to say right to be looked at can be set right: the view, the
 * running number, and by "patches" any field, to what the first node holds now.
 */
#include "evs/internal.h"
#include "fuzz.h"
#include "support/vectors.h"

#include <stdlib.h>

enum op { OP_RECEIVE, OP_PATCH, OP_DELIVER, OP_DROP, OP_WAIT, OP_SUBMIT, OP_CALL, OP_COUNT };
enum { ARG_SOURCE = 0x03, ARG_VIEW = 0x04, ARG_FIFO = 0x08, ARG_INSTALL_VIEW = 0x10 }; /* of OP_RECEIVE */

#define NODES 3
#define STRANGER NODES
#define PATCHES_MAX 8
#define PACKETS_MAX 512
#define OFFSET_FIFO 4
#define OFFSET_VIEW 12

struct packet {
    int from, to;
    uint8_t *data;
    size_t size;
};

struct patch {
    uint8_t kind;
    uint16_t offset;
};

struct node {
    struct world *world;
    int index;
    struct evs *evs;
    struct xb_uuid uuid;
    struct xb_random random;
    bool is_closed;
};

struct world {
    int64_t now_ns;
    struct node nodes[NODES];
    struct packet packets[PACKETS_MAX];
    size_t packet_count;
    struct patch patches[PATCHES_MAX];
    size_t patch_count;
};

static struct xb_uuid node_uuid(int n) {
    return (struct xb_uuid){{(uint8_t)(0x30 + n), 1, 2, 3, 4, 5, 0x11, 0xee, 0x80, (uint8_t)n}};
}

/* ---- what the nodes call */

static void post(struct node *node, int to, struct xb_buf *buf) {
    struct world *world = node->world;
    fuzz_require(buf->head >= 28 && buf->size <= 32748);
    if (to == node->index || world->packet_count == PACKETS_MAX) return;
    uint8_t *data = fuzz_copy(xb_buf_data(buf), buf->size);
    world->packets[world->packet_count++] = (struct packet){node->index, to, data, buf->size};
}

static void on_broadcast(void *ctx, struct xb_buf *buf, int64_t now_ns) {
    for (int i = 0; i < NODES; i++) post(ctx, i, buf);
}

static void on_unicast(void *ctx, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns) {
    for (int i = 0; i < NODES; i++) {
        struct xb_uuid uuid = node_uuid(i);
        if (xb_uuid_equal(&uuid, target)) post(ctx, i, buf);
    }
}

static void on_node(void *ctx, const struct xb_uuid *node) {}

static void on_view(void *ctx, const struct evs_view *view, int64_t now_ns) {
    struct node *node = ctx;
    fuzz_require(!node->is_closed);
    for (size_t i = 1; i < view->member_count; i++)
        fuzz_require(xb_uuid_compare(&view->members[i - 1], &view->members[i]) < 0);
    bool is_in = view->member_count == 0;
    for (size_t i = 0; i < view->member_count; i++) is_in |= xb_uuid_equal(&view->members[i], &node->uuid);
    fuzz_require(is_in);
    node->is_closed = view->member_count == 0;
}

static void on_message(void *ctx, const struct evs_message *message, int64_t now_ns) {
    struct node *node = ctx;
    fuzz_require(!node->is_closed && message->size <= EVS_PAYLOAD_MAX);
    volatile uint8_t last = message->size ? message->payload[message->size - 1] : 0;
    (void)last;
}

static void on_fatal(void *ctx, const struct xb_error *error) {
    struct node *node = ctx;
    fuzz_require(!node->is_closed && error->code < 0 && error->text[0]);
    node->is_closed = true;
}

/* ---- running */

static void tick(struct world *world) {
    for (int i = 0; i < NODES; i++)
        for (int rounds = 0; evs_tick(world->nodes[i].evs, world->now_ns) <= world->now_ns; rounds++)
            fuzz_require(rounds < 5000); /* EVS_AHEAD_MAX takes 4096 fillers to complete */
}

static void deliver(struct world *world, size_t count, bool is_lost) {
    for (; count && world->packet_count; count--) {
        struct packet packet = world->packets[0];
        memmove(world->packets, world->packets + 1, --world->packet_count * sizeof(packet));
        if (!is_lost)
            evs_receive(world->nodes[packet.to].evs, &world->nodes[packet.from].uuid, packet.data, packet.size,
                        world->now_ns);
        free(packet.data);
    }
}

static void begin(struct world *world) {
    *world = (struct world){.now_ns = XB_SECOND};
    struct evs_options options;
    evs_options_default(&options);
    for (int i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        *node = (struct node){.world = world, .index = i, .uuid = node_uuid(i)};
        struct evs_down down = {node, on_broadcast, on_unicast, on_node, on_node, on_node, NULL};
        struct evs_up up = {node, on_view, on_message, on_fatal};
        xb_random_seed(&node->random, (uint64_t)i + 1);
        node->evs = evs_new(&node->uuid, &options, NULL, &down, &up, &node->random, NULL, world->now_ns);
        evs_start(node->evs, i == 0, 3 * XB_SECOND, world->now_ns);
    }
    for (int rounds = 0; rounds < 5000; rounds++) {
        const struct evs *evs = world->nodes[0].evs;
        tick(world);
        deliver(world, PACKETS_MAX, false);
        if (evs->state == EVS_OPERATIONAL && evs->member_count == NODES && !world->packet_count) return;
        world->now_ns += XB_MS;
    }
    fuzz_violated("the nodes find together", __FILE__, __LINE__);
}

static void end(struct world *world) {
    for (int i = 0; i < NODES; i++) evs_free(world->nodes[i].evs);
    for (size_t i = 0; i < world->packet_count; i++) free(world->packets[i].data);
}

/* ---- steps */

static void put_view(uint8_t *to, const struct view_id *id) {
    struct xb_writer w = xb_writer_init(to, VIEW_ID_SIZE);
    view_id_write(&w, id);
}

static void put_number(struct fuzz_steps *step, size_t offset, int64_t value) {
    if (step->size >= offset + 8) xb_store_le(step->data + offset, (uint64_t)value, 8);
}

static void apply_patch(const struct world *world, struct fuzz_steps *step, struct patch patch) {
    const struct evs *evs = world->nodes[0].evs;
    const struct evs_rank *rank = &evs->map.ranks[0];
    int which = patch.kind >> 4 & 3;
    switch (patch.kind & 7) {
    case 0:
        if (step->size >= patch.offset + 16u) memcpy(step->data + patch.offset, node_uuid(which).bytes, 16);
        break;
    case 1:
        if (step->size >= patch.offset + (size_t)VIEW_ID_SIZE) put_view(step->data + patch.offset, &evs->view);
        break;
    case 2:
        put_number(step, patch.offset, evs->map.safe + which);
        break;
    case 3:
        put_number(step, patch.offset, evs->map.aru + which);
        break;
    case 4:
        put_number(step, patch.offset, evs->map.max_hs + which);
        break;
    case 5:
        put_number(step, patch.offset, evs->install ? evs->install->h.fifo_seq : evs->fifo_seq);
        break;
    case 6:
        if (evs->install && step->size >= patch.offset + (size_t)VIEW_ID_SIZE)
            put_view(step->data + patch.offset, &evs->install->install_view);
        break;
    default:
        put_number(step, patch.offset, evs->member_count ? rank->lu : 0);
        break;
    }
}

static void receive(struct world *world, struct fuzz_steps *step) {
    const struct evs *evs = world->nodes[0].evs;
    int source = step->arg & ARG_SOURCE ? step->arg & ARG_SOURCE : 1;
    struct xb_uuid uuid = node_uuid(source);
    if (step->size >= OFFSET_VIEW + VIEW_ID_SIZE) {
        const struct evs_node *peer = evs_node_find(evs, &uuid);
        bool has_source = step->data[1] & EVS_FLAG_SOURCE;
        size_t at = OFFSET_VIEW + (has_source ? 16 : 0);
        if (has_source && step->size >= at) memcpy(step->data + OFFSET_VIEW, uuid.bytes, 16);
        if (step->arg & ARG_FIFO) put_number(step, OFFSET_FIFO, peer ? peer->fifo_seq + 1 : 0);
        if (step->size >= at + VIEW_ID_SIZE) {
            if (step->arg & ARG_VIEW) put_view(step->data + at, &evs->view);
            if (step->arg & ARG_INSTALL_VIEW && evs->install) put_view(step->data + at, &evs->install->install_view);
        }
    }
    for (size_t i = 0; i < world->patch_count; i++) apply_patch(world, step, world->patches[i]);
    world->patch_count = 0;
    evs_receive(world->nodes[0].evs, &uuid, step->data, step->size, world->now_ns);
}

static void submit(struct world *world, const struct fuzz_steps *step) {
    size_t size = step->size < EVS_PAYLOAD_MAX ? step->size : EVS_PAYLOAD_MAX;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size ? size : 1);
    memset(xb_buf_data(buf), step->arg, size ? size : 1);
    struct evs *evs = world->nodes[step->arg % NODES].evs;
    enum evs_order order = step->arg & 0x10 ? EVS_LOCAL_CAUSAL : EVS_SAFE;
    if (evs_submit(evs, buf, step->arg, order, world->now_ns)) xb_buf_unref(buf);
}

static void call(struct world *world, const struct fuzz_steps *step) {
    struct evs *evs = world->nodes[0].evs;
    struct xb_uuid uuid = node_uuid(step->arg >> 4 & 3);
    struct evs_options options;
    switch (step->arg & 7) {
    case 0:
        evs_leave(evs, (int64_t)fuzz_number(step, 0, 2) * XB_MS, world->now_ns);
        break;
    case 1:
        evs_evict(evs, &uuid, world->now_ns);
        break;
    case 2:
        evs_evict(evs, NULL, world->now_ns);
        break;
    case 3:
        evs_peer_lost(evs, &uuid, step->arg & 8, world->now_ns);
        break;
    case 4:
        evs_get_options(evs, &options);
        options.auto_evict = step->arg >> 4;
        options.use_aggregate = step->arg & 8;
        options.version = step->arg >> 7;
        evs_set_options(evs, &options, world->now_ns);
        break;
    default: {
        char text[300];
        struct evs_peer peers[4];
        evs_delayed_list(evs, text, sizeof(text));
        evs_evict_list(evs, text, sizeof(text));
        evs_get_peers(evs, peers, 4, world->now_ns);
        break;
    }
    }
}

static void act(struct world *world, struct fuzz_steps *step) {
    switch (step->op % OP_COUNT) {
    case OP_RECEIVE:
        receive(world, step);
        break;
    case OP_PATCH:
        if (world->patch_count < PATCHES_MAX)
            world->patches[world->patch_count++] = (struct patch){step->arg, (uint16_t)fuzz_number(step, 0, 2)};
        return;
    case OP_DELIVER:
        deliver(world, step->arg, false);
        break;
    case OP_DROP:
        deliver(world, step->arg, true);
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
    begin(&world);
    struct fuzz_steps step = fuzz_steps_init(data, size);
    for (int count = 0; fuzz_next(&step); count++)
        if (count < 500) act(&world, &step);
    /* Whatever it was told, it can still be left. */
    struct evs *evs = world.nodes[0].evs;
    evs_leave(evs, XB_SECOND, world.now_ns);
    world.now_ns += 70 * XB_SECOND;
    tick(&world);
    fuzz_require(evs_get_state(evs) == EVS_CLOSED);
    end(&world);
    return 0;
}

/* ---- seeds: stock messages, their nodes renamed */

static void rename_nodes(uint8_t *message, size_t size, const struct xb_uuid *known, size_t count) {
    for (size_t at = 0; at + 16 <= size; at++)
        for (size_t i = 0; i < count; i++)
            if (!memcmp(message + at, known[i].bytes, 16)) memcpy(message + at, node_uuid((int)(i % NODES)).bytes, 16);
}

static size_t collect_nodes(struct vectors v, struct xb_uuid *known, size_t max) {
    struct vector record;
    size_t count = 0;
    while (vectors_next(&v, &record)) {
        bool is_known = false;
        for (size_t i = 0; i < count; i++) is_known |= !memcmp(known[i].bytes, record.data, 16);
        if (!is_known && count < max) memcpy(known[count++].bytes, record.data, 16);
    }
    return count;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct fuzz_seed seed;
    struct vectors v = vectors_load("evs");
    struct xb_uuid known[16];
    size_t count = collect_nodes(v, known, 16);
    struct vector record;
    static const uint8_t args[] = {ARG_VIEW | ARG_FIFO | 1, 1, ARG_FIFO | ARG_INSTALL_VIEW | 2, ARG_FIFO | 3};
    for (unsigned n = 0; vectors_next(&v, &record); n++) {
        uint8_t *message = fuzz_copy(record.data + 16, record.size - 16);
        rename_nodes(message, record.size - 16, known, count);
        if (n % 4 == 0) seed.size = 0;
        fuzz_add(&seed, OP_SUBMIT, (uint8_t)n, record.data, n % 48);
        fuzz_add(&seed, OP_RECEIVE, args[n / 4 % 4], message, record.size - 16);
        fuzz_add(&seed, OP_WAIT, 0, (uint8_t[]){0xff, n / 16 % 8}, 2);
        fuzz_add(&seed, n % 5 ? OP_DELIVER : OP_DROP, 20, NULL, 0);
        if (n % 16 == 7) fuzz_add(&seed, OP_CALL, (uint8_t)(n / 16), NULL, 0);
        free(message);
        if (n % 4 == 3) take(ctx, seed.bytes, seed.size);
    }
    free(v.bytes);
}
