/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listener that strangers cannot end (spec 08 section 12.3): every connection is examined in a thread of its own, bad
 * ones are dropped with a line in the log, and the first good one wins. Only who fails as a donor with other settings
 * would (its mode, its certificate) shortens the waiting, to RECEPTION_SUSPICION_S: its server may wait for us to end.
 */
#ifndef XB_SST_RECEPTION_H
#define XB_SST_RECEPTION_H

#include "sst/transfer.h"

#define RECEPTION_SUSPICION_S 20
/* Does a connection that failed with this code look like the real donor, differently configured? */
bool reception_is_suspicious(int rc, const struct stream *stream);

/* judge is called with a connection whose handshake is done, in any thread: -> 0 it is the right one. Its own result is
 * kept in the place that `result` names (result_size bytes, one a connection), the winner's is copied to *result. */
struct reception {
    struct transfer *transfer;
    int listen_fd;
    int (*judge)(struct transfer *transfer, const void *ctx, struct stream *stream, void *result,
                 struct xb_error *error);
    const void *ctx;
    void *result;
    size_t result_size;
};

/* -> 0 with the connection in *winner, still open; -ETIMEDOUT without text unless a suspicion made it, or negative with
 * *error */
int reception_run(const struct reception *reception, int64_t deadline_ns, struct stream *winner,
                  struct xb_error *error);

#endif
