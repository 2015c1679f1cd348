/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The input map: rings of messages by rank and seq. */
#include "evs/input_map.h"

#include "evs/evs.h"
#include "evs/message.h"

#include <errno.h>
#include <stdlib.h>

#define RING_MIN 64
#define RING_KEEP_MAX 4096 /* a larger ring is given back at the next view */

static struct evs_slot *slot_at(const struct evs_rank *rank, int64_t seq) {
    return &rank->slots[(uint64_t)seq & (rank->capacity - 1)];
}

static void release(struct evs_slot *slot) {
    xb_buf_unref(slot->buf);
    slot->buf = NULL;
    slot->state = EVS_SLOT_EMPTY;
}

static void empty_rank(struct evs_map *map, struct evs_rank *rank) {
    for (int64_t seq = map->base; seq <= rank->hs; seq++)
        if (slot_at(rank, seq)->state != EVS_SLOT_EMPTY) release(slot_at(rank, seq));
    rank->hs = map->base - 1;
    if (rank->capacity > RING_KEEP_MAX) {
        free(rank->slots);
        rank->slots = NULL;
        rank->capacity = 0;
    }
}

int evs_map_reset(struct evs_map *map, size_t n) {
    for (size_t i = 0; i < map->n; i++) empty_rank(map, &map->ranks[i]);
    for (size_t i = n; i < map->n; i++) free(map->ranks[i].slots);
    struct evs_rank *ranks = n == map->n ? map->ranks : realloc(map->ranks, n * sizeof(*ranks));
    if (n && !ranks) {
        if (map->n > n) map->n = n;
        evs_map_free(map);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        struct evs_rank *rank = &ranks[i];
        *rank = (struct evs_rank){.lu = 0,
                                  .hs = -1,
                                  .safe = -1,
                                  .slots = i < map->n ? rank->slots : NULL,
                                  .capacity = i < map->n ? rank->capacity : 0};
    }
    *map = (struct evs_map){.ranks = ranks, .n = n, .aru = -1, .safe = -1, .max_hs = -1};
    return 0;
}

void evs_map_free(struct evs_map *map) {
    for (size_t i = 0; i < map->n; i++) {
        empty_rank(map, &map->ranks[i]);
        free(map->ranks[i].slots);
    }
    free(map->ranks);
    *map = (struct evs_map){.aru = -1, .safe = -1, .max_hs = -1};
}

int evs_map_reserve(struct evs_map *map, size_t r, int64_t last) {
    struct evs_rank *rank = &map->ranks[r];
    uint64_t needed = (uint64_t)(last - map->base) + 1;
    if (last < map->base || needed <= rank->capacity) return 0;
    uint64_t capacity = rank->capacity ? rank->capacity : RING_MIN;
    while (capacity < needed) capacity *= 2;
    struct evs_slot *slots = calloc(capacity, sizeof(*slots));
    if (!slots) return -ENOMEM;
    for (int64_t seq = map->base; seq <= rank->hs; seq++) slots[(uint64_t)seq & (capacity - 1)] = *slot_at(rank, seq);
    free(rank->slots);
    rank->slots = slots;
    rank->capacity = capacity;
    return 0;
}

static void raise_aru(struct evs_map *map) {
    int64_t lu = map->ranks[0].lu;
    for (size_t i = 1; i < map->n; i++)
        if (map->ranks[i].lu < lu) lu = map->ranks[i].lu;
    map->aru = lu - 1;
}

void evs_map_insert(struct evs_map *map, size_t r, int64_t seq, const struct evs_slot *message) {
    static const struct evs_slot filler = {.fifo_seq = -1, .user_type = EVS_FILLER, .order = EVS_DROP};
    struct evs_rank *rank = &map->ranks[r];
    int64_t last = seq + message->range, old_lu = rank->lu;
    for (int64_t s = seq; s <= last; s++) {
        struct evs_slot *slot = slot_at(rank, s);
        if (slot->state != EVS_SLOT_EMPTY) continue;
        *slot = s == seq ? *message : filler;
        slot->aru = message->aru;
        slot->state = EVS_SLOT_PENDING;
        if (s < map->cursor_seq || (s == map->cursor_seq && r < map->cursor_rank)) {
            map->cursor_seq = s;
            map->cursor_rank = r;
        }
    }
    if (last > rank->hs) rank->hs = last;
    if (last > map->max_hs) map->max_hs = last;
    while (rank->lu <= rank->hs && slot_at(rank, rank->lu)->state != EVS_SLOT_EMPTY) rank->lu++;
    if (rank->lu > map->max_lu) map->max_lu = rank->lu;
    if (old_lu == map->aru + 1) raise_aru(map);
}

