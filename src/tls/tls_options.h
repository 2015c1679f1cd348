/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS contexts from the provider options socket.ssl_* (spec 02 section 16.1, 16.2). */
#ifndef XB_TLS_TLS_OPTIONS_H
#define XB_TLS_TLS_OPTIONS_H

#include "base/options.h"
#include "tls/tls.h"

/* Should the group and IST sockets use TLS? socket.ssl decides; if it is not given, a key or certificate does. */
bool tls_options_is_on(struct xb_options *options);

/*
 * Reads the files that the options name. -> 0 with a context in *context, or NULL in it if TLS is off; else a negative
 * errno with *error. On success the shown values of socket.ssl, ssl_ca and ssl_cipher are completed.
 */
int tls_options_load(struct xb_options *options, struct tls_context **context, struct xb_error *error);

#endif
