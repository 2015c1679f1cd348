/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The method xebec by hand. What the group carries between nodes, the receiver's address, certificate and secret, is a
 * line here, the ticket: `receive` prints it, `send` reads it from a file or a pipe, so that it stands on no command
 * line.
 */
#include "sst/standalone.h"

#include "sst/backup.h"
#include "sst/datadir.h"
#include "sst/joiner.h"
#include "sst/xebec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICKET_SIZE 1024
#define NO_POSITION "00000000-0000-0000-0000-000000000000:-1"
#define DATADIR_DEFAULT "/var/lib/mysql"

static const char help[] =
    "Usage: xebec-sst receive --listen=HOST[:PORT] --into=DIR [options]   on the host that keeps the backup\n"
    "       xebec-sst send [--ticket=FILE] [options]                      on the host of the server\n"
    "\n"
    "A hot backup by mariadb-backup, over several TLS 1.3 connections, both sides verified, every piece checked.\n"
    "`receive` prints a ticket of one line, its address with a secret; `send` reads it, from standard input by "
    "default:\n"
    "\n"
    "    ssh backup-host xebec-sst receive --listen=10.0.0.9 --into=/backup/monday | xebec-sst send\n"
    "\n"
    "Both:\n"
    "  --defaults-file=FILE  option file; default: those of the server\n"
    "  --ssl-ca=FILE --ssl-cert=FILE --ssl-key=FILE\n"
    "                        default: as in the option files; the certificates of a cluster do (xebec cert)\n"
    "receive:\n"
    "  --listen=HOST[:PORT]  where the sender reaches this host; port 4444 by default\n"
    "  --into=DIR            is made, or must be empty\n"
    "  --prepare             prepares the backup afterwards, so that mariadb-backup --copy-back can follow\n"
    "send:\n"
    "  --ticket=FILE         -: standard input\n"
    "  --datadir=DIR --socket=FILE\n"
    "                        of the server; default: as in the option files\n"
    "  --rlimit=RATE         bytes a second, with k, m or g\n"
    "  --connections=N       default: processors, at most 4\n"
    "\n"
    "The account for mariadb-backup stands in the option files: [sst] wsrep_sst_auth=USER:PASSWORD, or "
    "[mariadb-backup].\n"
    "Pause: ^Z at the sender, or kill -TSTP PID; then fg, or kill -CONT PID. Not for hours on a busy server: "
    "mariadb-backup\n"
    "fails when the redo log has gone round meanwhile.\n";

struct standalone {
    struct transfer transfer;
    struct sst_arguments arguments;
    struct xb_log log;
    const char *listen, *into, *ticket, *rlimit, *connections;
    const char *server_arguments[3]; /* the ssl options, as a server has them */
    bool is_preparing;
};

static void write_log(void *ctx, enum xb_log_level level, const char *line) {
    static const char *const names[] = {"error: ", "error: ", "warning: ", "", ""};
    struct transfer *t = ctx;
    if (atomic_exchange(&t->is_bar_shown, false)) fprintf(stderr, "\n");
    fprintf(stderr, "xebec-sst: %s%s\n", names[level], line);
}

/* ---- the command line */

/* -> the value behind --name=, NULL: another option */
static const char *value_of(const char *argument, const char *name) {
    size_t size = strlen(name);
    return strncmp(argument, "--", 2) == 0 && strncmp(argument + 2, name, size) == 0 && argument[2 + size] == '='
               ? argument + 3 + size
               : NULL;
}

static bool take_common(struct standalone *s, const char *argument) {
    static const char *const tls[] = {"ssl-ca", "ssl-cert", "ssl-key"};
    const char *value = value_of(argument, "defaults-file");
    if (value) s->arguments.defaults_file = value;
    for (size_t i = 0; i < 3 && !value; i++)
        if ((value = value_of(argument, tls[i]))) s->server_arguments[i] = argument;
    return value != NULL;
}

static bool take_receive(struct standalone *s, const char *argument) {
    const char *value;
    if (strcmp(argument, "--prepare") == 0) return s->is_preparing = true;
    if ((value = value_of(argument, "listen"))) return (s->listen = value);
    return (value = value_of(argument, "into")) && *value && (s->into = value);
}

