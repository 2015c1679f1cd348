/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a TCP connection to a ready one: TLS handshake, and with socket.dynamic the question which of both it is.
 *
 * socket.dynamic (spec 02 sections 17, 22.3): the first byte decides, a timer decides if there is none. An acceptor of
 * plain gcomm speaks first and one of TLS waits, so a dialler that hears nothing offers TLS; an old peer without TLS
 * discards that offer and then speaks plain text. A node without certificates needs nothing of this: as acceptor it
 * speaks at once, as dialler it listens.
 */
#include "net/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void become_ready(struct conn *conn) {
    struct net *net = conn->net;
    conn->phase = CONN_READY;
    conn->is_told = true;
    conn_set_deadline(conn, XB_NEVER);
    conn_watch(conn);
    net->events.ready(net->events.ctx, conn->id, conn->host, conn->is_dialled);
}

static void handshake(struct conn *conn) {
    struct xb_error error;
    int rc = tls_session_handshake(conn->tls, &error);
    conn_mark_dirty(conn);
    if (rc == -EAGAIN) return;
    if (rc) {
        conn_flush(conn); /* the alert tells the peer why */
        conn_fail_tls(conn, &error);
        return;
    }
    become_ready(conn);
    if (conn->phase == CONN_READY) conn_drain(conn);
}

static void secure(struct conn *conn) {
    conn->phase = CONN_SECURING;
    conn->tls = tls_session_new(conn->net->config.tls, !conn->is_dialled);
    if (!conn->tls) {
        conn_fail(conn, -ENOMEM, "no memory for a TLS session");
        return;
    }
    tls_session_set_host(conn->tls, conn->host);
    conn_set_deadline(conn, xb_clock_monotonic_ns() + conn->net->config.handshake_timeout_ns);
    conn_watch(conn);
    if (conn->is_dialled) handshake(conn);
}

void conn_begin(struct conn *conn) {
    const struct net_config *config = &conn->net->config;
    if (!config->tls) {
        become_ready(conn);
    } else if (!config->is_dynamic) {
        secure(conn);
    } else {
        conn->phase = CONN_DETECTING;
        int64_t wait_ns = conn->is_dialled ? NET_DETECT_DIAL_NS : NET_DETECT_ACCEPT_NS;
        conn_set_deadline(conn, xb_clock_monotonic_ns() + wait_ns);
        conn_watch(conn);
    }
}

void conn_detect(struct conn *conn) {
    int byte = net_socket_peek(conn->fd);
    if (byte == -EAGAIN) return;
    if (byte == NET_PEEK_END)
        conn_fail(conn, 0, "the peer closed the connection");
    else if (byte < 0)
        conn_fail(conn, byte, "%s", strerror(-byte));
    else if (!conn->is_dialled && net_is_tls_byte(byte))
        secure(conn);
    else
        become_ready(conn);
}

void conn_detect_due(struct conn *conn) {
    if (conn->is_dialled) {
        conn->may_be_plain = true;
        secure(conn);
    } else {
        become_ready(conn);
    }
}

/* -> true: the peer went on in plain text, and the connection is ready */
static bool fall_back(struct conn *conn) {
    int byte = net_socket_peek(conn->fd);
    if (byte == -EAGAIN || byte < 0 || byte == NET_PEEK_END) return false;
    conn->may_be_plain = false;
    if (net_is_tls_byte(byte)) return false;
    tls_session_free(conn->tls);
    conn->tls = NULL;
    become_ready(conn);
    return true;
}

void conn_handshake_read(struct conn *conn) {
    struct net *net = conn->net;
    if (net->handshake_reads_left <= 0) return; /* the socket stays readable */
    net->handshake_reads_left--;
    if (conn->may_be_plain && fall_back(conn)) return;
    size_t room;
    uint8_t *to = tls_session_input(conn->tls, NET_HANDSHAKE_READ_BYTES, &room);
    if (!to) {
        conn_fail(conn, -ENOMEM, "no memory for a TLS session");
        return;
    }
    ssize_t n = recv(conn->fd, to, room, 0);
    net->stats.read_calls++;
    if (n > 0) {
        net->stats.bytes_received += (uint64_t)n;
        conn->has_spoken = true;
        tls_session_input_done(conn->tls, (size_t)n);
        handshake(conn);
    } else if (n == 0) {
        conn_fail(conn, 0,
                  "the peer closed the connection during the TLS handshake: maybe it refused our certificate, "
                  "see its log");
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
        conn_fail(conn, -errno, "%s", strerror(errno));
    }
}
