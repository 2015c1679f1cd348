/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life cycle of an EVS instance, and how its messages go out. */
#include "evs/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Section 5: the initial view is transitional and holds only this node. */
static int make_initial_view(struct evs *evs, const struct view_id *restored) {
    evs->view = (struct view_id){.type = VIEW_TRANS, .uuid = evs->uuid, .seq = restored ? restored->seq + 1 : 0};
    if (evs_map_reset(&evs->map, 1) || evs_book_add(&evs->old_views, &view_id_nil, evs->now_ns)) return -ENOMEM;
    if (restored && evs_book_add(&evs->old_views, restored, evs->now_ns)) return -ENOMEM;
    evs->me = evs_node_add(evs, &evs->uuid);
    if (!evs->me) return -ENOMEM;
    evs->me->rank = 0;
    evs->members[0] = evs->uuid;
    evs->by_rank[0] = evs->me;
    evs->member_count = 1;
    return 0;
}

struct evs *evs_new(const struct xb_uuid *uuid, const struct evs_options *options, const struct view_id *restored_view,
                    const struct evs_down *down, const struct evs_up *up, struct xb_random *random,
                    const struct xb_log *log, int64_t now_ns) {
    struct evs *evs = calloc(1, sizeof(*evs));
    if (!evs) return NULL;
    evs->uuid = *uuid;
    evs->options = *options;
    evs->down = *down;
    evs->up = *up;
    evs->random = random;
    evs->log = log;
    evs->now_ns = now_ns;
    evs->state = EVS_CLOSED;
    evs->attempt = 1;
    evs->fifo_seq = evs->own_last = evs->acked = evs->complete_to = -1;
    evs->causal_probe_ns = evs->proposed_ns = EVS_LONG_AGO;
    evs->join_tokens = EVS_JOIN_BURST;
    evs->announce_ns = evs->retrans_ns = evs->check_ns = evs->install_timer_ns = evs->join_due_ns = XB_NEVER;
    evs->probe_ns = evs->gap_repeat_ns = evs->ask_ns = evs->refused_due_ns = evs->job_ns = XB_NEVER;
    evs->close_ns = evs->stats_ns = XB_NEVER;
    if (make_initial_view(evs, restored_view)) {
        evs_free(evs);
        return NULL;
    }
    return evs;
}

void evs_free(struct evs *evs) {
    if (!evs) return;
    evs_nodes_free(evs);
    evs_map_free(&evs->map);
    evs_queue_free(&evs->queue);
    evs_queue_free(&evs->causal);
    evs_book_free(&evs->old_views);
    evs_book_free(&evs->met_views);
    free(evs->install);
    free(evs->join_sent);
    free(evs);
}

void evs_start(struct evs *evs, bool is_bootstrap, int64_t announce_timeout_ns, int64_t now_ns) {
    if (evs->state != EVS_CLOSED) return;
    evs->now_ns = evs->last_tick_ns = now_ns;
    evs_set_state(evs, EVS_JOINING);
    evs->announce_ns = now_ns;
    evs->announce_end_ns = is_bootstrap ? now_ns : now_ns + announce_timeout_ns;
    evs->stats_ns = now_ns + evs->options.stats_report_period_ns;
    evs_arm_retrans(evs);
    evs->unsettled++;
}

/* Section 9.10. */
void evs_leave_now(struct evs *evs) {
    evs->is_leave_wanted = false;
    /* Everybody completes it, and so acknowledges quickly. */
    if (evs->state == EVS_OPERATIONAL) evs_send_filler(evs);
    evs_shift_leaving(evs);
    if (evs->member_count == 1) evs_shift_closed(evs);
}

void evs_leave(struct evs *evs, int64_t linger_ns, int64_t now_ns) {
    evs->now_ns = now_ns;
    if (evs->state == EVS_CLOSED || evs->close_ns != XB_NEVER) return;
    evs->close_ns = now_ns + linger_ns;
    evs->is_leave_wanted = true;
    evs->unsettled++;
    if (evs->upcalls) return; /* by the next tick */
    if (linger_ns <= 0)
        evs_shift_closed(evs);
    else if (evs->state == EVS_OPERATIONAL || evs->state == EVS_JOINING)
        evs_leave_now(evs);
}

void evs_fatal(struct evs *evs, int code, const char *format, ...) {
    struct xb_error error = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    evs_set_state(evs, EVS_CLOSED);
    free(evs->install);
    evs->install = NULL;
    evs->up.fatal(evs->up.ctx, &error);
}

struct evs_header evs_new_header(struct evs *evs, enum evs_type type, uint8_t flags) {
    return (struct evs_header){.type = type,
                               .order = type == EVS_TYPE_DELAYED_LIST ? 0 : 1,
                               .flags = flags,
                               .version = evs->options.version,
                               .fifo_seq = ++evs->fifo_seq,
                               .source = evs->uuid,
                               .view = evs->view};
}

struct xb_buf *evs_new_buf(size_t size) {
    return xb_buf_new(XB_BUF_HEADROOM, size);
}

void evs_transmit_keep(struct evs *evs, struct xb_buf *buf, const struct xb_uuid *target) {
    if (evs->now_ns < evs->isolated_until_ns) return;
    if (target)
        evs->down.unicast(evs->down.ctx, target, buf, evs->now_ns);
    else
        evs->down.broadcast(evs->down.ctx, buf, evs->now_ns);
}

void evs_transmit(struct evs *evs, struct xb_buf *buf, const struct xb_uuid *target) {
    evs_transmit_keep(evs, buf, target);
    xb_buf_unref(buf);
}
