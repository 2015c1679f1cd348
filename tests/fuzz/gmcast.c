/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mesh with connections in every state, to which anything is sent. Connections 1 and 2 are established (one accepted,
 * one dialled), 3 is accepted and waits for HANDSHAKE_RESPONSE, 4 is dialled and waits for HANDSHAKE, 5 for OK.
 */
#include "fuzz.h"
#include "gmcast/mesh.h"
#include "gmcast/messages.h"
#include "support/vectors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum op { OP_RECEIVE, OP_ACCEPT, OP_CONNECT, OP_LOSE, OP_WAIT, OP_SEND, OP_VIEW, OP_OPTION, OP_COUNT };
/* Argument of OP_RECEIVE: low bits the connection, the others what is set right. */
enum { ARG_CONN = 0x0f, ARG_SOURCE = 0x10, ARG_HANDSHAKE = 0x20, ARG_GROUP = 0x40, ARG_RELAYED = 0x80 };

struct world {
    struct gmcast *mesh;
    struct xb_random random;
    int64_t now_ns;
    gmcast_conn dialled; /* last number given */
    bool is_tls, is_over;
};

static const char *const GROUP = "fuzz";

static struct xb_uuid node_uuid(unsigned n) {
    struct xb_uuid uuid = {{(uint8_t)(0x30 + n), 1, 2, 3, 4, 5, 0x11, 0xee, 0x80, (uint8_t)n}};
    return uuid;
}

static gmcast_conn on_dial(void *ctx, const char *address) {
    struct world *world = ctx;
    fuzz_require(strlen(address) < GMCAST_ADDRESS_SIZE);
    return ++world->dialled;
}

static int on_send(void *ctx, gmcast_conn conn, uint8_t segment, struct xb_buf *buf) {
    const uint8_t *body;
    size_t size;
    struct xb_error error;
    fuzz_require(datagram_parse(xb_buf_data(buf), buf->size, &body, &size, &error) > 0);
    return buf->size % 97 == 96 ? -ENOBUFS : 0;
}

static void on_close(void *ctx, gmcast_conn conn) {}

static int on_message(void *ctx, const struct xb_uuid *source, const uint8_t *data, size_t size, int64_t now_ns) {
    struct world *world = ctx;
    struct xb_uuid own = node_uuid(0);
    fuzz_require(!xb_uuid_equal(source, &own) && !xb_uuid_is_nil(source));
    if (size && data[0] == 0xee) gmcast_evict(world->mesh, source);
    if (size && data[0] == 0xdd) {
        struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
        memcpy(xb_buf_data(buf), data, size);
        gmcast_broadcast(world->mesh, buf, now_ns);
        xb_buf_unref(buf);
    }
    return size && data[0] == 0xff ? -EPROTO : 0;
}

static void on_peer_lost(void *ctx, const struct xb_uuid *peer, bool is_refused, int64_t now_ns) {}

static void on_fatal(void *ctx, const struct xb_error *error) {
    struct world *world = ctx;
    fuzz_require(error->code < 0 && error->text[0] && !world->is_over);
    world->is_over = true;
}

static void receive(struct world *world, gmcast_conn conn, const uint8_t *body, size_t size) {
    uint8_t *copy = fuzz_copy(body, size);
    gmcast_received(world->mesh, conn, copy, size, world->now_ns);
    free(copy);
}

static void accept_conn(struct world *world, gmcast_conn conn) {
    char host[32];
    snprintf(host, sizeof(host), "10.0.0.%u", (unsigned)(conn % 7));
    gmcast_accepted(world->mesh, conn, host, world->now_ns);
    gmcast_connected(world->mesh, conn, world->now_ns);
}

/* The peer's part of the handshake: of a peer that dialled, and of one that was dialled. */
static void respond(struct world *world, gmcast_conn conn, unsigned node) {
    const struct mesh_link *link = mesh_link_find(world->mesh, conn);
    uint8_t body[HANDSHAKE_RESPONSE_SIZE];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    struct xb_uuid uuid = node_uuid(node);
    if (!link) return;
    mesh_handshake_response_write(&w, 0, &uuid, &link->handshake, "ssl://10.0.0.1:4567", GROUP);
    receive(world, conn, body, w.used);
}

