/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Status variables (spec 01 section 25): the fixed ones in their order, then what the group layers report, then our
 * own. What belongs to the group thread is asked for there; that never waits for a gate.
 */
#include "replicator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STATS_MAX 128
#define STATS_TEXT_SIZE 4096

struct group_report {
    struct member_task task;
    struct replicator *rep;
    struct gcs_status gcs;
    struct evs_stats evs;
    bool is_evs_detailed; /* evs.info_log_mask */
    struct gmcast_stats gmcast;
    int cluster_weight;
    enum evs_state evs_state;
    char evs_delayed[STATS_TEXT_SIZE], evs_evict_list[STATS_TEXT_SIZE];
    struct evs_peer members[PC_MEMBERS_MAX]; /* the others of the view */
    size_t member_count;
};

static void run_report(struct member_task *task, struct group *group, int64_t now_ns) {
    struct group_report *report = (struct group_report *)((char *)task - offsetof(struct group_report, task));
    struct evs_options options;
    order_tell_queue_length(report->rep, true); /* else gcs is told only when it grows or passes a mark */
    gcs_get_status(group_gcs(group), &report->gcs, now_ns);
    evs_get_stats(group_evs(group), &report->evs);
    evs_get_options(group_evs(group), &options);
    report->is_evs_detailed = options.info_log_mask & EVS_INFO_STATS;
    gmcast_get_stats(group_gmcast(group), &report->gmcast);
    report->cluster_weight = pc_cluster_weight(group_pc(group));
    report->evs_state = evs_get_state(group_evs(group));
    evs_delayed_list(group_evs(group), report->evs_delayed, sizeof(report->evs_delayed));
    evs_evict_list(group_evs(group), report->evs_evict_list, sizeof(report->evs_evict_list));
    report->member_count = evs_get_peers(group_evs(group), report->members, PC_MEMBERS_MAX, now_ns);
}

/* ---- the list ---- */

static struct replicator_stat *add(struct replicator_stats *stats, const char *name, enum replicator_stat_type type) {
    struct replicator_stat *stat = &stats->list[stats->count];
    if (stats->count == STATS_MAX) return NULL;
    stats->count++;
    snprintf(stat->name, sizeof(stat->name), "%s", name);
    stat->type = type;
    return stat;
}

static void add_integer(struct replicator_stats *stats, const char *name, int64_t value) {
    struct replicator_stat *stat = add(stats, name, REPLICATOR_STAT_INTEGER);
    if (stat) stat->integer = value;
}

static void add_double(struct replicator_stats *stats, const char *name, double value) {
    struct replicator_stat *stat = add(stats, name, REPLICATOR_STAT_DOUBLE);
    if (stat) stat->number = value;
}

static void add_text(struct replicator_stats *stats, const char *name, const char *value) {
    char *text = strdup(value);
    struct replicator_stat *stat = text ? add(stats, name, REPLICATOR_STAT_TEXT) : NULL;
    if (stat)
        stat->text = text;
    else
        free(text);
}

static void add_number_text(struct replicator_stats *stats, const char *name, int64_t value) {
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, value);
    add_text(stats, name, text);
}

void replicator_stats_clear(struct replicator_stats *stats) {
    for (size_t i = 0; i < stats->count; i++) free(stats->list[i].text);
    free(stats->list);
    *stats = (struct replicator_stats){0};
}

/* ---- values ---- */

static double mean(int64_t sum, int64_t count) {
    return count > 0 ? (double)sum / (double)count : 0.0;
}

static double share(uint64_t part, uint64_t all) {
    return all ? (double)part / (double)all : 0.0;
}

static int state_number(struct replicator *rep) {
    static const int numbers[NODE_STATES] = {
        [NODE_CLOSED] = 0, [NODE_CONNECTED] = 0, [NODE_JOINING] = 1,
        [NODE_JOINED] = 3, [NODE_SYNCED] = 4,    [NODE_DONOR] = 2,
    };
    if (atomic_load(&rep->is_corrupt) || atomic_load(&rep->is_failed)) return 5;
    return numbers[node_get_state(rep)];
}

