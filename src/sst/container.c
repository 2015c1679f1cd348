/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reader and writer of the stream container. Headers are collected until they are whole, payloads are passed on as they
 * come. */
#include "sst/container.h"

#include <zlib.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_SIZE 14  /* magic, flags, type, length of the path */
#define PAYLOAD_SIZE 20 /* length, offset, CRC */
#define HEADER_MAX (PREFIX_SIZE + CONTAINER_PATH_MAX + PAYLOAD_SIZE)
#define OPEN_FILES_MAX 4096
#define FLAG_IGNORABLE 1

struct container_reader {
    struct container_sink sink;
    uint8_t header[HEADER_MAX];
    size_t header_used, header_wanted;
    char path[CONTAINER_PATH_MAX + 1];
    bool is_ignored; /* the chunk's type is unknown, but may be passed over */
    uint64_t chunk_left, chunk_size, offset, chunk_offset;
    uint32_t crc, crc_wanted;
    char *open[OPEN_FILES_MAX];
    size_t open_count;
    uint64_t files;
};

struct container_reader *container_reader_new(const struct container_sink *sink) {
    struct container_reader *reader = calloc(1, sizeof(*reader));
    if (reader) {
        reader->sink = *sink;
        reader->header_wanted = PREFIX_SIZE;
    }
    return reader;
}

void container_reader_free(struct container_reader *reader) {
    if (!reader) return;
    for (size_t i = 0; i < reader->open_count; i++) free(reader->open[i]);
    free(reader);
}

/* A path of the stream is a stranger's: it must stay below the directory it is unpacked to. */
static bool is_path_safe(const char *path) {
    if (*path == '/' || !*path) return false;
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20) return false;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t size = strcspn(part, "/");
        if (size == 0 || (size == 1 && part[0] == '.') || (size == 2 && part[0] == '.' && part[1] == '.')) return false;
    }
    return true;
}

static size_t find_open(const struct container_reader *reader) {
    size_t i = 0;
    while (i < reader->open_count && strcmp(reader->open[i], reader->path)) i++;
    return i;
}

static int note_open(struct container_reader *reader, struct xb_error *error) {
    if (find_open(reader) < reader->open_count) return 0;
    if (reader->open_count == OPEN_FILES_MAX)
        return xb_fail(error, -EBADMSG, "the stream has more than %d unfinished files", OPEN_FILES_MAX);
    char *path = strdup(reader->path);
    if (!path) return xb_fail(error, -ENOMEM, "no memory");
    reader->open[reader->open_count++] = path;
    return 0;
}

static void begin_header(struct container_reader *reader) {
    reader->header_used = 0;
    reader->header_wanted = PREFIX_SIZE;
    reader->is_ignored = false;
}

static int end_file(struct container_reader *reader, struct xb_error *error) {
    size_t i = find_open(reader);
    if (i == reader->open_count) {
        int rc = reader->sink.data(reader->sink.ctx, reader->path, 0, NULL, 0, error); /* an empty file */
        if (rc) return rc;
    } else {
        free(reader->open[i]);
        reader->open[i] = reader->open[--reader->open_count];
    }
    reader->files++;
    begin_header(reader);
    return reader->sink.file_end(reader->sink.ctx, reader->path, error);
}

static int read_path(struct container_reader *reader, struct xb_reader *r, size_t size, struct xb_error *error) {
    const uint8_t *path = xb_read_bytes(r, size);
    memcpy(reader->path, path, size);
    reader->path[size] = '\0';
    if (strlen(reader->path) == size && is_path_safe(reader->path)) return 0;
    return xb_fail(error, -EBADMSG, "the stream names a file outside of its directory; the transfer is refused");
}