static bool take_send(struct standalone *s, const char *argument) {
    const char *value;
    if ((value = value_of(argument, "ticket"))) return (s->ticket = value);
    if ((value = value_of(argument, "datadir"))) return (s->arguments.datadir = value);
    if ((value = value_of(argument, "socket"))) return (s->arguments.socket = value);
    if ((value = value_of(argument, "rlimit"))) return (s->rlimit = value);
    return (value = value_of(argument, "connections")) && (s->connections = value);
}

static int read_command_line(struct standalone *s, int argc, char **argv, struct xb_error *error) {
    bool is_receive = s->arguments.role == SST_JOINER;
    for (int i = 2; i < argc; i++)
        if (!take_common(s, argv[i]) && !(is_receive ? take_receive(s, argv[i]) : take_send(s, argv[i])))
            return xb_fail(error, -EINVAL, "'%s' is not an option of %s: see xebec-sst --help", argv[i], argv[1]);
    if (is_receive && (!s->listen || !s->into))
        return xb_fail(error, -EINVAL, "receive needs --listen=HOST[:PORT] and --into=DIR");
    return 0;
}

static int load_settings(struct standalone *s, struct xb_error *error) {
    struct sst_settings *settings = &s->transfer.settings;
    char *given[3];
    for (size_t i = 0; i < 3; i++)
        if (s->server_arguments[i]) given[s->arguments.server_argument_count++] = (char *)s->server_arguments[i];
    s->arguments.server_arguments = given;
    int rc = sst_settings_load(settings, &s->arguments, error);
    s->arguments.server_arguments = NULL;
    s->arguments.server_argument_count = 0; /* they are no options of the server that is copied */
    if (rc) return rc;
    if (s->rlimit && !limit_parse(s->rlimit, &settings->rlimit))
        return xb_fail(error, -EINVAL, "--rlimit=%s is not a number with k, m, g or t", s->rlimit);
    const char *warning;
    for (int i = 0; (warning = sst_settings_warning(settings, i)); i++) xb_log_warning(&s->log, "%s", warning);
    return 0;
}

/* ---- receive */

static bool is_empty_directory(const char *path) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool is_empty = dir != NULL;
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) is_empty = false;
    if (dir) closedir(dir);
    return is_empty;
}

static int make_target(const char *path, struct xb_error *error) {
    if (mkdir(path, 0770) == 0) return 0;
    if (errno != EEXIST) return xb_fail(error, -errno, "cannot make the directory '%s': %m", path);
    return is_empty_directory(path) ? 0 : xb_fail(error, -ENOTEMPTY, "'%s' is no empty directory", path);
}

static int receive(struct standalone *s, struct xb_error *error) {
    struct transfer *t = &s->transfer;
    struct joiner *joiner = calloc(1, sizeof(*joiner));
    if (!joiner) return xb_fail(error, -ENOMEM, "no memory");
    *joiner = (struct joiner){.transfer = t, .listen_fd = -1};
    s->arguments.datadir = s->into; /* where the words of mariadb-backup --prepare go */
    snprintf(joiner->directory, sizeof(joiner->directory), "%s", s->into);
    int rc = sst_address_read(&t->address, s->listen, error);
    if (rc == 0) rc = load_settings(s, error);
    if (rc == 0) rc = transfer_load_tls(t, error);
    if (rc == 0 && (rc = make_target(s->into, error)) == 0) {
        rc = xebec_receive(joiner, error);
        if (rc == 0 && s->is_preparing) rc = backup_prepare(t, s->into, error);
        if (rc) datadir_remove_tree(s->into);
    }
    if (rc == 0)
        xb_log_info(&s->log, "the backup is in '%s'%s%s", s->into, joiner->state[0] ? ", position " : "",
                    joiner->state);
    if (joiner->listen_fd >= 0) close(joiner->listen_fd);
    free(joiner);
    return rc;
}

/* ---- send */

static int read_ticket(const char *path, char ticket[TICKET_SIZE], struct xb_error *error) {
    FILE *file = path && strcmp(path, "-") ? fopen(path, "re") : stdin;
    if (!file) return xb_fail(error, -errno, "cannot read the ticket '%s': %m", path);
    bool has_line = fgets(ticket, TICKET_SIZE, file) != NULL;
    if (file != stdin) fclose(file);
    if (!has_line)
        return xb_fail(error, -ENODATA, "no ticket came from '%s': did the receiver start?", path ? path : "-");
    ticket[strcspn(ticket, "\r\n")] = '\0';
    return 0;
}

