/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See faults.h.
 *
 * A run has four parts: the cluster comes up; faults strike; everything is repaired and every node started, and within
 * a bounded time all must be ready again; the load ends, and all must come to the same state.
 *
 * Where automatic recovery is impossible by design (a member of the last primary component came back under another
 * name, or left), an operator does what manuals say: stops all, and bootstraps the node with the highest seqno.
 */
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>

#define START_NS (120 * XB_SECOND)
#define RECOVERY_NS (90 * XB_SECOND)
#define OPERATOR_PATIENCE_NS (40 * XB_SECOND)
#define DRAIN_NS (60 * XB_SECOND)

struct faults {
    struct cluster *cluster;
    struct faults_stats *stats;
    bool is_over;            /* no more faults */
    bool is_operator_needed; /* the group may not be able to come back by itself */
};

static uint64_t dice(struct faults *faults, uint64_t bound) {
    return xb_random_below(&faults->cluster->random, bound);
}

static int64_t span(struct faults *faults, int64_t min_ns, int64_t max_ns) {
    return min_ns + (int64_t)dice(faults, (uint64_t)(max_ns - min_ns) + 1);
}

static int64_t now(const struct faults *faults) {
    return net_now(faults->cluster->net);
}

static void at(struct faults *faults, int64_t delay_ns, void (*act)(void *ctx, uint64_t arg), uint64_t arg) {
    net_at(faults->cluster->net, now(faults) + delay_ns, act, faults, arg);
}

static struct sim_node *any_node(struct faults *faults) {
    return &faults->cluster->nodes[dice(faults, (uint64_t)faults->cluster->count)];
}

/* ---- links ---- */

static void set_cuts(struct faults *faults, unsigned group) {
    struct cluster *cluster = faults->cluster;
    for (int i = 0; i < cluster->count; i++)
        for (int j = 0; j < cluster->count; j++)
            if (i != j) net_cut(cluster->net, i, j, (group >> i & 1) != (group >> j & 1));
}

static void on_heal_links(void *ctx, uint64_t arg) {
    (void)arg;
    set_cuts(ctx, 0);
}

static void partition(struct faults *faults) {
    unsigned group = (unsigned)dice(faults, 1u << faults->cluster->count);
    if (dice(faults, 3) == 0) group = 1u << dice(faults, (uint64_t)faults->cluster->count);
    cluster_trace(faults->cluster, -1, "partition %x", group);
    set_cuts(faults, group);
    if (dice(faults, 4)) at(faults, span(faults, XB_SECOND / 10, 8 * XB_SECOND), on_heal_links, 0);
}

static void on_heal_link(void *ctx, uint64_t arg) {
    struct faults *faults = ctx;
    net_cut(faults->cluster->net, (int)(arg >> 8), (int)(arg & 0xff), false);
}

static void cut_one_way(struct faults *faults) {
    int from = any_node(faults)->index, to = any_node(faults)->index;
    if (from == to) return;
    cluster_trace(faults->cluster, -1, "cut %d to %d", from, to);
    net_cut(faults->cluster->net, from, to, true);
    at(faults, span(faults, XB_SECOND / 10, 6 * XB_SECOND), on_heal_link, (uint64_t)from << 8 | (uint64_t)to);
}

static void reset_connections(struct faults *faults) {
    int a = any_node(faults)->index, b = any_node(faults)->index;
    cluster_trace(faults->cluster, -1, "reset between %d and %d", a, b);
    net_reset(faults->cluster->net, a, b);
}

static void change_link(struct faults *faults) {
    int from = any_node(faults)->index, to = any_node(faults)->index;
    int64_t delay_ns = span(faults, 0, dice(faults, 4) ? 5 * XB_MS : 300 * XB_MS);
    net_set_delay(faults->cluster->net, from, to, delay_ns / 2, delay_ns);
    net_set_bandwidth(faults->cluster->net, from, to, (int64_t)1 << (17 + dice(faults, 10)));
}

/* ---- processes ---- */

static bool is_somebody_primary(const struct cluster *cluster) {
    for (int i = 0; i < cluster->count; i++)
        if (node_is_primary(&cluster->nodes[i])) return true;
    return false;
}

/* Do all others hold what this node has? Then its disk may be lost. */
static bool is_dispensable(const struct sim_node *node) {
    const struct cluster *cluster = node->cluster;
    for (int i = 0; i < cluster->count; i++) {
        const struct sim_node *other = &cluster->nodes[i];
        if (other == node) continue;
        if (!other->is_up || other->disk.state.seqno < node->disk.state.seqno) return false;
    }
    return is_somebody_primary(cluster);
}

enum { START_FRESH = 0x100 }; /* without gvwstate.dat */

static void on_start(void *ctx, uint64_t arg) {
    struct faults *faults = ctx;
    struct sim_node *node = &faults->cluster->nodes[arg & 0xff];
    if (!node->is_up) node_start(node, false, !(arg & START_FRESH));
}

