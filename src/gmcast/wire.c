/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The layout of all gmcast messages (spec 02 section 6.1):
 *
 *   u8 version, u8 type, u8 flags, u8 segment, UUID source,
 *   [UUID handshake] [64 address or error] [32 group] [u32 count, nodes], rest: EVS message of a USER message
 */
#include "gmcast/wire.h"

#include <errno.h>

static bool is_known_type(uint8_t type) {
    return (type >= WIRE_HANDSHAKE && type <= WIRE_KEEPALIVE) || type == WIRE_USER;
}

int mesh_read_message(struct wire_message *message, const uint8_t *body, size_t size, struct xb_error *error) {
    struct xb_reader r = xb_reader_init(body, size);
    uint8_t version = xb_read_u8(&r);
    message->type = xb_read_u8(&r);
    message->flags = xb_read_u8(&r);
    message->segment = xb_read_u8(&r);
    message->source = xb_read_uuid(&r);
    if (!xb_reader_ok(&r)) return xb_fail(error, -EPROTO, "message of %zu bytes is too short", size);
    if (version != 0) return xb_fail(error, -EPROTO, "message of unknown version %u", version);
    if (!is_known_type(message->type)) return xb_fail(error, -EPROTO, "message of unknown type %u", message->type);

    uint8_t flags = message->flags;
    message->handshake = flags & WIRE_HANDSHAKE_UUID ? xb_read_uuid(&r) : xb_uuid_nil;
    message->address = flags & WIRE_ADDRESS ? xb_read_bytes(&r, WIRE_ADDRESS_SIZE) : NULL;
    message->group = flags & WIRE_GROUP ? xb_read_bytes(&r, GMCAST_GROUP_MAX) : NULL;
    message->node_count = flags & WIRE_NODES ? xb_read_u32(&r) : 0;
    message->nodes = NULL;
    if (message->node_count > xb_reader_left(&r) / WIRE_NODE_SIZE)
        return xb_fail(error, -EPROTO, "list of %u nodes does not fit into its message", message->node_count);
    if (message->node_count) message->nodes = xb_read_bytes(&r, (size_t)message->node_count * WIRE_NODE_SIZE);
    message->payload_size = xb_reader_left(&r);
    message->payload = xb_read_bytes(&r, message->payload_size);
    if (!xb_reader_ok(&r))
        return xb_fail(error, -EPROTO, "message of type %u is too short for its flags %02x", message->type, flags);
    return 0;
}

const char *mesh_read_text(const uint8_t *field, size_t size, char *text) {
    size_t n = field ? strnlen((const char *)field, size) : 0;
    if (n) memcpy(text, field, n);
    text[n] = 0;
    return text;
}

void mesh_write_header(struct xb_writer *w, enum wire_type type, uint8_t flags, uint8_t segment,
                       const struct xb_uuid *source) {
    xb_write_u8(w, 0);
    xb_write_u8(w, (uint8_t)type);
    xb_write_u8(w, flags);
    xb_write_u8(w, segment);
    xb_write_uuid(w, source);
}

void mesh_write_text(struct xb_writer *w, const char *text, size_t size) {
    size_t n = strnlen(text, size);
    xb_write_bytes(w, text, n);
    xb_write_zero(w, size - n);
}

struct xb_buf *mesh_new_buf(size_t size, struct xb_writer *w) {
    struct xb_buf *buf = xb_buf_new(DATAGRAM_HEADER_SIZE, size);
    if (buf) *w = xb_writer_init(xb_buf_data(buf), size);
    return buf;
}
