/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS contexts from the provider options socket.ssl_*. */
#include "tls/tls_options.h"

#include <errno.h>
#include <limits.h>

struct file_option {
    char text[PATH_MAX];
};

static const char *read_option(struct xb_options *options, const char *name, struct file_option *value) {
    return xb_options_text(options, name, value->text, sizeof(value->text)) > 0 ? value->text : NULL;
}

bool tls_options_is_on(struct xb_options *options) {
    struct file_option value;
    if (read_option(options, "socket.ssl", &value)) return xb_options_bool(options, "socket.ssl");
    return read_option(options, "socket.ssl_key", &value) || read_option(options, "socket.ssl_cert", &value);
}

int tls_options_load(struct xb_options *options, struct tls_context **context, struct xb_error *error) {
    *context = NULL;
    if (!tls_options_is_on(options)) return 0;
    struct file_option key, cert, ca, cipher, password;
    struct tls_config config = {
        .key_file = read_option(options, "socket.ssl_key", &key),
        .cert_file = read_option(options, "socket.ssl_cert", &cert),
        .ca_file = read_option(options, "socket.ssl_ca", &ca),
        .cipher_list = read_option(options, "socket.ssl_cipher", &cipher),
        .password_file = read_option(options, "socket.ssl_password_file", &password),
    };
    if (!config.key_file || !config.cert_file)
        return xb_fail(error, -EINVAL,
                       "To enable SSL at least both of 'socket.ssl_key' and 'socket.ssl_cert' must be set");
    *context = tls_context_load(&config, error);
    if (!*context) return error && error->code ? error->code : -EINVAL;
    xb_options_put(options, "socket.ssl", "YES");
    if (!config.ca_file) xb_options_put(options, "socket.ssl_ca", config.cert_file);
    if (!config.cipher_list) xb_options_put(options, "socket.ssl_cipher", "");
    xb_options_put(options, "socket.ssl_reload", "1");
    return 0;
}
