/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The group stack: what passes between gmcast, EVS, PC and gcs, and how a membership begins and ends.
 *
 * Downwards each layer calls the next one directly, upwards too; a layer that is called from inside its own upward call
 * answers at once without delivering again. The end is the exception: a fatal error may be found deep inside a call, so
 * it is only noted there and carried out at the end of the outermost call (finish).
 */
#include "group/group.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum phase { PHASE_NEW, PHASE_RUNNING, PHASE_LEAVING, PHASE_OVER };

struct group {
    struct gmcast *gmcast;
    struct evs *evs;
    struct pc *pc;
    struct gcs *gcs;
    struct group_up up;
    const struct xb_log *log;
    struct group_config config; /* the strings inside are not kept */
    enum phase phase;
    int64_t calendar_ns;     /* of the running call */
    struct xb_error failure; /* code 0: none */
    bool is_conflict;
    bool has_left; /* the empty view was delivered */
};

static void note_failure(struct group *group, const struct xb_error *error, bool is_conflict) {
    if (group->failure.code || group->phase == PHASE_OVER) return;
    group->failure = *error;
    if (!group->failure.code) group->failure.code = -ECONNABORTED;
    group->is_conflict = is_conflict;
}

/* gmcast -> EVS */

static int on_transport_message(void *ctx, const struct xb_uuid *source, const uint8_t *data, size_t size,
                                int64_t now_ns) {
    struct group *group = ctx;
    return group->failure.code ? 0 : evs_receive(group->evs, source, data, size, now_ns);
}

static void on_peer_lost(void *ctx, const struct xb_uuid *peer, bool is_refused, int64_t now_ns) {
    struct group *group = ctx;
    if (!group->failure.code) evs_peer_lost(group->evs, peer, is_refused, now_ns);
}

static void on_transport_fatal(void *ctx, const struct xb_error *error) {
    note_failure(ctx, error, false);
}

/* EVS -> gmcast */

static void broadcast(void *ctx, struct xb_buf *buf, int64_t now_ns) {
    struct group *group = ctx;
    gmcast_broadcast(group->gmcast, buf, now_ns);
}

static void unicast(void *ctx, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns) {
    struct group *group = ctx;
    gmcast_unicast(group->gmcast, target, buf, now_ns);
}

static void allow(void *ctx, const struct xb_uuid *node) {
    struct group *group = ctx;
    gmcast_allow(group->gmcast, node);
}

static void evict(void *ctx, const struct xb_uuid *node) {
    struct group *group = ctx;
    gmcast_evict(group->gmcast, node);
}

static void unevict(void *ctx, const struct xb_uuid *node) {
    struct group *group = ctx;
    gmcast_unevict(group->gmcast, node);
}

static void address(void *ctx, const struct xb_uuid *node, char *text, size_t size) {
    struct group *group = ctx;
    char found[GMCAST_ADDRESS_SIZE] = "";
    gmcast_conn conn;
    gmcast_peer_info(group->gmcast, node, &conn, found);
    snprintf(text, size, "%s", found);
}

/* EVS -> PC */

static void on_evs_view(void *ctx, const struct evs_view *view, int64_t now_ns) {
    struct group *group = ctx;
    if (group->failure.code) return;
    if (view->member_count && view->id.type == VIEW_REG)
        gmcast_view(group->gmcast, false, view->members, view->member_count, view->left, view->left_count, now_ns);
    pc_evs_view(group->pc, view, now_ns);
}

static void on_evs_message(void *ctx, const struct evs_message *message, int64_t now_ns) {
    struct group *group = ctx;
    if (!group->failure.code) pc_evs_message(group->pc, message, now_ns);
}

static void on_evs_fatal(void *ctx, const struct xb_error *error) {
    note_failure(ctx, error, false);
}

/* PC -> EVS, gmcast */

static int submit_to_evs(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    struct group *group = ctx;
    return evs_submit(group->evs, buf, user_type, order, now_ns);
}

