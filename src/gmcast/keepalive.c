/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KEEPALIVE: asks an established but quiet peer for a sign of life, an OK (spec 02 section 11). */
#include "gmcast/messages.h"

void mesh_keepalive_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source) {
    mesh_write_header(w, WIRE_KEEPALIVE, 0, segment, source);
}

void mesh_keepalive_send(struct gmcast *mesh, struct mesh_link *link) {
    struct xb_writer w;
    struct xb_buf *buf = mesh_new_buf(KEEPALIVE_SIZE, &w);
    if (buf) mesh_keepalive_write(&w, mesh->config.segment, &mesh->config.uuid);
    mesh_link_send(mesh, link, buf, mesh->config.segment, true);
}

void mesh_keepalive_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    if (link->state == LINK_OK)
        mesh_ok_send(mesh, link, true);
    else
        mesh_link_violate(mesh, link, "unexpected KEEPALIVE");
}
