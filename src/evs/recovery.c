/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lost messages: asking for them (spec 03 sections 6.5, 9.4) and serving those who ask (section 6.6). A long range is
 * served in slices, so that it does not flood the socket (section 18.9).
 */
#include "evs/internal.h"

bool evs_request(struct evs *evs, const struct xb_uuid *target, struct evs_node *origin, int64_t lu, int64_t hs) {
    if (origin->rank < 0 || lu > hs) return true;
    if (evs->now_ns < origin->request_ns + EVS_REQUEST_PERIOD_NS) {
        evs->ask_ns = xb_earlier(evs->ask_ns, origin->request_ns + EVS_REQUEST_PERIOD_NS);
        return false;
    }
    int64_t x, y;
    for (int i = 0; i < EVS_RUNS_MAX && evs_map_gap(&evs->map, (size_t)origin->rank, lu, hs, &x, &y); i++) {
        evs_gap_send_request(evs, target, &origin->uuid, x, y);
        evs_debug(evs, EVS_DEBUG_RETRANS, "evs: %s asks %s for %lld to %lld of %s", XB_UUID_SHORT(&evs->uuid),
                  XB_UUID_SHORT(target), (long long)x, (long long)y, XB_UUID_SHORT(&origin->uuid));
        lu = y + 1;
        if (y >= hs) break;
    }
    origin->request_ns = evs->now_ns;
    evs->ask_ns = xb_earlier(evs->ask_ns, evs->now_ns + EVS_REQUEST_PERIOD_NS);
    return true;
}

static void send_own(struct evs *evs, const struct xb_uuid *to, const struct evs_slot *slot, int64_t seq) {
    struct xb_buf *buf = evs_new_buf(EVS_HEADER_SIZE + EVS_USER_FIELDS_SIZE + slot->size);
    if (!buf) return;
    struct evs_header h = {.type = EVS_TYPE_USER,
                           .order = slot->order,
                           .flags = (uint8_t)(EVS_FLAG_RETRANS | slot->flags),
                           .version = evs->options.version,
                           .fifo_seq = slot->fifo_seq,
                           .source = evs->uuid,
                           .view = evs->view};
    struct evs_user m = {.user_type = slot->user_type, .range = slot->range, .seq = seq, .aru = evs->map.aru};
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_user_write(&w, &h, &m);
    if (slot->size) xb_write_bytes(&w, slot->buf->mem + slot->offset, slot->size);
    evs->stats.retransmitted++;
    evs_transmit(evs, buf, to);
}

static void send_of_other(struct evs *evs, const struct xb_uuid *to, const struct evs_node *origin,
                          const struct evs_slot *slot, int64_t seq) {
    struct xb_writer w;
    struct xb_buf *buf = evs_delegate_begin(evs, EVS_HEADER_SOURCE_SIZE + EVS_USER_FIELDS_SIZE + slot->size, &w);
    if (!buf) return;
    struct evs_header h = {.type = EVS_TYPE_USER,
                           .order = slot->order,
                           .flags = (uint8_t)(EVS_FLAG_SOURCE | EVS_FLAG_RETRANS | slot->flags),
                           .version = evs->options.version,
                           .fifo_seq = slot->fifo_seq,
                           .source = origin->uuid,
                           .view = evs->view};
    struct evs_user m = {.user_type = slot->user_type, .range = slot->range, .seq = seq, .aru = slot->aru};
    evs_user_write(&w, &h, &m);
    if (slot->size) xb_write_bytes(&w, slot->buf->mem + slot->offset, slot->size);
    evs->stats.recovered++;
    evs_transmit(evs, buf, to);
}

/* Serves a part of a job. -> true if it is done. */
static bool serve_slice(struct evs *evs, struct evs_job *job, int64_t budget_bytes) {
    const struct evs_node *origin = evs_node_find(evs, &job->origin);
    if (!origin || origin->rank < 0) return true;
    const struct evs_rank *rank = &evs->map.ranks[origin->rank];
    if (job->next <= evs->map.safe) job->next = evs->map.safe + 1;
    if (job->end > rank->hs) job->end = rank->hs;
    while (job->next <= job->end) {
        const struct evs_slot *slot = evs_map_find(&evs->map, (size_t)origin->rank, job->next);
        int64_t seq = job->next++;
        if (!slot) continue;
        if (budget_bytes <= 0) {
            job->next = seq;
            return false;
        }
        if (origin == evs->me)
            send_own(evs, &job->to, slot, seq);
        else
            send_of_other(evs, &job->to, origin, slot, seq);
        job->next = seq + slot->range + 1;
        budget_bytes -= slot->size + EVS_HEADER_SOURCE_SIZE + EVS_USER_HEADER_SIZE;
    }
    return true;
}

