/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cluster address (spec 02 section 3.1): gcomm://[[user@]host[:port],...][/path][?option=value&...][#fragment]
 */
#include "member/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "gcomm"
#define ANY_NETWORK "::/128" /* an old way to say: bootstrap */

static int fail_address(struct xb_error *error, const char *what, const char *text) {
    return xb_fail(error, -EINVAL, "%s in cluster address '%s'", what, text);
}

static bool is_any_host(const char *name) {
    struct net_endpoint endpoint;
    return net_endpoint_from_numeric(name, 0, &endpoint) == 0 && net_endpoint_is_any(&endpoint);
}

static int add_host(struct cluster_address *address, const char *text, bool is_first, uint16_t default_port,
                    struct xb_error *error) {
    const char *user = strrchr(text, '@');
    if (user) text = user + 1;
    struct net_uri uri;
    if (!*text || net_uri_parse(text, &uri) || uri.scheme[0] || uri.port == 0)
        return fail_address(error, "bad host or port", text);
    if (is_any_host(uri.host)) {
        address->is_bootstrap |= is_first;
        return 0;
    }
    if (address->host_count == PEERS_MAX) return fail_address(error, "too many hosts", text);
    struct cluster_host *host = &address->hosts[address->host_count++];
    memcpy(host->name, uri.host, sizeof(host->name));
    host->port = uri.port > 0 ? (uint16_t)uri.port : default_port;
    return 0;
}

static int parse_hosts(struct cluster_address *address, char *text, uint16_t default_port, struct xb_error *error) {
    if (!*text) {
        address->is_bootstrap = true;
        return 0;
    }
    bool is_first = true;
    char *state = NULL;
    for (char *part = strtok_r(text, ",", &state); part; part = strtok_r(NULL, ",", &state)) {
        int rc = add_host(address, part, is_first, default_port, error);
        if (rc) return rc;
        is_first = false;
    }
    return 0;
}

/* The options that a connection has, not the provider as a whole. TLS files are read before the address is known. */
static bool is_connection_option(const char *name) {
    static const char *const prefixes[] = {"evs.", "gmcast.", "pc.", "protonet.", "base_port", "gcomm."};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (!strncmp(name, prefixes[i], strlen(prefixes[i]))) return true;
    return !strcmp(name, "socket.checksum") || !strcmp(name, "socket.recv_buf_size") ||
           !strcmp(name, "socket.send_buf_size");
}

static int set_option(struct xb_options *options, const char *name, const char *value, struct xb_error *error) {
    if (!is_connection_option(name))
        return xb_fail(error, -EINVAL,
                       "option '%s' is not allowed in a cluster address, set it in "
                       "wsrep_provider_options",
                       name);
    int rc = xb_options_check(name, value, error);
    if (rc) return rc == -ENOENT ? -EINVAL : rc;
    const struct xb_option_definition *definition = xb_option_find(name);
    if (definition->dynamic == XB_OPTION_TRIGGER) return 0; /* without effect at start */
    return xb_options_put(options, name, value);
}

static int parse_query(char *text, struct xb_options *options, struct xb_error *error) {
    char *state = NULL;
    for (char *part = strtok_r(text, "&", &state); part; part = strtok_r(NULL, "&", &state)) {
        char *equals = strchr(part, '=');
        if (!equals || equals == part || strchr(equals + 1, '=')) return fail_address(error, "bad option", part);
        *equals = '\0';
        int rc = set_option(options, part, equals + 1, error);
        if (rc) return rc;
    }
    return 0;
}

int cluster_address_parse(struct cluster_address *address, const char *text, struct xb_options *options,
                          struct xb_error *error) {
    memset(address, 0, sizeof(*address));
    char copy[ADDRESS_TEXT_MAX];
    if (strlen(text) >= sizeof(copy)) return fail_address(error, "too many characters", text);
    memcpy(copy, text, strlen(text) + 1);
    char *hosts = strstr(copy, "://");
    if (!hosts)
        return xb_fail(error, -EINVAL, "Invalid backend URI: %s; a cluster address begins with " SCHEME "://", text);
    *hosts = '\0';
    if (strcmp(copy, SCHEME) != 0)
        return xb_fail(error, -ESOCKTNOSUPPORT,
                       "Backend not supported: %s; a cluster address begins with " SCHEME "://", text);
    hosts += 3;
    hosts[strcspn(hosts, "#")] = '\0';
    char *query = strchr(hosts, '?');
    if (query) *query++ = '\0';
    int rc = query ? parse_query(query, options, error) : 0;
    if (rc) return rc;
    if (strstr(hosts, ANY_NETWORK)) {
        address->is_bootstrap = true;
        return 0;
    }
    hosts[strcspn(hosts, "/")] = '\0';
    uint16_t base_port = (uint16_t)xb_options_integer(options, "base_port"); /* the query may have set it */
    return parse_hosts(address, hosts, base_port ? base_port : MEMBER_DEFAULT_PORT, error);
}
