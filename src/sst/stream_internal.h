/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files stream*.c only. */
#ifndef XB_SST_STREAM_INTERNAL_H
#define XB_SST_STREAM_INTERNAL_H

#include "sst/stream.h"

/* Waits for the stream's descriptor, with its idle timeout. */
int stream_wait(struct stream *stream, short events, int64_t deadline_ns, struct xb_error *error);
/* After a failed SSL call, waits: -> 0 try again, 1 the peer ended the stream, negative with *error. */
int stream_retry(struct stream *stream, int result, int64_t deadline_ns, struct xb_error *error);
/* OpenSSL's last error in words, with advice. -> -EPROTO */
int stream_explain(struct stream *stream, struct xb_error *error);

#endif
