/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries in chunks, buckets under linear hashing. */
#include "certify/key_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 1024
#define EMPTY_CHUNKS_KEPT 4

int key_index_init(struct key_index *index, const uint64_t secret[2]) {
    *index = (struct key_index){.secret = {secret[0], secret[1] | 1},
                                .bucket_count = BUCKETS_MIN,
                                .bucket_capacity = BUCKETS_MIN,
                                .low_mask = BUCKETS_MIN - 1,
                                .open_chunk = KEY_INDEX_NONE,
                                .bare_chunk = KEY_INDEX_NONE};
    index->buckets = malloc(BUCKETS_MIN * sizeof(*index->buckets));
    if (!index->buckets) return -ENOMEM;
    memset(index->buckets, 0xff, BUCKETS_MIN * sizeof(*index->buckets));
    return 0;
}

void key_index_free(struct key_index *index) {
    for (uint32_t i = 0; i < index->chunk_count; i++) free(index->chunks[i].entries);
    free(index->chunks);
    free(index->buckets);
}

/* ---- buckets ---- */

static bool reserve_bucket(struct key_index *index) {
    if (index->bucket_count < index->bucket_capacity) return true;
    uint32_t *larger = realloc(index->buckets, 2 * index->bucket_capacity * sizeof(*larger));
    if (!larger) return false;
    index->buckets = larger;
    index->bucket_capacity *= 2;
    return true;
}

/* One bucket more: the entries of its buddy that belong there move over. Without memory the chains just get longer. */
static void split_bucket(struct key_index *index) {
    if (!reserve_bucket(index)) return;
    uint32_t bit = index->low_mask + 1;
    uint32_t *from = &index->buckets[index->bucket_count & index->low_mask];
    uint32_t *to = &index->buckets[index->bucket_count];
    *to = KEY_INDEX_NONE;
    while (*from != KEY_INDEX_NONE) {
        uint32_t number = *from;
        struct key_entry *entry = key_index_entry(index, number);
        if (key_index_hash(index, entry->id_low) & bit) {
            *from = entry->next;
            entry->next = *to;
            *to = number;
        } else {
            from = &entry->next;
        }
    }
    index->bucket_count++;
    if (index->bucket_count == 2 * (size_t)bit) index->low_mask = 2 * bit - 1;
}

/* One bucket less: its chain goes back to its buddy. */
static void merge_bucket(struct key_index *index) {
    if (index->bucket_count == (size_t)index->low_mask + 1) index->low_mask >>= 1;
    index->bucket_count--;
    uint32_t last = index->buckets[index->bucket_count];
    uint32_t *end = &index->buckets[index->bucket_count & index->low_mask];
    while (*end != KEY_INDEX_NONE) end = &key_index_entry(index, *end)->next;
    *end = last;
    if (index->bucket_count > index->bucket_capacity / 4 || index->bucket_capacity <= BUCKETS_MIN) return;
    uint32_t *smaller = realloc(index->buckets, index->bucket_capacity / 2 * sizeof(*smaller));
    if (!smaller) return;
    index->buckets = smaller;
    index->bucket_capacity /= 2;
}

/* ---- chunks ---- */

static void open_chunk(struct key_index *index, uint32_t number) {
    struct key_chunk *chunk = &index->chunks[number];
    chunk->previous = KEY_INDEX_NONE;
    chunk->next = index->open_chunk;
    if (chunk->next != KEY_INDEX_NONE) index->chunks[chunk->next].previous = number;
    index->open_chunk = number;
}

static void close_chunk(struct key_index *index, uint32_t number) {
    struct key_chunk *chunk = &index->chunks[number];
    if (chunk->previous != KEY_INDEX_NONE)
        index->chunks[chunk->previous].next = chunk->next;
    else
        index->open_chunk = chunk->next;
    if (chunk->next != KEY_INDEX_NONE) index->chunks[chunk->next].previous = chunk->previous;
}

/* -> the number of a chunk without memory; KEY_INDEX_NONE if there cannot be more. */
static uint32_t take_bare_chunk(struct key_index *index) {
    uint32_t number = index->bare_chunk;
    if (number != KEY_INDEX_NONE) {
        index->bare_chunk = index->chunks[number].next;
        return number;
    }
    if (index->chunk_count == KEY_INDEX_ENTRIES_MAX / KEY_INDEX_CHUNK) return KEY_INDEX_NONE;
    if (index->chunk_count == index->chunk_capacity) {
        uint32_t capacity = index->chunk_capacity ? 2 * index->chunk_capacity : 16;
        struct key_chunk *larger = realloc(index->chunks, capacity * sizeof(*larger));
        if (!larger) return KEY_INDEX_NONE;
        index->chunks = larger;
        index->chunk_capacity = capacity;
    }
    index->chunks[index->chunk_count] = (struct key_chunk){.entries = NULL};
    return index->chunk_count++;
}