static const char *state_comment(struct replicator *rep) {
    enum transfer_state transfer = atomic_load(&rep->transfer_state);
    if (atomic_load(&rep->is_corrupt) || atomic_load(&rep->is_failed)) return "Inconsistent";
    switch (node_get_state(rep)) {
    case NODE_JOINING:
        return transfer == TRANSFER_WAIT ? "Joining: receiving State Transfer" : "Joining";
    case NODE_JOINED:
        return "Joined";
    case NODE_SYNCED:
        return "Synced";
    case NODE_DONOR:
        return "Donor/Desynced";
    case NODE_CONNECTED:
        if (transfer == TRANSFER_REQUEST_FAILED) return "Joining: State Transfer request failed";
        if (transfer == TRANSFER_FAILED) return "Joining: State Transfer failed";
        return "Initialized";
    default:
        return "Initialized";
    }
}

static void add_counters(struct replicator *rep, struct replicator_stats *stats) {
    const struct counters *c = &rep->counters;
    add_integer(stats, "replicated", atomic_load(&c->replicated));
    add_integer(stats, "replicated_bytes", atomic_load(&c->replicated_bytes));
    add_integer(stats, "repl_keys", atomic_load(&c->repl_keys));
    add_integer(stats, "repl_keys_bytes", atomic_load(&c->repl_keys_bytes));
    add_integer(stats, "repl_data_bytes", atomic_load(&c->repl_data_bytes));
    add_integer(stats, "repl_other_bytes", atomic_load(&c->repl_other_bytes));
    add_integer(stats, "received", atomic_load(&c->received));
    add_integer(stats, "received_bytes", atomic_load(&c->received_bytes));
    add_integer(stats, "local_commits", atomic_load(&c->commits));
    add_integer(stats, "local_cert_failures", atomic_load(&c->cert_failures));
    add_integer(stats, "local_replays", atomic_load(&c->replays));
}

static void add_queues(struct replicator *rep, struct replicator_stats *stats, const struct gcs_status *gcs) {
    int64_t since_ns = xb_clock_monotonic_ns() - rep->baseline.since_ns;
    int64_t paused_ns = gcs->fc_paused_ns - rep->baseline.fc_paused_ns;
    add_integer(stats, "local_send_queue", gcs->send_queue);
    add_integer(stats, "local_send_queue_max", gcs->send_queue_max);
    add_integer(stats, "local_send_queue_min", gcs->send_queue_min);
    add_double(stats, "local_send_queue_avg", gcs->send_queue_avg);
    add_integer(stats, "local_recv_queue", gcs->recv_queue);
    add_integer(stats, "local_recv_queue_max", gcs->recv_queue_max);
    add_integer(stats, "local_recv_queue_min", gcs->recv_queue_min);
    add_double(stats, "local_recv_queue_avg", gcs->recv_queue_avg);
    add_integer(stats, "local_cached_downto", gcache_min(rep->cache));
    add_integer(stats, "flow_control_paused_ns", gcs->fc_paused_ns);
    add_double(stats, "flow_control_paused", paused_ns > 0 ? mean(paused_ns, since_ns) : 0.0);
    add_integer(stats, "flow_control_sent", gcs->fc_sent);
    add_integer(stats, "flow_control_recv", gcs->fc_received);
    add_text(stats, "flow_control_active", gcs->fc_is_active ? "true" : "false");
    add_text(stats, "flow_control_requested", gcs->fc_is_requested ? "true" : "false");
}

static void add_gates(struct replicator *rep, struct replicator_stats *stats) {
    struct gate_stats apply, commit;
    gate_get_stats(&rep->apply, &apply);
    gate_get_stats(&rep->commit, &commit);
    add_double(stats, "apply_oooe", share(apply.entered_early, apply.entered));
    add_double(stats, "apply_oool", share(apply.left_many, apply.left));
    add_double(stats, "apply_window", share(apply.window_sum, apply.entered));
    add_integer(stats, "apply_waits", (int64_t)apply.waits);
    add_double(stats, "commit_oooe", share(commit.entered_early, commit.entered));
    add_double(stats, "commit_oool", share(commit.left_many, commit.left));
    add_double(stats, "commit_window", share(commit.window_sum, commit.entered));
}