/* Everything below base is empty: what is delivered and safe has gone, what is not delivered lies behind the cursor. */
static void raise_base(struct evs_map *map) {
    map->base = map->safe + 1 < map->cursor_seq ? map->safe + 1 : map->cursor_seq;
}

bool evs_map_raise_safe(struct evs_map *map, size_t r, int64_t aru) {
    struct evs_rank *rank = &map->ranks[r];
    if (aru <= rank->safe) return false;
    int64_t old = rank->safe;
    rank->safe = aru;
    if (old > map->safe) return true;
    int64_t safe = aru;
    for (size_t i = 0; i < map->n; i++)
        if (map->ranks[i].safe < safe) safe = map->ranks[i].safe;
    for (int64_t seq = map->safe + 1; seq <= safe; seq++) {
        for (size_t i = 0; i < map->n; i++) {
            struct evs_slot *slot = evs_map_find(map, i, seq);
            if (slot && slot->state == EVS_SLOT_DELIVERED) release(slot);
        }
    }
    map->safe = safe;
    raise_base(map);
    return true;
}

struct evs_slot *evs_map_find(const struct evs_map *map, size_t r, int64_t seq) {
    const struct evs_rank *rank = &map->ranks[r];
    if (seq < map->base || seq > rank->hs) return NULL;
    struct evs_slot *slot = slot_at(rank, seq);
    return slot->state == EVS_SLOT_EMPTY ? NULL : slot;
}

bool evs_map_gap(const struct evs_map *map, size_t r, int64_t from, int64_t to, int64_t *x, int64_t *y) {
    const struct evs_rank *rank = &map->ranks[r];
    int64_t s = from > rank->lu ? from : rank->lu;
    while (s <= to && evs_map_find(map, r, s)) s++;
    if (s > to) return false;
    *x = s;
    while (s < rank->hs && s < to && !evs_map_find(map, r, s + 1)) s++;
    *y = s >= rank->hs ? to : s;
    return true;
}

bool evs_map_deliverable(struct evs_map *map, int64_t *seq, size_t *r) {
    /* At or above the highest LU nothing is received contiguously, so nothing is deliverable there. */
    for (; map->cursor_seq < map->max_lu; map->cursor_seq++, map->cursor_rank = 0) {
        int64_t s = map->cursor_seq;
        for (; map->cursor_rank < map->n; map->cursor_rank++) {
            const struct evs_slot *slot = evs_map_find(map, map->cursor_rank, s);
            if (!slot || slot->state != EVS_SLOT_PENDING) continue;
            bool is_ok = map->safe >= s || (slot->order <= EVS_AGREED && map->aru >= s) ||
                         (slot->order <= EVS_FIFO && map->ranks[map->cursor_rank].lu > s);
            *seq = s;
            *r = map->cursor_rank;
            return is_ok;
        }
    }
    return false;
}

bool evs_map_pending(struct evs_map *map, int64_t *seq, size_t *r) {
    for (; map->cursor_seq <= map->max_hs; map->cursor_seq++, map->cursor_rank = 0) {
        for (; map->cursor_rank < map->n; map->cursor_rank++) {
            const struct evs_slot *slot = evs_map_find(map, map->cursor_rank, map->cursor_seq);
            if (!slot || slot->state != EVS_SLOT_PENDING) continue;
            *seq = map->cursor_seq;
            *r = map->cursor_rank;
            return true;
        }
    }
    return false;
}

void evs_map_delivered(struct evs_map *map, size_t r, int64_t seq) {
    struct evs_slot *slot = evs_map_find(map, r, seq);
    if (!slot) return;
    slot->state = EVS_SLOT_DELIVERED;
    if (seq <= map->safe) release(slot);
    raise_base(map);
}
