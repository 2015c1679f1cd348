/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared inside src/tls only. */
#ifndef XB_TLS_INTERNAL_H
#define XB_TLS_INTERNAL_H

#include "tls/tls.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <stdatomic.h>

#define TLS_SUBJECT_SIZE 256
#define TLS_HOST_SIZE 64
#define TLS_FINGERPRINT_SIZE 96 /* hex with colons */

struct tls_context {
    _Atomic(uint32_t) refs;
    SSL_CTX *ssl_ctx;
    BIO_METHOD *bio_method;
    char *peer_names, *allowed_peers; /* NULL: any */
    bool is_any_purpose;
};

/* Bytes between begin and end of data are in use. */
struct tls_bytes {
    uint8_t *data;
    size_t capacity, begin, end;
};

struct tls_session {
    struct tls_context *context;
    SSL *ssl;
    struct tls_bytes input, output;
    bool is_ended;           /* close_notify received */
    struct xb_error failure; /* code 0: none */
    /* The verification of the peer's certificate. */
    char host[TLS_HOST_SIZE];            /* of the peer; "" unknown */
    char peer_subject[TLS_SUBJECT_SIZE]; /* "" unknown */
    char bad_subject[TLS_SUBJECT_SIZE];  /* the certificate of the chain at fault, if it is not the peer's own */
    long verify_result;
};

/* session.c: what the context's BIO method does. */
BIO_METHOD *tls_bio_method_new(void);

/* verify.c: checks the peer's chain; for SSL_CTX_set_cert_verify_callback. */
int tls_verify_peer(X509_STORE_CTX *store, void *context);
void tls_format_fingerprint(const X509 *certificate, char text[TLS_FINGERPRINT_SIZE]);
/* The subject in one line without control characters. */
void tls_format_subject(const X509 *certificate, char text[TLS_SUBJECT_SIZE]);

/* explain.c: the oldest error of OpenSSL's queue in words, into text; the queue is emptied. -> its code */
unsigned long tls_take_reason(char *text, size_t size);
/* What to do about a certificate for which verification gave this result; NULL: unknown. */
const char *tls_verify_advice(int result);
/* What to do about a file that could not be used; "" unknown. */
const char *tls_file_advice(const char *option, const char *file, unsigned long code);
/* Fills session->failure after a failed call: reason, subject, what to do. */
void tls_explain_failure(struct tls_session *session);

#endif
