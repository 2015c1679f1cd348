/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries in chunks, buckets in segments under linear hashing. */
#include "certify/key_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUCKETS_MIN 1024
#define FIRST_CHUNK_MIN 256
#define EMPTY_CHUNKS_KEPT 1
#define SPLIT_AHEAD 8

static_assert(sizeof(struct key_entry) * KEY_INDEX_CHUNK == KEY_INDEX_BLOCK_SIZE, "chunks are whole blocks");

static void *new_block(void) {
    void *block = aligned_alloc(KEY_INDEX_BLOCK_SIZE, KEY_INDEX_BLOCK_SIZE);
    if (block) madvise(block, KEY_INDEX_BLOCK_SIZE, MADV_HUGEPAGE); /* helps if it can */
    return block;
}

/* Room for one more element in an array that doubles. -> 0 or -ENOMEM */
static int reserve_one(void *array, size_t count, size_t *capacity, size_t element) {
    void **elements = array;
    if (count < *capacity) return 0;
    size_t wanted = *capacity ? 2 * *capacity : 16;
    void *larger = realloc(*elements, wanted * element);
    if (!larger) return -ENOMEM;
    *elements = larger;
    *capacity = wanted;
    return 0;
}

/* ---- buckets ---- */

/* The first segment grows in itself; then come whole ones. */
static bool reserve_bucket(struct key_index *index) {
    if (index->bucket_count < index->bucket_room) return true;
    if (index->bucket_room < KEY_INDEX_SEGMENT) {
        uint32_t *larger = realloc(index->segments[0], 2 * index->bucket_room * sizeof(*larger));
        if (!larger) return false;
        index->segments[0] = larger;
        index->bucket_room *= 2;
        return true;
    }
    if (reserve_one(&index->segments, index->segment_count, &index->segment_capacity, sizeof(*index->segments)) < 0)
        return false;
    uint32_t *segment = new_block();
    if (!segment) return false;
    index->segments[index->segment_count++] = segment;
    index->bucket_room += KEY_INDEX_SEGMENT;
    return true;
}

