/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream container of mbstream and xbstream (spec 08 section 3.3): chunks of files, each with its path, offset and
 * CRC-32; a file ends with an end chunk. Pure; a reader has one user.
 */
#ifndef XB_SST_CONTAINER_H
#define XB_SST_CONTAINER_H

#include "base/bytes.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINER_MAGIC "XBSTCK01"
#define CONTAINER_PATH_MAX 512

/* What the reader calls. Each -> 0 or a negative errno with *error, which ends the reading. */
struct container_sink {
    int (*data)(void *ctx, const char *path, uint64_t offset, const uint8_t *data, size_t size, struct xb_error *error);
    int (*file_end)(void *ctx, const char *path, struct xb_error *error);
    void *ctx;
};

struct container_reader;
struct container_reader *container_reader_new(const struct container_sink *sink); /* NULL: no memory */
void container_reader_free(struct container_reader *reader);
/* The next bytes of the stream, however they were cut. -> 0, -EBADMSG with *error (what is damaged, in which file and
 * where), or what the sink said. */
int container_reader_feed(struct container_reader *reader, const uint8_t *data, size_t size, struct xb_error *error);
/* The stream has ended. -> 0, or -EBADMSG: it was cut in a chunk or while a file was open. */
int container_reader_end(const struct container_reader *reader, struct xb_error *error);
uint64_t container_reader_files(const struct container_reader *reader); /* complete ones */
/* Where the reader stands: the file whose chunk was read last, "" none yet. */
const char *container_reader_path(const struct container_reader *reader);

/* A whole small file as chunks. */
void container_write_file(struct xb_writer *w, const char *path, const void *data, size_t size);

#endif
