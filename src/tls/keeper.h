/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps the TLS context of a running node: loads it, looks once a day whether a certificate will expire soon, and reads
 * the files again when told so (socket.ssl_reload) or, with socket.ssl_watch, when they have changed.
 *
 * A reload takes effect only with a whole and fit set of files: those that a half-done copy leaves behind, or with
 * which all peers would refuse this node, are refused, and the old context stays.
 * What may hurt soon is logged at info level and begins with WARNING: the server's own test suites take every unknown
 * warning for a failure.
 * Threads: reload and context from any thread; new, start and free by the owner.
 */
#ifndef XB_TLS_KEEPER_H
#define XB_TLS_KEEPER_H

#include "base/log.h"
#include "tls/tls_options.h"

struct tls_keeper;

/* Loads the files. Options and log must outlive it. -> NULL with *error */
struct tls_keeper *tls_keeper_new(struct xb_options *options, const struct xb_log *log, struct xb_error *error);
void tls_keeper_free(struct tls_keeper *keeper); /* NULL is allowed */

/* -> a reference for the caller, or NULL: TLS is off */
struct tls_context *tls_keeper_context(struct tls_keeper *keeper);

/* Starts the thread. `changed` is told each new context, in that thread or in the one that calls tls_keeper_reload, one
 * at a time; no reference is handed over. -> 0 or negative errno */
int tls_keeper_start(struct tls_keeper *keeper, void (*changed)(void *ctx, struct tls_context *context), void *ctx,
                     struct xb_error *error);
/* No `changed` is under way or follows after it returns. */
void tls_keeper_stop(struct tls_keeper *keeper);

/* -> 0 (also without TLS), or negative errno with *error: nothing has changed then */
int tls_keeper_reload(struct tls_keeper *keeper, struct xb_error *error);

#endif
