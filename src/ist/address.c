/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of transfers: what people write, what is listened on, what the donor is told (spec 07 section 17.1). */
#include "ist/internal.h"
#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_BASE_PORT 4567

static bool is_set(const char *text) {
    return text && *text;
}

int ist_address_parse(struct ist_address *address, const char *text, struct xb_error *error) {
    struct net_uri uri;
    *address = (struct ist_address){.has_scheme = false};
    const char *authority = strstr(text, "://") ? strstr(text, "://") + 3 : text;
    const char *colon = strchr(authority, ':');
    if (colon && *authority != '[' && strchr(colon + 1, ':')) { /* IPv6 without brackets has no port */
        char bracketed[IST_ADDRESS_SIZE];
        int n = snprintf(bracketed, sizeof(bracketed), "%.*s[%s]", (int)(authority - text), text, authority);
        if (n >= (int)sizeof(bracketed)) return xb_fail(error, -EINVAL, "Address '%s' is too long", text);
        return ist_address_parse(address, bracketed, error);
    }
    if (net_uri_parse(text, &uri))
        return xb_fail(error, -EINVAL, "'%s' is not an address [scheme://]host[:port]", text);
    if (*uri.scheme && strcmp(uri.scheme, "tcp") && strcmp(uri.scheme, "ssl"))
        return xb_fail(error, -EINVAL, "Unknown scheme '%s' in address '%s': tcp or ssl", uri.scheme, text);
    address->has_scheme = *uri.scheme != 0;
    address->is_tls = !strcmp(uri.scheme, "ssl");
    address->has_port = uri.port >= 0;
    address->port = (uint16_t)(uri.port >= 0 ? uri.port : 0);
    snprintf(address->host, sizeof(address->host), "%s", uri.host);
    return 0;
}

int ist_address_host(const char *text, char host[IST_HOST_SIZE]) {
    struct ist_address address;
    if (ist_address_parse(&address, text, NULL)) return -EINVAL;
    snprintf(host, IST_HOST_SIZE, "%s", address.host);
    return 0;
}

void ist_address_format(const struct ist_address *address, char text[IST_ADDRESS_SIZE]) {
    snprintf(text, IST_ADDRESS_SIZE, "%s://%s:%u", address->is_tls ? "ssl" : "tcp", address->host, address->port);
}

static int parse_complete(struct ist_address *address, const char *text, const struct ist_receiver_config *config,
                          struct xb_error *error) {
    int rc = ist_address_parse(address, text, error);
    if (rc) return rc;
    if (!address->has_scheme) address->is_tls = config->tls && !config->is_dynamic;
    if (address->is_tls && !config->tls)
        return xb_fail(error, -EINVAL, "Address '%s' asks for TLS, but socket.ssl_key is not set", text);
    if (!address->is_tls && config->tls && !config->is_dynamic)
        return xb_fail(error, -EINVAL,
                       "Address '%s' asks for IST without TLS, but certificates are configured: leave tcp:// "
                       "away, or set socket.dynamic",
                       text);
    if (address->has_port) return 0;
    int port = (config->base_port > 0 ? config->base_port : DEFAULT_BASE_PORT) + 1;
    if (port > UINT16_MAX) return xb_fail(error, -EINVAL, "base_port %d leaves no port for IST", config->base_port);
    address->port = (uint16_t)port;
    return 0;
}

int ist_address_resolve(struct ist_listen_address *address, const struct ist_receiver_config *config,
                        struct xb_error *error) {
    const char *advertised = is_set(config->recv_addr) ? config->recv_addr : config->base_host;
    if (!is_set(advertised))
        return xb_fail(error, -EINVAL, "No address to receive IST at: set ist.recv_addr or wsrep_node_address");
    const char *bind = is_set(config->recv_bind) ? config->recv_bind : advertised;
    int rc = parse_complete(&address->advertised, advertised, config, error);
    if (!rc) rc = parse_complete(&address->bind, bind, config, error);
    if (rc) return rc;
    if (address->bind.has_scheme && address->bind.is_tls != address->advertised.is_tls)
        return xb_fail(error, -EINVAL, "ist.recv_bind '%s' and the address told to the donor '%s' differ in scheme",
                       bind, advertised);
    address->bind.is_tls = address->advertised.is_tls;
    return 0;
}
