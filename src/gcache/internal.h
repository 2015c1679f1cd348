/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share. Everything here is called with the mutex held, unless a comment says else. */
#ifndef XB_GCACHE_INTERNAL_H
#define XB_GCACHE_INTERNAL_H

#include "gcache/gcache.h"

#include <pthread.h>

/* ------------------------------------------------------------------ buffers */

/* In front of every buffer, and the format of the file (spec 07 section 19). */
struct gcache_header {
    int64_t seqno;    /* > 0 ordered, 0 in use without seqno, -1 free */
    uint64_t context; /* the page a buffer lies in; means nothing in the file */
    uint32_t size;    /* with the header, a multiple of 8; 0: end of a segment */
    uint16_t flags;
    int8_t store;
    int8_t type;
};
_Static_assert(sizeof(struct gcache_header) == 24, "format of the file");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "format of the file");

#define HEADER_SIZE sizeof(struct gcache_header)
#define GCACHE_SIZE_MAX ((int64_t)1 << 50)
#define SEQNO_FREE INT64_C(-1)
#define SEQNO_NONE INT64_C(0)
#define FLAG_RELEASED 1 /* always set on ordered buffers: only the other provider looks at it, after recovery */
#define FLAG_SKIP 2
enum gcache_store { STORE_MEMORY = 0, STORE_RING = 1, STORE_PAGE = 2 };

static inline void *header_payload(struct gcache_header *header) {
    return header + 1;
}
static inline struct gcache_header *payload_header(void *buf) {
    return (struct gcache_header *)buf - 1;
}
static inline size_t buffer_total_size(size_t payload_size) {
    return (payload_size + HEADER_SIZE + 7) & ~(size_t)7;
}

/* -------------------------------------------------------------------- index */

/* seqno -> buffer: a window of slots. Slots may be empty; the lowest and the highest are not. */
struct gcache_index {
    struct gcache_header ***blocks;
    size_t block_count; /* a power of two */
    int64_t low, high;  /* empty: low > high */
    int64_t run_low;    /* from here to high there is no empty slot */
};

int index_init(struct gcache_index *index);
void index_clear(struct gcache_index *index); /* frees the slots, not the buffers */
struct gcache_header *index_find(const struct gcache_index *index, int64_t seqno);
int index_insert(struct gcache_index *index, int64_t seqno, struct gcache_header *header); /* -EEXIST -ERANGE -ENOMEM */
void index_replace(struct gcache_index *index, int64_t seqno, struct gcache_header *header); /* one that is there */
struct gcache_header *index_take_lowest(struct gcache_index *index);                         /* NULL: empty */
struct gcache_header *index_take_highest(struct gcache_index *index);                        /* NULL: empty */
static inline bool index_is_empty(const struct gcache_index *index) {
    return index->low > index->high;
}

/* --------------------------------------------------------------------- ring */

#define RING_PREAMBLE_SIZE 1024
#define RING_START 1280 /* behind the reserved area */
#define RING_FILE_OVERHEAD (RING_START + HEADER_SIZE)
/* Our own note in the reserved area: where the oldest buffer is, kept up to date while the file is open. Valid only if
 * the preamble has our comment line, since the other provider does not maintain it. */
#define RING_NOTE_OFFSET RING_PREAMBLE_SIZE

struct gcache_ring {
    char *path;
    int fd;
    uint8_t *map;
    size_t map_size;
    size_t end;         /* no buffer reaches beyond; there is room for a header behind */
    size_t first, next; /* offsets: oldest buffer, place of the next one; equal: empty */
};

int ring_open(struct gcache_ring *ring, const char *path, int64_t size_bytes, struct xb_error *error);
void ring_close(struct gcache_ring *ring);
/* Discards seqnos up to limit for it, if need be. -> NULL: no room, and *blocked_by is the seqno of the buffer that
 * must stay (SEQNO_NONE: one in use), or SEQNO_FREE: too large for the ring. */
struct gcache_header *ring_alloc(struct gcache *cache, size_t total, int64_t limit, int64_t *blocked_by);
void ring_set_first(struct gcache_ring *ring, size_t first);
/* Passes over free buffers at the old end. */
void ring_reclaim(struct gcache_ring *ring);
void ring_end_segment(struct gcache_ring *ring, size_t offset); /* writes a zero header */
static inline struct gcache_header *ring_header(const struct gcache_ring *ring, size_t offset) {
    return (struct gcache_header *)(void *)(ring->map + offset);
}
size_t ring_used(const struct gcache_ring *ring);