static void greet(struct world *world, gmcast_conn conn, unsigned node, bool is_whole) {
    uint8_t body[HANDSHAKE_SIZE];
    struct xb_uuid uuid = node_uuid(node), handshake = node_uuid(0x40 + node);
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    gmcast_connected(world->mesh, conn, world->now_ns);
    mesh_handshake_write(&w, 0, &uuid, &handshake);
    receive(world, conn, body, w.used);
    w = xb_writer_init(body, sizeof(body));
    mesh_ok_write(&w, 0, &uuid);
    if (is_whole) receive(world, conn, body, w.used);
}

static void begin(struct world *world, uint8_t mode) {
    *world = (struct world){.now_ns = XB_SECOND, .is_tls = mode & 1, .dialled = 0x1000};
    xb_random_seed(&world->random, 1);
    struct gmcast_config config = {.uuid = node_uuid(0),
                                   .is_tls = world->is_tls,
                                   .segment = mode >> 1 & 1,
                                   .checksum = DATAGRAM_CHECKSUM_CRC32C,
                                   .peer_timeout_ns = 3 * XB_SECOND,
                                   .time_wait_ns = 5 * XB_SECOND,
                                   .max_initial_reconnect_attempts = INT32_MAX};
    strcpy(config.group, GROUP);
    strcpy(config.listen_address, world->is_tls ? "ssl://10.0.0.9:4567" : "tcp://10.0.0.9:4567");
    struct gmcast_io io = {world, on_dial, on_send, on_close, NULL};
    struct gmcast_up up = {world, on_message, on_peer_lost, on_fatal};
    world->mesh = gmcast_new(&config, &io, &up, &world->random, NULL);
    const char *peers[] = {"tcp://10.0.1.2:4567", "tcp://10.0.1.3:4567", "tcp://10.0.1.4:4567"};
    gmcast_start(world->mesh, peers, 3, world->now_ns, 1700000000 * XB_SECOND);
    gmcast_tick(world->mesh, world->now_ns); /* dials 0x1001 .. 0x1003 */
    accept_conn(world, 1);
    respond(world, 1, 1);
    greet(world, 0x1001, 2, true);
    accept_conn(world, 3);
    greet(world, 0x1003, 3, false);
}

/* Numbers of inputs -> connections */
static gmcast_conn conn_of(const struct world *world, unsigned n) {
    static const gmcast_conn first[] = {0, 1, 0x1001, 3, 0x1002, 0x1003};
    if (n < 6) return first[n];
    return n < 11 ? n : world->dialled - (n - 11); /* accepted by a step; dialled lately */
}

static void fix_message(const struct world *world, struct fuzz_steps *step, gmcast_conn conn) {
    const struct mesh_link *link = mesh_link_find(world->mesh, conn);
    if (!link || step->size < GMCAST_HEADER_SIZE) return;
    uint8_t *body = step->data;
    body[0] = 0;
    if (step->arg & ARG_SOURCE && !xb_uuid_is_nil(&link->peer)) memcpy(body + 4, link->peer.bytes, 16);
    if (step->arg & ARG_RELAYED) memcpy(body + 4, node_uuid(body[4] % 4).bytes, 16);
    size_t at = GMCAST_HEADER_SIZE;
    if (body[2] & WIRE_HANDSHAKE_UUID) {
        if (step->arg & ARG_HANDSHAKE && step->size >= at + 16) memcpy(body + at, link->handshake.bytes, 16);
        at += 16;
    }
    if (body[2] & WIRE_ADDRESS) at += WIRE_ADDRESS_SIZE;
    if (body[2] & WIRE_GROUP && step->arg & ARG_GROUP && step->size >= at + 5) memcpy(body + at, GROUP, 5);
}

static void send(struct world *world, const struct fuzz_steps *step) {
    size_t size = step->size < GMCAST_MESSAGE_MAX ? step->size : GMCAST_MESSAGE_MAX;
    if (!size) return;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    memcpy(xb_buf_data(buf), step->data, size);
    struct xb_uuid target = node_uuid(step->arg >> 1 & 7);
    if (step->arg & 1)
        gmcast_unicast(world->mesh, &target, buf, world->now_ns);
    else
        gmcast_broadcast(world->mesh, buf, world->now_ns);
    xb_buf_unref(buf);
}

