/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections of a state transfer: plain TCP or TLS directly on the socket (spec 08 sections 3.2, 8.1, 8.5). src/tls
 * works on memory for an event loop; a transfer is one long stream and saves these copies.
 *
 * A stream waits through a watch, so the death of the server ends every call. A peer that vanishes is noticed by TCP
 * itself (keepalive, user timeout) within STREAM_PEER_TIMEOUT_S; a peer that is alive but silent only if idle_ns is
 * set. Threads: a stream has one user, or one reader and one writer if it is plain.
 */
#ifndef XB_SST_STREAM_H
#define XB_SST_STREAM_H

#include "sst/address.h"
#include "sst/watch.h"

#include <stddef.h>
#include <sys/types.h>

#define STREAM_PEER_TIMEOUT_S 120
#define STREAM_TEXT_SIZE 256
#define STREAM_FINGERPRINT_SIZE 65 /* SHA-256 in hex */

struct stream_tls; /* certificate, key and trust; shared by all streams of a transfer */

struct stream_tls_config {
    const char *cert_file, *key_file; /* key NULL: it stands in cert_file (mode 2) */
    const char *ca_file, *ca_path;    /* NULL: none; without any of the two the peer is not verified */
    const char *dh_file;              /* NULL: built-in RFC 7919 groups */
    bool is_verified;
    bool is_tls13_only;
};

/* Checks everything that can be checked before the peer is met (spec 08 section 8.3): readable, key belongs to
 * certificate, certificate belongs to CA, not expired, usable in both directions. -> NULL with *error */
struct stream_tls *stream_tls_load(const struct stream_tls_config *config, struct xb_error *error);
void stream_tls_free(struct stream_tls *tls);
/* Own certificate. */
void stream_tls_fingerprint(const struct stream_tls *tls, char text[STREAM_FINGERPRINT_SIZE]);
int stream_tls_common_name(const struct stream_tls *tls, char name[STREAM_TEXT_SIZE]); /* -ENOENT: none or not usable */
int64_t stream_tls_days_left(const struct stream_tls *tls);

struct stream {
    int fd; /* -1: closed */
    void *ssl;
    const struct watch *watch;
    int64_t idle_ns;                /* longest silence, 0: any */
    char peer[STREAM_TEXT_SIZE];    /* address:port */
    char subject[STREAM_TEXT_SIZE]; /* of the peer's certificate, "" none */
    char fingerprint[STREAM_FINGERPRINT_SIZE];
    char cipher[STREAM_TEXT_SIZE]; /* "TLSv1.3 TLS_AES_256_GCM_SHA384", "" plain */
};

/* Listens on the address if it is one of this host, else on all. -> descriptor or a negative errno with *error */
int stream_listen(const struct sst_address *address, struct xb_error *error);
uint16_t stream_port(int listen_fd);
/* The next connection. -> 0, or what watch_wait says */
int stream_accept(struct stream *stream, int listen_fd, const struct watch *watch, int64_t deadline_ns,
                  struct xb_error *error);
/* Tries until deadline_ns, also when nobody listens yet. */
int stream_connect(struct stream *stream, const struct sst_address *address, const struct watch *watch,
                   int64_t deadline_ns, struct xb_error *error);

/* encrypt: our own mode, told to a peer of ours whose mode differs. -> 0, or negative with *error (a mismatch:
 * -EPROTOTYPE) */
int stream_start_server(struct stream *stream, struct stream_tls *tls, int encrypt, int64_t deadline_ns,
                        struct xb_error *error);
int stream_start_client(struct stream *stream, struct stream_tls *tls, int encrypt, int64_t deadline_ns,
                        struct xb_error *error);
/* Does the peer's certificate carry the name (a subject alternative name or the common name)? */
bool stream_has_name(const struct stream *stream, const char *name);
/* Keying material that only the two ends of this connection know. -> 0 or negative */
int stream_export_key(const struct stream *stream, uint8_t key[32]);

/* A donor that failed before it could connect lets the joiner know. Not proved, so it only shortens the joiner's wait.
 */
void stream_tell_failure(const struct sst_address *address, const struct watch *watch);

ssize_t stream_read(struct stream *stream, void *to, size_t size,
                    struct xb_error *error); /* 0: the peer ended the stream */
int stream_read_all(struct stream *stream, void *to, size_t size,
                    struct xb_error *error); /* -ECONNRESET: ended before */
int stream_write(struct stream *stream, const void *data, size_t size, struct xb_error *error);
/* To a peer that has nothing to say before the end: if it speaks or ends, so does this, with -EPIPE, and what it said
 * is appended to the text in `answer` (answer_size bytes with NUL). */
int stream_write_heeding(struct stream *stream, const void *data, size_t size, char *answer, size_t answer_size,
                         struct xb_error *error);
/* Both without waiting: -> bytes (0 when reading: the peer ended the stream), -EAGAIN with the events (poll's) in
 * *want, or negative with *error. */
ssize_t stream_try_read(struct stream *stream, void *to, size_t size, short *want, struct xb_error *error);
ssize_t stream_try_write(struct stream *stream, const void *data, size_t size, short *want, struct xb_error *error);
void stream_say_end(struct stream *stream); /* nothing more will be written */
/*
 * The end of what we send: says so, then waits for the peer's end, for it says whether it took everything. What it says
 * meanwhile goes to `answer` (size bytes with NUL). -> 0 the peer ended in order
 */
int stream_finish(struct stream *stream, char *answer, size_t size, int64_t deadline_ns, struct xb_error *error);
void stream_close(struct stream *stream); /* fine if closed */
/* Sends a last line and closes so that it arrives. Bounded to about a second. */
void stream_close_with(struct stream *stream, const char *line);
/* Closes by a reset, so that the peer cannot take it for success. */
void stream_abort(struct stream *stream);

#endif
