/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The address book (spec 02 section 10): whom to dial and when, whom to refuse for a while.
 *
 * Every address has its own schedule, and only connections to that address or to that node hold it back (section
 * 22.10). Addresses come from the user (kept for ever; once a primary view was seen those outside the group are dialled
 * slowly), from peers' lists, and from connections that came in.
 */
#include "gmcast/address.h"
#include "gmcast/mesh.h"

#include <stdlib.h>

#define ENTRIES_FIRST 16
#define ATTEMPTS_LOGGED 30

struct mesh_entry *mesh_book_find(struct gmcast *mesh, const char *address) {
    for (size_t i = 0; i < mesh->entry_count; i++)
        if (!strcmp(mesh->entries[i].address, address)) return &mesh->entries[i];
    return NULL;
}

bool mesh_book_is_own(const struct gmcast *mesh, const char *address) {
    if (!strcmp(address, mesh->config.listen_address)) return true;
    size_t count = mesh->own_count < MESH_OWN_MAX ? mesh->own_count : MESH_OWN_MAX;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(mesh->own[i], address)) return true;
    return false;
}

void mesh_book_add_own(struct gmcast *mesh, const char *address) {
    if (mesh_book_is_own(mesh, address)) return;
    memcpy(mesh->own[mesh->own_count++ % MESH_OWN_MAX], address, strlen(address) + 1);
}

static bool is_connected(const struct gmcast *mesh, const struct mesh_entry *entry) {
    bool has_uuid = !xb_uuid_is_nil(&entry->uuid);
    for (size_t i = 0; i < mesh->link_count; i++) {
        const struct mesh_link *link = mesh->links[i];
        if (link->state == LINK_CLOSED) continue;
        if (!strcmp(link->address, entry->address) || (has_uuid && xb_uuid_equal(&link->peer, &entry->uuid)))
            return true;
    }
    return false;
}

static void remove_at(struct gmcast *mesh, size_t i) {
    mesh->entries[i] = mesh->entries[--mesh->entry_count];
}

void mesh_book_remove(struct gmcast *mesh, const char *address) {
    struct mesh_entry *entry = mesh_book_find(mesh, address);
    if (entry) remove_at(mesh, (size_t)(entry - mesh->entries));
}

/* Makes room for one more entry, if need be by the most hopeless one. */
static bool make_room(struct gmcast *mesh) {
    if (mesh->entry_count < mesh->entry_capacity) return true;
    if (mesh->entry_capacity < MESH_ENTRIES_MAX) {
        size_t capacity = mesh->entry_capacity ? mesh->entry_capacity * 2 : ENTRIES_FIRST;
        struct mesh_entry *entries = realloc(mesh->entries, capacity * sizeof(*entries));
        if (!entries) return false;
        mesh->entries = entries;
        mesh->entry_capacity = capacity;
        return true;
    }
    size_t worst = mesh->entry_count;
    for (size_t i = 0; i < mesh->entry_count; i++) {
        const struct mesh_entry *entry = &mesh->entries[i];
        if (entry->is_configured || entry->is_stable || entry->is_banned || is_connected(mesh, entry)) continue;
        if (worst == mesh->entry_count || entry->attempts > mesh->entries[worst].attempts) worst = i;
    }
    if (worst == mesh->entry_count) return false;
    mesh->entries[worst] = mesh->entries[--mesh->entry_count];
    return true;
}

struct mesh_entry *mesh_book_add(struct gmcast *mesh, const char *address, const struct xb_uuid *uuid, int64_t due_ns) {
    struct mesh_entry *entry = mesh_book_find(mesh, address);
    if (entry) return entry;
    if (!make_room(mesh)) return NULL;
    entry = &mesh->entries[mesh->entry_count++];
    *entry = (struct mesh_entry){.uuid = *uuid, .due_ns = due_ns};
    memcpy(entry->address, address, strlen(address) + 1);
    return entry;
}

