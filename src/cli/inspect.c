/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is wrong with certificates, keys, DH parameters and files. */
#include "cli/inspect.h"
#include "cli/identity.h"
#include "cli/files.h"
#include "cli/pem.h"

#include <errno.h>
#include <libgen.h>
#include <openssl/bn.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SOON_DAYS 30
#define DH_REFUSED_BITS 1024
#define DH_SMALL_BITS 2048

int inspect_days_left(const X509 *cert, time_t now) {
    int days = 0, seconds = 0;
    ASN1_TIME *then = ASN1_TIME_set(NULL, now);
    if (!then || !ASN1_TIME_diff(&days, &seconds, then, X509_get0_notAfter(cert))) days = -1;
    ASN1_TIME_free(then);
    return days == 0 && seconds < 0 ? -1 : days;
}

bool inspect_is_ca(X509 *cert) {
    return X509_check_ca(cert) > 0;
}

char *inspect_name(const X509_NAME *name) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;
    if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ & ~ASN1_STRFLGS_ESC_MSB) < 0)
        abort();
    long size = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)size);
    BIO_free(bio);
    return text;
}

static char *date_text(const ASN1_TIME *time) {
    static char text[32];
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm))
        return (char *)"an unreadable date";
    return text;
}

static void inspect_validity(struct findings *findings, const char *where, const X509 *cert, const char *name,
                             time_t now) {
    int left = inspect_days_left(cert, now);
    if (ASN1_TIME_cmp_time_t(X509_get0_notBefore(cert), now) > 0)
        findings_add(findings, RULE_NOT_YET_VALID, where, "%s is valid only from %s", name,
                     date_text(X509_get0_notBefore(cert)));
    if (left < 0)
        findings_add(findings, RULE_EXPIRED, where, "%s has expired on %s", name, date_text(X509_get0_notAfter(cert)));
    else if (left < SOON_DAYS)
        findings_add(findings, RULE_EXPIRES_SOON, where, "%s ends in %d day%s, on %s", name, left, left == 1 ? "" : "s",
                     date_text(X509_get0_notAfter(cert)));
}

static void inspect_strength(struct findings *findings, const char *where, X509 *cert, const char *name) {
    EVP_PKEY *key = X509_get0_pubkey(cert);
    int bits = key ? EVP_PKEY_get_security_bits(key) : 0, digest = NID_undef, signature_bits = 0;
    if (bits < 112)
        findings_add(findings, RULE_WEAK_KEY, where, "%s has a key of %d bits", name, key ? EVP_PKEY_get_bits(key) : 0);
    bool is_self_signed = X509_NAME_cmp(X509_get_subject_name(cert), X509_get_issuer_name(cert)) == 0;
    if (is_self_signed) return; /* nobody verifies the signature of what is trusted by itself */
    if (X509_get_signature_info(cert, &digest, NULL, &signature_bits, NULL) == 1 && signature_bits < 112 &&
        digest != NID_undef)
        findings_add(findings, RULE_WEAK_SIGNATURE, where, "%s is signed with %s", name, OBJ_nid2ln(digest));
}

static void inspect_leaf_usage(struct findings *findings, const char *where, X509 *cert, enum inspect_role role,
                               const char *name) {
    uint32_t extended = X509_get_extended_key_usage(cert), usage = X509_get_key_usage(cert);
    bool is_limited = X509_get_extension_flags(cert) & EXFLAG_XKUSAGE;
    bool serves = !is_limited || extended & XKU_SSL_SERVER, dials = !is_limited || extended & XKU_SSL_CLIENT;
    if (role == INSPECT_SERVER && !(serves && dials))
        findings_add(findings, RULE_PURPOSE, where, "the extended key usage of %s lacks %s%s%s", name,
                     serves ? "" : "serverAuth", serves || dials ? "" : " and ", dials ? "" : "clientAuth");
    if (role == INSPECT_CLIENT && !dials)
        findings_add(findings, RULE_CLIENT_PURPOSE, where, "the extended key usage of %s lacks clientAuth", name);
    if (X509_get_extension_flags(cert) & EXFLAG_KUSAGE && !(usage & KU_DIGITAL_SIGNATURE))
        findings_add(findings, RULE_KEY_USAGE, where, "the key usage of %s lacks digitalSignature", name);
    if (inspect_is_ca(cert) && X509_get_extension_flags(cert) & EXFLAG_BCONS &&
        X509_get_extension_flags(cert) & EXFLAG_CA)
        findings_add(findings, RULE_LEAF_IS_CA, where, "%s is itself a CA certificate", name);
}

static bool has_host(X509 *cert, const char *host) {
    return X509_check_ip_asc(cert, host, 0) == 1 || X509_check_host(cert, host, 0, 0, NULL) == 1;
}

static void inspect_hosts(struct findings *findings, const char *where, X509 *cert, const char *host,
                          const char *name) {
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (!names) findings_add(findings, RULE_NO_HOSTS, where, "%s names no host or address", name);
    GENERAL_NAMES_free(names);
    if (host && !has_host(cert, host)) findings_add(findings, RULE_WRONG_HOST, where, "%s is not for %s", name, host);
    char common[256] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, common, sizeof(common));
    bool is_plain = true;
    for (const char *c = common; *c; c++)
        is_plain = is_plain && *c > ' ' && *c < 0x7f && !strchr("*'\"\\$`;|&<>()", *c);
    if (!is_plain)
        findings_add(findings, RULE_NAME_UNFIT_FOR_SST, where, "the common name '%s' has blanks or special characters",
                     common);
}

