/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's process: how it starts and ends, and what passes between the network, the group stack and the replica. */
#include "node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS_MAX 1000 /* of work that makes new work, at one point of time: more is a livelock */

/* ---- what the group stack calls ---- */

static void *on_alloc(void *ctx, size_t size) {
    (void)ctx;
    return malloc(size);
}

static void on_free(void *ctx, void *buf) {
    (void)ctx;
    free(buf);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    struct sim_node *node = ctx;
    (void)now_ns;
    replica_take(node, action, NULL);
}

static int64_t on_cached(void *ctx) {
    struct sim_node *node = ctx;
    return history_lowest(&node->disk.history);
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {
    client_causal_done(ctx, token, result, group_uuid, seqno);
}

static void on_save_view(void *ctx, const struct pc_saved_view *saved) {
    struct sim_node *node = ctx;
    node->disk.has_saved = saved != NULL;
    if (saved) node->disk.saved = *saved;
}

static void on_weight_changed(void *ctx, int weight) {
    struct sim_node *node = ctx;
    cluster_trace(node->cluster, node->index, "weight is now %d", weight);
    node->weight = weight;
}

static void on_view(void *ctx, const struct pc_view *view) {
    struct sim_node *node = ctx;
    cluster_trace(node->cluster, node->index, "view %s, %zu members", VIEW_ID_TEXT(&view->id), view->member_count);
    check_pc_view(node->cluster->check, node->index, view);
}

static void on_diverged(void *ctx, const struct xb_error *error) {
    struct sim_node *node = ctx;
    node->is_conflict = true;
}

static void on_left(void *ctx, int code, const struct xb_error *error) {
    struct sim_node *node = ctx;
    cluster_trace(node->cluster, node->index, "left: %d %s", code, code ? error->text : "");
    node->has_left = true;
    node->left_code = code;
}

static void write_log(void *ctx, enum xb_log_level level, const char *line) {
    struct sim_node *node = ctx;
    static const char *const names[] = {"FATAL", "error", "warning", "info", "debug"};
    cluster_trace(node->cluster, node->index, "[%s] %s", names[level], line);
}

/* ---- what the network calls ---- */

static int64_t now(const struct sim_node *node) {
    return net_now(node->cluster->net);
}

static void net_accepted(void *ctx, gmcast_conn conn, const char *host) {
    struct sim_node *node = ctx;
    group_accepted(node->group, conn, host, now(node));
}

static void net_connected(void *ctx, gmcast_conn conn) {
    struct sim_node *node = ctx;
    if (!node->has_left) group_connected(node->group, conn, now(node));
}

static void net_received(void *ctx, gmcast_conn conn, const uint8_t *body, size_t size) {
    struct sim_node *node = ctx;
    if (!node->has_left) group_received(node->group, conn, body, size, now(node));
}

static void net_lost(void *ctx, gmcast_conn conn, int reason) {
    struct sim_node *node = ctx;
    if (!node->has_left) group_lost(node->group, conn, reason, now(node));
}

static void net_settle(void *ctx) {
    node_settle(ctx);
}

/* ---- time ---- */

static void on_tick(void *ctx, uint64_t generation) {
    struct sim_node *node = ctx;
    if (!node->is_up || node->generation != generation || node->tick_at_ns != now(node)) return;
    int64_t busy_until_ns = net_busy_until(node->cluster->net, node->index);
    node->tick_at_ns = XB_NEVER;
    if (busy_until_ns > now(node)) {
        node->tick_at_ns = busy_until_ns;
        net_at(node->cluster->net, busy_until_ns, on_tick, node, generation);
        return;
    }
    node_settle(node);
}

static void end_process(struct sim_node *node) {
    node->is_up = false;
    group_free(node->group); /* ends what is under way */
    replica_stop(node);
    certify_free(node->certify);
    client_stop(node);
    check_holds(node->cluster->check, node->index, node->disk.state.seqno);
    node->group = NULL;
    node->certify = NULL;
}

void node_settle(struct sim_node *node) {
    if (!node->is_up || node->is_settling) return;
    node->is_settling = true;
    int64_t next_ns = XB_NEVER;
    int rounds = 0;
    do {
        next_ns = group_tick(node->group, now(node), SIM_CALENDAR_NS + now(node));
        if (++rounds > ROUNDS_MAX) {
            check_fail(node->cluster->check, "node %d never comes to rest", node->index);
            break;
        }
    } while (!node->has_left && (replica_process(node) || next_ns <= now(node)));
    node->is_settling = false;
    if (node->has_left) {
        net_down(node->cluster->net, node->index, false);
        end_process(node);
        return;
    }
    if (next_ns < node->tick_at_ns) {
        node->tick_at_ns = next_ns;
        net_at(node->cluster->net, next_ns, on_tick, node, node->generation);
    }
}

/* ---- life ---- */

static void fill_config(const struct sim_node *node, struct group_config *config, bool is_bootstrap,
                        const struct pc_saved_view *restored, char name[16], char address[NET_ADDRESS_SIZE]) {
    const struct cluster *cluster = node->cluster;
    *config = (struct group_config){.evs = cluster->evs,
                                    .restored = restored,
                                    .is_bootstrap = is_bootstrap,
                                    .announce_timeout_ns = 3 * XB_SECOND,
                                    .linger_ns = 20 * XB_SECOND};
    config->gmcast = (struct gmcast_config){.uuid = node->uuid,
                                            .group = "sim",
                                            .segment = (uint8_t)(node->index / 3),
                                            .checksum = DATAGRAM_CHECKSUM_CRC32C,
                                            .peer_timeout_ns = cluster->peer_timeout_ns,
                                            .time_wait_ns = 5 * XB_SECOND,
                                            .max_initial_reconnect_attempts = INT32_MAX};
    strcpy(config->gmcast.listen_address, address);
    pc_options_default(&config->pc);
    config->pc.weight = node->weight;
    const struct check_state *state = &node->disk.state;
    config->gcs = (struct gcs_config){.name = name,
                                      .incoming = address,
                                      .repl_version_max = SIM_REPL_VERSION,
                                      .appl_version_max = SIM_APPL_VERSION,
                                      .group_uuid = state->group_uuid,
                                      .seqno = state->seqno};
    gcs_options_default(&config->gcs.options);
}

static void choose_uuid(struct sim_node *node, const struct pc_saved_view *restored) {
    if (restored) {
        node->uuid = restored->my_uuid;
        xb_uuid_set_incarnation(&node->uuid, (uint16_t)(xb_uuid_incarnation(&node->uuid) + 1));
    } else {
        node->uuid = xb_uuid_new(SIM_CALENDAR_NS + now(node), &node->random);
    }
}

void node_start(struct sim_node *node, bool is_bootstrap, bool with_saved) {
    struct cluster *cluster = node->cluster;
    struct pc_saved_view saved = node->disk.saved;
    const struct pc_saved_view *restored = with_saved && node->disk.has_saved ? &saved : NULL;
    if (!with_saved) node->disk.has_saved = false;
    node->is_up = true;
    node->generation++;
    node->tick_at_ns = XB_NEVER;
    node->has_left = node->is_leaving = node->is_conflict = false;
    xb_random_seed(&node->random, xb_random_u64(&cluster->random));
    node->log.write = write_log;
    node->log.ctx = node;
    node->log.is_debug = cluster->is_traced;
    choose_uuid(node, restored);
    cluster_trace(cluster, node->index, "starts as %s at %lld%s%s", XB_UUID_SHORT(&node->uuid),
                  (long long)node->disk.state.seqno, restored ? ", restored" : "", is_bootstrap ? ", bootstraps" : "");

    struct certify_config certify_config = {.hash_secret = {xb_random_u64(&node->random), xb_random_u64(&node->random)},
                                            .is_optimistic_pa = true};
    node->certify = certify_new(&certify_config, &node->log);
    replica_start(node);

    struct group_config config;
    char name[16], address[NET_ADDRESS_SIZE], others[NET_HOSTS_MAX][NET_ADDRESS_SIZE];
    snprintf(name, sizeof(name), "n%d", node->index + 1);
    net_address(node->index, address);
    fill_config(node, &config, is_bootstrap, restored, name, address);
    struct gmcast_io io = net_io(node->cluster->net, node->index);
    struct gcs_up gcs_up = {node, on_alloc, on_free, on_action, on_cached, on_causal};
    struct group_up group_up = {node, on_save_view, on_weight_changed, on_view, on_diverged, on_left};
    node->group = group_new(&config, &io, &gcs_up, &group_up, &node->random, &node->log, now(node));

    struct net_process process = {node, net_accepted, net_connected, net_received, net_lost, net_settle};
    net_up(cluster->net, node->index, &process);
    const char *peers[SIM_NODES_MAX];
    size_t peer_count = 0;
    for (int i = 0; i < cluster->count; i++)
        if (i != node->index) peers[peer_count++] = net_address(i, others[i]);
    group_start(node->group, peers, is_bootstrap ? 0 : peer_count, now(node), SIM_CALENDAR_NS + now(node));
    client_start(node);
    node_settle(node);
}

void node_crash(struct sim_node *node, bool is_silent) {
    if (!node->is_up) return;
    cluster_trace(node->cluster, node->index, "crashes%s", is_silent ? " silently" : "");
    net_down(node->cluster->net, node->index, is_silent);
    end_process(node);
}

void node_leave(struct sim_node *node) {
    if (!node->is_up || node->is_leaving) return;
    cluster_trace(node->cluster, node->index, "leaves");
    node->is_leaving = true;
    group_leave(node->group, now(node));
    node_settle(node);
}

bool node_is_primary(const struct sim_node *node) {
    if (!node->is_up || node->has_left) return false;
    struct gcs_status status;
    gcs_get_status(group_gcs(node->group), &status, now(node));
    return status.group_state == GCS_PRIMARY;
}

bool node_is_ready(const struct sim_node *node) {
    return node_is_primary(node) && node->is_joined && !node->is_corrupt;
}
