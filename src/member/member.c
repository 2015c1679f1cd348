/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A live member: life cycle, group thread, posts.
 *
 * The group thread runs net_run, whose callbacks drive the stack. Others post tasks to a lock-free list: the first task
 * of a batch wakes the loop, and the whole batch is taken at once. The list is closed for good when the thread ends, so
 * a task is either run or refused, never lost.
 *
 * The end: group_leave (or a fatal error) leads to on_left. Then nothing is connected any more, but the thread goes on
 * serving tasks until member_close, which lets the sockets flush and joins it.
 */
#include "member/internal.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the network drives the stack ---- */

static void on_ready(void *ctx, net_conn conn, const char *host, bool is_dialled) {
    struct member *member = ctx;
    int64_t now_ns = xb_clock_monotonic_ns();
    if (!is_dialled) group_accepted(member->group, conn, host, now_ns);
    group_connected(member->group, conn, now_ns);
}

static void on_received(void *ctx, net_conn conn, const uint8_t *body, size_t size) {
    struct member *member = ctx;
    group_received(member->group, conn, body, size, xb_clock_monotonic_ns());
}

static void on_lost(void *ctx, net_conn conn, const struct net_loss *loss) {
    struct member *member = ctx;
    int64_t now_ns = xb_clock_monotonic_ns();
    report_failure(&member->report, loss, member->log, now_ns);
    renew_ended(member, conn, loss);
    group_lost(member->group, conn, loss->reason, now_ns);
}

static void on_stranger(void *ctx, const struct net_loss *loss) {
    struct member *member = ctx;
    report_failure(&member->report, loss, member->log, xb_clock_monotonic_ns());
}

static void run_tasks(struct member *member, struct member_task *newest) {
    struct member_task *first = NULL;
    while (newest) { /* oldest first */
        struct member_task *next = newest->next;
        newest->next = first;
        first = newest;
        newest = next;
    }
    int64_t now_ns = xb_clock_monotonic_ns();
    while (first) {
        struct member_task *task = first;
        first = task->next; /* the task may be gone once it has run */
        task->run(task, member->group, now_ns);
    }
}

static void on_work(void *ctx) {
    struct member *member = ctx;
    run_tasks(member, atomic_exchange(&member->tasks, NULL));
}

static int64_t on_tick(void *ctx, int64_t now_ns) {
    struct member *member = ctx;
    int64_t next_ns = group_tick(member->group, now_ns, xb_clock_calendar_ns());
    if (member->is_over) return XB_NEVER;
    next_ns = xb_earlier(next_ns, renew_tick(member, now_ns));
    return xb_earlier(next_ns, peers_tick(&member->peers, now_ns));
}

/* wsrep_node_isolation_mode_set_v1(2): the membership ends by force. */
static void on_disconnected(void *ctx) {
    struct member *member = ctx;
    gmcast_isolate(group_gmcast(member->group), XB_DISCONNECT, xb_clock_monotonic_ns());
}

/* ---- the stack uses the network ---- */

static gmcast_conn io_dial(void *ctx, const char *address) {
    struct member *member = ctx;
    struct net_uri uri;
    if (net_uri_parse(address, &uri) || uri.port <= 0) return GMCAST_NO_CONN;
    return net_dial(member->net, uri.host, (uint16_t)uri.port); /* TLS or not is local policy, not the scheme's */
}

static int io_send(void *ctx, gmcast_conn conn, uint8_t segment, struct xb_buf *buf) {
    struct member *member = ctx;
    return net_send(member->net, conn, segment, buf);
}

static void io_close(void *ctx, gmcast_conn conn) {
    struct member *member = ctx;
    renew_ended(member, conn, NULL);
    net_close(member->net, conn);
}

static void io_refused(void *ctx, gmcast_conn conn, const char *reason) {
    struct member *member = ctx;
    char host[NET_HOST_SIZE];
    uint16_t port;
    struct tls_info tls;
    if (!net_peer(member->net, conn, host, &port)) return;
    if (!net_tls_info(member->net, conn, &tls)) tls.peer_subject[0] = '\0';
    report_refusal(&member->report, host, port, tls.peer_subject, reason, member->log, xb_clock_monotonic_ns());
}

