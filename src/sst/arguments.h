/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line by which the server starts a state transfer program (spec 08 section 2.4).
 * Pointers go into argv, which must outlive the struct.
 */
#ifndef XB_SST_ARGUMENTS_H
#define XB_SST_ARGUMENTS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum sst_role { SST_DONOR, SST_JOINER }; /* donor is the default: mysqldump is started without a role */

enum sst_method { SST_METHOD_BACKUP, SST_METHOD_XEBEC, SST_METHOD_RSYNC, SST_METHOD_MYSQLDUMP };

struct sst_arguments {
    enum sst_method method;
    const char *program; /* as called, without directory */
    enum sst_role role;
    const char *address;
    const char *datadir;
    const char *defaults_file, *defaults_extra_file, *defaults_group_suffix; /* NULL: not given */
    int64_t parent_pid;                                                      /* 0: not given */
    bool has_progress, is_progress_wanted; /* has: the server understands progress lines */
    uint16_t port, local_port;             /* 0: not given */
    const char *socket;
    const char *gtid; /* UUID:SEQNO, mysqldump: with ",domain-server-seq" */
    const char *gtid_domain_id;
    const char *binlog, *binlog_index;
    bool is_bypass;
    char **server_arguments; /* behind --mysqld-args; NULL-terminated as argv is */
    int server_argument_count;
};

/* -> 0 or -EINVAL, -ENOENT (no such method) with *error. Unknown options and their values are passed over. */
int sst_arguments_read(struct sst_arguments *arguments, int argc, char **argv, struct xb_error *error);

/* Is text `UUID:SEQNO`, and behind it nothing, a blank or a comma? */
bool sst_is_gtid(const char *text);

#endif
