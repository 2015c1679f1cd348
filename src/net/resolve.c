/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Name lookups that do not stop the loop: the system's resolver runs in libuv's threads. */
#include "net/internal.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    uv_getaddrinfo_t request;
    void (*done)(void *ctx, const struct net_endpoint *endpoints, size_t count);
    void *ctx;
};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list) {
    struct lookup *lookup = request->data;
    struct net_endpoint endpoints[NET_ENDPOINTS_MAX];
    size_t count = 0;
    for (struct addrinfo *a = status ? NULL : list; a && count < NET_ENDPOINTS_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(endpoints->address)) continue;
        endpoints[count] = (struct net_endpoint){.size = a->ai_addrlen};
        memcpy(&endpoints[count++].address, a->ai_addr, a->ai_addrlen);
    }
    uv_freeaddrinfo(list);
    const struct net *net = request->loop->data;
    if (!net->is_freed) lookup->done(lookup->ctx, endpoints, count);
    free(lookup);
}

int net_resolve(struct net *net, const char *host, uint16_t port,
                void (*done)(void *ctx, const struct net_endpoint *endpoints, size_t count), void *ctx) {
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup) return -ENOMEM;
    lookup->request.data = lookup;
    lookup->done = done;
    lookup->ctx = ctx;
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    int rc = uv_getaddrinfo(&net->loop, &lookup->request, on_resolved, host, service, &hints);
    if (rc) free(lookup);
    return rc;
}
