/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of one record. */
#include "writeset/data_list.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 2048
#define CHUNK_MAX (1 << 20)
#define CHUNK_KEPT_MAX (64 << 10)
/* References are cheap for large pieces only, and each costs an entry of the gather list. */
#define REFERENCE_MIN 512

struct data_chunk {
    struct data_chunk *next;
    size_t used, capacity;
    uint8_t bytes[];
};

static void reset(struct data_list *list) {
    if (list->pieces != list->first) free(list->pieces);
    list->pieces = list->first;
    list->piece_count = 0;
    list->piece_capacity = DATA_LIST_INLINE;
    list->size = 0;
    xb_murmur128_init(&list->hash);
}

void data_list_init(struct data_list *list) {
    list->pieces = list->first;
    list->chunks = NULL;
    reset(list);
}

static void free_chunks(struct data_chunk *chunk) {
    while (chunk) {
        struct data_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void data_list_clear(struct data_list *list) {
    struct data_chunk *kept = list->chunks;
    reset(list);
    if (!kept) return;
    if (kept->capacity > CHUNK_KEPT_MAX) {
        free_chunks(kept);
        list->chunks = NULL;
        return;
    }
    free_chunks(kept->next);
    kept->next = NULL;
    kept->used = 0;
}

void data_list_free(struct data_list *list) {
    reset(list);
    free_chunks(list->chunks);
    list->chunks = NULL;
}

/* -> a place for size bytes in the newest chunk, or in a fresh one that is twice as large. */
static uint8_t *reserve(struct data_list *list, size_t size) {
    struct data_chunk *chunk = list->chunks;
    if (!chunk || chunk->capacity - chunk->used < size) {
        size_t capacity = chunk ? chunk->capacity * 2 : CHUNK_MIN;
        if (capacity > CHUNK_MAX) capacity = CHUNK_MAX;
        if (capacity < size) capacity = size;
        chunk = malloc(sizeof(*chunk) + capacity);
        if (!chunk) return NULL;
        *chunk = (struct data_chunk){.next = list->chunks, .capacity = capacity};
        list->chunks = chunk;
    }
    uint8_t *place = chunk->bytes + chunk->used;
    chunk->used += size;
    return place;
}

static int add_piece(struct data_list *list, const void *data, size_t size) {
    struct iovec *last = list->piece_count > 0 ? &list->pieces[list->piece_count - 1] : NULL;
    if (last && (const uint8_t *)last->iov_base + last->iov_len == data) {
        last->iov_len += size;
        return 0;
    }
    if (list->piece_count == list->piece_capacity) {
        bool is_inline = list->pieces == list->first;
        struct iovec *larger = realloc(is_inline ? NULL : list->pieces, 2 * list->piece_capacity * sizeof(*larger));
        if (!larger) return -ENOMEM;
        if (is_inline) memcpy(larger, list->first, sizeof(list->first));
        list->pieces = larger;
        list->piece_capacity *= 2;
    }
    list->pieces[list->piece_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return 0;
}

int data_list_add(struct data_list *list, const void *data, size_t size, bool is_copied) {
    if (size == 0) return 0;
    if (is_copied || size < REFERENCE_MIN) {
        uint8_t *place = reserve(list, size);
        if (!place) return -ENOMEM;
        memcpy(place, data, size);
        data = place;
    }
    int rc = add_piece(list, data, size);
    if (rc < 0) return rc;
    xb_murmur128_update(&list->hash, data, size);
    list->size += size;
    return 0;
}