static void set_option(struct world *world, const struct fuzz_steps *step) {
    char text[256];
    size_t size = step->size < sizeof(text) ? step->size : sizeof(text) - 1;
    memcpy(text, step->data, size);
    text[size] = 0;
    struct xb_uuid node = node_uuid(step->arg >> 4);
    switch (step->arg & 7) {
    case 0:
        gmcast_peer_add(world->mesh, text, world->now_ns);
        break;
    case 1:
        gmcast_peer_delete(world->mesh, text, world->now_ns);
        break;
    case 2:
        gmcast_isolate(world->mesh, 1, world->now_ns);
        break;
    case 3:
        gmcast_isolate(world->mesh, 0, world->now_ns);
        break;
    case 4:
        gmcast_evict(world->mesh, &node);
        break;
    case 5:
        gmcast_unevict(world->mesh, step->arg & 8 ? NULL : &node);
        break;
    case 6:
        gmcast_allow(world->mesh, &node);
        break;
    default:
        break;
    }
}

static void view(struct world *world, const struct fuzz_steps *step) {
    struct xb_uuid members[8], left[8];
    size_t member_count = 0, left_count = 0;
    for (unsigned i = 0; i < 8; i++) {
        if (fuzz_number(step, 0, 1) >> i & 1) members[member_count++] = node_uuid(i);
        if (fuzz_number(step, 1, 1) >> i & 1) left[left_count++] = node_uuid(i);
    }
    gmcast_view(world->mesh, step->arg & 1, members, member_count, left, left_count, world->now_ns);
}

static void act(struct world *world, struct fuzz_steps *step) {
    gmcast_conn conn = conn_of(world, step->arg & ARG_CONN);
    switch (step->op % OP_COUNT) {
    case OP_RECEIVE:
        fix_message(world, step, conn);
        gmcast_received(world->mesh, conn, step->data, step->size, world->now_ns);
        break;
    case OP_ACCEPT:
        accept_conn(world, conn);
        break;
    case OP_CONNECT:
        gmcast_connected(world->mesh, conn, world->now_ns);
        break;
    case OP_LOSE:
        gmcast_lost(world->mesh, conn, step->arg & 0x10 ? -ECONNREFUSED : 0, world->now_ns);
        break;
    case OP_WAIT:
        world->now_ns += (int64_t)(fuzz_number(step, 0, 2) + 1) * XB_MS;
        break;
    case OP_SEND:
        send(world, step);
        break;
    case OP_VIEW:
        view(world, step);
        break;
    case OP_OPTION:
        set_option(world, step);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    struct world world;
    begin(&world, data[0]);
    struct fuzz_steps step = fuzz_steps_init(data + 1, size - 1);
    while (fuzz_next(&step)) {
        /* A connection number is used once (gmcast.h). */
        bool is_used =
            step.op % OP_COUNT == OP_ACCEPT && mesh_link_find(world.mesh, conn_of(&world, step.arg & ARG_CONN));
        if (!is_used) act(&world, &step);
        for (int rounds = 0; gmcast_tick(world.mesh, world.now_ns) <= world.now_ns; rounds++)
            fuzz_require(rounds < 100);
    }
    gmcast_stop(world.mesh);
    gmcast_free(world.mesh);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct fuzz_seed seed;
    struct vectors v = vectors_load("gmcast");
    struct vector record;
    static const uint8_t fixes[] = {0, ARG_SOURCE | ARG_HANDSHAKE | ARG_GROUP};
    for (unsigned n = 0; vectors_next(&v, &record); n++) {
        for (unsigned i = 0; i < 2; i++) {
            seed.size = 1;
            seed.bytes[0] = (uint8_t)n;
            for (uint8_t conn = 1; conn <= 5; conn++)
                if (record.size < 1024 || conn == 1)
                    fuzz_add(&seed, OP_RECEIVE, (uint8_t)(conn | fixes[i]), record.data + 8, record.size - 8);
            fuzz_add(&seed, OP_WAIT, 0, (uint8_t[]){0xff, n % 16}, 2);
            fuzz_add(&seed, OP_VIEW, 1, (uint8_t[]){0x0f, 0x10}, 2);
            fuzz_add(&seed, OP_SEND, (uint8_t)n, "message", 7);
            fuzz_add(&seed, OP_OPTION, (uint8_t)(n * 17), "tcp://10.0.1.7:4567", 19);
            fuzz_add(&seed, OP_LOSE, (uint8_t)n, NULL, 0);
            take(ctx, seed.bytes, seed.size);
        }
    }
    free(v.bytes);
}