static void on_stable_view(void *ctx, const struct pc_view *view, int64_t now_ns) {
    struct group *group = ctx;
    if (view->id.type != VIEW_PRIM) return;
    struct xb_uuid members[PC_MEMBERS_MAX];
    size_t count = view->member_count < PC_MEMBERS_MAX ? view->member_count : PC_MEMBERS_MAX;
    for (size_t i = 0; i < count; i++) members[i] = view->members[i].uuid;
    gmcast_view(group->gmcast, true, members, count, NULL, 0, now_ns);
}

static bool is_evicted(void *ctx, const struct xb_uuid *node) {
    struct group *group = ctx;
    return evs_is_evicted(group->evs, node);
}

/* PC -> gcs, owner */

static void on_pc_view(void *ctx, const struct pc_view *view, int64_t now_ns) {
    struct group *group = ctx;
    if (group->failure.code) return;
    if (group->up.view) group->up.view(group->up.ctx, view);
    gcs_view(group->gcs, view, now_ns, group->calendar_ns);
    if (!view->member_count) group->has_left = true;
}

static void on_pc_message(void *ctx, const struct pc_message *message, int64_t now_ns) {
    struct group *group = ctx;
    if (!group->failure.code) gcs_message(group->gcs, message, now_ns);
}

static void save_view(void *ctx, const struct pc_saved_view *saved) {
    struct group *group = ctx;
    if (group->up.save_view) group->up.save_view(group->up.ctx, saved);
}

static void weight_changed(void *ctx, int weight) {
    struct group *group = ctx;
    if (group->up.weight_changed) group->up.weight_changed(group->up.ctx, weight);
}

static void on_pc_fatal(void *ctx, const struct xb_error *error, bool is_conflict) {
    note_failure(ctx, error, is_conflict);
}

/* gcs -> PC, owner */

static int submit_to_pc(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    struct group *group = ctx;
    return group->failure.code ? -ENOTCONN : pc_submit(group->pc, buf, user_type, order, now_ns);
}

static void on_gcs_fatal(void *ctx, const struct xb_error *error) {
    note_failure(ctx, error, false);
}

/* Carries out the end once it is known. To be called at the end of every entry. */
static void finish(struct group *group, int64_t now_ns) {
    if (group->phase == PHASE_OVER || (!group->failure.code && !group->has_left)) return;
    group->phase = PHASE_OVER;
    gmcast_stop(group->gmcast);
    if (group->failure.code) {
        /* Forced close (spec 04 section 12.2): no leave, no further view; the state on disk must not be used again. */
        xb_log_error(group->log, "group connection is given up: %s", group->failure.text);
        save_view(group, NULL);
        if (group->is_conflict && group->up.diverged) group->up.diverged(group->up.ctx, &group->failure);
        gcs_error(group->gcs, -ECONNABORTED, now_ns);
    } else {
        save_view(group, NULL);
        gcs_close(group->gcs, now_ns);
    }
    group->up.left(group->up.ctx, group->failure.code, &group->failure);
}

static int create_layers(struct group *group, const struct group_config *config, const struct gmcast_io *io,
                         const struct gcs_up *gcs_up, struct xb_random *random, int64_t now_ns) {
    const struct xb_uuid *uuid = &config->gmcast.uuid;
    struct gmcast_up gmcast_up = {group, on_transport_message, on_peer_lost, on_transport_fatal};
    struct evs_down evs_down = {group, broadcast, unicast, allow, evict, unevict, address};
    struct evs_up evs_up = {group, on_evs_view, on_evs_message, on_evs_fatal};
    struct pc_down pc_down = {group, submit_to_evs, on_stable_view, is_evicted};
    struct pc_up pc_up = {group, on_pc_view, on_pc_message, save_view, weight_changed, on_pc_fatal};
    struct gcs_down gcs_down = {group, submit_to_pc, on_gcs_fatal};
    struct gcs_config gcs_config = config->gcs;
    gcs_config.uuid = *uuid;
    group->gmcast = gmcast_new(&config->gmcast, io, &gmcast_up, random, group->log);
    group->evs = evs_new(uuid, &config->evs, config->restored ? &config->restored->id : NULL, &evs_down, &evs_up,
                         random, group->log, now_ns);
    group->pc = pc_new(uuid, config->gmcast.segment, &config->pc, config->restored, &pc_down, &pc_up, group->log);
    group->gcs = gcs_new(&gcs_config, &gcs_down, gcs_up, random, group->log);
    return group->gmcast && group->evs && group->pc && group->gcs ? 0 : -ENOMEM;
}

