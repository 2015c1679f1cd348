/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files on a node, put there as a whole or not at all; on this machine or through the system's ssh.
 *
 * CERTS_DIR on the node is a symbolic link to CERTS_DIR.d/GENERATION. A new generation is filled beside the old one and
 * becomes valid by one rename of the link; going back is the same. The fragment is replaced by a rename too, and its
 * former text kept in the generation. A real directory that is in the way becomes CERTS_DIR.d/before-xebec.
 */
#ifndef XB_CLI_PLACE_H
#define XB_CLI_PLACE_H

#include "cli/inventory.h"

#include <stddef.h>

#define PLACE_FILES_MAX 8 /* certificates, keys, DH parameters, and a fragment */

struct place_files {
    struct place_file {
        const char *name; /* in the generation; a constant */
        char *data;
        size_t size;
    } list[PLACE_FILES_MAX];
    size_t count;
};

/* Those of a node's files that a directory here has. -> 0, or a negative errno with *error. To be freed in any case. */
int place_read(struct place_files *files, const char *dir, struct xb_error *error);
/* The same for the node's directory of the inventory. */
int place_read_node(struct place_files *files, const struct inventory *inventory, const struct inventory_node *node,
                    struct xb_error *error);
/* One more, whose text is taken over. */
void place_add(struct place_files *files, const char *name, char *text, size_t size);
void place_free(struct place_files *files);

/* Can it be done there? Says what is there now, one "name sha256" a line, in *now (to be freed). Changes nothing. */
int place_look(const struct inventory *inventory, const struct inventory_node *node, char **now,
               struct xb_error *error);
/* Fills a generation; nothing sees it yet. */
int place_stage(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                const struct place_files *files, struct xb_error *error);
/* Makes it valid. A file "fragment.cnf" of the generation becomes the fragment. */
int place_activate(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                   struct xb_error *error);
/* Back to what was valid before this generation, which is removed; harmless if it was never staged or activated. */
int place_undo(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
               struct xb_error *error);

/* Runs the node's restart command. */
int place_restart(const struct inventory *inventory, const struct inventory_node *node, struct xb_error *error);

#endif
