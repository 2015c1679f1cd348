/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seqno -> buffer. Seqnos come nearly without gaps, so the index is a circular array over the window low..high: one
 * look-up is one load. Holes exist only while IST fills in what lies below (spec 07 section 18.1).
 */
#include "gcache/internal.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_INITIAL 4096

static struct gcache_header **slot(const struct gcache_index *index, int64_t seqno) {
    return &index->slots[(size_t)seqno & (index->slot_count - 1)];
}

int index_init(struct gcache_index *index) {
    *index = (struct gcache_index){.slot_count = SLOTS_INITIAL, .low = 1, .high = 0, .run_low = 1};
    index->slots = calloc(index->slot_count, sizeof(*index->slots));
    return index->slots ? 0 : -ENOMEM;
}

void index_clear(struct gcache_index *index) {
    free(index->slots);
    *index = (struct gcache_index){.low = 1, .high = 0, .run_low = 1};
}

struct gcache_header *index_find(const struct gcache_index *index, int64_t seqno) {
    return seqno >= index->low && seqno <= index->high ? *slot(index, seqno) : NULL;
}

static int make_room(struct gcache_index *index, uint64_t span) {
    if (span <= index->slot_count) return 0;
    struct gcache_index grown = *index;
    while (grown.slot_count < span) grown.slot_count *= 2;
    grown.slots = calloc(grown.slot_count, sizeof(*grown.slots));
    if (!grown.slots) return -ENOMEM;
    for (int64_t s = index->low; s <= index->high; s++) *slot(&grown, s) = *slot(index, s);
    free(index->slots);
    *index = grown;
    return 0;
}

static void extend_run(struct gcache_index *index) {
    while (index->run_low > index->low && *slot(index, index->run_low - 1)) index->run_low--;
}

int index_insert(struct gcache_index *index, int64_t seqno, struct gcache_header *header) {
    if (seqno <= 0) return -ERANGE;
    if (index_is_empty(index)) {
        index->low = index->high = index->run_low = seqno;
    } else if (seqno > index->high) {
        if (seqno - index->high > GCACHE_HOLE_MAX) return -ERANGE;
        if (make_room(index, (uint64_t)(seqno - index->low) + 1)) return -ENOMEM;
        if (seqno != index->high + 1) index->run_low = seqno;
        index->high = seqno;
    } else if (seqno < index->low) {
        if (index->low - seqno > GCACHE_HOLE_MAX) return -ERANGE;
        if (make_room(index, (uint64_t)(index->high - seqno) + 1)) return -ENOMEM;
        index->low = seqno;
    } else if (*slot(index, seqno)) {
        return -EEXIST;
    }
    *slot(index, seqno) = header;
    if (seqno == index->run_low - 1) extend_run(index);
    return 0;
}

void index_replace(struct gcache_index *index, int64_t seqno, struct gcache_header *header) {
    *slot(index, seqno) = header;
}

struct gcache_header *index_take_lowest(struct gcache_index *index) {
    if (index_is_empty(index)) return NULL;
    struct gcache_header *header = *slot(index, index->low);
    *slot(index, index->low) = NULL;
    do index->low++;
    while (index->low <= index->high && !*slot(index, index->low));
    if (index->run_low < index->low) index->run_low = index->low;
    return header;
}

struct gcache_header *index_take_highest(struct gcache_index *index) {
    if (index_is_empty(index)) return NULL;
    struct gcache_header *header = *slot(index, index->high);
    *slot(index, index->high) = NULL;
    do index->high--;
    while (index->high >= index->low && !*slot(index, index->high));
    if (index->run_low > index->high) {
        index->run_low = index->high;
        if (!index_is_empty(index)) extend_run(index);
    }
    return header;
}
