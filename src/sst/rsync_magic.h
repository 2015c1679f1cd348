/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rsync_sst_complete, the last file of a transfer by rsync: position, the joiner's secret, IST only. Pure but for
 * files.
 */
#ifndef XB_SST_RSYNC_MAGIC_H
#define XB_SST_RSYNC_MAGIC_H

#include "sst/magic.h"

#define RSYNC_MAGIC "rsync_sst_complete"

/* Of struct magic_stage: state, secret, is_ist_only. -> 0 or negative with *error */
int rsync_magic_write(const char *datadir, const struct magic_stage *stage, struct xb_error *error);
/* -> 0, -ENOENT without *error: it is not there, or -EBADMSG with *error */
int rsync_magic_read(const char *datadir, struct magic_stage *stage, struct xb_error *error);
void rsync_magic_remove(const char *datadir);

#endif
