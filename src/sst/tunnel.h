/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins a stream with a program that speaks on a local socket: what the one says the other hears, both ways, until both
 * have ended. Threads: one a tunnel.
 */
#ifndef XB_SST_TUNNEL_H
#define XB_SST_TUNNEL_H

#include "sst/stream.h"

#define TUNNEL_GREETING_SIZE 64

struct tunnel {
    struct stream *stream; /* its handshake is done */
    int fd;                /* our end of the socket pair, not blocking */
    /* Called with bytes that were read from either side, before they go on; may wait. NULL: nobody counts.
     * -> 0 or negative with *error: the tunnel ends. */
    int (*count)(void *ctx, bool is_from_stream, size_t bytes, struct xb_error *error);
    void *ctx;
    char greeting[TUNNEL_GREETING_SIZE]; /* out: the first bytes of the peer, with NUL */
};

/* The two ends of a local connection: ours does not block, the other is for a program. */
int tunnel_open_pair(int *ours, int *theirs, struct xb_error *error);
/* -> 0 both sides have ended (or the local one, and the peer did not follow), or negative with *error */
int tunnel_run(struct tunnel *tunnel, struct xb_error *error);

#endif
