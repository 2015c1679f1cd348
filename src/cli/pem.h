/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PEM files: certificates, keys, DH parameters, to and from files. */
#ifndef XB_CLI_PEM_H
#define XB_CLI_PEM_H

#include "base/error.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

#define PEM_PASSWORD_MAX 1024

/* What a PEM file holds. Fields are NULL or empty when it holds none of the kind. */
struct pem_file {
    STACK_OF(X509) * certs; /* in the file's order; never NULL after pem_load */
    EVP_PKEY *key;
    EVP_PKEY *dh;
    bool is_key_encrypted;
};

/* password: of the key; NULL: an encrypted key is an error. -> 0, or a negative errno with *error; -ENOKEY: password
 * missing or wrong, the rest of *file is filled then. Trailing garbage and cut blocks are errors. */
int pem_load(struct pem_file *file, const char *path, const char *password, struct xb_error *error);
/* The file `name` in `dir`. */
int pem_load_in(struct pem_file *file, const char *dir, const char *name, const char *password, struct xb_error *error);
void pem_free(struct pem_file *file);

/* password NULL: not encrypted. Mode 0600 for keys, 0644 for the others. */
int pem_write_key(const char *path, EVP_PKEY *key, const char *password, bool is_new, struct xb_error *error);
int pem_write_certs(const char *path, STACK_OF(X509) * certs, bool is_new, struct xb_error *error);
int pem_write_dh(const char *path, EVP_PKEY *dh, bool is_new, struct xb_error *error);

/* First line of the file. -> to be freed, or NULL with *error */
char *pem_read_password(const char *path, struct xb_error *error);

#endif
