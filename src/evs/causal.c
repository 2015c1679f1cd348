/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local causal messages (spec 03 section 8.4): a read that must see everything delivered anywhere before it was issued.
 * What was delivered anywhere has been acknowledged by this node, so it is enough to wait until the present aru is
 * safe. The same of what this node has sent itself: nobody may be waiting for it (rollback fragments), but who reads
 * here next expects it. A probe, sent at least once in evs.causal_keepalive_period, makes sure that the view still
 * holds.
 */
#include "evs/internal.h"

int evs_causal_submit(struct evs *evs, struct xb_buf *buf, uint8_t user_type) {
    int64_t period_ns = evs->options.causal_keepalive_period_ns;
    bool is_probed = period_ns > 0 && evs->causal_probe_ns + period_ns > evs->now_ns;
    if (evs->causal.count >= EVS_QUEUE_MESSAGES_MAX) return -EAGAIN;
    if (!is_probed) {
        if (evs_send_filler(evs)) return -EAGAIN;
        evs->causal_probe_ns = evs->now_ns;
    }
    int64_t seq = evs->own_last > evs->map.aru ? evs->own_last : evs->map.aru;
    struct evs_queued item = {.buf = buf, .user_type = user_type, .seq = seq, .created_ns = evs->now_ns};
    if (evs_queue_push(&evs->causal, &item)) return -EAGAIN;
    evs->unsettled++; /* perhaps it is safe already: delivered by the next tick */
    return 0;
}

void evs_causal_release(struct evs *evs, int64_t up_to) {
    while (evs->causal.count && evs_queue_at(&evs->causal, 0)->seq <= up_to) {
        struct evs_queued item = evs_queue_pop(&evs->causal);
        struct evs_message message = {.source = evs->uuid,
                                      .view = evs->view,
                                      .user_type = item.user_type,
                                      .order = EVS_LOCAL_CAUSAL,
                                      .seq = item.seq,
                                      .payload = xb_buf_data(item.buf),
                                      .size = item.size};
        evs->upcalls++;
        evs->up.message(evs->up.ctx, &message, evs->now_ns);
        evs->upcalls--;
        evs_stats_causal_latency(evs, evs->now_ns - item.created_ns);
        xb_buf_unref(item.buf);
    }
}
