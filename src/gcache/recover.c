/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recovery: finds the buffers in the ring file, keeps the last gap-free run of seqnos, and makes a proper ring of it
 * again (spec 07 sections 18.4 and 19).
 *
 * The file may have been closed cleanly, or left by a process that died, or by a machine that died, and by either
 * provider. So no header is trusted further than its neighbours can bear, every buffer's content is checked, and what
 * does not fit is left out; the result may be an empty history, never an error.
 */
#include "gcache/internal.h"

#include <stdlib.h>
#include <string.h>

#define PROGRESS_STEP_BYTES ((size_t)64 << 20)
#define FILLER_SIZE_MAX ((size_t)1 << 30)

struct found {
    int64_t seqno;
    size_t offset;
};

struct scan {
    struct gcache *cache;
    const struct ring_preamble *preamble;
    struct found *found;
    size_t count, capacity, torn_count;
    size_t reported_bytes;
    bool is_out_of_memory;
};

static void report_progress(struct scan *scan, size_t offset) {
    if (scan->cache->progress && offset - scan->reported_bytes >= PROGRESS_STEP_BYTES) {
        scan->reported_bytes = offset;
        scan->cache->progress(scan->cache->ctx, (int64_t)scan->cache->ring.end, (int64_t)offset);
    }
}

static void remember(struct scan *scan, int64_t seqno, size_t offset) {
    if (scan->count == scan->capacity) {
        size_t capacity = scan->capacity ? scan->capacity * 2 : 1024;
        struct found *grown = realloc(scan->found, capacity * sizeof(*grown));
        if (!grown) {
            scan->is_out_of_memory = true;
            return;
        }
        scan->found = grown;
        scan->capacity = capacity;
    }
    scan->found[scan->count++] = (struct found){seqno, offset};
}

static bool is_plausible(const struct gcache_header *header, size_t room) {
    return header->seqno >= SEQNO_FREE && header->size >= HEADER_SIZE && header->size % 8 == 0 &&
           header->size <= room && header->flags <= (FLAG_RELEASED | FLAG_SKIP) && header->store == STORE_RING;
}

static bool is_ordered(const struct scan *scan, const struct gcache_header *header) {
    const struct ring_preamble *p = scan->preamble;
    if (header->seqno <= 0 || header->size <= HEADER_SIZE) return false;
    if (header->type != GCACHE_WRITESET && header->type != GCACHE_CCHANGE) return false;
    return !p->is_synced || (header->seqno >= p->seqno_min && header->seqno <= p->seqno_max);
}

static bool is_content_intact(const struct scan *scan, struct gcache_header *header) {
    return gcache_is_intact(scan->cache, header->seqno, (enum gcache_type)header->type, header_payload(header),
                            header->size - HEADER_SIZE);
}

/* One step along the chain of buffers. -> size of the buffer, 0: the chain ends here */
static size_t follow(struct scan *scan, size_t offset) {
    struct gcache_ring *ring = &scan->cache->ring;
    struct gcache_header *header = ring_header(ring, offset);
    if (!header->size || !is_plausible(header, ring->end - offset)) return 0;
    if (header->seqno <= 0) return header->size;
    /* What is skipped is never sent, so its content does not matter (and may be a dummy, section 19). */
    if (is_ordered(scan, header) && (header->flags & FLAG_SKIP || is_content_intact(scan, header))) {
        remember(scan, header->seqno, offset);
    } else {
        header->seqno = SEQNO_FREE;
        scan->torn_count++;
    }
    return header->size;
}

/* Where nothing leads to the next buffer: only one with good content counts. */
static bool is_found_by_search(struct scan *scan, size_t offset) {
    struct gcache_ring *ring = &scan->cache->ring;
    struct gcache_header *header = ring_header(ring, offset);
    return header->seqno > 0 && is_plausible(header, ring->end - offset) && is_ordered(scan, header) &&
           is_content_intact(scan, header);
}