static void add_addresses(struct replicator *rep, struct replicator_stats *stats) {
    pthread_mutex_lock(&rep->identity_lock);
    char *text = rep->incoming_addresses ? strdup(rep->incoming_addresses) : NULL;
    pthread_mutex_unlock(&rep->identity_lock);
    add_text(stats, "incoming_addresses", text ? text : "");
    free(text);
}

static void add_fixed(struct replicator *rep, struct replicator_stats *stats, const struct gcs_status *gcs) {
    struct xb_uuid history = node_history(rep);
    struct certify_stats certify;
    const struct certify_stats *base = &rep->baseline.certify;
    certify_get_stats(rep->certify, &certify);
    bool is_history_known = !xb_uuid_is_nil(&history) || atomic_load(&rep->is_corrupt);
    int protocol = atomic_load(&rep->repl_version);
    add_text(stats, "local_state_uuid", is_history_known ? XB_UUID_TEXT(&history) : "");
    add_integer(stats, "protocol_version", protocol);
    add_integer(stats, "protocol_application", gcs->appl_version);
    add_integer(stats, "protocol_replicator", gcs->repl_version);
    add_integer(stats, "protocol_GCS", gcs->gcs_version);
    add_integer(stats, "last_committed", node_last_committed(rep));
    add_counters(rep, stats);
    add_queues(rep, stats, gcs);
    add_double(stats, "cert_deps_distance",
               mean(certify.deps_distance_sum - base->deps_distance_sum, certify.passed - base->passed));
    add_gates(rep, stats);
    add_integer(stats, "local_state", state_number(rep));
    add_text(stats, "local_state_comment", state_comment(rep));
    add_integer(stats, "cert_index_size", certify.index_size);
    add_integer(stats, "causal_reads", atomic_load(&rep->counters.causal_reads));
    add_double(stats, "cert_interval",
               mean(certify.interval_sum - base->interval_sum, certify.intervals - base->intervals));
    add_integer(stats, "open_transactions", atomic_load(&rep->trxs.count));
    add_integer(stats, "open_connections", atomic_load(&rep->tois.count));
    add_addresses(rep, stats);
}

struct peer_list {
    char text[STATS_TEXT_SIZE];
    size_t used;
};

static void list_peer(void *ctx, const struct xb_uuid *peer, const char *address, const struct tls_info *tls) {
    struct peer_list *list = ctx;
    int n = snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s|%s|%s|%s|%s",
                     list->used ? ";" : "", XB_UUID_TEXT(peer), address, tls ? tls->version : "plaintext",
                     tls ? tls->cipher : "", tls ? tls->peer_subject : "");
    if (n > 0 && (size_t)n < sizeof(list->text) - list->used)
        list->used += (size_t)n;
    else
        list->text[list->used] = 0; /* whole entries only */
}

/* Versions and ciphers of all connections, each once. */
struct tls_summary {
    char versions[64], ciphers[256];
};

static void add_once(char *list, size_t size, const char *word) {
    size_t used = strlen(list), n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n])) return;
    if (used + n + 2 <= size) snprintf(list + used, size - used, "%s%s", used ? "," : "", word);
}

static void summarize_peer(void *ctx, const struct xb_uuid *peer, const char *address, const struct tls_info *tls) {
    struct tls_summary *summary = ctx;
    (void)peer;
    (void)address;
    add_once(summary->versions, sizeof(summary->versions), tls ? tls->version : "plaintext");
    if (tls) add_once(summary->ciphers, sizeof(summary->ciphers), tls->cipher);
}

