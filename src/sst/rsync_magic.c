/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of text, written and read. */
#include "sst/rsync_magic.h"

#include "sst/arguments.h"
#include "sst/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void path_in(const char *datadir, char path[SST_PATH_SIZE]) {
    snprintf(path, SST_PATH_SIZE, "%s/" RSYNC_MAGIC, datadir);
}

void rsync_magic_remove(const char *datadir) {
    char path[SST_PATH_SIZE];
    path_in(datadir, path);
    unlink(path);
}

int rsync_magic_write(const char *datadir, const struct magic_stage *stage, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    path_in(datadir, path);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (fd < 0) return xb_fail(error, -errno, "cannot write '%s': %m", path);
    int n = dprintf(fd, "%s\n", stage->state);
    if (n > 0 && stage->secret[0]) n = dprintf(fd, "secret %s\n", stage->secret);
    if (n > 0 && stage->is_ist_only) n = dprintf(fd, "bypass\n");
    int code = n > 0 ? 0 : errno;
    close(fd);
    errno = code;
    return code ? xb_fail(error, -code, "cannot write '%s': %m", path) : 0;
}

int rsync_magic_read(const char *datadir, struct magic_stage *stage, struct xb_error *error) {
    char path[SST_PATH_SIZE], line[MAGIC_LINE_SIZE];
    *stage = (struct magic_stage){0};
    path_in(datadir, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file) return -ENOENT;
    if (fgets(stage->state, sizeof(stage->state), file)) stage->state[strcspn(stage->state, "\n")] = '\0';
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "secret ", 7) == 0) snprintf(stage->secret, sizeof(stage->secret), "%s", line + 7);
        if (strcmp(line, "bypass") == 0) stage->is_ist_only = true;
    }
    fclose(file);
    return sst_is_gtid(stage->state) ? 0 : xb_fail(error, -EBADMSG, "'%s' does not begin with a position", path);
}
