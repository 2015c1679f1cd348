/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS of a stream: certificates, handshakes, and the words for what goes wrong with them (spec 08 sections 8.1 to 8.6).
 */
#include "sst/stream_internal.h"

#include "base/clock.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DH_BITS_MIN 1024
#define DH_BITS_GOOD 2048
#define HELLO_BYTE 0x16 /* a TLS handshake record */
#define MODE_LINE "XEBEC-SST encrypt="
#define FAILURE_LINE "XEBEC-SST the donor failed\n"
#define TELL_NS (XB_SECOND / 2)

struct stream_tls {
    SSL_CTX *ctx;
    bool is_verified;
};

static const char *take_reason(char text[STREAM_TEXT_SIZE]) {
    unsigned long code = ERR_get_error();
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    snprintf(text, STREAM_TEXT_SIZE, "%s", reason ? reason : "unknown error");
    ERR_clear_error();
    return text;
}

/* ---- the own certificate */

static int load_certificate(SSL_CTX *ctx, const struct stream_tls_config *config, struct xb_error *error) {
    char reason[STREAM_TEXT_SIZE];
    const char *key = config->key_file ? config->key_file : config->cert_file;
    if (SSL_CTX_use_certificate_chain_file(ctx, config->cert_file) != 1)
        return xb_fail(error, -EINVAL, "cannot use the certificate '%s': %s", config->cert_file, take_reason(reason));
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1) return 0;
    if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH) {
        ERR_clear_error();
        return xb_fail(error, -EINVAL, "the certificate '%s' and the key '%s' do not belong together",
                       config->cert_file, key);
    }
    return xb_fail(error, -EINVAL, "cannot use the key '%s': %s", key, take_reason(reason));
}

static int verify_own(SSL_CTX *ctx, const struct stream_tls_config *config, struct xb_error *error) {
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    int rc = 0;
    if (store && X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(ctx), SSL_CTX_get0_certificate(ctx), chain) == 1 &&
        X509_verify_cert(store) != 1) {
        int code = X509_STORE_CTX_get_error(store);
        const char *advice = code == X509_V_ERR_CERT_HAS_EXPIRED ? "renew it"
                             : code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
                                 ? "it was not signed by that CA, or its subject equals the CA's: they must differ"
                                 : "it was not signed by that CA";
        rc = xb_fail(error, -EINVAL, "own certificate '%s' does not pass with the CA '%s': %s; %s", config->cert_file,
                     config->ca_file ? config->ca_file : config->ca_path, X509_verify_cert_error_string(code), advice);
    }
    X509_STORE_CTX_free(store);
    ERR_clear_error();
    return rc;
}

static int load_trust(SSL_CTX *ctx, const struct stream_tls_config *config, struct xb_error *error) {
    char reason[STREAM_TEXT_SIZE];
    if (!config->ca_file && !config->ca_path) return 0;
    if (SSL_CTX_load_verify_locations(ctx, config->ca_file, config->ca_path) != 1)
        return xb_fail(error, -EINVAL, "cannot use the CA '%s': %s",
                       config->ca_file ? config->ca_file : config->ca_path, take_reason(reason));
    int rc = verify_own(ctx, config, error);
    uint32_t usage = X509_get_extended_key_usage(SSL_CTX_get0_certificate(ctx));
    if (rc == 0 && config->is_verified && (!(usage & XKU_SSL_CLIENT) || !(usage & XKU_SSL_SERVER)))
        rc = xb_fail(error, -EINVAL,
                     "own certificate '%s' lacks %s in its extended key usage: every node is TLS client as donor "
                     "and TLS server as joiner",
                     config->cert_file, usage & XKU_SSL_CLIENT ? "serverAuth" : "clientAuth");
    return rc;
}

