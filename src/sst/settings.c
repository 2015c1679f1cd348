/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which key is read from which groups, what it means, and what does not fit together. */
#include "sst/settings.h"

#include "sst/progress.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define SST "sst"
#define TRANSFER "mysqld*,sst,xtrabackup,mariabackup"
#define BACKUP "sst,xtrabackup,mariabackup"
#define CLEAN_DEFAULT                                                                                                  \
    ".*\\.pem$\\|.*galera\\.cache$\\|.*sst_in_progress$\\|.*\\.sst$\\|.*gvwstate\\.dat$\\|.*grastate\\.dat$\\|.*\\."   \
    "err$\\|.*\\."                                                                                                     \
    "log$\\|.*RPM_UPGRADE_MARKER$\\|.*RPM_UPGRADE_HISTORY$"

static int read_seconds(const struct sst_options *options, const char *key, int64_t default_s, int64_t *ns,
                        struct xb_error *error) {
    const char *text = sst_options_get(options, SST, key);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (text && (digits == 0 || digits > 9 || text[digits]))
        return xb_fail(error, -EINVAL, "[sst] %s='%s' is not a number of seconds", key, text);
    *ns = (text ? strtoll(text, NULL, 10) : default_s) * XB_SECOND;
    return 0;
}

static int read_ssl_mode(struct sst_settings *s, bool *is_given, struct xb_error *error) {
    static const char *const names[] = {"DISABLED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"};
    const char *text = sst_options_get(&s->options, TRANSFER, "ssl-mode");
    if (!text) text = sst_options_get(&s->options, TRANSFER, "tmode");
    *is_given = text != NULL;
    for (int i = 0; text && i < 4; i++) {
        if (strcasecmp(text, names[i])) continue;
        s->ssl_mode = (enum sst_ssl_mode)i;
        return 0;
    }
    return text ? xb_fail(error, -EINVAL, "ssl-mode '%s' is none of DISABLED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY",
                          text)
                : 0;
}

/* A file of the own role first (ssl-server-* of a joiner, ssl-client-* of a donor), then the common one. */
static const char *role_file(const struct sst_settings *s, enum sst_role role, const char *what) {
    char key[64], common[64];
    snprintf(key, sizeof(key), "ssl-%s-%s", role == SST_JOINER ? "server" : "client", what);
    snprintf(common, sizeof(common), "ssl-%s", what);
    const char *text = sst_options_get(&s->options, TRANSFER, key);
    return text ? text : sst_options_get(&s->options, TRANSFER, common);
}

static bool is_directory(const char *path) {
    struct stat st;
    size_t size = strlen(path);
    return (size > 0 && path[size - 1] == '/') || (stat(path, &st) == 0 && S_ISDIR(st.st_mode));
}

/* If one of the t-keys is set, all four count and the ssl-keys do not (section 7.5). */
static void read_files(struct sst_settings *s, enum sst_role role) {
    s->ca = sst_options_get(&s->options, SST, "tca");
    s->ca_path = sst_options_get(&s->options, SST, "tcapath");
    s->cert = sst_options_get(&s->options, SST, "tcert");
    s->key = sst_options_get(&s->options, SST, "tkey");
    if (!s->ca && !s->ca_path && !s->cert && !s->key) {
        s->ca = role_file(s, role, "ca");
        s->ca_path = role_file(s, role, "capath");
        s->cert = role_file(s, role, "cert");
        s->key = role_file(s, role, "key");
    }
    if (s->ca && is_directory(s->ca)) {
        s->ca_path = s->ca;
        s->ca = NULL;
    }
    s->dh_file = sst_options_get(&s->options, TRANSFER, "ssl-dhparams");
}

/* Without encrypt the server's own files decide: with all of them the transfer is encrypted and both sides are
 * verified. */
