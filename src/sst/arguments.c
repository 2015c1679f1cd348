/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the contract's command line: `--name value` in any order, everything behind --mysqld-args is the server's own.
 */
#include "sst/arguments.h"

#include "base/uuid.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *program;
    enum sst_method method;
} programs[] = {
    {"wsrep_sst_xebec", SST_METHOD_XEBEC},         {"wsrep_sst_xtrabackup-v2", SST_METHOD_BACKUP},
    {"wsrep_sst_xtrabackup", SST_METHOD_BACKUP},   {"wsrep_sst_mariabackup", SST_METHOD_BACKUP},
    {"wsrep_sst_xebec_backup", SST_METHOD_BACKUP}, {"wsrep_sst_rsync", SST_METHOD_RSYNC},
    {"wsrep_sst_xebec_rsync", SST_METHOD_RSYNC},   {"wsrep_sst_rsync_wan", SST_METHOD_RSYNC},
    {"wsrep_sst_mysqldump", SST_METHOD_MYSQLDUMP},
};

static int find_method(struct sst_arguments *arguments, const char *path, struct xb_error *error) {
    const char *slash = strrchr(path, '/');
    arguments->program = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
        if (strcmp(arguments->program, programs[i].program)) continue;
        arguments->method = programs[i].method;
        return 0;
    }
    return xb_fail(error, -ENOENT,
                   "no state transfer method is called '%s': call this program by the name of a method, for example "
                   "wsrep_sst_xebec",
                   arguments->program);
}

bool sst_is_gtid(const char *text) {
    struct xb_uuid uuid;
    if (strnlen(text, 38) < 38 || xb_uuid_parse(&uuid, text) || text[36] != ':') return false;
    const char *digit = text + 37 + (text[37] == '-');
    size_t count = strspn(digit, "0123456789");
    return count >= 1 && count <= 19 && (digit[count] == '\0' || digit[count] == ' ' || digit[count] == ',');
}

/* -> false unless text is a decimal number up to max */
static bool read_number(const char *text, int64_t max, int64_t *value) {
    size_t count = strspn(text, "0123456789");
    if (count == 0 || count > 18 || text[count]) return false;
    *value = strtoll(text, NULL, 10);
    return *value <= max;
}

static bool read_port(const char *text, uint16_t *port) {
    int64_t value;
    if (!read_number(text, UINT16_MAX, &value)) return false;
    *port = (uint16_t)value;
    return true;
}

static bool read_role(const char *text, enum sst_role *role) {
    *role = strcmp(text, "joiner") == 0 ? SST_JOINER : SST_DONOR;
    return *role == SST_JOINER || strcmp(text, "donor") == 0;
}

static bool read_text(const char *text, const char **to) {
    *to = text;
    return true;
}

/* -> 1 taken, 0 the value is bad, -1 the option is not known */
static int take(struct sst_arguments *a, const char *name, const char *value) {
    int64_t number;
    if (!strcmp(name, "role")) return read_role(value, &a->role);
    if (!strcmp(name, "address")) return read_text(value, &a->address);
    if (!strcmp(name, "datadir")) return *value && read_text(value, &a->datadir);
    if (!strcmp(name, "defaults-file")) return read_text(value, &a->defaults_file);
    if (!strcmp(name, "defaults-extra-file")) return read_text(value, &a->defaults_extra_file);
    if (!strcmp(name, "defaults-group-suffix")) return read_text(value, &a->defaults_group_suffix);
    if (!strcmp(name, "parent")) return read_number(value, INT32_MAX, &a->parent_pid) && a->parent_pid > 0;
    if (!strcmp(name, "progress")) {
        a->has_progress = read_number(value, INT32_MAX, &number);
        a->is_progress_wanted = a->has_progress && number > 0;
        return a->has_progress;
    }
    if (!strcmp(name, "port")) return read_port(value, &a->port);
    if (!strcmp(name, "local-port")) return read_port(value, &a->local_port);
    if (!strcmp(name, "socket")) return read_text(value, &a->socket);
    if (!strcmp(name, "gtid")) return sst_is_gtid(value) && read_text(value, &a->gtid);
    if (!strcmp(name, "gtid-domain-id"))
        return read_number(value, UINT32_MAX, &number) && read_text(value, &a->gtid_domain_id);
    if (!strcmp(name, "binlog")) return read_text(value, &a->binlog);
    if (!strcmp(name, "binlog-index")) return read_text(value, &a->binlog_index);
    return -1;
}

static int check(const struct sst_arguments *a, struct xb_error *error) {
    if (!a->address) return xb_fail(error, -EINVAL, "%s: the server gave no --address", a->program);
    if (!a->datadir) return xb_fail(error, -EINVAL, "%s: the server gave no --datadir", a->program);
    if (a->role == SST_DONOR && !a->gtid) return xb_fail(error, -EINVAL, "%s: the server gave no --gtid", a->program);
    return 0;
}

int sst_arguments_read(struct sst_arguments *arguments, int argc, char **argv, struct xb_error *error) {
    *arguments = (struct sst_arguments){.gtid_domain_id = "0"};
    if (argc < 1) return xb_fail(error, -EINVAL, "called without a name");
    int rc = find_method(arguments, argv[0], error);
    for (int i = 1; rc == 0 && i < argc; i++) {
        const char *name = argv[i];
        if (strncmp(name, "--", 2)) return xb_fail(error, -EINVAL, "argument '%s' belongs to no option", name);
        name += 2;
        if (!strcmp(name, "mysqld-args")) {
            arguments->server_arguments = argv + i + 1;
            arguments->server_argument_count = argc - i - 1;
            break;
        }
        if (!strcmp(name, "bypass")) {
            arguments->is_bypass = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        int taken = value ? take(arguments, name, value) : take(arguments, name, "");
        if (taken == 1 && value) {
            i++;
        } else if (taken < 0) {
            if (value && strncmp(value, "--", 2)) i++; /* the value of an option that we do not know */
        } else {
            return xb_fail(error, -EINVAL, "option --%s: '%s' is not a valid value", name, value ? value : "");
        }
    }
    return rc ? rc : check(arguments, error);
}
