/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of connections: finding, opening, closing, failing, sending gmcast's own messages. */
#include "gmcast/mesh.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_SIZE 256

struct mesh_link *mesh_link_open(struct gmcast *mesh, gmcast_conn conn, enum mesh_link_state state) {
    if (mesh->link_count == MESH_LINKS_MAX) return NULL;
    struct mesh_link *link = calloc(1, sizeof(*link));
    if (!link) return NULL;
    link->conn = conn;
    link->state = state;
    link->received_ns = link->user_sent_ns = mesh->now_ns;
    mesh->links[mesh->link_count++] = link;
    struct mesh_link **bucket = &mesh->buckets[conn % MESH_BUCKETS];
    link->bucket_next = *bucket;
    *bucket = link;
    return link;
}

struct mesh_link *mesh_link_find(const struct gmcast *mesh, gmcast_conn conn) {
    struct mesh_link *link = mesh->buckets[conn % MESH_BUCKETS];
    while (link && link->conn != conn) link = link->bucket_next;
    return link;
}

struct mesh_link *mesh_link_to(const struct gmcast *mesh, const struct xb_uuid *peer) {
    for (size_t i = 0; i < mesh->link_count; i++)
        if (mesh->links[i]->state == LINK_OK && xb_uuid_equal(&mesh->links[i]->peer, peer)) return mesh->links[i];
    return NULL;
}

bool mesh_link_is_open_to(const struct gmcast *mesh, const char *address, const struct mesh_link *except) {
    for (size_t i = 0; i < mesh->link_count; i++) {
        const struct mesh_link *link = mesh->links[i];
        if (link != except && link->state != LINK_CLOSED && !strcmp(link->address, address)) return true;
    }
    return false;
}

const char *mesh_link_name(const struct mesh_link *link) {
    return link->address[0] ? link->address : link->host;
}

/* Takes the link out of use; it is freed when settled. */
static void retire(struct gmcast *mesh, struct mesh_link *link) {
    struct mesh_link **place = &mesh->buckets[link->conn % MESH_BUCKETS];
    while (*place != link) place = &(*place)->bucket_next;
    *place = link->bucket_next;
    link->state = LINK_CLOSED;
    mesh->is_changed = true;
}

void mesh_link_close(struct gmcast *mesh, struct mesh_link *link) {
    if (link->state == LINK_CLOSED) return;
    retire(mesh, link);
    mesh->io.close(mesh->io.ctx, link->conn);
}

void mesh_link_free_closed(struct gmcast *mesh) {
    size_t kept = 0;
    for (size_t i = 0; i < mesh->link_count; i++) {
        struct mesh_link *link = mesh->links[i];
        if (link->state != LINK_CLOSED) {
            mesh->links[kept++] = link;
            continue;
        }
        free(link->nodes);
        free(link);
    }
    mesh->link_count = kept;
}

static void add_hint(struct gmcast *mesh, const struct xb_uuid *peer, bool is_refused) {
    if (mesh->hint_count == MESH_HINTS_MAX) return;
    mesh->hints[mesh->hint_count++] = (struct mesh_hint){.peer = *peer, .is_refused = is_refused};
}

void mesh_link_tell(struct gmcast *mesh, const struct mesh_link *link, const char *format, ...) {
    char reason[REASON_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    if (mesh->io.refused)
        mesh->io.refused(mesh->io.ctx, link->conn, reason);
    else
        xb_log_warning(mesh->log, "connection to peer %s at %s dropped: %s", XB_UUID_SHORT(&link->peer),
                       mesh_link_name(link), reason);
}

/* The common end of all failures; the connection itself is closed by the caller. */
static void account(struct gmcast *mesh, struct mesh_link *link, bool was_established, bool is_violation,
                    const char *reason) {
    enum xb_log_level level = was_established ? XB_LOG_INFO : XB_LOG_DEBUG;
    xb_log_write(mesh->log, level, "connection to peer %s at %s dropped: %s", XB_UUID_SHORT(&link->peer),
                 mesh_link_name(link), reason);
    if (is_violation) mesh->stats.violations++;
    if (was_established) add_hint(mesh, &link->peer, false);
    mesh_book_failed(mesh, link);
}

static void fail(struct gmcast *mesh, struct mesh_link *link, bool is_violation, const char *format, va_list args) {
    if (link->state == LINK_CLOSED) return;
    char reason[REASON_SIZE];
    vsnprintf(reason, sizeof(reason), format, args);
    bool was_established = link->state == LINK_OK;
    if (is_violation) mesh_link_tell(mesh, link, "%s", reason);
    mesh_link_close(mesh, link);
    account(mesh, link, was_established, is_violation, reason);
}

void mesh_link_fail(struct gmcast *mesh, struct mesh_link *link, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(mesh, link, false, format, args);
    va_end(args);
}

void mesh_link_violate(struct gmcast *mesh, struct mesh_link *link, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(mesh, link, true, format, args);
    va_end(args);
}

void mesh_link_lost(struct gmcast *mesh, struct mesh_link *link, int reason) {
    bool was_established = link->state == LINK_OK;
    bool is_refused = link->is_dialled && !link->is_ready && reason == -ECONNREFUSED;
    retire(mesh, link);
    const char *text = reason ? strerrordesc_np(-reason) : "closed by peer";
    account(mesh, link, was_established, false, text ? text : "unknown error");
    struct mesh_entry *entry = is_refused ? mesh_book_find(mesh, link->address) : NULL;
    if (entry && !xb_uuid_is_nil(&entry->uuid)) add_hint(mesh, &entry->uuid, true);
}

void mesh_link_send(struct gmcast *mesh, struct mesh_link *link, struct xb_buf *buf, uint8_t segment,
                    bool is_optional) {
    if (!buf) {
        if (!is_optional) mesh_link_fail(mesh, link, "out of memory");
        return;
    }
    datagram_seal(buf, mesh->config.checksum);
    int rc = mesh->io.send(mesh->io.ctx, link->conn, segment, buf);
    xb_buf_unref(buf);
    if (rc && !(is_optional && rc == -ENOBUFS)) {
        const char *text = strerrordesc_np(-rc);
        mesh_link_fail(mesh, link, "cannot send: %s", text ? text : "unknown error");
    }
}