/* One bucket more: the entries of its buddy that belong there move over. Without memory the chains just get longer. */
static void split_bucket(struct key_index *index) {
    if (!reserve_bucket(index)) return;
    uint32_t bit = index->low_mask + 1;
    size_t buddy = index->bucket_count & index->low_mask;
    /* The buddies follow each other: what a later split will look at can be fetched now. */
    uint32_t ahead = *key_index_bucket_at(index, buddy + SPLIT_AHEAD <= index->low_mask ? buddy + SPLIT_AHEAD : buddy);
    if (ahead != KEY_INDEX_NONE) __builtin_prefetch(key_index_entry(index, ahead), 1);
    uint32_t *from = key_index_bucket_at(index, buddy), *to = key_index_bucket_at(index, index->bucket_count);
    *to = KEY_INDEX_NONE;
    while (*from != KEY_INDEX_NONE) {
        uint32_t number = *from;
        struct key_entry *entry = key_index_entry(index, number);
        if (key_index_hash(index, entry->id & KEY_ENTRY_ID_MASK) & bit) {
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
    uint32_t last = *key_index_bucket_at(index, index->bucket_count);
    uint32_t *end = key_index_bucket_at(index, index->bucket_count & index->low_mask);
    while (*end != KEY_INDEX_NONE) end = &key_index_entry(index, *end)->next;
    *end = last;
    /* One spare segment is kept, lest a table at the edge allocates and frees all the time. */
    if (index->segment_count > 1 && index->bucket_count + 2 * KEY_INDEX_SEGMENT <= index->bucket_room) {
        free(index->segments[--index->segment_count]);
        index->bucket_room -= KEY_INDEX_SEGMENT;
    }
}

int key_index_init(struct key_index *index, const uint64_t secret[2]) {
    *index = (struct key_index){.secret = {secret[0], secret[1] | 1},
                                .low_mask = BUCKETS_MIN - 1,
                                .open_chunk = KEY_INDEX_NONE,
                                .bare_chunk = KEY_INDEX_NONE};
    uint32_t *segment = malloc(BUCKETS_MIN * sizeof(*segment));
    if (!segment || reserve_one(&index->segments, 0, &index->segment_capacity, sizeof(*index->segments)) < 0) {
        free(segment);
        return -ENOMEM;
    }
    memset(segment, 0xff, BUCKETS_MIN * sizeof(*segment));
    index->segments[0] = segment;
    index->segment_count = 1;
    index->bucket_count = index->bucket_room = BUCKETS_MIN;
    return 0;
}

void key_index_free(struct key_index *index) {
    for (size_t i = 0; i < index->chunk_count; i++) {
        free(index->chunks[i].entries);
        free(index->chunks[i].high);
    }
    for (size_t i = 0; i < index->segment_count; i++) free(index->segments[i]);
    free(index->chunks);
    free(index->segments);
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
    if (reserve_one(&index->chunks, index->chunk_count, &index->chunk_capacity, sizeof(*index->chunks)) < 0)
        return KEY_INDEX_NONE;
    index->chunks[index->chunk_count] = (struct key_chunk){.entries = NULL};
    return (uint32_t)index->chunk_count++;
}

static void leave_bare(struct key_index *index, uint32_t number) {
    index->chunks[number] = (struct key_chunk){.next = index->bare_chunk};
    index->bare_chunk = number;
}

static bool add_chunk(struct key_index *index) {
    uint32_t number = take_bare_chunk(index);
    if (number == KEY_INDEX_NONE) return false;
    uint32_t capacity = number == 0 ? FIRST_CHUNK_MIN : KEY_INDEX_CHUNK;
    struct key_entry *entries = number == 0 ? malloc(capacity * sizeof(*entries)) : new_block();
    if (!entries) {
        leave_bare(index, number);
        return false;
    }
    index->chunks[number] = (struct key_chunk){.entries = entries, .first_free = KEY_INDEX_NONE, .capacity = capacity};
    index->empty_chunks++;
    open_chunk(index, number);
    return true;
}

static bool is_full(const struct key_chunk *chunk) {
    return chunk->first_free == KEY_INDEX_NONE && chunk->fresh == KEY_INDEX_CHUNK;
}

/* The first chunk begins small. Its entries keep their numbers. */
static bool grow_chunk(struct key_chunk *chunk) {
    if (chunk->high) {
        uint64_t *high = realloc(chunk->high, 2 * chunk->capacity * sizeof(*high));
        if (!high) return false;
        chunk->high = high;
    }
    struct key_entry *entries = realloc(chunk->entries, 2 * chunk->capacity * sizeof(*entries));
    if (!entries) return false;
    chunk->entries = entries;
    chunk->capacity *= 2;
    return true;
}

static uint32_t take_entry(struct key_index *index) {
    if (index->open_chunk == KEY_INDEX_NONE && !add_chunk(index)) return KEY_INDEX_NONE;
    struct key_chunk *chunk = &index->chunks[index->open_chunk];
    bool needs_room = chunk->first_free == KEY_INDEX_NONE && chunk->fresh == chunk->capacity;
    if (needs_room && !grow_chunk(chunk)) return KEY_INDEX_NONE;
    uint32_t number = chunk->first_free;
    if (number != KEY_INDEX_NONE)
        chunk->first_free = key_index_entry(index, number)->next;
    else
        number = index->open_chunk * KEY_INDEX_CHUNK + chunk->fresh++;
    if (chunk->used++ == 0) index->empty_chunks--;
    if (is_full(chunk)) close_chunk(index, index->open_chunk);
    return number;
}

static void give_entry_back(struct key_index *index, uint32_t number) {
    uint32_t chunk_number = number / KEY_INDEX_CHUNK;
    struct key_chunk *chunk = &index->chunks[chunk_number];
    if (is_full(chunk)) open_chunk(index, chunk_number);
    key_index_entry(index, number)->next = chunk->first_free;
    chunk->first_free = number;
    if (--chunk->used > 0) return;
    if (index->empty_chunks < EMPTY_CHUNKS_KEPT) {
        index->empty_chunks++;
        return;
    }
    close_chunk(index, chunk_number);
    free(chunk->entries);
    free(chunk->high);
    leave_bare(index, chunk_number);
}

/* ---- entries ---- */

int key_index_adopt(struct key_index *index, uint32_t number, const struct writeset_key *key) {
    struct key_chunk *chunk = &index->chunks[number / KEY_INDEX_CHUNK];
    struct key_entry *entry = key_index_entry(index, number);
    if (!key->is_wide) {
        entry->id &= ~(uint64_t)KEY_ENTRY_WIDE;
        return 0;
    }
    if (!chunk->high) chunk->high = malloc(chunk->capacity * sizeof(*chunk->high));
    if (!chunk->high) return -ENOMEM;
    chunk->high[number % KEY_INDEX_CHUNK] = key->id_high;
    entry->id |= KEY_ENTRY_WIDE;
    return 0;
}

uint32_t key_index_insert(struct key_index *index, const struct writeset_key *key, uint32_t hash) {
    uint32_t number = take_entry(index);
    if (number == KEY_INDEX_NONE) return KEY_INDEX_NONE;
    struct key_entry *entry = key_index_entry(index, number);
    entry->id = key->id_low;
    if (key_index_adopt(index, number, key) < 0) {
        give_entry_back(index, number);
        return KEY_INDEX_NONE;
    }
    uint32_t *bucket = key_index_bucket(index, hash);
    entry->next = *bucket;
    *bucket = number;
    index->count++;
    if (index->count > index->bucket_count) split_bucket(index);
    return number;
}

void key_index_remove(struct key_index *index, uint32_t number) {
    struct key_entry *entry = key_index_entry(index, number);
    uint32_t *link = key_index_bucket(index, key_index_hash(index, entry->id & KEY_ENTRY_ID_MASK));
    while (*link != number) link = &key_index_entry(index, *link)->next;
    *link = entry->next;
    entry->id = 0;
    give_entry_back(index, number);
    index->count--;
    if (index->bucket_count > BUCKETS_MIN && index->count < index->bucket_count / 2) merge_bucket(index);
}

void key_index_clear(struct key_index *index) {
    struct key_index old = *index;
    /* Its smallest form needs no new memory, so this cannot fail. */
    uint32_t *segment = realloc(old.segments[0], BUCKETS_MIN * sizeof(*segment));
    if (!segment) segment = old.segments[0];
    memset(segment, 0xff, BUCKETS_MIN * sizeof(*segment));
    *index = (struct key_index){.secret = {old.secret[0], old.secret[1]},
                                .segments = old.segments,
                                .segment_count = 1,
                                .segment_capacity = old.segment_capacity,
                                .bucket_count = BUCKETS_MIN,
                                .bucket_room = BUCKETS_MIN,
                                .low_mask = BUCKETS_MIN - 1,
                                .open_chunk = KEY_INDEX_NONE,
                                .bare_chunk = KEY_INDEX_NONE};
    index->segments[0] = segment;
    for (size_t i = 1; i < old.segment_count; i++) free(old.segments[i]);
    for (size_t i = 0; i < old.chunk_count; i++) {
        free(old.chunks[i].entries);
        free(old.chunks[i].high);
    }
    free(old.chunks);
}