/* Ours: TLS of the group's connections, the own certificate, and whether plaintext has a way in or out. */
static void add_tls(struct replicator *rep, struct replicator_stats *stats, struct member *member) {
    struct tls_summary summary = {.versions = ""};
    pthread_mutex_lock(&rep->identity_lock);
    int64_t not_after_s = rep->tls ? tls_context_not_after(rep->tls) : -1;
    bool is_tls = rep->tls != NULL;
    pthread_mutex_unlock(&rep->identity_lock);
    bool is_dynamic = is_tls && xb_options_bool(rep->options, "socket.dynamic");
    int64_t left_s = not_after_s - (int64_t)time(NULL);
    member_each_peer(member, summarize_peer, &summary);
    add_text(stats, "ssl_version", summary.versions);
    add_text(stats, "ssl_cipher", summary.ciphers);
    if (is_tls) add_number_text(stats, "ssl_cert_days_left", left_s >= 0 ? left_s / 86400 : -1);
    add_text(stats, "ssl_plaintext", !is_tls ? "only" : is_dynamic ? "allowed" : "refused");
}

/* Ours: each connection of the group as UUID|address|protocol|cipher|subject of the peer's certificate. */
static void add_peers(struct replicator_stats *stats, struct member *member) {
    struct peer_list list = {.used = 0};
    member_each_peer(member, list_peer, &list);
    add_text(stats, "peers", list.text);
}

/* Ours: who holds up delivery. Each other member as UUID|messages it has not acknowledged|seconds since it was last
 * heard |suspected or alive. */
static void add_lags(struct replicator_stats *stats, const struct group_report *report) {
    char text[STATS_TEXT_SIZE] = "", one[128];
    size_t used = 0;
    for (size_t i = 0; i < report->member_count; i++) {
        const struct evs_peer *member = &report->members[i];
        int size = snprintf(one, sizeof(one), "%s%s|%" PRId64 "|%.3f|%s", i ? ";" : "", XB_UUID_TEXT(&member->uuid),
                            member->lag, (double)member->silent_ns / 1e9, member->is_suspected ? "suspected" : "alive");
        if (used + (size_t)size >= sizeof(text)) break; /* whole entries only */
        memcpy(text + used, one, (size_t)size + 1);
        used += (size_t)size;
    }
    add_text(stats, "peers_lag", text);
}

/*
 * Ours, counted since the node connected: datagrams that found the send queue of their connection full (they are sent
 * again when they are asked for); connections that ended before anything was heard of a peer (TLS, allowlist, too
 * many); peers that broke the protocol; messages in the name of nodes that nobody knows.
 */
static void add_troubles(struct replicator_stats *stats, const struct gmcast_stats *gmcast, struct member *member) {
    struct net_stats net;
    member_net_stats(member, &net);
    add_number_text(stats, "peers_dropped", (int64_t)net.queue_full);
    add_number_text(stats, "peers_foreign", (int64_t)gmcast->foreign_sources);
    add_number_text(stats, "peers_refused",
                    (int64_t)(net.refused + net.handshakes_failed + net.half_open_dropped + gmcast->refused));
    add_number_text(stats, "peers_violations", (int64_t)gmcast->violations);
}

/* Which part of the messages took at least so long and less than the next: BOUND:PART,... in seconds. */
static void add_latencies(struct replicator_stats *stats, const char *name,
                          const int64_t classes[EVS_LATENCY_CLASSES]) {
    char text[EVS_LATENCY_CLASSES * 32], part[16] = "nan"; /* of none, as the stock provider says */
    size_t used = 0;
    int64_t all = 0;
    for (size_t i = 0; i < EVS_LATENCY_CLASSES; i++) all += classes[i];
    for (size_t i = 0; i < EVS_LATENCY_CLASSES; i++) {
        if (all) snprintf(part, sizeof(part), "%g", mean(classes[i], all));
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "%s%g:%s", i ? "," : "", evs_latency_class_s[i], part);
    }
    add_text(stats, name, text);
}

