/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a whole write set (spec 06 section 2: header, key set, data set, unordered set, annotation set) and validates
 * it up front, so that nothing after it can meet bytes it does not understand (section 25.1).
 */
#include "writeset/record_set.h"
#include "writeset/writeset.h"

#include "base/bytes.h"

#include <errno.h>

#define TRAILING_MAX 8 /* less than this is padding of a buffer */
#define NBO_END_DATA_SIZE 8

/* Takes one record set at ws->size. */
static int read_set(struct writeset *ws, size_t size, const char *name, struct record_set *set,
                    struct writeset_range *range, struct xb_error *error) {
    const char *wrong = record_set_read(set, ws->bytes + ws->size, size - ws->size);
    if (wrong) return xb_fail(error, -EPROTO, "write set: %s set at %zu: %s", name, ws->size, wrong);
    *range = (struct writeset_range){.offset = ws->size, .size = set->serial_size};
    ws->size += set->serial_size;
    return 0;
}

static int read_keys(struct writeset *ws, size_t size, struct xb_error *error) {
    struct record_set set;
    int rc = read_set(ws, size, "key", &set, &ws->key_set, error);
    if (rc < 0) return rc;
    ws->keys = (struct writeset_keys){.records = ws->bytes + ws->key_set.offset + set.begin,
                                      .size = set.size - set.begin,
                                      .count = set.count,
                                      .version = ws->header.version};
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&ws->keys);
    struct writeset_key key;
    while ((rc = writeset_next_key(&cursor, &key)) > 0)
        ;
    if (rc < 0 || cursor.next != cursor.end)
        return xb_fail(error, -EPROTO, "write set: key part %u of %u is malformed", set.count - cursor.left, set.count);
    return 0;
}

/* A set with one record: all that the origin appended. */
static int read_data(struct writeset *ws, size_t size, const char *name, struct writeset_part *part,
                     struct writeset_range *range, struct xb_error *error) {
    struct record_set set;
    int rc = read_set(ws, size, name, &set, range, error);
    if (rc < 0) return rc;
    *part = (struct writeset_part){.data = ws->bytes + range->offset + set.begin, .size = set.size - set.begin};
    return 0;
}

int writeset_read(struct writeset *ws, const void *bytes, size_t size, struct xb_error *error) {
    *ws = (struct writeset){.bytes = bytes, .keys = {.records = bytes}};
    int rc = writeset_read_header(&ws->header, &ws->header_size, bytes, size, error);
    if (rc < 0) return rc;
    ws->size = ws->header_size;
    ws->keys.version = ws->header.version;
    if (ws->header.keys != WRITESET_KEYS_NONE) rc = read_keys(ws, size, error);
    if (rc == 0 && ws->header.has_data) rc = read_data(ws, size, "data", &ws->data, &ws->data_set, error);
    if (rc == 0 && ws->header.has_unordered)
        rc = read_data(ws, size, "unordered", &ws->unordered, &ws->unordered_set, error);
    if (rc == 0 && ws->header.has_annotation)
        rc = read_data(ws, size, "annotation", &ws->annotation, &ws->annotation_set, error);
    if (rc < 0) return rc;
    if (size - ws->size >= TRAILING_MAX)
        return xb_fail(error, -EPROTO, "write set: %zu bytes behind its end", size - ws->size);
    return 0;
}

static int check_set(const struct writeset *ws, const struct writeset_range *range, const char *name,
                     struct xb_error *error) {
    struct record_set set;
    if (range->size == 0) return 0;
    const uint8_t *bytes = ws->bytes + range->offset;
    if (record_set_read(&set, bytes, range->size) || !record_set_is_intact(&set, bytes))
        return xb_fail(error, -EBADMSG, "write set: checksum of the %s set does not match", name);
    return 0;
}

int writeset_check(const struct writeset *ws, struct xb_error *error) {
    int rc = check_set(ws, &ws->key_set, "key", error);
    if (rc == 0) rc = check_set(ws, &ws->data_set, "data", error);
    if (rc == 0) rc = check_set(ws, &ws->unordered_set, "unordered", error);
    return rc;
}

int writeset_nbo_start_seqno(const struct writeset *ws, int64_t *seqno) {
    if (ws->data.size != NBO_END_DATA_SIZE) return -EPROTO;
    *seqno = (int64_t)xb_load_le(ws->data.data, NBO_END_DATA_SIZE);
    return 0;
}
