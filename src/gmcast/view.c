/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What views mean for the address book (spec 02 section 10.3): members are dialled for ever, those that left are
 * refused for a while, so that they do not disturb the group that has just agreed to go on without them.
 *
 * A stock node also bans whoever is connected but not in the primary view, which hits nodes that are just joining
 * (section 21). Here only nodes that were members of some view are banned.
 */
#include "gmcast/mesh.h"

static bool is_among(const struct xb_uuid *nodes, size_t count, const struct xb_uuid *node) {
    for (size_t i = 0; i < count; i++)
        if (xb_uuid_equal(&nodes[i], node)) return true;
    return false;
}

static void mark_stable(struct gmcast *mesh, const struct xb_uuid *members, size_t member_count) {
    for (size_t i = 0; i < mesh->entry_count; i++) {
        struct mesh_entry *entry = &mesh->entries[i];
        if (!is_among(members, member_count, &entry->uuid)) continue;
        if (!entry->is_stable)
            xb_log_info(mesh->log, "declaring %s at %s stable", XB_UUID_SHORT(&entry->uuid), entry->address);
        entry->is_stable = entry->was_member = true;
        entry->is_banned = false;
        entry->attempts = 0;
    }
}

static void forget_others(struct gmcast *mesh, const struct xb_uuid *members, size_t member_count) {
    for (size_t i = mesh->entry_count; i-- > 0;) {
        struct mesh_entry *entry = &mesh->entries[i];
        if (is_among(members, member_count, &entry->uuid)) continue;
        struct xb_uuid uuid = entry->uuid;
        if (entry->was_member) {
            if (entry->is_banned) continue;
            xb_log_info(mesh->log, "forgetting %s (%s)", XB_UUID_SHORT(&uuid), entry->address);
            mesh_book_forget(mesh, &uuid, mesh->config.time_wait_ns / 2);
        } else if (entry->is_configured) {
            int64_t due_ns = mesh->now_ns + MESH_RETRY_DELAY_SLOW_NS;
            if (xb_uuid_is_nil(&uuid) && entry->due_ns < due_ns) entry->due_ns = due_ns;
        } else if (!entry->is_banned && !mesh_link_is_open_to(mesh, entry->address, NULL) &&
                   !mesh_link_to(mesh, &uuid) && !mesh_book_is_listed(mesh, entry->address)) {
            mesh_book_remove(mesh, entry->address);
        }
    }
    for (size_t i = 0; i < mesh->link_count; i++)
        if (mesh_is_evicted(mesh, &mesh->links[i]->peer)) mesh_link_close(mesh, mesh->links[i]);
}

void gmcast_view(struct gmcast *mesh, bool is_primary, const struct xb_uuid *members, size_t member_count,
                 const struct xb_uuid *left, size_t left_count, int64_t now_ns) {
    mesh_enter(mesh, now_ns);
    mark_stable(mesh, members, member_count);
    if (is_primary) {
        mesh->is_primary_seen = true;
        forget_others(mesh, members, member_count);
    } else {
        for (size_t i = 0; i < left_count; i++)
            if (!xb_uuid_equal(&left[i], &mesh->config.uuid))
                mesh_book_forget(mesh, &left[i], mesh->config.time_wait_ns);
    }
    mesh->is_changed = true;
    mesh_leave(mesh);
}

void gmcast_allow(struct gmcast *mesh, const struct xb_uuid *node) {
    bool was_banned = false;
    for (size_t i = 0; i < mesh->entry_count; i++) {
        struct mesh_entry *entry = &mesh->entries[i];
        if (!entry->is_banned || !xb_uuid_equal(&entry->uuid, node)) continue;
        entry->is_banned = entry->was_member = false; /* a newcomer again */
        entry->attempts = 0;
        entry->due_ns = mesh->now_ns;
        was_banned = true;
    }
    if (!was_banned) return;
    mesh_enter(mesh, mesh->now_ns);
    mesh->is_changed = true;
    mesh_leave(mesh);
}