static bool is_slow(const struct gmcast *mesh, const struct mesh_entry *entry) {
    return entry->is_configured && mesh->is_primary_seen && !entry->is_stable;
}

void mesh_book_failed(struct gmcast *mesh, const struct mesh_link *link) {
    if (!link->address[0] || mesh_link_is_open_to(mesh, link->address, link)) return;
    struct mesh_entry *entry = mesh_book_find(mesh, link->address);
    if (!entry) return;
    if (entry->attempts < INT32_MAX) entry->attempts++;
    int64_t delay_ns = is_slow(mesh, entry) ? MESH_RETRY_DELAY_SLOW_NS : MESH_RETRY_DELAY_NS;
    /* A peer that accepted us long ago did not just refuse us: look at once whether its process is still there. */
    if (link->established_ns && mesh->now_ns - link->established_ns > mesh->config.time_wait_ns)
        delay_ns = MESH_RETRY_DELAY_LOST_NS + (int64_t)xb_random_below(mesh->random, MESH_GOSSIP_SPREAD_NS);
    int64_t due_ns = mesh->now_ns + delay_ns;
    if (!entry->is_banned || entry->due_ns < due_ns) entry->due_ns = due_ns;
}

void mesh_book_forget(struct gmcast *mesh, const struct xb_uuid *uuid, int64_t time_ns) {
    for (size_t i = 0; i < mesh->entry_count; i++) {
        struct mesh_entry *entry = &mesh->entries[i];
        if (!xb_uuid_equal(&entry->uuid, uuid)) continue;
        entry->is_banned = true;
        entry->is_stable = false;
        if (entry->due_ns < mesh->now_ns + time_ns) entry->due_ns = mesh->now_ns + time_ns;
        for (size_t k = 0; k < mesh->link_count; k++)
            if (!strcmp(mesh->links[k]->address, entry->address)) mesh_link_close(mesh, mesh->links[k]);
    }
    for (size_t k = 0; k < mesh->link_count; k++)
        if (xb_uuid_equal(&mesh->links[k]->peer, uuid)) mesh_link_close(mesh, mesh->links[k]);
    mesh->is_changed = true;
}

bool mesh_book_is_listed(const struct gmcast *mesh, const char *address) {
    for (size_t i = 0; i < mesh->link_count; i++) {
        const struct mesh_link *link = mesh->links[i];
        for (size_t k = 0; k < link->node_count && link->state == LINK_OK; k++)
            if (!strcmp(link->nodes[k].address, address)) return true;
    }
    return false;
}

/* address: in normal form */
static bool may_be_dialled(struct gmcast *mesh, const char *address, const struct mesh_link *teller) {
    char host[GMCAST_ADDRESS_SIZE];
    const char *begin = strstr(address, "://") + strlen("://"), *end = strrchr(begin, ':');
    if (!mesh->config.refusal) return true;
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = 0;
    const char *refusal = mesh->config.refusal(mesh->config.refusal_ctx, host);
    if (!refusal) return true;
    xb_log_info(mesh->log, "%s, which peer %s is connected to, is not dialled: IP %s %s", address,
                XB_UUID_SHORT(&teller->peer), host, refusal);
    return false;
}

void mesh_book_gossip(struct gmcast *mesh) {
    for (size_t i = 0; i < mesh->established_count; i++) {
        struct mesh_link *link = mesh->established[i];
        if (!link->is_news || link->state != LINK_OK) continue;
        link->is_news = false;
        for (size_t k = 0; k < link->node_count; k++) {
            const struct mesh_node *node = &link->nodes[k];
            bool is_reached = xb_uuid_equal(&node->uuid, &mesh->config.uuid) ||
                              mesh_nodes_contain(mesh->nodes, mesh->node_count, &node->uuid);
            if (is_reached || !node->address[0] || mesh_book_is_own(mesh, node->address)) continue;
            if (!mesh_book_find(mesh, node->address) && !may_be_dialled(mesh, node->address, link)) continue;
            int64_t spread_ns = (int64_t)xb_random_below(mesh->random, MESH_GOSSIP_SPREAD_NS);
            mesh_book_add(mesh, node->address, &node->uuid, mesh->now_ns + spread_ns);
        }
    }
}

