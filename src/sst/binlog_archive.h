/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The donor's newest binary logs as a tar file (spec 08 section 4): they carry its GTID state to the joiner. */
#ifndef XB_SST_BINLOG_ARCHIVE_H
#define XB_SST_BINLOG_ARCHIVE_H

#include "sst/transfer.h"

#define BINLOG_ARCHIVE "wsrep_sst_binlog.tar"

/* Packs the last sst-max-binlogs (default 1) binary logs into DATADIR/BINLOG_ARCHIVE; none: there is no file.
 * -> 0 or negative with *error */
int binlog_pack(struct transfer *transfer, struct xb_error *error);
/* The joiner's binary logs are replaced by those of the archive, under the joiner's own name, and listed in its index.
 * Fine if there is no archive or the joiner writes no binary log. */
int binlog_unpack(struct transfer *transfer, struct xb_error *error);
void binlog_remove_archive(const struct transfer *transfer);

/* "x/mysql-bin.000012" -> "000012", NULL: not the name of a binary log. Pure. */
const char *binlog_number(const char *path);

#endif
