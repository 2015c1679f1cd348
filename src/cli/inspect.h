/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules themselves: what is wrong with certificates, keys, DH parameters and files (spec 08 sections 8.3-8.8). */
#ifndef XB_CLI_INSPECT_H
#define XB_CLI_INSPECT_H

#include "cli/finding.h"
#include "cli/inventory.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <time.h>

enum inspect_role { INSPECT_CA, INSPECT_SERVER, INSPECT_CLIENT };

/* One certificate by itself: validity, strength, usage, names. host may be NULL. */
void inspect_certificate(struct findings *findings, const char *where, X509 *cert, enum inspect_role role,
                         const char *host, time_t now);
/* The first of certs against the CAs, the rest of certs being intermediates. Dates are not looked at here. */
void inspect_chain(struct findings *findings, const char *where, STACK_OF(X509) * certs, STACK_OF(X509) * cas);
/* The files of a node: a set that would not work must not begin to travel. consequence: added to the text, or "".
 * -> 0, or a negative errno with the first finding that is an error in *error */
int inspect_set(const char *dir, const char *consequence, struct xb_error *error);
/* The same for the node's directory of the inventory. */
int inspect_node(const struct inventory *inventory, const struct inventory_node *node, const char *consequence,
                 struct xb_error *error);
void inspect_dh(struct findings *findings, const char *where, EVP_PKEY *dh);
/* Mode of a file that holds a key, of its directory, and its owner (user NULL: not checked). */
void inspect_key_file(struct findings *findings, const char *path, const char *user);

/* Whole days until it ends, negative when it has ended. */
int inspect_days_left(const X509 *cert, time_t now);
bool inspect_is_ca(X509 *cert);
/* "CN=x, O=y"; to be freed */
char *inspect_name(const X509_NAME *name);

#endif
