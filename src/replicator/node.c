/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node as a whole: made, connected, leaving, its states (spec 07 sections 2 and 3). */
#include "replicator/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const state_names[NODE_STATES] = {"CLOSED", "CONNECTED", "JOINING", "JOINED", "SYNCED", "DONOR"};

#define TO(state) (1u << NODE_##state)
static const uint32_t allowed[NODE_STATES] = {
    /* spec 07 section 2.2 */
    [NODE_CLOSED] = TO(CONNECTED),
    [NODE_CONNECTED] = TO(CONNECTED) | TO(JOINING) | TO(JOINED) | TO(DONOR) | TO(SYNCED) | TO(CLOSED),
    [NODE_JOINING] = TO(CONNECTED) | TO(JOINED) | TO(CLOSED),
    [NODE_JOINED] = TO(SYNCED) | TO(DONOR) | TO(CONNECTED) | TO(CLOSED),
    [NODE_SYNCED] = TO(DONOR) | TO(CONNECTED) | TO(CLOSED),
    [NODE_DONOR] = TO(JOINED) | TO(CONNECTED) | TO(CLOSED),
};

bool node_set_state(struct replicator *rep, enum node_state to) {
    pthread_mutex_lock(&rep->state_lock);
    enum node_state from = atomic_load(&rep->state);
    bool is_allowed = allowed[from] & (1u << to);
    if (is_allowed) {
        atomic_store(&rep->state, to);
        pthread_cond_broadcast(&rep->state_changed);
    }
    pthread_mutex_unlock(&rep->state_lock);
    if (is_allowed && from != to)
        xb_log_info(rep->log, "Shifting %s -> %s (TO: %" PRId64 ")", state_names[from], state_names[to],
                    node_last_committed(rep));
    else if (!is_allowed && from != to)
        xb_log_error(rep->log, "Unexpected change of state %s -> %s is ignored", state_names[from], state_names[to]);
    return is_allowed;
}

/* ---- identity ---- */

struct xb_uuid node_own_uuid(struct replicator *rep) {
    pthread_mutex_lock(&rep->identity_lock);
    struct xb_uuid uuid = rep->own_uuid;
    pthread_mutex_unlock(&rep->identity_lock);
    return uuid;
}

void node_set_own_uuid(struct replicator *rep, const struct xb_uuid *uuid) {
    pthread_mutex_lock(&rep->identity_lock);
    rep->own_uuid = *uuid;
    pthread_mutex_unlock(&rep->identity_lock);
}

struct xb_uuid node_history(struct replicator *rep) {
    pthread_mutex_lock(&rep->identity_lock);
    struct xb_uuid uuid = rep->history;
    pthread_mutex_unlock(&rep->identity_lock);
    return uuid;
}

struct tls_context *node_tls(struct replicator *rep) {
    pthread_mutex_lock(&rep->identity_lock);
    struct tls_context *tls = rep->tls ? tls_context_ref(rep->tls) : NULL;
    pthread_mutex_unlock(&rep->identity_lock);
    return tls;
}

void node_set_history(struct replicator *rep, const struct xb_uuid *history) {
    pthread_mutex_lock(&rep->identity_lock);
    rep->history = *history;
    pthread_mutex_unlock(&rep->identity_lock);
}

struct replicator_gtid replicator_last_committed(struct replicator *rep) {
    struct replicator_gtid gtid = {node_history(rep), node_last_committed(rep)};
    if (gtid.seqno < 0) gtid.uuid = xb_uuid_nil;
    return gtid;
}

uint32_t replicator_capabilities(struct replicator *rep) {
    (void)rep;
    return REPLICATOR_CAPABILITIES;
}

/* ---- when it cannot go on ---- */

static void leave(struct replicator *rep, bool is_inconsistent, const char *format, va_list arguments) {
    char text[1024];
    if (atomic_exchange(&rep->is_failed, true) && (!is_inconsistent || atomic_load(&rep->is_corrupt))) return;
    if (is_inconsistent) {
        atomic_store(&rep->is_corrupt, true);
        state_file_mark_corrupt(rep->state_file);
    }
    vsnprintf(text, sizeof(text), format, arguments);
    xb_log_error(rep->log, "%s. This node leaves the group%s", text,
                 is_inconsistent ? "; its data is wrong and will be replaced by a full state transfer at the next start"
                                 : "; restart it to rejoin");
    service_want_close(rep);
}

