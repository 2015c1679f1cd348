/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checks certificates: the peer's during the handshake, the own one ahead of time.
 *
 * The peer's chain may be completed by the intermediates of the own certificate file, so that peers which send only
 * their leaf are accepted; trust still ends at the own CA file alone.
 */
#include "tls/internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S ((int64_t)86400)
#define EXPIRY_WARNING_DAYS 30
#define PEER_NAME_MAX 256

void tls_format_subject(const X509 *certificate, char text[TLS_SUBJECT_SIZE]) {
    text[0] = '\0';
    BIO *bio = certificate ? BIO_new(BIO_s_mem()) : NULL;
    if (!bio) return;
    /* RFC 2253 escapes control characters: the text is a stranger's and goes to the log. */
    X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    int n = BIO_read(bio, text, TLS_SUBJECT_SIZE - 1);
    text[n > 0 ? n : 0] = '\0';
    BIO_free(bio);
}

/* The text between two commas, without the blanks around. -> what is left of the list, NULL at its end */
static const char *next_item(const char *list, char item[PEER_NAME_MAX]) {
    list += strspn(list, ", \t");
    if (!*list) return NULL;
    size_t size = strcspn(list, ","), used = size;
    while (used > 0 && strchr(" \t", list[used - 1])) used--;
    snprintf(item, PEER_NAME_MAX, "%.*s", (int)used, list);
    return list + size;
}

static bool has_address(X509 *leaf, const char *address) {
    char bare[PEER_NAME_MAX];
    size_t size = strlen(address);
    bool is_bracketed = size > 2 && address[0] == '[' && address[size - 1] == ']';
    snprintf(bare, sizeof(bare), "%.*s", (int)(is_bracketed ? size - 2 : size), address + is_bracketed);
    return X509_check_ip_asc(leaf, bare, 0) == 1;
}

static bool is_name_allowed(const char *names, X509 *leaf, const char *host) {
    char name[PEER_NAME_MAX];
    while ((names = next_item(names, name))) {
        if (!strcmp(name, TLS_PEER_ADDRESS) ? has_address(leaf, host) : has_address(leaf, name)) return true;
        if (X509_check_host(leaf, name, 0, X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT, NULL) == 1) return true;
    }
    return false;
}

void tls_format_fingerprint(const X509 *certificate, char text[TLS_FINGERPRINT_SIZE]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    text[0] = '\0';
    if (X509_digest(certificate, EVP_sha256(), digest, &n) != 1) return;
    for (unsigned i = 0; i < n && 3 * (size_t)i + 3 <= TLS_FINGERPRINT_SIZE; i++)
        snprintf(text + 3 * i, TLS_FINGERPRINT_SIZE - 3 * i, i + 1 < n ? "%02X:" : "%02X", digest[i]);
}

/* Equal but for colons and case? */
static bool is_same_fingerprint(const char *a, const char *b) {
    for (;;) {
        a += strspn(a, ":");
        b += strspn(b, ":");
        if (toupper((unsigned char)*a) != toupper((unsigned char)*b)) return false;
        if (!*a) return true;
        a++;
        b++;
    }
}

static bool is_peer_allowed(const char *list, X509 *leaf) {
    char item[PEER_NAME_MAX], name[PEER_NAME_MAX], fingerprint[TLS_FINGERPRINT_SIZE];
    tls_format_fingerprint(leaf, fingerprint);
    if (X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, name, sizeof(name)) < 0) name[0] = '\0';
    while ((list = next_item(list, item)))
        if (!strcmp(item, name) || is_same_fingerprint(item, fingerprint) ||
            (item[0] != '.' && X509_check_host(leaf, item, 0, X509_CHECK_FLAG_NO_WILDCARDS, NULL) == 1))
            return true;
    return false;
}

static bool verify_chain(X509_STORE_CTX *store, const STACK_OF(X509) * own_chain) {
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    STACK_OF(X509) *pool = sent ? sk_X509_dup(sent) : sk_X509_new_null();
    if (!pool) return false;
    for (int i = 0; i < sk_X509_num(own_chain); i++) sk_X509_push(pool, sk_X509_value(own_chain, i));
    X509_STORE_CTX_set0_untrusted(store, pool);
    int ok = X509_verify_cert(store);
    X509_STORE_CTX_set0_untrusted(store, sent);
    sk_X509_free(pool);
    return ok == 1;
}

