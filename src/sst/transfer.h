/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What both roles share during one run of the program: context, log, control channel, helpers for waiting. */
#ifndef XB_SST_TRANSFER_H
#define XB_SST_TRANSFER_H

#include "base/log.h"
#include "sst/arguments.h"
#include "sst/progress.h"
#include "sst/settings.h"
#include "sst/stream.h"
#include "sst/watch.h"

#include <stdatomic.h>

#define TRANSFER_BLOCK ((size_t)1 << 20) /* bytes moved at once */
#define TRANSFER_OK "XEBEC-SST ok\n"     /* the joiner's acknowledgement of a whole stage */
#define TRANSFER_FAILED "XEBEC-SST failed: "

struct transfer {
    const struct sst_arguments *arguments;
    struct sst_settings settings;
    struct sst_address address;
    struct watch watch;
    struct stream_tls *tls; /* NULL: plain */
    struct xb_log *log;
    int control_fd;           /* to the server */
    bool is_standalone;       /* started by a person: there is no server that waits */
    int bar_columns;          /* of the terminal at standard error, for a progress bar; 0: lines in the log */
    atomic_bool is_bar_shown; /* the threads of a transfer log, too */
};

/* One line of the control channel (spec 08 sections 2.6 and 2.7). */
int transfer_say(struct transfer *transfer, struct xb_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Counts, and about once a second reports: to the log, and to the server if it listens. */
void transfer_report(struct transfer *transfer, struct progress *progress, uint64_t bytes);
/* The TLS context of the settings, if the mode is one of TLS; once. */
int transfer_load_tls(struct transfer *transfer, struct xb_error *error);

/* The two roles of the methods xtrabackup and mariabackup, and of the method xebec. */
int donor_run(struct transfer *transfer, struct xb_error *error);
int joiner_run(struct transfer *transfer, struct xb_error *error);

#endif
