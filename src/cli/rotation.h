/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A rotation under way: the sets of files that each phase puts on the nodes, and where it stands, on disk.
 *
 *     INVENTORY.rotation/state         to, id, done: the phases that all nodes have
 *     INVENTORY.rotation/phaseN/NODE/  what node gets in that phase
 *
 * Set 0 is what the inventory's certs say; 1 the same certificates with both CAs; 2 the new certificates with both CAs;
 * 3 the new certificates with the new CA (spec 08 section 8.10).
 */
#ifndef XB_CLI_ROTATION_H
#define XB_CLI_ROTATION_H

#include "cli/inventory.h"
#include "cli/place.h"

#include <stdbool.h>

#define ROTATION_PHASES 3

struct rotation {
    struct inventory *inventory;
    char *dir, *to;
    char id[32];
    int done;
};

/* -> is one under way? */
bool rotation_exists(const char *inventory_path);
/* Builds the sets and begins. -> 0, or a negative errno with *error and nothing left behind */
int rotation_begin(struct rotation *rotation, struct inventory *inventory, const char *inventory_path, const char *to,
                   struct xb_error *error);
int rotation_load(struct rotation *rotation, struct inventory *inventory, const char *inventory_path,
                  struct xb_error *error);
int rotation_save(const struct rotation *rotation, struct xb_error *error);
/* Removes the sets (they hold keys) and the state. */
void rotation_end(const struct rotation *rotation);

/* Directory of the node's files in the set, to be freed. */
char *rotation_set(const struct rotation *rotation, int set, const struct inventory_node *node);
/* To be freed in any case. */
int rotation_files(const struct rotation *rotation, int set, const struct inventory_node *node,
                   struct place_files *files, struct xb_error *error);
/* "rotate-ID-N", a name on the nodes */
void rotation_generation(const struct rotation *rotation, int phase, char name[64]);

#endif
