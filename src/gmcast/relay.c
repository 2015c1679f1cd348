/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is sent what: the lists of section 10.2.4, by which broadcasts go, and the relay set of section 12.4: peers that
 * are asked to pass our messages on, because they reach nodes that we do not.
 */
#include "gmcast/mesh.h"

#include <stdlib.h>
#include <string.h>

static int compare_nodes(const void *a, const void *b) {
    return xb_uuid_compare(&((const struct mesh_node *)a)->uuid, &((const struct mesh_node *)b)->uuid);
}

void mesh_nodes_sort(struct mesh_node *nodes, size_t count) {
    qsort(nodes, count, sizeof(nodes[0]), compare_nodes);
}

bool mesh_nodes_contain(const struct mesh_node *nodes, size_t count, const struct xb_uuid *uuid) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = xb_uuid_compare(uuid, &nodes[middle].uuid);
        if (order == 0) return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

bool mesh_link_lists(const struct mesh_link *link, const struct xb_uuid *node) {
    return mesh_nodes_contain(link->nodes, link->node_count, node);
}

static bool is_listed_already(const struct mesh_node *nodes, size_t count, const struct mesh_link *link) {
    for (size_t i = 0; i < count; i++)
        if (xb_uuid_equal(&nodes[i].uuid, &link->peer) || !strcmp(nodes[i].address, link->address)) return true;
    return false;
}

/* The list for TOPOLOGY_CHANGE. Of two nodes at one address (one restarted, its old connection not yet found dead) only
 * the newer is listed: a stock node stops when it sees its own address under another UUID. */
static void update_nodes(struct gmcast *mesh) {
    struct mesh_node nodes[MESH_NODES_MAX];
    size_t count = 0;
    for (size_t i = mesh->established_count; i-- > 0 && count < MESH_NODES_MAX;) {
        const struct mesh_link *link = mesh->established[i];
        if (is_listed_already(nodes, count, link)) continue;
        nodes[count].uuid = link->peer;
        memcpy(nodes[count++].address, link->address, sizeof(link->address));
    }
    mesh_nodes_sort(nodes, count);
    bool is_same = count == mesh->node_count;
    for (size_t i = 0; i < count && is_same; i++)
        is_same =
            xb_uuid_equal(&nodes[i].uuid, &mesh->nodes[i].uuid) && !strcmp(nodes[i].address, mesh->nodes[i].address);
    if (is_same) return;
    memcpy(mesh->nodes, nodes, count * sizeof(nodes[0]));
    mesh->node_count = count;
    mesh->version++;
}

void mesh_routes_update(struct gmcast *mesh) {
    unsigned sizes[UINT8_MAX + 1] = {0}, seen[UINT8_MAX + 1] = {0}, self_index = 0;
    mesh->established_count = mesh->local_count = mesh->gateway_count = 0;
    for (size_t i = 0; i < mesh->link_count; i++) {
        struct mesh_link *link = mesh->links[i];
        if (link->state != LINK_OK) continue;
        mesh->established[mesh->established_count++] = link;
        sizes[link->segment]++;
        if (link->segment != mesh->config.segment) continue;
        mesh->local[mesh->local_count++] = link;
        if (xb_uuid_compare(&link->peer, &mesh->config.uuid) < 0) self_index++;
    }
    for (size_t i = 0; i < mesh->established_count; i++) {
        struct mesh_link *link = mesh->established[i];
        uint8_t segment = link->segment;
        if (segment != mesh->config.segment && seen[segment]++ == (self_index + segment) % sizes[segment])
            mesh->gateways[mesh->gateway_count++] = link;
    }
    update_nodes(mesh);
}

/* -> number of known nodes that are not banned and have no connection */
static size_t find_unreached(struct gmcast *mesh, struct xb_uuid unreached[MESH_ENTRIES_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < mesh->entry_count; i++) {
        const struct mesh_entry *entry = &mesh->entries[i];
        if (entry->is_banned || xb_uuid_is_nil(&entry->uuid) || mesh_link_to(mesh, &entry->uuid)) continue;
        unreached[count++] = entry->uuid;
    }
    return count;
}

static size_t count_listed(const struct mesh_link *link, const struct xb_uuid *nodes, size_t count) {
    size_t listed = 0;
    for (size_t i = 0; i < count; i++)
        if (mesh_link_lists(link, &nodes[i])) listed++;
    return listed;
}

/* Adds the link of the own segment, or of others, that reaches most -> number of nodes still not reached */
static size_t add_best_relay(struct gmcast *mesh, bool is_own_segment, struct xb_uuid *unreached, size_t count) {
    struct mesh_link *best = NULL;
    size_t best_listed = 0;
    for (size_t i = 0; i < mesh->established_count; i++) {
        struct mesh_link *link = mesh->established[i];
        if (link->state != LINK_OK || link->is_relay || (link->segment == mesh->config.segment) != is_own_segment)
            continue;
        size_t listed = count_listed(link, unreached, count);
        if (listed > best_listed) {
            best = link;
            best_listed = listed;
        }
    }
    if (!best) return count;
    best->is_relay = true;
    mesh->relays[mesh->relay_count++] = best;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!mesh_link_lists(best, &unreached[i])) unreached[kept++] = unreached[i];
    return kept;
}

void mesh_relays_update(struct gmcast *mesh) {
    for (size_t i = 0; i < mesh->link_count; i++) mesh->links[i]->is_relay = false;
    mesh->relay_count = 0;
    struct xb_uuid unreached[MESH_ENTRIES_MAX];
    size_t count = find_unreached(mesh, unreached);
    for (int is_own_segment = 1; is_own_segment >= 0; is_own_segment--)
        for (size_t before = 0; count && before != count;) {
            before = count;
            count = add_best_relay(mesh, is_own_segment, unreached, count);
        }
    bool is_telling = mesh->relay_count != 0;
    if (is_telling != mesh->is_telling)
        xb_log_info(mesh->log,
                    is_telling ? "turning message relay requesting on, %zu peers are asked to relay"
                               : "turning message relay requesting off",
                    mesh->relay_count);
    mesh->is_telling = is_telling;
}