static int default_mode(struct sst_settings *s, bool has_ssl_mode, struct xb_error *error) {
    if (has_ssl_mode && s->ssl_mode == SST_SSL_DISABLED) return 0;
    bool has_pair = s->cert && s->key, has_trust = s->ca || s->ca_path;
    if (!has_ssl_mode) {
        s->encrypt = has_pair && has_trust ? 4 : 0;
        return 0;
    }
    if (!has_pair)
        return xb_fail(error, -EINVAL,
                       "ssl-mode is set, but ssl-cert and ssl-key are not: nothing is sent in plain text instead");
    if (s->ssl_mode == SST_SSL_REQUIRED)
        s->ca = s->ca_path = NULL;
    else if (!has_trust)
        return xb_fail(error, -EINVAL, "ssl-mode asks for verification, but ssl-ca is not set");
    s->encrypt = 3;
    return 0;
}

static int read_mode(struct sst_settings *s, enum sst_role role, struct xb_error *error) {
    bool has_ssl_mode;
    int rc = read_ssl_mode(s, &has_ssl_mode, error);
    if (rc) return rc;
    read_files(s, role);
    const char *text = sst_options_get(&s->options, TRANSFER, "encrypt");
    if (!text || (has_ssl_mode && s->ssl_mode != SST_SSL_DISABLED && !strcmp(text, "0")))
        return default_mode(s, has_ssl_mode, error);
    if (strlen(text) != 1 || *text < '0' || *text > '4')
        return xb_fail(error, -EINVAL, "encrypt='%s' is none of 0, 1, 2, 3, 4", text);
    s->encrypt = *text - '0';
    return 0;
}

static int check_files(struct sst_settings *s, struct xb_error *error) {
    bool has_trust = s->ca || s->ca_path;
    if (!s->cert)
        return xb_fail(error, -EINVAL, "encrypt=%d needs a certificate: set %s", s->encrypt,
                       s->encrypt == 2 ? "tcert in [sst]" : "ssl-cert");
    if (s->encrypt == 2) s->key = NULL;
    if (s->encrypt >= 3 && !s->key)
        return xb_fail(error, -EINVAL, "encrypt=%d needs a key: set %s", s->encrypt,
                       s->encrypt == 3 ? "tkey in [sst]" : "ssl-key");
    if (s->encrypt != 3 && !has_trust)
        return xb_fail(error, -EINVAL, "encrypt=%d needs a CA: set %s", s->encrypt,
                       s->encrypt == 2 ? "tca in [sst]" : "ssl-ca");
    s->is_tls = true;
    s->is_peer_verified = has_trust;
    return 0;
}

static int read_password_file(struct sst_settings *s, const char *path, struct xb_error *error) {
    FILE *file = fopen(path, "re");
    if (!file) return xb_fail(error, -EINVAL, "cannot read encrypt-key-file '%s': %m", path);
    bool has_line = fgets(s->password_line, sizeof(s->password_line), file) != NULL;
    fclose(file);
    s->password_line[strcspn(s->password_line, "\r\n")] = '\0';
    if (!has_line || !s->password_line[0])
        return xb_fail(error, -EINVAL, "encrypt-key-file '%s' has no key in its first line", path);
    s->password = s->password_line;
    return 0;
}

static int read_symmetric(struct sst_settings *s, struct xb_error *error) {
    const char *format = sst_options_get(&s->options, TRANSFER, "encrypt-format");
    if (format && strcmp(format, "openssl"))
        return xb_fail(error, -EINVAL, "encrypt-format '%s' is not supported, only openssl is", format);
    s->algorithm = sst_options_get(&s->options, TRANSFER, "encrypt-algo");
    s->password = sst_options_get(&s->options, TRANSFER, "encrypt-key");
    const char *file = sst_options_get(&s->options, TRANSFER, "encrypt-key-file");
    if (!s->algorithm) return xb_fail(error, -EINVAL, "encrypt=1 needs encrypt-algo, for example aes-256-ctr");
    if (!s->password && !file)
        return xb_fail(error, -EINVAL, "encrypt=1 needs encrypt-key or, better, encrypt-key-file");
    return s->password ? 0 : read_password_file(s, file, error);
}