/* With evs.info_log_mask=4. */
static void add_evs_details(struct replicator_stats *stats, const struct evs_stats *evs) {
    char text[16] = "nan";
    add_latencies(stats, "evs_causal_hs", evs->causal_latency);
    add_latencies(stats, "evs_safe_hs", evs->safe_latency);
    if (evs->submitted) snprintf(text, sizeof(text), "%g", mean(evs->queued, evs->submitted));
    add_text(stats, "evs_outq_avg", text);
    add_number_text(stats, "evs_deliv_safe", evs->delivered_safe);
    add_number_text(stats, "evs_recovered", evs->recovered);
    add_number_text(stats, "evs_retransmitted", evs->retransmitted);
    add_number_text(stats, "evs_sent_delegate", evs->sent_delegate);
    add_number_text(stats, "evs_sent_gap", evs->sent_gap);
    add_number_text(stats, "evs_sent_install", evs->sent_install);
    add_number_text(stats, "evs_sent_join", evs->sent_join);
    add_number_text(stats, "evs_sent_leave", evs->sent_leave);
    add_number_text(stats, "evs_sent_user", evs->sent_user);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct replicator_stat *)a)->name, ((const struct replicator_stat *)b)->name);
}

static void add_group(struct replicator *rep, struct replicator_stats *stats, const struct group_report *report) {
    char text[160];
    struct member *member = link_use(&rep->link);
    if (!member) return;
    struct xb_uuid uuid = member_uuid(member);
    size_t first = stats->count;
    add_number_text(stats, "cluster_weight", report->cluster_weight);
    add_number_text(stats, "desync_count", report->gcs.desync_count);
    add_text(stats, "evs_delayed", report->evs_delayed);
    add_text(stats, "evs_evict_list", report->evs_evict_list);
    snprintf(text, sizeof(text), "%g/%g/%g/%g/%" PRId64, report->evs.latency_min_s, report->evs.latency_avg_s,
             report->evs.latency_max_s, report->evs.latency_stddev_s, report->evs.latency_count);
    add_text(stats, "evs_repl_latency", text);
    add_text(stats, "evs_state", evs_state_name(report->evs_state));
    add_text(stats, "gcomm_uuid", XB_UUID_TEXT(&uuid));
    add_number_text(stats, "gmcast_segment", xb_options_integer(rep->options, "gmcast.segment"));
    if (report->is_evs_detailed) add_evs_details(stats, &report->evs);
    qsort(stats->list + first, stats->count - first, sizeof(stats->list[0]), compare_names);
    add_peers(stats, member);
    add_lags(stats, report);
    add_troubles(stats, &report->gmcast, member);
    add_tls(rep, stats, member);
    link_done(&rep->link);
}

int replicator_stats_get(struct replicator *rep, struct replicator_stats *stats) {
    struct group_report *report = calloc(1, sizeof(*report));
    *stats = (struct replicator_stats){.list = calloc(STATS_MAX, sizeof(struct replicator_stat))};
    if (!report || !stats->list) {
        free(report);
        free(stats->list);
        return -ENOMEM;
    }
    report->task.run = run_report;
    report->rep = rep;
    report->gcs.gcs_version = report->gcs.repl_version = report->gcs.appl_version = -1;
    bool is_connected = link_call(&rep->link, &report->task) == 0;
    add_fixed(rep, stats, &report->gcs);
    if (is_connected) add_group(rep, stats, report);
    free(report);
    return 0;
}

static void run_reset(struct member_task *task, struct group *group, int64_t now_ns) {
    struct group_report *report = (struct group_report *)((char *)task - offsetof(struct group_report, task));
    order_tell_queue_length(report->rep, true);
    gcs_reset_stats(group_gcs(group), now_ns);
    gcs_get_status(group_gcs(group), &report->gcs, now_ns);
}

void replicator_stats_reset(struct replicator *rep) {
    struct group_report *report = calloc(1, sizeof(*report));
    if (!report) return;
    report->task.run = run_reset;
    report->rep = rep;
    link_call(&rep->link, &report->task);
    rep->baseline.since_ns = xb_clock_monotonic_ns();
    rep->baseline.fc_paused_ns = report->gcs.fc_paused_ns;
    certify_get_stats(rep->certify, &rep->baseline.certify);
    gate_reset_stats(&rep->apply);
    gate_reset_stats(&rep->commit);
    free(report);
}
