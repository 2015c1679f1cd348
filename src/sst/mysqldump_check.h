/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The administrator's steps of the method mysqldump, tried before anything is changed on the joiner: each failure names
 * the step and what mends it. */
#ifndef XB_SST_MYSQLDUMP_CHECK_H
#define XB_SST_MYSQLDUMP_CHECK_H

#include "sst/transfer.h"

/* -> 0 or negative with *error */
int mysqldump_check_steps(struct transfer *transfer, struct xb_error *error);

#endif
