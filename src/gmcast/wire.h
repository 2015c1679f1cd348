/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all gmcast messages have in common (spec 02 section 6): the header and the optional fields, whose presence the
 * flags alone decide. What a type does with them stands in the file of the type.
 */
#ifndef XB_GMCAST_WIRE_H
#define XB_GMCAST_WIRE_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/uuid.h"
#include "gmcast/gmcast.h"

enum wire_type {
    WIRE_HANDSHAKE = 1,
    WIRE_HANDSHAKE_RESPONSE = 2,
    WIRE_OK = 3,
    WIRE_FAIL = 4,
    WIRE_TOPOLOGY_CHANGE = 5,
    WIRE_KEEPALIVE = 6,
    WIRE_USER = 8
};

enum wire_flag {
    WIRE_GROUP = 0x01,
    WIRE_ADDRESS = 0x04, /* or an error text */
    WIRE_NODES = 0x08,
    WIRE_HANDSHAKE_UUID = 0x10,
    WIRE_RELAY = 0x20,
    WIRE_SEGMENT_RELAY = 0x40
};

#define WIRE_UUID_SIZE 16
#define WIRE_ADDRESS_SIZE 64
#define WIRE_NODE_SIZE (WIRE_UUID_SIZE + 4 + 2 * WIRE_ADDRESS_SIZE)

/* A message as it stands in the datagram; pointers go into it, NULL: the field is absent. */
struct wire_message {
    uint8_t type;
    uint8_t flags;
    uint8_t segment; /* of the original sender */
    struct xb_uuid source;
    struct xb_uuid handshake; /* nil: absent */
    const uint8_t *address;   /* WIRE_ADDRESS_SIZE bytes */
    const uint8_t *group;     /* GMCAST_GROUP_MAX bytes */
    const uint8_t *nodes;     /* node_count * WIRE_NODE_SIZE bytes */
    uint32_t node_count;
    const uint8_t *payload; /* what follows the last field */
    size_t payload_size;
};

/* -> 0, or -EPROTO with *error */
int mesh_read_message(struct wire_message *message, const uint8_t *body, size_t size, struct xb_error *error);

/* The text of a fixed field, cut at the first NUL; "" for an absent field. text holds size + 1 bytes. -> text */
const char *mesh_read_text(const uint8_t *field, size_t size, char *text);

void mesh_write_header(struct xb_writer *w, enum wire_type type, uint8_t flags, uint8_t segment,
                       const struct xb_uuid *source);
/* A fixed field, padded with NUL; a longer text is cut. */
void mesh_write_text(struct xb_writer *w, const char *text, size_t size);

/* -> an empty buffer for a message of `size` bytes with headroom for the datagram header, and its writer; NULL: no
 * memory. */
struct xb_buf *mesh_new_buf(size_t size, struct xb_writer *w);

#endif
