/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The history: every ordered write set and configuration change of the recent past, kept so that this node can bring a
 * joiner up to date (spec 07 section 18).
 *
 * Buffers are allocated before they have a seqno (an action is collected in one), then get it with gcache_assign. They
 * live in memory (gcache.mem_size), in a ring in one mapped file (gcache.size), or, when the ring has no room, in page
 * files. The file has the stock provider's format version 2 (section 19), so a node may change providers and keep its
 * history.
 *
 * What stays. Nothing above the last gcache_release is ever discarded, nor anything that a reader still has before it.
 * What is released stays readable until its room is needed; then the lowest seqnos go first.
 *
 * Threads: every function may be called from any thread. One mutex guards the book-keeping; it is held for a few dozen
 * instructions in alloc, free, assign, get, release, and a batch of a reader. A page file is made by the thread that
 * needs it; deleting them, and taking page faults in advance, is the work of a thread of the history's own. The content
 * of a buffer is not guarded: it belongs to who allocated it until gcache_assign, and is not changed after that.
 */
#ifndef XB_GCACHE_GCACHE_H
#define XB_GCACHE_GCACHE_H

#include "base/error.h"
#include "base/log.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GCACHE_BUFFER_SIZE_MAX 0x7fffffff
/* A seqno may be assigned at most this far from all others (section 18.1: holes are filled at once by IST). */
#define GCACHE_HOLE_MAX (1 << 20)

enum gcache_type { /* as in the file */
                   GCACHE_WRITESET = 0,
                   GCACHE_CCHANGE = 3
};

struct gcache;
struct gcache_reader;

struct gcache_config {
    const char *dir;  /* gcache.dir; pages are made here */
    const char *name; /* gcache.name: absolute, or below dir */
    int64_t size_bytes, mem_size_bytes, page_size_bytes, keep_pages_size_bytes;
    /* When readers force more than this into pages, the slowest one is aborted; 0: when nine tenths of the disk are
     * full. */
    int64_t reader_limit_bytes;
    bool is_recovering; /* gcache.recover */
    /* Called for each buffer found by recovery, and by gcache_is_intact, when the cheap checks have passed (header
     * checksum and seqno of a write set, checksum and seqno of a configuration change): checks the payload's checksums.
     * A buffer that is not intact is never served. NULL: the cheap checks only. */
    bool (*is_payload_intact)(void *ctx, enum gcache_type type, const void *buf, size_t size);
    /* Recovery has looked at done of total bytes; first call 0, last call total. NULL is allowed. */
    void (*progress)(void *ctx, int64_t total_bytes, int64_t done_bytes);
    void *ctx;
};

/* Opens or makes the file and recovers what is in it. Unusable content is no error: the history is then empty.
 * -> the history, or NULL with *error: -ENOSPC, -EACCES, -EAGAIN (file in use by another process), ... */
struct gcache *gcache_open(const struct gcache_config *config, const struct xb_log *log, struct xb_error *error);
/* Writes a clean end (section 19), deletes the pages, frees all. No reader may be open, no buffer in use. */
void gcache_close(struct gcache *cache);

/* -> room for size > 0 bytes, 8-byte aligned, in use until gcache_free or gcache_assign and gcache_release.
 * NULL: no memory, no disk, too large. */
void *gcache_alloc(struct gcache *cache, size_t size);
void gcache_free(struct gcache *cache, void *buf); /* only without seqno; NULL is allowed */

/* Files the finished buffer under its seqno, normally one above all others, else into a hole.
 * -> 0; the buffer then belongs to the history. -EEXIST: there is one, -ERANGE: too far away or not above 0. */
int gcache_assign(struct gcache *cache, void *buf, int64_t seqno, enum gcache_type type, bool is_skip);
/* Marks an entry as skipped after all (vote). -> 0, -ENOENT */
int gcache_skip(struct gcache *cache, int64_t seqno);

/* Everything up to seqno may be discarded, or moved to another place, from now on. */
void gcache_release(struct gcache *cache, int64_t seqno);

struct gcache_entry {
    int64_t seqno;
    const uint8_t *buf;
    size_t size; /* as allocated, rounded up to a multiple of 8 */
    enum gcache_type type;
    bool is_skip; /* IST sends SKIP, whatever the type; the content may be a dummy */
};

/* Finds the entry and takes it back: it, and what is above it, stays until gcache_release is called again with this
 * seqno or a higher one. -> 0 or -ENOENT */
int gcache_get(struct gcache *cache, int64_t seqno, struct gcache_entry *entry);
/* Is it there, and how is it marked? Gives no right to look into the buffer; entry may be NULL. */
bool gcache_has(struct gcache *cache, int64_t seqno, struct gcache_entry *entry);

/* The lowest seqno of the gap-free run that ends at the highest one; -1: none. */
int64_t gcache_min(struct gcache *cache);
struct xb_uuid gcache_uuid(struct gcache *cache); /* of the history; nil: none */

/* Another position (section 18.5). Same uuid and seqno within the history: drops what is above it. Else drops all and
 * adopts the uuid. Dropped buffers may be overwritten at once: nobody may use them any more. Buffers without seqno
 * survive. Open readers of dropped entries are aborted, and waited for. */
void gcache_reset(struct gcache *cache, const struct xb_uuid *uuid, int64_t seqno);

/* The check of recovery, for buffers that come from elsewhere. Pure, takes no lock. */
bool gcache_is_intact(const struct gcache *cache, int64_t seqno, enum gcache_type type, const void *buf, size_t size);

/*
 * A reader walks up from a seqno and keeps everything from there on in the history; readers do not hinder each other.
 * It is used by one thread. on_abort is called at most once, from any thread with the mutex held, when the reader has
 * to give way: it must only wake the reading thread, which must then close the reader without touching its entries.
 */
struct gcache_reader *gcache_reader_open(struct gcache *cache, int64_t first, void (*on_abort)(void *ctx), void *ctx);
/* Lets go of the entries of the call before, and gives the next ones in order, up to max. -> how many; 0: the next
 * seqno is not (yet) in the history; -ECANCELED: aborted */
int gcache_reader_next(struct gcache_reader *reader, struct gcache_entry *entries, size_t max);
void gcache_reader_close(struct gcache_reader *reader); /* NULL is allowed */

/* Run-time options. */
void gcache_set_mem_size(struct gcache *cache, int64_t bytes);
void gcache_set_page_size(struct gcache *cache, int64_t bytes);
void gcache_set_keep_pages_size(struct gcache *cache, int64_t bytes);
void gcache_set_reader_limit(struct gcache *cache, int64_t bytes);

struct gcache_status {
    int64_t min, max, released;
    int64_t ring_size_bytes, ring_used_bytes; /* used: not free for the next buffer without discarding */
    int64_t mem_used_bytes, page_count, pages_size_bytes;
    int64_t reader_count, readers_aborted;
};
void gcache_get_status(struct gcache *cache, struct gcache_status *status);

#endif
