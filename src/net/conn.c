/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of a connection: table, dialling, deadlines, failing, closing. */
#include "net/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A connection's number: a counter, and its slot in the low bits. */
#define SLOT_BITS 10
_Static_assert(NET_CONNS_MAX == 1 << SLOT_BITS, "a slot fits into its bits");

static size_t slot_of(net_conn id) {
    return id & (NET_CONNS_MAX - 1);
}

static void list_slot(struct slot_list *list, size_t slot) {
    if (list->is_listed[slot]) return;
    list->is_listed[slot] = true;
    list->slots[list->count++] = (uint16_t)slot;
}

void conn_mark_dirty(struct conn *conn) {
    list_slot(&conn->net->dirty, slot_of(conn->id));
}

struct conn *conn_find(const struct net *net, net_conn id) {
    struct conn *conn = net->conns[slot_of(id)];
    return conn && conn->id == id ? conn : NULL;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct conn *conn = poll->data;
    /* libuv stops watching when the socket has an error; there may be data in front of it, so read to the end. */
    bool is_last_chance = status < 0;
    if (is_last_chance) conn->watched = 0;
    if (conn->phase == CONN_CONNECTING) {
        int rc = net_socket_error(conn->fd);
        if (rc)
            conn_fail(conn, rc, "%s", strerror(-rc));
        else
            conn_begin(conn);
    } else if (events & UV_WRITABLE) {
        conn->wants_write = false;
        conn_mark_dirty(conn);
    }
    if (is_last_chance || events & UV_READABLE) {
        if (conn->phase == CONN_DETECTING) conn_detect(conn);
        if (conn->phase == CONN_SECURING) conn_handshake_read(conn);
        if (conn->phase == CONN_READY) conn_receive(conn, is_last_chance);
        if (conn->phase == CONN_CLOSING) conn_discard(conn);
    }
    if (is_last_chance) {
        int rc = net_socket_error(conn->fd);
        if (!rc) rc = -ECONNRESET;
        conn_fail(conn, rc, "%s", strerror(-rc));
    }
    conn_watch(conn);
}

void conn_watch(struct conn *conn) {
    int events = UV_READABLE | (conn->wants_write ? UV_WRITABLE : 0);
    if (conn->phase == CONN_CONNECTING) events = UV_WRITABLE;
    if (conn->phase == CONN_FAILED) events = 0;
    if (events == conn->watched) return;
    conn->watched = events;
    if (events)
        uv_poll_start(&conn->poll, events, on_poll);
    else
        uv_poll_stop(&conn->poll);
}

static size_t free_slot(const struct net *net) {
    size_t slot = (size_t)(net->last_number + 1) & (NET_CONNS_MAX - 1);
    while (net->conns[slot]) slot = (slot + 1) & (NET_CONNS_MAX - 1);
    return slot;
}

struct conn *conn_new(struct net *net, int fd, const char *host, uint16_t port, bool is_dialled) {
    struct conn *conn = net->conn_count < NET_CONNS_MAX ? calloc(1, sizeof(*conn)) : NULL;
    if (conn && uv_poll_init(&net->loop, &conn->poll, fd)) {
        free(conn);
        conn = NULL;
    }
    if (!conn) {
        close(fd);
        return NULL;
    }
    size_t slot = free_slot(net);
    conn->net = net;
    conn->id = ++net->last_number << SLOT_BITS | slot;
    conn->poll.data = conn;
    conn->fd = fd;
    conn->phase = CONN_CONNECTING;
    conn->is_dialled = is_dialled;
    conn->port = port;
    conn->deadline_ns = XB_NEVER;
    snprintf(conn->host, sizeof(conn->host), "%s", host);
    net->conns[slot] = conn;
    net->conn_count++;
    return conn;
}

static void on_poll_closed(uv_handle_t *handle) {
    free(handle->data);
}

