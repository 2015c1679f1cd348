/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The joiner's and donor's data directory: mutual exclusion, the marker, taking old data away (spec 08
 * sections 2.10, 3.6, 7.3). */
#ifndef XB_SST_DATADIR_H
#define XB_SST_DATADIR_H

#include "sst/settings.h"
#include "sst/watch.h"

#include <stdbool.h>

/* Locks DATADIR/wsrep_sst.pid, so that two programs never work on it; the lock dies with us, so a stale file is
 * harmless. Waits up to 30 s. -> descriptor or -EALREADY with *error */
int datadir_lock(const char *datadir, const struct watch *watch, struct xb_error *error);
void datadir_unlock(const char *datadir, int fd);

int datadir_mark(const char *datadir, struct xb_error *error); /* creates sst_in_progress */
void datadir_unmark(const char *datadir);
int datadir_make_directories(const struct sst_settings *settings, struct xb_error *error);

/* Is the entry kept when old data is removed? Pure. */
bool datadir_is_kept(const char *path, const char *pattern);
/* Removes the old data of all the server's directories, binary logs included. */
int datadir_clean(const struct sst_settings *settings, const struct sst_arguments *arguments, struct xb_error *error);
void datadir_remove_binary_logs(const struct sst_arguments *arguments);
int datadir_remove_tree(const char *path); /* fine if it is not there */
/* Bytes that a backup will have to copy. */
uint64_t datadir_footprint(const struct sst_settings *settings, const char *datadir);
/* Bytes of the files that rsync copies. */
uint64_t datadir_file_bytes(const struct sst_settings *settings, const char *datadir);
uint64_t datadir_free_bytes(const char *path);
/* flags: of open(2). -> a locked descriptor of what has the name now, -EWOULDBLOCK, or another negative errno */
int datadir_try_lock(const char *path, int flags);
/* What datadir_clean would free in the file system of the data directory. */
uint64_t datadir_removable_bytes(const struct sst_settings *settings, const char *datadir);

#endif
