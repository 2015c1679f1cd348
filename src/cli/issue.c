/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes keys, certificates and DH parameters. */
#include "cli/issue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

const char *issue_reason(void) {
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    return reason ? reason : "unknown reason";
}

EVP_PKEY *issue_key(const char *algorithm, struct xb_error *error) {
    static const struct {
        const char *name, *type, *curve;
        size_t bits;
    } known[] = {{"rsa:2048", "RSA", NULL, 2048}, {"rsa:3072", "RSA", NULL, 3072}, {"rsa:4096", "RSA", NULL, 4096},
                 {"ec:p256", "EC", "P-256", 0},   {"ec:p384", "EC", "P-384", 0},   {"ed25519", "ED25519", NULL, 0}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(known[i].name, algorithm)) continue;
        EVP_PKEY *key = known[i].bits    ? EVP_PKEY_Q_keygen(NULL, NULL, known[i].type, known[i].bits)
                        : known[i].curve ? EVP_PKEY_Q_keygen(NULL, NULL, known[i].type, known[i].curve)
                                         : EVP_PKEY_Q_keygen(NULL, NULL, known[i].type);
        if (!key) xb_fail(error, -EIO, "cannot make a key: %s", issue_reason());
        return key;
    }
    xb_fail(error, -EINVAL, "unknown algorithm '%s': use rsa:2048, rsa:3072, rsa:4096, ec:p256, ec:p384 or ed25519",
            algorithm);
    return NULL;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool is_added = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return is_added;
}

/* The names go in as values of their type, not through OpenSSL's text form, in which a comma would begin another. */
static bool add_hosts(X509 *cert, const char **hosts) {
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool is_good = names;
    for (; is_good && *hosts; hosts++) {
        unsigned char address[16];
        int size = inet_pton(AF_INET, *hosts, address) == 1 ? 4 : inet_pton(AF_INET6, *hosts, address) == 1 ? 16 : 0;
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_STRING *value = size ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
        is_good = name && value && ASN1_STRING_set(value, size ? (const void *)address : *hosts, size ? size : -1);
        if (is_good) GENERAL_NAME_set0_value(name, size ? GEN_IPADD : GEN_DNS, value);
        is_good = is_good && sk_GENERAL_NAME_push(names, name);
    }
    is_good = is_good && (sk_GENERAL_NAME_num(names) == 0 ||
                          X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1);
    GENERAL_NAMES_free(names);
    return is_good;
}

static bool add_extensions(X509 *cert, X509 *issuer, const struct issue_wish *wish, EVP_PKEY *key) {
    bool is_ca = wish->kind == ISSUE_CA, is_rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    /* keyEncipherment: TLS 1.2 with RSA key exchange, which some old client may want. */
    const char *usage = is_ca    ? "critical,keyCertSign,cRLSign"
                        : is_rsa ? "critical,digitalSignature,keyEncipherment"
                                 : "critical,digitalSignature";
    const char *extended = wish->kind == ISSUE_SERVER ? "serverAuth,clientAuth" : "clientAuth";
    return add_extension(cert, issuer, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
           add_extension(cert, issuer, NID_key_usage, usage) &&
           (is_ca || add_extension(cert, issuer, NID_ext_key_usage, extended)) &&
           add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
           add_extension(cert, issuer, NID_authority_key_identifier, is_ca ? "keyid" : "keyid:always") &&
           (!wish->hosts || add_hosts(cert, wish->hosts));
}

static bool set_serial(X509 *cert) {
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) return false;
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and always of full length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return is_set;
}

static const EVP_MD *digest_for(EVP_PKEY *key) {
    int type = EVP_PKEY_get_base_id(key);
    if (type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448) return NULL;
    return EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha256();
}

X509 *issue_certificate(const struct issue_wish *wish, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                        struct xb_error *error) {
    X509 *cert = X509_new();
    X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
    if (!issuer) issuer = cert, issuer_key = key;
    bool is_good =
        cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)wish->name, -1, -1, 0) &&
        X509_set_issuer_name(cert, X509_get_subject_name(issuer)) && X509_set_pubkey(cert, key) &&
        ASN1_TIME_set(X509_getm_notBefore(cert), wish->from) && ASN1_TIME_set(X509_getm_notAfter(cert), wish->until) &&
        add_extensions(cert, issuer, wish, key) && X509_sign(cert, issuer_key, digest_for(issuer_key));
    if (is_good) return cert;
    X509_free(cert);
    xb_fail(error, -EIO, "cannot make the certificate '%s': %s", wish->name, issue_reason());
    return NULL;
}

static EVP_PKEY *generate_dh(EVP_PKEY_CTX *ctx, unsigned bits) {
    EVP_PKEY *key = NULL;
    OSSL_PARAM fresh[] = {OSSL_PARAM_construct_uint(OSSL_PKEY_PARAM_FFC_PBITS, &bits),
                          OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_FFC_TYPE, "generator", 0), OSSL_PARAM_END};
    OSSL_PARAM named[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, "ffdhe2048", 0), OSSL_PARAM_END};
    if (EVP_PKEY_paramgen_init(ctx) == 1 && EVP_PKEY_CTX_set_params(ctx, bits ? fresh : named) == 1)
        EVP_PKEY_paramgen(ctx, &key);
    return key;
}

EVP_PKEY *issue_dh(unsigned bits, struct xb_error *error) {
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
    EVP_PKEY *key = ctx ? generate_dh(ctx, bits) : NULL;
    EVP_PKEY_CTX_free(ctx);
    if (!key) xb_fail(error, -EIO, "cannot make DH parameters: %s", issue_reason());
    return key;
}
