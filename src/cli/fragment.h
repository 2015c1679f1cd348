/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The my.cnf fragment of a node: everything that encrypts, for server, group, snapshots and clients.
 *
 * A plaintext cluster gets there in steps that its nodes can take one by one (spec 02 section 17): OPEN speaks TLS with
 * whoever can and plain text with the others, and leaves snapshots plain, since donor and joiner must agree about them;
 * OPEN_BUT_SNAPSHOTS is the same with encrypted snapshots; CLOSED is what all nodes have in the end.
 */
#ifndef XB_CLI_FRAGMENT_H
#define XB_CLI_FRAGMENT_H

#include "cli/inventory.h"
#include "cli/place.h"

enum fragment_stage { FRAGMENT_OPEN, FRAGMENT_OPEN_BUT_SNAPSHOTS, FRAGMENT_CLOSED };

/* -> the text, to be freed */
char *fragment_text(const struct inventory *inventory, const struct inventory_node *node, enum fragment_stage stage);
/* Puts it with the files for the node. */
void fragment_add(struct place_files *files, const struct inventory *inventory, const struct inventory_node *node,
                  enum fragment_stage stage);

#endif
