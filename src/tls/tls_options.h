/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS contexts from the provider options socket.ssl_* (spec 02 section 16.1, 16.2). */
#ifndef XB_TLS_TLS_OPTIONS_H
#define XB_TLS_TLS_OPTIONS_H

#include "base/options.h"
#include "tls/tls.h"

/* The options that name files which make up a context, for those who watch them. */
#define TLS_FILE_OPTIONS_MAX 5
extern const char *const tls_file_options[TLS_FILE_OPTIONS_MAX];

/* Should the group and IST sockets use TLS? socket.ssl decides; if it is not given, a key, a certificate or
 * socket.ssl_auto does. */
bool tls_options_is_on(struct xb_options *options);

/*
 * Reads the files that the options name. -> 0 with a context in *context, or NULL in it if TLS is off; else a negative
 * errno with *error. On success the shown values of socket.ssl, ssl_ca and ssl_cipher are completed.
 * With socket.ssl_auto the files that no option names are ca.pem, server-cert.pem and server-key.pem of base_dir.
 * is_fit_only (and socket.ssl_auto): files with which peers would refuse this node are refused, too.
 */
int tls_options_load(struct xb_options *options, bool is_fit_only, struct tls_context **context,
                     struct xb_error *error);

/* tls_context_check, and what can be said about the files: a key that others can read. */
void tls_options_check(struct xb_options *options, const struct tls_context *context,
                       void (*warn)(void *ctx, const char *line), void *ctx);

#endif
