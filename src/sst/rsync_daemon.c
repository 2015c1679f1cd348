/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration of rsync's daemon, and its life for one connection. */
#include "sst/rsync_daemon.h"

#include "sst/child.h"
#include "sst/rsync.h"
#include "sst/tunnel.h"
#include "sst/words.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define END_NS (30 * XB_SECOND) /* for the daemon, once its connection has ended */

struct module {
    const char *suffix, *path;
};

#define MODULES 5

static void list_modules(const struct transfer *t, struct module modules[MODULES]) {
    const struct sst_settings *s = &t->settings;
    const struct module all[MODULES] = {{"", ""},
                                        {"-data_dir", s->data_home},
                                        {"-log_dir", s->log_dir},
                                        {"-undo_dir", s->undo_dir},
                                        {"-aria_log", s->aria_dir}};
    for (size_t i = 0; i < MODULES; i++)
        modules[i] = (struct module){all[i].suffix, all[i].path[0] ? all[i].path : t->arguments->datadir};
}

static void file_path(const struct transfer *t, const char *name, char path[SST_PATH_SIZE]) {
    snprintf(path, SST_PATH_SIZE, "%s/%s", t->arguments->datadir, name);
}

void rsync_daemon_remove_files(const struct transfer *t) {
    char path[SST_PATH_SIZE];
    file_path(t, "rsync_sst.conf", path);
    unlink(path);
    file_path(t, "rsync_sst.log", path);
    unlink(path);
}

/* rsync expands %NAME% in values, and a line ends a value. */
static int check_path(const char *path, struct xb_error *error) {
    if (*path == '/' && !strpbrk(path, "%\n") && path[strlen(path) - 1] != '\\') return 0;
    return xb_fail(error, -EINVAL, "rsync cannot be given the directory '%s': it must be absolute, without %% in it",
                   path);
}

/* A directory of the engine inside the data directory is not the donor's to delete. */
static void protect(FILE *file, const struct transfer *t, const struct module modules[MODULES]) {
    size_t size = strlen(t->arguments->datadir);
    while (size > 1 && t->arguments->datadir[size - 1] == '/') size--;
    fprintf(file, "filter = P /.sst P /lost+found");
    for (size_t i = 1; i < MODULES; i++) {
        const char *path = modules[i].path;
        if (strncmp(path, t->arguments->datadir, size) || path[size] != '/') continue;
        const char *name = path + size + strspn(path + size, "/.");
        size_t first = strcspn(name, "/");
        if (first > 0 && !memchr(name, ' ', first)) fprintf(file, " P /%.*s", (int)first, name);
    }
    fprintf(file, "\n");
}

static void write_modules(FILE *file, const struct transfer *t, const struct module modules[MODULES]) {
    fprintf(file, "use chroot = no\nread only = no\nwrite only = yes\nlist = no\nreverse lookup = no\n"
                  "timeout = 300\n");
    /* We are the server's user. Without these lines rsync's daemon becomes nobody when that is root. */
    if (geteuid() == 0) fprintf(file, "uid = 0\ngid = %u\n", getegid());
    fprintf(file, "log file = %s/rsync_sst.log\n", t->arguments->datadir);
    for (size_t i = 0; i < MODULES; i++) {
        fprintf(file, "[" RSYNC_MODULE "%s]\npath = %s\nexclude = .zfs\n", modules[i].suffix, modules[i].path);
        if (i == 0) protect(file, t, modules);
    }
}

/* Can files be created, changed and removed in the directory? */
static int probe(const char *directory, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/.xebec-probe-XXXXXX", directory);
    int fd = mkstemp(path);
    int rc = fd < 0 || fchmod(fd, 0660) ? -errno : 0;
    if (fd >= 0) {
        close(fd);
        if (unlink(path) && rc == 0) rc = -errno;
    }
    errno = -rc;
    return rc ? xb_fail(error, rc,
                        "cannot create, change and remove files in '%s': %m; it must belong to the user of the server "
                        "(uid %u)",
                        directory, geteuid())
              : 0;
}

int rsync_daemon_prepare(struct transfer *t, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    struct module modules[MODULES];
    int rc = 0;
    list_modules(t, modules);
    for (size_t i = 0; i < MODULES && rc == 0; i++) {
        rc = check_path(modules[i].path, error);
        if (rc == 0) rc = probe(modules[i].path, error);
    }
    if (rc) return rc;
    rsync_daemon_remove_files(t);
    file_path(t, "rsync_sst.conf", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) return xb_fail(error, -errno, "cannot write '%s': %m", path);
    write_modules(file, t, modules);
    return fclose(file) ? xb_fail(error, -errno, "cannot write '%s': %m", path) : 0;
}

/* The last words of the daemon, which name its reason. */
static void show_log(const struct transfer *t) {
    char path[SST_PATH_SIZE], text[1025];
    file_path(t, "rsync_sst.log", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, size > 1024 ? size - 1024 : 0);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")))
        if (strstr(line, "rsync")) xb_log_warning(t->log, "rsync: %s", line);
}

static int start(struct transfer *t, struct child *rsync, int fd, struct xb_error *error) {
    struct words command = {0};
    words_add(&command, "rsync");
    words_add(&command, "--server");
    words_add(&command, "--daemon");
    words_addf(&command, "--config=%s/rsync_sst.conf", t->arguments->datadir);
    words_add(&command, ".");
    int rc = command.failed ? xb_fail(error, -ENOMEM, "no memory")
                            : child_start(rsync, &(struct child_spec){command.items, fd, fd, -1, NULL, 0}, error);
    words_free(&command);
    return rc;
}

int rsync_daemon_serve(struct transfer *t, struct stream *stream,
                       int (*count)(void *ctx, bool is_from_stream, size_t bytes, struct xb_error *error), void *ctx,
                       struct xb_error *error) {
    struct tunnel tunnel = {stream, -1, count, ctx, ""};
    struct child rsync = {0, -1, NULL};
    struct xb_error reason = {0};
    int theirs, moved = 0;
    int rc = tunnel_open_pair(&tunnel.fd, &theirs, error);
    if (rc) return rc;
    rc = start(t, &rsync, theirs, error);
    close(theirs);
    if (rc == 0) moved = tunnel_run(&tunnel, &reason);
    close(tunnel.fd);
    if (rc == 0) rc = child_wait(&rsync, stream->watch, xb_clock_monotonic_ns() + END_NS, error);
    child_kill(&rsync);
    if (rc == -ETIMEDOUT) rc = xb_fail(error, rc, "rsync did not end with its connection");
    if (rc > 0) {
        show_log(t);
        rc = moved < 0 && reason.code ? moved : xb_fail(error, -EIO, "rsync ended with status %d", rc);
        if (moved < 0 && reason.code) *error = reason;
    }
    return rc;
}