static int find_server_files(struct standalone *s, struct xb_error *error) {
    const struct sst_options *options = &s->transfer.settings.options;
    if (!s->arguments.datadir) s->arguments.datadir = sst_options_get(options, "mysqld*", "datadir");
    if (!s->arguments.datadir) s->arguments.datadir = DATADIR_DEFAULT;
    if (access(s->arguments.datadir, R_OK | X_OK))
        return xb_fail(error, -errno, "cannot read the data directory '%s': %m; set --datadir, and run as its owner",
                       s->arguments.datadir);
    return 0;
}

static int set_connections(struct standalone *s, struct xb_error *error) {
    char text[64];
    if (!s->connections) return 0;
    if (!*s->connections || strlen(s->connections) > 2 || strspn(s->connections, "0123456789") < strlen(s->connections))
        return xb_fail(error, -EINVAL, "--connections=%s is no number from 1 to 16", s->connections);
    snprintf(text, sizeof(text), "[sst]\nxebec-connections=%s\n", s->connections);
    return sst_options_parse(&s->transfer.settings.options, "--connections", text, 0, error);
}

static int send_backup(struct standalone *s, struct xb_error *error) {
    struct transfer *t = &s->transfer;
    char ticket[TICKET_SIZE];
    const char *datadir = s->arguments.datadir;
    s->arguments.gtid = NO_POSITION;
    if (!datadir) s->arguments.datadir = DATADIR_DEFAULT; /* until the option files are read */
    int rc = load_settings(s, error);
    s->arguments.datadir = datadir;
    if (rc == 0) rc = set_connections(s, error);
    if (rc == 0) rc = find_server_files(s, error);
    if (rc == 0) rc = read_ticket(s->ticket, ticket, error);
    if (rc == 0 && sst_address_read(&t->address, ticket, NULL))
        rc = xb_fail(error, -EINVAL, "what came as ticket is none: it is the line that xebec-sst receive prints");
    snprintf(t->settings.remote_name, sizeof(t->settings.remote_name), "%s", t->address.name);
    snprintf(t->settings.remote_secret, sizeof(t->settings.remote_secret), "%s", t->address.secret);
    return rc ? rc : xebec_donor_run(t, error);
}

/* ---- both */

static int terminal_columns(void) {
    struct winsize size;
    if (!isatty(STDERR_FILENO)) return 0;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1 : 79;
}

static int run(struct standalone *s, int argc, char **argv, struct xb_error *error) {
    struct transfer *t = &s->transfer;
    bool is_receive = s->arguments.role == SST_JOINER;
    int rc = read_command_line(s, argc, argv, error);
    if (rc == 0) rc = watch_open(&t->watch, 0, error);
    /* The ticket alone goes to standard output; the donor's words for its server go nowhere. */
    t->control_fd = is_receive ? STDOUT_FILENO : open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (rc == 0) rc = is_receive ? receive(s, error) : send_backup(s, error);
    stream_tls_free(t->tls);
    watch_close(&t->watch);
    sst_settings_free(&t->settings);
    return rc;
}

int standalone_main(int argc, char **argv) {
    struct standalone s = {.arguments = {.method = SST_METHOD_XEBEC, .program = "xebec-sst", .gtid_domain_id = "0"}};
    struct xb_error error = {0};
    const char *command = argc > 1 ? argv[1] : "--help";
    if (strcmp(command, "--help") == 0) return fputs(help, stdout) < 0;
    if (strcmp(command, "--version") == 0) return printf("xebec-sst %s\n", XEBEC_VERSION) < 0;
    bool is_receive = strcmp(command, "receive") == 0;
    s.arguments.role = is_receive ? SST_JOINER : SST_DONOR;
    s.log = (struct xb_log){.write = write_log, .ctx = &s.transfer};
    s.transfer = (struct transfer){.arguments = &s.arguments,
                                   .log = &s.log,
                                   .watch = {-1, -1, -1, 0},
                                   .is_standalone = true,
                                   .bar_columns = terminal_columns()};
    int rc = is_receive || strcmp(command, "send") == 0
                 ? run(&s, argc, argv, &error)
                 : xb_fail(&error, -EINVAL, "'%s' is neither send nor receive: see xebec-sst --help", command);
    if (rc) xb_log_error(&s.log, "%s", error.text[0] ? error.text : strerror(-rc));
    return rc ? 1 : 0;
}
