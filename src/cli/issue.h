/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes keys, certificates and DH parameters in memory (spec 08 sections 8.6, 8.8).
 *
 * What every certificate gets: version 3, a random serial number, key identifiers, a key usage that fits its key. Nodes
 * dial each other, so a server certificate is for serverAuth and clientAuth, a client's for clientAuth alone.
 */
#ifndef XB_CLI_ISSUE_H
#define XB_CLI_ISSUE_H

#include "base/error.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <time.h>

enum issue_kind { ISSUE_CA, ISSUE_SERVER, ISSUE_CLIENT };

struct issue_wish {
    enum issue_kind kind;
    const char *name;   /* common name */
    const char **hosts; /* names and addresses for subjectAltName; NULL-terminated or NULL */
    time_t from, until;
};

/* algorithm: rsa:2048 rsa:3072 rsa:4096 ec:p256 ec:p384 ed25519. -> key, or NULL with *error */
EVP_PKEY *issue_key(const char *algorithm, struct xb_error *error);

/* Signs with the issuer's certificate and key; both NULL: self-signed. -> certificate, or NULL with *error */
X509 *issue_certificate(const struct issue_wish *wish, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                        struct xb_error *error);

/* ffdhe2048 of RFC 7919 if bits is 0, or newly searched for, which takes up to minutes. -> parameters, NULL with *error
 */
EVP_PKEY *issue_dh(unsigned bits, struct xb_error *error);

/* OpenSSL's oldest queued reason, in words. */
const char *issue_reason(void);

#endif
