/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The donor of the method rsync: which files go in which run, and in which order. */
#include "sst/binlog_archive.h"
#include "sst/datadir.h"
#include "sst/freeze.h"
#include "sst/rsync.h"
#include "sst/rsync_magic.h"
#include "sst/rsync_push.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 16

/* Never sent, and kept where the joiner has them. */
static const char *const foreign_names[] = {"lost+found", ".zfs", ".snapshot", ".sst"};

static bool is_foreign(const char *name) {
    for (size_t i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
        if (strcmp(name, foreign_names[i]) == 0) return true;
    return false;
}

/* A directory inside the data directory that holds InnoDB's or Aria's own files: they go in runs of their own. */
static bool is_engine_directory(const struct transfer *t, const char *path) {
    const struct sst_settings *s = &t->settings;
    const char *places[] = {s->data_home, s->undo_dir, s->log_dir, s->aria_dir};
    struct stat own, place;
    if (stat(path, &own)) return false;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (places[i][0] && stat(places[i], &place) == 0 && own.st_dev == place.st_dev && own.st_ino == place.st_ino)
            return true;
    return false;
}

/* ---- the runs that go one after the other */

/* The joiner loses what the donor does not have, except what the filters leave out. */
static int push_top(struct rsync_sender *s, const char *directory, const char *suffix, const struct words *names,
                    struct xb_error *error) {
    struct words options = {0};
    char source[SST_PATH_SIZE];
    words_add(&options, "--dirs");
    words_add(&options, "--delete");
    for (size_t i = 0; i < names->count; i++) words_addf(&options, "--filter=%s", names->items[i]);
    words_add(&options, "--filter=- /*");
    snprintf(source, sizeof(source), "%s/", directory);
    int rc = options.failed ? xb_fail(error, -ENOMEM, "no memory") : rsync_push(s, source, suffix, &options, error);
    words_free(&options);
    return rc;
}

static int push_directories(struct rsync_sender *s, struct xb_error *error) {
    const struct transfer *t = s->transfer;
    const char *datadir = t->arguments->datadir;
    struct words names = {0};
    for (size_t i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
        words_addf(&names, "- /%s", foreign_names[i]);
    DIR *dir = opendir(datadir);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[SST_PATH_SIZE];
        snprintf(path, sizeof(path), "%s/%s", datadir, entry->d_name);
        if (entry->d_name[0] != '.' && is_engine_directory(t, path)) words_addf(&names, "- /%s", entry->d_name);
    }
    if (dir) closedir(dir);
    words_add(&names, "+ /" BINLOG_ARCHIVE);
    words_add(&names, "+ /*/");
    int rc = push_top(s, datadir, "", &names, error);
    words_free(&names);
    return rc;
}

/* The system tablespace may have other names than ibdata1. */
static void add_data_files(struct words *names, const struct sst_settings *s) {
    const char *at = sst_options_get(&s->options, "mysqld*", "innodb-data-file-path");
    while (at && *at) {
        size_t size = strcspn(at, ":;");
        if (size > 0 && !memchr(at, '/', size)) words_addf(names, "+ /%.*s", (int)size, at);
        at += strcspn(at, ";");
        at += *at == ';';
    }
}

static int push_engine_files(struct rsync_sender *s, struct xb_error *error) {
    const struct sst_settings *settings = &s->transfer->settings;
    const struct {
        const char *place, *suffix, *names[2];
    } runs[] = {{settings->data_home, "-data_dir", {"+ /ibdata*", "+ /ib_lru_dump"}},
                {settings->log_dir, "-log_dir", {"+ /ib_logfile[0-9]*", NULL}},
                {settings->undo_dir, "-undo_dir", {"+ /undo*", NULL}},
                {settings->aria_dir, "-aria_log", {"+ /aria_log_control", "+ /aria_log.*"}}};
    int rc = 0;
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]) && rc == 0; i++) {
        struct words names = {0};
        if (i == 0) add_data_files(&names, settings);
        for (size_t k = 0; k < 2 && runs[i].names[k]; k++) words_add(&names, runs[i].names[k]);
        rc = push_top(s, runs[i].place[0] ? runs[i].place : s->transfer->arguments->datadir, runs[i].suffix, &names,
                      error);
        words_free(&names);
    }
    return rc;
}

/* ---- the directories of the databases, several at once */

struct crowd {
    struct rsync_sender *sender;
    struct words names;
    atomic_size_t next;
    struct xb_error error; /* the first one */
};

static int list_databases(struct crowd *c, struct xb_error *error) {
    const struct transfer *t = c->sender->transfer;
    struct stat st;
    DIR *dir = opendir(t->arguments->datadir);
    if (!dir) return xb_fail(error, -errno, "cannot read '%s': %m", t->arguments->datadir);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        char path[SST_PATH_SIZE];
        const char *name = entry->d_name;
        snprintf(path, sizeof(path), "%s/%s", t->arguments->datadir, name);
        if (!strcmp(name, ".") || !strcmp(name, "..") || is_foreign(name) || is_engine_directory(t, path)) continue;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) words_add(&c->names, name);
    }
    closedir(dir);
    return c->names.failed;
}

