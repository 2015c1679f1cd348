/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between `flush tables` and `continue` the donor's server changes no file (spec 08 section 2.7). */
#ifndef XB_SST_FREEZE_H
#define XB_SST_FREEZE_H

#include "sst/magic.h"
#include "sst/transfer.h"

/* Asks the server to hold still and waits until it does, however long its queries take. state: its position,
 * "UUID:SEQNO DOMAIN". -> 0 or negative with *error. The server goes on by itself when the program ends. */
int freeze_server(struct transfer *transfer, char state[MAGIC_LINE_SIZE], struct xb_error *error);
int thaw_server(struct transfer *transfer, struct xb_error *error);

#endif
