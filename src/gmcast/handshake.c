/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HANDSHAKE: the first message on every connection, from the acceptor: who it is, and the UUID of this handshake by
 * which both ends recognize the connection (spec 02 sections 7.4 and 8).
 */
#include "gmcast/messages.h"

void mesh_handshake_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source,
                          const struct xb_uuid *handshake) {
    mesh_write_header(w, WIRE_HANDSHAKE, WIRE_HANDSHAKE_UUID, segment, source);
    xb_write_uuid(w, handshake);
}

void mesh_handshake_send(struct gmcast *mesh, struct mesh_link *link) {
    link->handshake = xb_uuid_new(mesh->now_ns + mesh->calendar_offset_ns, mesh->random);
    link->state = LINK_HS_SENT;
    mesh->issued[mesh->issued_count++ % MESH_ISSUED_MAX] = link->handshake;
    struct xb_writer w;
    struct xb_buf *buf = mesh_new_buf(HANDSHAKE_SIZE, &w);
    if (buf) mesh_handshake_write(&w, mesh->config.segment, &mesh->config.uuid, &link->handshake);
    mesh_link_send(mesh, link, buf, mesh->config.segment, false);
}

void mesh_handshake_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    if (link->state != LINK_HS_WAIT) {
        mesh_link_violate(mesh, link, "unexpected HANDSHAKE");
        return;
    }
    if (xb_uuid_is_nil(&message->source) || xb_uuid_is_nil(&message->handshake)) {
        mesh_link_violate(mesh, link, "HANDSHAKE without UUIDs");
        return;
    }
    link->peer = message->source;
    link->handshake = message->handshake;
    link->segment = message->segment;
    if (!mesh_identity_check(mesh, link)) return;
    link->state = LINK_RESP_SENT;
    mesh_handshake_response_send(mesh, link);
}
