/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pipelines of spec 08 section 3.2, without a shell: donor source | [encrypt=1] | [compressor] | limit | stream,
 * and joiner stream | [decompressor] | [decrypt] | consumer. A configured compressor is a child; a thread feeds it.
 */
#ifndef XB_SST_FLOW_H
#define XB_SST_FLOW_H

#include "sst/transfer.h"

/* Where the data comes from. end (may be NULL) is called when fd has ended, before the joiner is told so: a failure of
 * the program behind fd must not look like the end of the data. */
struct flow_source {
    int fd;
    int (*end)(void *ctx, struct xb_error *error);
    void *ctx;
};

/* Sends all that the source gives until its end, and the end of the stream; progress may be NULL.
 * answer: what the joiner said before it closed in order. -> 0 or negative with *error */
int flow_send(struct transfer *transfer, struct stream *stream, const struct flow_source *from,
              struct progress *progress, char *answer, size_t answer_size, struct xb_error *error);
/* Reads the stream to its end. consume -> 0 or negative with *error. progress may be NULL. */
int flow_receive(struct transfer *transfer, struct stream *stream, struct progress *progress,
                 int (*consume)(void *ctx, const uint8_t *data, size_t size, struct xb_error *error), void *ctx,
                 struct xb_error *error);

#endif
