/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TCP sockets with their options. */
#include "net/socket.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static void set_option(int fd, int level, int name, int value) {
    /* None of the options used here is needed for correctness. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_buffers(int fd, const struct net_socket_options *options) {
    if (options->receive_buffer_bytes) set_option(fd, SOL_SOCKET, SO_RCVBUF, options->receive_buffer_bytes);
    if (options->send_buffer_bytes) set_option(fd, SOL_SOCKET, SO_SNDBUF, options->send_buffer_bytes);
}

static void set_connection_options(int fd, const struct net_socket_options *options) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    int64_t dead_after_ns = options->dead_path_ns ? options->dead_path_ns : options->keepalive_ns;
    if (!dead_after_ns) return;
    int64_t seconds = (dead_after_ns + XB_SECOND - 1) / XB_SECOND;
    if (seconds > 3600) seconds = 3600;
    if (options->dead_path_ns) set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(seconds * 1000));
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)((seconds + 2) / 3));
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

static int open_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static int close_with(int fd, int code) {
    close(fd);
    return -code;
}

int net_socket_listen(const struct net_endpoint *at, const struct net_socket_options *options) {
    int fd = open_socket(at->address.ss_family);
    if (fd < 0) return fd;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_buffers(fd, options);
    if (bind(fd, (const struct sockaddr *)&at->address, at->size) || listen(fd, SOMAXCONN))
        return close_with(fd, errno);
    return fd;
}

int net_socket_connect(const struct net_endpoint *to, const char *bind_host, const struct net_socket_options *options) {
    int fd = open_socket(to->address.ss_family);
    if (fd < 0) return fd;
    set_buffers(fd, options);
    set_connection_options(fd, options);
    struct net_endpoint from;
    if (bind_host) {
        int rc = net_endpoint_from_numeric(bind_host, 0, &from);
        if (rc) return close_with(fd, -rc);
        set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (bind(fd, (const struct sockaddr *)&from.address, from.size)) return close_with(fd, errno);
    }
    if (connect(fd, (const struct sockaddr *)&to->address, to->size) && errno != EINPROGRESS)
        return close_with(fd, errno);
    return fd;
}

int net_socket_accept(int listener, struct net_endpoint *peer, const struct net_socket_options *options) {
    for (;;) {
        *peer = (struct net_endpoint){.size = sizeof(peer->address)};
        int fd = accept4(listener, (struct sockaddr *)&peer->address, &peer->size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            set_connection_options(fd, options);
            return fd;
        }
        if (errno == EWOULDBLOCK) return -EAGAIN;
        /* The peer has gone again, or the network had a passing fault (accept(2)): look at the next one. */
        if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO && errno != ENETDOWN && errno != EHOSTDOWN &&
            errno != EHOSTUNREACH && errno != ENETUNREACH && errno != ENOPROTOOPT && errno != EOPNOTSUPP)
            return -errno;
    }
}

int net_socket_error(int fd) {
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size)) return -errno;
    return -code;
}

int net_socket_port(int fd) {
    struct net_endpoint at = {.size = sizeof(at.address)};
    if (getsockname(fd, (struct sockaddr *)&at.address, &at.size)) return -errno;
    return net_endpoint_port(&at);
}

int net_socket_peek(int fd) {
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK);
    if (n == 1) return byte;
    if (n == 0) return NET_PEEK_END;
    return errno == EWOULDBLOCK || errno == EINTR ? -EAGAIN : -errno;
}
