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

static bool is_name_allowed(const char *names, X509 *leaf) {
    while (*names) {
        names += strspn(names, ", ");
        size_t size = strcspn(names, ", ");
        char name[PEER_NAME_MAX];
        if (size > 0 && size < sizeof(name)) {
            memcpy(name, names, size);
            name[size] = '\0';
            if (X509_check_host(leaf, name, size, 0, NULL) == 1 || X509_check_ip_asc(leaf, name, 0) == 1) return true;
        }
        names += size;
    }
    return false;
}

static int verify_chain(X509_STORE_CTX *store, const STACK_OF(X509) *own_chain) {
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    STACK_OF(X509) *pool = sent ? sk_X509_dup(sent) : sk_X509_new_null();
    if (!pool) return 0;
    for (int i = 0; i < sk_X509_num(own_chain); i++) sk_X509_push(pool, sk_X509_value(own_chain, i));
    X509_STORE_CTX_set0_untrusted(store, pool);
    int ok = X509_verify_cert(store);
    X509_STORE_CTX_set0_untrusted(store, sent);
    sk_X509_free(pool);
    return ok == 1;
}

int tls_verify_peer(X509_STORE_CTX *store, void *arg) {
    const struct tls_context *context = arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *session = SSL_get_app_data(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    tls_format_subject(leaf, session->peer_subject);

    STACK_OF(X509) *own_chain = NULL;
    SSL_CTX_get0_chain_certs(context->ssl_ctx, &own_chain);
    int ok = verify_chain(store, own_chain);
    if (ok && context->peer_names && !is_name_allowed(context->peer_names, leaf)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
        ok = 0;
    }
    session->verify_result = X509_STORE_CTX_get_error(store);
    X509 *current = X509_STORE_CTX_get_current_cert(store);
    if (!ok && current && X509_STORE_CTX_get_error_depth(store) > 0) tls_format_subject(current, session->bad_subject);
    return ok;
}

static int64_t not_after_s(const X509 *certificate) {
    struct tm tm;
    if (!certificate || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1) return -1;
    return (int64_t)timegm(&tm);
}

int64_t tls_context_not_after(const struct tls_context *context) {
    return not_after_s(SSL_CTX_get0_certificate(context->ssl_ctx));
}

static void check_expiry(X509 *own, const char *subject, int64_t calendar_s, void (*warn)(void *, const char *),
                         void *ctx) {
    char line[512];
    int64_t left_s = not_after_s(own) - calendar_s;
    if (left_s >= EXPIRY_WARNING_DAYS * DAY_S) return;
    if (left_s < 0)
        snprintf(line, sizeof(line), "own certificate '%s' has expired: peers refuse it; renew it and reload", subject);
    else
        snprintf(line, sizeof(line), "own certificate '%s' expires in %" PRId64 " days: renew it and reload", subject,
                 left_s / DAY_S);
    warn(ctx, line);
}

/* Every node is client and server (section 16.4). */
static void check_purpose(X509 *own, const char *subject, void (*warn)(void *, const char *), void *ctx) {
    uint32_t usage = X509_get_extended_key_usage(own); /* all bits if there is no such extension */
    const char *missing = !(usage & XKU_SSL_CLIENT) ? "clientAuth" : !(usage & XKU_SSL_SERVER) ? "serverAuth" : NULL;
    if (!missing) return;
    char line[512];
    snprintf(line, sizeof(line),
             "own certificate '%s' lacks %s in its extended key usage: peers refuse it; a node certificate needs "
             "clientAuth and serverAuth, or no extended key usage at all", subject, missing);
    warn(ctx, line);
}

static void check_chain(const struct tls_context *context, X509 *own, const char *subject,
                        void (*warn)(void *, const char *), void *ctx) {
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(context->ssl_ctx, &chain);
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    if (store && X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(context->ssl_ctx), own, chain) == 1 &&
        X509_verify_cert(store) != 1 && X509_STORE_CTX_get_error(store) != X509_V_ERR_CERT_HAS_EXPIRED) {
        char line[512];
        snprintf(line, sizeof(line), "own certificate '%s' cannot be verified with the own CA file: %s", subject,
                 X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
        warn(ctx, line);
    }
    X509_STORE_CTX_free(store);
    ERR_clear_error();
}

void tls_context_check(const struct tls_context *context, int64_t calendar_s, void (*warn)(void *ctx, const char *line),
                       void *ctx) {
    X509 *own = SSL_CTX_get0_certificate(context->ssl_ctx);
    char subject[TLS_SUBJECT_SIZE];
    tls_format_subject(own, subject);
    check_expiry(own, subject, calendar_s, warn, ctx);
    check_purpose(own, subject, warn, ctx);
    check_chain(context, own, subject, warn, ctx);
}
