/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Written in place and at the same length, as the provider does, which has the file open meanwhile. */
#include "sst/kept_state.h"

#include "sst/settings.h"

#include "base/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UUID_CHARS 36
#define BLANKS " \t"

/* -> the value behind a key at the beginning of a line, NULL: none */
static char *find_value(char *text, const char *key) {
    size_t size = strlen(key);
    for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, key, size) == 0) return line + size + strspn(line + size, BLANKS);
    return NULL;
}

bool kept_state_make_unknown(char *text, size_t size) {
    static const char nil[] = "00000000-0000-0000-0000-000000000000";
    char copy[KEPT_STATE_MAX + 1], part[UUID_CHARS + 1];
    struct xb_uuid uuid;
    if (size > KEPT_STATE_MAX) return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    char *id = find_value(copy, "uuid:"), *seqno = find_value(copy, "seqno:");
    size_t digits = seqno ? strcspn(seqno, "\n" BLANKS) : 0;
    if (!id || strlen(id) < UUID_CHARS || digits < 1) return false;
    snprintf(part, sizeof(part), "%s", id);
    if (xb_uuid_parse(&uuid, part) || strcmp(part, nil) == 0) return false;
    memcpy(id, nil, UUID_CHARS);
    memset(seqno, ' ', digits);
    /* One digit has no room for the sign: no position without a UUID, whatever the number. */
    memcpy(seqno, digits > 1 ? "-1" : "0", digits > 1 ? 2 : 1);
    memcpy(text, copy, size);
    return true;
}

static int open_state(const char *datadir, int flags) {
    char path[SST_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/grastate.dat", datadir);
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW);
}

void kept_state_remember(struct kept_state *kept, const char *datadir) {
    char unknown[KEPT_STATE_MAX];
    kept->size = 0;
    int fd = open_state(datadir, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : pread(fd, kept->text, sizeof(kept->text), 0);
    if (fd >= 0) close(fd);
    if (n <= 0 || n == (ssize_t)sizeof(kept->text)) return;
    memcpy(unknown, kept->text, (size_t)n);
    if (kept_state_make_unknown(unknown, (size_t)n)) kept->size = (size_t)n;
}

static int write_state(const char *datadir, const char *text, size_t size) {
    int fd = open_state(datadir, O_WRONLY);
    if (fd < 0) return -errno;
    ssize_t n = pwrite(fd, text, size, 0);
    int rc = n < 0 ? -errno : (size_t)n != size ? -EIO : fdatasync(fd) ? -errno : 0;
    close(fd);
    return rc;
}

void kept_state_restore(const struct kept_state *kept, const char *datadir) {
    if (kept->size) write_state(datadir, kept->text, kept->size);
}

int kept_state_forget(const struct kept_state *kept, const char *datadir) {
    char unknown[KEPT_STATE_MAX];
    if (!kept->size) return 0;
    memcpy(unknown, kept->text, kept->size);
    kept_state_make_unknown(unknown, kept->size);
    return write_state(datadir, unknown, kept->size);
}