/* Not a client's alone; without that extension all bits are set. OpenSSL has looked for the peer's present role only.
 */
static bool is_servers(X509 *leaf) {
    return X509_get_extended_key_usage(leaf) & XKU_SSL_SERVER;
}

/* The chain first, then our own rules. The result is the store's error. */
static bool is_accepted(X509_STORE_CTX *store, const struct tls_context *context, const char *host) {
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    STACK_OF(X509) *own_chain = NULL;
    SSL_CTX_get0_chain_certs(context->ssl_ctx, &own_chain);
    if (!verify_chain(store, own_chain)) return false;
    int fault = X509_V_OK;
    if (!context->is_any_purpose && !is_servers(leaf)) fault = X509_V_ERR_INVALID_PURPOSE;
    if (context->allowed_peers && !is_peer_allowed(context->allowed_peers, leaf)) fault = X509_V_ERR_CERT_REJECTED;
    if (context->peer_names && !is_name_allowed(context->peer_names, leaf, host)) fault = X509_V_ERR_HOSTNAME_MISMATCH;
    if (fault == X509_V_OK) return true;
    X509_STORE_CTX_set_error(store, fault);
    X509_STORE_CTX_set_error_depth(store, 0);
    return false;
}

int tls_verify_peer(X509_STORE_CTX *store, void *arg) {
    const struct tls_context *context = arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *session = SSL_get_app_data(ssl);
    tls_format_subject(X509_STORE_CTX_get0_cert(store), session->peer_subject);
    bool is_ok = is_accepted(store, context, session->host);
    session->verify_result = X509_STORE_CTX_get_error(store);
    if (!is_ok && session->verify_result == X509_V_OK) session->verify_result = X509_V_ERR_UNSPECIFIED; /* no memory */
    X509 *current = X509_STORE_CTX_get_current_cert(store);
    if (!is_ok && current && X509_STORE_CTX_get_error_depth(store) > 0)
        tls_format_subject(current, session->bad_subject);
    return is_ok;
}

static int fail_verification(X509_STORE_CTX *store, const char *whose, const char *subject, int code,
                             struct xb_error *error) {
    int result = X509_STORE_CTX_get_error(store);
    const char *advice = tls_verify_advice(result);
    return xb_fail(error, code, "%s certificate '%s': %s%s%s", whose, subject, X509_verify_cert_error_string(result),
                   advice ? "; " : "", advice ? advice : "");
}

int tls_session_recheck(const struct tls_session *session, const struct tls_context *context, struct xb_error *error) {
    X509 *leaf = SSL_get0_peer_certificate(session->ssl);
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    int rc = -EACCES;
    if (!leaf || !store ||
        X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(context->ssl_ctx), leaf,
                            SSL_get_peer_cert_chain(session->ssl)) != 1)
        xb_fail(error, rc, "the peer's certificate cannot be verified: no memory, or none");
    else if (is_accepted(store, context, session->host))
        rc = 0;
    else
        fail_verification(store, "peer", session->peer_subject, rc, error);
    X509_STORE_CTX_free(store);
    ERR_clear_error();
    return rc;
}

static int64_t time_s(const ASN1_TIME *time) {
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : -1;
}

static int64_t not_after_s(const X509 *certificate) {
    return certificate ? time_s(X509_get0_notAfter(certificate)) : -1;
}

int64_t tls_context_not_after(const struct tls_context *context) {
    return not_after_s(SSL_CTX_get0_certificate(context->ssl_ctx));
}

static void warn_expiry(const char *what, const char *subject, int64_t left_s, const char *mend,
                        void (*warn)(void *, const char *), void *ctx) {
    char line[512], when[64];
    if (left_s >= EXPIRY_WARNING_DAYS * DAY_S) return;
    if (left_s < 0)
        snprintf(when, sizeof(when), "has expired");
    else if (left_s < DAY_S)
        snprintf(when, sizeof(when), "expires in %" PRId64 " hours", left_s / 3600);
    else
        snprintf(when, sizeof(when), "expires in %" PRId64 " days", left_s / DAY_S);
    snprintf(line, sizeof(line), "%s '%s' %s: %s", what, subject, when, mend);
    warn(ctx, line);
}

