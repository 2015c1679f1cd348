/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TCP sockets with the options of spec 02 sections 4 and 22.12. All are non-blocking and close-on-exec. */
#ifndef XB_NET_SOCKET_H
#define XB_NET_SOCKET_H

#include "net/address.h"

struct net_socket_options {
    int receive_buffer_bytes, send_buffer_bytes; /* 0: left to the kernel */
    int64_t dead_path_ns; /* TCP_USER_TIMEOUT and keepalive of connections; 0: only keepalive_ns */
    int64_t keepalive_ns; /* without a user timeout, which would end a connection whose peer is alive but does not read;
                             0: as the system does */
};

/* -> descriptor or negative errno */
int net_socket_listen(const struct net_endpoint *at, const struct net_socket_options *options);
/* Begins to connect, from bind_host if not NULL. The socket is writable when it is done.
 * -> descriptor or negative errno */
int net_socket_connect(const struct net_endpoint *to, const char *bind_host, const struct net_socket_options *options);
/* -> descriptor, or negative errno (-EAGAIN: nobody there) */
int net_socket_accept(int listener, struct net_endpoint *peer, const struct net_socket_options *options);
/* The pending error of the socket: 0 or negative errno */
int net_socket_error(int fd);
/* -> port the socket is bound to, or negative errno */
int net_socket_port(int fd);
/* -> the first byte waiting to be read, -EAGAIN, 0x100 at the end of the stream, or another negative errno */
int net_socket_peek(int fd);
#define NET_PEEK_END 0x100

/* First bytes of TLS records that a peer may begin with: handshake, alert (spec 02 section 22.3). */
static inline bool net_is_tls_byte(int byte) {
    return byte == 0x16 || byte == 0x15;
}

#endif