/* Absent parameters are the built-in groups of RFC 7919: nothing has to be generated (section 8.6). */
static int load_dh(SSL_CTX *ctx, const char *file, struct xb_error *error) {
    if (!file) {
        SSL_CTX_set_dh_auto(ctx, 1);
        return 0;
    }
    BIO *bio = BIO_new_file(file, "r");
    EVP_PKEY *dh = bio ? PEM_read_bio_Parameters(bio, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    int bits = dh ? EVP_PKEY_get_bits(dh) : 0, rc = 0;
    if (!dh || !EVP_PKEY_is_a(dh, "DH"))
        rc = xb_fail(error, -EINVAL, "'%s' (ssl-dhparams) holds no DH parameters", file);
    else if (bits < DH_BITS_MIN)
        rc = xb_fail(error, -EINVAL,
                     "the DH parameters '%s' have %d bits: at least %d are needed, %d are good: "
                     "openssl dhparam -out %s %d",
                     file, bits, DH_BITS_MIN, DH_BITS_GOOD, file, DH_BITS_GOOD);
    else if (SSL_CTX_set0_tmp_dh_pkey(ctx, dh) == 1)
        return 0;
    else
        rc = xb_fail(error, -EINVAL,
                     "the TLS library does not take the DH parameters '%s' (%d bits): make new ones with %d bits", file,
                     bits, DH_BITS_GOOD);
    EVP_PKEY_free(dh);
    ERR_clear_error();
    return rc;
}

struct stream_tls *stream_tls_load(const struct stream_tls_config *config, struct xb_error *error) {
    struct stream_tls *tls = calloc(1, sizeof(*tls));
    SSL_CTX *ctx = tls ? SSL_CTX_new(TLS_method()) : NULL;
    int rc = ctx ? 0 : xb_fail(error, -ENOMEM, "no memory for TLS");
    if (rc == 0) {
        tls->ctx = ctx;
        tls->is_verified = config->is_verified;
        SSL_CTX_set_min_proto_version(ctx, config->is_tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_num_tickets(ctx, 0);
        SSL_CTX_set_read_ahead(ctx, 1);
        SSL_CTX_set_verify(
            ctx, config->is_verified ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
        rc = load_certificate(ctx, config, error);
    }
    if (rc == 0) rc = load_trust(ctx, config, error);
    if (rc == 0) rc = load_dh(ctx, config->dh_file, error);
    if (rc == 0) return tls;
    stream_tls_free(tls);
    return NULL;
}

void stream_tls_free(struct stream_tls *tls) {
    if (!tls) return;
    SSL_CTX_free(tls->ctx);
    free(tls);
}

static void format_fingerprint(const X509 *certificate, char text[STREAM_FINGERPRINT_SIZE]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    text[0] = '\0';
    if (certificate && X509_digest(certificate, EVP_sha256(), digest, &size) == 1)
        for (unsigned int i = 0; i < size; i++) sprintf(text + 2 * i, "%02x", digest[i]);
}

void stream_tls_fingerprint(const struct stream_tls *tls, char text[STREAM_FINGERPRINT_SIZE]) {
    format_fingerprint(SSL_CTX_get0_certificate(tls->ctx), text);
}

int stream_tls_common_name(const struct stream_tls *tls, char name[STREAM_TEXT_SIZE]) {
    X509_NAME *subject = X509_get_subject_name(SSL_CTX_get0_certificate(tls->ctx));
    int size = X509_NAME_get_text_by_NID(subject, NID_commonName, name, STREAM_TEXT_SIZE);
    return size > 0 && (size_t)size == strlen(name) ? 0 : -ENOENT;
}

int64_t stream_tls_days_left(const struct stream_tls *tls) {
    int days = 0, seconds = 0;
    ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(SSL_CTX_get0_certificate(tls->ctx)));
    return days;
}

/* ---- what went wrong */

static const struct {
    int reason;
    const char *advice;
} advices[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "it has no certificate: set ssl-cert and ssl-key there"},
    {SSL_R_WRONG_VERSION_NUMBER, "it does not speak TLS: set [sst] encrypt there as here"},
    {SSL_R_HTTP_REQUEST, "it speaks HTTP"},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, "it ended without a word: was it killed? See its log"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "it offers only TLS versions below 1.2"},
    {SSL_AD_REASON_OFFSET + SSL_AD_UNKNOWN_CA,
     "it does not trust the CA of our certificate: compare ssl-ca of both nodes"},
    {SSL_AD_REASON_OFFSET + SSL_AD_CERTIFICATE_EXPIRED, "our certificate has expired: renew it"},
    {SSL_AD_REASON_OFFSET + SSL_AD_BAD_CERTIFICATE, "it refused our certificate, see its log"},
    {SSL_AD_REASON_OFFSET + SSL_AD_CERTIFICATE_REQUIRED, "it wants a certificate of ours: set ssl-cert and ssl-key"},
    {SSL_AD_REASON_OFFSET + SSL_AD_UNSUPPORTED_CERTIFICATE,
     "our certificate needs clientAuth and serverAuth, or no extended key usage"},
};

