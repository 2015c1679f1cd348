/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address strings of peers (spec 02 section 3.1). */
#include "gmcast/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SCHEME_SIZE 6 /* "tcp://" */
#define ZONE_MAX 16

/* Splits into host (still in its brackets) and port. -> port, 0 if the text is not of the form */
static unsigned split(const char *text, const char **host, size_t *host_size) {
    if (strncmp(text, "tcp://", SCHEME_SIZE) && strncmp(text, "ssl://", SCHEME_SIZE)) return 0;
    *host = text + SCHEME_SIZE;
    const char *colon = strrchr(*host, ':');
    if (!colon || colon == *host) return 0;
    *host_size = (size_t)(colon - *host);
    bool has_bracket = **host == '[';
    if (has_bracket ? (*host_size < 3 || colon[-1] != ']') : memchr(*host, ':', *host_size) != NULL) return 0;

    unsigned port = 0;
    size_t digits = 0;
    for (const char *c = colon + 1; *c; c++) {
        if (*c < '0' || *c > '9' || ++digits > 5) return 0;
        port = port * 10 + (unsigned)(*c - '0');
    }
    return port <= UINT16_MAX ? port : 0;
}

unsigned mesh_address_port(const char *text) {
    const char *host;
    size_t host_size;
    return split(text, &host, &host_size);
}

static bool is_zone(const char *zone) {
    size_t n = strspn(zone, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
    return n > 0 && n <= ZONE_MAX && !zone[n];
}

/* "[v6]" or "[v6%zone]" -> the same in canonical form */
static int normalize_v6(char out[GMCAST_ADDRESS_SIZE], char *host, size_t size) {
    host[size - 1] = 0; /* the closing bracket */
    host++;
    char *zone = strchr(host, '%');
    if (zone) *zone++ = 0;
    if (zone && !is_zone(zone)) return -EINVAL;
    struct in6_addr v6;
    char number[INET6_ADDRSTRLEN];
    if (inet_pton(AF_INET6, host, &v6) != 1) return -EINVAL;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        inet_ntop(AF_INET, v6.s6_addr + 12, number, sizeof(number));
        snprintf(out, GMCAST_ADDRESS_SIZE, "%s", number);
        return 0;
    }
    inet_ntop(AF_INET6, &v6, number, sizeof(number));
    int n = snprintf(out, GMCAST_ADDRESS_SIZE, "[%s%s%s]", number, zone ? "%" : "", zone ? zone : "");
    return n < GMCAST_ADDRESS_SIZE ? 0 : -EINVAL;
}

static int normalize_host(char out[GMCAST_ADDRESS_SIZE], const char *host, size_t size) {
    char copy[GMCAST_ADDRESS_SIZE];
    if (size >= sizeof(copy)) return -EINVAL;
    memcpy(copy, host, size);
    copy[size] = 0;
    if (copy[0] == '[') return normalize_v6(out, copy, size);
    struct in_addr v4;
    if (inet_pton(AF_INET, copy, &v4) != 1) return -EINVAL;
    inet_ntop(AF_INET, &v4, out, GMCAST_ADDRESS_SIZE);
    return 0;
}

int mesh_address_compose(char address[GMCAST_ADDRESS_SIZE], const char *host, unsigned port, bool is_tls) {
    int n = snprintf(address, GMCAST_ADDRESS_SIZE, "%s://%s:%u", is_tls ? "ssl" : "tcp", host, port);
    return n < GMCAST_ADDRESS_SIZE ? 0 : -EINVAL;
}

int mesh_address_normalize(char address[GMCAST_ADDRESS_SIZE], const char *text, bool is_tls) {
    const char *host;
    size_t host_size;
    unsigned port = split(text, &host, &host_size);
    char number[GMCAST_ADDRESS_SIZE];
    if (!port || normalize_host(number, host, host_size)) return -EINVAL;
    return mesh_address_compose(address, number, port, is_tls);
}
