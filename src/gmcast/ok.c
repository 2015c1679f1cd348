/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OK: the acceptor's consent to HANDSHAKE_RESPONSE, with which the connection is established (spec 02 section 8), and
 * the answer to KEEPALIVE (section 11), whose arrival is all that counts.
 */
#include "gmcast/messages.h"

void mesh_ok_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source) {
    mesh_write_header(w, WIRE_OK, 0, segment, source);
}

void mesh_ok_send(struct gmcast *mesh, struct mesh_link *link, bool is_optional) {
    struct xb_writer w;
    struct xb_buf *buf = mesh_new_buf(OK_SIZE, &w);
    if (buf) mesh_ok_write(&w, mesh->config.segment, &mesh->config.uuid);
    mesh_link_send(mesh, link, buf, mesh->config.segment, is_optional);
}

void mesh_ok_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    if (link->state == LINK_RESP_SENT)
        mesh_establish(mesh, link);
    else if (link->state != LINK_OK)
        mesh_link_violate(mesh, link, "unexpected OK");
}
