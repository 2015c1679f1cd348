/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocking byte streams over TCP or TLS for threads that do nothing else: state transfers (src/ist), not the group.
 *
 * A stream has a read and a write buffer of its own: many small writes leave in one system call, when the buffer is
 * full or at stream_flush; reads take as much as the socket has. Every function that waits ends with -ECANCELED soon
 * after its stream_cancel is set, and with -ETIMEDOUT if the peer makes no progress for timeout_ns.
 * Threads: a stream, and a listener, by one thread at a time; stream_cancel_set from any thread.
 */
#ifndef XB_NET_STREAM_H
#define XB_NET_STREAM_H

#include "base/error.h"
#include "tls/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STREAM_HOST_SIZE 64              /* numeric host, IPv6 in brackets, and NUL */
#define STREAM_BUFFER_BYTES (256 * 1024) /* each of read and write */
#define STREAM_HALF_OPEN_MAX 32          /* accepted peers that have not finished the TLS handshake, a listener */

/* Ends the waits of everything that was made with it, for good. Must live longer than its users. */
struct stream_cancel;
struct stream_cancel *stream_cancel_new(void); /* NULL: no descriptor or memory */
void stream_cancel_free(struct stream_cancel *cancel);
void stream_cancel_set(struct stream_cancel *cancel);
bool stream_cancel_is_set(const struct stream_cancel *cancel);

struct stream_config {
    struct tls_context *tls;      /* NULL: plain TCP. A reference is taken */
    struct stream_cancel *cancel; /* NULL: cannot be cancelled */
    int64_t timeout_ns;           /* of a connect with its handshake, and of each read and write without progress;
                                     0: for ever, then only TCP keepalive (always on) finds a dead peer */
    const char *bind_host;        /* stream_connect: local address, numeric; NULL: any */
    /* socket.dynamic (spec 02 section 17): finds out whether the peer talks plain text; needs tls. Never set it on a
     * node that requires TLS. */
    bool is_dynamic;
};

struct stream;

/* host: name or numeric, IPv6 with or without brackets; all its addresses are tried in turn. The name lookup itself
 * cannot be cancelled. -> a stream, TLS handshake done, or NULL with *error. */
struct stream *stream_connect(const char *host, uint16_t port, const struct stream_config *config,
                              struct xb_error *error);
/* For the reads and writes from now on: a dialogue may be in haste and the transfer after it wait for hours. */
void stream_set_timeout(struct stream *stream, int64_t timeout_ns);
/* Flushes nothing: closes at once and frees. NULL is allowed. */
void stream_free(struct stream *stream);

/* Reads exactly size bytes. -> 0; -ENODATA the peer ended the stream before the first of them, -ECONNRESET ... in the
 * midst of them; -ECANCELED, -ETIMEDOUT, -EPROTO (TLS), other negative errno; with *error. */
int stream_read(struct stream *stream, void *to, size_t size, struct xb_error *error);
/* Reads what is there, 1..size bytes, waiting for the first. -> number of bytes, 0 at the end, or negative errno. */
ssize_t stream_read_some(struct stream *stream, void *to, size_t size, struct xb_error *error);

/* Queues all of it, and writes when the buffer is full. -> 0 or negative errno with *error, then the stream is of no
 * use any more. */
int stream_write(struct stream *stream, const void *data, size_t size, struct xb_error *error);
int stream_flush(struct stream *stream, struct xb_error *error); /* returns when the kernel has everything */

const char *stream_peer_host(const struct stream *stream); /* numeric, v4-mapped addresses as plain IPv4 */
bool stream_tls_info(const struct stream *stream, struct tls_info *info); /* false: plain */

/*
 * A listening socket. Strangers cannot block it: up to STREAM_HALF_OPEN_MAX peers go through their handshakes (and, if
 * there is one, the greeting) side by side, and the first that finishes is returned; the others stay for the next call.
 * When there are more, the one that has sent the fewest bytes has to go, among those the oldest.
 */
struct stream_listener;
struct stream_listener_config {
    struct stream_config stream;  /* of the accepted streams; its tls decides, bind_host is not used */
    int64_t handshake_timeout_ns; /* TLS and greeting together; 0: 5 s */
    /* Sent to each peer first (copied); the peer counts as finished when it has answered with reply_size bytes, which
     * are then the first to be read. So a peer that connects and says nothing stays half-open, without TLS too. */
    const void *greeting;
    size_t greeting_size, reply_size; /* both 0: none */
    /* Asked before the first byte (spec 02 section 15.4), see struct net_config. NULL: all are allowed. */
    const char *(*refusal)(void *ctx, const char *host);
    /* Told for each refused or failed peer, one line. May be NULL. */
    void (*refused)(void *ctx, const char *host, const struct xb_error *error);
    void *ctx;
};

/* host: numeric or name, "0.0.0.0" and "[::]" for any; port 0: the kernel chooses. */
struct stream_listener *stream_listen(const char *host, uint16_t port, const struct stream_listener_config *config,
                                      struct xb_error *error);
void stream_listener_free(struct stream_listener *listener);
uint16_t stream_listener_port(const struct stream_listener *listener);
/* Waits up to timeout_ns (0: for ever) for one peer. -> a stream, or NULL with *error: -ECANCELED, -ETIMEDOUT, ... */
struct stream *stream_accept(struct stream_listener *listener, int64_t timeout_ns, struct xb_error *error);

#endif
