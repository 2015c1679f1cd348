/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs the backup program. Its words go to mariabackup.STAGE.log in the data directory, as with the stock scripts. */
#include "sst/backup.h"

#include "sst/datadir.h"
#include "sst/key_plugin.h"
#include "sst/words.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const engines[] = {"mariadb-backup", "mariabackup", "xtrabackup"};
#define PIPE_BYTES (1 << 20)

static bool is_in_path(const char *program) {
    char path[SST_PATH_SIZE];
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t size = strcspn(at, ":");
        snprintf(path, sizeof(path), "%.*s/%s", (int)size, at, program);
        if (size > 0 && access(path, X_OK) == 0) return true;
        at += size + (at[size] == ':');
    }
    return false;
}

static int begin_command(struct words *command, struct transfer *t, const char *stage, bool has_files,
                         struct xb_error *error) {
    const struct sst_arguments *a = t->arguments;
    size_t i = 0;
    while (i < 3 && !is_in_path(engines[i])) i++;
    if (i == 3)
        return xb_fail(error, -ENOMSG,
                       "neither mariadb-backup nor xtrabackup is installed: install the package mariadb-backup");
    words_add(command, engines[i]);
    if (has_files && a->defaults_file) words_addf(command, "--defaults-file=%s", a->defaults_file);
    if (has_files && a->defaults_extra_file) words_addf(command, "--defaults-extra-file=%s", a->defaults_extra_file);
    if (has_files && a->defaults_group_suffix)
        words_addf(command, "--defaults-group-suffix=%s", a->defaults_group_suffix);
    words_addf(command, "--%s", stage);
    return 0;
}

static void add_directories(struct words *command, const struct sst_settings *s) {
    const struct {
        const char *option, *path;
    } directories[] = {{"innodb-data-home-dir", s->data_home},
                       {"innodb-undo-directory", s->undo_dir},
                       {"innodb-log-group-home-dir", s->log_dir},
                       {"aria-log-dir-path", s->aria_dir}};
    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++)
        if (directories[i].path[0]) words_addf(command, "--%s=%s", directories[i].option, directories[i].path);
}

static int open_log(const char *directory, const char *stage, char path[SST_PATH_SIZE]) {
    snprintf(path, SST_PATH_SIZE, "%s/mariabackup.%s.log", directory, stage);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0660);
}

/* The last lines of the program's log, which name its reason. */
static void show_log(struct transfer *t, const char *path) {
    char text[2049];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, size > 2048 ? size - 2048 : 0);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *rest = text, *line;
    if (size > 2048) strsep(&rest, "\n");
    while ((line = strsep(&rest, "\n")))
        if (*line) xb_log_error(t->log, "mariadb-backup: %s", line);
}

static int run_stage(struct transfer *t, struct words *command, const char *stage, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    struct child child;
    int64_t start_ns = xb_clock_monotonic_ns();
    int log = open_log(t->arguments->datadir, stage, path);
    int rc = command->failed ? xb_fail(error, -ENOMEM, "no memory") : 0;
    if (rc == 0) rc = child_start(&child, &(struct child_spec){command->items, -1, log, log, NULL, 0}, error);
    if (log >= 0) close(log);
    if (rc) return rc;
    rc = child_wait(&child, &t->watch, XB_NEVER, error);
    child_kill(&child);
    if (rc > 0) {
        show_log(t, path);
        rc = xb_fail(error, -EINVAL, "%s --%s failed with status %d, see '%s'", command->items[0], stage, rc, path);
    }
    if (rc == 0)
        xb_log_info(t->log, "%s: done in %.1f s", stage,
                    (double)(xb_clock_monotonic_ns() - start_ns) / (double)XB_SECOND);
    return rc;
}

static int make_work(struct backup_source *source, const struct transfer *t, struct xb_error *error) {
    const char *base = t->settings.tmpdir ? t->settings.tmpdir : getenv("TMPDIR");
    if (!base || !*base) base = "/tmp";
    work_remove_stale(base);
    for (int i = 0; i < 2; i++) {
        int rc = work_make(&source->work[i], base, error);
        if (rc) return rc;
    }
    return 0;
}

static int make_command(struct words *command, struct backup_source *source, struct transfer *t,
                        struct xb_error *error) {
    const struct sst_arguments *a = t->arguments;
    const struct sst_settings *s = &t->settings;
    int rc = begin_command(command, t, "backup", true, error);
    if (rc) return rc;
    if (s->backup_threads) words_addf(command, "--parallel=%s", s->backup_threads);
    words_add(command, "--databases-exclude=lost+found");
    if (s->backup_options) rc = words_split(command, "inno-backup-opts", s->backup_options, error);
    words_addf(command, "--tmpdir=%s", source->work[0].path);
    add_directories(command, s);
    if (s->user[0]) words_addf(command, "--user=%s", s->user);
    if (a->socket && a->socket[0])
        words_addf(command, "--socket=%s", a->socket);
    else if (a->local_port)
        words_addf(command, "--port=%u", a->local_port);
    if (s->use_memory) words_addf(command, "--use-memory=%s", s->use_memory);
    words_add(command, "--galera-info");
    words_addf(command, "--stream=%s", strcmp(command->items[0], "xtrabackup") ? "mbstream" : "xbstream");
    words_addf(command, "--target-dir=%s", source->work[1].path);
    words_addf(command, "--datadir=%s", a->datadir);
    if (a->server_argument_count && strcmp(command->items[0], "xtrabackup")) {
        words_add(command, "--mysqld-args");
        for (int i = 0; i < a->server_argument_count;
             i++) /* the option files were named already, and must stand first */
            if (strncmp(a->server_arguments[i], "--defaults-", 11)) words_add(command, a->server_arguments[i]);
    }
    return rc ? rc : command->failed;
}

