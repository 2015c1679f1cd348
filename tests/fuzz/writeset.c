/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Write sets into the reader, and what it accepts into certification, among other events. */
#include "certify/certify.h"
#include "checksums.h"
#include "fuzz.h"
#include "support/vectors.h"

#include <errno.h>
#include <stdlib.h>

enum op { OP_WRITESET, OP_WRITESET_FIXED, OP_FINISH, OP_PURGE, OP_CHANGE, OP_PLACEHOLDER, OP_COUNT };
/* Argument of the first two: low bits to the flags of the header, then: */
enum { ARG_FLAGS = 0x0f, ARG_LAST_SEEN = 0x10, ARG_IST = 0x20, ARG_GAP = 0x40, ARG_SET_FLAGS = 0x80 };

#define TICKETS_MAX 1024

struct world {
    struct certify *certify;
    int64_t seqno;
    struct certify_ticket *tickets[TICKETS_MAX];
    size_t ticket_count;
    bool is_broken; /* an error was returned: this node leaves */
};

static void finish(struct world *world, size_t index) {
    if (!world->ticket_count) return;
    index %= world->ticket_count;
    if (certify_finish(world->certify, world->tickets[index])) certify_take_report(world->certify, world->seqno);
    world->tickets[index] = world->tickets[--world->ticket_count];
}

static void walk_keys(const struct writeset *ws) {
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&ws->keys);
    struct writeset_key key;
    char text[WRITESET_KEY_TEXT_SIZE];
    int rc;
    while ((rc = writeset_next_key(&cursor, &key)) > 0) {
        fuzz_require(!(key.id_low & 0x1f) && (key.is_wide || !key.id_high));
        writeset_key_format_text(&key, text);
    }
    fuzz_require(rc == 0 && cursor.left == 0);
}

static void certify_one(struct world *world, struct writeset *ws, uint8_t *bytes, uint8_t arg) {
    struct certify_conflict conflict;
    struct certify_result result;
    struct xb_error error = {0};
    bool is_doomed = certify_is_doomed(world->certify, &ws->keys, &ws->header.source, ws->header.seqno, &conflict);
    world->seqno += arg & ARG_GAP ? 5 : 1;
    enum certify_source source = arg & ARG_IST ? CERTIFY_FROM_IST : CERTIFY_FROM_GROUP;
    int rc = certify_writeset(world->certify, ws, world->seqno, source, &result, &error);
    world->is_broken = rc != 0;
    fuzz_require(!rc || error.text[0]);
    if (rc) return;
    fuzz_require(result.depends < world->seqno && result.is_passed == (result.reason == CERTIFY_OK));
    unsigned special = WRITESET_TOI | WRITESET_PREORDERED | WRITESET_CERTIFIED;
    if (is_doomed && source == CERTIFY_FROM_GROUP && !(ws->header.flags & special) && !(arg & ARG_GAP))
        fuzz_require(!result.is_passed || (ws->header.flags & WRITESET_TRX_FLAGS) == WRITESET_ROLLBACK_FRAGMENT);
    if (result.ticket && world->ticket_count < TICKETS_MAX)
        world->tickets[world->ticket_count++] = result.ticket;
    else if (result.ticket)
        certify_finish(world->certify, result.ticket);
    if (ws->header.flags & WRITESET_CERTIFIED) return;
    writeset_mark_certified(ws, bytes, world->seqno, result.depends);
    struct writeset again;
    fuzz_require(!writeset_read(&again, bytes, ws->size, &error) && again.header.seqno == world->seqno);
}

static void take_writeset(struct world *world, struct fuzz_steps *step) {
    if (step->size >= 16 && step->arg & ARG_SET_FLAGS)
        step->data[4] = (uint8_t)(step->data[4] ^ (step->arg & ARG_FLAGS) << 1);
    if (step->size >= 16 && step->arg & ARG_LAST_SEEN)
        xb_store_le(step->data + 8, (uint64_t)(world->seqno - (step->arg & ARG_FLAGS)), 8);
    if (step->op % OP_COUNT == OP_WRITESET_FIXED) checksums_fix_writeset(step->data, step->size);
    struct writeset ws;
    struct xb_error error = {0};
    int rc = writeset_read(&ws, step->data, step->size, &error);
    fuzz_require(rc == 0 || error.text[0]);
    if (rc) return;
    fuzz_require(ws.size <= step->size);
    walk_keys(&ws);
    int64_t seqno;
    writeset_nbo_start_seqno(&ws, &seqno);
    if (!writeset_check(&ws, &error)) certify_one(world, &ws, step->data, step->arg);
}

static void change(struct world *world, const struct fuzz_steps *step) {
    struct xb_uuid members[4];
    for (size_t i = 0; i < 4; i++) members[i] = (struct xb_uuid){.bytes = {(uint8_t)fuzz_number(step, i, 1)}};
    bool is_dropped;
    world->is_broken = certify_change_configuration(world->certify, ++world->seqno, step->arg & 1 ? 5 : 6, members,
                                                    step->arg >> 1 & 3, &is_dropped) != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct world world;
    struct certify_config config = {.hash_secret = {1, 2}, .is_optimistic_pa = size & 1};
    world = (struct world){.certify = certify_new(&config, NULL), .seqno = 100};
    if (certify_assign_position(world.certify, world.seqno, 6)) abort();
    struct fuzz_steps step = fuzz_steps_init(data, size);
    while (fuzz_next(&step)) {
        if (world.is_broken) continue;
        switch (step.op % OP_COUNT) {
        case OP_WRITESET:
        case OP_WRITESET_FIXED:
            take_writeset(&world, &step);
            break;
        case OP_FINISH:
            finish(&world, step.arg);
            break;
        case OP_PURGE:
            certify_purge(world.certify, world.seqno - step.arg);
            break;
        case OP_CHANGE:
            change(&world, &step);
            break;
        case OP_PLACEHOLDER:
            certify_placeholder(world.certify, ++world.seqno);
            break;
        }
        fuzz_require(certify_safe_to_discard(world.certify) <= world.seqno);
    }
    while (world.ticket_count) finish(&world, 0);
    certify_free(world.certify);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct fuzz_seed seed;
    struct vectors v = vectors_load("writeset");
    struct vector record;
    for (unsigned n = 0; vectors_next(&v, &record); n++) {
        if (n % 4 == 0) seed.size = 0;
        fuzz_add(&seed, OP_WRITESET, ARG_LAST_SEEN | 3, record.data, record.size < 8000 ? record.size : 8000);
        fuzz_add(&seed, OP_WRITESET_FIXED, (uint8_t)(ARG_LAST_SEEN | n % 16), record.data,
                 record.size < 8000 ? record.size : 0);
        fuzz_add(&seed, OP_WRITESET_FIXED, (uint8_t)(ARG_SET_FLAGS | ARG_LAST_SEEN | n % 16), record.data,
                 record.size < 2000 ? record.size : 0);
        if (n % 3 == 0) fuzz_add(&seed, OP_FINISH, (uint8_t)n, NULL, 0);
        if (n % 5 == 0) fuzz_add(&seed, OP_PURGE, (uint8_t)(n % 4), NULL, 0);
        if (n % 11 == 0) fuzz_add(&seed, OP_CHANGE, (uint8_t)(n / 11), record.data, 4);
        if (n % 13 == 0) fuzz_add(&seed, OP_PLACEHOLDER, 0, NULL, 0);
        if (n % 4 == 3) take(ctx, seed.bytes, seed.size);
    }
    free(v.bytes);
}
