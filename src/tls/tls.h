/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS: contexts made from certificate files, and sessions that work on memory only (spec 02 section 16).
 *
 * A tls_context is immutable and reference-counted: a reload makes a new one and swaps the pointer; sessions keep the
 * one that they were made from. Both sides verify the peer; no session is ever resumed and no ticket sent; TLS 1.2 at
 * least.
 * A tls_session is an engine without socket: ciphertext is fed in and taken out, plaintext likewise. One write makes
 * records of its own, so no record holds bytes of two writes (section 16.6).
 * Threads: a context may be used from any thread; a session by one thread at a time.
 */
#ifndef XB_TLS_TLS_H
#define XB_TLS_TLS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TLS_PEER_ADDRESS "address" /* in peer_names */

struct tls_context;
struct tls_session;

struct tls_config {
    const char *key_file;      /* PEM */
    const char *cert_file;     /* PEM, leaf first, then intermediates: all are sent */
    const char *ca_file;       /* PEM, one or more; NULL: cert_file */
    const char *cipher_list;   /* TLS 1.2; NULL or "": library default */
    const char *password_file; /* first line is the key's password; NULL: none */
    /* Stricter or looser than the stock provider; all off by default (sections 16.4, 22.9). */
    const char *cipher_suites; /* TLS 1.3; NULL or "": library default */
    const char *crl_file;      /* PEM, revoked certificates; NULL: not checked */
    const char *peer_names;    /* comma separated; one must be a name (subject alternative or common name) or address in
                                  the peer's certificate, ".x" means any below x, TLS_PEER_ADDRESS the address that
                                  the peer is reached at or comes from; NULL: not checked */
    const char *allowed_peers; /* comma separated common names, alternative names or SHA-256 fingerprints, one of which
                                  must be the peer's exactly; NULL: all */
    bool is_tls13_only;
    /* Accept peers whatever their extended key usage says. By default, if there is one, the dialled peer needs
     * serverAuth, and the dialling one clientAuth and, stricter than the stock provider, serverAuth: the certificate of
     * a database client must not make a member. */
    bool is_any_purpose;
};

/* -> a context with one reference, or NULL with *error naming file, option and OpenSSL's reason (texts of 16.2). */
struct tls_context *tls_context_load(const struct tls_config *config, struct xb_error *error);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* NULL is allowed */

/* What hurts or may hurt soon, one line each: the own certificate, one of its chain or the revocation list has expired
 * or will within 30 days, or tls_context_fault. */
void tls_context_check(const struct tls_context *context, int64_t calendar_s, void (*warn)(void *ctx, const char *line),
                       void *ctx);
/* Would peers with the same files refuse the own certificate now? -> 0, or -EINVAL with *error: why, and the mend */
int tls_context_fault(const struct tls_context *context, struct xb_error *error);
/* The own certificate: seconds since 1970, -1 unknown. */
int64_t tls_context_not_after(const struct tls_context *context);

struct tls_session *tls_session_new(struct tls_context *context, bool is_server); /* NULL: no memory */
/* The peer's numeric address, for TLS_PEER_ADDRESS; before the handshake. */
void tls_session_set_host(struct tls_session *session, const char *host);
void tls_session_free(struct tls_session *session);

/* Ciphertext from the peer: -> place for at least size bytes to read from the socket into, *room says how many; NULL:
 * no memory. Then say how much came. */
uint8_t *tls_session_input(struct tls_session *session, size_t size, size_t *room);
void tls_session_input_done(struct tls_session *session, size_t size);
/* Ciphertext for the peer: look at it, then say how much was written. */
size_t tls_session_output(struct tls_session *session, const uint8_t **data);
void tls_session_output_done(struct tls_session *session, size_t size);

/* -> 0 done, -EAGAIN more ciphertext needed, -EPROTO failed with *error (OpenSSL's reason, the verification result in
 * words, the peer's subject if known). There may be output in every case (an alert, for example). */
int tls_session_handshake(struct tls_session *session, struct xb_error *error);
/* Fills `to` as far as there is something. There may be output afterwards (key update).
 * -> bytes of plaintext (> 0), 0 the peer ended the stream (close_notify), -EAGAIN, -EPROTO */
ssize_t tls_session_read(struct tls_session *session, void *to, size_t size, struct xb_error *error);
/* Encrypts all of it. -> 0, -EPROTO, -ENOMEM */
int tls_session_write(struct tls_session *session, const void *data, size_t size, struct xb_error *error);
void tls_session_close(struct tls_session *session); /* queues close_notify */

struct tls_info {
    char version[16]; /* "TLSv1.3" */
    char cipher[64];
    char peer_subject[256];
    char peer_fingerprint[96]; /* SHA-256, hex with colons */
    int64_t peer_not_after;    /* seconds since 1970, -1 unknown */
};
void tls_session_info(const struct tls_session *session, struct tls_info *info); /* after the handshake */
bool tls_session_is_of(const struct tls_session *session, const struct tls_context *context);
/* Would the context accept the peer of a session that another one accepted? -> 0 or -EACCES with *error */
int tls_session_recheck(const struct tls_session *session, const struct tls_context *context, struct xb_error *error);
/* Has this side refused the peer's certificate? */
bool tls_session_has_refused(const struct tls_session *session);

#endif
