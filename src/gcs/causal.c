/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Causal reads (spec 05 section 16): a message that EVS delivers only here, once all that any member may have delivered
 * before is delivered here. All readers that come between two ticks share one message.
 */
#include "gcs/core.h"

void gcs_causal(struct gcs *gcs, void *token, int64_t now_ns) {
    struct gcs_causal *causal = &gcs->causal;
    int result = 0;
    if (gcs->is_closing || gcs->is_halted)
        result = -ECONNABORTED;
    else if (gcs->group_state == GCS_NON_PRIMARY)
        result = -EPERM;
    else if (causal->count == GCS_CAUSAL_MAX)
        result = -EAGAIN;
    struct gcs_causal_token *entry = result ? NULL : malloc(sizeof(*entry));
    if (!entry) {
        gcs_enter(gcs, now_ns);
        gcs->up.causal(gcs->up.ctx, token, result ? result : -EAGAIN, NULL, -1);
        gcs_leave(gcs, now_ns);
        return;
    }
    *entry = (struct gcs_causal_token){.token = token};
    *causal->last = entry;
    causal->last = &entry->next;
    causal->count++;
    causal->unsent++;
}

static void mark_unsent(struct gcs_causal *causal, uint64_t from_batch) {
    causal->unsent = 0;
    for (struct gcs_causal_token *t = causal->first; t; t = t->next) {
        if (t->batch >= from_batch) t->batch = 0;
        if (!t->batch) causal->unsent++;
    }
}

void gcs_send_causal(struct gcs *gcs) {
    struct gcs_causal *causal = &gcs->causal;
    causal->is_refused = false;
    if (gcs->group_state != GCS_PRIMARY || gcs->is_closing || !causal->unsent) return;
    struct gcs_causal_token *token = causal->first;
    while (token->batch) token = token->next;
    uint64_t batch = ++causal->batch;
    for (; token; token = token->next) token->batch = batch;
    causal->unsent = 0;
    uint8_t bytes[8];
    xb_store_le(bytes, batch, sizeof(bytes));
    if (!gcs_send_bytes(gcs, bytes, sizeof(bytes), GCS_MSG_CAUSAL)) return;
    mark_unsent(causal, batch);
    causal->is_refused = true;
}

int64_t gcs_causal_deadline(const struct gcs *gcs, int64_t now_ns) {
    if (!gcs->causal.unsent || gcs->group_state != GCS_PRIMARY || gcs->is_closing) return XB_NEVER;
    return gcs->causal.is_refused ? now_ns + GCS_RETRY_NS : now_ns;
}

/* Takes the first token out of the queue and answers it. */
static void answer_first(struct gcs *gcs, int result, int64_t seqno) {
    struct gcs_causal *causal = &gcs->causal;
    struct gcs_causal_token *first = causal->first;
    causal->first = first->next;
    if (!causal->first) causal->last = &causal->first;
    causal->count--;
    if (!first->batch) causal->unsent--;
    void *token = first->token;
    free(first);
    gcs->up.causal(gcs->up.ctx, token, result, result ? NULL : &gcs->group_uuid, seqno);
}

void gcs_handle_causal(struct gcs *gcs, const uint8_t *payload, size_t size) {
    struct gcs_causal *causal = &gcs->causal;
    if (size != 8 || gcs->group_state != GCS_PRIMARY) return;
    uint64_t batch = xb_load_le(payload, size);
    while (causal->first && causal->first->batch && causal->first->batch <= batch) answer_first(gcs, 0, gcs->counter);
}

void gcs_causal_restart(struct gcs *gcs) {
    mark_unsent(&gcs->causal, 0);
}

void gcs_causal_fail(struct gcs *gcs, int result) {
    for (size_t n = gcs->causal.count; n; n--) answer_first(gcs, result, -1);
}
