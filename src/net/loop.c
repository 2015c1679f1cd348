/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop. One turn:
 *
 *   1. ends of connections are reported (found in the last turn)
 *   2. work posted by other threads, then what is due
 *   3. everything queued leaves, one write a connection
 *   4. wait; read what has come
 *
 * Waking: a thread that posts work sets is_woken, and writes to libuv's event descriptor only if the loop is asleep and
 * nobody did it yet. The loop says that it is asleep before it looks at is_woken a last time, so no wake-up is lost.
 */
#include "net/internal.h"

#include "datagram/datagram.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES (DATAGRAM_HEADER_SIZE + DATAGRAM_BODY_MAX + NET_READ_BYTES)

/* All three only make uv_run return. */
static void on_async(uv_async_t *async) {}
static void on_timer(uv_timer_t *timer) {}
static void on_isolation(uv_poll_t *poll, int status, int events) {
    xb_isolation_read(((struct net *)poll->data)->isolation_fd);
}

/* Without a descriptor the mode is seen in the next turn, whatever brings it about. */
static void watch_isolation(struct net *net) {
    int fd = net->config.isolation ? xb_isolation_watch(net->config.isolation) : -1;
    if (fd < 0) return;
    net->isolation_fd = fd;
    net->isolation_poll.data = net;
    if (!uv_poll_init(&net->loop, &net->isolation_poll, fd))
        uv_poll_start(&net->isolation_poll, UV_READABLE, on_isolation);
}

struct net *net_new(const struct net_config *config, const struct net_events *events, const struct xb_log *log,
                    struct xb_error *error) {
    struct net *net = calloc(1, sizeof(*net));
    uint8_t *scratch = malloc(SCRATCH_BYTES);
    int rc = net && scratch ? uv_loop_init(&net->loop) : -ENOMEM;
    if (rc) {
        free(net);
        free(scratch);
        xb_fail(error, rc, "cannot make an event loop: %s", strerror(-rc));
        return NULL;
    }
    net->config = *config;
    if (config->tls) tls_context_ref(config->tls);
    net->socket_options = (struct net_socket_options){
        .receive_buffer_bytes = config->receive_buffer_bytes,
        .send_buffer_bytes = config->send_buffer_bytes,
        .dead_path_ns = config->handshake_timeout_ns,
    };
    net->events = *events;
    net->log = log;
    net->listener_fd = net->isolation_fd = -1;
    net->accept_again_ns = net->deadline_ns = net->finish_ns = XB_NEVER;
    net->scratch = scratch;
    net->loop.data = net;
    uv_timer_init(&net->loop, &net->timer);
    rc = uv_async_init(&net->loop, &net->async, on_async);
    if (rc) {
        net_free(net);
        xb_fail(error, rc, "cannot make an event loop: %s", strerror(-rc));
        return NULL;
    }
    watch_isolation(net);
    return net;
}

static void close_handle(uv_handle_t *handle, void *ctx) {
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void net_free(struct net *net) {
    if (!net) return;
    net->is_freed = true;
    net_stop_listening(net);
    for (size_t i = 0; i < NET_CONNS_MAX; i++)
        if (net->conns[i]) conn_destroy(net->conns[i]);
    uv_walk(&net->loop, close_handle, NULL);
    uv_run(&net->loop, UV_RUN_DEFAULT); /* runs the close callbacks, and waits for a lookup under way */
    uv_loop_close(&net->loop);
    if (net->config.isolation) xb_isolation_unwatch(net->config.isolation, net->isolation_fd);
    tls_context_unref(net->config.tls);
    free(net->scratch);
    free(net);
}

void net_wake(struct net *net) {
    /* What the caller has posted must be visible before is_woken is read. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&net->is_woken)) return;
    atomic_store(&net->is_woken, true);
    if (atomic_exchange(&net->is_asleep, false)) uv_async_send(&net->async);
}

static void check_isolation(struct net *net) {
    int isolation = xb_isolation_get(net->config.isolation);
    if (isolation == net->isolation) return;
    net->isolation = isolation;
    if (isolation == XB_NORMAL) return;
    for (size_t i = 0; i < NET_CONNS_MAX; i++)
        if (net->conns[i]) conn_fail(net->conns[i], -ENETDOWN, "this node is isolated");
    if (isolation == XB_DISCONNECT) net->events.disconnected(net->events.ctx);
}

static void flush_all(struct net *net) {
    struct slot_list *dirty = &net->dirty;
    for (size_t i = 0; i < dirty->count; i++) {
        size_t slot = dirty->slots[i];
        dirty->is_listed[slot] = false;
        if (net->conns[slot]) conn_flush(net->conns[slot]);
    }
    dirty->count = 0;
}

static void wait_and_read(struct net *net, int64_t until_ns) {
    int64_t left_ns = until_ns == XB_NEVER ? XB_NEVER : until_ns - xb_clock_monotonic_ns();
    bool is_idle = left_ns > 0 && net->failed.count == 0;
    if (is_idle) {
        atomic_store(&net->is_asleep, true);
        if (atomic_load(&net->is_woken)) {
            atomic_store(&net->is_asleep, false);
            is_idle = false;
        }
    }
    if (is_idle && left_ns != XB_NEVER) {
        uv_update_time(&net->loop);
        uv_timer_start(&net->timer, on_timer, (uint64_t)((left_ns + XB_MS - 1) / XB_MS), 0);
    } else {
        uv_timer_stop(&net->timer);
    }
    net->handshake_reads_left = NET_HANDSHAKE_READS_PER_TURN;
    uv_run(&net->loop, is_idle ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    atomic_store(&net->is_asleep, false);
}

static void turn(struct net *net) {
    net->stats.turns++;
    check_isolation(net);
    conn_report_failures(net);
    if (atomic_exchange(&net->is_woken, false)) {
        net->stats.wakes++;
        net->events.work(net->events.ctx);
    }
    int64_t now_ns = xb_clock_monotonic_ns();
    net_check_deadlines(net, now_ns);
    int64_t next_ns = net->events.tick(net->events.ctx, now_ns);
    flush_all(net);
    if (!net->is_running) return;
    if (net->finish_ns != XB_NEVER && (net->conn_count == 0 || now_ns >= net->finish_ns)) {
        net->is_running = false;
        return;
    }
    wait_and_read(net, xb_earlier(xb_earlier(next_ns, net->deadline_ns), net->finish_ns));
}

void net_run(struct net *net) {
    net->is_running = true;
    while (net->is_running) turn(net);
}

void net_finish(struct net *net, int64_t timeout_ns) {
    net->finish_ns = xb_clock_monotonic_ns() + timeout_ns;
}

void net_set_tls(struct net *net, struct tls_context *tls) {
    struct tls_context *old = net->config.tls;
    net->config.tls = tls ? tls_context_ref(tls) : NULL;
    tls_context_unref(old);
}
