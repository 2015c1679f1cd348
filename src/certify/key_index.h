/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Table of key identities (spec 06 section 11): an entry holds a number for each of the four key types. The
 * certification index keeps seqnos in them, the table of running NBOs counts. Private to src/certify.
 *
 * Entries fill one cache line and do not move, so others can keep their numbers. Buckets are chains of entries under
 * linear hashing: the table grows and shrinks by one bucket at a time, so no event ever waits for a rehash. The bucket
 * hash is keyed, because clients choose the keys (section 25.8).
 */
#ifndef XB_CERTIFY_KEY_INDEX_H
#define XB_CERTIFY_KEY_INDEX_H

#include "writeset/writeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_INDEX_NONE UINT32_MAX
#define KEY_INDEX_ENTRIES_MAX (1u << 30) /* so that a number and a key type fit in 32 bits */
#define KEY_INDEX_CHUNK 1024             /* entries allocated at once: 64 KiB */

struct key_entry {
    _Alignas(64) uint64_t id_low;
    uint64_t id_high;
    int64_t value[WRITESET_KEY_TYPES]; /* 0: none */
    uint32_t next;                     /* in the bucket, or in the chunk's list of free entries */
    bool is_wide;
};

struct key_chunk {
    struct key_entry *entries; /* NULL: not allocated */
    uint32_t first_free, used;
    uint32_t previous, next; /* chunks with free entries; without memory: `next` chains them */
};

struct key_index {
    uint64_t secret[2];
    uint32_t *buckets;
    size_t bucket_count, bucket_capacity;
    uint32_t low_mask; /* 2^k - 1, where 2^k <= bucket_count < 2^(k+1) */
    size_t count;      /* entries in use */
    struct key_chunk *chunks;
    uint32_t chunk_count, chunk_capacity;
    uint32_t open_chunk;   /* head of the chunks with free entries */
    uint32_t bare_chunk;   /* head of the chunks without memory */
    uint32_t empty_chunks; /* allocated and unused */
};

int key_index_init(struct key_index *index, const uint64_t secret[2]); /* 0 or -ENOMEM */
void key_index_free(struct key_index *index);
void key_index_clear(struct key_index *index);

static inline uint32_t key_index_hash(const struct key_index *index, uint64_t id_low) {
    uint64_t h = (id_low ^ index->secret[0]) * index->secret[1];
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

static inline uint32_t *key_index_bucket(const struct key_index *index, uint32_t hash) {
    uint32_t bucket = hash & (2 * index->low_mask + 1);
    return &index->buckets[bucket < index->bucket_count ? bucket : bucket & index->low_mask];
}

static inline struct key_entry *key_index_entry(const struct key_index *index, uint32_t number) {
    return &index->chunks[number / KEY_INDEX_CHUNK].entries[number % KEY_INDEX_CHUNK];
}

/* The key's entry, or KEY_INDEX_NONE. Identities of different lengths match by their first 59 bits. */
static inline uint32_t key_index_find(const struct key_index *index, const struct writeset_key *key, uint32_t hash) {
    uint32_t number = *key_index_bucket(index, hash);
    while (number != KEY_INDEX_NONE) {
        const struct key_entry *entry = key_index_entry(index, number);
        if (entry->id_low == key->id_low && (!entry->is_wide || !key->is_wide || entry->id_high == key->id_high)) break;
        number = entry->next;
    }
    return number;
}

/* A new entry for a key that has none. -> its number, or KEY_INDEX_NONE without memory */
uint32_t key_index_insert(struct key_index *index, const struct writeset_key *key, uint32_t hash);
void key_index_remove(struct key_index *index, uint32_t number);

/* A reference as a write set remembers it: entry and key type. */
static inline uint32_t key_ref(uint32_t number, enum writeset_key_type type) {
    return number << 2 | type;
}
static inline uint32_t key_ref_number(uint32_t ref) {
    return ref >> 2;
}
static inline enum writeset_key_type key_ref_type(uint32_t ref) {
    return (enum writeset_key_type)(ref & 3);
}

static inline bool key_entry_is_unused(const struct key_entry *entry) {
    return (entry->value[0] | entry->value[1] | entry->value[2] | entry->value[3]) == 0;
}

#endif
