/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of gmcast: what happens outside comes in here, is handed to the file whose concern it is, and whatever it
 * changed is settled before the outermost call returns (see mesh.h).
 */
#include "gmcast/gmcast.h"

#include "gmcast/address.h"
#include "gmcast/mesh.h"
#include "gmcast/messages.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct gmcast *gmcast_new(const struct gmcast_config *config, const struct gmcast_io *io, const struct gmcast_up *up,
                          struct xb_random *random, const struct xb_log *log) {
    struct gmcast *mesh = calloc(1, sizeof(*mesh));
    if (!mesh) return NULL;
    mesh->config = *config;
    mesh->io = *io;
    mesh->up = *up;
    mesh->random = random;
    mesh->log = log;
    mesh->version = 1;
    mesh->check_due_ns = mesh->dial_due_ns = XB_NEVER;
    return mesh;
}

void gmcast_free(struct gmcast *mesh) {
    if (!mesh) return;
    for (size_t i = 0; i < mesh->link_count; i++) {
        free(mesh->links[i]->nodes);
        free(mesh->links[i]);
    }
    free(mesh->entries);
    free(mesh);
}

/* Calls and what they leave behind */

void mesh_enter(struct gmcast *mesh, int64_t now_ns) {
    mesh->depth++;
    mesh->now_ns = now_ns;
}

static void close_all(struct gmcast *mesh) {
    for (size_t i = 0; i < mesh->link_count; i++) mesh_link_close(mesh, mesh->links[i]);
}

static void tell_hints(struct gmcast *mesh) {
    struct mesh_hint hints[MESH_HINTS_MAX];
    size_t count = mesh->hint_count;
    memcpy(hints, mesh->hints, count * sizeof(hints[0]));
    mesh->hint_count = 0;
    for (size_t i = 0; i < count && mesh->is_running; i++)
        if (!mesh_link_to(mesh, &hints[i].peer))
            mesh->up.peer_lost(mesh->up.ctx, &hints[i].peer, hints[i].is_refused, mesh->now_ns);
}

static void tell_fatal(struct gmcast *mesh) {
    if (!mesh->fatal.code || !mesh->is_running) return;
    mesh->is_running = false;
    close_all(mesh);
    mesh->up.fatal(mesh->up.ctx, &mesh->fatal);
}

static void settle(struct gmcast *mesh) {
    do {
        while (mesh->is_changed) {
            mesh->is_changed = false;
            mesh_routes_update(mesh);
            mesh_topology_change_send(mesh);
            mesh_book_gossip(mesh);
            mesh_relays_update(mesh);
            mesh_book_scan(mesh);
        }
        tell_hints(mesh);
        tell_fatal(mesh);
    } while (mesh->is_changed || mesh->hint_count);
    mesh_link_free_closed(mesh);
}

void mesh_leave(struct gmcast *mesh) {
    bool has_left_something = mesh->is_changed || mesh->hint_count || mesh->fatal.code;
    if (mesh->depth == 1 && has_left_something) settle(mesh);
    mesh->depth--;
}

void mesh_fail_fatally(struct gmcast *mesh, int code, const char *format, ...) {
    if (mesh->fatal.code) return;
    mesh->fatal.code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(mesh->fatal.text, sizeof(mesh->fatal.text), format, args);
    va_end(args);
}

/* Beginning and end */

static int add_configured(struct gmcast *mesh, const char *text, int64_t due_ns) {
    char address[GMCAST_ADDRESS_SIZE];
    if (mesh_address_normalize(address, text, mesh->config.is_tls)) return -EINVAL;
    if (mesh_book_is_own(mesh, address)) {
        xb_log_info(mesh->log, "%s is this node's own address, not a peer", address);
        return 0;
    }
    struct mesh_entry *entry = mesh_book_add(mesh, address, &xb_uuid_nil, due_ns);
    if (!entry) return -ENOSPC;
    entry->is_configured = true;
    entry->is_banned = false;
    entry->due_ns = due_ns;
    mesh->is_changed = true;
    return 0;
}

