/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The history as a whole: opening and closing, who gets a buffer from which store, what may be discarded. */
#include "gcache/gcache.h"
#include "gcache/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define FORMAT_VERSION 2
#define READER_WAIT_MS 1000 /* for an aborted reader to close, when the disk is full */

static void lock(struct gcache *cache) {
    pthread_mutex_lock(&cache->mutex);
}

static void unlock(struct gcache *cache) {
    pthread_mutex_unlock(&cache->mutex);
}

/* ------------------------------------------------------------- discarding */

int64_t gcache_discard_limit(const struct gcache *cache) {
    int64_t reader = readers_lowest(cache);
    return reader <= cache->released ? reader - 1 : cache->released;
}

void gcache_free_buffer(struct gcache *cache, struct gcache_header *header) {
    if (header->store == STORE_MEMORY) {
        cache->mem_used_bytes -= header->size;
        free(header);
        return;
    }
    if (header->store == STORE_PAGE) {
        struct gcache_page *page = (struct gcache_page *)(uintptr_t)header->context;
        page->buffer_count--;
        if (header->seqno == SEQNO_NONE) page->unordered_count--;
    }
    header->flags = FLAG_RELEASED; /* else the other provider would keep it for ever */
    header->seqno = SEQNO_FREE;
}

void gcache_discard_lowest(struct gcache *cache) {
    gcache_free_buffer(cache, index_take_lowest(&cache->index));
}

/* -------------------------------------------------------------- allocation */

static struct gcache_header *memory_alloc(struct gcache *cache, size_t total, bool is_last_resort) {
    int64_t size = (int64_t)total;
    if (!is_last_resort) {
        if (size > cache->mem_size_bytes) return NULL;
        int64_t limit = gcache_discard_limit(cache);
        while (cache->mem_used_bytes + size > cache->mem_size_bytes) {
            struct gcache_header *lowest = index_find(&cache->index, cache->index.low);
            if (!lowest || lowest->store != STORE_MEMORY || lowest->seqno > limit) return NULL;
            gcache_discard_lowest(cache);
        }
    }
    struct gcache_header *header = malloc(total);
    if (!header) return NULL;
    *header = (struct gcache_header){.seqno = SEQNO_NONE, .size = (uint32_t)total, .store = STORE_MEMORY};
    cache->mem_used_bytes += size;
    return header;
}

/* The disk is full because of a reader: makes it go and tries the ring again. */
static struct gcache_header *alloc_after_reader(struct gcache *cache, size_t total) {
    if (!readers_abort_slowest(cache)) return NULL;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += READER_WAIT_MS / 1000;
    int64_t count = cache->reader_count, blocked_by;
    while (cache->reader_count == count && !pthread_cond_timedwait(&cache->reader_closed, &cache->mutex, &until)) {
    }
    return ring_alloc(cache, total, gcache_discard_limit(cache), &blocked_by);
}

static struct gcache_header *alloc_somewhere(struct gcache *cache, size_t total) {
    int64_t blocked_by;
    struct gcache_header *header = NULL;
    if (cache->mem_size_bytes > 0) header = memory_alloc(cache, total, false);
    if (!header) header = ring_alloc(cache, total, gcache_discard_limit(cache), &blocked_by);
    if (header) return header;
    bool is_reader_to_blame = blocked_by > SEQNO_NONE && blocked_by <= cache->released;
    header = page_alloc(cache, total, is_reader_to_blame);
    if (!header && is_reader_to_blame) header = alloc_after_reader(cache, total);
    if (!header) header = memory_alloc(cache, total, true);
    return header;
}

void *gcache_alloc(struct gcache *cache, size_t size) {
    if (size == 0 || size > GCACHE_BUFFER_SIZE_MAX) return NULL;
    size_t total = buffer_total_size(size);
    lock(cache);
    struct gcache_header *header = alloc_somewhere(cache, total);
    unlock(cache);
    if (!header) return NULL;
    if (size % 8) memset((uint8_t *)header + total - 8, 0, 8);
    return header_payload(header);
}

void gcache_free(struct gcache *cache, void *buf) {
    if (!buf) return;
    struct gcache_header *header = payload_header(buf);
    lock(cache);
    assert(header->seqno == SEQNO_NONE);
    if (header->store == STORE_PAGE) keeper_trim(cache->keeper);
    gcache_free_buffer(cache, header);
    unlock(cache);
}

/* ------------------------------------------------------------------ seqnos */

void gcache_set_seqno(struct gcache_header *header, int64_t seqno, enum gcache_type type, unsigned flags) {
    header->type = (int8_t)type;
    header->flags = (uint16_t)flags;
    atomic_thread_fence(memory_order_release); /* the seqno last: it is what recovery goes by */
    header->seqno = seqno;
}

