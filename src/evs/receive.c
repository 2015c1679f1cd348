/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dispatch of a received message (spec 03 section 8.1). */
#include "evs/internal.h"

static int handle(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r,
                  bool is_direct) {
    switch (h->type) {
    case EVS_TYPE_USER:
        return evs_user_receive(evs, p, h, r, is_direct);
    case EVS_TYPE_GAP:
        return evs_gap_receive(evs, p, h, r);
    case EVS_TYPE_DELEGATE:
        return evs_delegate_receive(evs, h, r);
    case EVS_TYPE_JOIN:
        return evs_join_receive(evs, p, h, r);
    case EVS_TYPE_INSTALL:
        return evs_install_receive(evs, p, h, r);
    case EVS_TYPE_LEAVE:
        return evs_leave_receive(evs, p, h, r, is_direct);
    case EVS_TYPE_DELAYED_LIST:
        return evs_delayed_list_receive(evs, p, r);
    }
    return -EPROTO;
}

/* Step 7: USER and DELEGATE belong to the current or the pending view; GAPs that come early are kept (section 18.2). */
static bool is_of_a_view_of_mine(const struct evs *evs, const struct evs_header *h, bool is_current) {
    if (h->type != EVS_TYPE_USER && h->type != EVS_TYPE_DELEGATE) return true;
    return is_current || (evs->install && view_id_equal(&h->view, &evs->install->install_view));
}

int evs_dispatch(struct evs *evs, const struct evs_header *h, struct xb_reader *r, bool is_direct) {
    if (h->version > EVS_VERSION_MAX || xb_uuid_equal(&h->source, &evs->uuid) || evs_is_evicted(evs, &h->source))
        return 0;
    struct evs_node *p = evs_node_find(evs, &h->source);
    if (!p) return is_direct ? evs_foreign(evs, h, r) : 0;
    bool is_retrans = evs_is_retrans(h), is_current = evs_is_current(evs, &h->view);
    if (is_direct && !is_retrans) p->seen_ns = evs->now_ns;
    if (!(evs->state == EVS_LEAVING && is_current) && !p->is_operational && !p->has_leave && !is_retrans) return 0;
    if (!is_retrans && h->fifo_seq != -1) {
        if (h->fifo_seq <= p->fifo_seq) return 0;
        p->fifo_seq = h->fifo_seq;
    }
    if (!is_of_a_view_of_mine(evs, h, is_current)) return 0;
    if (is_current && p->rank < 0) {
        evs_debug(evs, EVS_DEBUG_FOREIGN, "evs: %s is no member of %s", XB_UUID_SHORT(&p->uuid),
                  VIEW_ID_TEXT(&h->view));
        return 0;
    }
    return handle(evs, p, h, r, is_direct);
}

int evs_receive(struct evs *evs, const struct xb_uuid *source, const uint8_t *data, size_t size, int64_t now_ns) {
    evs->now_ns = now_ns;
    if (evs->state == EVS_CLOSED || xb_uuid_equal(source, &evs->uuid) || evs_is_evicted(evs, source) ||
        now_ns < evs->isolated_until_ns)
        return 0;
    struct xb_reader r = xb_reader_init(data, size);
    struct evs_header h;
    int result = evs_header_read(&r, source, &h);
    if (!result) result = evs_dispatch(evs, &h, &r, true);
    if (++evs->unsettled >= EVS_UNSETTLED_MAX) evs_settle(evs);
    if (result)
        xb_log_warning(evs->log, "evs: malformed message of %s (%zu bytes) is dropped", XB_UUID_TEXT(source), size);
    return result;
}