void node_leave(struct replicator *rep, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    leave(rep, false, format, arguments);
    va_end(arguments);
}

void node_leave_inconsistent(struct replicator *rep, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    leave(rep, true, format, arguments);
    va_end(arguments);
}

/* ---- making ---- */

static bool is_payload_intact(void *ctx, enum gcache_type type, const void *buf, size_t size) {
    struct writeset ws;
    (void)ctx;
    if (type != GCACHE_WRITESET) return true;
    return !writeset_read(&ws, buf, size, NULL) && !writeset_check(&ws, NULL);
}

void node_report_progress(struct replicator *rep, int from, int to, int64_t total, int64_t done) {
    char json[160];
    snprintf(json, sizeof(json),
             "{ \"from\": %d, \"to\": %d, \"total\": %" PRId64 ", \"done\": %" PRId64 ", \"undefined\": -1 }", from, to,
             total, done);
    rep->callbacks.event(rep->callbacks.ctx, "progress", json);
}

static void recovery_progress(void *ctx, int64_t total, int64_t done) {
    node_report_progress(ctx, 0, 0, total, done);
}

static int open_history(struct replicator *rep, struct xb_error *error) {
    char dir[1024], name[1024];
    if (xb_options_text(rep->options, "gcache.dir", dir, sizeof(dir)) <= 0) {
        snprintf(dir, sizeof(dir), "%s", rep->data_dir);
        xb_options_put(rep->options, "gcache.dir", dir);
    }
    xb_options_text(rep->options, "gcache.name", name, sizeof(name));
    struct gcache_config config = {
        .dir = dir,
        .name = name,
        .size_bytes = xb_options_integer(rep->options, "gcache.size"),
        .mem_size_bytes = xb_options_integer(rep->options, "gcache.mem_size"),
        .page_size_bytes = xb_options_integer(rep->options, "gcache.page_size"),
        .keep_pages_size_bytes = xb_options_integer(rep->options, "gcache.keep_pages_size"),
        .reader_limit_bytes = xb_options_integer(rep->options, "gcache.reader_limit"),
        .is_recovering = xb_options_bool(rep->options, "gcache.recover"),
        .is_payload_intact = is_payload_intact,
        .progress = recovery_progress,
        .ctx = rep,
    };
    rep->cache = gcache_open(&config, rep->log, error);
    return rep->cache ? 0 : error->code;
}

static int read_settings(struct replicator *rep, struct xb_error *error) {
    char text[32] = "";
    xb_options_text(rep->options, "repl.key_format", text, sizeof(text));
    int format = writeset_key_format_parse(text);
    if (format <= WRITESET_KEYS_NONE)
        return xb_fail(error, -EINVAL, "repl.key_format = %s: must be FLAT8, FLAT8A, FLAT16 or FLAT16A", text);
    atomic_store(&rep->key_format, format);
    atomic_store(&rep->max_ws_size, xb_options_integer(rep->options, "repl.max_ws_size"));
    int64_t mode = xb_options_integer(rep->options, "repl.commit_order");
    if (mode != 3) return xb_fail(error, -EINVAL, "repl.commit_order = %" PRId64 ": only 3 (in order) is safe", mode);
    int64_t protocol = xb_options_integer(rep->options, "repl.proto_max");
    if (protocol < REPLICATOR_PROTOCOL_MIN || protocol > REPLICATOR_PROTOCOL_MAX)
        return xb_fail(error, -ERANGE, "repl.proto_max = %" PRId64 ": this provider knows %d to %d", protocol,
                       REPLICATOR_PROTOCOL_MIN, REPLICATOR_PROTOCOL_MAX);
    return 0;
}

static int make_certification(struct replicator *rep, struct xb_error *error) {
    struct xb_random random;
    if (xb_random_seed_from_system(&random)) return xb_fail(error, -EIO, "No randomness from the system");
    struct certify_config config = {
        .hash_secret = {xb_random_u64(&random), xb_random_u64(&random)},
        .is_optimistic_pa = xb_options_bool(rep->options, "cert.optimistic_pa"),
        .logs_conflicts = xb_options_bool(rep->options, "cert.log_conflicts"),
    };
    rep->hash_secret = xb_random_u64(&random);
    rep->certify = rep->order.certify = certify_new(&config, rep->log);
    rep->senders = ist_senders_new(rep->cache, rep->log);
    return rep->certify && rep->senders ? 0 : xb_fail(error, -ENOMEM, "No memory for certification");
}

