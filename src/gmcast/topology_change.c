/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TOPOLOGY_CHANGE: the list of the sender's established connections (spec 02 section 10.2). It always replaces the
 * previous one. Receivers learn addresses from it, and who can relay to whom.
 */
#include "gmcast/address.h"
#include "gmcast/messages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(TOPOLOGY_CHANGE_SIZE(MESH_NODES_MAX) <= DATAGRAM_BODY_MAX, "the list must fit into a datagram");

void mesh_topology_change_write(struct xb_writer *w, const struct xb_uuid *source, const char *group,
                                const struct mesh_node *nodes, size_t count) {
    mesh_write_header(w, WIRE_TOPOLOGY_CHANGE, WIRE_GROUP | WIRE_NODES, 0, source);
    mesh_write_text(w, group, GMCAST_GROUP_MAX);
    xb_write_u32(w, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        xb_write_uuid(w, &nodes[i].uuid);
        xb_write_u32(w, 0);
        mesh_write_text(w, nodes[i].address, WIRE_ADDRESS_SIZE);
        xb_write_zero(w, WIRE_ADDRESS_SIZE); /* multicast address */
    }
}

int mesh_topology_change_read(const struct wire_message *message, struct mesh_node **nodes, struct xb_error *error) {
    size_t count = message->node_count;
    struct mesh_node *list = calloc(count ? count : 1, sizeof(*list));
    if (!list) return xb_fail(error, -ENOMEM, "out of memory");
    struct xb_reader r = xb_reader_init(message->nodes, count * WIRE_NODE_SIZE);
    for (size_t i = 0; i < count; i++) {
        list[i].uuid = xb_read_uuid(&r);
        xb_read_u32(&r); /* reserved */
        mesh_read_text(xb_read_bytes(&r, WIRE_ADDRESS_SIZE), WIRE_ADDRESS_SIZE, list[i].address);
        xb_read_bytes(&r, WIRE_ADDRESS_SIZE); /* multicast address */
        if (xb_uuid_is_nil(&list[i].uuid) || !mesh_address_port(list[i].address)) {
            free(list);
            return xb_fail(error, -EPROTO, "topology list with a nil UUID or an unusable address");
        }
    }
    mesh_nodes_sort(list, count);
    for (size_t i = 1; i < count; i++)
        if (xb_uuid_equal(&list[i - 1].uuid, &list[i].uuid)) {
            free(list);
            return xb_fail(error, -EPROTO, "topology list with the same node twice");
        }
    *nodes = list;
    return (int)count;
}

static struct xb_buf *build_list(struct gmcast *mesh) {
    struct xb_writer w;
    struct xb_buf *buf = mesh_new_buf(TOPOLOGY_CHANGE_SIZE(mesh->node_count), &w);
    if (!buf) return NULL;
    mesh_topology_change_write(&w, &mesh->config.uuid, mesh->config.group, mesh->nodes, mesh->node_count);
    datagram_seal(buf, mesh->config.checksum);
    return buf;
}

void mesh_topology_change_send(struct gmcast *mesh) {
    struct xb_buf *buf = NULL; /* one for all */
    for (size_t i = 0; i < mesh->established_count; i++) {
        struct mesh_link *link = mesh->established[i];
        if (link->state != LINK_OK || link->told_version == mesh->version) continue;
        if (!buf && !(buf = build_list(mesh))) return; /* no memory: told at the next check */
        /* In the queue of the own messages, whatever the header says: it must not overtake the OK before it. */
        int rc = mesh->io.send(mesh->io.ctx, link->conn, mesh->config.segment, buf);
        if (rc)
            mesh_link_fail(mesh, link, "cannot send the topology (error %d)", rc);
        else
            link->told_version = mesh->version;
    }
    xb_buf_unref(buf);
}

static bool is_same_list(const struct mesh_link *link, const struct mesh_node *nodes, size_t count) {
    if (link->node_count != count) return false;
    for (size_t i = 0; i < count; i++)
        if (!xb_uuid_equal(&link->nodes[i].uuid, &nodes[i].uuid) || strcmp(link->nodes[i].address, nodes[i].address))
            return false;
    return true;
}

void mesh_topology_change_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    if (link->state != LINK_OK) {
        mesh_link_violate(mesh, link, "unexpected TOPOLOGY_CHANGE");
        return;
    }
    struct mesh_node *nodes;
    struct xb_error error;
    int count = mesh_topology_change_read(message, &nodes, &error);
    if (count < 0) {
        if (count == -EPROTO)
            mesh_link_violate(mesh, link, "%s", error.text);
        else
            mesh_link_fail(mesh, link, "%s", error.text);
        return;
    }
    /* A host name, which a stock node would resolve, is good for relaying only. */
    for (int i = 0; i < count; i++) {
        char address[GMCAST_ADDRESS_SIZE];
        bool is_usable = !mesh_address_normalize(address, nodes[i].address, mesh->config.is_tls);
        snprintf(nodes[i].address, sizeof(nodes[i].address), "%s", is_usable ? address : "");
    }
    if (is_same_list(link, nodes, (size_t)count)) {
        free(nodes);
        return;
    }
    free(link->nodes);
    link->nodes = nodes;
    link->node_count = (size_t)count;
    link->is_news = true;
    mesh->is_changed = true;
}
