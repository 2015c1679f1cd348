/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes the files of a container below a directory. One user; no thread. */
#ifndef XB_SST_UNPACK_H
#define XB_SST_UNPACK_H

#include "sst/container.h"

struct unpack;
/* low_space (may be NULL) is called, once, when little or no space is left in the directory's file system: it makes
 * room, or says why it does not: that ends the unpacking. */
struct unpack *unpack_new(const char *directory, int (*low_space)(void *ctx, struct xb_error *error), void *ctx,
                          struct xb_error *error);
void unpack_free(struct unpack *unpack); /* closes what is open */
int unpack_feed(struct unpack *unpack, const uint8_t *data, size_t size, struct xb_error *error);
int unpack_end(struct unpack *unpack, struct xb_error *error); /* the stream has ended: is it whole? */
uint64_t unpack_files(const struct unpack *unpack);
const char *unpack_path(const struct unpack *unpack); /* the file that the stream is in */

#endif
