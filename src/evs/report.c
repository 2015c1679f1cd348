/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JOIN and INSTALL on the wire: two numbers, for INSTALL the view to install, the node list (spec 03 section 3.3). */
#include "evs/message.h"

#include <errno.h>
#include <stdlib.h>

enum entry_flag { ENTRY_OPERATIONAL = 1, ENTRY_SUSPECTED = 2, ENTRY_EVICTED = 4 };

static void read_entry(struct xb_reader *r, struct evs_entry *e) {
    e->uuid = xb_read_uuid(r);
    uint8_t flags = xb_read_u8(r);
    xb_read_u8(r); /* segment: says nothing (section 17) */
    e->is_operational = flags & ENTRY_OPERATIONAL;
    e->is_suspected = flags & ENTRY_SUSPECTED;
    e->is_evicted = flags & ENTRY_EVICTED;
    e->leave_seq = xb_read_i64(r);
    e->view = view_id_read(r);
    e->safe = xb_read_i64(r);
    e->lu = xb_read_i64(r);
    e->hs = xb_read_i64(r);
}

static void write_entry(struct xb_writer *w, const struct evs_entry *e) {
    xb_write_uuid(w, &e->uuid);
    xb_write_u8(w, (uint8_t)((e->is_operational ? ENTRY_OPERATIONAL : 0) | (e->is_suspected ? ENTRY_SUSPECTED : 0) |
                             (e->is_evicted ? ENTRY_EVICTED : 0)));
    xb_write_u8(w, 0);
    xb_write_i64(w, e->leave_seq);
    view_id_write(w, &e->view);
    xb_write_i64(w, e->safe);
    xb_write_i64(w, e->lu);
    xb_write_i64(w, e->hs);
}

static int compare_entries(const void *a, const void *b) {
    return xb_uuid_compare(&((const struct evs_entry *)a)->uuid, &((const struct evs_entry *)b)->uuid);
}

int evs_report_read(struct xb_reader *r, const struct evs_header *h, struct evs_report **report) {
    int64_t seq = xb_read_i64(r);
    int64_t aru = xb_read_i64(r);
    struct view_id install_view = h->type == EVS_TYPE_INSTALL ? view_id_read(r) : view_id_nil;
    uint32_t count = xb_read_u32(r);
    if (!xb_reader_ok(r) || count > EVS_ENTRIES_MAX || xb_reader_left(r) != (size_t)count * EVS_ENTRY_SIZE)
        return -EPROTO;
    struct evs_report *m = evs_report_new(count);
    if (!m) return -ENOMEM;
    m->h = *h;
    m->seq = seq;
    m->aru = aru;
    m->install_view = install_view;
    for (uint32_t i = 0; i < count; i++) read_entry(r, &m->entries[i]);
    qsort(m->entries, count, sizeof(m->entries[0]), compare_entries);
    for (uint32_t i = 1; i < count; i++) {
        if (compare_entries(&m->entries[i - 1], &m->entries[i]) == 0) {
            free(m);
            return -EPROTO;
        }
    }
    *report = m;
    return 0;
}

size_t evs_report_size(const struct evs_report *m) {
    return evs_header_size(&m->h) + 16 + (m->h.type == EVS_TYPE_INSTALL ? VIEW_ID_SIZE : 0) + 4 +
           (size_t)m->count * EVS_ENTRY_SIZE;
}

void evs_report_write(struct xb_writer *w, const struct evs_report *m) {
    evs_header_write(w, &m->h);
    xb_write_i64(w, m->seq);
    xb_write_i64(w, m->aru);
    if (m->h.type == EVS_TYPE_INSTALL) view_id_write(w, &m->install_view);
    xb_write_u32(w, m->count);
    for (uint32_t i = 0; i < m->count; i++) write_entry(w, &m->entries[i]);
}

struct evs_report *evs_report_new(uint32_t count) {
    struct evs_report *m = calloc(1, sizeof(*m) + count * sizeof(m->entries[0]));
    if (m) m->count = count;
    return m;
}

struct evs_report *evs_report_copy(const struct evs_report *m) {
    struct evs_report *copy = evs_report_new(m->count);
    if (copy) memcpy(copy, m, sizeof(*m) + m->count * sizeof(m->entries[0]));
    return copy;
}

const struct evs_entry *evs_report_find(const struct evs_report *m, const struct xb_uuid *uuid) {
    uint32_t low = 0, high = m->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = xb_uuid_compare(uuid, &m->entries[middle].uuid);
        if (order == 0) return &m->entries[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
