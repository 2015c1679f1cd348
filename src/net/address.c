/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses: text forms and the system's resolver. */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static int copy_part(char *to, size_t size, const char *from, size_t n) {
    if (n >= size) return -EINVAL;
    memcpy(to, from, n);
    to[n] = '\0';
    return 0;
}

/* "" -> -1; else decimal digits, at most 65535 */
static int parse_port(const char *text, int *port) {
    *port = -1;
    if (!*text) return 0;
    int value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9') return -EINVAL;
        value = value * 10 + (*c - '0');
        if (value > 65535) return -EINVAL;
    }
    *port = value;
    return 0;
}

int net_uri_parse(const char *text, struct net_uri *uri) {
    *uri = (struct net_uri){.port = -1};
    const char *mark = strstr(text, "://");
    if (mark) {
        if (copy_part(uri->scheme, sizeof(uri->scheme), text, (size_t)(mark - text))) return -EINVAL;
        text = mark + 3;
    }
    size_t host_size;
    if (*text == '[') {
        const char *end = strchr(text, ']');
        if (!end) return -EINVAL;
        host_size = (size_t)(end - text) + 1;
    } else {
        host_size = strcspn(text, ":");
    }
    if (host_size == 0 || copy_part(uri->host, sizeof(uri->host), text, host_size)) return -EINVAL;
    text += host_size;
    if (!*text) return 0;
    if (*text != ':') return -EINVAL;
    return parse_port(text + 1, &uri->port);
}

/* Without the brackets of an IPv6 address. */
static int bare_host(const char *host, char bare[NET_NAME_SIZE]) {
    size_t n = strlen(host);
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    return copy_part(bare, NET_NAME_SIZE, host, n);
}

static int look_up(const char *host, uint16_t port, int flags, struct net_endpoint *endpoints, size_t max, int *rc) {
    char bare[NET_NAME_SIZE], service[8];
    *rc = EAI_NONAME;
    if (bare_host(host, bare)) return 0;
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV}, *list = NULL;
    *rc = getaddrinfo(bare, service, &hints, &list);
    if (*rc) return 0;
    size_t count = 0;
    for (struct addrinfo *a = list; a && count < max; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(endpoints->address)) continue;
        memset(&endpoints[count], 0, sizeof(endpoints[count]));
        memcpy(&endpoints[count].address, a->ai_addr, a->ai_addrlen);
        endpoints[count++].size = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return (int)count;
}

int net_endpoint_from_numeric(const char *host, uint16_t port, struct net_endpoint *endpoint) {
    int rc;
    return look_up(host, port, AI_NUMERICHOST, endpoint, 1, &rc) == 1 ? 0 : -EINVAL;
}

int net_endpoint_lookup(const char *host, uint16_t port, struct net_endpoint endpoints[NET_ENDPOINTS_MAX],
                        struct xb_error *error) {
    int rc;
    int count = look_up(host, port, 0, endpoints, NET_ENDPOINTS_MAX, &rc);
    if (count > 0) return count;
    return xb_fail(error, -EHOSTUNREACH, "cannot resolve host '%s': %s", host, rc ? gai_strerror(rc) : "no address");
}

static bool is_v4_mapped(const struct net_endpoint *endpoint) {
    return endpoint->address.ss_family == AF_INET6 &&
           IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)&endpoint->address)->sin6_addr);
}

void net_endpoint_host(const struct net_endpoint *endpoint, char host[NET_HOST_SIZE]) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&endpoint->address;
    char text[INET6_ADDRSTRLEN] = "?";
    if (endpoint->address.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&endpoint->address)->sin_addr, text, sizeof(text));
        snprintf(host, NET_HOST_SIZE, "%s", text);
    } else if (is_v4_mapped(endpoint)) {
        inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, text, sizeof(text));
        snprintf(host, NET_HOST_SIZE, "%s", text);
    } else if (endpoint->address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
        if (v6->sin6_scope_id)
            snprintf(host, NET_HOST_SIZE, "[%s%%%u]", text, v6->sin6_scope_id);
        else
            snprintf(host, NET_HOST_SIZE, "[%s]", text);
    } else {
        snprintf(host, NET_HOST_SIZE, "%s", text);
    }
}

uint16_t net_endpoint_port(const struct net_endpoint *endpoint) {
    if (endpoint->address.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&endpoint->address)->sin_port);
    if (endpoint->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&endpoint->address)->sin6_port);
    return 0;
}

bool net_endpoint_is_any(const struct net_endpoint *endpoint) {
    if (endpoint->address.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&endpoint->address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return endpoint->address.ss_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&endpoint->address)->sin6_addr);
}

int net_address_format(const char *scheme, const char *host, uint16_t port, char text[NET_ADDRESS_SIZE]) {
    int n = snprintf(text, NET_ADDRESS_SIZE, "%s://%s:%u", scheme, host, port);
    return n < NET_ADDRESS_SIZE ? 0 : -EMSGSIZE;
}
