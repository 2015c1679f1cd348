/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Working directories of the backup program. Each is locked while its owner lives, so that those of a killed program
 * are known, and go when the next one starts. */
#ifndef XB_SST_WORK_H
#define XB_SST_WORK_H

#include "sst/settings.h"

struct work {
    char path[SST_PATH_SIZE]; /* "": none */
    int lock_fd;
};

int work_make(struct work *work, const char *base, struct xb_error *error); /* in the directory base */
void work_remove(struct work *work);                                        /* fine if there is none */
void work_remove_stale(const char *base);                                   /* this user's, whose owner has died */

#endif
