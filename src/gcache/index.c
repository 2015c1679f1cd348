/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seqno -> buffer. Seqnos come nearly without gaps, so the index is an array over the window low..high, in blocks, so
 * that it grows and shrinks without copying: the group thread must not wait for that. The directory of the blocks is
 * circular. Holes exist only while IST fills in what lies below (spec 07 section 18.1); a block may be missing there.
 */
#include "gcache/internal.h"

#include <errno.h>
#include <stdlib.h>

#define BLOCK_BITS 12
#define BLOCK_SLOTS ((size_t)1 << BLOCK_BITS)
#define DIRECTORY_INITIAL 64

static int64_t block_number(int64_t seqno) {
    return seqno >> BLOCK_BITS;
}

static struct gcache_header ***block_of(const struct gcache_index *index, int64_t number) {
    return &index->blocks[(size_t)number & (index->block_count - 1)];
}

static struct gcache_header *get(const struct gcache_index *index, int64_t seqno) {
    struct gcache_header **block = *block_of(index, block_number(seqno));
    return block ? block[(size_t)seqno & (BLOCK_SLOTS - 1)] : NULL;
}

static void set(struct gcache_index *index, int64_t seqno, struct gcache_header *header) {
    (*block_of(index, block_number(seqno)))[(size_t)seqno & (BLOCK_SLOTS - 1)] = header;
}

int index_init(struct gcache_index *index) {
    *index = (struct gcache_index){.block_count = DIRECTORY_INITIAL, .low = 1, .high = 0, .run_low = 1};
    index->blocks = calloc(index->block_count, sizeof(*index->blocks));
    return index->blocks ? 0 : -ENOMEM;
}

void index_clear(struct gcache_index *index) {
    for (size_t i = 0; i < index->block_count; i++) free(index->blocks[i]);
    free(index->blocks);
    *index = (struct gcache_index){.low = 1, .high = 0, .run_low = 1};
}

struct gcache_header *index_find(const struct gcache_index *index, int64_t seqno) {
    return seqno >= index->low && seqno <= index->high ? get(index, seqno) : NULL;
}

static int grow_directory(struct gcache_index *index, int64_t blocks) {
    struct gcache_index grown = *index;
    while ((int64_t)grown.block_count < blocks) grown.block_count *= 2;
    grown.blocks = calloc(grown.block_count, sizeof(*grown.blocks));
    if (!grown.blocks) return -ENOMEM;
    for (int64_t n = block_number(index->low); n <= block_number(index->high); n++)
        *block_of(&grown, n) = *block_of(index, n);
    free(index->blocks);
    *index = grown;
    return 0;
}

/* The window will be low..high, and there will be something at seqno. */
static int make_room(struct gcache_index *index, int64_t low, int64_t high, int64_t seqno) {
    int64_t blocks = block_number(high) - block_number(low) + 1;
    if (blocks > (int64_t)index->block_count && grow_directory(index, blocks)) return -ENOMEM;
    struct gcache_header ***block = block_of(index, block_number(seqno));
    if (!*block) *block = calloc(BLOCK_SLOTS, sizeof(**block));
    return *block ? 0 : -ENOMEM;
}

static void extend_run(struct gcache_index *index) {
    while (index->run_low > index->low && get(index, index->run_low - 1)) index->run_low--;
}

int index_insert(struct gcache_index *index, int64_t seqno, struct gcache_header *header) {
    bool is_empty = index_is_empty(index);
    if (seqno <= 0) return -ERANGE;
    if (!is_empty && (seqno - index->high > GCACHE_HOLE_MAX || index->low - seqno > GCACHE_HOLE_MAX)) return -ERANGE;
    if (index_find(index, seqno)) return -EEXIST;
    int64_t low = is_empty || seqno < index->low ? seqno : index->low;
    int64_t high = is_empty || seqno > index->high ? seqno : index->high;
    if (make_room(index, low, high, seqno)) return -ENOMEM;
    if (is_empty || seqno > index->high + 1) index->run_low = seqno;
    index->low = low;
    index->high = high;
    set(index, seqno, header);
    if (seqno == index->run_low - 1) extend_run(index);
    return 0;
}

void index_replace(struct gcache_index *index, int64_t seqno, struct gcache_header *header) {
    set(index, seqno, header);
}

/* Frees the blocks from..to, which the window has left. */
static void drop_blocks(struct gcache_index *index, int64_t from, int64_t to) {
    for (int64_t n = from; n <= to; n++) {
        free(*block_of(index, n));
        *block_of(index, n) = NULL;
    }
}

struct gcache_header *index_take_lowest(struct gcache_index *index) {
    if (index_is_empty(index)) return NULL;
    int64_t block = block_number(index->low);
    struct gcache_header *header = get(index, index->low);
    set(index, index->low, NULL);
    do index->low++;
    while (index->low <= index->high && !get(index, index->low));
    if (index->run_low < index->low) index->run_low = index->low;
    drop_blocks(index, block, index_is_empty(index) ? block_number(index->high) : block_number(index->low) - 1);
    return header;
}

struct gcache_header *index_take_highest(struct gcache_index *index) {
    if (index_is_empty(index)) return NULL;
    int64_t block = block_number(index->high);
    struct gcache_header *header = get(index, index->high);
    set(index, index->high, NULL);
    do index->high--;
    while (index->high >= index->low && !get(index, index->high));
    drop_blocks(index, index_is_empty(index) ? block_number(index->low) : block_number(index->high) + 1, block);
    if (index->run_low > index->high) {
        index->run_low = index->high;
        if (!index_is_empty(index)) extend_run(index);
    }
    return header;
}