/* ---- what the stack tells ---- */

static void on_save_view(void *ctx, const struct pc_saved_view *saved) {
    struct member *member = ctx;
    saved_state_put(member->saved_state, saved);
}

static void on_weight_changed(void *ctx, int weight) {
    struct member *member = ctx;
    if (member->up.weight_changed) member->up.weight_changed(member->up.ctx, weight);
}

static void on_view(void *ctx, const struct pc_view *view) {
    struct member *member = ctx;
    if (view->id.type != VIEW_PRIM || view->member_count == 0) return;
    pthread_mutex_lock(&member->mutex);
    member->is_primary = true;
    pthread_cond_broadcast(&member->changed);
    pthread_mutex_unlock(&member->mutex);
}

static void end_loop(struct member *member) {
    net_stop_listening(member->net);
    if (member->is_finishing) net_finish(member->net, FLUSH_TIMEOUT_NS);
}

static void on_diverged(void *ctx, const struct xb_error *error) {
    struct member *member = ctx;
    if (member->up.diverged) member->up.diverged(member->up.ctx, error);
}

static void on_left(void *ctx, int code, const struct xb_error *error) {
    struct member *member = ctx;
    member->is_over = true;
    end_loop(member);
    if (member->up.left) member->up.left(member->up.ctx, code, error);
    pthread_mutex_lock(&member->mutex);
    member->has_left = true;
    if (code) member->left_error = *error;
    memcpy(member->hint, member->report.last, sizeof(member->hint));
    pthread_cond_broadcast(&member->changed);
    pthread_mutex_unlock(&member->mutex);
}

/* ---- the thread ---- */

static void set_schedule(const struct member *member) {
    if (!member->settings.has_schedule) return;
    struct sched_param parameter = {.sched_priority = member->settings.schedule_priority};
    int rc = pthread_setschedparam(pthread_self(), member->settings.schedule_policy, &parameter);
    if (rc) xb_log_warning(member->log, "cannot set gcomm.thread_prio: %s", strerror(rc));
}

static void *run_group(void *arg) {
    struct member *member = arg;
    set_schedule(member);
    const char *addresses[PEERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < member->peers.count; i++)
        if (member->peers.hosts[i].has_address) addresses[count++] = member->peers.hosts[i].address;
    int64_t now_ns = xb_clock_monotonic_ns();
    peers_start(&member->peers, member->net, member->group, now_ns);
    group_start(member->group, addresses, count, now_ns, xb_clock_calendar_ns());
    net_run(member->net);
    run_tasks(member, atomic_exchange(&member->tasks, &member->closed_mark));
    group_free(member->group);
    member->group = NULL;
    return NULL;
}

static int start_thread(struct member *member, struct xb_error *error) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the server's */
    int rc = pthread_create(&member->thread, NULL, run_group, member);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) return xb_fail(error, -rc, "cannot start the group thread: %s", strerror(rc));
    pthread_setname_np(member->thread, "xebec-group");
    return 0;
}

/* ---- posts ---- */

int member_post(struct member *member, struct member_task *task) {
    struct member_task *newest = atomic_load(&member->tasks);
    do {
        if (newest == &member->closed_mark) return -ESHUTDOWN;
        task->next = newest;
    } while (!atomic_compare_exchange_weak(&member->tasks, &newest, task));
    if (!newest) net_wake(member->net); /* else the poster of the first one has done it, or is about to */
    return 0;
}

struct call {
    struct member_task task;
    struct member_task *inner;
    struct member *member;
    bool is_done;
};

static void run_call(struct member_task *task, struct group *group, int64_t now_ns) {
    struct call *call = (struct call *)task;
    struct member *member = call->member;
    call->inner->run(call->inner, group, now_ns);
    pthread_mutex_lock(&member->mutex);
    call->is_done = true;
    pthread_cond_broadcast(&member->changed);
    pthread_mutex_unlock(&member->mutex);
}

