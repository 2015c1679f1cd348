/* SPDX-License-Identifier: GPL-2.0-or-later */
/* View ids: wire form, order, text (spec 03 section 3.1). */
#include "evs/view_id.h"

#include <stdio.h>

const struct view_id view_id_nil;

bool view_id_equal(const struct view_id *a, const struct view_id *b) {
    return a->seq == b->seq && a->type == b->type && xb_uuid_equal(&a->uuid, &b->uuid);
}

int view_id_compare(const struct view_id *a, const struct view_id *b) {
    if (a->seq != b->seq) return a->seq < b->seq ? -1 : 1;
    if (!xb_uuid_equal(&a->uuid, &b->uuid)) {
        uint64_t a_time = xb_uuid_time(&a->uuid), b_time = xb_uuid_time(&b->uuid);
        if (a_time != b_time) return a_time > b_time ? -1 : 1;
        return xb_uuid_compare(&a->uuid, &b->uuid) < 0 ? -1 : 1;
    }
    return a->type == b->type ? 0 : a->type < b->type ? -1 : 1;
}

struct view_id view_id_read(struct xb_reader *r) {
    struct xb_uuid uuid = xb_read_uuid(r);
    uint32_t word = xb_read_u32(r);
    return (struct view_id){.type = (enum view_type)(word >> 30), .uuid = uuid, .seq = word & VIEW_SEQ_MAX};
}

void view_id_write(struct xb_writer *w, const struct view_id *id) {
    xb_write_uuid(w, &id->uuid);
    xb_write_u32(w, (uint32_t)id->type << 30 | (id->seq & VIEW_SEQ_MAX));
}

const char *view_id_format(const struct view_id *id, char text[VIEW_ID_TEXT_SIZE]) {
    static const char *const names[] = {"REG", "TRANS", "NON_PRIM", "PRIM"};
    snprintf(text, VIEW_ID_TEXT_SIZE, "(%s,%s,%u)", names[id->type & 3], XB_UUID_SHORT(&id->uuid), id->seq);
    return text;
}
