/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hash table of stored key parts. */
#include "writeset/key_table.h"

#include "writeset/key.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_USED 4

void key_table_init(struct key_table *table, uint64_t secret) {
    table->slots = table->first;
    key_table_clear(table, secret);
}

void key_table_clear(struct key_table *table, uint64_t secret) {
    if (table->slots != table->first) free(table->slots);
    table->slots = table->first;
    table->mask = KEY_TABLE_INLINE - 1;
    table->count = 0;
    table->secret = secret | 1;
    memset(table->first, 0, sizeof(table->first));
}

static size_t bucket_of(const struct key_table *table, uint64_t id_low) {
    uint64_t h = (id_low ^ table->secret << 5) * table->secret;
    return (h >> 32) & table->mask;
}

static struct key_slot *probe(const struct key_table *table, uint64_t id_low, uint64_t id_high) {
    for (size_t i = bucket_of(table, id_low);; i = (i + 1) & table->mask) {
        struct key_slot *slot = &table->slots[i];
        if (!key_slot_is_used(slot) || ((slot->low & KEY_ID_MASK) == id_low && slot->high == id_high)) return slot;
    }
}

static bool grow(struct key_table *table) {
    struct key_table larger = *table;
    larger.mask = table->mask * 2 + 1;
    larger.slots = calloc(larger.mask + 1, sizeof(*larger.slots));
    if (!larger.slots) return false;
    for (size_t i = 0; i <= table->mask; i++) {
        const struct key_slot *slot = &table->slots[i];
        if (key_slot_is_used(slot)) *probe(&larger, slot->low & KEY_ID_MASK, slot->high) = *slot;
    }
    if (table->slots != table->first) free(table->slots);
    table->slots = larger.slots;
    table->mask = larger.mask;
    return true;
}

struct key_slot *key_table_find(struct key_table *table, uint64_t id_low, uint64_t id_high) {
    if (table->count > table->mask / 2 && !grow(table)) return NULL;
    return probe(table, id_low, id_high);
}

void key_table_put(struct key_table *table, struct key_slot *slot, uint64_t id_low, uint64_t id_high,
                   enum writeset_key_type strength) {
    if (!key_slot_is_used(slot)) table->count++;
    *slot = (struct key_slot){.low = id_low | SLOT_USED | strength, .high = id_high};
}
