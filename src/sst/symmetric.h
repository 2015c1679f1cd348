/* SPDX-License-Identifier: GPL-2.0-or-later */
/* encrypt=1: the stream of `openssl enc -ALGO -pbkdf2` (spec 08 section 8.2). It proves nothing about the peer or the
 * data; it is here for old clusters. Pure but for the salt. */
#ifndef XB_SST_SYMMETRIC_H
#define XB_SST_SYMMETRIC_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SYMMETRIC_EXTRA 64 /* what one call may put out beyond its input */

struct symmetric;
/* -> NULL with *error: unknown or unfit algorithm, no memory */
struct symmetric *symmetric_new(const char *algorithm, const char *password, bool is_encrypting,
                                struct xb_error *error);
void symmetric_free(struct symmetric *symmetric);
/* to: size + SYMMETRIC_EXTRA bytes. -> bytes put out, or -EBADMSG with *error (no such stream, wrong key) */
ssize_t symmetric_feed(struct symmetric *symmetric, const uint8_t *data, size_t size, uint8_t *to,
                       struct xb_error *error);
ssize_t symmetric_end(struct symmetric *symmetric, uint8_t *to, struct xb_error *error);

#endif