/* The own certificate and the trusted or sent ones above it. */
static void check_expiry(const struct tls_context *context, X509 *own, int64_t calendar_s,
                         void (*warn)(void *, const char *), void *ctx) {
    char subject[TLS_SUBJECT_SIZE];
    STACK_OF(X509) *above = NULL;
    tls_format_subject(own, subject);
    warn_expiry("own certificate", subject, not_after_s(own) - calendar_s,
                "peers refuse an expired one; renew it and set socket.ssl_reload=1", warn, ctx);
    SSL_CTX_get0_chain_certs(context->ssl_ctx, &above);
    for (int i = 0; i < sk_X509_num(above); i++) {
        tls_format_subject(sk_X509_value(above, i), subject);
        warn_expiry("intermediate certificate", subject, not_after_s(sk_X509_value(above, i)) - calendar_s,
                    "renew it and all certificates that it signed", warn, ctx);
    }
    const STACK_OF(X509_OBJECT) *trusted = X509_STORE_get0_objects(SSL_CTX_get_cert_store(context->ssl_ctx));
    for (int i = 0; i < sk_X509_OBJECT_num(trusted); i++) {
        const X509_OBJECT *object = sk_X509_OBJECT_value(trusted, i);
        const X509 *ca = X509_OBJECT_get0_X509(object);
        const X509_CRL *list = X509_OBJECT_get0_X509_CRL((X509_OBJECT *)(uintptr_t)object);
        if (ca && X509_cmp(ca, own)) {
            tls_format_subject(ca, subject);
            warn_expiry("CA certificate", subject, not_after_s(ca) - calendar_s,
                        "all that it signed is refused then; renew the CA", warn, ctx);
        } else if (list && X509_CRL_get0_nextUpdate(list)) {
            warn_expiry("revocation list of", "socket.ssl_crl", time_s(X509_CRL_get0_nextUpdate(list)) - calendar_s,
                        "all peers are refused then; issue a new list and set socket.ssl_reload=1", warn, ctx);
        }
    }
}

/* Peers sign nothing in the own name: a subject equal to the issuer's makes them look for a self-signed certificate. */
static bool has_name_of_issuer(X509 *own) {
    return X509_NAME_cmp(X509_get_subject_name(own), X509_get_issuer_name(own)) == 0 &&
           X509_verify(own, X509_get0_pubkey(own)) != 1;
}

int tls_context_fault(const struct tls_context *context, struct xb_error *error) {
    X509 *own = SSL_CTX_get0_certificate(context->ssl_ctx);
    STACK_OF(X509) *chain = NULL;
    char subject[TLS_SUBJECT_SIZE];
    uint32_t usage = X509_get_extended_key_usage(own);
    int rc = 0;
    tls_format_subject(own, subject);
    SSL_CTX_get0_chain_certs(context->ssl_ctx, &chain);
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    if (!store || X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(context->ssl_ctx), own, chain) != 1)
        rc = xb_fail(error, -ENOMEM, "no memory to verify the own certificate");
    else if (has_name_of_issuer(own))
        rc = xb_fail(error, -EINVAL,
                     "own certificate '%s' has the name of its CA, which makes it look self-signed: "
                     "issue one with another common name",
                     subject);
    else if (X509_verify_cert(store) != 1)
        rc = fail_verification(store, "own", subject, -EINVAL, error);
    else if (!(usage & XKU_SSL_CLIENT) || !(usage & XKU_SSL_SERVER))
        rc = xb_fail(error, -EINVAL,
                     "own certificate '%s' lacks %s in its extended key usage: peers refuse it; a node "
                     "certificate needs clientAuth and serverAuth, or no extended key usage at all",
                     subject, usage & XKU_SSL_CLIENT ? "serverAuth" : "clientAuth");
    X509_STORE_CTX_free(store);
    ERR_clear_error();
    return rc;
}

void tls_context_check(const struct tls_context *context, int64_t calendar_s, void (*warn)(void *, const char *),
                       void *ctx) {
    struct xb_error error;
    check_expiry(context, SSL_CTX_get0_certificate(context->ssl_ctx), calendar_s, warn, ctx);
    if (tls_context_fault(context, &error)) warn(ctx, error.text);
}
