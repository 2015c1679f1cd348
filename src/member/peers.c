/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configured peers: names to addresses (spec 02 sections 3.1, 22.10).
 *
 * The mesh knows numeric addresses only, and one address a peer: two addresses of one node would look like two nodes
 * with one UUID (section 9.2). So of each name one address is in use at a time. While there is no connection to it, the
 * name is looked up again every PEERS_LOOKUP_PERIOD_NS, in another thread, and the next address of the answer is tried.
 */
#include "member/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Does the address belong to this host? Then the name is probably the own one in the list of all nodes. */
static bool is_local(const struct net_endpoint *endpoint) {
    struct net_endpoint at = *endpoint;
    char host[NET_HOST_SIZE];
    net_endpoint_host(endpoint, host);
    if (net_endpoint_from_numeric(host, 0, &at)) return false;
    int fd = socket(at.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool is_bound = bind(fd, (const struct sockaddr *)&at.address, at.size) == 0;
    close(fd);
    return is_bound;
}

/* A peer takes the address that we come from for ours, so it must be of the family that we listen on. */
static size_t keep_usable(const struct peers *peers, struct net_endpoint *endpoints, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (peers->family == AF_UNSPEC || endpoints[i].address.ss_family == peers->family)
            endpoints[kept++] = endpoints[i];
    return kept ? kept : count;
}

/* The address behind the one in use, or the first. */
static void choose_address(struct peer_host *host, struct net_endpoint *endpoints, size_t count) {
    count = keep_usable(host->peers, endpoints, count);
    char addresses[NET_ENDPOINTS_MAX][NET_ADDRESS_SIZE];
    size_t usable = 0, next = 0;
    for (size_t i = 0; i < count; i++) {
        char name[NET_HOST_SIZE];
        net_endpoint_host(&endpoints[i], name);
        if (net_address_format(host->peers->scheme, name, host->host.port, addresses[usable])) continue;
        if (host->has_address && !strcmp(addresses[usable], host->address)) next = usable + 1;
        usable++;
    }
    host->has_address = usable > 0;
    if (usable > 0) memcpy(host->address, addresses[next % usable], NET_ADDRESS_SIZE);
}

size_t peers_resolve(struct peers *peers, const struct cluster_address *address, const struct net_endpoint *listen,
                     const char *scheme, uint16_t own_port, const struct xb_log *log) {
    memset(peers, 0, sizeof(*peers));
    peers->log = log;
    peers->scheme = scheme;
    peers->own_port = own_port;
    peers->family =
        listen->address.ss_family == AF_INET6 && net_endpoint_is_any(listen) ? AF_UNSPEC : listen->address.ss_family;
    size_t found = 0;
    for (size_t i = 0; i < address->host_count; i++) {
        struct peer_host *host = &peers->hosts[peers->count++];
        struct net_endpoint endpoints[NET_ENDPOINTS_MAX];
        struct xb_error error;
        host->peers = peers;
        host->host = address->hosts[i];
        host->is_numeric = net_endpoint_from_numeric(host->host.name, 0, &endpoints[0]) == 0;
        int count = net_endpoint_lookup(host->host.name, host->host.port, endpoints, &error);
        if (count < 0) {
            xb_log_warning(log, "%s; it is tried again every %d s", error.text,
                           (int)(PEERS_LOOKUP_PERIOD_NS / XB_SECOND));
            continue;
        }
        choose_address(host, endpoints, (size_t)count);
        host->is_own = host->host.port == own_port && is_local(&endpoints[0]);
        found += host->has_address;
    }
    return found;
}

void peers_start(struct peers *peers, struct net *net, struct group *group, int64_t now_ns) {
    peers->net = net;
    peers->group = group;
    peers->lookup_ns = now_ns + PEERS_LOOKUP_PERIOD_NS;
}

static void on_resolved(void *ctx, const struct net_endpoint *endpoints, size_t count) {
    struct peer_host *host = ctx;
    struct peers *peers = host->peers;
    int64_t now_ns = xb_clock_monotonic_ns();
    host->is_looking = false;
    if (count == 0) {
        if (now_ns >= host->logged_ns) {
            xb_log_warning(peers->log, "cannot resolve host '%s' of the cluster address", host->host.name);
            host->logged_ns = now_ns + PEERS_LOG_PERIOD_NS;
        }
        return;
    }
    struct peer_host old = *host;
    struct net_endpoint copies[NET_ENDPOINTS_MAX];
    memcpy(copies, endpoints, count * sizeof(*endpoints));
    choose_address(host, copies, count);
    if (old.has_address == host->has_address && !strcmp(old.address, host->address)) return;
    xb_log_info(peers->log, "host '%s' of the cluster address is tried at %s", host->host.name, host->address);
    struct gmcast *mesh = group_gmcast(peers->group);
    if (old.has_address) gmcast_peer_delete(mesh, old.address, now_ns);
    if (host->has_address) gmcast_peer_add(mesh, host->address, now_ns);
}

/* What is connected right now. */
struct connected {
    char addresses[PEERS_MAX][NET_ADDRESS_SIZE];
    size_t count;
};

static void note_connected(void *ctx, const struct xb_uuid *peer, gmcast_conn conn, const char *address,
                           uint8_t segment) {
    struct connected *connected = ctx;
    if (connected->count == PEERS_MAX || strlen(address) >= NET_ADDRESS_SIZE) return;
    strcpy(connected->addresses[connected->count++], address);
}

static bool is_connected(const struct connected *connected, const char *address) {
    for (size_t i = 0; i < connected->count; i++)
        if (!strcmp(connected->addresses[i], address)) return true;
    return false;
}

int64_t peers_tick(struct peers *peers, int64_t now_ns) {
    if (now_ns < peers->lookup_ns) return peers->lookup_ns;
    peers->lookup_ns = now_ns + PEERS_LOOKUP_PERIOD_NS;
    struct connected connected = {.count = 0};
    gmcast_each_peer(group_gmcast(peers->group), note_connected, &connected);
    for (size_t i = 0; i < peers->count; i++) {
        struct peer_host *host = &peers->hosts[i];
        if (host->is_numeric || host->is_own || host->is_looking) continue;
        if (host->has_address && is_connected(&connected, host->address)) continue;
        host->is_looking = net_resolve(peers->net, host->host.name, host->host.port, on_resolved, host) == 0;
    }
    return peers->lookup_ns;
}
