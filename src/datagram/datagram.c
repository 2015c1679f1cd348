/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagram framing (spec 02 section 5).
 *
 *   offset 0  LE32  bits 0-23 body length, bits 24-27 flags, bits 28-31 version
 *   offset 4  LE32  checksum over LE32(body length) and the body; 0 if no flag is set
 *   offset 8        body
 */
#include "datagram/datagram.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define LENGTH_MASK 0x00ffffffu
#define FLAG_CRC32 0x01000000u
#define FLAG_CRC32C 0x02000000u
#define FLAGS_RESERVED 0x0c000000u
#define VERSION_MASK 0xf0000000u

static uint32_t flag_of(enum datagram_checksum checksum) {
    switch (checksum) {
    case DATAGRAM_CHECKSUM_CRC32:
        return FLAG_CRC32;
    case DATAGRAM_CHECKSUM_CRC32C:
        return FLAG_CRC32C;
    case DATAGRAM_CHECKSUM_NONE:
        break;
    }
    return 0;
}

/* With both flags CRC-32C counts. */
static uint32_t checksum_of(uint32_t flags, const uint8_t *body, size_t size) {
    uint8_t length[4];
    xb_store_le(length, size, sizeof(length));
    if (flags & FLAG_CRC32C) return xb_crc32c(xb_crc32c(0, length, sizeof(length)), body, size);
    if (flags & FLAG_CRC32) return xb_crc32(xb_crc32(0, length, sizeof(length)), body, size);
    return 0;
}

void datagram_seal(struct xb_buf *buf, enum datagram_checksum checksum) {
    size_t size = buf->size;
    assert(size >= 1 && size <= DATAGRAM_BODY_MAX);
    uint32_t flag = flag_of(checksum);
    uint32_t crc = checksum_of(flag, xb_buf_data(buf), size);
    uint8_t *header = xb_buf_push(buf, DATAGRAM_HEADER_SIZE);
    xb_store_le(header, (uint32_t)size | flag, 4);
    xb_store_le(header + 4, crc, 4);
}

int datagram_parse(const uint8_t *data, size_t size, const uint8_t **body, size_t *body_size, struct xb_error *error) {
    struct xb_reader r = xb_reader_init(data, size);
    uint32_t word = xb_read_u32(&r);
    uint32_t crc = xb_read_u32(&r);
    if (!xb_reader_ok(&r)) return 0;

    uint32_t length = word & LENGTH_MASK;
    if (word & (VERSION_MASK | FLAGS_RESERVED))
        return xb_fail(error, -EPROTO,
                       "malformed datagram header %08" PRIx32 " (version or flags): corrupt message, "
                       "port scanner, or TLS on one side only",
                       word);
    if (length == 0) return xb_fail(error, -EPROTO, "datagram without body");
    if (length > DATAGRAM_BODY_MAX)
        return xb_fail(error, -EPROTO, "datagram of %" PRIu32 " bytes, the limit is %d", length, DATAGRAM_BODY_MAX);

    const uint8_t *p = xb_read_bytes(&r, length);
    if (!p) return 0;
    uint32_t expected = checksum_of(word, p, length);
    if (crc != expected)
        return xb_fail(error, -EPROTO, "datagram of %" PRIu32 " bytes with checksum %08" PRIx32 ", expected %08" PRIx32,
                       length, crc, expected);
    *body = p;
    *body_size = length;
    return (int)(DATAGRAM_HEADER_SIZE + length);
}
