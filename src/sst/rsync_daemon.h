/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rsync on the joiner: it serves one connection on its standard input and output, and writes into the server's
 * directories only. */
#ifndef XB_SST_RSYNC_DAEMON_H
#define XB_SST_RSYNC_DAEMON_H

#include "sst/transfer.h"

/* Writes the configuration and tries out every directory. -> 0 or negative with *error */
int rsync_daemon_prepare(struct transfer *transfer, struct xb_error *error);
void rsync_daemon_remove_files(const struct transfer *transfer);
/* Serves the connection until it ends. -> 0 rsync has done what the donor wanted, or negative with *error.
 * Threads: any, one a connection. */
int rsync_daemon_serve(struct transfer *transfer, struct stream *stream,
                       int (*count)(void *ctx, bool is_from_stream, size_t bytes, struct xb_error *error), void *ctx,
                       struct xb_error *error);

#endif
