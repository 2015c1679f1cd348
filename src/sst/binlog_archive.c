/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GNU tar does the packing. What it unpacks goes to a directory of its own; only binary logs leave that. */
#include "sst/binlog_archive.h"

#include "sst/child.h"
#include "sst/datadir.h"
#include "sst/words.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX 100000

const char *binlog_number(const char *path) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    size_t digits = dot ? strspn(dot + 1, "0123456789") : 0;
    return digits >= 6 && dot[1 + digits] == '\0' ? dot + 1 : NULL;
}

static void archive_path(const struct transfer *t, char path[SST_PATH_SIZE]) {
    snprintf(path, SST_PATH_SIZE, "%s/" BINLOG_ARCHIVE, t->arguments->datadir);
}

void binlog_remove_archive(const struct transfer *t) {
    char path[SST_PATH_SIZE];
    archive_path(t, path);
    unlink(path);
}

/* Names of the configuration are relative to the data directory. */
static void absolute(const struct transfer *t, const char *name, const char *suffix, char path[SST_PATH_SIZE]) {
    bool is_absolute = *name == '/';
    snprintf(path, SST_PATH_SIZE, "%s%s%s%s", is_absolute ? "" : t->arguments->datadir, is_absolute ? "" : "/", name,
             suffix);
}

static void index_path(const struct transfer *t, char path[SST_PATH_SIZE]) {
    const struct sst_arguments *a = t->arguments;
    if (a->binlog_index && *a->binlog_index)
        absolute(t, a->binlog_index, strstr(a->binlog_index, ".index") ? "" : ".index", path);
    else
        absolute(t, a->binlog, ".index", path);
}

static int run_tar(struct transfer *t, struct words *command, struct xb_error *error) {
    struct child child;
    int rc = command->failed ? xb_fail(error, -ENOMEM, "no memory") : 0;
    if (rc == 0) rc = child_start(&child, &(struct child_spec){command->items, -1, -1, -1, NULL, 0}, error);
    if (rc) return rc;
    rc = child_wait(&child, &t->watch, XB_NEVER, error);
    child_kill(&child);
    return rc > 0 ? xb_fail(error, -EIO, "tar failed with status %d on '%s'", rc, BINLOG_ARCHIVE) : rc;
}

static void add_member(struct words *command, const struct transfer *t, const char *name) {
    char path[SST_PATH_SIZE];
    absolute(t, name, "", path);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    words_add(command, "-C");
    words_add(command, *path ? path : "/");
    words_addf(command, "--add-file=%s", slash + 1);
}

/* -> the lines of the index, or nothing */
static struct words read_index(const struct transfer *t) {
    char path[SST_PATH_SIZE], line[SST_PATH_SIZE];
    struct words names = {0};
    index_path(t, path);
    FILE *file = fopen(path, "re");
    while (file && names.count < NAMES_MAX && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (binlog_number(line)) words_add(&names, line);
    }
    if (file) fclose(file);
    return names;
}

int binlog_pack(struct transfer *t, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    struct words command = {0};
    binlog_remove_archive(t);
    if (!t->arguments->binlog || !t->arguments->binlog[0]) return 0;
    struct words names = read_index(t);
    int64_t wanted = t->settings.max_binlogs;
    size_t first = wanted >= 0 && names.count > (size_t)wanted ? names.count - (size_t)wanted : 0;
    int rc = 0;
    if (first < names.count) {
        archive_path(t, path);
        words_add(&command, "tar");
        words_add(&command, "--create");
        words_addf(&command, "--file=%s", path);
        for (size_t i = first; i < names.count; i++) add_member(&command, t, names.items[i]);
        rc = run_tar(t, &command, error);
    }
    words_free(&command);
    words_free(&names);
    return rc;
}

/* ---- the joiner */

struct place {
    char base[SST_PATH_SIZE];      /* the joiner's own name of its binary logs, absolute */
    char directory[SST_PATH_SIZE]; /* beside them: where tar unpacks */
};

static int unpack(struct transfer *t, const char *archive, const struct place *place, struct xb_error *error) {
    struct words command = {0};
    words_add(&command, "tar");
    words_add(&command, "--extract");
    words_addf(&command, "--file=%s", archive);
    words_add(&command, "--no-same-owner");
    words_add(&command, "--no-same-permissions");
    words_addf(&command, "--directory=%s", place->directory);
    int rc = run_tar(t, &command, error);
    words_free(&command);
    return rc;
}

static int select_log(const struct dirent *entry) {
    return binlog_number(entry->d_name) != NULL;
}

static int move_logs(struct transfer *t, const struct place *place, FILE *list, struct xb_error *error) {
    struct dirent **entries;
    int count = scandir(place->directory, &entries, select_log, alphasort), rc = 0;
    if (count < 0) return xb_fail(error, -errno, "cannot read '%s': %m", place->directory);
    const char *name = t->arguments->binlog;
    for (int i = 0; i < count; i++) {
        char from[SST_PATH_SIZE + 300], to[SST_PATH_SIZE + 300];
        struct stat st;
        const char *number = binlog_number(entries[i]->d_name);
        snprintf(from, sizeof(from), "%s/%s", place->directory, entries[i]->d_name);
        snprintf(to, sizeof(to), "%s.%s", place->base, number);
        bool is_file = lstat(from, &st) == 0 && S_ISREG(st.st_mode);
        if (rc == 0 && is_file && rename(from, to))
            rc = xb_fail(error, -errno, "cannot move '%s' to '%s': %m", from, to);
        if (rc == 0 && is_file) fprintf(list, "%s%s.%s\n", strchr(name, '/') ? "" : "./", name, number);
        free(entries[i]);
    }
    free(entries);
    return rc;
}

static int install(struct transfer *t, const struct place *place, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    index_path(t, path);
    FILE *list = fopen(path, "we");
    if (!list) return xb_fail(error, -errno, "cannot write '%s': %m", path);
    int rc = move_logs(t, place, list, error);
    if (fclose(list) && rc == 0) rc = xb_fail(error, -errno, "cannot write '%s': %m", path);
    return rc;
}

int binlog_unpack(struct transfer *t, struct xb_error *error) {
    char archive[SST_PATH_SIZE];
    struct place place;
    archive_path(t, archive);
    if (!t->arguments->binlog || !t->arguments->binlog[0] || access(archive, F_OK)) return 0;
    absolute(t, t->arguments->binlog, "", place.base);
    snprintf(place.directory, sizeof(place.directory), "%.*s/.xebec-binlog-XXXXXX",
             (int)(strrchr(place.base, '/') - place.base), place.base);
    if (!mkdtemp(place.directory)) return xb_fail(error, -errno, "cannot make '%s': %m", place.directory);
    datadir_remove_binary_logs(t->arguments);
    int rc = unpack(t, archive, &place, error);
    if (rc == 0) rc = install(t, &place, error);
    datadir_remove_tree(place.directory);
    binlog_remove_archive(t);
    return rc;
}
