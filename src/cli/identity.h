/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's files of one set (ca.pem, server-cert.pem, server-key.pem), and a knock at a group port with them, as the
 * node would. */
#ifndef XB_CLI_IDENTITY_H
#define XB_CLI_IDENTITY_H

#include "cli/inventory.h"
#include "cli/pem.h"
#include "cli/probe.h"

struct identity {
    struct pem_file ca, cert, key;
};

/* -> 0, or a negative errno with *error. To be freed in any case. */
int identity_load(struct identity *identity, const char *dir, struct xb_error *error);
void identity_free(struct identity *identity);

X509 *identity_leaf(const struct identity *identity);

/* Dials the node's group port and waits for its word. is_tls_expected: begin TLS at once; else listen first whether it
 * speaks plain text. Always fills *probe, to be freed. */
void identity_knock(const struct identity *identity, const struct inventory_node *node, bool is_tls_expected,
                    struct probe *probe);

#endif