void evs_serve(struct evs *evs, const struct xb_uuid *to, const struct evs_node *origin, int64_t lu, int64_t hs) {
    struct evs_job job = {.to = *to, .origin = origin->uuid, .next = lu, .end = hs};
    if (lu > hs) return;
    evs_debug(evs, EVS_DEBUG_RETRANS, "evs: %s sends %s again what it has from %lld to %lld of %s",
              XB_UUID_SHORT(&evs->uuid), XB_UUID_SHORT(to), (long long)lu, (long long)hs, XB_UUID_SHORT(&origin->uuid));
    for (size_t i = 0; i < evs->job_count; i++) {
        const struct evs_job *other = &evs->jobs[i];
        if (xb_uuid_equal(&other->to, to) && xb_uuid_equal(&other->origin, &origin->uuid)) return; /* under way */
    }
    if (serve_slice(evs, &job, EVS_JOB_BURST_BYTES) || evs->job_count == EVS_JOBS_MAX) return;
    evs->jobs[evs->job_count++] = job;
    evs->job_ns = xb_earlier(evs->job_ns, evs->now_ns + EVS_JOB_PERIOD_NS);
}

void evs_serve_jobs(struct evs *evs) {
    size_t kept = 0;
    for (size_t i = 0; i < evs->job_count; i++) {
        struct evs_job job = evs->jobs[i];
        if (!serve_slice(evs, &job, EVS_JOB_SLICE_BYTES)) evs->jobs[kept++] = job;
    }
    evs->job_count = kept;
    evs->job_ns = kept ? evs->now_ns + EVS_JOB_PERIOD_NS : XB_NEVER;
}

/* The operational member that holds most of q; among equals any, to spread the load (section 18.9). */
static const struct evs_node *holder_of(struct evs *evs, const struct evs_node *q, int64_t *lu) {
    const struct evs_node *best = NULL;
    uint64_t equals = 0;
    *lu = -1;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (n == evs->me || !n->is_operational || !n->join || !evs_is_current(evs, &n->join->h.view)) continue;
        const struct evs_entry *e = evs_report_find(n->join, &q->uuid);
        if (!e || e->lu < *lu || e->lu < 0) continue;
        equals = e->lu > *lu ? 1 : equals + 1;
        if (equals == 1 || xb_random_below(evs->random, equals) == 0) best = n;
        *lu = e->lu;
    }
    return best;
}

static void ask_for(struct evs *evs, struct evs_node *q) {
    const struct evs_rank *rank = &evs->map.ranks[q->rank];
    if (evs->state == EVS_OPERATIONAL) {
        if (rank->lu <= rank->hs) evs_request(evs, &q->uuid, q, rank->lu, rank->hs);
        return;
    }
    bool is_complete = rank->lu > rank->hs && rank->hs >= evs->own_last;
    if (is_complete || (q->has_leave && q->leave.seq <= rank->hs && rank->lu > rank->hs)) return;
    if (q->is_operational) {
        evs_request(evs, &q->uuid, q, rank->lu, evs->own_last);
        return;
    }
    int64_t lu;
    const struct evs_node *target = holder_of(evs, q, &lu);
    if (target && lu - 1 >= rank->lu)
        evs_request(evs, &target->uuid, q, rank->lu, lu - 1);
    else if (q->has_leave && !q->is_suspected) /* it still serves */
        evs_request(evs, &q->uuid, q, rank->lu, q->leave.seq);
}

void evs_ask_missing(struct evs *evs) {
    if (evs->install) return;
    for (size_t i = 0; i < evs->known_count; i++)
        if (evs->known[i] != evs->me && evs->known[i]->rank >= 0) ask_for(evs, evs->known[i]);
}

void evs_push_own(struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *q = evs->known[i];
        if (q == evs->me) continue;
        if (q->join && evs_is_current(evs, &q->join->h.view)) {
            const struct evs_entry *e = evs_report_find(q->join, &evs->uuid);
            if (e && e->lu >= 0) evs_serve(evs, &q->uuid, evs->me, e->lu, evs->own_last);
        } else if (q->has_leave && evs_is_current(evs, &q->leave_header.view)) {
            evs_serve(evs, &q->uuid, evs->me, q->leave.aru + 1, evs->own_last);
        }
    }
}

/*
 * A dead member may have left messages behind a hole that nobody can fill: the node that lacks them does not know that
 * they exist, nor does a stock node ask for them, but all must hold the same before they can agree. So whoever has them
 * sends them unasked to a node that holds the same up to the hole.
 */
void evs_push_remains(struct evs *evs, struct evs_node *p) {
    if (evs->now_ns < p->push_ns + EVS_REQUEST_PERIOD_NS || !p->join || evs->install) return;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *q = evs->known[i];
        if (q == evs->me || q->is_operational || q->rank < 0) continue;
        const struct evs_rank *rank = &evs->map.ranks[q->rank];
        const struct evs_entry *e = evs_report_find(p->join, &q->uuid);
        if (!e || !evs_is_current(evs, &e->view) || e->lu != rank->lu || e->hs >= rank->hs) continue;
        evs_serve(evs, &p->uuid, q, e->hs + 1, rank->hs);
        p->push_ns = evs->now_ns;
    }
}