int backup_source_start(struct backup_source *source, struct transfer *t, struct xb_error *error) {
    char password[sizeof(t->settings.account_password) + 16];
    struct words command = {0};
    int ends[2] = {-1, -1}, log = -1;
    *source = (struct backup_source){.transfer = t, .fd = -1, .child = {0, -1, NULL}, .work = {{"", -1}, {"", -1}}};
    int rc = make_work(source, t, error);
    if (rc == 0) rc = make_command(&command, source, t, error);
    if (rc == 0 && pipe2(ends, O_CLOEXEC)) rc = xb_fail(error, -errno, "cannot make a pipe: %m");
    if (rc == 0) {
        fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
        /* By hand the data directory is only read. */
        log = open_log(t->is_standalone ? source->work[0].path : t->arguments->datadir, "backup", source->log);
        snprintf(password, sizeof(password), "MYSQL_PWD=%s", t->settings.account_password);
        rc = child_start(
            &source->child,
            &(struct child_spec){command.items, -1, ends[1], log, t->settings.account_password[0] ? password : NULL, 0},
            error);
        source->child.name = "mariadb-backup";
    }
    explicit_bzero(password, sizeof(password));
    if (log >= 0) close(log);
    if (ends[1] >= 0) close(ends[1]);
    source->fd = ends[0];
    words_free(&command);
    return rc;
}

int backup_source_check(void *ctx, struct xb_error *error) {
    struct backup_source *source = ctx;
    int rc = child_wait(&source->child, &source->transfer->watch, XB_NEVER, error);
    if (rc <= 0) return rc;
    show_log(source->transfer, source->log);
    if (source->transfer->is_standalone)
        return xb_fail(error, -EINVAL, "mariadb-backup failed with status %d, see its last words above", rc);
    return xb_fail(error, -EINVAL, "mariadb-backup failed with status %d, see '%s' on the donor", rc, source->log);
}

void backup_source_end(struct backup_source *source) {
    if (source->fd >= 0) close(source->fd);
    child_kill(&source->child);
    for (int i = 0; i < 2; i++) work_remove(&source->work[i]);
}

int backup_prepare(struct transfer *t, const char *directory, struct xb_error *error) {
    struct words command = {0};
    char plugin[KEY_PLUGIN_NAME_SIZE];
    int rc = key_plugin_adopt(&t->settings.options, directory, plugin, error);
    if (rc == 0) rc = begin_command(&command, t, "prepare", false, error);
    if (rc == 0 && t->settings.apply_options)
        rc = words_split(&command, "inno-apply-opts", t->settings.apply_options, error);
    if (t->settings.use_memory) words_addf(&command, "--use-memory=%s", t->settings.use_memory);
    words_addf(&command, "--target-dir=%s", directory);
    words_addf(&command, "--datadir=%s", directory);
    if (rc == 0) {
        rc = run_stage(t, &command, "prepare", error);
        if (rc == -EINVAL && plugin[0])
            xb_log_error(t->log, "the backup is encrypted at rest: has this node's %s the same keys as the donor's?",
                         plugin);
    }
    words_free(&command);
    return rc;
}

int backup_move(struct transfer *t, const char *directory, struct xb_error *error) {
    struct words command = {0};
    int rc = begin_command(&command, t, "move-back", true, error);
    if (t->settings.backup_threads) words_addf(&command, "--parallel=%s", t->settings.backup_threads);
    if (rc == 0 && t->settings.move_options)
        rc = words_split(&command, "inno-move-opts", t->settings.move_options, error);
    add_directories(&command, &t->settings);
    words_add(&command, "--galera-info");
    words_add(&command, "--force-non-empty-directories");
    words_addf(&command, "--target-dir=%s", directory);
    words_addf(&command, "--datadir=%s", t->arguments->datadir);
    if (rc == 0) rc = run_stage(t, &command, "move-back", error);
    words_free(&command);
    return rc;
}

void backup_drop_binary_logs(struct transfer *t, const char *directory) {
    char pattern[SST_PATH_SIZE];
    glob_t found;
    const char *base = t->arguments->binlog;
    if (!base || !*base) return;
    const char *slash = strrchr(base, '/');
    snprintf(pattern, sizeof(pattern), "%s/%s.[0-9]*", directory, slash ? slash + 1 : base);
    if (glob(pattern, GLOB_NOSORT, NULL, &found)) return;
    for (size_t i = 0; i < found.gl_pathc; i++) unlink(found.gl_pathv[i]);
    globfree(&found);
}
