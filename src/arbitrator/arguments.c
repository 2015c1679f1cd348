/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command line and configuration file of xebec-arbitrator (spec 07 section 20: the options of garbd). */
#include "arbitrator/arguments.h"

#include "base/options.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SST = 256, KEY_DONOR, KEY_GARBD_HELP = 'h', KEY_GARBD_VERSION = 'v' };

static const struct argp_option command_line[] = {
    {"address", 'a', "ADDRESS", 0, "Group address: gcomm://host:port,host:port", 0},
    {"group", 'g', "NAME", 0, "Group name (wsrep_cluster_name)", 0},
    {"name", 'n', "NAME", 0, "Name of this member (default: garb)", 0},
    {"options", 'o', "LIST", 0, "Provider options: key=value;key=value", 0},
    {"donor", KEY_DONOR, "NAMES", 0, "Donor of the state request", 0},
    {"sst", KEY_SST, "REQUEST", 0,
     "State request; other than 'trivial' it starts a backup on the donor, then this process leaves", 0},
    {"daemon", 'd', NULL, 0, "Run in the background", 0},
    {"log", 'l', "FILE", 0, "Log file (default: stderr, syslog as a daemon)", 0},
    {"workdir", 'w', "DIR", 0, "Working directory (default: the current one)", 0},
    {"cfg", 'c', "FILE", 0, "Configuration file: long option = value, a line each", 0},
    {NULL, KEY_GARBD_HELP, NULL, OPTION_HIDDEN, NULL, 0},
    {NULL, KEY_GARBD_VERSION, NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

static char **field(struct arguments *arguments, const char *key) {
    const struct {
        const char *key;
        char **field;
    } fields[] = {
        {"name", &arguments->name}, {"address", &arguments->address}, {"group", &arguments->group},
        {"sst", &arguments->sst},   {"donor", &arguments->donor},     {"options", &arguments->options},
        {"log", &arguments->log},   {"workdir", &arguments->workdir}, {"cfg", &arguments->cfg},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        if (strcmp(fields[i].key, key) == 0) return fields[i].field;
    return NULL;
}

static int put(char **to, const char *value) {
    char *copy = strdup(value);
    if (!copy) return -ENOMEM;
    free(*to);
    *to = copy;
    return 0;
}

static error_t parse_argument(int key, char *argument, struct argp_state *state) {
    struct arguments *arguments = state->input;
    switch (key) {
    case 'd':
        arguments->is_daemon = true;
        return 0;
    case KEY_GARBD_HELP:
        argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
        return 0;
    case KEY_GARBD_VERSION:
        puts(argp_program_version);
        exit(EXIT_SUCCESS);
    case ARGP_KEY_ARG:
        return put(&arguments->address, argument);
    default:
        break;
    }
    for (const struct argp_option *option = command_line; option->name; option++)
        if (option->key == key) return put(field(arguments, option->name), argument);
    return ARGP_ERR_UNKNOWN;
}

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
    return text;
}

static char *unquote(char *value) {
    size_t n = strlen(value);
    if (n < 2 || value[0] != '"' || value[n - 1] != '"') return value;
    value[n - 1] = 0;
    return value + 1;
}

static int read_line(struct arguments *arguments, char *line, const char *path, int number, struct xb_error *error) {
    line = trim(line);
    if (!*line || *line == '#') return 0;
    char *equals = strchr(line, '=');
    if (!equals) return xb_fail(error, -EINVAL, "%s line %d: '%s' is not 'option = value'", path, number, line);
    *equals = 0;
    char *key = trim(line), *value = unquote(trim(equals + 1));
    if (strcmp(key, "daemon") == 0) {
        if (xb_parse_bool(value, &arguments->is_daemon))
            return xb_fail(error, -EINVAL, "%s line %d: daemon must be 0 or 1, not '%s'", path, number, value);
        return 0;
    }
    char **to = field(arguments, key);
    if (!to) return xb_fail(error, -EINVAL, "%s line %d: unknown option '%s'", path, number, key);
    if (*to) return 0; /* the command line wins */
    return put(to, value);
}

int arguments_read_file(struct arguments *arguments, const char *path, struct xb_error *error) {
    FILE *file = fopen(path, "re");
    if (!file) return xb_fail(error, -errno, "cannot open configuration file '%s': %m", path);
    char *line = NULL;
    size_t size = 0;
    int result = 0;
    for (int number = 1; result == 0 && getline(&line, &size, file) >= 0; number++)
        result = read_line(arguments, line, path, number, error);
    free(line);
    fclose(file);
    return result;
}

static int put_default(char **to, const char *value) {
    return *to ? 0 : put(to, value);
}

int arguments_read(struct arguments *arguments, int argc, char **argv, struct xb_error *error) {
    static const struct argp argp = {
        command_line,
        parse_argument,
        "[ADDRESS]",
        "A voting member of a Galera 4 cluster that holds no data.\v"
        "With socket.ssl_key, socket.ssl_cert and socket.ssl_ca in --options all traffic is over mutual TLS.",
        NULL,
        NULL,
        NULL};
    *arguments = (struct arguments){0};
    if (argp_parse(&argp, argc, argv, 0, NULL, arguments)) return xb_fail(error, -ENOMEM, "no memory");
    if (arguments->cfg) {
        int result = arguments_read_file(arguments, arguments->cfg, error);
        if (result) return result;
    }
    if (!arguments->address || !*arguments->address)
        return xb_fail(error, -EINVAL, "the group address is missing: give --address gcomm://host:port");
    if (!arguments->group || !*arguments->group)
        return xb_fail(error, -EINVAL, "the group name is missing: give --group");
    if (put_default(&arguments->name, "garb") || put_default(&arguments->sst, "trivial") ||
        put_default(&arguments->donor, "") || put_default(&arguments->options, "") ||
        put_default(&arguments->workdir, "."))
        return xb_fail(error, -ENOMEM, "no memory");
    return 0;
}

void arguments_clear(struct arguments *arguments) {
    char *const texts[] = {arguments->name,    arguments->address, arguments->group,   arguments->sst, arguments->donor,
                           arguments->options, arguments->log,     arguments->workdir, arguments->cfg};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) free(texts[i]);
    *arguments = (struct arguments){0};
}