static void leave_bare(struct key_index *index, uint32_t number) {
    index->chunks[number].entries = NULL;
    index->chunks[number].next = index->bare_chunk;
    index->bare_chunk = number;
}

static bool add_chunk(struct key_index *index) {
    uint32_t number = take_bare_chunk(index);
    if (number == KEY_INDEX_NONE) return false;
    struct key_entry *entries = aligned_alloc(_Alignof(struct key_entry), KEY_INDEX_CHUNK * sizeof(*entries));
    if (!entries) {
        leave_bare(index, number);
        return false;
    }
    for (uint32_t i = 0; i < KEY_INDEX_CHUNK; i++) {
        entries[i].next = i + 1 < KEY_INDEX_CHUNK ? number * KEY_INDEX_CHUNK + i + 1 : KEY_INDEX_NONE;
        memset(entries[i].value, 0, sizeof(entries[i].value));
    }
    index->chunks[number] = (struct key_chunk){.entries = entries, .first_free = number * KEY_INDEX_CHUNK};
    index->empty_chunks++;
    open_chunk(index, number);
    return true;
}

static uint32_t take_entry(struct key_index *index) {
    if (index->open_chunk == KEY_INDEX_NONE && !add_chunk(index)) return KEY_INDEX_NONE;
    struct key_chunk *chunk = &index->chunks[index->open_chunk];
    uint32_t number = chunk->first_free;
    chunk->first_free = key_index_entry(index, number)->next;
    if (chunk->used++ == 0) index->empty_chunks--;
    if (chunk->first_free == KEY_INDEX_NONE) close_chunk(index, index->open_chunk);
    return number;
}

static void give_entry_back(struct key_index *index, uint32_t number) {
    uint32_t chunk_number = number / KEY_INDEX_CHUNK;
    struct key_chunk *chunk = &index->chunks[chunk_number];
    if (chunk->first_free == KEY_INDEX_NONE) open_chunk(index, chunk_number);
    key_index_entry(index, number)->next = chunk->first_free;
    chunk->first_free = number;
    if (--chunk->used > 0) return;
    if (index->empty_chunks < EMPTY_CHUNKS_KEPT) {
        index->empty_chunks++;
        return;
    }
    close_chunk(index, chunk_number);
    free(chunk->entries);
    leave_bare(index, chunk_number);
}

/* ---- entries ---- */

uint32_t key_index_insert(struct key_index *index, const struct writeset_key *key, uint32_t hash) {
    uint32_t number = take_entry(index);
    if (number == KEY_INDEX_NONE) return KEY_INDEX_NONE;
    struct key_entry *entry = key_index_entry(index, number);
    uint32_t *bucket = key_index_bucket(index, hash);
    entry->id_low = key->id_low;
    entry->id_high = key->id_high;
    entry->is_wide = key->is_wide;
    entry->next = *bucket;
    *bucket = number;
    index->count++;
    if (index->count > index->bucket_count) split_bucket(index);
    return number;
}

void key_index_remove(struct key_index *index, uint32_t number) {
    struct key_entry *entry = key_index_entry(index, number);
    uint32_t *link = key_index_bucket(index, key_index_hash(index, entry->id_low));
    while (*link != number) link = &key_index_entry(index, *link)->next;
    *link = entry->next;
    memset(entry->value, 0, sizeof(entry->value));
    give_entry_back(index, number);
    index->count--;
    if (index->bucket_count > BUCKETS_MIN && index->count < index->bucket_count / 2) merge_bucket(index);
}

void key_index_clear(struct key_index *index) {
    for (size_t i = 0; i < index->bucket_count; i++)
        while (index->buckets[i] != KEY_INDEX_NONE) {
            uint32_t number = index->buckets[i];
            struct key_entry *entry = key_index_entry(index, number);
            index->buckets[i] = entry->next;
            memset(entry->value, 0, sizeof(entry->value));
            give_entry_back(index, number);
        }
    index->count = 0;
    while (index->bucket_count > BUCKETS_MIN) merge_bucket(index);
}
