/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * After a reload of certificates: every connection is made anew, so that new certificates are shown and looked at, and
 * nobody stays in who would not be let in now.
 *
 * The new connection is made beside the old one and takes its place when it stands (gmcast_renew), so the group notices
 * nothing. If it cannot be made, the certificate that the peer has shown on the old connection is verified again: a
 * peer that would be refused is cut off, any other keeps its old connection, and is tried again later (it may not trust
 * our new certificate yet).
 */
#include "member/internal.h"

#include <errno.h>
#include <stdlib.h>

struct outdated {
    const struct member *member;
    net_conn conns[NET_CONNS_MAX];
    size_t count;
};

static void note_outdated(void *ctx, const struct xb_uuid *peer, gmcast_conn conn, const char *address,
                          uint8_t segment) {
    struct outdated *outdated = ctx;
    if (outdated->count < NET_CONNS_MAX && net_is_outdated(outdated->member->net, conn))
        outdated->conns[outdated->count++] = conn;
}

static void remove_at(struct renewals *renewals, size_t i) {
    renewals->list[i] = renewals->list[--renewals->count];
}

static bool is_under_way(const struct renewals *renewals, net_conn old) {
    for (size_t i = 0; i < renewals->count; i++)
        if (renewals->list[i].old == old) return true;
    return false;
}

/* The attempt to replace `old` has failed. */
static void judge(struct member *member, net_conn old, const struct net_loss *loss) {
    char host[NET_HOST_SIZE];
    uint16_t port;
    struct xb_error error;
    if (!net_peer(member->net, old, host, &port) || !net_is_outdated(member->net, old)) return;
    if (loss && loss->is_peer_refused)
        xb_fail(&error, -EACCES, "%s", loss->text);
    else if (!net_recheck(member->net, old, &error)) {
        int64_t now_ns = xb_clock_monotonic_ns();
        if (now_ns < member->renewals.logged_ns + RENEW_LOG_NS) return;
        member->renewals.logged_ns = now_ns;
        xb_log_info(member->log,
                    "WARNING: the connection with %s:%u keeps the old certificates, since a new one cannot be "
                    "made: %s; it is tried again and again",
                    host, port, loss ? loss->text : "closed during the handshake");
        return;
    }
    xb_log_warning(member->log, "Cutting the connection with %s:%u, whose certificate is not accepted any more: %s",
                   host, port, error.text);
    net_cut(member->net, old, -ECONNABORTED, error.text);
}

static void renew_all(struct member *member, int64_t now_ns) {
    struct renewals *renewals = &member->renewals;
    struct outdated *outdated = calloc(1, sizeof(*outdated));
    renewals->look_ns = now_ns + RENEW_LOOK_NS;
    if (!outdated) return;
    outdated->member = member;
    gmcast_each_peer(group_gmcast(member->group), note_outdated, outdated);
    if (outdated->count == 0 && now_ns >= renewals->until_ns) renewals->look_ns = XB_NEVER;
    for (size_t i = 0; i < outdated->count; i++) {
        if (is_under_way(renewals, outdated->conns[i])) continue;
        net_conn fresh = gmcast_renew(group_gmcast(member->group), outdated->conns[i], now_ns);
        if (fresh == GMCAST_NO_CONN)
            judge(member, outdated->conns[i], NULL);
        else if (renewals->count < NET_CONNS_MAX)
            renewals->list[renewals->count++] = (struct renewal){outdated->conns[i], fresh};
    }
    free(outdated);
}

void renew_begin(struct member *member, int64_t now_ns) {
    member->renewals.until_ns = now_ns + RENEW_SETTLED_NS;
    member->renewals.logged_ns = now_ns - RENEW_LOG_NS;
    renew_all(member, now_ns);
}

void renew_ended(struct member *member, net_conn conn, const struct net_loss *loss) {
    struct renewals *renewals = &member->renewals;
    for (size_t i = 0; i < renewals->count; i++) {
        struct renewal renewal = renewals->list[i];
        if (conn != renewal.old && conn != renewal.fresh) continue;
        remove_at(renewals, i);
        if (conn == renewal.fresh) judge(member, renewal.old, loss); /* else the new one has taken its place */
        return;
    }
}

int64_t renew_tick(struct member *member, int64_t now_ns) {
    if (now_ns >= member->renewals.look_ns) renew_all(member, now_ns);
    return member->renewals.look_ns;
}