/* Spec 07 section 3.1 step 6: the saved position, or what the server recovered for the same history. */
static void take_start_position(struct replicator *rep, const struct replicator_gtid *recovered) {
    struct saved_state saved = state_file_get(rep->state_file);
    struct order *order = &rep->order;
    int64_t seqno = saved.seqno;
    if (xb_uuid_is_nil(&saved.uuid)) return;
    if (seqno < 0 && xb_uuid_equal(&saved.uuid, &recovered->uuid)) seqno = recovered->seqno;
    rep->history = order->history = saved.uuid;
    order->position = seqno;
    if (seqno < 0) return;
    gate_set_position(&rep->apply, seqno);
    gate_set_position(&rep->commit, seqno);
    gcache_reset(rep->cache, &saved.uuid, seqno);
    xb_log_info(rep->log, "Start position: %s:%" PRId64, XB_UUID_TEXT(&saved.uuid), seqno);
}

static void run_length(struct member_task *task, struct group *group, int64_t now_ns) {
    struct order *order = (struct order *)((char *)task - offsetof(struct order, length_task));
    struct replicator *rep = (struct replicator *)((char *)order - offsetof(struct replicator, order));
    (void)group;
    (void)now_ns;
    atomic_store(&order->is_length_posted, false);
    order_tell_queue_length(rep, false);
}

static void run_settle(struct member_task *task, struct group *group, int64_t now_ns) {
    struct order *order = (struct order *)((char *)task - offsetof(struct order, settle_task));
    struct replicator *rep = (struct replicator *)((char *)order - offsetof(struct replicator, order));
    (void)group;
    (void)now_ns;
    atomic_store(&order->is_settle_posted, false);
    order_settle(rep);
}

static void run_backlog(struct member_task *task, struct group *group, int64_t now_ns) {
    struct order *order = (struct order *)((char *)task - offsetof(struct order, backlog_task));
    (void)group;
    (void)now_ns;
    backlog_work((struct replicator *)((char *)order - offsetof(struct replicator, order)));
}

static void init_parts(struct replicator *rep) {
    struct order *order = &rep->order;
    pthread_mutex_init(&rep->state_lock, NULL);
    pthread_cond_init(&rep->state_changed, NULL);
    pthread_mutex_init(&rep->identity_lock, NULL);
    pthread_mutex_init(&rep->pause_lock, NULL);
    pthread_cond_init(&rep->pause_changed, NULL);
    atomic_init(&rep->repl_version, -1);
    atomic_init(&rep->appl_version, -1);
    rep->bounds.cc_seqno = rep->bounds.cc_lowest = -1;
    rep->baseline.since_ns = xb_clock_monotonic_ns();
    gate_init(&rep->apply);
    gate_init(&rep->commit);
    trx_map_init(&rep->trxs);
    trx_map_init(&rep->tois);
    queue_init(&rep->queue);
    link_init(&rep->link);
    transfer_init(rep);
    *order = (struct order){.position = -1,
                            .repl_version = -1,
                            .pending_cut = -1,
                            .purged = -1,
                            .transfer_position = -1,
                            .length_task.run = run_length,
                            .settle_task.run = run_settle,
                            .backlog_task.run = run_backlog};
    atomic_store(&order->queue_below, -1);
}

static int open_parts(struct replicator *rep, const struct replicator_config *config, struct xb_error *error) {
    int rc = read_settings(rep, error);
    if (rc) return rc;
    rep->state_file = state_file_open(rep->data_dir, NULL, rep->log, error);
    if (!rep->state_file) return error->code;
    rc = open_history(rep, error);
    if (!rc) rc = make_certification(rep, error);
    if (rc) return rc;
    take_start_position(rep, &config->start);
    return service_start(rep) ? xb_fail(error, -EAGAIN, "A thread cannot be started") : 0;
}

