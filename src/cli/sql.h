/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SQL on a node: through its socket when the inventory has one, else by TCP with TLS and a verified certificate. */
#ifndef XB_CLI_SQL_H
#define XB_CLI_SQL_H

#include "cli/inventory.h"

#include <stdbool.h>

struct sql;

enum sql_way {
    SQL_SAFE,   /* socket, else TCP with TLS, verified */
    SQL_PINNED, /* the same, but the server must show exactly its certificate in the inventory, which may have expired;
                   no client certificate is shown, since a server refuses an expired one */
    SQL_AS_OTHERS /* TCP as any client would: TLS if the server offers it */
};

/* -> a connection, or NULL with *error */
struct sql *sql_open(const struct inventory *inventory, const struct inventory_node *node, enum sql_way way,
                     struct xb_error *error);
void sql_close(struct sql *sql); /* NULL is allowed */

/* Runs a statement; row (may be NULL) gets each row of the result. -> 0, or -EIO with *error */
int sql_run(struct sql *sql, const char *statement, void (*row)(void *ctx, unsigned columns, char **values), void *ctx,
            struct xb_error *error);

#endif
