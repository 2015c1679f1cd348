/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is at the other end (spec 02 section 9): this node itself, a second process with this node's UUID, a peer that is
 * connected already, or somebody new; and what to do when the handshake is complete.
 */
#include "gmcast/messages.h"

#include <errno.h>

static bool is_own_handshake(const struct gmcast *mesh, const struct mesh_link *link) {
    size_t count = mesh->issued_count < MESH_ISSUED_MAX ? mesh->issued_count : MESH_ISSUED_MAX;
    for (size_t i = 0; i < count; i++)
        if (xb_uuid_equal(&mesh->issued[i], &link->handshake)) return true;
    return false;
}

/* Rules 1 to 3: the peer has our UUID. */
static void handle_own_uuid(struct gmcast *mesh, struct mesh_link *link) {
    /* Only the dialling end can be sure to see itself. It looks among the handshakes issued lately, not only among the
     * open connections: the accepted end may be gone already. */
    if (link->is_dialled && is_own_handshake(mesh, link)) {
        xb_log_info(mesh->log, "%s is this node's own address", link->address);
        mesh_book_add_own(mesh, link->address);
        mesh_book_remove(mesh, link->address);
        mesh_link_close(mesh, link);
        return;
    }
    /* Without TLS anybody can dial us and claim this; whom we dial ourselves is believed. */
    if (!mesh->is_primary_seen && (mesh->config.is_tls || link->is_dialled))
        mesh_fail_fatally(mesh, -EEXIST, "another process at %s uses this node's UUID %s: restart with a new UUID",
                          link->address, XB_UUID_TEXT(&mesh->config.uuid));
    else if (mesh->is_primary_seen)
        mesh_fail_send(mesh, link, FAIL_DUPLICATE);
    xb_log_warning(mesh->log, "another process at %s uses this node's UUID %s", link->address,
                   XB_UUID_TEXT(&mesh->config.uuid));
    mesh_link_fail(mesh, link, "duplicate UUID");
}

/* Rule 4: the peer is connected at another address. */
static bool is_second_address(struct gmcast *mesh, struct mesh_link *link) {
    for (size_t i = 0; i < mesh->link_count; i++) {
        struct mesh_link *other = mesh->links[i];
        if (other == link || other->state == LINK_CLOSED || !xb_uuid_equal(&other->peer, &link->peer) ||
            !strcmp(other->address, link->address))
            continue;
        if (!link->is_dialled && other->is_dialled && other->state == LINK_RESP_SENT) {
            mesh_link_close(mesh, other); /* our own dial is not worth refusing the peer, which may be fatal for it */
            continue;
        }
        return true;
    }
    return false;
}

static void handle_second_address(struct gmcast *mesh, struct mesh_link *link) {
    if (link->is_dialled) {
        /* The same process, reached by another of its addresses, which we keep dialling (section 22.10). FAIL would
         * stop a joining stock node, so we just remember whose address it is; while it is connected it is not
         * dialled. */
        struct mesh_entry *entry = mesh_book_find(mesh, link->address);
        if (entry) {
            entry->uuid = link->peer;
            entry->is_stable = entry->was_member = false;
        }
        mesh_link_fail(mesh, link, "peer is connected already at another address");
        return;
    }
    xb_log_warning(mesh->log, "peer %s is connected already, and now comes from %s too: refused",
                   XB_UUID_SHORT(&link->peer), link->address);
    mesh_fail_send(mesh, link, FAIL_DUPLICATE);
    mesh_link_fail(mesh, link, "duplicate UUID");
}

bool mesh_identity_check(struct gmcast *mesh, struct mesh_link *link) {
    if (xb_uuid_equal(&link->peer, &mesh->config.uuid)) {
        handle_own_uuid(mesh, link);
        return false;
    }
    if (mesh_is_evicted(mesh, &link->peer)) {
        mesh_link_fail(mesh, link, "peer is evicted");
        return false;
    }
    if (is_second_address(mesh, link)) {
        handle_second_address(mesh, link);
        return false;
    }
    return link->state != LINK_CLOSED;
}

/* Section 9.3.5: of parallel connections the one with the greatest handshake UUID stays; the peer decides the same. */
static void close_duplicates(struct gmcast *mesh, struct mesh_link *link) {
    for (size_t i = 0; i < mesh->link_count && link->state == LINK_OK; i++) {
        struct mesh_link *other = mesh->links[i];
        if (other == link || other->state == LINK_CLOSED || !xb_uuid_equal(&other->peer, &link->peer)) continue;
        bool is_other_less = xb_uuid_compare(&other->handshake, &link->handshake) < 0;
        /* The new connection was possible, so the old one is not needed to find the peer again: see gmcast_renew. */
        if (!is_other_less && link->is_renewal && other->state == LINK_OK) mesh_link_close(mesh, other);
        mesh_link_close(mesh, is_other_less ? other : link);
    }
}

void mesh_establish(struct gmcast *mesh, struct mesh_link *link) {
    if (link->state == LINK_CLOSED) return;
    if (mesh_is_evicted(mesh, &link->peer)) {
        mesh_link_fail(mesh, link, "peer is evicted");
        return;
    }
    struct mesh_entry *entry = mesh_book_add(mesh, link->address, &link->peer, mesh->now_ns);
    if (!entry) {
        mesh_link_fail(mesh, link, "the address book is full");
        return;
    }
    if (!xb_uuid_equal(&entry->uuid, &link->peer)) {
        /* Changed identity: another process is behind the address now. */
        if (!xb_uuid_is_nil(&entry->uuid)) entry->is_banned = false;
        entry->uuid = link->peer;
        entry->is_stable = entry->was_member = false;
    }
    if (entry->is_banned && mesh->now_ns < entry->due_ns) {
        xb_log_info(mesh->log, "peer %s at %s left lately, connection discarded", XB_UUID_SHORT(&link->peer),
                    link->address);
        mesh_link_close(mesh, link);
        return;
    }
    if (entry->is_banned) entry->is_banned = entry->was_member = false;
    entry->attempts = 0;
    entry->due_ns = xb_earlier(entry->due_ns, mesh->now_ns);
    entry->connected_ns = mesh->now_ns;
    mesh->evicted_by_count = 0;
    link->state = LINK_OK;
    link->established_ns = link->user_sent_ns = mesh->now_ns;
    mesh->is_changed = true;
    close_duplicates(mesh, link);
    if (link->state == LINK_OK)
        xb_log_info(mesh->log, "connection established to %s %s", XB_UUID_SHORT(&link->peer), link->address);
}