int gcache_assign(struct gcache *cache, void *buf, int64_t seqno, enum gcache_type type, bool is_skip) {
    struct gcache_header *header = payload_header(buf);
    lock(cache);
    assert(header->seqno == SEQNO_NONE);
    int rc = index_insert(&cache->index, seqno, header);
    if (!rc) {
        if (cache->released >= seqno) cache->released = seqno - 1;
        if (header->store == STORE_PAGE) {
            struct gcache_page *page = (struct gcache_page *)(uintptr_t)header->context;
            page->unordered_count--;
            if (seqno > page->seqno_max) page->seqno_max = seqno;
        }
        gcache_set_seqno(header, seqno, type, FLAG_RELEASED | (is_skip ? FLAG_SKIP : 0));
    }
    unlock(cache);
    return rc;
}

int gcache_skip(struct gcache *cache, int64_t seqno) {
    lock(cache);
    struct gcache_header *header = index_find(&cache->index, seqno);
    if (header) header->flags |= FLAG_SKIP;
    unlock(cache);
    return header ? 0 : -ENOENT;
}

void gcache_release(struct gcache *cache, int64_t seqno) {
    lock(cache);
    if (seqno > cache->released) cache->released = seqno;
    if (cache->pages.oldest) keeper_trim(cache->keeper);
    unlock(cache);
}

int64_t gcache_min(struct gcache *cache) {
    lock(cache);
    int64_t seqno = index_is_empty(&cache->index) ? -1 : cache->index.run_low;
    unlock(cache);
    return seqno;
}

struct xb_uuid gcache_uuid(struct gcache *cache) {
    lock(cache);
    struct xb_uuid uuid = cache->uuid;
    unlock(cache);
    return uuid;
}

static void write_open_preamble(struct gcache *cache) {
    struct ring_preamble preamble = {.version = FORMAT_VERSION, .uuid = cache->uuid};
    ring_write_preamble(&cache->ring, &preamble);
}

/* Marks everything above seqno free. */
static void drop_above(struct gcache *cache, int64_t seqno) {
    while (!index_is_empty(&cache->index) && cache->index.high > seqno)
        gcache_free_buffer(cache, index_take_highest(&cache->index));
    ring_reclaim(&cache->ring);
}

/* What is left of the old history must be gone from the disk before the file says that it holds another. */
static void adopt_uuid(struct gcache *cache, const struct xb_uuid *uuid) {
    cache->uuid = xb_uuid_nil;
    write_open_preamble(cache);
    unlock(cache);
    msync(cache->ring.map, cache->ring.map_size, MS_SYNC);
    lock(cache);
    cache->uuid = *uuid;
    write_open_preamble(cache);
}

void gcache_reset(struct gcache *cache, const struct xb_uuid *uuid, int64_t seqno) {
    lock(cache);
    bool is_same = xb_uuid_equal(uuid, &cache->uuid);
    bool is_cut = is_same && seqno >= cache->index.low && seqno <= cache->index.high;
    readers_expel(cache, is_cut ? seqno : -1);
    drop_above(cache, is_cut ? seqno : -1);
    if (!is_cut) cache->released = 0;
    if (!is_same) adopt_uuid(cache, uuid);
    keeper_trim(cache->keeper);
    unlock(cache);
}

/* ------------------------------------------------------------ open and close */

static void init_locks(struct gcache *cache) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&cache->mutex, NULL);
    pthread_cond_init(&cache->reader_closed, &attr);
    pthread_condattr_destroy(&attr);
}