static void restart_later(struct faults *faults, struct sim_node *node) {
    uint64_t arg = (uint64_t)node->index;
    if (dice(faults, 5) == 0) {
        arg |= START_FRESH;
        faults->is_operator_needed = true;
    }
    if (dice(faults, 3) == 0) history_clear(&node->disk.history);
    at(faults, span(faults, XB_SECOND / 10, 8 * XB_SECOND), on_start, arg);
}

static void crash(struct faults *faults, struct sim_node *node, bool is_silent) {
    if (!node->is_up) return;
    bool is_lost = dice(faults, 10) == 0 && is_dispensable(node);
    node_crash(node, is_silent);
    if (is_lost) {
        cluster_trace(faults->cluster, node->index, "loses its disk");
        history_clear(&node->disk.history);
        node->disk.state = (struct check_state){.seqno = -1};
        check_holds(faults->cluster->check, node->index, -1);
        node->disk.has_saved = false;
        faults->is_operator_needed = true;
    }
    restart_later(faults, node);
}

static void leave(struct faults *faults) {
    struct sim_node *node = any_node(faults);
    if (!node->is_up) return;
    faults->is_operator_needed = true;
    node_leave(node);
}

static void stop_for_a_while(struct faults *faults) {
    struct sim_node *node = any_node(faults);
    int64_t length_ns = span(faults, XB_SECOND / 20, dice(faults, 3) ? XB_SECOND : 8 * XB_SECOND);
    cluster_trace(faults->cluster, node->index, "is stopped for %lld ms", (long long)(length_ns / XB_MS));
    net_set_busy(faults->cluster->net, node->index, now(faults) + length_ns);
}

static void change_speed(struct faults *faults) {
    struct sim_node *node = any_node(faults);
    node->apply_ns = span(faults, 1, dice(faults, 3) ? 2 * XB_MS : 60 * XB_MS);
}

static void change_weight(struct faults *faults) {
    struct sim_node *node = any_node(faults);
    if (!node->is_up) return;
    int weight = dice(faults, 6) ? (int)dice(faults, 3) + 1 : 0;
    pc_set_weight(group_pc(node->group), weight, now(faults));
    node_settle(node);
}

static void power_cut(struct faults *faults) {
    if (faults->cluster->failure_period) return; /* a node that lost a vote has lost its data */
    cluster_trace(faults->cluster, -1, "power cut");
    for (int i = 0; i < faults->cluster->count; i++)
        if (dice(faults, 8)) crash(faults, &faults->cluster->nodes[i], dice(faults, 2));
}

static void on_fault(void *ctx, uint64_t arg) {
    struct faults *faults = ctx;
    (void)arg;
    if (faults->is_over) return;
    faults->stats->faults++;
    uint64_t kind = dice(faults, 100);
    if (kind < 18)
        partition(faults);
    else if (kind < 30)
        cut_one_way(faults);
    else if (kind < 42)
        reset_connections(faults);
    else if (kind < 60)
        crash(faults, any_node(faults), dice(faults, 3) == 0);
    else if (kind < 66)
        leave(faults);
    else if (kind < 76)
        stop_for_a_while(faults);
    else if (kind < 84)
        change_speed(faults);
    else if (kind < 92)
        change_link(faults);
    else if (kind < 97)
        change_weight(faults);
    else if (kind < 98)
        power_cut(faults);
    else
        on_heal_links(faults, 0);
    at(faults, span(faults, XB_MS, dice(faults, 3) ? 3 * XB_SECOND / 2 : 8 * XB_SECOND), on_fault, 0);
}

/* Nodes that went by themselves, or by a leave, come back. */
static void on_watch(void *ctx, uint64_t arg) {
    struct faults *faults = ctx;
    struct cluster *cluster = faults->cluster;
    (void)arg;
    for (int i = 0; i < cluster->count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        if (node->is_up || !node->has_left) continue;
        if (node->is_conflict) check_fail(cluster->check, "node %d lost against another primary component", i);
        /* Without it, and without hearing it go, the others cannot make up the last primary view again: so too when it
         * left because its data was wrong (seed 206). */
        faults->is_operator_needed = true;
        node->has_left = false;
        at(faults, span(faults, XB_MS, 4 * XB_SECOND), on_start, (uint64_t)i);
    }
    at(faults, XB_SECOND / 5, on_watch, 0);
}

/* ---- healing ---- */

static void heal(struct faults *faults) {
    struct cluster *cluster = faults->cluster;
    cluster_trace(cluster, -1, "all is repaired");
    faults->is_over = true;
    cluster->is_failing = false;
    set_cuts(faults, 0);
    for (int i = 0; i < cluster->count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        node->apply_ns = XB_MS / 10;
        for (int j = 0; j < cluster->count; j++) {
            net_set_delay(cluster->net, i, j, XB_MS / 10, XB_MS);
            net_set_bandwidth(cluster->net, i, j, 100 << 20);
        }
        if (!node->is_up) at(faults, span(faults, 0, XB_SECOND), on_start, (uint64_t)i);
    }
}