/* Looks at everything from offset on. -> where it stopped: the end of the chain, or of the ring if searching */
static size_t scan_from(struct scan *scan, size_t offset, bool is_searching) {
    bool is_in_chain = true;
    while (offset + HEADER_SIZE <= scan->cache->ring.end && !scan->is_out_of_memory) {
        report_progress(scan, offset);
        if (!is_in_chain) is_in_chain = is_found_by_search(scan, offset);
        size_t size = is_in_chain ? follow(scan, offset) : 0;
        if (!size && !is_searching) break;
        is_in_chain = size > 0;
        offset += size ? size : 8;
    }
    return offset;
}

/* Where the oldest buffer is, if the file knows; 0: not known. */
static size_t known_first(const struct scan *scan) {
    const struct gcache_ring *ring = &scan->cache->ring;
    int64_t offset = -1;
    if (scan->preamble->is_synced)
        offset = scan->preamble->offset;
    else if (scan->preamble->is_ours)
        memcpy(&offset, ring->map + RING_NOTE_OFFSET, sizeof(offset));
    bool is_good = offset >= RING_START && offset % 8 == 0 && (size_t)offset + HEADER_SIZE <= ring->end;
    return is_good ? (size_t)offset : 0;
}

static int by_seqno(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    if (x->seqno != y->seqno) return x->seqno < y->seqno ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int by_offset(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool is_same_content(const struct gcache_ring *ring, size_t a, size_t b) {
    const struct gcache_header *x = ring_header(ring, a), *y = ring_header(ring, b);
    return x->size == y->size && x->type == y->type && x->flags == y->flags &&
           !memcmp(x + 1, y + 1, x->size - HEADER_SIZE);
}

static void forget(struct scan *scan, const struct found *found) {
    ring_header(&scan->cache->ring, found->offset)->seqno = SEQNO_FREE;
}

/* Leaves one buffer a seqno. -> highest seqno with two different ones: neither can be believed, nor what is below */
static int64_t drop_duplicates(struct scan *scan) {
    struct found *found = scan->found;
    size_t kept = 0;
    int64_t doubtful = 0;
    for (size_t i = 0; i < scan->count; i++) {
        if (kept == 0 || found[i].seqno != found[kept - 1].seqno) {
            found[kept++] = found[i];
            continue;
        }
        if (!is_same_content(&scan->cache->ring, found[kept - 1].offset, found[i].offset)) doubtful = found[i].seqno;
        forget(scan, &found[i]);
    }
    scan->count = kept;
    return doubtful;
}

/* Keeps the last gap-free run above the floor, forgets the others. */
static void keep_last_run(struct scan *scan, int64_t floor) {
    struct found *found = scan->found;
    size_t start = scan->count;
    while (start > 0 && found[start - 1].seqno > floor &&
           (start == scan->count || found[start - 1].seqno + 1 == found[start].seqno))
        start--;
    for (size_t i = 0; i < start; i++) forget(scan, &found[i]);
    scan->count -= start;
    if (start) memmove(found, found + start, scan->count * sizeof(*found));
}

/* ------------------------------------------------------------------ layout */

static size_t end_of(const struct gcache_ring *ring, const struct found *found) {
    return found->offset + ring_header(ring, found->offset)->size;
}

static size_t gap_after(const struct scan *scan, size_t i) {
    return scan->found[i + 1].offset - end_of(&scan->cache->ring, &scan->found[i]);
}

/* Chains from..to with free buffers. -> false: too small for a header */
static bool fill_gap(struct gcache_ring *ring, size_t from, size_t to) {
    if (from < to && to - from < HEADER_SIZE) return false;
    while (from < to) {
        size_t size = to - from > 2 * FILLER_SIZE_MAX ? FILLER_SIZE_MAX : to - from;
        *ring_header(ring, from) = (struct gcache_header){
            .seqno = SEQNO_FREE, .size = (uint32_t)size, .flags = FLAG_RELEASED, .store = STORE_RING};
        from += size;
    }
    return true;
}

/* The free part of the ring is the widest gap between buffers. -> the buffer in front of it; the last one: it is what
 * lies around the end of the file. */
static size_t widest_gap(const struct scan *scan) {
    const struct gcache_ring *ring = &scan->cache->ring;
    size_t last = scan->count - 1, widest = last;
    size_t width = ring->end - end_of(ring, &scan->found[last]) + (scan->found[0].offset - RING_START);
    for (size_t i = 0; i < last; i++)
        if (gap_after(scan, i) > width) width = gap_after(scan, widest = i);
    return widest;
}

/*
 * Makes one chain of the buffers, which are sorted by offset. -> 0, or the seqno up to which history has to go first:
 * a gap that is too small to be chained, as only damage leaves behind.
 */
static int64_t lay_out(struct scan *scan) {
    struct gcache_ring *ring = &scan->cache->ring;
    const struct found *found = scan->found;
    size_t last = scan->count - 1, free_after = widest_gap(scan);
    for (size_t i = 0; i < last; i++)
        if (i != free_after && !fill_gap(ring, end_of(ring, &found[i]), found[i + 1].offset))
            return found[i].seqno < found[i + 1].seqno ? found[i].seqno : found[i + 1].seqno;
    bool is_led_to = fill_gap(ring, RING_START, found[0].offset);
    bool is_wrapped = free_after != last;
    if (is_wrapped && (!is_led_to || gap_after(scan, free_after) < HEADER_SIZE)) return found[0].seqno;
    ring_end_segment(ring, end_of(ring, &found[last]));
    ring->next = end_of(ring, &found[free_after]);
    ring_end_segment(ring, ring->next);
    ring_set_first(ring, found[is_wrapped ? free_after + 1 : 0].offset);
    return 0;
}

/* -------------------------------------------------------------------- whole */

static bool fill_index(struct scan *scan) {
    struct gcache_ring *ring = &scan->cache->ring;
    for (size_t i = 0; i < scan->count; i++) {
        struct gcache_header *header = ring_header(ring, scan->found[i].offset);
        if (!(header->flags & FLAG_RELEASED)) header->flags |= FLAG_RELEASED;
        if (index_insert(&scan->cache->index, scan->found[i].seqno, header)) return false;
    }
    return true;
}

static void scan_all(struct scan *scan) {
    size_t first = known_first(scan);
    size_t end = scan_from(scan, RING_START, !first);
    if (first > end) scan_from(scan, first, false);
}

static bool rebuild(struct scan *scan) {
    if (scan->is_out_of_memory || !scan->count) return false;
    qsort(scan->found, scan->count, sizeof(*scan->found), by_seqno);
    int64_t floor = drop_duplicates(scan);
    do {
        keep_last_run(scan, floor);
        if (!scan->count) return false;
        qsort(scan->found, scan->count, sizeof(*scan->found), by_offset);
        floor = lay_out(scan);
        qsort(scan->found, scan->count, sizeof(*scan->found), by_seqno);
    } while (floor);
    return fill_index(scan);
}

void ring_recover(struct gcache *cache, const struct ring_preamble *preamble) {
    struct scan scan = {.cache = cache, .preamble = preamble};
    if (cache->progress) cache->progress(cache->ctx, (int64_t)cache->ring.end, 0);
    scan_all(&scan);
    if (rebuild(&scan)) {
        xb_log_info(cache->log, "Recovered history %s: seqnos %lld-%lld, %zu buffers left out",
                    XB_UUID_TEXT(&preamble->uuid), (long long)cache->index.low, (long long)cache->index.high,
                    scan.torn_count);
    } else {
        while (!index_is_empty(&cache->index)) index_take_highest(&cache->index);
        ring_erase(&cache->ring);
        xb_log_info(cache->log, "History file '%s' holds no usable seqno (%zu buffers left out): starting empty",
                    cache->ring.path, scan.torn_count);
    }
    free(scan.found);
    if (cache->progress) cache->progress(cache->ctx, (int64_t)cache->ring.end, (int64_t)cache->ring.end);
}
