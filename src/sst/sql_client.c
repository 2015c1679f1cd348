/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines, the option file in memory, and pipes. */
#include "sst/sql_client.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPTIONS_PATH "/proc/self/fd/4" /* CHILD_EXTRA_FD */

/* As option files want it: quotes at both ends, backslashes doubled. */
static int write_value(FILE *file, const char *key, const char *value, struct xb_error *error) {
    if (strpbrk(value, "\r\n")) return xb_fail(error, -EINVAL, "%s has a line break in it", key);
    fprintf(file, "%s=\"", key);
    for (; *value; value++) fprintf(file, *value == '\\' ? "\\\\" : "%c", *value);
    fprintf(file, "\"\n");
    return 0;
}

static int write_options(FILE *file, const struct transfer *t, enum sql_server server, struct xb_error *error) {
    const struct sst_settings *s = &t->settings;
    if (t->arguments->defaults_file) fprintf(file, "!include %s\n", t->arguments->defaults_file);
    if (t->arguments->defaults_extra_file) fprintf(file, "!include %s\n", t->arguments->defaults_extra_file);
    fprintf(file, "[client]\n");
    int rc = write_value(file, "user", s->user, error);
    if (rc == 0) rc = write_value(file, "password", s->account_password, error);
    const struct {
        const char *key, *value;
    } files[] = {
        {"ssl-ca", s->ca}, {"ssl-capath", s->ca_path}, {"ssl-cert", s->cert}, {"ssl-key", s->key ? s->key : s->cert}};
    for (size_t i = 0; s->is_tls && rc == 0 && i < sizeof(files) / sizeof(files[0]); i++)
        if (files[i].value) rc = write_value(file, files[i].key, files[i].value, error);
    /* The donor's own server is at the other end of a local socket. */
    if (s->is_tls) fprintf(file, "ssl-verify-server-cert=%d\n", server == SQL_JOINER && s->is_peer_verified);
    return rc;
}

static int make_options(const struct transfer *t, enum sql_server server, int *fd, struct xb_error *error) {
    *fd = memfd_create("xebec-client-options", MFD_CLOEXEC);
    int copy = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    FILE *file = copy < 0 ? NULL : fdopen(copy, "w");
    if (!file || fchmod(*fd, 0600)) return xb_fail(error, -errno, "cannot make a file in memory: %m");
    int rc = write_options(file, t, server, error);
    return fclose(file) && rc == 0 ? xb_fail(error, -errno, "cannot write a file in memory: %m") : rc;
}

/* *fd: the option file, for the child's CHILD_EXTRA_FD; the caller closes it. */
static int begin_command(struct transfer *t, const char *program, enum sql_server server, struct words *command,
                         int *fd, struct xb_error *error) {
    const struct sst_arguments *a = t->arguments;
    int rc = make_options(t, server, fd, error);
    words_add(command, program);
    words_addf(command, "--defaults-%s=" OPTIONS_PATH, a->defaults_file ? "file" : "extra-file");
    if (a->defaults_group_suffix) words_addf(command, "--defaults-group-suffix=%s", a->defaults_group_suffix);
    if (server == SQL_JOINER) {
        words_add(command, "--protocol=tcp");
        words_addf(command, "--host=%s", t->address.host);
        words_addf(command, "--port=%u", t->address.has_port || !a->port ? t->address.port : a->port);
    } else {
        words_add(command, "--protocol=socket");
        words_addf(command, "--socket=%s", a->socket ? a->socket : "");
    }
    return rc ? rc : command->failed;
}

static int make_pipe(int ends[2], struct xb_error *error) {
    return pipe2(ends, O_CLOEXEC) ? xb_fail(error, -errno, "cannot make a pipe: %m") : 0;
}