int member_call(struct member *member, struct member_task *task) {
    assert(!pthread_equal(pthread_self(), member->thread));
    struct call call = {.task = {.run = run_call}, .inner = task, .member = member};
    int rc = member_post(member, &call.task);
    if (rc) return rc;
    pthread_mutex_lock(&member->mutex);
    while (!call.is_done) pthread_cond_wait(&member->changed, &member->mutex);
    pthread_mutex_unlock(&member->mutex);
    return 0;
}

struct tls_swap {
    struct member_task task;
    struct member *member;
    struct tls_context *tls;
};

static void run_tls_swap(struct member_task *task, struct group *group, int64_t now_ns) {
    struct tls_swap *swap = (struct tls_swap *)task;
    net_set_tls(swap->member->net, swap->tls);
    renew_begin(swap->member, now_ns);
}

void member_set_tls(struct member *member, struct tls_context *tls) {
    struct tls_swap swap = {.task = {.run = run_tls_swap}, .member = member, .tls = tls};
    member_call(member, &swap.task);
}

struct peer_visit {
    struct member_task task;
    struct member *member;
    void (*visit)(void *ctx, const struct xb_uuid *peer, const char *address, const struct tls_info *tls);
    void *ctx;
};

static void visit_peer(void *ctx, const struct xb_uuid *peer, gmcast_conn conn, const char *address, uint8_t segment) {
    struct peer_visit *visit = ctx;
    struct tls_info info;
    bool is_tls = net_tls_info(visit->member->net, conn, &info);
    visit->visit(visit->ctx, peer, address, is_tls ? &info : NULL);
}

static void run_peer_visit(struct member_task *task, struct group *group, int64_t now_ns) {
    gmcast_each_peer(group_gmcast(group), visit_peer, task);
}

void member_each_peer(struct member *member,
                      void (*visit)(void *ctx, const struct xb_uuid *peer, const char *address,
                                    const struct tls_info *tls),
                      void *ctx) {
    struct peer_visit peer_visit = {.task = {.run = run_peer_visit}, .member = member, .visit = visit, .ctx = ctx};
    member_call(member, &peer_visit.task);
}

struct stats_query {
    struct member_task task;
    struct member *member;
    struct net_stats *stats;
};

static void run_stats_query(struct member_task *task, struct group *group, int64_t now_ns) {
    struct stats_query *query = (struct stats_query *)task;
    net_get_stats(query->member->net, query->stats);
}

void member_net_stats(struct member *member, struct net_stats *stats) {
    struct stats_query query = {.task = {.run = run_stats_query}, .member = member, .stats = stats};
    memset(stats, 0, sizeof(*stats));
    member_call(member, &query.task);
}

struct xb_uuid member_uuid(const struct member *member) {
    return member->uuid;
}

const char *member_listen_address(const struct member *member) {
    return member->listen_address;
}

/* ---- opening ---- */

/* Section 13.2 of spec 04: the UUID of before a crash in a new incarnation, durable before anybody sees it. */
static int restore(struct member *member, struct xb_error *error) {
    int rc = saved_state_read(member->data_dir, &member->restored, error);
    if (rc) return rc;
    struct pc_saved_view renewed = member->restored;
    xb_uuid_set_incarnation(&renewed.my_uuid, (uint16_t)(xb_uuid_incarnation(&renewed.my_uuid) + 1));
    rc = saved_state_write(member->data_dir, &renewed, error);
    if (rc) return rc; /* the next start would use the same incarnation */
    member->uuid = renewed.my_uuid;
    member->settings.group.restored = &member->restored;
    return 0;
}

static void choose_uuid(struct member *member) {
    struct settings *settings = &member->settings;
    struct xb_error error;
    member->uuid = xb_uuid_new(xb_clock_calendar_ns(), &member->random);
    if (!settings->is_recovering) return;
    int rc = restore(member, &error);
    if (rc)
        xb_log_write(member->log, rc == -ENOENT ? XB_LOG_INFO : XB_LOG_WARNING, "%s; restore pc from disk failed",
                     error.text);
    else if (settings->group.is_bootstrap)
        xb_log_info(member->log, "start_prim is enabled, turn off pc_recovery");
    else
        settings->is_waiting = false;
}

