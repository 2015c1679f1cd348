/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header of every PC message (spec 04 section 3.1) and its checksum (section 3.5). */
#include "base/hash.h"
#include "pc/pc_internal.h"

int pc_header_read(struct xb_reader *r, struct pc_header *header, struct xb_error *error) {
    uint8_t bits = xb_read_u8(r);
    header->version = bits & 0x0f;
    header->flags = bits >> 4;
    header->type = xb_read_u8(r);
    header->crc = xb_read_u16(r);
    header->seq = xb_read_u32(r);
    if (!xb_reader_ok(r)) return xb_fail(error, -EPROTO, "PC message of %zu bytes is too short", r->size);
    if (header->version > PC_VERSION_MAX)
        return xb_fail(error, -EPROTONOSUPPORT, "PC message of unsupported version %u", header->version);
    if (header->type < PC_STATE || header->type > PC_USER)
        return xb_fail(error, -EPROTO, "PC message of unknown type %u", header->type);
    return 0;
}

void pc_header_write(uint8_t to[PC_HEADER_SIZE], const struct pc_header *header) {
    struct xb_writer w = xb_writer_init(to, PC_HEADER_SIZE);
    xb_write_u8(&w, (uint8_t)(header->version | header->flags << 4));
    xb_write_u8(&w, header->type);
    xb_write_u16(&w, header->crc);
    xb_write_u32(&w, header->seq);
}

/* Over the length of what follows the first 4 bytes, and what follows. */
uint16_t pc_message_crc(const uint8_t *message, size_t size) {
    uint8_t length[4];
    xb_store_le(length, size - 4, sizeof(length));
    return xb_crc16(xb_crc16(0, length, sizeof(length)), message + 4, size - 4);
}
