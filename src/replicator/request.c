/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State transfer requests; request.h. */
#include "replicator/request.h"

#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic[6] = "STRv1"; /* with its NUL */

uint8_t *state_request_encode(const struct state_request *request, size_t *size) {
    size_t ist_size = request->ist ? strlen(request->ist) + 1 : 0;
    if (request->sst_size > INT32_MAX / 2) return NULL;
    *size = strlen(request->donors) + 1 + 2 + 16 + 8 + sizeof(magic) + 4 + request->sst_size + 4 + ist_size;
    uint8_t *bytes = malloc(*size);
    if (!bytes) return NULL;
    struct xb_writer w = xb_writer_init(bytes, *size);
    xb_write_cstr(&w, request->donors);
    xb_write_u8(&w, 'V');
    xb_write_u8(&w, REQUEST_VERSION);
    xb_write_uuid(&w, &request->history);
    xb_write_i64(&w, request->last_applied);
    xb_write_bytes(&w, magic, sizeof(magic));
    xb_write_i32(&w, (int32_t)request->sst_size);
    xb_write_bytes(&w, request->sst, request->sst_size);
    xb_write_i32(&w, (int32_t)ist_size);
    xb_write_bytes(&w, request->ist, ist_size);
    return bytes;
}

int state_container_decode(struct state_container *container, const uint8_t *data, size_t size,
                           struct xb_error *error) {
    struct xb_reader r = xb_reader_init(data, size);
    *container = (struct state_container){.sst = NULL};
    if (size < sizeof(magic) - 1 || memcmp(data, magic, sizeof(magic) - 1)) {
        container->is_plain = true;
        container->sst = data;
        container->sst_size = size;
        return 0;
    }
    xb_read_bytes(&r, sizeof(magic));
    int32_t sst_size = xb_read_i32(&r);
    if (sst_size < 0) return xb_fail(error, -EINVAL, "negative size of the SST part");
    container->sst = xb_read_bytes(&r, (size_t)sst_size);
    container->sst_size = (size_t)sst_size;
    int32_t ist_size = xb_read_i32(&r);
    if (ist_size < 0) return xb_fail(error, -EINVAL, "negative size of the IST part");
    const uint8_t *ist = xb_read_bytes(&r, (size_t)ist_size);
    if (!xb_reader_ok(&r) || xb_reader_left(&r))
        return xb_fail(error, -EINVAL, "the parts do not fit the %zu bytes of the request", size);
    if (!ist_size) return 0;
    if (ist[ist_size - 1]) return xb_fail(error, -EINVAL, "the IST part does not end");
    container->ist = (const char *)ist;
    return 0;
}

bool state_container_is_trivial(const struct state_container *container) {
    const char *text = (const char *)container->sst;
    size_t size = container->sst_size;
    return (size >= 8 && !memcmp(text, "trivial", 8)) || (size >= 5 && !memcmp(text, "none", 5));
}

int ist_part_format(const struct ist_part *part, char text[IST_PART_SIZE]) {
    int n = snprintf(text, IST_PART_SIZE, "%s:%" PRId64 "-%" PRId64 "|%s", XB_UUID_TEXT(&part->history),
                     part->last_applied, part->last_needed, part->address);
    return n > 0 && n < IST_PART_SIZE ? 0 : -ENOBUFS;
}

int ist_part_parse(struct ist_part *part, const char *text, struct xb_error *error) {
    char *end;
    if (strlen(text) < 37 || xb_uuid_parse(&part->history, text) || text[36] != ':')
        return xb_fail(error, -EINVAL, "IST part '%.200s': no history id", text);
    part->last_applied = strtoll(text + 37, &end, 10);
    if (end == text + 37 || *end != '-') return xb_fail(error, -EINVAL, "IST part '%.200s': no position", text);
    const char *needed = end + 1;
    part->last_needed = strtoll(needed, &end, 10);
    if (end == needed || *end != '|' || !end[1]) return xb_fail(error, -EINVAL, "IST part '%.200s': no address", text);
    part->address = end + 1;
    return 0;
}
