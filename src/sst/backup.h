/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mariadb-backup (or Percona XtraBackup) as the engine: its command lines (spec 08 sections 3.5 and 3.6). */
#ifndef XB_SST_BACKUP_H
#define XB_SST_BACKUP_H

#include "sst/child.h"
#include "sst/transfer.h"
#include "sst/work.h"

struct backup_source {
    struct transfer *transfer;
    struct child child;
    int fd;                  /* its standard output: the container */
    struct work work[2];     /* temporary directories */
    char log[SST_PATH_SIZE]; /* its words */
};

/* Starts the copy. Always end it with backup_source_end. */
int backup_source_start(struct backup_source *source, struct transfer *transfer, struct xb_error *error);
/* Its output has ended: did it succeed? For flow_source.end, ctx is the source. */
int backup_source_check(void *source, struct xb_error *error);
void backup_source_end(struct backup_source *source); /* ends what still runs, removes what it left */

/* Brings the files in directory to a usable state, and then to their places. */
int backup_prepare(struct transfer *transfer, const char *directory, struct xb_error *error);
int backup_move(struct transfer *transfer, const char *directory, struct xb_error *error);
/* Removes the binary logs that came with the backup: the joiner begins new ones. */
void backup_drop_binary_logs(struct transfer *transfer, const char *directory);

#endif