int stream_explain(struct stream *stream, struct xb_error *error) {
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    char text[STREAM_TEXT_SIZE];
    take_reason(text);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        long result = SSL_get_verify_result(stream->ssl);
        const char *advice = result == X509_V_ERR_CERT_HAS_EXPIRED     ? "renew it"
                             : result == X509_V_ERR_CERT_NOT_YET_VALID ? "check the clocks of both hosts"
                             : result == X509_V_ERR_INVALID_PURPOSE
                                 ? "it needs clientAuth and serverAuth, or no extended key usage"
                                 : "is its CA in ssl-ca here?";
        return xb_fail(error, -EPROTO, "the certificate of %s is refused: %s; %s", stream->peer,
                       X509_verify_cert_error_string(result), advice);
    }
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
        if (advices[i].reason == reason)
            return xb_fail(error, -EPROTO, "TLS with %s failed: %s; %s", stream->peer, text, advices[i].advice);
    return xb_fail(error, -EPROTO, "TLS with %s failed: %s", stream->peer, text);
}

/* ---- handshakes */

static void note_peer(struct stream *stream) {
    SSL *ssl = stream->ssl;
    X509 *peer = SSL_get0_peer_certificate(ssl);
    snprintf(stream->cipher, sizeof(stream->cipher), "%s %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
    format_fingerprint(peer, stream->fingerprint);
    BIO *bio = peer ? BIO_new(BIO_s_mem()) : NULL;
    if (!bio) return;
    X509_NAME_print_ex(bio, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253); /* escapes control characters */
    int n = BIO_read(bio, stream->subject, sizeof(stream->subject) - 1);
    stream->subject[n > 0 ? n : 0] = '\0';
    BIO_free(bio);
}

/* The first bytes that the peer sent, without taking them. -> how many, 0 the peer closed, or negative */
static ssize_t peek(struct stream *stream, void *to, size_t size, int64_t deadline_ns, struct xb_error *error) {
    int rc = stream_wait(stream, POLLIN, deadline_ns, error);
    if (rc)
        return rc == -ETIMEDOUT && !error->code ? xb_fail(error, rc, "%s connected and said nothing", stream->peer)
                                                : rc;
    ssize_t n = recv(stream->fd, to, size, MSG_PEEK);
    return n < 0 ? xb_fail(error, -errno, "the connection to %s broke: %m", stream->peer) : n;
}

static int fail_mode(struct stream *stream, int encrypt, const char *peers_mode, struct xb_error *error) {
    return xb_fail(error, -EPROTOTYPE,
                   "%s uses encrypt=%s, this node encrypt=%d: set [sst] encrypt alike on both nodes", stream->peer,
                   peers_mode, encrypt);
}

static int run_handshake(struct stream *stream, int64_t deadline_ns, struct xb_error *error) {
    int result, rc = 0;
    for (;;) {
        ERR_clear_error();
        errno = 0;
        result = SSL_do_handshake(stream->ssl);
        if (result == 1) break;
        rc = stream_retry(stream, result, deadline_ns, error);
        if (rc == 1) rc = xb_fail(error, -EPROTO, "%s closed the connection during the TLS handshake", stream->peer);
        if (rc == -ETIMEDOUT && !error->code) xb_fail(error, rc, "%s does not answer the TLS handshake", stream->peer);
        if (rc) return rc;
    }
    note_peer(stream);
    return 0;
}

static int make_session(struct stream *stream, struct stream_tls *tls, bool is_server, struct xb_error *error) {
    SSL *ssl = SSL_new(tls->ctx);
    if (!ssl || SSL_set_fd(ssl, stream->fd) != 1) {
        SSL_free(ssl);
        return xb_fail(error, -ENOMEM, "no memory for TLS");
    }
    if (is_server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    stream->ssl = ssl;
    return 0;
}

void stream_tell_failure(const struct sst_address *address, const struct watch *watch) {
    struct stream stream = {.fd = -1};
    struct xb_error ignored = {0};
    if (watch_check(watch, &ignored)) return;
    if (stream_connect(&stream, address, watch, xb_clock_monotonic_ns() + TELL_NS, &ignored) == 0)
        stream_close_with(&stream, FAILURE_LINE);
}

int stream_start_server(struct stream *stream, struct stream_tls *tls, int encrypt, int64_t deadline_ns,
                        struct xb_error *error) {
    char line[64] = "";
    ssize_t n = peek(stream, line, sizeof(FAILURE_LINE) - 1, deadline_ns, error);
    uint8_t first = (uint8_t)line[0];
    if (n < 0) return (int)n;
    if (n == 0) return xb_fail(error, -ECONNRESET, "%s connected and closed", stream->peer);
    if (strcmp(line, FAILURE_LINE) == 0)
        return xb_fail(error, -EPROTOTYPE, "%s says that the donor failed: see the donor's log", stream->peer);
    bool is_hello = first == HELLO_BYTE;
    snprintf(line, sizeof(line), MODE_LINE "%d\n", encrypt);
    bool is_plain_donor = first == 'X' || first == 'S' || first == '@'; /* a container, salted, rsync */
    if (is_hello != (tls != NULL) && (tls == NULL || is_plain_donor)) {
        fail_mode(stream, encrypt, is_hello ? "2, 3 or 4 (TLS)" : first == 'S' ? "1 (symmetric)" : "0 (plain)", error);
        stream_close_with(stream, line);
        return error->code;
    }
    if (!tls) return 0;
    if (!is_hello) return xb_fail(error, -EPROTO, "%s does not speak TLS", stream->peer);
    int rc = make_session(stream, tls, true, error);
    return rc ? rc : run_handshake(stream, deadline_ns, error);
}

/* A plain joiner of ours answers our hello with its mode; a stock one never answers, or closes. */
static int check_answer(struct stream *stream, int encrypt, int64_t deadline_ns, struct xb_error *error) {
    char line[64] = "";
    ssize_t n = peek(stream, line, sizeof(line) - 1, deadline_ns, error);
    if (n == -ETIMEDOUT)
        return xb_fail(error, (int)n,
                       "%s does not answer the TLS handshake: this node uses encrypt=%d, does the joiner use encrypt=0 "
                       "or 1? Set [sst] encrypt alike on both nodes",
                       stream->peer, encrypt);
    if (n < 0) return (int)n;
    if (n == 0)
        return xb_fail(error, -EPROTO,
                       "%s closed the connection at the TLS handshake: this node uses encrypt=%d, does the joiner "
                       "use encrypt=0 or 1?",
                       stream->peer, encrypt);
    if (strncmp(line, MODE_LINE, strlen(MODE_LINE))) return 0;
    return fail_mode(stream, encrypt, (char[2]){line[strlen(MODE_LINE)], 0}, error);
}

/* Sends the hello and reads nothing, so that the answer can be looked at before TLS takes it. */
static int send_hello(struct stream *stream, struct xb_error *error) {
    BIO *empty = BIO_new(BIO_s_mem());
    if (!empty) return xb_fail(error, -ENOMEM, "no memory for TLS");
    BIO_set_mem_eof_return(empty, -1);
    SSL_set0_rbio(stream->ssl, empty);
    ERR_clear_error();
    int result = SSL_do_handshake(stream->ssl);
    if (SSL_get_error(stream->ssl, result) != SSL_ERROR_WANT_READ) return stream_explain(stream, error);
    return SSL_set_fd(stream->ssl, stream->fd) == 1 ? 0 : xb_fail(error, -ENOMEM, "no memory for TLS");
}

int stream_start_client(struct stream *stream, struct stream_tls *tls, int encrypt, int64_t deadline_ns,
                        struct xb_error *error) {
    if (!tls) return 0;
    int rc = make_session(stream, tls, false, error);
    if (rc) return rc;
    rc = send_hello(stream, error);
    if (rc) return rc;
    rc = check_answer(stream, encrypt, deadline_ns, error);
    return rc ? rc : run_handshake(stream, deadline_ns, error);
}

bool stream_has_name(const struct stream *stream, const char *name) {
    X509 *peer = SSL_get0_peer_certificate(stream->ssl);
    if (!peer) return false;
    return X509_check_host(peer, name, 0, X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT, NULL) == 1 ||
           X509_check_ip_asc(peer, name, 0) == 1;
}

int stream_export_key(const struct stream *stream, uint8_t key[32]) {
    static const char label[] = "EXPORTER-xebec-sst";
    return SSL_export_keying_material(stream->ssl, key, 32, label, sizeof(label) - 1, NULL, 0, 0) == 1 ? 0 : -EPROTO;
}
