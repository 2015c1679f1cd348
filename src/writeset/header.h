/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of a header in place. Private to src/writeset. */
#ifndef XB_WRITESET_HEADER_H
#define XB_WRITESET_HEADER_H

#include <stddef.h>
#include <stdint.h>

#define HEADER_FLAGS_OFFSET 4
#define HEADER_TIMESTAMP_OFFSET 16

/* Flags, PA range and last seen or own seqno. */
void header_store_stamp(uint8_t *header, uint16_t flags, uint16_t pa_range, int64_t seqno);
/* Recomputes the checksum in the header's last 8 bytes. */
void header_seal(uint8_t *header, size_t header_size);

#endif