static int read_transfer(struct sst_settings *s, struct xb_error *error) {
    const char *container = sst_options_get(&s->options, SST, "streamfmt"),
               *rlimit = sst_options_get(&s->options, SST, "rlimit");
    const char *transport = sst_options_get(&s->options, SST, "transferfmt"),
               *progress = sst_options_get(&s->options, SST, "progress");
    if (container && strcmp(container, "mbstream") && strcmp(container, "xbstream"))
        return xb_fail(error, -EINVAL, "streamfmt '%s' is not supported: use mbstream", container);
    if (transport && strcmp(transport, "socat") && s->encrypt >= 2)
        return xb_fail(error, -EINVAL, "transferfmt '%s' means plain text and contradicts encrypt=%d: remove one",
                       transport, s->encrypt);
    if (rlimit && !limit_parse(rlimit, &s->rlimit))
        return xb_fail(error, -EINVAL, "rlimit '%s' is not a number with k, m, g or t", rlimit);
    s->is_progress_shown = !progress || strcmp(progress, "none");
    s->compressor = sst_options_get(&s->options, SST, "compressor");
    s->decompressor = sst_options_get(&s->options, SST, "decompressor");
    int rc = read_seconds(&s->options, "sst-initial-timeout", 300, &s->initial_timeout_ns, error);
    if (rc == 0) rc = read_seconds(&s->options, "sst-idle-timeout", 0, &s->idle_timeout_ns, error);
    return rc ? rc : read_seconds(&s->options, "donor-timeout", 30, &s->donor_timeout_ns, error);
}

/* A directory of the server, "" if it is the datadir itself. */
static void read_directory(const struct sst_settings *s, const char *key, const char *datadir,
                           char path[SST_PATH_SIZE]) {
    const char *text = sst_options_get(&s->options, "mysqld*", key);
    path[0] = '\0';
    if (!text) return;
    snprintf(path, SST_PATH_SIZE, "%s%s%s", *text == '/' ? "" : datadir, *text == '/' ? "" : "/", text);
    char real[SST_PATH_SIZE], *own = realpath(datadir, NULL);
    const char *found = realpath(path, real);
    if (own && found && strcmp(own, found) == 0) path[0] = '\0';
    free(own);
}

static void split_auth(const char *text, char *first, char *second, size_t size) {
    const char *colon = strchr(text, ':');
    snprintf(first, size, "%.*s", (int)(colon ? colon - text : (ptrdiff_t)strlen(text)), text);
    snprintf(second, size, "%s", colon ? colon + 1 : "");
}

static const char *environment(const char *name) {
    const char *text = getenv(name);
    return text && strcmp(text, "(null)") ? text : "";
}

static int read_binlog_count(struct sst_settings *s, struct xb_error *error) {
    const char *text = sst_options_get(&s->options, "mysqld*,sst", "sst-max-binlogs");
    const char *digits = text ? text + (*text == '-') : "1";
    size_t size = strspn(digits, "0123456789");
    if (size == 0 || size > 9 || digits[size])
        return xb_fail(error, -EINVAL, "sst-max-binlogs='%s' is not a number", text);
    s->max_binlogs = text ? strtoll(text, NULL, 10) : 1;
    return 0;
}

static int check_method(const struct sst_settings *s, enum sst_method method, struct xb_error *error) {
    if (method == SST_METHOD_XEBEC && s->encrypt != 4)
        return xb_fail(error, -EINVAL,
                       "method xebec is always encrypted and verified on both sides: set ssl-ca, ssl-cert and ssl-key "
                       "(in [mysqld] or [sst]), and no other encrypt than 4 (it is %d)",
                       s->encrypt);
    if ((method == SST_METHOD_RSYNC || method == SST_METHOD_MYSQLDUMP) && s->encrypt == 1)
        return xb_fail(error, -EINVAL,
                       "this method knows no encrypt=1: set encrypt=4 with ssl-ca, ssl-cert and ssl-key");
    return 0;
}

