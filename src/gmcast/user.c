/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * USER: carries one EVS message (spec 02 sections 12 and 13). The hot path: the header is pushed once, the checksum
 * computed once, and the same buffer queued for every peer. Copies are made only where flags differ, that is for relays
 * and for gateways to other segments.
 */
#include "gmcast/messages.h"

#include <string.h>

void mesh_user_write_header(struct xb_writer *w, uint8_t flags, uint8_t segment, const struct xb_uuid *source) {
    mesh_write_header(w, WIRE_USER, flags, segment, source);
}

static void push_header(struct gmcast *mesh, struct xb_buf *buf, uint8_t flags, uint8_t segment,
                        const struct xb_uuid *source) {
    struct xb_writer w = xb_writer_init(xb_buf_push(buf, GMCAST_HEADER_SIZE), GMCAST_HEADER_SIZE);
    mesh_user_write_header(&w, flags, segment, source);
    datagram_seal(buf, mesh->config.checksum);
}

/* -> a sealed datagram of its own; NULL: no memory, the message is lost on this way and EVS recovers it */
static struct xb_buf *copy_message(struct gmcast *mesh, uint8_t flags, uint8_t segment, const struct xb_uuid *source,
                                   const uint8_t *data, size_t size) {
    struct xb_buf *buf = xb_buf_new(DATAGRAM_HEADER_SIZE + GMCAST_HEADER_SIZE, size);
    if (!buf) return NULL;
    memcpy(xb_buf_data(buf), data, size);
    push_header(mesh, buf, flags, segment, source);
    return buf;
}

static int send_own(struct gmcast *mesh, struct mesh_link *link, struct xb_buf *buf) {
    int rc = mesh->io.send(mesh->io.ctx, link->conn, mesh->config.segment, buf);
    if (!rc) link->user_sent_ns = mesh->now_ns;
    return rc;
}

/* Section 12.2: what needs flags: the relay set, and one peer in each other segment. */
static void broadcast_flagged(struct gmcast *mesh, struct xb_buf *buf) {
    const struct gmcast_config *config = &mesh->config;
    struct xb_buf *copy = NULL;
    for (size_t i = 0; i < mesh->relay_count; i++) {
        if (mesh->relays[i]->state != LINK_OK) continue;
        if (!copy) copy = copy_message(mesh, WIRE_RELAY, config->segment, &config->uuid, xb_buf_data(buf), buf->size);
        if (copy) send_own(mesh, mesh->relays[i], copy);
    }
    xb_buf_unref(copy);
    copy = NULL;
    for (size_t i = 0; i < mesh->gateway_count; i++) {
        if (mesh->gateways[i]->state != LINK_OK || mesh->gateways[i]->is_relay) continue;
        if (!copy)
            copy = copy_message(mesh, WIRE_SEGMENT_RELAY, config->segment, &config->uuid, xb_buf_data(buf), buf->size);
        if (copy) send_own(mesh, mesh->gateways[i], copy);
    }
    xb_buf_unref(copy);
}

void gmcast_broadcast(struct gmcast *mesh, struct xb_buf *buf, int64_t now_ns) {
    mesh->now_ns = now_ns;
    if (mesh->relay_count || mesh->gateway_count) broadcast_flagged(mesh, buf);
    if (!mesh->local_count) return;
    push_header(mesh, buf, 0, mesh->config.segment, &mesh->config.uuid);
    for (size_t i = 0; i < mesh->local_count; i++)
        if (mesh->local[i]->state == LINK_OK && !mesh->local[i]->is_relay) send_own(mesh, mesh->local[i], buf);
}

void gmcast_unicast(struct gmcast *mesh, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns) {
    mesh->now_ns = now_ns;
    struct mesh_link *link = mesh_link_to(mesh, target);
    if (link) {
        push_header(mesh, buf, 0, mesh->config.segment, &mesh->config.uuid);
        if (!send_own(mesh, link, buf)) return;
        xb_buf_pull(buf, DATAGRAM_HEADER_SIZE + GMCAST_HEADER_SIZE);
    }
    gmcast_broadcast(mesh, buf, now_ns);
}

static void forward(struct gmcast *mesh, struct mesh_link *const *links, size_t count, const struct mesh_link *from,
                    const struct wire_message *message, uint8_t flags) {
    struct xb_buf *copy = NULL;
    for (size_t i = 0; i < count; i++) {
        struct mesh_link *link = links[i];
        bool is_repeat = (flags & WIRE_RELAY) == 0 && (message->flags & WIRE_RELAY) == 0 && link->is_relay;
        if (link->state != LINK_OK || link == from || is_repeat || xb_uuid_equal(&link->peer, &message->source))
            continue;
        if (!copy)
            copy =
                copy_message(mesh, flags, message->segment, &message->source, message->payload, message->payload_size);
        if (copy) mesh->io.send(mesh->io.ctx, link->conn, message->segment, copy); /* else EVS recovers it */
    }
    xb_buf_unref(copy);
}

/* Section 13.2 */
static void relay(struct gmcast *mesh, const struct mesh_link *from, const struct wire_message *message) {
    if (message->flags & WIRE_RELAY) {
        forward(mesh, mesh->established, mesh->established_count, from, message, 0);
    } else {
        forward(mesh, mesh->relays, mesh->relay_count, from, message, WIRE_RELAY);
        forward(mesh, mesh->local, mesh->local_count, from, message, 0);
    }
}

/* Section 22.13. A relayed copy carries no flag, and after two stages its source need not be a peer of the relay: so it
 * must be somebody whom anybody knows. */
static bool is_known_source(const struct gmcast *mesh, const struct mesh_link *from, const struct xb_uuid *source) {
    if (xb_uuid_equal(&from->peer, source) || mesh_link_lists(from, source)) return true;
    for (size_t i = 0; i < mesh->established_count; i++) {
        const struct mesh_link *link = mesh->established[i];
        if (xb_uuid_equal(&link->peer, source) || mesh_link_lists(link, source)) return true;
    }
    for (size_t i = 0; i < mesh->entry_count; i++)
        if (xb_uuid_equal(&mesh->entries[i].uuid, source)) return true;
    return false;
}

void mesh_user_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    if (link->state != LINK_OK) {
        mesh_link_violate(mesh, link, "unexpected USER message");
        return;
    }
    const struct xb_uuid *source = &message->source;
    if (xb_uuid_is_nil(source)) {
        mesh_link_violate(mesh, link, "USER message with a nil source");
        return;
    }
    if (xb_uuid_equal(source, &mesh->config.uuid) || mesh_is_evicted(mesh, source)) return;
    if (!is_known_source(mesh, link, source)) {
        mesh->stats.foreign_sources++;
        return;
    }
    if (message->flags & (WIRE_RELAY | WIRE_SEGMENT_RELAY)) relay(mesh, link, message);
    int rc = mesh->up.message(mesh->up.ctx, source, message->payload, message->payload_size, mesh->now_ns);
    if (rc < 0 && xb_uuid_equal(source, &link->peer)) mesh_link_violate(mesh, link, "malformed EVS message");
}