void conn_destroy(struct conn *conn) {
    struct net *net = conn->net;
    net->conns[slot_of(conn->id)] = NULL;
    net->conn_count--;
    send_queue_clear(&conn->queue);
    tls_session_free(conn->tls);
    free(conn->rest);
    uv_close((uv_handle_t *)&conn->poll, on_poll_closed); /* frees conn in the next turn of the loop */
    close(conn->fd);
}

static void mark_failed(struct conn *conn) {
    if (conn->phase == CONN_CLOSING) conn->is_forgotten = true;
    conn->is_handshake_failure = !conn->is_told || (conn->tls && conn->is_dialled && !conn->is_proven);
    conn->phase = CONN_FAILED;
    list_slot(&conn->net->failed, slot_of(conn->id));
    conn_watch(conn);
}

void conn_fail(struct conn *conn, int reason, const char *format, ...) {
    if (conn->phase == CONN_FAILED) return;
    conn->failure.code = reason;
    va_list args;
    va_start(args, format);
    vsnprintf(conn->failure.text, sizeof(conn->failure.text), format, args);
    va_end(args);
    mark_failed(conn);
}

void conn_fail_tls(struct conn *conn, const struct xb_error *error) {
    if (conn->phase == CONN_FAILED) return;
    conn->failure = *error;
    conn->is_tls_failure = true;
    mark_failed(conn);
}

void conn_report_failures(struct net *net) {
    if (net->failed.count == 0) return;
    /* More may be added while the callbacks run; those have their turn in the next round. */
    struct slot_list failed = net->failed;
    memset(&net->failed, 0, sizeof(net->failed));
    for (size_t i = 0; i < failed.count; i++) {
        struct conn *conn = net->conns[failed.slots[i]];
        if (!conn || conn->phase != CONN_FAILED) continue;
        struct tls_info tls = {.peer_subject = ""};
        if (conn->tls) tls_session_info(conn->tls, &tls);
        struct net_loss loss = {
            .reason = conn->failure.code,
            .text = conn->failure.text,
            .host = conn->host,
            .port = conn->port,
            .is_dialled = conn->is_dialled,
            .is_handshake = conn->is_handshake_failure,
            .is_tls = conn->is_tls_failure,
            .is_peer_refused = conn->tls && tls_session_has_refused(conn->tls),
            .is_violation = conn->is_violation,
            .subject = tls.peer_subject,
        };
        bool is_forgotten = conn->is_forgotten;
        if (loss.is_handshake && !is_forgotten) net->stats.handshakes_failed++;
        conn_destroy(conn); /* its memory lives until the loop turns */
        if (is_forgotten) continue;
        if (conn->is_dialled || conn->is_told)
            net->events.lost(net->events.ctx, conn->id, &loss);
        else
            net->events.stranger(net->events.ctx, &loss);
    }
}

void conn_set_deadline(struct conn *conn, int64_t deadline_ns) {
    conn->deadline_ns = deadline_ns;
    conn->net->deadline_ns = xb_earlier(conn->net->deadline_ns, deadline_ns);
}

static void conn_due(struct conn *conn) {
    conn->deadline_ns = XB_NEVER;
    if (conn->phase == CONN_DETECTING)
        conn_detect_due(conn);
    else if (conn->phase == CONN_CONNECTING)
        conn_fail(conn, -ETIMEDOUT, "no answer in time");
    else if (conn->phase == CONN_SECURING)
        conn_fail(conn, -ETIMEDOUT, "TLS handshake not finished in time: does the peer speak TLS?");
    else if (conn->phase == CONN_CLOSING)
        conn_fail(conn, -ETIMEDOUT, "not closed by the peer in time");
}

void net_check_deadlines(struct net *net, int64_t now_ns) {
    if (now_ns < net->deadline_ns) return;
    net->deadline_ns = XB_NEVER;
    net_listener_resume(net, now_ns);
    for (size_t i = 0; i < NET_CONNS_MAX; i++) {
        struct conn *conn = net->conns[i];
        if (!conn) continue;
        if (now_ns >= conn->deadline_ns) conn_due(conn);
        net->deadline_ns = xb_earlier(net->deadline_ns, conn->deadline_ns);
    }
}

