/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DELAYED_LIST: who is slow again and again, and automatic eviction by majority (spec 03 section 11). */
#include "evs/internal.h"

#include <stdio.h>
#include <stdlib.h>

int evs_delayed_message_read(struct xb_reader *r, struct evs_delayed_message *m) {
    m->count = xb_read_u8(r);
    for (size_t i = 0; i < m->count && xb_reader_ok(r); i++) {
        m->items[i].uuid = xb_read_uuid(r);
        m->items[i].count = xb_read_u8(r);
    }
    return xb_reader_ok(r) ? 0 : -EPROTO;
}

void evs_delayed_message_write(struct xb_writer *w, const struct evs_header *h, const struct evs_delayed_message *m) {
    evs_header_write(w, h);
    xb_write_u8(w, m->count);
    for (size_t i = 0; i < m->count; i++) {
        xb_write_uuid(w, &m->items[i].uuid);
        xb_write_u8(w, m->items[i].count);
    }
}

static bool lists(const struct evs_delayed_message *m, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < m->count; i++)
        if (xb_uuid_equal(&m->items[i].uuid, uuid)) return true;
    return false;
}

static bool is_in_view(const struct evs *evs, const struct xb_uuid *uuid) {
    const struct evs_node *n = evs_node_find(evs, uuid);
    return n && n->rank >= 0;
}

/* Counts who complains about u: -> should it be evicted? */
static bool is_condemned(const struct evs *evs, const struct xb_uuid *u) {
    size_t total = 0, over = 0;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (!n->delayed || lists(n->delayed, &evs->uuid)) continue;
        for (size_t k = 0; k < n->delayed->count; k++) {
            const struct evs_delayed_item *item = &n->delayed->items[k];
            if (item->count <= 1 || !xb_uuid_equal(&item->uuid, u)) continue;
            total++;
            if (item->count >= evs->options.auto_evict) over++;
        }
    }
    return over && ((is_in_view(evs, u) && total > evs->member_count / 2) || total > evs->known_count / 2);
}

/* Takes m as the list of p and judges whom it names. */
static void take(struct evs *evs, struct evs_node *p, const struct evs_delayed_message *m) {
    if (!p->delayed) p->delayed = malloc(sizeof(*p->delayed));
    if (!p->delayed) return;
    *p->delayed = *m;
    p->delayed_ns = evs->now_ns;
    for (size_t i = 0; i < m->count; i++) {
        const struct xb_uuid *u = &m->items[i].uuid;
        if (!xb_uuid_equal(u, &evs->uuid) && !evs_is_evicted(evs, u) && is_condemned(evs, u)) evs_evict_add(evs, u);
    }
}

int evs_delayed_list_receive(struct evs *evs, struct evs_node *p, struct xb_reader *r) {
    struct evs_delayed_message m;
    if (evs_delayed_message_read(r, &m)) return -EPROTO;
    if (evs->options.auto_evict) take(evs, p, &m);
    return 0;
}

static void send_list(struct evs *evs) {
    struct evs_delayed_message m = {.count = 0};
    for (size_t i = 0; i < evs->delayed_count && m.count < 255; i++)
        m.items[m.count++] = (struct evs_delayed_item){evs->delayed[i].uuid, evs->delayed[i].count};
    struct evs_header h = evs_new_header(evs, EVS_TYPE_DELAYED_LIST, 0);
    struct xb_buf *buf = evs_new_buf(EVS_HEADER_SIZE + 1 + (size_t)m.count * EVS_DELAYED_ENTRY_SIZE);
    if (!buf) return;
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_delayed_message_write(&w, &h, &m);
    evs_transmit(evs, buf, NULL);
    take(evs, evs->me, &m);
}

static struct evs_delayed *entry_of(struct evs *evs, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < evs->delayed_count; i++)
        if (xb_uuid_equal(&evs->delayed[i].uuid, uuid)) return &evs->delayed[i];
    return NULL;
}

/* -> is its count to be told? */
static bool judge(struct evs *evs, struct evs_node *q) {
    struct evs_delayed *e = entry_of(evs, &q->uuid);
    if (q->seen_ns + evs->options.keepalive_period_ns + evs->options.delay_margin_ns > evs->now_ns) {
        if (!e) return false;
        if (e->time_ns + evs->options.delayed_keep_period_ns < evs->now_ns && e->count > 0) {
            e->count--;
            e->time_ns = evs->now_ns;
        }
        e->is_delayed = false;
        return e->count > 0;
    }
    if (q->rank >= 0) evs_request(evs, &q->uuid, q, evs->map.ranks[q->rank].lu, evs->own_last);
    if (!e) {
        if (evs->delayed_count == EVS_KNOWN_MAX) return false;
        evs->delayed[evs->delayed_count++] =
            (struct evs_delayed){.uuid = q->uuid, .time_ns = evs->now_ns, .is_delayed = true, .count = 1};
        return true;
    }
    e->time_ns = evs->now_ns;
    if (!e->is_delayed && e->count < 255) e->count++;
    e->is_delayed = true;
    return e->count > 0;
}

void evs_delayed_list_check(struct evs *evs) {
    bool is_to_be_told = false;
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *q = evs->known[i];
        if (q->delayed && q->delayed_ns + evs->options.delayed_keep_period_ns < evs->now_ns) {
            free(q->delayed);
            q->delayed = NULL;
        }
        if (q != evs->me) is_to_be_told |= judge(evs, q);
    }
    for (size_t i = evs->delayed_count; i-- > 0;) {
        const struct evs_delayed *e = &evs->delayed[i];
        bool is_over = !e->count && !e->is_delayed;
        bool is_gone = evs_is_evicted(evs, &e->uuid) && !is_in_view(evs, &e->uuid);
        if (is_over || is_gone) evs->delayed[i] = evs->delayed[--evs->delayed_count];
    }
    if (is_to_be_told && evs->view_version > 0) send_list(evs);
}

size_t evs_delayed_list(const struct evs *evs, char *text, size_t size) {
    size_t used = 0;
    if (size) text[0] = 0;
    for (size_t i = 0; i < evs->delayed_count && used < size; i++) {
        const struct evs_delayed *e = &evs->delayed[i];
        char address[128] = "";
        if (evs->down.address) evs->down.address(evs->down.ctx, &e->uuid, address, sizeof(address));
        int n =
            snprintf(text + used, size - used, "%s%s:%s:%u", i ? "," : "", XB_UUID_TEXT(&e->uuid), address, e->count);
        used += n > 0 ? (size_t)n : 0;
    }
    return used < size ? used : size ? size - 1 : 0;
}