static void destroy(struct gcache *cache) {
    page_delete_all(cache->pages.oldest);
    index_clear(&cache->index);
    free(cache->pages.dir);
    pthread_cond_destroy(&cache->reader_closed);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

static void fill_config(struct gcache *cache, const struct gcache_config *config) {
    cache->is_payload_intact = config->is_payload_intact;
    cache->progress = config->progress;
    cache->ctx = config->ctx;
    cache->mem_size_bytes = config->mem_size_bytes;
    cache->reader_limit_bytes = config->reader_limit_bytes;
    cache->pages.page_size_bytes = config->page_size_bytes;
    cache->pages.keep_bytes = config->keep_pages_size_bytes;
    cache->pages.dir = strdup(config->dir && *config->dir ? config->dir : ".");
}

static int open_ring(struct gcache *cache, const struct gcache_config *config, struct xb_error *error) {
    char *path = NULL;
    const char *name = config->name && *config->name ? config->name : "galera.cache";
    int n = *name == '/' ? asprintf(&path, "%s", name) : asprintf(&path, "%s/%s", cache->pages.dir, name);
    if (n < 0) return xb_fail(error, -ENOMEM, "Out of memory");
    int rc = ring_open(&cache->ring, path, config->size_bytes, error);
    free(path);
    return rc;
}

static void start(struct gcache *cache, bool is_recovering) {
    struct gcache_ring *ring = &cache->ring;
    struct ring_preamble preamble;
    ring_read_preamble(ring, &preamble);
    if (!is_recovering) {
        ring_erase(ring);
    } else if (preamble.version != FORMAT_VERSION || xb_uuid_is_nil(&preamble.uuid)) {
        xb_log_info(cache->log, "History file '%s' holds no history that can be used: starting empty", ring->path);
        ring_erase(ring);
    } else {
        cache->uuid = preamble.uuid;
        ring_recover(cache, &preamble);
    }
    if (index_is_empty(&cache->index)) cache->uuid = xb_uuid_nil;
    cache->released = index_is_empty(&cache->index) ? 0 : cache->index.high;
    write_open_preamble(cache);
}

struct gcache *gcache_open(const struct gcache_config *config, const struct xb_log *log, struct xb_error *error) {
    if (config->size_bytes < 0 || config->size_bytes > GCACHE_SIZE_MAX) {
        xb_fail(error, -EINVAL, "gcache.size %lld is out of range", (long long)config->size_bytes);
        return NULL;
    }
    struct gcache *cache = calloc(1, sizeof(*cache));
    if (!cache) {
        xb_fail(error, -ENOMEM, "Out of memory");
        return NULL;
    }
    cache->log = log;
    init_locks(cache);
    fill_config(cache, config);
    int rc = cache->pages.dir ? index_init(&cache->index) : -ENOMEM;
    if (rc)
        xb_fail(error, rc, "Out of memory");
    else
        rc = open_ring(cache, config, error);
    if (rc) {
        destroy(cache);
        return NULL;
    }
    pages_delete_stale(cache->pages.dir);
    start(cache, config->is_recovering);
    cache->keeper = keeper_start(cache);
    if (!cache->keeper) {
        xb_fail(error, -EAGAIN, "Cannot start a thread for the history");
        gcache_close(cache);
        return NULL;
    }
    keeper_writer_at(cache->keeper, cache->ring.next);
    return cache;
}

/* Only what is in the ring outlives the process: cuts the history to its last run there. */
static void cut_to_ring(struct gcache *cache) {
    struct gcache_index *index = &cache->index;
    while (!index_is_empty(index) && index_find(index, index->high)->store != STORE_RING)
        gcache_free_buffer(cache, index_take_highest(index));
    int64_t low = index->high;
    while (low > index->run_low && index_find(index, low - 1)->store == STORE_RING) low--;
    while (!index_is_empty(index) && index->low < low) gcache_discard_lowest(cache);
    ring_reclaim(&cache->ring);
}

void gcache_close(struct gcache *cache) {
    if (!cache) return;
    assert(!cache->readers);
    struct gcache_ring *ring = &cache->ring;
    keeper_stop(cache->keeper);
    cut_to_ring(cache);
    struct ring_preamble preamble = {
        .version = FORMAT_VERSION,
        .uuid = cache->uuid,
        .seqno_min = -1,
        .seqno_max = -1,
        .offset = -1,
        .is_synced = true,
    };
    if (!index_is_empty(&cache->index)) {
        preamble.seqno_min = cache->index.low;
        preamble.seqno_max = cache->index.high;
        preamble.offset = (int64_t)ring->first;
    }
    msync(ring->map, ring->map_size, MS_SYNC); /* the content must be there before the preamble says so */
    ring_write_preamble(ring, &preamble);
    ring_close(ring);
    destroy(cache);
}

/* --------------------------------------------------------- options, status */

void gcache_set_mem_size(struct gcache *cache, int64_t bytes) {
    lock(cache);
    cache->mem_size_bytes = bytes;
    unlock(cache);
}

void gcache_set_page_size(struct gcache *cache, int64_t bytes) {
    lock(cache);
    cache->pages.page_size_bytes = bytes;
    unlock(cache);
}

void gcache_set_keep_pages_size(struct gcache *cache, int64_t bytes) {
    lock(cache);
    cache->pages.keep_bytes = bytes;
    keeper_trim(cache->keeper);
    unlock(cache);
}

void gcache_set_reader_limit(struct gcache *cache, int64_t bytes) {
    lock(cache);
    cache->reader_limit_bytes = bytes;
    unlock(cache);
}

void gcache_get_status(struct gcache *cache, struct gcache_status *status) {
    lock(cache);
    bool is_empty = index_is_empty(&cache->index);
    *status = (struct gcache_status){
        .min = is_empty ? -1 : cache->index.run_low,
        .max = is_empty ? -1 : cache->index.high,
        .released = cache->released,
        .ring_size_bytes = (int64_t)(cache->ring.end - RING_START),
        .ring_used_bytes = (int64_t)ring_used(&cache->ring),
        .mem_used_bytes = cache->mem_used_bytes,
        .page_count = cache->pages.count,
        .pages_size_bytes = cache->pages.size_bytes,
        .reader_count = cache->reader_count,
        .readers_aborted = cache->readers_aborted,
    };
    unlock(cache);
}
