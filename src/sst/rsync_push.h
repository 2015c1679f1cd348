/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run of rsync on the donor: its own connection to the joiner, and the program that speaks on it. */
#ifndef XB_SST_RSYNC_PUSH_H
#define XB_SST_RSYNC_PUSH_H

#include "sst/words.h"
#include "sst/transfer.h"

#include <pthread.h>

/* What all runs share. */
struct rsync_sender {
    struct transfer *transfer;
    struct watch watch;   /* stopped when one run has failed */
    pthread_mutex_t lock; /* of what follows */
    struct progress progress;
    struct limit limit;
    char shell[SST_PATH_SIZE + 64]; /* what rsync starts in place of ssh */
};

int rsync_sender_open(struct rsync_sender *sender, struct transfer *transfer, struct xb_error *error);
void rsync_sender_close(struct rsync_sender *sender);

/* Copies source to the joiner's module; suffix is that behind the module's name ("" or "-log_dir"). options: filters
 * and what else this run needs. -> 0 the joiner has it all, or negative with *error. Threads: any, one a run. */
int rsync_push(struct rsync_sender *sender, const char *source, const char *suffix, const struct words *options,
               struct xb_error *error);

#endif
