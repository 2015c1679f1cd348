/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Table of key identities (spec 06 section 11): an entry holds a number for each of the four key types. The
 * certification index keeps seqnos in them (modulo 2^32), the table of running NBOs counts. Private to src/certify.
 *
 * Two entries fill a cache line and do not move, so others can keep their numbers. Buckets are chains of entries under
 * linear hashing: the table grows and shrinks by one bucket at a time, so no event ever waits for a rehash. The bucket
 * hash is keyed, because clients choose the keys (section 25.8). Memory of a large table comes in blocks of 2 MiB, huge
 * pages if the system has them: nearly every access would miss the TLB otherwise.
 */
#ifndef XB_CERTIFY_KEY_INDEX_H
#define XB_CERTIFY_KEY_INDEX_H

#include "writeset/writeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_INDEX_NONE UINT32_MAX
#define KEY_INDEX_ENTRIES_MAX (1u << 30) /* so that a number and a key type fit in 32 bits */
#define KEY_INDEX_BLOCK_SIZE (2u << 20)
#define KEY_INDEX_CHUNK (KEY_INDEX_BLOCK_SIZE / 32)  /* entries allocated at once */
#define KEY_INDEX_SEGMENT (KEY_INDEX_BLOCK_SIZE / 4) /* buckets allocated at once */

#define KEY_ENTRY_VALUE_BITS 0x0fu /* which values are set */
#define KEY_ENTRY_WIDE 0x10u
#define KEY_ENTRY_ID_MASK (~(uint64_t)0x1f)

struct key_entry {
    uint64_t id; /* with the bits above */
    uint32_t value[WRITESET_KEY_TYPES];
    uint32_t next; /* in the bucket, or in the chunk's list of free entries */
};

struct key_chunk {
    struct key_entry *entries; /* NULL: not allocated */
    uint64_t *high;            /* second halves of identities; NULL while none of them is wide */
    uint32_t first_free;       /* of those given back; KEY_INDEX_NONE: none */
    uint32_t fresh;            /* entries from here on were never used: their memory is untouched */
    uint32_t capacity;         /* allocated; KEY_INDEX_CHUNK but in the first chunk, which grows to that */
    uint32_t used;
    uint32_t previous, next; /* chunks with free entries; without memory: `next` chains them */
};

struct key_index {
    uint64_t secret[2];
    uint32_t **segments; /* of buckets */
    size_t bucket_count, segment_count, segment_capacity;
    size_t bucket_room; /* buckets that the segments have room for */
    uint32_t low_mask;  /* 2^k - 1, where 2^k <= bucket_count < 2^(k+1) */
    size_t count;       /* entries in use */
    struct key_chunk *chunks;
    size_t chunk_count, chunk_capacity;
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

static inline uint32_t *key_index_bucket_at(const struct key_index *index, size_t bucket) {
    return &index->segments[bucket / KEY_INDEX_SEGMENT][bucket % KEY_INDEX_SEGMENT];
}

static inline uint32_t *key_index_bucket(const struct key_index *index, uint32_t hash) {
    uint32_t bucket = hash & (2 * index->low_mask + 1);
    return key_index_bucket_at(index, bucket < index->bucket_count ? bucket : bucket & index->low_mask);
}

static inline struct key_entry *key_index_entry(const struct key_index *index, uint32_t number) {
    return &index->chunks[number / KEY_INDEX_CHUNK].entries[number % KEY_INDEX_CHUNK];
}

static inline uint64_t key_index_high(const struct key_index *index, uint32_t number) {
    return index->chunks[number / KEY_INDEX_CHUNK].high[number % KEY_INDEX_CHUNK];
}

/* The key's entry, or KEY_INDEX_NONE. Identities of different lengths match by their first 59 bits. */
static inline uint32_t key_index_find(const struct key_index *index, const struct writeset_key *key, uint32_t hash) {
    uint32_t number = *key_index_bucket(index, hash);
    while (number != KEY_INDEX_NONE) {
        const struct key_entry *entry = key_index_entry(index, number);
        if ((entry->id & KEY_ENTRY_ID_MASK) == key->id_low &&
            (!(entry->id & KEY_ENTRY_WIDE) || !key->is_wide || key_index_high(index, number) == key->id_high))
            break;
        number = entry->next;
    }
    return number;
}

/* A new entry without values for a key that has none. -> its number, or KEY_INDEX_NONE without memory */
uint32_t key_index_insert(struct key_index *index, const struct writeset_key *key, uint32_t hash);
void key_index_remove(struct key_index *index, uint32_t number);
/* The entry takes over the length of the key that matched it. -> 0 or -ENOMEM */
int key_index_adopt(struct key_index *index, uint32_t number, const struct writeset_key *key);

static inline bool key_entry_has_value(const struct key_entry *entry, enum writeset_key_type type) {
    return entry->id >> type & 1;
}
static inline void key_entry_set_value(struct key_entry *entry, enum writeset_key_type type, uint32_t value) {
    entry->id |= 1u << type;
    entry->value[type] = value;
}
/* -> true if the entry has no value any more. */
static inline bool key_entry_clear_value(struct key_entry *entry, enum writeset_key_type type) {
    entry->id &= ~((uint64_t)1 << type);
    return (entry->id & KEY_ENTRY_VALUE_BITS) == 0;
}

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

#endif
