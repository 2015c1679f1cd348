/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts from certificate files (spec 02 section 16.2, 16.4, 16.5). Error texts are those of the stock provider. */
#include "tls/internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Any constant will do: it keeps OpenSSL from continuing sessions that another kind of server made. */
static const unsigned char session_id_context[] = "xebec";

static bool is_given(const char *text) {
    return text && *text;
}

static int fail_file(struct xb_error *error, const char *option, const char *file) {
    char reason[256];
    unsigned long code = tls_take_reason(reason, sizeof(reason));
    return xb_fail(error, -EINVAL, "Bad value '%s' for SSL parameter '%s': %lu: '%s'%s", file, option, code, reason,
                   tls_file_advice(option, file, code));
}

/* Reasons that OpenSSL's own error would hide. */
struct password_request {
    const char *file;
    struct xb_error error;
};

/* Called by OpenSSL only if the key is encrypted. */
static int read_password(char *to, int size, int is_writing, void *arg) {
    (void)is_writing;
    struct password_request *request = arg;
    if (!is_given(request->file)) {
        xb_fail(&request->error, -EINVAL, "socket.ssl_password_file is required");
        return -1;
    }
    int fd = open(request->file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, to, (size_t)size);
    int code = errno;
    if (fd >= 0) close(fd);
    if (n < 0) {
        xb_fail(&request->error, -EINVAL, "could not open password file '%s': System error: %d (%s)", request->file,
                code, strerror(code));
        return -1;
    }
    return (int)(memchr(to, '\n', (size_t)n) ? strcspn(to, "\r\n") : (size_t)n);
}

static int load_key(SSL_CTX *ctx, const struct tls_config *config, struct xb_error *error) {
    struct password_request request = {.file = config->password_file};
    SSL_CTX_set_default_passwd_cb(ctx, read_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &request);
    int ok = SSL_CTX_use_PrivateKey_file(ctx, config->key_file, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb(ctx, NULL);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (ok == 1 && SSL_CTX_check_private_key(ctx) == 1) return 0;
    if (request.error.code) {
        ERR_clear_error();
        if (error) *error = request.error;
        return request.error.code;
    }
    return fail_file(error, "socket.ssl_key", config->key_file);
}

static int load_crl(SSL_CTX *ctx, const char *file, struct xb_error *error) {
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (!lookup || X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) <= 0)
        return fail_file(error, "socket.ssl_crl", file);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    return 0;
}

static int load_ciphers(SSL_CTX *ctx, const struct tls_config *config, struct xb_error *error) {
    const char *bad = NULL;
    if (is_given(config->cipher_list) && SSL_CTX_set_cipher_list(ctx, config->cipher_list) != 1)
        bad = config->cipher_list;
    else if (is_given(config->cipher_suites) && SSL_CTX_set_ciphersuites(ctx, config->cipher_suites) != 1)
        bad = config->cipher_suites;
    if (!bad) return 0;
    char reason[256];
    unsigned long code = tls_take_reason(reason, sizeof(reason));
    return xb_fail(error, -EINVAL, "Error setting SSL cipher list to '%s': %lu: '%s'", bad, code, reason);
}

/* Sections 16.4, 16.5: both directions verified, nothing is compressed, nothing is ever resumed. */
static void set_policy(struct tls_context *context, const struct tls_config *config) {
    SSL_CTX *ctx = context->ssl_ctx;
    SSL_CTX_set_min_proto_version(ctx, config->is_tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, session_id_context, sizeof(session_id_context) - 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, tls_verify_peer, context);
    context->is_any_purpose = config->is_any_purpose;
    if (config->is_any_purpose) SSL_CTX_set_purpose(ctx, X509_PURPOSE_ANY);
}

static int load(struct tls_context *context, const struct tls_config *config, struct xb_error *error) {
    SSL_CTX *ctx = context->ssl_ctx;
    set_policy(context, config);
    int rc = load_ciphers(ctx, config, error);
    if (rc) return rc;
    if (SSL_CTX_use_certificate_chain_file(ctx, config->cert_file) != 1)
        return fail_file(error, "socket.ssl_cert", config->cert_file);
    rc = load_key(ctx, config, error);
    if (rc) return rc;
    const char *ca_file = is_given(config->ca_file) ? config->ca_file : config->cert_file;
    if (SSL_CTX_load_verify_file(ctx, ca_file) != 1) return fail_file(error, "socket.ssl_ca", ca_file);
    return is_given(config->crl_file) ? load_crl(ctx, config->crl_file, error) : 0;
}

static int copy_text(const char *text, char **copy) {
    if (is_given(text)) *copy = strdup(text);
    return is_given(text) && !*copy ? -ENOMEM : 0;
}

struct tls_context *tls_context_load(const struct tls_config *config, struct xb_error *error) {
    if (!is_given(config->key_file) || !is_given(config->cert_file)) {
        xb_fail(error, -EINVAL, "To enable SSL at least both of 'socket.ssl_key' and 'socket.ssl_cert' must be set");
        return NULL;
    }
    struct tls_context *context = calloc(1, sizeof(*context));
    if (!context) goto no_memory;
    atomic_init(&context->refs, 1);
    ERR_clear_error();
    context->ssl_ctx = SSL_CTX_new(TLS_method());
    context->bio_method = tls_bio_method_new();
    if (!context->ssl_ctx || !context->bio_method || copy_text(config->peer_names, &context->peer_names) ||
        copy_text(config->allowed_peers, &context->allowed_peers))
        goto no_memory;
    if (load(context, config, error)) {
        ERR_clear_error();
        tls_context_unref(context);
        return NULL;
    }
    ERR_clear_error();
    return context;
no_memory:
    xb_fail(error, -ENOMEM, "no memory for a TLS context");
    tls_context_unref(context);
    return NULL;
}

struct tls_context *tls_context_ref(struct tls_context *context) {
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context) {
    if (!context || atomic_fetch_sub_explicit(&context->refs, 1, memory_order_acq_rel) != 1) return;
    SSL_CTX_free(context->ssl_ctx);
    BIO_meth_free(context->bio_method);
    free(context->peer_names);
    free(context->allowed_peers);
    free(context);
}
