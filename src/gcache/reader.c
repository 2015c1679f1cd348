/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readers: each has a cursor of its own, and what lies at or above any cursor is not discarded. So that one hanging
 * joiner cannot fill the disk, the slowest reader can be told to give way (spec 07 section 24 no. 8).
 */
#include "gcache/internal.h"

#include <errno.h>
#include <stdlib.h>

int64_t readers_lowest(const struct gcache *cache) {
    int64_t lowest = INT64_MAX;
    for (const struct gcache_reader *r = cache->readers; r; r = r->next)
        if (r->cursor < lowest) lowest = r->cursor;
    return lowest;
}

static void abort_reader(struct gcache_reader *reader) {
    if (reader->is_aborted) return;
    reader->is_aborted = true;
    reader->cache->readers_aborted++;
    if (reader->on_abort) reader->on_abort(reader->ctx);
}

bool readers_abort_slowest(struct gcache *cache) {
    struct gcache_reader *slowest = cache->readers;
    if (!slowest) return false;
    for (struct gcache_reader *r = slowest->next; r; r = r->next)
        if (r->cursor < slowest->cursor) slowest = r;
    abort_reader(slowest);
    return true;
}

static bool is_beyond(const struct gcache_reader *reader, int64_t seqno) {
    return seqno < 0 || reader->pending - 1 > seqno;
}

void readers_expel(struct gcache *cache, int64_t seqno) {
    for (struct gcache_reader *r = cache->readers; r;) {
        if (is_beyond(r, seqno)) {
            abort_reader(r);
            pthread_cond_wait(&cache->reader_closed, &cache->mutex);
            r = cache->readers; /* the list may have changed */
        } else {
            r = r->next;
        }
    }
}

struct gcache_reader *gcache_reader_open(struct gcache *cache, int64_t first, void (*on_abort)(void *ctx), void *ctx) {
    struct gcache_reader *reader = calloc(1, sizeof(*reader));
    if (!reader) return NULL;
    *reader =
        (struct gcache_reader){.cache = cache, .cursor = first, .pending = first, .on_abort = on_abort, .ctx = ctx};
    pthread_mutex_lock(&cache->mutex);
    bool is_there = index_find(&cache->index, first) != NULL;
    if (is_there) {
        reader->next = cache->readers;
        cache->readers = reader;
        cache->reader_count++;
    }
    pthread_mutex_unlock(&cache->mutex);
    if (is_there) return reader;
    free(reader);
    return NULL;
}

static void describe(struct gcache_header *header, int64_t seqno, struct gcache_entry *entry) {
    *entry = (struct gcache_entry){.seqno = seqno,
                                   .buf = header_payload(header),
                                   .size = header->size - HEADER_SIZE,
                                   .type = (enum gcache_type)header->type,
                                   .is_skip = header->flags & FLAG_SKIP};
}

int gcache_reader_next(struct gcache_reader *reader, struct gcache_entry *entries, size_t max) {
    struct gcache *cache = reader->cache;
    int count = 0;
    pthread_mutex_lock(&cache->mutex);
    reader->cursor = reader->pending;
    if (reader->is_aborted) count = -ECANCELED;
    while (count >= 0 && (size_t)count < max) {
        struct gcache_header *header = index_find(&cache->index, reader->pending);
        if (!header) break;
        describe(header, reader->pending, &entries[count++]);
        reader->pending++;
    }
    pthread_mutex_unlock(&cache->mutex);
    return count;
}

void gcache_reader_close(struct gcache_reader *reader) {
    if (!reader) return;
    struct gcache *cache = reader->cache;
    pthread_mutex_lock(&cache->mutex);
    struct gcache_reader **link = &cache->readers;
    while (*link != reader) link = &(*link)->next;
    *link = reader->next;
    cache->reader_count--;
    pthread_cond_broadcast(&cache->reader_closed);
    if (cache->pages.oldest) keeper_trim(cache->keeper);
    pthread_mutex_unlock(&cache->mutex);
    free(reader);
}

static bool look_up(struct gcache *cache, int64_t seqno, struct gcache_entry *entry) {
    struct gcache_header *header = index_find(&cache->index, seqno);
    if (header && entry) describe(header, seqno, entry);
    return header != NULL;
}

int gcache_get(struct gcache *cache, int64_t seqno, struct gcache_entry *entry) {
    pthread_mutex_lock(&cache->mutex);
    bool is_there = look_up(cache, seqno, entry);
    if (is_there && cache->released >= seqno) cache->released = seqno - 1;
    pthread_mutex_unlock(&cache->mutex);
    return is_there ? 0 : -ENOENT;
}

bool gcache_has(struct gcache *cache, int64_t seqno, struct gcache_entry *entry) {
    pthread_mutex_lock(&cache->mutex);
    bool is_there = look_up(cache, seqno, entry);
    pthread_mutex_unlock(&cache->mutex);
    return is_there;
}