struct group *group_new(const struct group_config *config, const struct gmcast_io *io, const struct gcs_up *gcs_up,
                        const struct group_up *up, struct xb_random *random, const struct xb_log *log, int64_t now_ns) {
    struct group *group = calloc(1, sizeof(*group));
    if (!group) return NULL;
    group->up = *up;
    group->log = log;
    group->config = *config;
    group->config.restored = NULL;
    if (create_layers(group, config, io, gcs_up, random, now_ns)) {
        group_free(group);
        return NULL;
    }
    return group;
}

void group_free(struct group *group) {
    if (!group) return;
    gcs_free(group->gcs);
    pc_free(group->pc);
    evs_free(group->evs);
    gmcast_free(group->gmcast);
    free(group);
}

void group_start(struct group *group, const char *const *peers, size_t peer_count, int64_t now_ns,
                 int64_t calendar_ns) {
    group->phase = PHASE_RUNNING;
    group->calendar_ns = calendar_ns;
    gmcast_start(group->gmcast, peers, peer_count, now_ns, calendar_ns);
    pc_start(group->pc, group->config.is_bootstrap, now_ns);
    evs_start(group->evs, group->config.is_bootstrap, group->config.announce_timeout_ns, now_ns);
    finish(group, now_ns);
}

void group_leave(struct group *group, int64_t now_ns) {
    if (group->phase != PHASE_RUNNING) return;
    group->phase = PHASE_LEAVING;
    gcs_close(group->gcs, now_ns); /* who submits or votes hears at once, and not when lingering is over */
    pc_closing(group->pc);
    evs_leave(group->evs, group->config.linger_ns, now_ns);
    finish(group, now_ns);
}

void group_accepted(struct group *group, gmcast_conn conn, const char *host, int64_t now_ns) {
    gmcast_accepted(group->gmcast, conn, host, now_ns);
}

void group_connected(struct group *group, gmcast_conn conn, int64_t now_ns) {
    gmcast_connected(group->gmcast, conn, now_ns);
    finish(group, now_ns);
}

void group_received(struct group *group, gmcast_conn conn, const uint8_t *body, size_t size, int64_t now_ns) {
    gmcast_received(group->gmcast, conn, body, size, now_ns);
    finish(group, now_ns);
}

void group_lost(struct group *group, gmcast_conn conn, int reason, int64_t now_ns) {
    gmcast_lost(group->gmcast, conn, reason, now_ns);
    finish(group, now_ns);
}

/* What PC saves for a restart says whether this node had the state. */
static void tell_state(struct group *group) {
    enum gcs_node_state state;
    if (gcs_get_own_state(group->gcs, &state)) pc_set_has_state(group->pc, state >= GCS_NODE_DONOR);
}

int64_t group_tick(struct group *group, int64_t now_ns, int64_t calendar_ns) {
    if (group->phase == PHASE_NEW || group->phase == PHASE_OVER) return XB_NEVER;
    group->calendar_ns = calendar_ns;
    evs_tick(group->evs, now_ns);
    int64_t next_ns = pc_tick(group->pc, now_ns);
    next_ns = xb_earlier(next_ns, gcs_tick(group->gcs, now_ns));
    /* Last, since the layers above have sent: what they gave to EVS must not wait for its next timer. */
    next_ns = xb_earlier(next_ns, evs_tick(group->evs, now_ns));
    next_ns = xb_earlier(next_ns, gmcast_tick(group->gmcast, now_ns));
    next_ns = xb_earlier(next_ns, gcs_deadline(group->gcs, now_ns)); /* EVS may have delivered to it just now */
    tell_state(group);
    finish(group, now_ns);
    return group->phase == PHASE_OVER ? XB_NEVER : next_ns;
}

struct gmcast *group_gmcast(struct group *group) {
    return group->gmcast;
}

struct evs *group_evs(struct group *group) {
    return group->evs;
}

struct pc *group_pc(struct group *group) {
    return group->pc;
}

struct gcs *group_gcs(struct group *group) {
    return group->gcs;
}