struct replicator *replicator_new(const struct replicator_config *config, const struct replicator_callbacks *callbacks,
                                  const struct xb_log *log, struct xb_error *error) {
    struct replicator *rep = calloc(1, sizeof(*rep));
    if (!rep) {
        xb_fail(error, -ENOMEM, "No memory for the replicator");
        return NULL;
    }
    rep->log = log;
    rep->options = config->options;
    rep->callbacks = *callbacks;
    rep->appl_version_max = config->appl_version_max;
    rep->isolation = config->isolation;
    rep->node_name = strdup(config->node_name);
    rep->node_incoming = strdup(config->node_incoming);
    rep->data_dir = strdup(config->data_dir);
    rep->tls = config->tls ? tls_context_ref(config->tls) : NULL;
    init_parts(rep);
    service_init(rep);
    if (rep->node_name && rep->node_incoming && rep->data_dir && !open_parts(rep, config, error)) return rep;
    replicator_free(rep);
    return NULL;
}

void replicator_free(struct replicator *rep) {
    if (!rep) return;
    replicator_disconnect(rep);
    if (rep->senders) ist_senders_cancel(rep->senders);
    service_stop(rep);
    ist_senders_free(rep->senders);
    trx_map_destroy(&rep->trxs);
    trx_map_destroy(&rep->tois);
    certify_free(rep->certify);
    if (rep->cache) gcache_close(rep->cache);
    state_file_close(rep->state_file);
    transfer_destroy(rep);
    link_destroy(&rep->link);
    queue_destroy(&rep->queue);
    gate_destroy(&rep->apply);
    gate_destroy(&rep->commit);
    tls_context_unref(rep->tls);
    pthread_mutex_destroy(&rep->state_lock);
    pthread_cond_destroy(&rep->state_changed);
    pthread_mutex_destroy(&rep->identity_lock);
    pthread_mutex_destroy(&rep->pause_lock);
    pthread_cond_destroy(&rep->pause_changed);
    free(rep->incoming_addresses);
    free(rep->donor);
    free(rep->node_name);
    free(rep->node_incoming);
    free(rep->data_dir);
    free(rep);
}

/* ---- connecting ---- */

static bool may_bootstrap(struct replicator *rep) {
    if (state_file_get(rep->state_file).is_safe_to_bootstrap) return true;
    xb_log_error(rep->log, "It may not be safe to bootstrap the cluster from this node. It was not the last one to "
                           "leave the cluster and may not contain all the updates. To force cluster bootstrap with "
                           "this node, edit the grastate.dat file manually and set safe_to_bootstrap to 1 .");
    return false;
}

static void forget_connection(struct replicator *rep, const char *donor) {
    struct order *order = &rep->order;
    service_forget_close(rep);
    order->is_view_known = order->is_primary_known = order->is_primary = false;
    order->reunion_seqno = -1;
    order->is_transferring = false;
    atomic_store(&order->is_left, false);
    order->history = node_history(rep);
    order->position = node_last_committed(rep); /* the index stays with it (spec 01 section 8.6) */
    order->pending_cut = -1;
    /* A corrupt node has no position and no history any more; the saved state remembers until a snapshot has come. */
    atomic_store(&rep->is_corrupt, false);
    atomic_store(&rep->is_failed, false);
    atomic_store(&rep->awaits_snapshot, false);
    atomic_store(&rep->is_donating, false); /* what the server may still be sending is of a donation that is over */
    transfer_reset(rep);
    pthread_mutex_lock(&rep->identity_lock);
    free(rep->donor);
    rep->donor = strdup(donor ? donor : "");
    pthread_mutex_unlock(&rep->identity_lock);
}

static struct member *open_member(struct replicator *rep, const char *group, const char *address, bool is_bootstrap,
                                  struct tls_context *tls, struct xb_error *error) {
    struct replicator_gtid position = replicator_last_committed(rep);
    struct member_config config = {
        .group_name = group,
        .address = address,
        .is_bootstrap = is_bootstrap,
        .data_dir = rep->data_dir,
        .node_name = rep->node_name,
        .node_incoming = rep->node_incoming,
        .repl_version_max = (int)xb_options_integer(rep->options, "repl.proto_max"),
        .appl_version_max = rep->appl_version_max,
        .group_uuid = position.uuid,
        .seqno = position.seqno,
        .options = rep->options,
        .tls = tls,
        .refusal = rep->callbacks.refusal,
        .refusal_ctx = rep->callbacks.ctx,
        .isolation = rep->isolation,
    };
    struct gcs_up gcs_up = {
        .ctx = rep,
        .alloc = order_alloc,
        .free = order_free_buffer,
        .action = order_action,
        .cached = order_cached,
        .causal = order_causal,
    };
    struct member_up up = {.ctx = rep, .started = order_started, .diverged = order_diverged, .left = order_left};
    return member_open(&config, &gcs_up, &up, rep->log, error);
}

