/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole files: reading with a bound, writing so that a crash leaves the old or the new one. */
#ifndef XB_CLI_FILES_H
#define XB_CLI_FILES_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FILES_SIZE_MAX (4 << 20)

/* -> the content with a NUL behind it, to be freed, *size (may be NULL) without the NUL; NULL with *error. */
char *files_read(const char *path, size_t *size, struct xb_error *error);

/* Writes beside it and renames; durable when it returns. With is_new an existing file is -EEXIST and stays.
 * -> 0, or a negative errno with *error */
int files_write(const char *path, const void *data, size_t size, mode_t mode, bool is_new, struct xb_error *error);

/* -> "directory/name", to be freed */
char *files_join(const char *directory, const char *name);

/* Makes the directory (mode) if it is not there. -> 0, or a negative errno with *error */
int files_make_directory(const char *path, mode_t mode, struct xb_error *error);

#endif
