/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads option files line by line into one list; a look-up goes backwards through it, so that the last one wins. */
#include "sst/option_file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INCLUDE_DEPTH_MAX 10
#define FILE_BYTES_MAX (1 << 20)
#define GROUP_SIZE 128

/* What a server of 10.11 reads. */
static const char *const server_groups[] = {"mysqld",        "mysqld-10.11",  "mariadb",
                                            "mariadb-10.11", "mariadbd",      "mariadbd-10.11",
                                            "server",        "client-server", "galera"};

static int load_file(struct sst_options *options, const char *path, bool must_exist, int depth, struct xb_error *error);

static int add(struct sst_options *options, const char *group, const char *key, size_t key_size, const char *value,
               struct xb_error *error) {
    if (options->count == options->capacity) {
        size_t capacity = options->capacity ? options->capacity * 2 : 64;
        struct sst_option *items = realloc(options->items, capacity * sizeof(*items));
        if (!items) return xb_fail(error, -ENOMEM, "no memory for the options");
        options->items = items;
        options->capacity = capacity;
    }
    struct sst_option *o = &options->items[options->count];
    *o = (struct sst_option){strdup(group), strndup(key, key_size), strdup(value)};
    options->count++;
    if (!o->group || !o->key || !o->value) return xb_fail(error, -ENOMEM, "no memory for the options");
    for (char *c = o->key; *c; c++)
        if (*c == '_') *c = '-';
    if (strncmp(o->key, "loose-", 6) == 0) memmove(o->key, o->key + 6, strlen(o->key + 6) + 1);
    return 0;
}

static char *trim(char *text) {
    text += strspn(text, " \t\r\n");
    size_t size = strlen(text);
    while (size > 0 && isspace((unsigned char)text[size - 1])) text[--size] = '\0';
    return text;
}

/* A '#' outside quotes begins a comment. */
static void cut_comment(char *text) {
    char quote = 0;
    for (char *c = text; *c; c++) {
        if (quote && *c == '\\' && c[1])
            c++;
        else if (quote)
            quote = *c == quote ? 0 : quote;
        else if (*c == '\'' || *c == '"')
            quote = *c;
        else if (*c == '#') {
            *c = '\0';
            return;
        }
    }
}

/* Takes the quotes off and the escapes out, in place. */
static char *unquote(char *value) {
    size_t size = strlen(value);
    if (size >= 2 && (value[0] == '"' || value[0] == '\'') && value[size - 1] == value[0]) {
        value[size - 1] = '\0';
        value++;
    }
    static const char from[] = "nrtbs\\\"'", to[] = "\n\r\t\b \\\"'";
    char *out = value;
    for (const char *in = value; *in; in++) {
        const char *known = *in == '\\' && in[1] ? strchr(from, in[1]) : NULL;
        if (known) in++;
        *out++ = known ? to[known - from] : *in;
    }
    *out = '\0';
    return value;
}

static bool is_option_file_name(const struct dirent *entry) {
    size_t size = strlen(entry->d_name);
    return size > 4 && strcmp(entry->d_name + size - 4, ".cnf") == 0;
}

static int select_option_file(const struct dirent *entry) {
    return is_option_file_name(entry);
}

