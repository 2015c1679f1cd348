/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The group stack: gmcast, EVS, PC and gcs wired together, still pure. What drives it (src/member with real sockets and
 * a real clock, tests/sim with virtual ones) hands in network events and the time; it gets struct gmcast_io calls to
 * carry out and struct gcs_up calls to act on. Group thread only.
 */
#ifndef XB_GROUP_GROUP_H
#define XB_GROUP_GROUP_H

#include "gcs/gcs.h"
#include "gmcast/gmcast.h"
#include "pc/pc.h"

struct group;

struct group_config {
    struct gmcast_config gmcast; /* uuid: own node UUID, used by all layers */
    struct evs_options evs;
    struct pc_options pc;
    struct gcs_config gcs;                /* uuid is taken from gmcast */
    const struct pc_saved_view *restored; /* NULL: none */
    bool is_bootstrap;
    int64_t announce_timeout_ns, linger_ns;
};

struct group_up {
    void *ctx;
    /* See struct pc_up.save. */
    void (*save_view)(void *ctx, const struct pc_saved_view *saved);
    void (*weight_changed)(void *ctx, int weight);
    /* A PC view was delivered (before gcs sees it): primary or not, for `connect`, which waits for it. */
    void (*view)(void *ctx, const struct pc_view *view);
    /* This node lost against another primary component (struct pc_up.fatal): what it has ordered since the split is not
     * the group's. Before the final actions of gcs and `left`. May be NULL. */
    void (*diverged)(void *ctx, const struct xb_error *error);
    /* The membership is over: code 0 after a graceful leave, negative errno after a forced close (error then says why).
     * gcs has delivered its final actions before. Nothing follows. */
    void (*left)(void *ctx, int code, const struct xb_error *error);
};

struct group *group_new(const struct group_config *config, const struct gmcast_io *io, const struct gcs_up *gcs_up,
                        const struct group_up *up, struct xb_random *random, const struct xb_log *log, int64_t now_ns);
void group_free(struct group *group);

void group_start(struct group *group, const char *const *peers, size_t peer_count, int64_t now_ns, int64_t calendar_ns);
/* Leaves gracefully: what has not been sent completely, votes and causal reads fail at once; `left` follows when the
 * others have acknowledged what was sent, at the latest after linger_ns. */
void group_leave(struct group *group, int64_t now_ns);

/* From the network: see gmcast.h. */
void group_accepted(struct group *group, gmcast_conn conn, const char *host, int64_t now_ns);
void group_connected(struct group *group, gmcast_conn conn, int64_t now_ns);
void group_received(struct group *group, gmcast_conn conn, const uint8_t *body, size_t size, int64_t now_ns);
void group_lost(struct group *group, gmcast_conn conn, int reason, int64_t now_ns);

/* Does what is due in all layers. To be called after every batch of network events and submissions.
 * -> when to be called again at the latest. */
int64_t group_tick(struct group *group, int64_t now_ns, int64_t calendar_ns);

/* The layers, for options, status and submissions. */
struct gmcast *group_gmcast(struct group *group);
struct evs *group_evs(struct group *group);
struct pc *group_pc(struct group *group);
struct gcs *group_gcs(struct group *group);

#endif
