/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions that work on memory.
 *
 * OpenSSL reads from and writes to the session's own two byte buffers through a BIO of ours. The owner moves the bytes
 * between buffers and socket when it likes: so all records that one round of the event loop makes leave in one system
 * call, and one read from the socket may bring many.
 */
#include "tls/internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_CAPACITY 4096
#define KEPT_CAPACITY ((size_t)1 << 20) /* an empty buffer above this is given back */

static uint8_t *bytes_reserve(struct tls_bytes *bytes, size_t size) {
    if (bytes->capacity - bytes->end >= size) return bytes->data + bytes->end;
    size_t used = bytes->end - bytes->begin;
    /* Growing while at least half is in use bounds the moving to a constant number of times a byte. */
    if (used > bytes->capacity / 2 || bytes->capacity - used < size) {
        size_t capacity = bytes->capacity ? bytes->capacity : FIRST_CAPACITY;
        do {
            if (capacity > SIZE_MAX / 2) return NULL;
            capacity *= 2;
        } while (capacity - used < size);
        uint8_t *data = realloc(bytes->data, capacity);
        if (!data) return NULL;
        bytes->data = data;
        bytes->capacity = capacity;
    }
    if (bytes->begin > 0) memmove(bytes->data, bytes->data + bytes->begin, used);
    bytes->begin = 0;
    bytes->end = used;
    return bytes->data + bytes->end;
}

static void bytes_consume(struct tls_bytes *bytes, size_t size) {
    bytes->begin += size;
    if (bytes->begin < bytes->end) return;
    bytes->begin = bytes->end = 0;
    if (bytes->capacity > KEPT_CAPACITY) {
        free(bytes->data);
        bytes->data = NULL;
        bytes->capacity = 0;
    }
}

static int bio_read(BIO *bio, char *to, size_t size, size_t *done) {
    struct tls_bytes *input = &((struct tls_session *)BIO_get_data(bio))->input;
    size_t left = input->end - input->begin;
    BIO_clear_retry_flags(bio);
    if (left == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *done = size < left ? size : left;
    memcpy(to, input->data + input->begin, *done);
    bytes_consume(input, *done);
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t size, size_t *done) {
    struct tls_bytes *output = &((struct tls_session *)BIO_get_data(bio))->output;
    uint8_t *to = bytes_reserve(output, size);
    BIO_clear_retry_flags(bio);
    if (!to) return 0;
    memcpy(to, from, size);
    output->end += size;
    *done = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tls_bio_method_new(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "xebec memory");
    if (!method) return NULL;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);
    return method;
}

struct tls_session *tls_session_new(struct tls_context *context, bool is_server) {
    struct tls_session *session = calloc(1, sizeof(*session));
    if (!session) return NULL;
    session->context = tls_context_ref(context);
    session->ssl = SSL_new(context->ssl_ctx);
    BIO *bio = session->ssl ? BIO_new(context->bio_method) : NULL;
    if (!bio) {
        ERR_clear_error();
        tls_session_free(session);
        return NULL;
    }
    BIO_set_data(bio, session);
    SSL_set_bio(session->ssl, bio, bio);
    SSL_set_app_data(session->ssl, session);
    if (is_server)
        SSL_set_accept_state(session->ssl);
    else
        SSL_set_connect_state(session->ssl);
    return session;
}

void tls_session_set_host(struct tls_session *session, const char *host) {
    snprintf(session->host, sizeof(session->host), "%s", host);
}

bool tls_session_is_of(const struct tls_session *session, const struct tls_context *context) {
    return session->context == context;
}

bool tls_session_has_refused(const struct tls_session *session) {
    return session->verify_result != X509_V_OK;
}

void tls_session_free(struct tls_session *session) {
    if (!session) return;
    SSL_free(session->ssl);
    tls_context_unref(session->context);
    free(session->input.data);
    free(session->output.data);
    free(session);
}

uint8_t *tls_session_input(struct tls_session *session, size_t size, size_t *room) {
    uint8_t *to = bytes_reserve(&session->input, size);
    *room = to ? session->input.capacity - session->input.end : 0;
    return to;
}

void tls_session_input_done(struct tls_session *session, size_t size) {
    session->input.end += size;
}

size_t tls_session_output(struct tls_session *session, const uint8_t **data) {
    size_t size = session->output.end - session->output.begin;
    *data = size ? session->output.data + session->output.begin : NULL;
    return size;
}

void tls_session_output_done(struct tls_session *session, size_t size) {
    if (size) bytes_consume(&session->output, size);
}

/* What a call that did not succeed means. -> -EAGAIN, 0 (the peer's end), or the code of session->failure */
static int classify(struct tls_session *session, int result) {
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        session->is_ended = true;
        return 0;
    default:
        tls_explain_failure(session);
        return session->failure.code;
    }
}

static int tell_failure(const struct tls_session *session, struct xb_error *error) {
    if (error) *error = session->failure;
    return session->failure.code;
}

int tls_session_handshake(struct tls_session *session, struct xb_error *error) {
    if (session->failure.code) return tell_failure(session, error);
    ERR_clear_error();
    int rc = SSL_do_handshake(session->ssl);
    if (rc == 1) return 0;
    rc = classify(session, rc);
    if (rc == -EAGAIN) return rc;
    if (rc == 0) return xb_fail(error, -EPROTO, "the peer ended the TLS session during the handshake");
    return tell_failure(session, error);
}

ssize_t tls_session_read(struct tls_session *session, void *to, size_t size, struct xb_error *error) {
    size_t got = 0;
    int rc = session->is_ended ? 0 : session->failure.code;
    if (!session->is_ended && !session->failure.code) {
        ERR_clear_error();
        while (got < size) {
            size_t n;
            rc = SSL_read_ex(session->ssl, (uint8_t *)to + got, size - got, &n);
            if (rc != 1) {
                rc = classify(session, rc);
                break;
            }
            got += n;
        }
    }
    if (got > 0) return (ssize_t)got; /* an end or failure behind it is told by the next call */
    return session->failure.code ? tell_failure(session, error) : rc;
}

int tls_session_write(struct tls_session *session, const void *data, size_t size, struct xb_error *error) {
    if (session->failure.code) return tell_failure(session, error);
    if (size == 0) return 0;
    size_t n;
    if (SSL_write_ex(session->ssl, data, size, &n) == 1) return 0; /* hot: the error queue is not cleared before */
    tls_explain_failure(session);
    return tell_failure(session, error);
}

void tls_session_close(struct tls_session *session) {
    if (session->failure.code || !SSL_is_init_finished(session->ssl)) return;
    SSL_shutdown(session->ssl);
    ERR_clear_error();
}

void tls_session_info(const struct tls_session *session, struct tls_info *info) {
    *info = (struct tls_info){.peer_not_after = -1};
    snprintf(info->version, sizeof(info->version), "%s", SSL_get_version(session->ssl));
    const char *cipher = SSL_get_cipher_name(session->ssl);
    snprintf(info->cipher, sizeof(info->cipher), "%s", cipher ? cipher : "");
    const X509 *peer = SSL_get0_peer_certificate(session->ssl);
    if (!peer) return;
    tls_format_subject(peer, info->peer_subject);
    tls_format_fingerprint(peer, info->peer_fingerprint);
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(peer), &tm) == 1) info->peer_not_after = (int64_t)timegm(&tm);
}