void gmcast_start(struct gmcast *mesh, const char *const *peers, size_t peer_count, int64_t now_ns,
                  int64_t calendar_ns) {
    mesh_enter(mesh, now_ns);
    mesh->is_running = true;
    mesh->calendar_offset_ns = calendar_ns - now_ns;
    mesh->checked_ns = now_ns;
    mesh->check_due_ns = now_ns + mesh_liveness_period(mesh);
    int64_t due_ns = mesh->config.is_founder ? XB_NEVER : now_ns;
    for (size_t i = 0; i < peer_count; i++)
        if (add_configured(mesh, peers[i], due_ns))
            xb_log_warning(mesh->log, "peer address '%s' is not usable", peers[i]);
    mesh_leave(mesh);
}

void gmcast_stop(struct gmcast *mesh) {
    mesh_enter(mesh, mesh->now_ns);
    mesh->is_running = false;
    close_all(mesh);
    mesh_leave(mesh);
}

/* From the network */

static bool is_crowded(const struct gmcast *mesh, const char *host) {
    size_t total = 0, same_host = 0;
    for (size_t i = 0; i < mesh->link_count; i++) {
        const struct mesh_link *link = mesh->links[i];
        if (link->state != LINK_INIT && link->state != LINK_HS_SENT) continue;
        total++;
        if (!strcmp(link->host, host)) same_host++;
    }
    return total >= MESH_UNFINISHED_MAX || same_host >= MESH_UNFINISHED_HOST_MAX;
}

void gmcast_accepted(struct gmcast *mesh, gmcast_conn conn, const char *host, int64_t now_ns) {
    mesh_enter(mesh, now_ns);
    struct mesh_link *link = NULL;
    if (mesh->is_running && !mesh->is_isolated && strlen(host) < sizeof(link->host)) {
        if (!is_crowded(mesh, host)) link = mesh_link_open(mesh, conn, LINK_INIT);
        if (!link) {
            mesh->stats.refused++;
            xb_log_debug(mesh->log, "connection from %s refused: too many connections", host);
        }
    }
    if (link)
        memcpy(link->host, host, strlen(host) + 1);
    else
        mesh->io.close(mesh->io.ctx, conn);
    mesh_leave(mesh);
}

void gmcast_connected(struct gmcast *mesh, gmcast_conn conn, int64_t now_ns) {
    struct mesh_link *link = mesh_link_find(mesh, conn);
    if (!link) return;
    mesh_enter(mesh, now_ns);
    link->is_ready = true;
    link->received_ns = now_ns;
    if (link->state == LINK_INIT) mesh_handshake_send(mesh, link);
    mesh_leave(mesh);
}

static void dispatch(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    switch (message->type) {
    case WIRE_USER:
        mesh_user_receive(mesh, link, message);
        break;
    case WIRE_HANDSHAKE:
        mesh_handshake_receive(mesh, link, message);
        break;
    case WIRE_HANDSHAKE_RESPONSE:
        mesh_handshake_response_receive(mesh, link, message);
        break;
    case WIRE_OK:
        mesh_ok_receive(mesh, link, message);
        break;
    case WIRE_FAIL:
        mesh_fail_receive(mesh, link, message);
        break;
    case WIRE_TOPOLOGY_CHANGE:
        mesh_topology_change_receive(mesh, link, message);
        break;
    case WIRE_KEEPALIVE:
        mesh_keepalive_receive(mesh, link, message);
        break;
    }
}

void gmcast_received(struct gmcast *mesh, gmcast_conn conn, const uint8_t *body, size_t size, int64_t now_ns) {
    struct mesh_link *link = mesh_link_find(mesh, conn);
    if (!link) return;
    mesh_enter(mesh, now_ns);
    struct wire_message message;
    struct xb_error error;
    if (mesh_read_message(&message, body, size, &error)) {
        mesh_link_violate(mesh, link, "%s", error.text);
    } else {
        link->received_ns = now_ns;
        dispatch(mesh, link, &message);
    }
    mesh_leave(mesh);
}

void gmcast_lost(struct gmcast *mesh, gmcast_conn conn, int reason, int64_t now_ns) {
    struct mesh_link *link = mesh_link_find(mesh, conn);
    if (!link) return;
    mesh_enter(mesh, now_ns);
    mesh_link_lost(mesh, link, reason);
    mesh_leave(mesh);
}

