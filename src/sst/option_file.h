/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's option files (spec 08 section 7.1), with !include and !includedir, read when the program runs.
 * Keys: '_' and '-' are equal, the prefix loose- is dropped, the last occurrence in a group wins.
 */
#ifndef XB_SST_OPTION_FILE_H
#define XB_SST_OPTION_FILE_H

#include "base/error.h"

#include <stddef.h>

struct sst_option {
    char *group, *key, *value; /* value "" for a key without one */
};

struct sst_options {
    struct sst_option *items;
    size_t count, capacity;
    const char *suffix; /* of group names, "" for none; not owned */
};

/* Which files: as the server was told. All may be NULL. */
struct sst_option_files {
    const char *defaults_file, *defaults_extra_file, *group_suffix;
};

/* -> 0, -ENOMEM, -ENOENT (a named file is not there), -EINVAL with *error */
int sst_options_load(struct sst_options *options, const struct sst_option_files *files, struct xb_error *error);
/* One text in the syntax of an option file; `path` is for messages and the base of nothing. depth: 0. */
int sst_options_parse(struct sst_options *options, const char *path, const char *text, int depth,
                      struct xb_error *error);
/* An argument of the server's command line, as if it stood last in [mysqld]. */
int sst_options_add_argument(struct sst_options *options, const char *argument, struct xb_error *error);
void sst_options_free(struct sst_options *options);

/*
 * The value of key in the first of the comma separated groups that has a non-empty one; "mysqld*" means the groups that
 * the server itself reads. -> NULL: nowhere.
 */
const char *sst_options_get(const struct sst_options *options, const char *groups, const char *key);
/* Goes through the options of one such group whose key begins with prefix, in the order of the files; *at is 0 at
 * first.
 * -> NULL: no more. */
const struct sst_option *sst_options_next(const struct sst_options *options, const char *group, const char *prefix,
                                          size_t *at);

#endif