static int include_directory(struct sst_options *options, const char *directory, int depth, struct xb_error *error) {
    struct dirent **entries;
    int count = scandir(directory, &entries, select_option_file, alphasort);
    if (count < 0) return 0; /* as the server: a missing directory is no error */
    int rc = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
        if (rc == 0) rc = load_file(options, path, false, depth, error);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int parse_directive(struct sst_options *options, const char *path, char *line, int depth,
                           struct xb_error *error) {
    bool is_directory = strncmp(line, "!includedir", 11) == 0 && isspace((unsigned char)line[11]);
    bool is_file = strncmp(line, "!include", 8) == 0 && isspace((unsigned char)line[8]);
    if (!is_directory && !is_file)
        return xb_fail(error, -EINVAL, "option file '%s': unknown directive '%s'", path, line);
    if (depth >= INCLUDE_DEPTH_MAX) return xb_fail(error, -EINVAL, "option file '%s': includes nest too deep", path);
    char *name = trim(line + (is_directory ? 11 : 8));
    return is_directory ? include_directory(options, name, depth + 1, error)
                        : load_file(options, name, true, depth + 1, error);
}

static int parse_line(struct sst_options *options, const char *path, char *line, char group[GROUP_SIZE], int depth,
                      struct xb_error *error) {
    line = trim(line);
    if (*line == '\0' || *line == '#' || *line == ';') return 0;
    if (*line == '!') return parse_directive(options, path, line, depth, error);
    if (*line == '[') {
        char *end = strchr(line, ']');
        if (!end || end - line > GROUP_SIZE)
            return xb_fail(error, -EINVAL, "option file '%s': bad group '%s'", path, line);
        *end = '\0';
        snprintf(group, GROUP_SIZE, "%s", trim(line + 1));
        return 0;
    }
    if (!group[0]) return xb_fail(error, -EINVAL, "option file '%s': '%s' stands before the first [group]", path, line);
    cut_comment(line);
    char *equal = strchr(line, '=');
    if (!equal) return add(options, group, line, strlen(trim(line)), "", error);
    *equal = '\0';
    char *key = trim(line);
    return add(options, group, key, strlen(key), unquote(trim(equal + 1)), error);
}

int sst_options_parse(struct sst_options *options, const char *path, const char *text, int depth,
                      struct xb_error *error) {
    char group[GROUP_SIZE] = "";
    char *copy = strdup(text), *rest = copy, *line;
    int rc = copy ? 0 : xb_fail(error, -ENOMEM, "no memory for the option file '%s'", path);
    while (rc == 0 && (line = strsep(&rest, "\n"))) rc = parse_line(options, path, line, group, depth, error);
    free(copy);
    return rc;
}

static int load_file(struct sst_options *options, const char *path, bool must_exist, int depth,
                     struct xb_error *error) {
    FILE *file = fopen(path, "re");
    if (!file) return must_exist ? xb_fail(error, -ENOENT, "cannot read the option file '%s': %m", path) : 0;
    struct stat st;
    char *text = NULL;
    int rc = 0;
    if (fstat(fileno(file), &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
        rc = xb_fail(error, -EINVAL, "option file '%s' is not a regular file of at most 1 MiB", path);
    else if (!(text = calloc(1, (size_t)st.st_size + 1)))
        rc = xb_fail(error, -ENOMEM, "no memory for the option file '%s'", path);
    else if (fread(text, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
        rc = xb_fail(error, -EIO, "cannot read the option file '%s'", path);
    if (rc == 0) rc = sst_options_parse(options, path, text, depth, error);
    free(text);
    fclose(file);
    return rc;
}

int sst_options_load(struct sst_options *options, const struct sst_option_files *files, struct xb_error *error) {
    *options = (struct sst_options){.suffix = files->group_suffix ? files->group_suffix : ""};
    if (files->defaults_file && *files->defaults_file) return load_file(options, files->defaults_file, true, 0, error);
    int rc = load_file(options, "/etc/my.cnf", false, 0, error);
    if (rc == 0) rc = load_file(options, "/etc/mysql/my.cnf", false, 0, error);
    if (rc == 0 && files->defaults_extra_file && *files->defaults_extra_file)
        rc = load_file(options, files->defaults_extra_file, true, 0, error);
    const char *home = getenv("HOME");
    if (rc == 0 && home) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/.my.cnf", home);
        rc = load_file(options, path, false, 0, error);
    }
    return rc;
}

int sst_options_add_argument(struct sst_options *options, const char *argument, struct xb_error *error) {
    if (strncmp(argument, "--", 2) || !argument[2]) return 0;
    const char *key = argument + 2, *equal = strchr(key, '=');
    return add(options, "mysqld", key, equal ? (size_t)(equal - key) : strlen(key), equal ? equal + 1 : "", error);
}

void sst_options_free(struct sst_options *options) {
    for (size_t i = 0; i < options->count; i++) {
        free(options->items[i].group);
        free(options->items[i].key);
        free(options->items[i].value);
    }
    free(options->items);
    *options = (struct sst_options){0};
}

/* Is `group` the wanted name, or that with the suffix of --defaults-group-suffix? */
static bool is_group(const char *group, const char *wanted, size_t wanted_size, const char *suffix) {
    return strncmp(group, wanted, wanted_size) == 0 &&
           (group[wanted_size] == '\0' || (*suffix && strcmp(group + wanted_size, suffix) == 0));
}

static bool is_wanted(const struct sst_options *options, const char *group, const char *wanted, size_t size) {
    if (size != 7 || strncmp(wanted, "mysqld*", 7)) return is_group(group, wanted, size, options->suffix);
    for (size_t i = 0; i < sizeof(server_groups) / sizeof(server_groups[0]); i++)
        if (is_group(group, server_groups[i], strlen(server_groups[i]), options->suffix)) return true;
    return false;
}

const char *sst_options_get(const struct sst_options *options, const char *groups, const char *key) {
    while (*groups) {
        size_t size = strcspn(groups, ",");
        for (size_t i = options->count; i-- > 0;) {
            const struct sst_option *o = &options->items[i];
            if (strcmp(o->key, key) || !is_wanted(options, o->group, groups, size)) continue;
            if (*o->value) return o->value;
            break;
        }
        groups += size + (groups[size] == ',');
    }
    return NULL;
}

const struct sst_option *sst_options_next(const struct sst_options *options, const char *group, const char *prefix,
                                          size_t *at) {
    while (*at < options->count) {
        const struct sst_option *o = &options->items[(*at)++];
        if (strncmp(o->key, prefix, strlen(prefix)) == 0 && is_wanted(options, o->group, group, strlen(group)))
            return o;
    }
    return NULL;
}