static int open_net(struct member *member, struct net_endpoint *listen, struct xb_error *error) {
    struct settings *settings = &member->settings;
    struct net_endpoint endpoints[NET_ENDPOINTS_MAX];
    int rc = net_endpoint_lookup(settings->listen_host, 0, endpoints, error);
    if (rc < 0) return rc;
    *listen = endpoints[0];
    char host[NET_HOST_SIZE];
    net_endpoint_host(listen, host);
    if (!net_endpoint_is_any(listen)) {
        memcpy(settings->bind_host, host, sizeof(host));
        settings->net.bind_host = settings->bind_host;
    }
    struct net_events events = {member, on_ready, on_received, on_lost, on_stranger, on_work, on_tick, on_disconnected};
    member->net = net_new(&settings->net, &events, member->log, error);
    if (!member->net) return error->code;
    rc = net_listen(member->net, host, settings->listen_port, &settings->listen_port, error);
    if (rc) return rc;
    rc = net_address_format(settings->scheme, host, settings->listen_port, member->listen_address);
    if (rc) return xb_fail(error, rc, "gmcast.listen_addr is longer than the protocol allows");
    memcpy(settings->group.gmcast.listen_address, member->listen_address, sizeof(member->listen_address));
    return 0;
}

static int find_peers(struct member *member, const struct net_endpoint *listen, struct xb_error *error) {
    struct settings *settings = &member->settings;
    peers_resolve(&member->peers, &member->cluster, listen, settings->scheme, settings->listen_port, member->log);
    if (settings->group.is_bootstrap) return 0;
    for (size_t i = 0; i < member->peers.count; i++) {
        const struct peer_host *host = &member->peers.hosts[i];
        if (!host->has_address || strcmp(host->address, member->listen_address) != 0) return 0;
    }
    return xb_fail(error, -EINVAL, "No address to connect");
}

static int build_group(struct member *member, const struct gcs_up *gcs_up, struct xb_error *error) {
    struct gmcast_io io = {member, io_dial, io_send, io_close, io_refused};
    struct group_up up = {member, on_save_view, on_weight_changed, on_view, on_diverged, on_left};
    member->settings.group.gmcast.uuid = member->uuid;
    member->saved_state = saved_state_start(member->data_dir, member->log);
    member->group = member->saved_state ? group_new(&member->settings.group, &io, gcs_up, &up, &member->random,
                                                    member->log, xb_clock_monotonic_ns())
                                        : NULL;
    if (!member->group)
        return xb_fail(error, -ENOMEM, "cannot build the group stack: no memory, or bad saved position");
    if (member->up.started) member->up.started(member->up.ctx, member->group);
    return 0;
}

/* Everything up to the thread. */
static int prepare(struct member *member, const struct member_config *config, const struct gcs_up *gcs_up,
                   struct xb_error *error) {
    int rc = cluster_address_parse(&member->cluster, config->address, config->options, error);
    if (!rc) rc = settings_read(&member->settings, config, error);
    if (!rc && xb_random_seed_from_system(&member->random)) rc = xb_fail(error, -EIO, "no randomness from the system");
    if (rc) return rc;
    const char *data_dir = config->data_dir && *config->data_dir ? config->data_dir : ".";
    snprintf(member->data_dir, sizeof(member->data_dir), "%s", data_dir);
    member->settings.group.is_bootstrap = config->is_bootstrap || member->cluster.is_bootstrap;
    member->settings.group.gmcast.is_founder = member->settings.group.is_bootstrap;
    struct net_endpoint listen;
    rc = open_net(member, &listen, error);
    if (!rc) rc = find_peers(member, &listen, error);
    if (rc) return rc;
    choose_uuid(member);
    rc = build_group(member, gcs_up, error);
    if (rc) return rc;
    settings_write_back(&member->settings, config->options, member->listen_address, member->settings.listen_port);
    xb_log_info(member->log, "node %s of cluster '%s' listens at %s", XB_UUID_TEXT(&member->uuid),
                member->settings.group.gmcast.group, member->listen_address);
    return 0;
}

