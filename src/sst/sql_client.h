/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client programs mariadb and mariadb-dump, to the donor's own server or to the joiner's. Account, password and TLS
 * go to them in an option file that exists in memory only (descriptor CHILD_EXTRA_FD): nothing secret stands in an
 * argument or an environment.
 */
#ifndef XB_SST_SQL_CLIENT_H
#define XB_SST_SQL_CLIENT_H

#include "sst/child.h"
#include "sst/transfer.h"
#include "sst/words.h"

enum sql_server { SQL_DONOR, SQL_JOINER };

/* Runs a text of SQL; `out` gets what the client says, errors included. -> 0, the client's exit status, or negative
 * with *error */
int sql_run(struct transfer *transfer, enum sql_server server, const char *sql, char *out, size_t size,
            struct xb_error *error);
/* Starts the client that reads SQL from a pipe. *in: our end, -1 on failure. -> 0 or negative with *error */
int sql_start(struct transfer *transfer, enum sql_server server, struct child *child, int *in, struct xb_error *error);
/* Writes to a client's input, watched. -> 0 or negative with *error; -EPIPE: the client has ended */
int sql_feed(struct transfer *transfer, int fd, const char *data, size_t size, struct xb_error *error);
/* Starts mariadb-dump of the donor. *out: our end of its output. -> 0 or negative with *error */
int sql_start_dump(struct transfer *transfer, struct child *child, int *out, struct xb_error *error);

#endif
