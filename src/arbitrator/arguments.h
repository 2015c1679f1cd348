/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the command line and the configuration file of xebec-arbitrator say. */
#ifndef XB_ARBITRATOR_ARGUMENTS_H
#define XB_ARBITRATOR_ARGUMENTS_H

#include "base/error.h"

#include <stdbool.h>

struct arguments {
    bool is_daemon;
    char *name, *address, *group, *sst, *donor, *options, *log, *workdir, *cfg;
};

/* Reads the command line (argp: --help and --version end the process), then the --cfg file: what the command line gave
 * wins. -> 0, or -EINVAL with *error. */
int arguments_read(struct arguments *arguments, int argc, char **argv, struct xb_error *error);
void arguments_clear(struct arguments *arguments);

/* Lines `key = value`, # comments, one pair of double quotes around a value is taken off; keys are the long options.
 * -> 0, or a negative errno with *error naming file and line. */
int arguments_read_file(struct arguments *arguments, const char *path, struct xb_error *error);

#endif
