/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The evict list (spec 02 section 15.3): these nodes are not heard and not let in. EVS decides who is on it. */
#include "gmcast/mesh.h"

static size_t find(const struct gmcast *mesh, const struct xb_uuid *node) {
    size_t i = 0;
    while (i < mesh->evicted_count && !xb_uuid_equal(&mesh->evicted[i], node)) i++;
    return i;
}

static void remove_at(struct gmcast *mesh, size_t i) {
    mesh->evicted_count--;
    memmove(&mesh->evicted[i], &mesh->evicted[i + 1], (mesh->evicted_count - i) * sizeof(mesh->evicted[0]));
}

bool mesh_is_evicted(const struct gmcast *mesh, const struct xb_uuid *node) {
    return mesh->evicted_count && find(mesh, node) < mesh->evicted_count;
}

void gmcast_evict(struct gmcast *mesh, const struct xb_uuid *node) {
    if (mesh_is_evicted(mesh, node)) return;
    if (mesh->evicted_count == MESH_EVICTED_MAX) {
        xb_log_warning(mesh->log, "evict list is full, %s may come back", XB_UUID_TEXT(&mesh->evicted[0]));
        remove_at(mesh, 0);
    }
    mesh->evicted[mesh->evicted_count++] = *node;
}

void gmcast_unevict(struct gmcast *mesh, const struct xb_uuid *node) {
    if (!node) {
        mesh->evicted_count = 0;
        return;
    }
    size_t i = find(mesh, node);
    if (i < mesh->evicted_count) remove_at(mesh, i);
}
