/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Receiving: as much as the socket has, up to a bound, with one system call; then every whole datagram in it.
 *
 * All connections read into the net's one scratch buffer; what is left of a datagram whose end is still to come moves
 * to the connection and back. So an idle or half-open connection holds no buffer.
 */
#include "net/internal.h"

#include "datagram/datagram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void save_rest(struct conn *conn, const uint8_t *data, size_t size) {
    if (size > 0 && !conn->rest) conn->rest = malloc(DATAGRAM_HEADER_SIZE + DATAGRAM_BODY_MAX);
    if (size > 0 && !conn->rest) {
        conn_fail(conn, -ENOMEM, "no memory for a datagram");
        return;
    }
    if (size > 0) memcpy(conn->rest, data, size);
    conn->rest_size = size;
}

/* scratch holds size bytes: the rest of last time and new ones. */
static void split(struct conn *conn, size_t size) {
    struct net *net = conn->net;
    const uint8_t *data = net->scratch;
    while (conn->phase == CONN_READY) {
        const uint8_t *body;
        size_t body_size;
        struct xb_error error;
        int used = datagram_parse(data, size, &body, &body_size, &error);
        if (used < 0) {
            conn->is_violation = true;
            conn_fail(conn, used, "%s", error.text);
            return;
        }
        if (used == 0) break;
        conn->is_proven = true;
        net->stats.datagrams_received++;
        net->events.received(net->events.ctx, conn->id, body, body_size);
        data += used;
        size -= (size_t)used;
    }
    if (conn->phase == CONN_READY) save_rest(conn, data, size);
}

/* -> place for new bytes behind the rest of last time */
static uint8_t *prepare_scratch(struct conn *conn) {
    if (conn->rest_size > 0) memcpy(conn->net->scratch, conn->rest, conn->rest_size);
    return conn->net->scratch + conn->rest_size;
}

static void end(struct conn *conn) {
    conn_fail(conn, 0, "the peer closed the connection");
}

static ssize_t receive(struct conn *conn, void *to, size_t size) {
    struct net_stats *stats = &conn->net->stats;
    ssize_t n = recv(conn->fd, to, size, 0);
    stats->read_calls++;
    if (n > 0) {
        stats->bytes_received += (uint64_t)n;
        conn->has_spoken = true;
        if (!conn->tls) stats->plain_bytes_received += (uint64_t)n;
    } else if (n == 0) {
        end(conn);
    } else if (errno != EWOULDBLOCK && errno != EINTR) {
        conn_fail(conn, -errno, "%s", strerror(errno));
    }
    return n;
}

void conn_drain(struct conn *conn) {
    while (conn->phase == CONN_READY) {
        uint8_t *to = prepare_scratch(conn);
        struct xb_error error;
        ssize_t n = tls_session_read(conn->tls, to, NET_READ_BYTES, &error);
        if (n > 0) {
            split(conn, conn->rest_size + (size_t)n);
        } else if (n == 0) {
            end(conn);
        } else if (n == -EAGAIN) {
            break;
        } else {
            conn_fail_tls(conn, &error);
        }
    }
    const uint8_t *data;
    if (conn->tls && tls_session_output(conn->tls, &data) > 0) conn_mark_dirty(conn);
}

/* One system call. -> true: there may be more */
static bool receive_once(struct conn *conn) {
    ssize_t n;
    size_t room = NET_READ_BYTES;
    if (conn->tls) {
        uint8_t *to = tls_session_input(conn->tls, NET_READ_BYTES, &room);
        if (!to) {
            conn_fail(conn, -ENOMEM, "no memory for a TLS session");
            return false;
        }
        room = NET_READ_BYTES;
        n = receive(conn, to, room);
        if (n > 0) {
            tls_session_input_done(conn->tls, (size_t)n);
            conn_drain(conn);
        }
    } else {
        uint8_t *to = prepare_scratch(conn);
        n = receive(conn, to, room);
        if (n > 0) split(conn, conn->rest_size + (size_t)n);
    }
    return n == (ssize_t)room;
}

void conn_receive(struct conn *conn, bool is_last_chance) {
    for (int i = 0; is_last_chance || i < NET_READS_PER_EVENT; i++) {
        uint64_t before = conn->net->stats.bytes_received;
        bool is_more = receive_once(conn);
        if (conn->phase != CONN_READY) return;
        if (is_last_chance ? conn->net->stats.bytes_received == before : !is_more) return;
    }
}

void conn_discard(struct conn *conn) {
    for (int i = 0; i < NET_READS_PER_EVENT && conn->phase == CONN_CLOSING; i++)
        if (receive(conn, conn->net->scratch, NET_READ_BYTES) <= 0) return;
}
