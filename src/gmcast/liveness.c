/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Liveness (spec 02 section 11): connections on which nothing arrives are dropped, in the handshake as well as after it
 * (also while the transport is not ready, section 22.4); quiet ones are asked for a sign of life.
 */
#include "gmcast/messages.h"

int64_t mesh_liveness_period(const struct gmcast *mesh) {
    int64_t period_ns = xb_earlier(MESH_CHECK_PERIOD_NS, mesh->config.peer_timeout_ns / 6);
    return period_ns > XB_MS ? period_ns : XB_MS;
}

/* If this thread itself was held up (a stopped process, a long computation), what the peers sent meanwhile is still to
 * be read: their silence is ours, and does not count. */
static void forgive_own_stall(struct gmcast *mesh) {
    int64_t stall_ns = mesh->now_ns - mesh->checked_ns - mesh_liveness_period(mesh);
    mesh->checked_ns = mesh->now_ns;
    if (stall_ns < mesh->config.peer_timeout_ns / 3) return;
    for (size_t i = 0; i < mesh->link_count; i++) {
        int64_t *received_ns = &mesh->links[i]->received_ns;
        *received_ns = xb_earlier(*received_ns + stall_ns, mesh->now_ns);
    }
}

void mesh_liveness_check(struct gmcast *mesh) {
    int64_t timeout_ns = mesh->config.peer_timeout_ns;
    forgive_own_stall(mesh);
    for (size_t i = 0; i < mesh->link_count; i++) {
        struct mesh_link *link = mesh->links[i];
        if (link->state == LINK_CLOSED) continue;
        int64_t silence_ns = mesh->now_ns - link->received_ns;
        if (silence_ns > timeout_ns)
            mesh_link_fail(mesh, link, "timed out, no messages seen for %.1f s", (double)silence_ns / XB_SECOND);
        else if (link->state == LINK_OK &&
                 (silence_ns > timeout_ns / 3 * 2 || mesh->now_ns - link->user_sent_ns > timeout_ns / 3))
            mesh_keepalive_send(mesh, link);
    }
}