/* The header is there up to header_wanted: asks for more of it, or begins what follows it. */
static int read_header(struct container_reader *reader, struct xb_error *error) {
    struct xb_reader r = xb_reader_init(reader->header, reader->header_used);
    if (memcmp(xb_read_bytes(&r, 8), CONTAINER_MAGIC, 8))
        return xb_fail(error, -EBADMSG, "the stream is damaged or is no mbstream: no chunk begins behind '%s'",
                       reader->path[0] ? reader->path : "the start");
    uint8_t flags = xb_read_u8(&r), type = xb_read_u8(&r);
    uint32_t path_size = xb_read_u32(&r);
    if (path_size == 0 || path_size > CONTAINER_PATH_MAX)
        return xb_fail(error, -EBADMSG, "the stream is damaged: a path of %" PRIu32 " bytes behind '%s'", path_size,
                       reader->path);
    bool has_payload = type != 'E';
    size_t whole = PREFIX_SIZE + path_size + (has_payload ? PAYLOAD_SIZE : 0);
    if (reader->header_used < whole) {
        reader->header_wanted = whole;
        return 0;
    }
    int rc = read_path(reader, &r, path_size, error);
    if (rc) return rc;
    if (!has_payload) return end_file(reader, error);
    if (type != 'P' && !(flags & FLAG_IGNORABLE))
        return xb_fail(error, -EBADMSG, "the stream has a chunk of unknown type 0x%02x in '%s'", type, reader->path);
    reader->is_ignored = type != 'P';
    reader->chunk_left = reader->chunk_size = xb_read_u64(&r);
    reader->offset = reader->chunk_offset = xb_read_u64(&r);
    reader->crc_wanted = xb_read_u32(&r);
    reader->crc = 0;
    if (reader->offset > INT64_MAX || reader->chunk_size > (uint64_t)INT64_MAX - reader->offset)
        return xb_fail(error, -EBADMSG, "the stream is damaged: an impossible offset in '%s'", reader->path);
    return reader->is_ignored ? 0 : note_open(reader, error);
}

static int end_payload(struct container_reader *reader, struct xb_error *error) {
    if (reader->crc != reader->crc_wanted)
        return xb_fail(error, -EBADMSG,
                       "the stream is damaged: checksum of '%s', bytes %" PRIu64 " to %" PRIu64 ", is 0x%08" PRIx32
                       " instead of 0x%08" PRIx32,
                       reader->path, reader->chunk_offset, reader->chunk_offset + reader->chunk_size, reader->crc,
                       reader->crc_wanted);
    begin_header(reader);
    return 0;
}

static bool is_in_payload(const struct container_reader *reader) {
    return reader->header_used > PREFIX_SIZE && reader->header_used == reader->header_wanted;
}

static int feed_payload(struct container_reader *reader, const uint8_t *data, size_t size, struct xb_error *error) {
    reader->crc = (uint32_t)crc32_z(reader->crc, data, size);
    reader->chunk_left -= size;
    int rc = 0;
    if (size > 0 && !reader->is_ignored)
        rc = reader->sink.data(reader->sink.ctx, reader->path, reader->offset, data, size, error);
    reader->offset += size;
    return rc == 0 && reader->chunk_left == 0 ? end_payload(reader, error) : rc;
}

static size_t smaller(uint64_t a, size_t b) {
    return a < b ? (size_t)a : b;
}

int container_reader_feed(struct container_reader *reader, const uint8_t *data, size_t size, struct xb_error *error) {
    int rc = 0;
    while (size > 0 && rc == 0) {
        size_t n;
        if (is_in_payload(reader)) {
            n = smaller(reader->chunk_left, size);
            rc = feed_payload(reader, data, n, error);
        } else {
            n = smaller(reader->header_wanted - reader->header_used, size);
            memcpy(reader->header + reader->header_used, data, n);
            reader->header_used += n;
            if (reader->header_used == reader->header_wanted) rc = read_header(reader, error);
            if (rc == 0 && is_in_payload(reader) && reader->chunk_left == 0)
                rc = feed_payload(reader, data + n, 0, error);
        }
        data += n;
        size -= n;
    }
    return rc;
}

int container_reader_end(const struct container_reader *reader, struct xb_error *error) {
    if (reader->header_used > 0)
        return xb_fail(error, -EBADMSG, "the stream was cut in the middle of '%s'",
                       reader->path[0] ? reader->path : "its first file");
    if (reader->open_count > 0)
        return xb_fail(error, -EBADMSG, "the stream was cut: '%s' and %zu more files have no end", reader->open[0],
                       reader->open_count - 1);
    return 0;
}

uint64_t container_reader_files(const struct container_reader *reader) {
    return reader->files;
}

const char *container_reader_path(const struct container_reader *reader) {
    return reader->path;
}

static void write_prefix(struct xb_writer *w, char type, const char *path) {
    xb_write_bytes(w, CONTAINER_MAGIC, 8);
    xb_write_u8(w, 0);
    xb_write_u8(w, (uint8_t)type);
    xb_write_u32(w, (uint32_t)strlen(path));
    xb_write_bytes(w, path, strlen(path));
}

void container_write_file(struct xb_writer *w, const char *path, const void *data, size_t size) {
    write_prefix(w, 'P', path);
    xb_write_u64(w, size);
    xb_write_u64(w, 0);
    xb_write_u32(w, (uint32_t)crc32_z(0, data, size));
    xb_write_bytes(w, data, size);
    write_prefix(w, 'E', path);
}
