/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The message types (spec 02 section 6.2), a file each: write builds the message, send writes and queues it, receive
 * handles one (section 8). A message in a state that does not expect it drops the connection (sections 22.1, 22.2).
 */
#ifndef XB_GMCAST_MESSAGES_H
#define XB_GMCAST_MESSAGES_H

#include "gmcast/mesh.h"

#define HANDSHAKE_SIZE (GMCAST_HEADER_SIZE + WIRE_UUID_SIZE)
void mesh_handshake_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source,
                          const struct xb_uuid *handshake);
void mesh_handshake_send(struct gmcast *mesh, struct mesh_link *link);
void mesh_handshake_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

#define HANDSHAKE_RESPONSE_SIZE (GMCAST_HEADER_SIZE + WIRE_UUID_SIZE + WIRE_ADDRESS_SIZE + GMCAST_GROUP_MAX)
void mesh_handshake_response_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source,
                                   const struct xb_uuid *handshake, const char *address, const char *group);
void mesh_handshake_response_send(struct gmcast *mesh, struct mesh_link *link);
void mesh_handshake_response_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

#define OK_SIZE GMCAST_HEADER_SIZE
void mesh_ok_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source);
void mesh_ok_send(struct gmcast *mesh, struct mesh_link *link, bool is_optional);
void mesh_ok_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

#define FAIL_SIZE (GMCAST_HEADER_SIZE + WIRE_ADDRESS_SIZE)
#define FAIL_GROUP "invalid group"
#define FAIL_ADDRESS "invalid node address"
#define FAIL_EVICTED "evicted"
#define FAIL_DUPLICATE "duplicate uuid"
void mesh_fail_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source, const char *text);
void mesh_fail_send(struct gmcast *mesh, struct mesh_link *link, const char *text);
void mesh_fail_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

#define TOPOLOGY_CHANGE_SIZE(count) (GMCAST_HEADER_SIZE + GMCAST_GROUP_MAX + 4 + (count)*WIRE_NODE_SIZE)
void mesh_topology_change_write(struct xb_writer *w, const struct xb_uuid *source, const char *group,
                                const struct mesh_node *nodes, size_t count);
/* The list of a message, ascending UUIDs, in *nodes (to be freed). -> count, or -EPROTO with *error, -ENOMEM */
int mesh_topology_change_read(const struct wire_message *message, struct mesh_node **nodes, struct xb_error *error);
/* Tells the own links to every established peer whose last list was another one (section 22.11). */
void mesh_topology_change_send(struct gmcast *mesh);
void mesh_topology_change_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

#define KEEPALIVE_SIZE GMCAST_HEADER_SIZE
void mesh_keepalive_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source);
void mesh_keepalive_send(struct gmcast *mesh, struct mesh_link *link);
void mesh_keepalive_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

/* The header of a USER message; the EVS message stands behind it already. */
void mesh_user_write_header(struct xb_writer *w, uint8_t flags, uint8_t segment, const struct xb_uuid *source);
void mesh_user_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message);

#endif
