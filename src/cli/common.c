/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all commands share: the options --json and --color, and how troubles are told. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 100

enum { KEY_JSON = 0x1000, KEY_COLOUR };

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "Answer in JSON, for machines", -2},
    {"color", KEY_COLOUR, "WHEN", 0, "auto (on a terminal, unless NO_COLOR is set), always or never", -2},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct cli_common *common = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        *common = (struct cli_common){.is_colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
        return 0;
    case KEY_JSON:
        common->is_json = true;
        return 0;
    case KEY_COLOUR:
        if (!strcmp(value, "always"))
            common->is_colour = true;
        else if (!strcmp(value, "never"))
            common->is_colour = false;
        else if (strcmp(value, "auto"))
            argp_error(state, "--color is auto, always or never");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_common_argp = {options, parse, NULL, NULL, NULL, NULL, NULL};

struct parents {
    argp_parser_t parser;
    void *input;
    struct cli_common *common;
};

static error_t parse_parent(int key, char *value, struct argp_state *state) {
    struct parents *parents = state->input;
    if (key == ARGP_KEY_INIT) state->child_inputs[0] = parents->common;
    state->input = parents->input;
    error_t result = parents->parser(key, value, state);
    state->input = parents;
    return result;
}

void cli_parse(const struct argp_option *own, argp_parser_t parser, const char *args_doc, const char *doc, int argc,
               char **argv, struct cli_common *common, void *input) {
    static const struct argp_child children[] = {{&cli_common_argp, 0, NULL, 0}, {0}};
    struct parents parents = {parser, input, common};
    struct argp argp = {own, parse_parent, args_doc, doc, children, NULL, NULL};
    error_t result = argp_parse(&argp, argc, argv, 0, NULL, &parents);
    if (result) exit(cli_trouble(CLI_USAGE, "%s", strerror(result)));
}

int cli_trouble(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return code;
}

void cli_progress(const struct cli_common *common, const char *format, ...) {
    va_list arguments;
    if (common->is_json) return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int cli_await(int (*look)(void *ctx, struct xb_error *error), void *ctx, int64_t limit_ms, struct xb_error *error) {
    for (int64_t end = now_ms() + limit_ms;;) {
        struct xb_error now = {0};
        int result = look(ctx, &now);
        if (result == 0) return 0;
        if (now_ms() > end) {
            *error = now;
            return result;
        }
        usleep(LOOK_AGAIN_MS * 1000);
    }
}