struct ring_preamble {
    int version;
    struct xb_uuid uuid;
    int64_t seqno_min, seqno_max, offset; /* -1: not given */
    bool is_synced;
    bool is_ours; /* written by this program: the note is valid */
};
void ring_read_preamble(const struct gcache_ring *ring, struct ring_preamble *preamble);
void ring_write_preamble(struct gcache_ring *ring, const struct ring_preamble *preamble);

/* Fills ring and index from the file. No lock needed: nobody else is there yet. */
void ring_recover(struct gcache *cache, const struct ring_preamble *preamble);
void ring_start_empty(struct gcache_ring *ring);
void ring_erase(struct gcache_ring *ring); /* zeroes all, so that nothing in it is ever mistaken for history */

/* -------------------------------------------------------------- housekeeper */

struct keeper;
struct keeper *keeper_start(struct gcache *cache); /* NULL: no memory, no thread */
void keeper_stop(struct keeper *keeper);           /* NULL is allowed */
/* The ring's writer has come to this offset. */
void keeper_writer_at(struct keeper *keeper, size_t offset);
/* Pages may have become unnecessary. With or without the mutex of the history. */
void keeper_trim(struct keeper *keeper);

/* -------------------------------------------------------------------- pages */

struct gcache_page {
    struct gcache_page *next; /* newer */
    char *path;
    uint8_t *map;
    size_t size, used, trimmed; /* trimmed: no ordered buffer lies below */
    size_t buffer_count;        /* not free */
    size_t unordered_count;     /* of them without seqno */
    int64_t seqno_max;          /* highest of its ordered ones */
};

struct gcache_pages {
    char *dir;
    struct gcache_page *oldest, *newest;
    int64_t size_bytes; /* all */
    int64_t count;
    unsigned number; /* of the next file */
    int64_t page_size_bytes, keep_bytes;
};

struct gcache_header *page_alloc(struct gcache *cache, size_t total, bool is_reader_to_blame);
struct gcache_page *pages_take_oldest(struct gcache_pages *pages);
/* Deletes what is not needed; by the housekeeper, without the mutex. */
void pages_trim(struct gcache *cache);
void page_delete_all(struct gcache_page *pages);
void pages_delete_stale(const char *dir); /* files that an earlier process left behind */

/* ------------------------------------------------------------------ readers */

struct gcache_reader {
    struct gcache *cache;
    struct gcache_reader *next;
    int64_t cursor;  /* lowest seqno that the reader may still look at */
    int64_t pending; /* next one to hand out */
    bool is_aborted;
    void (*on_abort)(void *ctx);
    void *ctx;
};

int64_t readers_lowest(const struct gcache *cache); /* INT64_MAX: none */
/* Aborts the slowest reader unless it is already on its way out. -> is there one at all */
bool readers_abort_slowest(struct gcache *cache);
/* Aborts all that have reached beyond seqno, and waits until they are closed. */
void readers_expel(struct gcache *cache, int64_t seqno);

/* -------------------------------------------------------------------- whole */

struct gcache {
    pthread_mutex_t mutex;
    pthread_cond_t reader_closed;
    const struct xb_log *log;
    bool (*is_payload_intact)(void *ctx, enum gcache_type type, const void *buf, size_t size);
    void (*progress)(void *ctx, int64_t total_bytes, int64_t done_bytes);
    void *ctx;

    struct xb_uuid uuid;
    struct gcache_index index;
    int64_t released; /* everything up to here may be discarded */

    struct gcache_ring ring;
    struct keeper *keeper;
    struct gcache_pages pages;
    int64_t mem_used_bytes, mem_size_bytes;

    struct gcache_reader *readers;
    int64_t reader_count, readers_aborted;
    int64_t reader_limit_bytes;
    bool is_disk_full_logged;
};

/* Highest seqno that may be discarded now. */
int64_t gcache_discard_limit(const struct gcache *cache);
/* Gives the room of a buffer back to its store. */
void gcache_free_buffer(struct gcache *cache, struct gcache_header *header);
/* Fills in what makes an ordered buffer of one in use. */
void gcache_set_seqno(struct gcache_header *header, int64_t seqno, enum gcache_type type, unsigned flags);
/* Discards the lowest entry; there must be one. */
void gcache_discard_lowest(struct gcache *cache);

#endif
