/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Layout of a key part's first bytes (spec 06 section 6.3). Private to src/writeset. */
#ifndef XB_WRITESET_KEY_H
#define XB_WRITESET_KEY_H

#include "base/hash.h"
#include "writeset/writeset.h"

#include <stdbool.h>
#include <sys/uio.h>

#define KEY_PREFIX_MASK 0x03u
#define KEY_FORMAT_SHIFT 2
#define KEY_ID_MASK (~(uint64_t)0x1F) /* of the first 8 bytes as a little-endian number */
#define KEY_ANNOTATION_LENGTH_SIZE 2

static inline bool key_format_is_wide(enum writeset_key_format format) {
    return format == WRITESET_FLAT16 || format == WRITESET_FLAT16A;
}

static inline bool key_format_is_annotated(enum writeset_key_format format) {
    return format == WRITESET_FLAT8A || format == WRITESET_FLAT16A;
}

/* Continues the hash of a prefix by one more part. */
void key_hash_part(struct xb_murmur128 *state, const struct iovec *part);

#endif
