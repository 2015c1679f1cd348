/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The input map (spec 03 section 6): which messages of the current view are held, from whom, up to where everything is
 * held (aru) and held by all (safe), and what may be delivered next.
 *
 * Seqs are dense, start at 0 in every view and leave the map at the safe end, so each rank has a ring indexed by seq
 * instead of a tree. A slot is empty, pending (received, not delivered) or delivered (kept until it is safe, since
 * others may ask for it). Delivery follows one cursor over (seq, rank); it goes back when a hole below it is filled.
 * Everything is O(1) a message, but for the minimum over the ranks.
 */
#ifndef XB_EVS_INPUT_MAP_H
#define XB_EVS_INPUT_MAP_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum evs_slot_state { EVS_SLOT_EMPTY = 0, EVS_SLOT_PENDING, EVS_SLOT_DELIVERED };

struct evs_slot {
    struct xb_buf *buf;    /* a reference; NULL: no payload */
    uint32_t offset, size; /* of the payload in buf->mem */
    int64_t fifo_seq, aru;
    int64_t created_ns; /* own messages: when sent */
    uint8_t user_type, order, flags, range;
    uint8_t state;
};

struct evs_rank {
    int64_t lu, hs; /* lowest unseen, highest seen */
    int64_t safe;   /* highest aru it has reported */
    struct evs_slot *slots;
    uint64_t capacity; /* power of two, or 0 */
};

struct evs_map {
    struct evs_rank *ranks;
    size_t n;
    int64_t aru, safe, max_hs, max_lu;
    int64_t base; /* all slots below are empty */
    int64_t cursor_seq;
    size_t cursor_rank; /* nothing pending lies before the cursor */
};

/* Empties the map and prepares it for n ranks. -> 0, or -ENOMEM and the map is empty with 0 ranks. */
int evs_map_reset(struct evs_map *map, size_t n);
void evs_map_free(struct evs_map *map);

/* Makes room for seqs up to `last` of a rank. -> 0 or -ENOMEM. The caller bounds `last` (section 18.7). */
int evs_map_reserve(struct evs_map *map, size_t rank, int64_t last);
/* Puts *message at seq, which is not held yet, and fillers at seq + 1 .. seq + message->range as far as these are not
 * held. seq >= LU, room is reserved. The reference in message->buf passes to the map. */
void evs_map_insert(struct evs_map *map, size_t rank, int64_t seq, const struct evs_slot *message);
/* A peer reported an aru (section 6.3). -> true if that was news. */
bool evs_map_raise_safe(struct evs_map *map, size_t rank, int64_t aru);

/* -> the slot held for (seq, rank), or NULL. */
struct evs_slot *evs_map_find(const struct evs_map *map, size_t rank, int64_t seq);
/* -> true and the first run of missing seqs x..y within from..to. */
bool evs_map_gap(const struct evs_map *map, size_t rank, int64_t from, int64_t to, int64_t *x, int64_t *y);

/* -> true and the place of the next message that may be delivered (section 8.5). */
bool evs_map_deliverable(struct evs_map *map, int64_t *seq, size_t *rank);
/* -> true and the place of the next pending message, whether it may be delivered or not (section 8.6). */
bool evs_map_pending(struct evs_map *map, int64_t *seq, size_t *rank);
/* The message there was delivered or discarded: it is kept until safe. */
void evs_map_delivered(struct evs_map *map, size_t rank, int64_t seq);

#endif
