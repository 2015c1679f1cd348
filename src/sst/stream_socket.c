/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets: listening, accepting, connecting with patience. */
#include "sst/stream_internal.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 64
#define RETRY_NS (XB_SECOND / 10)

static struct addrinfo *resolve(const struct sst_address *address, int flags, struct xb_error *error) {
    char port[8];
    snprintf(port, sizeof(port), "%u", address->port);
    struct addrinfo hints = {
        .ai_family = address->is_ip6 ? AF_INET6 : AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(address->host[0] ? address->host : NULL, port, &hints, &found);
    if (code == 0) return found;
    xb_fail(error, -EADDRNOTAVAIL, "cannot find the host '%s': %s", address->host, gai_strerror(code));
    return NULL;
}

static void name_peer(struct stream *stream, const struct sockaddr *sa, socklen_t size) {
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    getnameinfo(sa, size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(stream->peer, sizeof(stream->peer), sa->sa_family == AF_INET6 ? "[%.200s]:%s" : "%.200s:%s", host, port);
}

/* A peer that vanishes without a word is noticed whether we send or only wait. */
static void set_timeouts(int fd) {
    int on = 1, idle = STREAM_PEER_TIMEOUT_S / 4, interval = STREAM_PEER_TIMEOUT_S / 8, count = 6;
    unsigned int user_ms = STREAM_PEER_TIMEOUT_S * 1000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int listen_on(const struct addrinfo *a) {
    int on = 1, fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    int off = 0;
    if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int code = -errno;
    close(fd);
    return code;
}

static int listen_on_first(const struct sst_address *address, struct xb_error *error) {
    struct addrinfo *found = resolve(address, AI_PASSIVE, error);
    int fd = found ? -EADDRNOTAVAIL : error->code;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) fd = listen_on(a);
    if (found) freeaddrinfo(found);
    return fd;
}

int stream_listen(const struct sst_address *address, struct xb_error *error) {
    int fd = listen_on_first(address, error);
    if (fd == -EADDRNOTAVAIL) { /* the announced address is another machine's (address translation): take all of ours */
        struct sst_address any = {.port = address->port};
        fd = listen_on_first(&any, error);
    }
    if (fd == -EADDRINUSE)
        return xb_fail(error, -EBUSY,
                       "port %u of '%s' is taken by another program: set wsrep_sst_receive_address to a free one",
                       address->port, address->host);
    return fd < 0
               ? xb_fail(error, fd, "cannot listen on '%s', port %u: %s", address->host, address->port, strerror(-fd))
               : fd;
}

uint16_t stream_port(int listen_fd) {
    struct sockaddr_storage sa;
    socklen_t size = sizeof(sa);
    if (getsockname(listen_fd, (struct sockaddr *)&sa, &size)) return 0;
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                          : ((struct sockaddr_in *)&sa)->sin_port);
}

int stream_accept(struct stream *stream, int listen_fd, const struct watch *watch, int64_t deadline_ns,
                  struct xb_error *error) {
    for (;;) {
        struct sockaddr_storage sa;
        socklen_t size = sizeof(sa);
        int rc = watch_wait(watch, listen_fd, POLLIN, deadline_ns, error);
        if (rc) return rc;
        int fd = accept4(listen_fd, (struct sockaddr *)&sa, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) continue; /* it went away again */
        *stream = (struct stream){.fd = fd, .watch = watch};
        name_peer(stream, (struct sockaddr *)&sa, size);
        set_timeouts(fd);
        return 0;
    }
}

/* -> 0 connected, or a negative errno (no text), or what the watch says (text) */
static int try_connect(struct stream *stream, const struct addrinfo *a, int64_t deadline_ns, struct xb_error *error) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    stream->fd = fd;
    name_peer(stream, a->ai_addr, a->ai_addrlen);
    set_timeouts(fd);
    int code = connect(fd, a->ai_addr, a->ai_addrlen) ? errno : 0;
    if (code == EINPROGRESS) {
        socklen_t size = sizeof(code);
        int rc = watch_wait(stream->watch, fd, POLLOUT, deadline_ns, error);
        if (rc)
            code = -rc;
        else
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
    }
    if (code == 0) return 0;
    close(fd);
    stream->fd = -1;
    return -code;
}

int stream_connect(struct stream *stream, const struct sst_address *address, const struct watch *watch,
                   int64_t deadline_ns, struct xb_error *error) {
    struct addrinfo *found = resolve(address, 0, error);
    if (!found) return error->code;
    *stream = (struct stream){.fd = -1, .watch = watch};
    int rc;
    do {
        rc = -ECONNREFUSED;
        for (struct addrinfo *a = found; a && rc && !error->code; a = a->ai_next)
            rc = try_connect(stream, a, deadline_ns, error);
        if (rc == 0 || error->code || rc == -ECANCELED) break;
        int wait = watch_wait(watch, -1, 0, xb_earlier(deadline_ns, xb_clock_monotonic_ns() + RETRY_NS), error);
        if (wait != -ETIMEDOUT) rc = wait;
    } while (!error->code && rc != -ECANCELED && xb_clock_monotonic_ns() < deadline_ns);
    freeaddrinfo(found);
    if (rc == 0 || error->code || rc == -ECANCELED) return rc;
    return xb_fail(error, rc, "cannot connect to the joiner '%s', port %u: %s; is the port open in the firewall?",
                   address->host, address->port, strerror(-rc));
}
