/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One client session to the joiner gets: a preamble, the dump, and only if that is whole, the position. */
#include "sst/mysqldump.h"

#include "sst/mysqldump_check.h"
#include "sst/sql_client.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK ((size_t)256 << 10)
#define STATE_SIZE 4096
#define DATABASES_SIZE ((size_t)1 << 20)

struct joiner_state {
    bool has_binlog, has_gtid_mode, is_general_log_on, is_slow_log_on;
    char *databases; /* a line each */
};

/* ---- what the preamble needs to know */

static int ask(struct transfer *t, enum sql_server server, const char *sql, char *out, size_t size,
               struct xb_error *error) {
    int rc = sql_run(t, server, sql, out, size, error);
    if (rc <= 0) return rc;
    out[strcspn(out, "\n")] = '\0';
    return xb_fail(error, -EIO, "the %s does not answer: %s", server == SQL_DONOR ? "donor's server" : "joiner", out);
}

static int ask_joiner(struct transfer *t, struct joiner_state *j, struct xb_error *error) {
    char flags[256];
    int rc = ask(t, SQL_JOINER,
                 "SET SESSION wsrep_on=OFF;\nSELECT CONCAT(@@log_bin + 0, @@wsrep_gtid_mode + 0, @@general_log + 0, "
                 "@@slow_query_log + 0);\n",
                 flags, sizeof(flags), error);
    if (rc) return rc;
    if (strspn(flags, "01") != 4) return xb_fail(error, -EIO, "the joiner's settings cannot be read: '%s'", flags);
    j->has_binlog = flags[0] == '1';
    j->has_gtid_mode = flags[1] == '1';
    j->is_general_log_on = flags[2] == '1';
    j->is_slow_log_on = flags[3] == '1';
    return ask(
        t, SQL_JOINER,
        "SET SESSION wsrep_on=OFF;\nSELECT REPLACE(SCHEMA_NAME, '`', '``') FROM information_schema.SCHEMATA WHERE "
        "SCHEMA_NAME NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys');\n",
        j->databases, DATABASES_SIZE, error);
}

/* ---- the session */

/* What mariadb-dump does not remove: databases that only the joiner has. */
static void drop_databases(FILE *to, char *databases) {
    for (char *line; (line = strsep(&databases, "\n"));)
        if (*line) fprintf(to, "DROP DATABASE IF EXISTS `%s`;\n", line);
}

static void write_preamble(FILE *to, const struct joiner_state *j, const char *gtid_state) {
    fprintf(to, "SET SESSION wsrep_on=OFF;\nSET GLOBAL general_log=OFF;\nSET GLOBAL slow_query_log=OFF;\n");
    if (j->has_binlog)
        fprintf(to, "RESET MASTER;\nSET GLOBAL gtid_binlog_state='%s';\nSET SESSION sql_log_bin=OFF;\n", gtid_state);
    drop_databases(to, j->databases);
}

static void write_end(FILE *to, const struct sst_arguments *a, const struct joiner_state *j) {
    if (j->is_general_log_on) fprintf(to, "SET GLOBAL general_log=ON;\n");
    if (j->is_slow_log_on) fprintf(to, "SET GLOBAL slow_query_log=ON;\n");
    if (j->has_gtid_mode && !a->is_bypass) fprintf(to, "SET GLOBAL wsrep_gtid_domain_id=%s;\n", a->gtid_domain_id);
    fprintf(to, "SET GLOBAL wsrep_start_position='%s';\n", a->gtid);
}

static int copy_dump(struct transfer *t, int from, int to, struct xb_error *error) {
    struct progress progress;
    char line[PROGRESS_LINE_SIZE], *block = malloc(BLOCK);
    int rc = block ? 0 : xb_fail(error, -ENOMEM, "no memory");
    progress_begin(&progress, 0, xb_clock_monotonic_ns());
    while (rc == 0) {
        rc = watch_wait(&t->watch, from, POLLIN, XB_NEVER, error);
        ssize_t n = rc ? 0 : read(from, block, BLOCK);
        if (rc || n <= 0) break;
        progress_add(&progress, (uint64_t)n, xb_clock_monotonic_ns());
        rc = sql_feed(t, to, block, (size_t)n, error);
    }
    free(block);
    if (rc == 0)
        xb_log_info(t->log, "sent to %s, %s", t->address.host,
                    progress_format_end(&progress, xb_clock_monotonic_ns(), line));
    return rc;
}