static void read_backup(struct sst_settings *s, const struct sst_arguments *arguments) {
    s->backup_options = sst_options_get(&s->options, BACKUP, "inno-backup-opts");
    s->apply_options = sst_options_get(&s->options, BACKUP, "inno-apply-opts");
    s->move_options = sst_options_get(&s->options, BACKUP, "inno-move-opts");
    s->use_memory = sst_options_get(&s->options, BACKUP, "use-memory");
    if (!s->use_memory) s->use_memory = sst_options_get(&s->options, "mysqld*", "innodb-buffer-pool-size");
    s->backup_threads = sst_options_get(&s->options, TRANSFER, "backup-threads");
    s->tmpdir = sst_options_get(&s->options, TRANSFER, "tmpdir");
    s->clean_pattern = sst_options_get(&s->options, SST, "cpat");
    if (!s->clean_pattern) s->clean_pattern = CLEAN_DEFAULT;
    read_directory(s, "innodb-data-home-dir", arguments->datadir, s->data_home);
    read_directory(s, "innodb-undo-directory", arguments->datadir, s->undo_dir);
    read_directory(s, "innodb-log-group-home-dir", arguments->datadir, s->log_dir);
    read_directory(s, "aria-log-dir-path", arguments->datadir, s->aria_dir);
    const char *auth = environment("WSREP_SST_OPT_AUTH");
    if (!*auth) auth = sst_options_get(&s->options, SST, "wsrep-sst-auth");
    split_auth(auth ? auth : "", s->user, s->account_password, sizeof(s->user));
    split_auth(environment("WSREP_SST_OPT_REMOTE_AUTH"), s->remote_name, s->remote_secret, sizeof(s->remote_name));
}

int sst_settings_apply(struct sst_settings *s, const struct sst_arguments *arguments, struct xb_error *error) {
    int rc = read_mode(s, arguments->role, error);
    if (rc == 0 && s->encrypt >= 2) rc = check_files(s, error);
    if (rc == 0 && s->encrypt == 1) rc = read_symmetric(s, error);
    if (rc == 0) rc = read_transfer(s, error);
    if (rc == 0) rc = read_binlog_count(s, error);
    if (rc == 0) read_backup(s, arguments);
    return rc ? rc : check_method(s, arguments->method, error);
}

int sst_settings_load(struct sst_settings *settings, const struct sst_arguments *arguments, struct xb_error *error) {
    *settings = (struct sst_settings){0};
    struct sst_option_files files = {arguments->defaults_file, arguments->defaults_extra_file,
                                     arguments->defaults_group_suffix};
    int rc = sst_options_load(&settings->options, &files, error);
    for (int i = 0; rc == 0 && i < arguments->server_argument_count; i++)
        rc = sst_options_add_argument(&settings->options, arguments->server_arguments[i], error);
    return rc ? rc : sst_settings_apply(settings, arguments, error);
}

void sst_settings_free(struct sst_settings *settings) {
    sst_options_free(&settings->options);
    explicit_bzero(settings->password_line, sizeof(settings->password_line));
    explicit_bzero(settings->account_password, sizeof(settings->account_password));
}

const char *sst_settings_warning(const struct sst_settings *s, int n) {
    const char *lines[3] = {0};
    int count = 0;
    if (s->encrypt == 0)
        lines[count++] =
            "the state transfer is NOT ENCRYPTED (encrypt=0): set ssl-ca, ssl-cert and ssl-key and [sst] encrypt=4";
    if (s->encrypt >= 1 && s->encrypt <= 3 && s->ssl_mode == SST_SSL_DISABLED)
        lines[count++] = "encrypt=1, 2 and 3 are deprecated: use encrypt=4 with ssl-ca, ssl-cert and ssl-key";
    if (s->encrypt == 1) lines[count++] = "encrypt=1 verifies neither the peer nor the data";
    if (s->is_tls && !s->is_peer_verified)
        lines[count++] = "without a CA the other node is NOT VERIFIED: whoever answers is taken for it";
    return n < count ? lines[n] : NULL;
}