static bool are_all_ready(const struct cluster *cluster) {
    for (int i = 0; i < cluster->count; i++)
        if (!node_is_ready(&cluster->nodes[i]) || cluster->nodes[i].phase != REPLICA_SYNCED) return false;
    return true;
}

static bool is_idle(const struct cluster *cluster) {
    for (int i = 0; i < cluster->count; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (!node_is_ready(node) || node->items || node->jobs || node->submissions || node->is_desynced) return false;
        if (node->disk.state.seqno != cluster->nodes[0].disk.state.seqno) return false;
    }
    return true;
}

/* Manual recovery of a cluster that has no primary component. */
static void act_as_operator(struct faults *faults) {
    struct cluster *cluster = faults->cluster;
    struct sim_node *best = &cluster->nodes[0];
    cluster_trace(cluster, -1, "the operator bootstraps");
    faults->stats->operator_acts++;
    for (int i = 0; i < cluster->count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        node_crash(node, false);
        node->disk.has_saved = false;
        if (node->disk.state.seqno > best->disk.state.seqno) best = node;
    }
    node_start(best, true, false);
    for (int i = 0; i < cluster->count; i++)
        if (&cluster->nodes[i] != best) at(faults, span(faults, XB_SECOND, 3 * XB_SECOND), on_start, (uint64_t)i);
}

/* -> false if the time is over, or the checker has found something */
static bool run_until(struct faults *faults, int64_t deadline_ns, bool (*is_reached)(const struct cluster *cluster)) {
    struct cluster *cluster = faults->cluster;
    int64_t look_ns = now(faults);
    while (!check_failure(cluster->check)) {
        if (now(faults) >= look_ns) {
            if (is_reached && is_reached(cluster)) return true;
            look_ns = now(faults) + XB_SECOND / 10;
        }
        if (now(faults) >= deadline_ns) return is_reached == NULL;
        int64_t until_ns = look_ns < deadline_ns ? look_ns : deadline_ns;
        while (net_step(cluster->net, until_ns) && !check_failure(cluster->check)) continue;
    }
    return false;
}

static void describe(const struct cluster *cluster, const char *what) {
    char text[CHECK_TEXT_SIZE];
    size_t used = (size_t)snprintf(text, sizeof(text), "%s:", what);
    for (int i = 0; i < cluster->count && used < sizeof(text); i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (!node->is_up) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, " [%d down]", i);
            continue;
        }
        struct gcs_status status;
        gcs_get_status(group_gcs(node->group), &status, net_now(cluster->net));
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used,
                             " [%d evs %s pc %d gcs %d node %d phase %d seqno %lld/%lld items %zu jobs %zu out %zu]", i,
                             evs_state_name(evs_get_state(group_evs(node->group))), pc_get_state(group_pc(node->group)),
                             status.group_state, status.node_state, node->phase, (long long)node->disk.state.seqno,
                             (long long)status.seqno, node->item_count, node->job_count, node->outstanding);
    }
    check_fail(cluster->check, "%s", text);
}

static bool recover(struct faults *faults) {
    struct cluster *cluster = faults->cluster;
    int64_t healed_ns = now(faults);
    heal(faults);
    while (!run_until(faults, now(faults) + OPERATOR_PATIENCE_NS, are_all_ready)) {
        if (check_failure(cluster->check)) return false;
        bool is_dead = !is_somebody_primary(cluster);
        if (is_dead && faults->is_operator_needed) {
            act_as_operator(faults);
            healed_ns = now(faults);
        } else if (is_dead || now(faults) - healed_ns > RECOVERY_NS) {
            describe(cluster, "not recovered");
            return false;
        }
    }
    faults->stats->recovery_ns = now(faults) - healed_ns;
    return true;
}

static void finish(struct faults *faults) {
    struct cluster *cluster = faults->cluster;
    cluster->is_load_on = false;
    if (!run_until(faults, now(faults) + DRAIN_NS, is_idle)) {
        describe(cluster, "does not come to rest");
        return;
    }
    struct check_state states[SIM_NODES_MAX];
    for (int i = 0; i < cluster->count; i++) states[i] = cluster->nodes[i].disk.state;
    check_end(cluster->check, states, (size_t)cluster->count);
}

void faults_run(struct cluster *cluster, struct faults_stats *stats) {
    *stats = (struct faults_stats){0};
    struct faults faults = {.cluster = cluster, .stats = stats};
    node_start(&cluster->nodes[0], true, false);
    for (int i = 1; i < cluster->count; i++) at(&faults, span(&faults, 0, XB_SECOND), on_start, (uint64_t)i);
    cluster->is_load_on = true;
    at(&faults, 0, on_watch, 0);
    if (!run_until(&faults, START_NS, are_all_ready)) {
        describe(cluster, "did not start");
    } else {
        cluster->is_failing = true;
        at(&faults, span(&faults, 0, XB_SECOND), on_fault, 0);
        run_until(&faults, now(&faults) + span(&faults, 5 * XB_SECOND, 40 * XB_SECOND), NULL);
        if (recover(&faults)) finish(&faults);
    }
    stats->events = net_event_count(cluster->net);
    stats->virtual_ns = now(&faults);
}
