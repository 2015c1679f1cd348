/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accepting, and bounding what strangers can take (spec 02 section 22.4): connections that have not delivered a
 * datagram are limited in total and by address; at a limit the oldest silent one goes. Without descriptors the listener
 * pauses.
 */
#include "net/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_half_open(const struct conn *conn) {
    return !conn->is_dialled && !conn->is_proven && conn->phase != CONN_CLOSING && conn->phase != CONN_FAILED;
}

/* Which of both is less likely to be a peer: the one that has said nothing, then the older one. a may be NULL. */
static struct conn *worse(struct conn *a, struct conn *b) {
    if (!a) return b;
    if (a->has_spoken != b->has_spoken) return a->has_spoken ? b : a;
    return a->id < b->id ? a : b;
}

static void make_room(struct net *net, const char *host) {
    size_t total = 0, of_host = 0;
    struct conn *worst = NULL, *worst_of_host = NULL;
    for (size_t i = 0; i < NET_CONNS_MAX; i++) {
        struct conn *conn = net->conns[i];
        if (!conn || !is_half_open(conn)) continue;
        total++;
        worst = worse(worst, conn);
        if (strcmp(conn->host, host) != 0) continue;
        of_host++;
        worst_of_host = worse(worst_of_host, conn);
    }
    struct conn *victim = of_host >= NET_HALF_OPEN_PER_HOST_MAX ? worst_of_host
                          : total >= NET_HALF_OPEN_MAX          ? worst
                                                                : NULL;
    if (!victim) return;
    net->stats.half_open_dropped++;
    conn_fail(victim, -EBUSY, "too many connections that do not finish their handshake");
}

static void take_in(struct net *net, int fd, const struct net_endpoint *peer) {
    char host[NET_HOST_SIZE];
    net_endpoint_host(peer, host);
    if (net->isolation != XB_NORMAL) {
        close(fd);
        return;
    }
    const char *refusal = net->config.refusal ? net->config.refusal(net->config.refusal_ctx, host) : NULL;
    if (refusal) {
        net->stats.refused++;
        close(fd);
        char text[256];
        snprintf(text, sizeof(text), "Connection not allowed, IP %s %s", host, refusal);
        struct net_loss loss = {.reason = -EACCES, .host = host, .port = net_endpoint_port(peer), .text = text};
        net->events.stranger(net->events.ctx, &loss);
        return;
    }
    make_room(net, host);
    struct conn *conn = conn_new(net, fd, host, net_endpoint_port(peer), false);
    if (!conn) {
        net->stats.refused++;
        return;
    }
    net->stats.accepted++;
    conn_begin(conn);
}

static void on_connections(uv_poll_t *poll, int status, int events);

static void back_off(struct net *net, int code) {
    int64_t now_ns = xb_clock_monotonic_ns();
    uv_poll_stop(net->listener_poll);
    net->accept_again_ns = now_ns + NET_BACK_OFF_NS;
    net->deadline_ns = xb_earlier(net->deadline_ns, net->accept_again_ns);
    if (now_ns < net->accept_logged_ns) return;
    net->accept_logged_ns = now_ns + NET_BACK_OFF_LOG_NS;
    xb_log_warning(net->log, "cannot accept connections: %s. Trying again every %d ms", strerror(-code),
                   (int)(NET_BACK_OFF_NS / XB_MS));
}

void net_listener_resume(struct net *net, int64_t now_ns) {
    if (net->accept_again_ns == XB_NEVER || net->listener_fd < 0) return;
    if (now_ns < net->accept_again_ns) {
        net->deadline_ns = xb_earlier(net->deadline_ns, net->accept_again_ns);
        return;
    }
    net->accept_again_ns = XB_NEVER;
    uv_poll_start(net->listener_poll, UV_READABLE, on_connections);
}

static void on_connections(uv_poll_t *poll, int status, int events) {
    struct net *net = poll->data;
    if (status < 0) {
        back_off(net, status);
        return;
    }
    for (int i = 0; i < NET_ACCEPTS_PER_TURN && net->listener_fd >= 0; i++) {
        struct net_endpoint peer;
        int fd = net_socket_accept(net->listener_fd, &peer, &net->socket_options);
        if (fd == -EAGAIN) return;
        if (fd < 0) {
            back_off(net, fd);
            return;
        }
        take_in(net, fd, &peer);
    }
}

int net_listen(struct net *net, const char *host, uint16_t port, uint16_t *port_in_use, struct xb_error *error) {
    struct net_endpoint at;
    int rc = net_endpoint_from_numeric(host, port, &at);
    int fd = rc ? rc : net_socket_listen(&at, &net->socket_options);
    rc = fd < 0 ? fd : net_socket_port(fd);
    uv_poll_t *poll = rc < 0 ? NULL : malloc(sizeof(*poll));
    if (rc >= 0 && !poll) rc = -ENOMEM;
    if (poll) {
        int uv_rc = uv_poll_init(&net->loop, poll, fd); /* libuv's codes are negative errnos */
        if (uv_rc) rc = uv_rc;
    }
    if (rc < 0) {
        free(poll);
        if (fd >= 0) close(fd);
        return xb_fail(error, rc, "cannot listen at %s:%u: %s", host, port, strerror(-rc));
    }
    *port_in_use = (uint16_t)rc;
    poll->data = net;
    net->listener_fd = fd;
    net->listener_poll = poll;
    uv_poll_start(poll, UV_READABLE, on_connections);
    return 0;
}

static void on_listener_closed(uv_handle_t *handle) {
    free(handle);
}

void net_stop_listening(struct net *net) {
    if (net->listener_fd < 0) return;
    uv_close((uv_handle_t *)net->listener_poll, on_listener_closed);
    close(net->listener_fd);
    net->listener_fd = -1;
    net->listener_poll = NULL;
}