static struct timespec monotonic_time(int64_t ns) {
    return (struct timespec){.tv_sec = ns / XB_SECOND, .tv_nsec = ns % XB_SECOND};
}

/* -> 0, or why there is no primary view */
static int wait_for_primary(struct member *member, struct xb_error *error) {
    struct timespec until = monotonic_time(xb_clock_monotonic_ns() + member->settings.wait_timeout_ns);
    bool is_waiting = member->settings.is_waiting || member->settings.group.is_bootstrap;
    int rc = 0;
    pthread_mutex_lock(&member->mutex);
    while (is_waiting && !member->is_primary && !member->has_left && rc == 0)
        rc = pthread_cond_timedwait(&member->changed, &member->mutex, &until);
    bool is_reached = !is_waiting || member->is_primary;
    if (member->has_left && member->left_error.code) {
        *error = member->left_error;
        is_reached = false;
    } else if (!is_reached) {
        xb_fail(error, -ETIMEDOUT, "failed to reach primary view: %d (%s)", ETIMEDOUT, strerror(ETIMEDOUT));
    }
    pthread_mutex_unlock(&member->mutex);
    return is_reached ? 0 : error->code;
}

static void discard(struct member *member) {
    group_free(member->group);
    saved_state_stop(member->saved_state);
    net_free(member->net);
    pthread_mutex_destroy(&member->mutex);
    pthread_cond_destroy(&member->changed);
    free(member);
}

/* What stood in the way, for the message of a start that failed. */
static void add_hint(struct xb_error *error, const char *hint) {
    size_t used = strlen(error->text);
    if (error->code == -ETIMEDOUT && *hint)
        snprintf(error->text + used, sizeof(error->text) - used, "; last failed connection: %s", hint);
}

static struct member *new_member(const struct member_up *up, const struct xb_log *log) {
    struct member *member = calloc(1, sizeof(*member));
    if (!member) return NULL;
    member->up = *up;
    member->log = log;
    member->renewals.look_ns = XB_NEVER;
    pthread_mutex_init(&member->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&member->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return member;
}

static void run_leave(struct member_task *task, struct group *group, int64_t now_ns);

struct leave {
    struct member_task task;
    struct member *member;
};

/* Ends the thread; `hint` may be NULL. */
static void end_thread(struct member *member, char *hint) {
    struct leave leave = {.task = {.run = run_leave}, .member = member};
    member_post(member, &leave.task);
    pthread_join(member->thread, NULL);
    if (hint) memcpy(hint, member->hint, sizeof(member->hint));
}

struct member *member_open(const struct member_config *config, const struct gcs_up *gcs_up, const struct member_up *up,
                           const struct xb_log *log, struct xb_error *error) {
    struct xb_error own_error = {0};
    if (!error) error = &own_error;
    struct member *member = new_member(up, log);
    if (!member) {
        xb_fail(error, -ENOMEM, "no memory for a member");
        return NULL;
    }
    if (prepare(member, config, gcs_up, error) || start_thread(member, error)) {
        discard(member);
        return NULL;
    }
    if (wait_for_primary(member, error)) {
        char hint[XB_ERROR_TEXT_SIZE];
        end_thread(member, hint);
        add_hint(error, hint);
        discard(member);
        return NULL;
    }
    return member;
}

/* ---- closing ---- */

static void run_leave(struct member_task *task, struct group *group, int64_t now_ns) {
    struct member *member = ((struct leave *)task)->member;
    member->is_finishing = true;
    if (member->is_over)
        end_loop(member);
    else
        group_leave(group, now_ns); /* on_left follows, after pc.linger at the latest */
}

void member_close(struct member *member) {
    if (!member) return;
    end_thread(member, NULL);
    discard(member);
}