/* The name stands in the list of files, not in an argument for the other side, so any name will do. */
static int push_database(struct rsync_sender *s, const char *name, struct xb_error *error) {
    char source[SST_PATH_SIZE];
    struct words options = {0};
    words_add(&options, "--recursive");
    words_add(&options, "--relative");
    words_add(&options, "--delete");
    snprintf(source, sizeof(source), "%s/./%s/", s->transfer->arguments->datadir, name);
    int rc = options.failed ? xb_fail(error, -ENOMEM, "no memory") : rsync_push(s, source, "", &options, error);
    words_free(&options);
    return rc;
}

static void note_failure(struct crowd *c, const struct xb_error *error) {
    pthread_mutex_lock(&c->sender->lock);
    if (!c->error.code) c->error = *error;
    pthread_mutex_unlock(&c->sender->lock);
    watch_stop(&c->sender->watch);
}

static void *push_some(void *ctx) {
    struct crowd *c = ctx;
    for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < c->names.count;) {
        struct xb_error error = {0};
        int rc = push_database(c->sender, c->names.items[i], &error);
        if (rc == 0) continue;
        if (rc != -ECANCELED) note_failure(c, &error);
        break;
    }
    return NULL;
}

static size_t thread_count(const struct sst_settings *s) {
    long wanted = s->backup_threads ? strtol(s->backup_threads, NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);
    return wanted < 1 ? 1 : wanted > THREADS_MAX ? THREADS_MAX : (size_t)wanted;
}

static int push_databases(struct rsync_sender *s, struct xb_error *error) {
    struct crowd c = {.sender = s};
    pthread_t threads[THREADS_MAX];
    size_t wanted = thread_count(&s->transfer->settings), started = 0;
    int rc = list_databases(&c, error);
    while (rc == 0 && started < wanted && pthread_create(&threads[started], NULL, push_some, &c) == 0) started++;
    if (rc == 0 && started == 0) rc = xb_fail(error, -EAGAIN, "cannot start a thread");
    for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    words_free(&c.names);
    if (c.error.code) *error = c.error;
    return rc ? rc : c.error.code;
}

/* ---- the whole */

static int push_magic(struct rsync_sender *s, const char *state, struct xb_error *error) {
    const struct transfer *t = s->transfer;
    struct magic_stage stage = {.is_ist_only = t->arguments->is_bypass};
    struct words options = {0};
    char source[SST_PATH_SIZE];
    snprintf(stage.state, sizeof(stage.state), "%s", state);
    snprintf(stage.secret, sizeof(stage.secret), "%s", t->settings.remote_secret);
    words_add(&options, "--times");
    words_add(&options, "--checksum");
    snprintf(source, sizeof(source), "%s/" RSYNC_MAGIC, t->arguments->datadir);
    int rc =
        options.failed ? xb_fail(error, -ENOMEM, "no memory") : rsync_magic_write(t->arguments->datadir, &stage, error);
    if (rc == 0) rc = rsync_push(s, source, "", &options, error);
    rsync_magic_remove(t->arguments->datadir);
    words_free(&options);
    return rc;
}

static int push_files(struct rsync_sender *s, struct xb_error *error) {
    struct transfer *t = s->transfer;
    char line[PROGRESS_LINE_SIZE];
    uint64_t total = datadir_file_bytes(&t->settings, t->arguments->datadir);
    progress_begin(&s->progress, total, xb_clock_monotonic_ns());
    if (t->arguments->is_progress_wanted) transfer_say(t, NULL, "total %" PRIu64, total);
    int rc = binlog_pack(t, error);
    if (rc == 0) rc = push_directories(s, error);
    if (rc == 0) rc = push_engine_files(s, error);
    if (rc == 0) rc = push_databases(s, error);
    binlog_remove_archive(t);
    if (rc == 0)
        xb_log_info(t->log, "sent to %s, %s", t->address.host,
                    progress_format_end(&s->progress, xb_clock_monotonic_ns(), line));
    return rc;
}

static int donate(struct rsync_sender *s, struct xb_error *error) {
    struct transfer *t = s->transfer;
    char state[MAGIC_LINE_SIZE];
    snprintf(state, sizeof(state), "%.64s %.10s", t->arguments->gtid, t->arguments->gtid_domain_id);
    int rc = 0;
    if (!t->arguments->is_bypass) rc = freeze_server(t, state, error);
    if (rc == 0 && !t->arguments->is_bypass) rc = push_files(s, error);
    if (rc == 0) rc = thaw_server(t, error);
    if (rc == 0) rc = push_magic(s, state, error);
    return rc ? rc : transfer_say(t, error, "done %s", state);
}

int rsync_donor_run(struct transfer *t, struct xb_error *error) {
    struct rsync_sender sender = {.watch.stop_fd = -1};
    int rc = transfer_load_tls(t, error);
    int lock = rc ? rc : datadir_lock(t->arguments->datadir, &t->watch, error);
    if (lock < 0) return lock;
    rc = rsync_sender_open(&sender, t, error);
    if (rc == 0) rc = donate(&sender, error);
    rsync_sender_close(&sender);
    datadir_unlock(t->arguments->datadir, lock);
    return rc;
}
