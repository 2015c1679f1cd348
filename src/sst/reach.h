/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The donor's way to the joiner's port: patience, handshake, and the name of the certificate (spec 08 section 8.1). */
#ifndef XB_SST_REACH_H
#define XB_SST_REACH_H

#include "sst/transfer.h"

/* Tries for donor-timeout. -> 0 with the stream ready for data, or negative with *error. Threads: any. */
int reach_joiner(struct transfer *transfer, struct stream *stream, struct xb_error *error);

#endif
