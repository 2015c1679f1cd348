/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagram framing (spec 02 section 5): an 8-byte header with length, flags and checksum, then a body of 1..32768
 * bytes, which is one gmcast message. Pure; any thread.
 */
#ifndef XB_DATAGRAM_DATAGRAM_H
#define XB_DATAGRAM_DATAGRAM_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define DATAGRAM_HEADER_SIZE 8
#define DATAGRAM_BODY_MAX 32768

enum datagram_checksum { DATAGRAM_CHECKSUM_NONE = 0, DATAGRAM_CHECKSUM_CRC32 = 1, DATAGRAM_CHECKSUM_CRC32C = 2 };

/* Puts the header in front of the body that buf holds. The body must have 1..DATAGRAM_BODY_MAX bytes. */
void datagram_seal(struct xb_buf *buf, enum datagram_checksum checksum);

/*
 * Looks for one complete datagram at the start of `data`.
 * -> total size (header and body) of the datagram, then *body and *body_size are set and point into data;
 *    0 if more bytes are needed; -EPROTO with *error for a malformed header, an empty body or a wrong checksum.
 * The flags of the datagram decide which checksum is verified.
 */
int datagram_parse(const uint8_t *data, size_t size, const uint8_t **body, size_t *body_size, struct xb_error *error);

#endif
