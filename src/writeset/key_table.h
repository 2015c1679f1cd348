/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key parts that a builder has stored so far, each with its greatest strength. Open addressing, no removal; the
 * bucket hash is keyed, since clients choose the keys. Private to src/writeset.
 */
#ifndef XB_WRITESET_KEY_TABLE_H
#define XB_WRITESET_KEY_TABLE_H

#include "writeset/writeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_TABLE_INLINE 32

struct key_slot {
    uint64_t low; /* identity; the bits below it tell strength and whether the slot is in use */
    uint64_t high;
};

struct key_table {
    struct key_slot *slots; /* `first` or on the heap */
    size_t mask, count;
    uint64_t secret;
    struct key_slot first[KEY_TABLE_INLINE];
};

void key_table_init(struct key_table *table, uint64_t secret);
void key_table_clear(struct key_table *table, uint64_t secret); /* gives the heap's memory back too */

/* -> the slot of this identity, or the free one where it belongs; room for it is made first. NULL: no memory. */
struct key_slot *key_table_find(struct key_table *table, uint64_t id_low, uint64_t id_high);

static inline bool key_slot_is_used(const struct key_slot *slot) {
    return slot->low & 4;
}
static inline enum writeset_key_type key_slot_strength(const struct key_slot *slot) {
    return (enum writeset_key_type)(slot->low & 3);
}
/* Fills a slot that key_table_find returned, or raises its strength. */
void key_table_put(struct key_table *table, struct key_slot *slot, uint64_t id_low, uint64_t id_high,
                   enum writeset_key_type strength);

#endif