static void dial(struct gmcast *mesh, struct mesh_entry *entry) {
    if (!xb_uuid_is_nil(&entry->uuid) && entry->attempts % ATTEMPTS_LOGGED == 0)
        xb_log_info(mesh->log, "reconnecting to %s (%s), attempt %d", XB_UUID_SHORT(&entry->uuid), entry->address,
                    entry->attempts);
    gmcast_conn conn = mesh->io.dial(mesh->io.ctx, entry->address);
    struct mesh_link *link = conn != GMCAST_NO_CONN ? mesh_link_open(mesh, conn, LINK_HS_WAIT) : NULL;
    if (link) {
        link->is_dialled = true;
        memcpy(link->address, entry->address, sizeof(link->address));
        return;
    }
    if (conn != GMCAST_NO_CONN) mesh->io.close(mesh->io.ctx, conn);
    if (entry->attempts < INT32_MAX) entry->attempts++;
    entry->due_ns = mesh->now_ns + MESH_RETRY_DELAY_NS;
}

/* The time of the ban is over, or nobody needs the address any more. */
static bool is_finished(const struct gmcast *mesh, const struct mesh_entry *entry) {
    if (entry->is_banned) return true;
    if (entry->is_configured || entry->is_stable) return false;
    return entry->attempts > mesh->config.max_initial_reconnect_attempts ||
           (entry->attempts > MESH_STALE_ATTEMPTS && !entry->connected_ns &&
            !mesh_book_is_listed(mesh, entry->address));
}

/* -> true if the entry is gone */
static bool finish(struct gmcast *mesh, size_t i) {
    struct mesh_entry *entry = &mesh->entries[i];
    xb_log_info(mesh->log, "cleaning up %s (%s)", XB_UUID_SHORT(&entry->uuid), entry->address);
    if (!entry->is_configured) {
        /* After a ban an address is welcome again if peers list it; one that did not answer must be listed anew. */
        for (size_t k = 0; k < mesh->link_count && entry->is_banned; k++) mesh->links[k]->is_news = true;
        mesh->is_changed |= entry->is_banned;
        remove_at(mesh, i);
        return true;
    }
    entry->uuid = xb_uuid_nil;
    entry->is_banned = entry->was_member = false;
    entry->attempts = 0;
    entry->due_ns = mesh->now_ns + (is_slow(mesh, entry) ? MESH_RETRY_DELAY_SLOW_NS : 0);
    return false;
}

void mesh_book_scan(struct gmcast *mesh) {
    mesh->dial_due_ns = XB_NEVER;
    if (!mesh->is_running || mesh->is_isolated) return;
    size_t dials = 0;
    for (size_t i = 0; i < mesh->link_count; i++)
        if (mesh->links[i]->state == LINK_HS_WAIT || mesh->links[i]->state == LINK_RESP_SENT) dials++;
    for (size_t i = mesh->entry_count; i-- > 0;) {
        struct mesh_entry *entry = &mesh->entries[i];
        if (entry->due_ns <= mesh->now_ns) {
            if (is_connected(mesh, entry)) continue; /* its end is a change, which scans again */
            if (is_finished(mesh, entry) && finish(mesh, i)) continue;
        }
        if (entry->due_ns <= mesh->now_ns) {
            if (dials == MESH_DIALS_MAX) continue; /* likewise */
            dials++;
            dial(mesh, entry);
        }
        if (entry->due_ns > mesh->now_ns) mesh->dial_due_ns = xb_earlier(mesh->dial_due_ns, entry->due_ns);
    }
}
