/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The method xebec: both ends are ours (see piece.h for what they say to each other). */
#ifndef XB_SST_XEBEC_H
#define XB_SST_XEBEC_H

#include "sst/transfer.h"

int xebec_donor_run(struct transfer *transfer, struct xb_error *error);
int xebec_joiner_run(struct transfer *transfer, struct xb_error *error);

#endif
