/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grammar of spec 08 section 2.2, read from left to right; each field has its own set of characters. */
#include "sst/address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

static bool take(const char **at, const char *characters, char to[SST_FIELD_SIZE]) {
    size_t size = strspn(*at, characters);
    if (size >= SST_FIELD_SIZE) return false;
    memcpy(to, *at, size);
    to[size] = '\0';
    *at += size;
    return true;
}

static bool take_auth(const char **at, struct sst_address *a) {
    if (!strrchr(*at, '@')) return true;
    if (!take(at, NAME_CHARACTERS, a->name)) return false;
    if (**at == ':') {
        ++*at;
        if (!take(at, NAME_CHARACTERS, a->secret)) return false;
    }
    return *(*at)++ == '@';
}

static bool take_host(const char **at, struct sst_address *a) {
    if (**at != '[') return take(at, NAME_CHARACTERS, a->host) && a->host[0] && a->host[0] != '-';
    ++*at;
    a->is_ip6 = true;
    return take(at, "0123456789abcdefABCDEF:.", a->host) && a->host[0] && *(*at)++ == ']';
}

static bool take_port(const char **at, struct sst_address *a) {
    if (**at != ':') return true;
    ++*at;
    size_t size = strspn(*at, "0123456789");
    unsigned long port = size >= 1 && size <= 5 ? strtoul(*at, NULL, 10) : 0;
    *at += size;
    a->port = (uint16_t)port;
    a->has_port = true;
    return port >= 1 && port <= UINT16_MAX;
}

static bool take_rest(const char **at, struct sst_address *a) {
    char *fields[] = {a->module, a->lsn, a->version};
    for (size_t i = 0; i < 3 && **at == '/'; i++) {
        ++*at;
        if (!take(at, NAME_CHARACTERS, fields[i])) return false;
    }
    return **at == '\0';
}

int sst_address_read(struct sst_address *address, const char *text, struct xb_error *error) {
    *address = (struct sst_address){.port = SST_PORT_DEFAULT};
    const char *at = text;
    if (take_auth(&at, address) && take_host(&at, address) && take_port(&at, address) && take_rest(&at, address))
        return 0;
    return xb_fail(error, -EINVAL,
                   "the address of the state transfer is not [name:secret@]host[:port][/module[/lsn[/version]]], it "
                   "goes wrong at its character %zu",
                   (size_t)(at - text) + 1);
}