static int start_client(struct transfer *t, enum sql_server server, struct child *child, int in, int out,
                        struct xb_error *error) {
    struct words command = {0};
    int options = -1;
    int rc = begin_command(t, "mariadb", server, &command, &options, error);
    words_add(&command, "--batch");
    words_add(&command, "--skip-column-names");
    words_add(&command, "--binary-mode");
    words_add(&command, "--skip-reconnect");
    words_add(&command, "--connect-timeout=10");
    if (rc == 0) rc = child_start(child, &(struct child_spec){command.items, in, out, out, NULL, options}, error);
    if (options >= 0) close(options);
    words_free(&command);
    return rc;
}

int sql_feed(struct transfer *t, int fd, const char *data, size_t size, struct xb_error *error) {
    while (size > 0) {
        int rc = watch_wait(&t->watch, fd, POLLOUT, XB_NEVER, error);
        if (rc) return rc;
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return xb_fail(error, -EPIPE, "the joiner's session ended early: see the client's lines above");
        if (n < 0) continue;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int read_all(const struct watch *watch, int fd, char *out, size_t size, struct xb_error *error) {
    char rest[4096];
    for (size_t used = 0;;) {
        int rc = watch_wait(watch, fd, POLLIN, XB_NEVER, error);
        if (rc) return rc;
        bool is_full = used + 1 >= size;
        ssize_t n = read(fd, is_full ? rest : out + used, is_full ? sizeof(rest) : size - 1 - used);
        if (n <= 0) return 0;
        if (!is_full) used += (size_t)n;
        out[used] = '\0';
    }
}

int sql_run(struct transfer *t, enum sql_server server, const char *sql, char *out, size_t size,
            struct xb_error *error) {
    struct child child = {0, -1, NULL};
    int in[2] = {-1, -1}, from[2] = {-1, -1};
    out[0] = '\0';
    int rc = make_pipe(in, error);
    if (rc == 0) rc = make_pipe(from, error);
    if (rc == 0) rc = start_client(t, server, &child, in[0], from[1], error);
    if (in[0] >= 0) close(in[0]);
    if (from[1] >= 0) close(from[1]);
    if (rc == 0) rc = sql_feed(t, in[1], sql, strlen(sql), error);
    if (rc == -EPIPE)
        rc = 0; /* the client's status says why; if it was our server that ended, the next wait says so again */
    if (in[1] >= 0) close(in[1]);
    if (rc == 0) rc = read_all(&t->watch, from[0], out, size, error);
    if (rc == 0) rc = child_wait(&child, &t->watch, XB_NEVER, error);
    if (from[0] >= 0) close(from[0]);
    child_kill(&child);
    return rc;
}

int sql_start(struct transfer *t, enum sql_server server, struct child *child, int *in, struct xb_error *error) {
    int ends[2];
    *in = -1;
    int rc = make_pipe(ends, error);
    if (rc) return rc;
    rc = start_client(t, server, child, ends[0], -1, error);
    close(ends[0]);
    if (rc)
        close(ends[1]);
    else
        *in = ends[1];
    return rc;
}

int sql_start_dump(struct transfer *t, struct child *child, int *out, struct xb_error *error) {
    static const char *const options[] = {
        "--all-databases",  "--routines",         "--events",         "--triggers",
        "--add-drop-table", "--flush-privileges", "--quick",          "--extended-insert",
        "--create-options", "--skip-lock-tables", "--skip-add-locks", "--skip-comments",
        "--disable-keys",   "--set-charset",      "--tz-utc",         "--max-allowed-packet=1G"};
    struct words command = {0};
    int ends[2] = {-1, -1}, file = -1;
    int rc = begin_command(t, "mariadb-dump", SQL_DONOR, &command, &file, error);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) words_add(&command, options[i]);
    if (rc == 0) rc = make_pipe(ends, error);
    if (rc == 0) rc = child_start(child, &(struct child_spec){command.items, -1, ends[1], -1, NULL, file}, error);
    if (ends[1] >= 0) close(ends[1]);
    if (rc && ends[0] >= 0) close(ends[0]);
    *out = rc ? -1 : ends[0];
    if (file >= 0) close(file);
    words_free(&command);
    return rc;
}
