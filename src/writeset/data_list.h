/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The growing record of a data, unordered or annotation set: a list of pieces, copied or only referred to, hashed as
 * they come (the payload checksum covers records before headers). Private to src/writeset.
 */
#ifndef XB_WRITESET_DATA_LIST_H
#define XB_WRITESET_DATA_LIST_H

#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define DATA_LIST_INLINE 4

struct data_chunk;

struct data_list {
    struct iovec *pieces; /* `first` or on the heap */
    size_t piece_count, piece_capacity;
    size_t size; /* of all pieces */
    struct xb_murmur128 hash;
    struct data_chunk *chunks; /* memory of copied pieces, the newest first */
    struct iovec first[DATA_LIST_INLINE];
};

void data_list_init(struct data_list *list);
void data_list_clear(struct data_list *list); /* keeps one chunk of moderate size */
void data_list_free(struct data_list *list);
/* -> 0 or -ENOMEM */
int data_list_add(struct data_list *list, const void *data, size_t size, bool is_copied);

#endif
