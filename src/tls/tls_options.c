/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS contexts from the provider options socket.ssl_*. */
#include "tls/tls_options.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct value {
    char text[PATH_MAX];
};

/* What tls_config takes as it stands. Lists may be long. */
static const struct {
    const char *option;
    size_t offset;
} texts[] = {
    {"socket.ssl_key", offsetof(struct tls_config, key_file)},
    {"socket.ssl_cert", offsetof(struct tls_config, cert_file)},
    {"socket.ssl_ca", offsetof(struct tls_config, ca_file)},
    {"socket.ssl_cipher", offsetof(struct tls_config, cipher_list)},
    {"socket.ssl_ciphersuites", offsetof(struct tls_config, cipher_suites)},
    {"socket.ssl_password_file", offsetof(struct tls_config, password_file)},
    {"socket.ssl_crl", offsetof(struct tls_config, crl_file)},
    {"socket.ssl_verify_peer_name", offsetof(struct tls_config, peer_names)},
    {"socket.ssl_allowed_peers", offsetof(struct tls_config, allowed_peers)},
};
#define TEXTS (sizeof(texts) / sizeof(texts[0]))

const char *const tls_file_options[TLS_FILE_OPTIONS_MAX] = {"socket.ssl_cert", "socket.ssl_key", "socket.ssl_ca",
                                                            "socket.ssl_crl", "socket.ssl_password_file"};

/* What socket.ssl_auto looks for: MySQL's names. */
static const struct {
    const char *option, *file;
} automatic[] = {
    {"socket.ssl_ca", "ca.pem"}, {"socket.ssl_cert", "server-cert.pem"}, {"socket.ssl_key", "server-key.pem"}};

static const char *read_option(struct xb_options *options, const char *name, struct value *value) {
    return xb_options_text(options, name, value->text, sizeof(value->text)) > 0 ? value->text : NULL;
}

bool tls_options_is_on(struct xb_options *options) {
    struct value value;
    if (read_option(options, "socket.ssl", &value)) return xb_options_bool(options, "socket.ssl");
    return read_option(options, "socket.ssl_key", &value) || read_option(options, "socket.ssl_cert", &value) ||
           xb_options_bool(options, "socket.ssl_auto");
}

static int find_automatic(struct xb_options *options, struct xb_error *error) {
    struct value value, directory;
    if (!read_option(options, "base_dir", &directory)) strcpy(directory.text, ".");
    for (size_t i = 0; i < sizeof(automatic) / sizeof(automatic[0]); i++) {
        if (read_option(options, automatic[i].option, &value)) continue;
        int n = snprintf(value.text, sizeof(value.text), "%s/%s", directory.text, automatic[i].file);
        if (n < 0 || (size_t)n >= sizeof(value.text)) return xb_fail(error, -ENAMETOOLONG, "base_dir is too long");
        if (access(value.text, R_OK))
            return xb_fail(error, -EINVAL,
                           "socket.ssl_auto: cannot read '%s': %s; put the file there, name another one "
                           "with %s, or take socket.ssl_auto away",
                           value.text, strerror(errno), automatic[i].option);
        if (xb_options_put(options, automatic[i].option, value.text)) return xb_fail(error, -ENOMEM, "no memory");
    }
    return 0;
}

static int read_min_version(struct xb_options *options, struct tls_config *config, struct xb_error *error) {
    struct value value;
    if (!read_option(options, "socket.ssl_min_version", &value) || !strcmp(value.text, "TLSv1.2")) return 0;
    config->is_tls13_only = !strcmp(value.text, "TLSv1.3");
    return config->is_tls13_only ? 0
                                 : xb_fail(error, -EINVAL,
                                           "Bad value '%s' for SSL parameter 'socket.ssl_min_version': "
                                           "TLSv1.2 or TLSv1.3",
                                           value.text);
}

/* -> 0, or -EINVAL with the file at fault */
static int check_fitness(const struct tls_context *context, const struct tls_config *config, struct xb_error *error) {
    struct xb_error fault;
    if (!tls_context_fault(context, &fault)) return 0;
    return xb_fail(error, -EINVAL, "'%s' (socket.ssl_cert) is unfit, with the CA file '%s': %s", config->cert_file,
                   config->ca_file ? config->ca_file : config->cert_file, fault.text);
}

static int load(struct xb_options *options, struct tls_config *config, bool is_fit_only, struct tls_context **context,
                struct xb_error *error) {
    if (!config->key_file || !config->cert_file)
        return xb_fail(error, -EINVAL,
                       "To enable SSL at least both of 'socket.ssl_key' and 'socket.ssl_cert' must be set");
    int rc = read_min_version(options, config, error);
    if (rc) return rc;
    struct xb_error reason = {0};
    struct tls_context *loaded = tls_context_load(config, &reason);
    rc = loaded ? 0 : reason.code;
    if (!rc && is_fit_only) rc = check_fitness(loaded, config, &reason);
    if (rc) {
        tls_context_unref(loaded);
        if (error) *error = reason;
        return rc;
    }
    *context = loaded;
    xb_options_put(options, "socket.ssl", "YES");
    if (!config->ca_file) xb_options_put(options, "socket.ssl_ca", config->cert_file);
    if (!config->cipher_list) xb_options_put(options, "socket.ssl_cipher", "");
    xb_options_put(options, "socket.ssl_reload", "1");
    return 0;
}

int tls_options_load(struct xb_options *options, bool is_fit_only, struct tls_context **context,
                     struct xb_error *error) {
    *context = NULL;
    if (!tls_options_is_on(options)) return 0;
    bool is_automatic = xb_options_bool(options, "socket.ssl_auto");
    int rc = is_automatic ? find_automatic(options, error) : 0;
    if (rc) return rc;
    struct tls_config config = {.is_any_purpose = xb_options_bool(options, "socket.ssl_any_purpose")};
    char *copies[TEXTS];
    for (size_t i = 0; i < TEXTS; i++) {
        copies[i] = xb_options_copy(options, texts[i].option);
        if (copies[i] && *copies[i]) *(const char **)((char *)&config + texts[i].offset) = copies[i];
    }
    rc = load(options, &config, is_fit_only || is_automatic, context, error);
    for (size_t i = 0; i < TEXTS; i++) free(copies[i]);
    return rc;
}

void tls_options_check(struct xb_options *options, const struct tls_context *context,
                       void (*warn)(void *ctx, const char *line), void *ctx) {
    struct value key;
    struct stat status;
    char line[PATH_MAX + 128];
    tls_context_check(context, (int64_t)time(NULL), warn, ctx);
    if (!read_option(options, "socket.ssl_key", &key) || stat(key.text, &status) || !(status.st_mode & 07)) return;
    snprintf(line, sizeof(line), "key file '%s' (socket.ssl_key) can be read by everybody (mode %04o): chmod 600",
             key.text, (unsigned)status.st_mode & 07777);
    warn(ctx, line);
}
