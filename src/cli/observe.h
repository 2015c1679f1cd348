/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a node tells about itself over SQL. */
#ifndef XB_CLI_OBSERVE_H
#define XB_CLI_OBSERVE_H

#include "cli/sql.h"

/* All to be freed by observe_free; NULL: not known. */
struct observation {
    char *state, *status, *size, *view, *committed, *paused, *recv_queue, *send_queue, *provider;
    char *peers;            /* wsrep_peers of our provider */
    char *options;          /* wsrep_provider_options */
    char *days_left;        /* wsrep_ssl_cert_days_left of our provider */
    char *secure_transport; /* require_secure_transport, ON or OFF */
};

int observe(struct sql *sql, struct observation *observation, struct xb_error *error);
void observe_free(struct observation *observation);

/* The value of a provider option in "a = x; b = y; "; to be freed; NULL: not in it. */
char *observe_option(const char *options, const char *name);
bool observe_is_on(const char *value); /* YES, ON, 1, TRUE */

/* "encrypted", "PLAINTEXT" or "plaintext allowed" (socket.dynamic): group communication and IST */
const char *observe_group(const struct observation *observation);

#endif