static int send_dump(struct transfer *t, int to, struct xb_error *error) {
    struct child dump = {0, -1, NULL};
    int from;
    int rc = sql_start_dump(t, &dump, &from, error);
    if (rc) return rc;
    rc = copy_dump(t, from, to, error);
    close(from);
    if (rc == 0) rc = child_wait(&dump, &t->watch, XB_NEVER, error);
    child_kill(&dump);
    return rc > 0 ? xb_fail(error, -EIO, "mariadb-dump failed with status %d: see its lines above", rc) : rc;
}

static int send_text(struct transfer *t, int to, void (*write_)(FILE *file, const void *ctx), const void *ctx,
                     struct xb_error *error) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    if (!file) return xb_fail(error, -ENOMEM, "no memory");
    write_(file, ctx);
    int rc = fclose(file) ? xb_fail(error, -ENOMEM, "no memory") : sql_feed(t, to, text, size, error);
    free(text);
    return rc;
}

struct session {
    struct transfer *transfer;
    struct joiner_state joiner;
    char gtid_state[STATE_SIZE];
};

static void write_begin_of(FILE *file, const void *ctx) {
    const struct session *s = ctx;
    write_preamble(file, &s->joiner, s->gtid_state);
}

static void write_end_of(FILE *file, const void *ctx) {
    const struct session *s = ctx;
    write_end(file, s->transfer->arguments, &s->joiner);
}

/* The position goes last, and only after a whole dump: it is what makes the joiner take the data for complete. */
static int run_session(struct session *s, struct xb_error *error) {
    struct transfer *t = s->transfer;
    struct child client = {0, -1, NULL};
    int to;
    int rc = sql_start(t, SQL_JOINER, &client, &to, error);
    if (rc == 0 && !t->arguments->is_bypass) {
        fcntl(to, F_SETFL, O_NONBLOCK);
        rc = send_text(t, to, write_begin_of, s, error);
        if (rc == 0) rc = send_dump(t, to, error);
    } else if (rc == 0) {
        rc = sql_feed(t, to, "SET SESSION wsrep_on=OFF;\n", 26, error);
    }
    if (rc == 0) rc = send_text(t, to, write_end_of, s, error);
    if (to >= 0) close(to);
    if (rc == 0) rc = child_wait(&client, &t->watch, XB_NEVER, error);
    child_kill(&client);
    return rc > 0 ? xb_fail(error, -EIO, "the joiner refused a statement (client status %d): see its line above", rc)
                  : rc;
}

static int transfer_dump(struct session *s, struct xb_error *error) {
    struct transfer *t = s->transfer;
    if (t->arguments->is_bypass) {
        xb_log_info(t->log, "only the IST is needed");
        return run_session(s, error);
    }
    s->joiner.databases = calloc(1, DATABASES_SIZE);
    int rc = s->joiner.databases ? ask_joiner(t, &s->joiner, error) : xb_fail(error, -ENOMEM, "no memory");
    if (rc == 0) rc = ask(t, SQL_DONOR, "SELECT @@gtid_binlog_state;\n", s->gtid_state, STATE_SIZE, error);
    s->gtid_state[strcspn(s->gtid_state, "\n")] = '\0';
    if (rc == 0 && s->gtid_state[strspn(s->gtid_state, "0123456789-,")])
        rc = xb_fail(error, -EIO, "the donor's gtid_binlog_state is '%s'", s->gtid_state);
    if (rc == 0) rc = run_session(s, error);
    free(s->joiner.databases);
    return rc;
}

int mysqldump_donor_run(struct transfer *t, struct xb_error *error) {
    const char *gtid = t->arguments->gtid;
    if (t->arguments->role == SST_JOINER)
        return xb_fail(error, -EINVAL, "the method mysqldump has no program on the joiner");
    if (gtid[strspn(gtid, "0123456789abcdefABCDEF:,-")])
        return xb_fail(error, -EINVAL, "--gtid '%s' is no position", gtid);
    struct session *s = calloc(1, sizeof(*s));
    if (!s) return xb_fail(error, -ENOMEM, "no memory");
    s->transfer = t;
    int rc = mysqldump_check_steps(t, error);
    if (rc == 0) rc = transfer_dump(s, error);
    free(s);
    return rc;
}
