/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The my.cnf fragment of a node: everything that encrypts, for server, group, snapshots and clients. */
#ifndef XB_CLI_FRAGMENT_H
#define XB_CLI_FRAGMENT_H

#include "cli/inventory.h"

/* -> the text, to be freed */
char *fragment_text(const struct inventory *inventory, const struct inventory_node *node);

#endif
