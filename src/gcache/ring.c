/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring: buffers one behind the other in a mapped file (spec 07 section 19).
 *
 * They are allocated at `next` and leave at `first`. A zero header always stands at `next`; it also marks where the run
 * at the end of the file stops and the chain goes on at RING_START. Freeing only marks a buffer; its room is used again
 * when `first` passes over it, which happens when the next one needs the room.
 *
 * A process that dies leaves the file as of its last store, so stores are in an order in which every prefix of them can
 * be recovered: the new end before the header that leads to it, the seqno last of all.
 */
#include "gcache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int resize_file(struct gcache_ring *ring, const char *path, off_t old_size, off_t size, struct xb_error *error) {
    /* Room on the disk is taken now: a store into a mapped hole on a full disk would be a signal, not an error. */
    int rc = old_size != size && ftruncate(ring->fd, size) ? errno : posix_fallocate(ring->fd, 0, size);
    if (!rc) return 0;
    if (!old_size)
        unlink(path);
    else if (ftruncate(ring->fd, old_size))
        xb_fail(error, -rc, "'%s' has lost its size", path);
    return xb_fail(error, -rc,
                   "Cannot make the history file '%s' %lld bytes large: %s. Free disk space, or lower "
                   "gcache.size",
                   path, (long long)size, strerror(rc));
}

int ring_open(struct gcache_ring *ring, const char *path, int64_t size_bytes, struct xb_error *error) {
    *ring = (struct gcache_ring){.fd = -1, .map = MAP_FAILED, .map_size = (size_t)size_bytes + RING_FILE_OVERHEAD};
    int rc;
    struct stat st;
    ring->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0660);
    if (ring->fd < 0 || fstat(ring->fd, &st)) {
        rc = xb_fail(error, -errno, "Cannot open the history file '%s': %s. Check gcache.dir and gcache.name", path,
                     strerror(errno));
    } else if (flock(ring->fd, LOCK_EX | LOCK_NB)) {
        rc = xb_fail(error, -errno, "The history file '%s' is in use by another process (%s)", path, strerror(errno));
    } else {
        rc = resize_file(ring, path, st.st_size, (off_t)ring->map_size, error);
    }
    if (!rc && !(ring->path = strdup(path))) rc = xb_fail(error, -ENOMEM, "Out of memory");
    if (!rc) {
        ring->map = mmap(NULL, ring->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
        if (ring->map == MAP_FAILED)
            rc = xb_fail(error, -errno, "Cannot map the history file '%s': %s", path, strerror(errno));
    }
    ring->end = (RING_START + (size_t)size_bytes) & ~(size_t)7;
    ring->first = ring->next = RING_START;
    if (rc) ring_close(ring);
    return rc;
}

void ring_close(struct gcache_ring *ring) {
    if (ring->map != MAP_FAILED) munmap(ring->map, ring->map_size);
    if (ring->fd >= 0) close(ring->fd);
    free(ring->path);
}

void ring_end_segment(struct gcache_ring *ring, size_t offset) {
    memset(ring->map + offset, 0, HEADER_SIZE);
}

void ring_set_first(struct gcache_ring *ring, size_t first) {
    ring->first = first;
    int64_t note = (int64_t)first;
    memcpy(ring->map + RING_NOTE_OFFSET, &note, sizeof(note));
}

void ring_start_empty(struct gcache_ring *ring) {
    ring_end_segment(ring, RING_START);
    ring_set_first(ring, RING_START);
    ring->next = RING_START;
}

void ring_erase(struct gcache_ring *ring) {
    if (fallocate(ring->fd, FALLOC_FL_ZERO_RANGE, 0, (off_t)ring->map_size)) memset(ring->map, 0, ring->map_size);
    ring_start_empty(ring);
}

size_t ring_used(const struct gcache_ring *ring) {
    if (ring->next >= ring->first) return ring->next - ring->first;
    return ring->end - ring->first + (ring->next - RING_START);
}

/* The buffer behind the one at offset, or next if there is none. */
static size_t pass(const struct gcache_ring *ring, size_t offset) {
    offset += ring_header(ring, offset)->size;
    return offset != ring->next && !ring_header(ring, offset)->size ? RING_START : offset;
}

void ring_reclaim(struct gcache_ring *ring) {
    size_t first = ring->first;
    while (first != ring->next && ring_header(ring, first)->seqno == SEQNO_FREE) first = pass(ring, first);
    if (first == ring->next)
        ring_start_empty(ring);
    else if (first != ring->first)
        ring_set_first(ring, first);
}

/* Where total bytes fit if the buffers reach from first to next; 0: nowhere. */
static size_t place_for(const struct gcache_ring *ring, size_t first, size_t next, size_t total) {
    if (next >= first) {
        if (ring->end - next >= total) return next;
        next = RING_START;
    }
    return first - next >= total + HEADER_SIZE ? next : 0;
}

/*
 * Finds room, discarding what is in the way. First it only looks how far `first` would have to move, so that nothing is
 * discarded in vain. -> offset, or 0 and *blocked_by: the seqno of the buffer that must stay, SEQNO_NONE or above.
 */
static size_t make_room(struct gcache *cache, size_t total, int64_t limit, int64_t *blocked_by) {
    struct gcache_ring *ring = &cache->ring;
    size_t first = ring->first, next = ring->next, place;
    int64_t highest = SEQNO_FREE;
    while (!(place = place_for(ring, first, next, total))) {
        int64_t seqno = ring_header(ring, first)->seqno;
        if (seqno == SEQNO_NONE || seqno > limit) {
            *blocked_by = seqno;
            return 0;
        }
        if (seqno > highest) highest = seqno;
        first = pass(ring, first);
        if (first == ring->next) first = next = RING_START;
    }
    while (!index_is_empty(&cache->index) && cache->index.low <= highest) gcache_discard_lowest(cache);
    if (next != ring->next)
        ring_start_empty(ring);
    else if (first != ring->first)
        ring_set_first(ring, first);
    return place;
}

struct gcache_header *ring_alloc(struct gcache *cache, size_t total, int64_t limit, int64_t *blocked_by) {
    struct gcache_ring *ring = &cache->ring;
    *blocked_by = SEQNO_FREE;
    if (total > (ring->end - RING_START) / 2) return NULL; /* section 18.2 */
    size_t place = make_room(cache, total, limit, blocked_by);
    if (!place) return NULL;
    struct gcache_header *header = ring_header(ring, place);
    ring->next = place + total;
    ring_end_segment(ring, ring->next);
    atomic_thread_fence(memory_order_release);
    *header = (struct gcache_header){.seqno = SEQNO_NONE, .size = (uint32_t)total, .store = STORE_RING};
    keeper_writer_at(cache->keeper, ring->next);
    return header;
}
