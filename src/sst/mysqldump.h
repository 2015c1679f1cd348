/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The method mysqldump (spec 08 section 5): only the donor has a program; it feeds a dump to the joiner's running
 * server, and setting that server's position ends the transfer. */
#ifndef XB_SST_MYSQLDUMP_H
#define XB_SST_MYSQLDUMP_H

#include "sst/transfer.h"

int mysqldump_donor_run(struct transfer *transfer, struct xb_error *error);

#endif