int64_t gmcast_tick(struct gmcast *mesh, int64_t now_ns) {
    if (mesh->is_running && (now_ns >= mesh->check_due_ns || now_ns >= mesh->dial_due_ns)) {
        mesh_enter(mesh, now_ns);
        if (now_ns >= mesh->check_due_ns) {
            mesh_liveness_check(mesh);
            mesh_relays_update(mesh);
            mesh_topology_change_send(mesh);
            mesh->check_due_ns = now_ns + mesh_liveness_period(mesh);
        }
        if (now_ns >= mesh->dial_due_ns) mesh_book_scan(mesh);
        mesh_leave(mesh);
    }
    return mesh->is_running ? xb_earlier(mesh->check_due_ns, mesh->dial_due_ns) : XB_NEVER;
}

gmcast_conn gmcast_renew(struct gmcast *mesh, gmcast_conn conn, int64_t now_ns) {
    const struct mesh_link *old = mesh_link_find(mesh, conn);
    if (!old || old->state != LINK_OK || !mesh->is_running || mesh->is_isolated) return GMCAST_NO_CONN;
    mesh_enter(mesh, now_ns);
    gmcast_conn fresh = mesh->io.dial(mesh->io.ctx, old->address);
    struct mesh_link *link = fresh != GMCAST_NO_CONN ? mesh_link_open(mesh, fresh, LINK_HS_WAIT) : NULL;
    if (link) {
        link->is_dialled = link->is_renewal = true;
        memcpy(link->address, old->address, sizeof(link->address));
    } else if (fresh != GMCAST_NO_CONN) {
        mesh->io.close(mesh->io.ctx, fresh);
        fresh = GMCAST_NO_CONN;
    }
    mesh_leave(mesh);
    return fresh;
}

/* Run-time options */

int gmcast_peer_add(struct gmcast *mesh, const char *address, int64_t now_ns) {
    mesh_enter(mesh, now_ns);
    int rc = add_configured(mesh, address, now_ns);
    mesh_leave(mesh);
    return rc;
}

int gmcast_peer_delete(struct gmcast *mesh, const char *address, int64_t now_ns) {
    char normal[GMCAST_ADDRESS_SIZE];
    if (mesh_address_normalize(normal, address, mesh->config.is_tls)) return -EINVAL;
    mesh_enter(mesh, now_ns);
    struct mesh_entry *entry = mesh_book_find(mesh, normal);
    if (entry) {
        entry->is_configured = entry->is_stable = false;
        entry->is_banned = true;
        entry->due_ns = now_ns + mesh->config.time_wait_ns;
        mesh->is_changed = true;
    } else {
        xb_log_info(mesh->log, "address %s is not known, nothing to delete", normal);
    }
    for (size_t i = 0; i < mesh->link_count; i++)
        if (!strcmp(mesh->links[i]->address, normal)) mesh_link_close(mesh, mesh->links[i]);
    mesh_leave(mesh);
    return 0;
}

/* Section 15.1. Unlike the stock node we close what is accepted meanwhile (section 22.4). */
void gmcast_isolate(struct gmcast *mesh, int mode, int64_t now_ns) {
    mesh_enter(mesh, now_ns);
    mesh->is_isolated = mode != 0;
    mesh->is_changed = true;
    if (mode != 0) close_all(mesh);
    if (mode == 2)
        mesh_fail_fatally(mesh, -ECANCELED, "Gcomm backend termination was requested by setting gmcast.isolate=2.");
    mesh_leave(mesh);
}

/* Status */

void gmcast_get_stats(const struct gmcast *mesh, struct gmcast_stats *stats) {
    *stats = mesh->stats;
}

bool gmcast_peer_info(const struct gmcast *mesh, const struct xb_uuid *peer, gmcast_conn *conn,
                      char address[GMCAST_ADDRESS_SIZE]) {
    const struct mesh_link *link = mesh_link_to(mesh, peer);
    if (!link) return false;
    *conn = link->conn;
    memcpy(address, link->address, GMCAST_ADDRESS_SIZE);
    return true;
}

void gmcast_each_peer(const struct gmcast *mesh,
                      void (*visit)(void *ctx, const struct xb_uuid *peer, gmcast_conn conn, const char *address,
                                    uint8_t segment),
                      void *ctx) {
    for (size_t i = 0; i < mesh->link_count; i++) {
        const struct mesh_link *link = mesh->links[i];
        if (link->state == LINK_OK) visit(ctx, &link->peer, link->conn, link->address, link->segment);
    }
}
