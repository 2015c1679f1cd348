/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The address of a state transfer request (spec 08 section 2.2): [auth@]host[:port][/module[/lsn[/version]]].
 * It comes from another node: only what the grammar allows is taken. Pure. */
#ifndef XB_SST_ADDRESS_H
#define XB_SST_ADDRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SST_PORT_DEFAULT 4444
#define SST_FIELD_SIZE 256

struct sst_address {
    char name[SST_FIELD_SIZE], secret[SST_FIELD_SIZE]; /* of auth = NAME:SECRET; "": not given */
    char host[SST_FIELD_SIZE];                         /* without brackets */
    bool is_ip6;                                       /* it stood in brackets, or holds a colon */
    uint16_t port;
    bool has_port;
    char module[SST_FIELD_SIZE], lsn[SST_FIELD_SIZE], version[SST_FIELD_SIZE];
};

/* -> 0 or -EINVAL with *error */
int sst_address_read(struct sst_address *address, const char *text, struct xb_error *error);

#endif
