/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates for tests. */
#include "support/certs.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_S 86400L

static void must(bool is_ok, const char *what) {
    if (is_ok) return;
    fprintf(stderr, "test certificates: %s failed\n", what);
    ERR_print_errors_fp(stderr);
    exit(2);
}

void certs_init(struct certs *certs) {
    memset(certs, 0, sizeof(*certs));
    snprintf(certs->directory, sizeof(certs->directory), "/tmp/xebec-certs-XXXXXX");
    must(mkdtemp(certs->directory), "mkdtemp");
}

void certs_clean(struct certs *certs) {
    DIR *directory = opendir(certs->directory);
    must(directory, "opendir");
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(certs->directory);
    for (size_t i = 0; i < CERTS_PATHS_MAX; i++) free(certs->paths[i]);
}

const char *certs_path(struct certs *certs, const char *file) {
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", certs->directory, file);
    size_t i = 0;
    while (i < CERTS_PATHS_MAX && certs->paths[i] && strcmp(certs->paths[i], path) != 0) i++;
    must(i < CERTS_PATHS_MAX, "room for another path");
    if (!certs->paths[i]) certs->paths[i] = strdup(path);
    return certs->paths[i];
}

static FILE *open_file(struct certs *certs, const char *name, const char *suffix, const char *mode) {
    char file[128];
    snprintf(file, sizeof(file), "%s%s", name, suffix);
    FILE *f = fopen(certs_path(certs, file), mode);
    must(f, file);
    return f;
}

static X509 *read_certificate(struct certs *certs, const char *name) {
    FILE *f = open_file(certs, name, ".crt", "r");
    X509 *certificate = PEM_read_X509(f, NULL, NULL, NULL);
    must(certificate, "reading a certificate");
    fclose(f);
    return certificate;
}

static EVP_PKEY *read_key(struct certs *certs, const char *name) {
    FILE *f = open_file(certs, name, ".key", "r");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    must(key, "reading a key");
    fclose(f);
    return key;
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    must(extension && X509_add_ext(certificate, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

static void set_validity(X509 *certificate, const struct cert_wish *wish) {
    long from_s = -DAY_S, to_s = (wish->valid_days ? wish->valid_days : 365) * DAY_S;
    if (wish->is_expired) {
        from_s = -10 * DAY_S;
        to_s = -DAY_S;
    } else if (wish->is_future) {
        from_s = DAY_S;
    }
    X509_gmtime_adj(X509_getm_notBefore(certificate), from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), to_s);
}

static X509 *build_certificate(struct certs *certs, const char *name, const struct cert_wish *wish, EVP_PKEY *key) {
    X509 *certificate = X509_new();
    X509 *issuer = wish->issuer ? read_certificate(certs, wish->issuer) : NULL;
    EVP_PKEY *issuer_key = wish->issuer ? read_key(certs, wish->issuer) : NULL;
    must(certificate, "X509_new");
    X509_set_version(certificate, X509_VERSION_3);
    BIGNUM *serial = BN_new();
    must(serial && BN_rand(serial, 64, 0, 0) && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)),
         "serial number");
    BN_free(serial);
    set_validity(certificate, wish);
    X509_NAME *subject = X509_get_subject_name(certificate);
    const char *common_name = wish->common_name ? wish->common_name : name;
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject);
    X509_set_pubkey(certificate, key);
    add_extension(certificate, issuer ? issuer : certificate, NID_basic_constraints,
                  wish->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->is_ca) add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (wish->usage) add_extension(certificate, certificate, NID_ext_key_usage, wish->usage);
    if (wish->alternative) add_extension(certificate, certificate, NID_subject_alt_name, wish->alternative);
    must(X509_sign(certificate, issuer_key ? issuer_key : key, EVP_sha256()) > 0, "X509_sign");
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
    return certificate;
}

/* Appends the issuer's certificate and its issuers' unless self-signed: the chain without the root. */
static void write_intermediates(struct certs *certs, FILE *to, const char *issuer) {
    FILE *f = open_file(certs, issuer, ".crt", "r");
    for (X509 *next; (next = PEM_read_X509(f, NULL, NULL, NULL)); X509_free(next))
        if (X509_NAME_cmp(X509_get_subject_name(next), X509_get_issuer_name(next)) != 0)
            must(PEM_write_X509(to, next) == 1, "writing an intermediate");
    ERR_clear_error();
    fclose(f);
}

void certs_make(struct certs *certs, const char *name, const struct cert_wish *wish) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key, "EVP_EC_gen");
    X509 *certificate = build_certificate(certs, name, wish, key);
    FILE *f = open_file(certs, name, ".key", "w");
    must(PEM_write_PKCS8PrivateKey(f, key, wish->password ? EVP_aes_128_cbc() : NULL, wish->password,
                                   wish->password ? (int)strlen(wish->password) : 0, NULL, NULL) == 1,
         "writing a key");
    fclose(f);
    f = open_file(certs, name, ".crt", "w");
    must(PEM_write_X509(f, certificate) == 1, "writing a certificate");
    if (wish->issuer && !wish->is_leaf_only) write_intermediates(certs, f, wish->issuer);
    fclose(f);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void certs_write(struct certs *certs, const char *file, const char *text) {
    FILE *f = open_file(certs, file, "", "w");
    must(fputs(text, f) >= 0 && fclose(f) == 0, "writing a file");
}

void certs_join(struct certs *certs, const char *file, const char *sources) {
    FILE *to = open_file(certs, file, "", "w");
    char list[256], *state = NULL;
    snprintf(list, sizeof(list), "%s", sources);
    for (char *name = strtok_r(list, " ", &state); name; name = strtok_r(NULL, " ", &state)) {
        FILE *from = open_file(certs, name, "", "r");
        char part[4096];
        for (size_t n; (n = fread(part, 1, sizeof(part), from)) > 0;) must(fwrite(part, 1, n, to) == n, "joining");
        fclose(from);
    }
    must(fclose(to) == 0, "joining files");
}

void certs_revoke(struct certs *certs, const char *file, const char *issuer, const char *revoked) {
    X509 *issuer_certificate = read_certificate(certs, issuer);
    EVP_PKEY *key = read_key(certs, issuer);
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *next = X509_gmtime_adj(NULL, 30 * DAY_S);
    must(list && now && next, "X509_CRL_new");
    X509_CRL_set_version(list, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer_certificate));
    X509_CRL_set1_lastUpdate(list, now);
    X509_CRL_set1_nextUpdate(list, next);
    if (revoked) {
        X509 *certificate = read_certificate(certs, revoked);
        X509_REVOKED *entry = X509_REVOKED_new();
        must(entry && X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate)) == 1 &&
                 X509_REVOKED_set_revocationDate(entry, now) == 1 && X509_CRL_add0_revoked(list, entry) == 1,
             "revoking");
        X509_free(certificate);
    }
    must(X509_CRL_sort(list) == 1 && X509_CRL_sign(list, key, EVP_sha256()) > 0, "X509_CRL_sign");
    FILE *f = open_file(certs, file, "", "w");
    must(PEM_write_X509_CRL(f, list) == 1 && fclose(f) == 0, "writing a revocation list");
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    X509_CRL_free(list);
    EVP_PKEY_free(key);
    X509_free(issuer_certificate);
}
