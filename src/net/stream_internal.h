/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by stream.c and stream_listener.c. */
#ifndef XB_NET_STREAM_INTERNAL_H
#define XB_NET_STREAM_INTERNAL_H

#include "net/socket.h"
#include "net/stream.h"

#include <stdatomic.h>

/* socket.dynamic: how long each side waits for a first byte (spec 02 section 17). */
#define STREAM_DETECT_DIAL_NS (500 * XB_MS)
#define STREAM_DETECT_ACCEPT_NS (750 * XB_MS)

#define STREAM_KEEPALIVE_NS (60 * XB_SECOND) /* of silence, until the kernel asks whether the peer is alive */

struct stream_cancel {
    _Atomic(bool) is_set;
    int fd; /* readable for ever once set */
};

struct stream {
    int fd;
    struct tls_context *context;
    struct tls_session *tls; /* NULL: plain */
    struct stream_cancel *cancel;
    int64_t timeout_ns;
    char host[STREAM_HOST_SIZE];
    uint64_t received; /* bytes from the socket, for the listener's choice whom to drop */
    uint8_t *in;       /* STREAM_BUFFER_BYTES, in use from in_begin to in_end */
    size_t in_begin, in_end;
    uint8_t *out;
    size_t out_size;
};

/* Takes over the descriptor. tls: a context or NULL. -> NULL without memory, the descriptor is closed then */
struct stream *stream_new(int fd, const char *host, const struct stream_config *config);
int stream_start_tls(struct stream *stream, bool is_server); /* 0 or -ENOMEM */
/* One step without waiting: sends what is ready, takes what is there. -> 0 done, -EAGAIN, or an error */
int stream_handshake_step(struct stream *stream, struct xb_error *error);
/* Takes bytes from the peer into the read buffer without waiting. -> 0 (also if there are none), -ENODATA at the end,
 * or an error */
int stream_fill(struct stream *stream, struct xb_error *error);
/* Waits until a socket is ready. deadline_ns: XB_NEVER for none. -> 0, -ECANCELED, -ETIMEDOUT */
int stream_wait(int fd, short events, const struct stream_cancel *cancel, int64_t deadline_ns, struct xb_error *error);
/* Writes it to the socket, waiting if need be. */
int stream_push(struct stream *stream, const void *data, size_t size, struct xb_error *error);
int stream_push_tls_output(struct stream *stream, struct xb_error *error);

#endif
