/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server answers by files in its data directory: tables_flushed, or sst_error. */
#include "sst/freeze.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOOK_NS (XB_SECOND / 20)
#define REMIND_NS (30 * XB_SECOND)

struct answers {
    char flushed[SST_PATH_SIZE], failed[SST_PATH_SIZE];
};

static struct answers answers_of(const struct transfer *t) {
    struct answers a;
    snprintf(a.flushed, sizeof(a.flushed), "%s/tables_flushed", t->arguments->datadir);
    snprintf(a.failed, sizeof(a.failed), "%s/sst_error", t->arguments->datadir);
    return a;
}

static void forget_answers(const struct answers *a) {
    unlink(a->flushed);
    unlink(a->failed);
}

/* -> 0 the position is in `state`, -EAGAIN not yet, or negative with *error */
static int read_position(const char *path, char state[MAGIC_LINE_SIZE], struct xb_error *error) {
    FILE *file = fopen(path, "re");
    if (!file) return -EAGAIN;
    bool has_line = fgets(state, MAGIC_LINE_SIZE, file) != NULL;
    fclose(file);
    if (!has_line) return -EAGAIN;
    state[strcspn(state, "\n")] = '\0';
    return sst_is_gtid(state) ? 0 : xb_fail(error, -EINVAL, "the server wrote no position into '%s'", path);
}

int freeze_server(struct transfer *t, char state[MAGIC_LINE_SIZE], struct xb_error *error) {
    struct answers a = answers_of(t);
    int64_t start_ns = xb_clock_monotonic_ns(), remind_ns = start_ns + REMIND_NS;
    forget_answers(&a);
    int rc = transfer_say(t, error, "flush tables");
    while (rc == 0) {
        rc = read_position(a.flushed, state, error);
        if (rc != -EAGAIN) break;
        if (access(a.failed, F_OK) == 0)
            return xb_fail(error, -EINVAL, "the server could not flush its tables: see its lines above");
        rc = watch_wait(&t->watch, -1, 0, xb_clock_monotonic_ns() + LOOK_NS, error);
        if (rc == -ETIMEDOUT) rc = 0;
        if (xb_clock_monotonic_ns() < remind_ns) continue;
        xb_log_warning(t->log, "waiting for FLUSH TABLES WITH READ LOCK since %d s: a long statement holds it up",
                       (int)((remind_ns - start_ns) / XB_SECOND));
        remind_ns += REMIND_NS;
    }
    if (rc == 0) xb_log_info(t->log, "the server holds still at %s", state);
    return rc;
}

int thaw_server(struct transfer *t, struct xb_error *error) {
    struct answers a = answers_of(t);
    forget_answers(&a);
    return transfer_say(t, error, "continue");
}
