/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certificates for tests, made at run time in a temporary directory: CAs, leaves, intermediates, expired ones, ...
 * Everything ends the process with a message if it fails. Link tests/support/certs.c and openssl_dep.
 *
 *     struct certs certs;
 *     certs_init(&certs);
 *     certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
 *     certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
 *     ... certs_path(&certs, "ca.crt"), "node.crt" (leaf, then intermediates), "node.key" ...
 *     certs_clean(&certs);
 */
#ifndef XB_TESTS_SUPPORT_CERTS_H
#define XB_TESTS_SUPPORT_CERTS_H

#include <stdbool.h>

#define CERTS_PATHS_MAX 128

struct certs {
    char directory[64];
    char *paths[CERTS_PATHS_MAX]; /* what certs_path gave out */
};

struct cert_wish {
    const char *issuer; /* name of an earlier one; NULL: self-signed */
    bool is_ca;
    bool is_expired, is_future;
    bool is_leaf_only;       /* NAME.crt without the intermediates */
    const char *usage;       /* extended key usage "clientAuth,serverAuth"; NULL: none */
    const char *alternative; /* subject alternative name "DNS:x,IP:127.0.0.1"; NULL: none */
    const char *common_name; /* NULL: NAME */
    const char *password;    /* of the key file; NULL: not encrypted */
    int valid_days;          /* 0: 365 */
};

void certs_init(struct certs *certs);
void certs_clean(struct certs *certs); /* removes the directory */

/* Writes NAME.key and NAME.crt; the subject is "CN=NAME". Making a name again replaces it. */
void certs_make(struct certs *certs, const char *name, const struct cert_wish *wish);
/* Writes a text file, e.g. a password file. */
void certs_write(struct certs *certs, const char *file, const char *text);
/* Copies files of the directory one behind the other, e.g. a bundle of two CAs. sources: space separated. */
void certs_join(struct certs *certs, const char *file, const char *sources);
/* Writes a revocation list of the issuer that revokes the certificate `revoked` (NULL: nothing). */
void certs_revoke(struct certs *certs, const char *file, const char *issuer, const char *revoked);
/* Path of a file in the directory; valid until certs_clean. */
const char *certs_path(struct certs *certs, const char *file);

#endif
