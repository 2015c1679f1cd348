/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The method rsync (spec 08 section 4): the donor's server holds still while its files are copied into the joiner's
 * data directory. rsync's own daemon protocol on the wire, plain or inside TLS, as the stock script has it with
 * stunnel. rsync never sees the network: it speaks on local sockets, and our program carries that to the other side.
 */
#ifndef XB_SST_RSYNC_H
#define XB_SST_RSYNC_H

#include "sst/transfer.h"

#define RSYNC_MODULE "rsync_sst"

int rsync_donor_run(struct transfer *transfer, struct xb_error *error);
int rsync_joiner_run(struct transfer *transfer, struct xb_error *error);

#endif