net_conn net_dial(struct net *net, const char *host, uint16_t port) {
    if (net->isolation != XB_NORMAL || net->conn_count == NET_CONNS_MAX) return NET_NO_CONN;
    struct net_endpoint to;
    int rc = net_endpoint_from_numeric(host, port, &to);
    if (!rc) rc = net_socket_connect(&to, net->config.bind_host, &net->socket_options);
    if (rc < 0) {
        xb_log_warning(net->log, "cannot connect to %s:%u: %s", host, port, strerror(-rc));
        return NET_NO_CONN;
    }
    struct conn *conn = conn_new(net, rc, host, port, true);
    if (!conn) return NET_NO_CONN;
    conn_set_deadline(conn, xb_clock_monotonic_ns() + net->config.handshake_timeout_ns);
    conn_watch(conn);
    return conn->id;
}

int net_send(struct net *net, net_conn id, uint8_t segment, struct xb_buf *buf) {
    struct conn *conn = conn_find(net, id);
    if (!conn || conn->phase != CONN_READY) return -ENOTCONN;
    if (conn->queue.bytes + buf->size > NET_QUEUE_BYTES_MAX) {
        net->stats.queue_full++;
        return -ENOBUFS;
    }
    int rc = send_queue_push(&conn->queue, segment, buf);
    if (rc) return rc;
    if (conn->queue.bytes > net->stats.queue_bytes_peak) net->stats.queue_bytes_peak = conn->queue.bytes;
    conn_mark_dirty(conn);
    return 0;
}

void net_close(struct net *net, net_conn id) {
    struct conn *conn = conn_find(net, id);
    if (!conn || conn->phase == CONN_CLOSING) return;
    if (conn->phase == CONN_READY) {
        conn->phase = CONN_CLOSING;
        conn_set_deadline(conn, xb_clock_monotonic_ns() + NET_CLOSE_TIMEOUT_NS);
        conn_mark_dirty(conn);
    } else {
        conn_fail(conn, 0, "closed");
        conn->is_forgotten = true;
    }
}

bool net_is_outdated(const struct net *net, net_conn id) {
    const struct conn *conn = conn_find(net, id);
    return conn && conn->tls && !tls_session_is_of(conn->tls, net->config.tls);
}

int net_recheck(const struct net *net, net_conn id, struct xb_error *error) {
    const struct conn *conn = conn_find(net, id);
    if (!conn || !conn->tls || !conn->is_told) return xb_fail(error, -ENOTCONN, "there is no such TLS connection");
    return tls_session_recheck(conn->tls, net->config.tls, error);
}

void net_cut(struct net *net, net_conn id, int reason, const char *text) {
    struct conn *conn = conn_find(net, id);
    if (conn) conn_fail(conn, reason, "%s", text);
}

bool net_peer(const struct net *net, net_conn id, char *host, uint16_t *port) {
    const struct conn *conn = conn_find(net, id);
    if (!conn) return false;
    memcpy(host, conn->host, NET_HOST_SIZE);
    *port = conn->port;
    return true;
}

bool net_tls_info(const struct net *net, net_conn id, struct tls_info *info) {
    const struct conn *conn = conn_find(net, id);
    if (!conn || !conn->tls || !conn->is_told) return false;
    tls_session_info(conn->tls, info);
    return true;
}

void net_get_stats(const struct net *net, struct net_stats *stats) {
    *stats = net->stats;
    stats->connections = net->conn_count;
    stats->half_open = stats->queue_bytes = 0;
    for (size_t i = 0; i < NET_CONNS_MAX; i++) {
        const struct conn *conn = net->conns[i];
        if (!conn) continue;
        stats->half_open += !conn->is_dialled && !conn->is_proven;
        stats->queue_bytes += conn->queue.bytes;
    }
}
