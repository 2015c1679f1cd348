/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes and reads the small files of the first stage. */
#include "sst/magic.h"

#include "sst/arguments.h"
#include "sst/container.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX 4096

static void add_text(struct xb_writer *w, const char *path, const char *text) {
    container_write_file(w, path, text, strlen(text));
}

size_t magic_write_stage(const struct magic_stage *stage, uint8_t *to, size_t room) {
    char info[3 * MAGIC_LINE_SIZE], donor[MAGIC_LINE_SIZE + 2], ours[64];
    int used = snprintf(info, sizeof(info), "%s\n", stage->state);
    if (stage->secret[0]) used += snprintf(info + used, sizeof(info) - (size_t)used, "secret %s\n", stage->secret);
    snprintf(donor, sizeof(donor), "%s\n", stage->state);
    snprintf(ours, sizeof(ours), "version 1\ntotal %" PRIu64 "\n", stage->total_bytes);
    struct xb_writer w = xb_writer_init(to, room);
    add_text(&w, MAGIC_GALERA_INFO, info);
    add_text(&w, MAGIC_DONOR_INFO, donor);
    if (stage->is_ours) add_text(&w, MAGIC_OURS, ours);
    if (stage->is_ist_only) add_text(&w, MAGIC_IST, "1\n");
    return w.is_bad ? 0 : w.used;
}

/* One file at a time: what has come of it. */
struct collector {
    struct magic_stage *stage;
    char text[FILE_MAX + 1];
    size_t size;
    bool has_info;
};

static int collect(void *ctx, const char *path, uint64_t offset, const uint8_t *data, size_t size,
                   struct xb_error *error) {
    struct collector *c = ctx;
    if (offset == 0) c->size = 0;
    if (offset != c->size || size > FILE_MAX - c->size)
        return xb_fail(error, -EBADMSG, "file '%s' of the first stage is too large", path);
    if (size > 0) memcpy(c->text + c->size, data, size);
    c->size += size;
    return 0;
}

static bool read_total(const char *line, uint64_t *total) {
    size_t digits = strspn(line, "0123456789");
    if (digits == 0 || digits > 18 || line[digits]) return false;
    *total = strtoull(line, NULL, 10);
    return true;
}

static int read_tag(struct magic_stage *stage, const char *line, struct xb_error *error) {
    if (strncmp(line, "secret ", 7) == 0)
        snprintf(stage->secret, sizeof(stage->secret), "%s", line + 7);
    else if (strncmp(line, "total ", 6) == 0 && !read_total(line + 6, &stage->total_bytes))
        return xb_fail(error, -EBADMSG, "the donor's total is no number");
    return 0;
}

static int read_info(struct collector *c, struct xb_error *error) {
    char *rest = c->text, *line = strsep(&rest, "\n");
    if (strlen(line) >= sizeof(c->stage->state) || !sst_is_gtid(line))
        return xb_fail(error, -EBADMSG, "the donor's state is not UUID:SEQNO");
    snprintf(c->stage->state, sizeof(c->stage->state), "%s", line);
    c->has_info = true;
    int rc = 0;
    while (rc == 0 && (line = strsep(&rest, "\n"))) rc = read_tag(c->stage, line, error);
    return rc;
}

static int read_ours(struct collector *c, struct xb_error *error) {
    c->stage->is_ours = true;
    char *rest = c->text, *line;
    int rc = 0;
    while (rc == 0 && (line = strsep(&rest, "\n"))) rc = read_tag(c->stage, line, error);
    return rc;
}

static int take_file(void *ctx, const char *path, struct xb_error *error) {
    struct collector *c = ctx;
    c->text[c->size] = '\0';
    int rc = 0;
    if (!strcmp(path, MAGIC_GALERA_INFO) || !strcmp(path, MAGIC_GALERA_INFO_11)) rc = read_info(c, error);
    if (!strcmp(path, MAGIC_OURS)) rc = read_ours(c, error);
    if (!strcmp(path, MAGIC_IST)) c->stage->is_ist_only = true;
    c->size = 0;
    return rc;
}

int magic_read_stage(struct magic_stage *stage, const uint8_t *data, size_t size, struct xb_error *error) {
    *stage = (struct magic_stage){0};
    struct collector *c = calloc(1, sizeof(*c));
    struct container_reader *reader = c ? container_reader_new(&(struct container_sink){collect, take_file, c}) : NULL;
    int rc = reader ? 0 : xb_fail(error, -ENOMEM, "no memory");
    if (rc == 0) {
        c->stage = stage;
        rc = container_reader_feed(reader, data, size, error);
    }
    if (rc == 0) rc = container_reader_end(reader, error);
    if (rc == 0 && !c->has_info) rc = xb_fail(error, -EBADMSG, "the first stage holds no %s", MAGIC_GALERA_INFO);
    container_reader_free(reader);
    free(c);
    return rc;
}

bool magic_is_secret_equal(const char *a, const char *b) {
    return strlen(a) == strlen(b) && CRYPTO_memcmp(a, b, strlen(a)) == 0;
}