void inspect_certificate(struct findings *findings, const char *where, X509 *cert, enum inspect_role role,
                         const char *host, time_t now) {
    char *name = inspect_name(X509_get_subject_name(cert));
    inspect_validity(findings, where, cert, name, now);
    inspect_strength(findings, where, cert, name);
    if (role == INSPECT_CA && !inspect_is_ca(cert))
        findings_add(findings, RULE_NO_CA, where, "%s is no CA certificate (basicConstraints, keyUsage keyCertSign)",
                     name);
    if (role != INSPECT_CA) inspect_leaf_usage(findings, where, cert, role, name);
    if (role == INSPECT_SERVER) inspect_hosts(findings, where, cert, host, name);
    free(name);
}

/* -> the CA of the same whole name, or (is_common_only) of the same common name */
static X509 *namesake(X509 *leaf, STACK_OF(X509) * cas, bool is_common_only) {
    char mine[256], theirs[256];
    for (int i = 0; i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        X509_NAME *a = X509_get_subject_name(leaf), *b = X509_get_subject_name(ca);
        if (X509_cmp(leaf, ca) == 0) continue; /* a self-signed certificate that all nodes share */
        if (!is_common_only && X509_NAME_cmp(a, b) == 0) return ca;
        if (is_common_only && X509_NAME_get_text_by_NID(a, NID_commonName, mine, sizeof(mine)) > 0 &&
            X509_NAME_get_text_by_NID(b, NID_commonName, theirs, sizeof(theirs)) > 0 && !strcmp(mine, theirs))
            return ca;
    }
    return NULL;
}

static int verify(X509 *leaf, STACK_OF(X509) * untrusted, STACK_OF(X509) * cas) {
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!store || !ctx) abort();
    for (int i = 0; i < sk_X509_num(cas); i++) X509_STORE_add_cert(store, sk_X509_value(cas, i));
    X509_STORE_CTX_init(ctx, store, leaf, untrusted);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME); /* expiry has rules of its own */
    X509_VERIFY_PARAM_set_auth_level(param, 0);                    /* strength too */
    int result = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return result;
}

void inspect_chain(struct findings *findings, const char *where, STACK_OF(X509) * certs, STACK_OF(X509) * cas) {
    X509 *leaf = sk_X509_value(certs, 0);
    char *name = inspect_name(X509_get_subject_name(leaf)), *issuer = inspect_name(X509_get_issuer_name(leaf));
    int result = verify(leaf, certs, cas);
    if (namesake(leaf, cas, false))
        findings_add(findings, RULE_SAME_NAME, where, "the subject %s is the CA's", name);
    else if (result != X509_V_OK)
        findings_add(findings, RULE_CHAIN, where, "%s, signed by %s, does not verify by the CA file: %s", name, issuer,
                     X509_verify_cert_error_string(result));
    else if (namesake(leaf, cas, true))
        findings_add(findings, RULE_SAME_COMMON_NAME, where, "the common name of %s is the CA's", name);
    free(name);
    free(issuer);
}

int inspect_set(const char *dir, const char *consequence, struct xb_error *error) {
    struct findings findings = {.dir = dir};
    struct identity id;
    int result = identity_load(&id, dir, error);
    X509 *leaf = identity_leaf(&id);
    if (result == 0 && (!leaf || !id.key.key || X509_check_private_key(leaf, id.key.key) != 1))
        result = xb_fail(error, -EINVAL, "%s: server-key.pem does not belong to server-cert.pem", dir);
    if (result == 0) {
        inspect_certificate(&findings, dir, leaf, INSPECT_SERVER, NULL, time(NULL));
        inspect_chain(&findings, dir, id.cert.certs, id.ca.certs);
    }
    const struct finding *first = findings_first(&findings, FINDING_ERROR);
    if (first)
        result =
            xb_fail(error, -EINVAL, "%s: %s%s. `xebec cert check %s` tells more", dir, first->text, consequence, dir);
    identity_free(&id);
    return result;
}

int inspect_node(const struct inventory *inventory, const struct inventory_node *node, const char *consequence,
                 struct xb_error *error) {
    char *dir = inventory_certs_of(inventory, node);
    int result = inspect_set(dir, consequence, error);
    free(dir);
    return result;
}

void inspect_dh(struct findings *findings, const char *where, EVP_PKEY *dh) {
    int bits = EVP_PKEY_get_bits(dh);
    if (bits < DH_REFUSED_BITS)
        findings_add(findings, RULE_DH_REFUSED, where, "DH parameters of %d bits", bits);
    else if (bits < DH_SMALL_BITS)
        findings_add(findings, RULE_DH_SMALL, where, "DH parameters of %d bits", bits);
}

static void inspect_owner(struct findings *findings, const char *path, const struct stat *status, const char *user) {
    struct passwd *wanted = getpwnam(user);
    if (!wanted)
        findings_add(findings, RULE_KEY_OWNER, path, "there is no user '%s' here", user);
    else if (status->st_uid != wanted->pw_uid)
        findings_add(findings, RULE_KEY_OWNER, path, "belongs to user %u, not to '%s'", (unsigned)status->st_uid, user);
}

void inspect_key_file(struct findings *findings, const char *path, const char *user) {
    struct stat status;
    if (stat(path, &status) != 0) return;
    if (status.st_mode & 077)
        findings_add(findings, RULE_KEY_OPEN, path, "mode %03o lets others at the key", status.st_mode & 0777);
    if (user) inspect_owner(findings, path, &status, user);
    char *copy = strdup(path), *dir = dirname(copy);
    if (stat(dir, &status) == 0 && status.st_mode & 022 && !(status.st_mode & S_ISVTX))
        findings_add(findings, RULE_DIRECTORY_OPEN, dir, "mode %03o", status.st_mode & 0777);
    free(copy);
}
