/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FAIL: a refusal with its reason (spec 02 section 6.2). Most mean: try again later. Two may mean that this node must
 * stop, and a stock node believes them from anybody, in any state. Here they count only as the answer of an acceptor
 * that proved by TLS to belong to the cluster, and eviction only if it is confirmed (section 22.1): by a second peer,
 * or, while nobody at all accepts us, by the same peer over and over.
 */
#include "gmcast/messages.h"

#include <errno.h>

#define REFUSALS_BY_ONE_PEER 3

void mesh_fail_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source, const char *text) {
    mesh_write_header(w, WIRE_FAIL, WIRE_ADDRESS, segment, source);
    mesh_write_text(w, text, WIRE_ADDRESS_SIZE);
}

void mesh_fail_send(struct gmcast *mesh, struct mesh_link *link, const char *text) {
    struct xb_writer w;
    struct xb_buf *buf = mesh_new_buf(FAIL_SIZE, &w);
    if (buf) mesh_fail_write(&w, mesh->config.segment, &mesh->config.uuid, text);
    mesh_link_send(mesh, link, buf, mesh->config.segment, true);
}

static bool is_anybody_established(const struct gmcast *mesh) {
    for (size_t i = 0; i < mesh->link_count; i++)
        if (mesh->links[i]->state == LINK_OK) return true;
    return false;
}

static bool is_eviction_confirmed(struct gmcast *mesh, const struct xb_uuid *teller) {
    if (mesh->evicted_by_count && !xb_uuid_equal(&mesh->evicted_by, teller)) return true;
    mesh->evicted_by = *teller;
    mesh->evicted_by_count++;
    return mesh->evicted_by_count >= REFUSALS_BY_ONE_PEER && !is_anybody_established(mesh);
}

/* "printable" keeps a hostile text from forging log lines. */
static void make_printable(char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~') *text = '?';
}

void mesh_fail_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    char text[WIRE_ADDRESS_SIZE + 1];
    mesh_read_text(message->address, WIRE_ADDRESS_SIZE, text);
    make_printable(text);
    bool is_trusted = mesh->config.is_tls && link->state == LINK_RESP_SENT;
    if (is_trusted && !strcmp(text, FAIL_EVICTED) && is_eviction_confirmed(mesh, &link->peer))
        mesh_fail_fatally(mesh, -EACCES,
                          "this node has been evicted out of the cluster, gcomm backend restart is required");
    if (is_trusted && !strcmp(text, FAIL_DUPLICATE) && !mesh->is_primary_seen)
        mesh_fail_fatally(mesh, -EEXIST,
                          "peer %s at %s knows another node with this node's UUID %s: restart with a new UUID",
                          XB_UUID_SHORT(&link->peer), link->address, XB_UUID_TEXT(&mesh->config.uuid));
    xb_log_warning(mesh->log, "peer %s at %s refuses the connection: %s", XB_UUID_SHORT(&link->peer),
                   mesh_link_name(link), text);
    mesh_link_fail(mesh, link, "refused by peer: %s", text);
}
