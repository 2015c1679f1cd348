/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Getting rid of pages, in the housekeeper's thread (spec 07 section 18.2).
 *
 * When gcache.keep_pages_size is exceeded the oldest page goes, once everything in it is released. The history must not
 * have holes, so simply dropping it would drop everything older as well: a single large transaction, or a reader that
 * held up the ring for a while, would cost all history of the node. So what the ring can still take moves there, at the
 * expense of what is oldest in it.
 */
#include "gcache/internal.h"

#include <string.h>

#define DISCARD_BATCH 512 /* before others get their turn */

/* Does the ring have a use for this page, or will the newer ones fill it anyway? */
static bool is_worth_moving(const struct gcache *cache, const struct gcache_page *page) {
    size_t newer = 0;
    for (const struct gcache_page *p = page->next; p; p = p->next) newer += p->used;
    return newer < (cache->ring.end - RING_START) / 2;
}

static struct gcache_header *first_ordered(struct gcache_page *page) {
    while (page->trimmed < page->used) {
        struct gcache_header *header = (struct gcache_header *)(void *)(page->map + page->trimmed);
        if (header->seqno > 0) return header;
        page->trimmed += header->size;
    }
    return NULL;
}

static void discard_up_to(struct gcache *cache, int64_t seqno) {
    for (int i = 0; i < DISCARD_BATCH && !index_is_empty(&cache->index) && cache->index.low <= seqno; i++)
        gcache_discard_lowest(cache);
}

/* The copying is done without the mutex: nobody but this thread deletes pages. If the entry has been taken back, pinned
 * or dropped meanwhile, it stays as it is. */
static void copy_and_swap(struct gcache *cache, struct gcache_header *from, struct gcache_header *to) {
    int64_t seqno = from->seqno;
    pthread_mutex_unlock(&cache->mutex);
    memcpy(header_payload(to), header_payload(from), to->size - HEADER_SIZE);
    pthread_mutex_lock(&cache->mutex);
    if (index_find(&cache->index, seqno) != from || seqno > gcache_discard_limit(cache)) {
        gcache_free_buffer(cache, to);
        return;
    }
    gcache_set_seqno(to, seqno, (enum gcache_type)from->type, from->flags);
    index_replace(&cache->index, seqno, to);
    gcache_free_buffer(cache, from);
}

/* -> false: the ring has no room just now, and nothing can be done about it */
static bool move_entry(struct gcache *cache, struct gcache_header *header) {
    int64_t limit = gcache_discard_limit(cache), blocked_by;
    struct gcache_header *to = ring_alloc(cache, header->size, header->seqno - 1, &blocked_by);
    if (to) {
        copy_and_swap(cache, header, to);
        return true;
    }
    if (blocked_by == SEQNO_NONE || blocked_by > limit) return false;
    discard_up_to(cache, header->seqno); /* too large for the ring, or older than all that is there */
    return true;
}

/* One step. -> false: nothing (more) can be done; *dead: a page to be deleted without the mutex */
static bool trim_step(struct gcache *cache, struct gcache_page **dead) {
    struct gcache_pages *pages = &cache->pages;
    struct gcache_page *page = pages->oldest;
    if (!page || pages->size_bytes <= pages->keep_bytes) return false;
    if (page->buffer_count == 0) {
        *dead = pages_take_oldest(pages);
        return true;
    }
    if (page->unordered_count > 0 || page->seqno_max > gcache_discard_limit(cache)) return false;
    if (is_worth_moving(cache, page)) return move_entry(cache, first_ordered(page));
    discard_up_to(cache, page->seqno_max);
    return true;
}

void pages_trim(struct gcache *cache) {
    bool has_more = true;
    while (has_more) {
        struct gcache_page *dead = NULL;
        pthread_mutex_lock(&cache->mutex);
        has_more = trim_step(cache, &dead);
        pthread_mutex_unlock(&cache->mutex);
        page_delete_all(dead);
    }
}