/* Certificates that were renewed while the member was being opened have passed it by, and may do so again meanwhile.
 * Takes the reference of what the member has. */
static void follow_tls(struct replicator *rep, struct tls_context *used) {
    struct member *member = link_use(&rep->link);
    struct tls_context *newest = node_tls(rep);
    while (member && newest != used) {
        member_set_tls(member, newest);
        tls_context_unref(used);
        used = newest;
        newest = node_tls(rep);
    }
    tls_context_unref(newest);
    tls_context_unref(used);
    if (member) link_done(&rep->link);
}

/* In the words of the stock provider, which tests and tools look for. */
static void report_unconnected(struct replicator *rep, const char *group, const char *address,
                               const struct xb_error *error) {
    const char *reason = strerror(-error->code);
    if (!strncmp(address, "gcomm://", strlen("gcomm://"))) {
        xb_log_error(rep->log, "failed to open gcomm backend connection: %d: %s", -error->code, error->text);
        xb_log_error(rep->log, "Failed to open backend connection: %d (%s)", error->code, reason);
    } else {
        xb_log_error(rep->log, "%s", error->text);
        xb_log_error(rep->log, "Failed to initialize backend using '%s': %d (%s)", address, error->code, reason);
    }
    xb_log_error(rep->log, "Failed to open channel '%s' at '%s': %d (%s)", group, address, error->code, reason);
    xb_log_error(rep->log, "gcs connect failed: %s", reason);
}

enum replicator_status replicator_connect(struct replicator *rep, const char *group, const char *address,
                                          const char *donor, bool is_bootstrap) {
    struct xb_error error = {.code = 0};
    if (node_get_state(rep) != NODE_CLOSED || link_is_open(&rep->link)) return REPLICATOR_NODE_FAIL;
    is_bootstrap = is_bootstrap || !strcmp(address, "gcomm://");
    if (is_bootstrap && !may_bootstrap(rep)) return REPLICATOR_NODE_FAIL;
    forget_connection(rep, donor);
    queue_open(&rep->queue);
    struct tls_context *tls = node_tls(rep);
    struct member *member = open_member(rep, group, address, is_bootstrap, tls, &error);
    if (!member) {
        tls_context_unref(tls);
        items_drop(rep);
        report_unconnected(rep, group, address, &error);
        return REPLICATOR_NODE_FAIL;
    }
    node_set_state(rep, NODE_CONNECTED);
    link_open(&rep->link, member);
    follow_tls(rep, tls);
    /* It is lost again already, or cannot go on: who noticed that found no link to close. */
    if (atomic_load(&rep->order.is_left) || atomic_load(&rep->is_failed)) service_want_close(rep);
    return REPLICATOR_OK;
}

/* ---- leaving ---- */

static bool has_receivers(struct replicator *rep) {
    pthread_mutex_lock(&rep->queue.lock);
    bool has = rep->queue.receivers > 0;
    pthread_mutex_unlock(&rep->queue.lock);
    return has;
}

enum replicator_status replicator_disconnect(struct replicator *rep) {
    if (node_get_state(rep) == NODE_CLOSED && !link_is_open(&rep->link)) return REPLICATOR_OK;
    link_close(&rep->link);
    if (!has_receivers(rep)) { /* nobody to give the final view to */
        struct replicator_gtid position = replicator_last_committed(rep);
        state_file_set_position(rep->state_file, &position.uuid, position.seqno);
        items_drop(rep);
        node_set_own_uuid(rep, &xb_uuid_nil);
        if (node_get_state(rep) != NODE_CLOSED) node_set_state(rep, NODE_CLOSED);
        return REPLICATOR_OK;
    }
    pthread_mutex_lock(&rep->state_lock);
    while (atomic_load(&rep->state) != NODE_CLOSED) pthread_cond_wait(&rep->state_changed, &rep->state_lock);
    pthread_mutex_unlock(&rep->state_lock);
    return REPLICATOR_OK;
}
