/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Record sets (spec 06 section 4): the wrapping of keys and data inside a write set. Private to src/writeset.
 *
 *   [ header with its own checksum ][ payload checksum ][ records ][ zero padding to 8 ]
 */
#ifndef XB_WRITESET_RECORD_SET_H
#define XB_WRITESET_RECORD_SET_H

#include "base/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_SET_CHECKSUM_SIZE 16
#define RECORD_SET_HEAD_MAX (24 + RECORD_SET_CHECKSUM_SIZE)

/* Layout of a set inside its bytes. */
struct record_set {
    uint32_t count;
    size_t header_size; /* with the header's checksum; the payload checksum follows */
    size_t begin;       /* first record */
    size_t size;        /* end of the records */
    size_t serial_size; /* with padding: where the next set begins */
};

/* Everything but the payload checksum. -> NULL, or what is wrong. */
const char *record_set_read(struct record_set *set, const uint8_t *bytes, size_t size);
/* Does the payload match its checksum? bytes: the set that record_set_read accepted. */
bool record_set_is_intact(const struct record_set *set, const uint8_t *bytes);

/*
 * Writes header and payload checksum for a set of `count` > 0 records of `records_size` > 0 bytes altogether, in the
 * form that the stock writer chooses. payload: hash fed with all records; it is also fed with the padding here.
 * -> bytes written. *padding: zero bytes to be sent after the records.
 */
size_t record_set_write_head(uint8_t to[RECORD_SET_HEAD_MAX], uint32_t count, size_t records_size,
                             struct xb_murmur128 *payload, size_t *padding);

#endif
