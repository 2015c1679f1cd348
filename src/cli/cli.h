/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line `xebec`: commands, exit codes, and what all commands share.
 *
 * One file a command (cmd_X.c) with a function cli_X(argc, argv): argv[0] is the whole name, "xebec cert init", so that
 * argp's texts show it. One process, one command, one thread: what ends early leaves its memory to the kernel.
 * Results go to standard output, troubles to standard error.
 */
#ifndef XB_CLI_CLI_H
#define XB_CLI_CLI_H

#include "base/error.h"

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Documented in xebec(1). */
enum cli_exit {
    CLI_GOOD = 0,     /* done; nothing to complain about (notes and warnings may have been shown) */
    CLI_FINDINGS = 1, /* looked, and found errors (with --strict: or warnings) */
    CLI_USAGE = 2,    /* wrong options */
    CLI_FAILED = 3,   /* could not do it: file, network, node; what was begun is undone or said */
};

/* Options that every command has; argp child `cli_common_argp`, its input a struct cli_common. */
struct cli_common {
    bool is_json;
    bool is_colour;
};
extern const struct argp cli_common_argp;

/* Runs argp for a command. input is the parser's; the child gets *common. -> 0; ends the process with CLI_USAGE or 0.
 */
void cli_parse(const struct argp_option *options, argp_parser_t parser, const char *args_doc, const char *doc, int argc,
               char **argv, struct cli_common *common, void *input);

/* Prints "COMMAND: text" to standard error -> code. */
int cli_trouble(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of progress at once, unless the answer is to be JSON. */
void cli_progress(const struct cli_common *common, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Looks until `look` returns 0, or limit_ms are over: nothing tells when another machine is ready, it can only be
 * asked.
 * -> 0, or what it returned last, with its *error */
int cli_await(int (*look)(void *ctx, struct xb_error *error), void *ctx, int64_t limit_ms, struct xb_error *error);

int cli_cert_init(int argc, char **argv);
int cli_cert_check(int argc, char **argv);
int cli_config(int argc, char **argv);
int cli_options(int argc, char **argv);
int cli_deploy(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_audit(int argc, char **argv);
int cli_rotate(int argc, char **argv);
int cli_encrypt(int argc, char **argv);

#endif
