/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses: canonical strings "ssl://10.0.0.1:4567" (spec 02 section 3.1) and socket addresses.
 * Hosts are numeric, IPv6 in brackets, link-local with "%" and the interface index; v4-mapped IPv6 addresses are
 * written as plain IPv4 (section 21). Any thread.
 */
#ifndef XB_NET_ADDRESS_H
#define XB_NET_ADDRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_HOST_SIZE 64     /* with NUL */
#define NET_NAME_SIZE 256    /* a host name or numeric host as people write it, with NUL */
#define NET_ADDRESS_SIZE 65  /* canonical string: 64 bytes on the wire, and NUL */
#define NET_ENDPOINTS_MAX 16 /* addresses of one name that are looked at */

struct net_endpoint {
    struct sockaddr_storage address;
    socklen_t size;
};

/* Splits "[SCHEME://]HOST[:PORT]". scheme: "" if there is none. host: IPv6 keeps its brackets. port: -1 if none.
 * -> 0 or -EINVAL */
struct net_uri {
    char scheme[8];
    char host[NET_NAME_SIZE];
    int port;
};
int net_uri_parse(const char *text, struct net_uri *uri);

/* Numeric host -> endpoint; -EINVAL for a name. */
int net_endpoint_from_numeric(const char *host, uint16_t port, struct net_endpoint *endpoint);
/* Asks the system's resolver; blocks. -> number of endpoints (> 0), or negative errno with *error */
int net_endpoint_lookup(const char *host, uint16_t port, struct net_endpoint endpoints[NET_ENDPOINTS_MAX],
                        struct xb_error *error);
void net_endpoint_host(const struct net_endpoint *endpoint, char host[NET_HOST_SIZE]);
uint16_t net_endpoint_port(const struct net_endpoint *endpoint);
bool net_endpoint_is_any(const struct net_endpoint *endpoint); /* 0.0.0.0, [::] */

/* "SCHEME://HOST:PORT" -> 0 or -EMSGSIZE */
int net_address_format(const char *scheme, const char *host, uint16_t port, char text[NET_ADDRESS_SIZE]);

#endif
