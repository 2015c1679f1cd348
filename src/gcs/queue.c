/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending actions (spec 05 sections 3.4, 13.1, 13.2 in the form described in gcs.h).
 *
 * One action is sent at a time, so that fragments of two never mix. Between prepare, where a write set gets its last
 * seen seqno, and its last fragment nothing else of the queue is sent; so last seen never goes back in the order of
 * sending, and no LAST overtakes it.
 *
 *   urgent, waiting --prepare--> current --last fragment--> sent --delivered--> done
 *        ^----------- state exchange begins: resend ----------|
 */
#include "gcs/core.h"

enum progress { PROGRESS_NONE, PROGRESS_QUEUED, PROGRESS_SENDING, PROGRESS_SENT };

static void push_back(struct gcs_list *list, struct gcs_submission *s) {
    s->next = NULL;
    s->previous = list->tail;
    if (list->tail)
        list->tail->next = s;
    else
        list->head = s;
    list->tail = s;
}

static void push_front(struct gcs_list *list, struct gcs_submission *s) {
    s->previous = NULL;
    s->next = list->head;
    if (list->head)
        list->head->previous = s;
    else
        list->tail = s;
    list->head = s;
}

static void take(struct gcs_list *list, struct gcs_submission *s) {
    if (s->previous)
        s->previous->next = s->next;
    else
        list->head = s->next;
    if (s->next)
        s->next->previous = s->previous;
    else
        list->tail = s->previous;
    s->next = s->previous = NULL;
}

static bool is_urgent(const struct gcs_submission *s) {
    return s->is_out_of_order || s->type == GCS_STATE_REQ;
}

static struct gcs_list *queue_of(struct gcs *gcs, const struct gcs_submission *s) {
    return is_urgent(s) ? &gcs->sender.urgent : &gcs->sender.waiting;
}

static void push_sent(struct gcs_sender *sender, struct gcs_submission *s) {
    s->progress = PROGRESS_SENT;
    push_back(&sender->sent, s);
    sender->sent_count++;
}

static void take_sent(struct gcs_sender *sender, struct gcs_submission *s) {
    take(&sender->sent, s);
    sender->sent_count--;
}

static void drop_refused(struct gcs_sender *sender) {
    xb_buf_unref(sender->refused);
    sender->refused = NULL;
}

void gcs_finish(struct gcs *gcs, struct gcs_submission *s, int result, const struct gcs_action *action) {
    gcs->sender.count--;
    s->progress = PROGRESS_NONE;
    s->done(s, result, action); /* s may be gone now */
}

/* -> 0 if it may be queued */
static int check(struct gcs *gcs, struct gcs_submission *s) {
    if (gcs->is_closing) return -ECONNABORTED;
    if (gcs->sender.count > GCS_WAITING_MAX) return -EAGAIN;
    if (s->size == 0 || s->size > GCS_ACTION_SIZE_MAX) return -EMSGSIZE;
    if (gcs->group_state == GCS_NON_PRIMARY || gcs->group_state == GCS_INCONSISTENT) return -ENOTCONN;
    if (s->type == GCS_WRITESET && gcs->group_state == GCS_PRIMARY && gcs_own_state(gcs) < GCS_NODE_DONOR)
        return -ENOTCONN;
    return 0;
}

void gcs_submit(struct gcs *gcs, struct gcs_submission *s, int64_t now_ns) {
    gcs_enter(gcs, now_ns);
    gcs_sample_send_queue(gcs);
    s->size = 0;
    for (size_t i = 0; i < s->part_count; i++) s->size += s->parts[i].iov_len;
    s->progress = PROGRESS_NONE;
    gcs->sender.count++;
    int result = check(gcs, s);
    if (result) {
        gcs_finish(gcs, s, result, NULL);
    } else {
        s->progress = PROGRESS_QUEUED;
        push_back(queue_of(gcs, s), s);
    }
    gcs_leave(gcs, now_ns);
}

bool gcs_cancel(struct gcs *gcs, struct gcs_submission *s, int64_t now_ns) {
    bool is_unsent = s->progress == PROGRESS_SENDING && s->fragment == 0;
    if (s->progress != PROGRESS_QUEUED && !is_unsent) return false;
    gcs_enter(gcs, now_ns);
    if (is_unsent) {
        gcs->sender.current = NULL;
        drop_refused(&gcs->sender);
    } else {
        take(queue_of(gcs, s), s);
    }
    gcs_finish(gcs, s, -EINTR, NULL);
    gcs_leave(gcs, now_ns);
    return true;
}

static size_t fragment_size_max(const struct gcs *gcs) { /* data bytes, section 3.3 */
    int64_t size = gcs->options.max_packet_size;
    if (size < GCS_FRAGMENT_HEADER_SIZE + 1) size = GCS_FRAGMENT_HEADER_SIZE + 1;
    if (size > PC_PAYLOAD_MAX) size = PC_PAYLOAD_MAX;
    return (size_t)size - GCS_FRAGMENT_HEADER_SIZE;
}

/* Copies the next n bytes of the current action. */
static void gather(struct gcs_sender *sender, uint8_t *to, size_t n) {
    const struct gcs_submission *s = sender->current;
    while (n) {
        const struct iovec *part = &s->parts[sender->part];
        size_t left = part->iov_len - sender->part_used, piece = n < left ? n : left;
        if (piece) memcpy(to, (const uint8_t *)part->iov_base + sender->part_used, piece);
        to += piece;
        n -= piece;
        sender->part_used += piece;
        if (sender->part_used < part->iov_len) continue;
        sender->part++;
        sender->part_used = 0;
    }
}

static struct xb_buf *build_fragment(struct gcs *gcs) {
    struct gcs_sender *sender = &gcs->sender;
    const struct gcs_submission *s = sender->current;
    size_t size = s->size - s->sent, max = fragment_size_max(gcs);
    if (size > max) size = max;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    if (!buf) return NULL;
    gather(sender, xb_buf_data(buf), size);
    struct gcs_fragment fragment = {
        .version = (uint8_t)gcs->versions.gcs,
        .id = s->id,
        .action_size = (uint32_t)s->size,
        .number = s->fragment,
        .type = (uint8_t)s->type,
    };
    gcs_fragment_write_header(xb_buf_push(buf, GCS_FRAGMENT_HEADER_SIZE), &fragment);
    return buf;
}

/* The action's turn has come. */
static void begin(struct gcs *gcs, struct gcs_submission *s) {
    struct gcs_sender *sender = &gcs->sender;
    take(queue_of(gcs, s), s);
    int result = s->prepare ? s->prepare(s) : 0;
    if (result == -EAGAIN) {
        push_front(queue_of(gcs, s), s);
        gcs->is_refused = true;
        return;
    }
    if (result) {
        gcs_finish(gcs, s, result, NULL);
        return;
    }
    s->id = sender->next_id++;
    s->sent = 0;
    s->fragment = 0;
    s->progress = PROGRESS_SENDING;
    sender->current = s;
    sender->part = sender->part_used = 0;
}

static void refuse_current(struct gcs *gcs, int result) {
    struct gcs_submission *s = gcs->sender.current;
    gcs->sender.current = NULL;
    drop_refused(&gcs->sender);
    gcs_finish(gcs, s, result, NULL);
}

/*
 * Hands over the next fragment. The message may be delivered within the call, so the state has to be right before; the
 * submission may then be gone.
 */
static bool send_fragment(struct gcs *gcs) {
    struct gcs_sender *sender = &gcs->sender;
    struct gcs_submission *s = sender->current;
    struct xb_buf *buf = sender->refused ? sender->refused : build_fragment(gcs);
    sender->refused = NULL;
    if (!buf) {
        if (s->fragment == 0) refuse_current(gcs, -ENOMEM);
        gcs->is_refused = true; /* peers hold the beginning: go on when there is memory */
        return false;
    }
    size_t size = buf->size - GCS_FRAGMENT_HEADER_SIZE;
    bool is_last = s->sent + size == s->size;
    s->sent += size;
    s->fragment++;
    if (is_last) {
        sender->current = NULL;
        push_sent(sender, s);
    }
    uint64_t epoch = gcs->epoch;
    int result = gcs->down.submit(gcs->down.ctx, buf, GCS_MSG_ACTION, EVS_SAFE, gcs->now_ns);
    if (!result) return true;
    gcs->is_refused = true;
    if (gcs->epoch != epoch) { /* a view came meanwhile and has put everything back */
        xb_buf_unref(buf);
        return false;
    }
    if (is_last) {
        take_sent(sender, s);
        s->progress = PROGRESS_SENDING;
        sender->current = s;
    }
    s->sent -= size;
    s->fragment--;
    sender->refused = buf;
    if (result == -EMSGSIZE) refuse_current(gcs, result);
    return false;
}

bool gcs_send_action(struct gcs *gcs) {
    struct gcs_sender *sender = &gcs->sender;
    if (gcs->group_state != GCS_PRIMARY || gcs->is_closing) return false;
    if (sender->current) return send_fragment(gcs);
    if (gcs_send_report(gcs)) return true;
    if (gcs->is_refused) return false;
    if (sender->urgent.head)
        begin(gcs, sender->urgent.head);
    else if (sender->waiting.head && !gcs_flow_is_paused(gcs))
        begin(gcs, sender->waiting.head);
    else
        return false;
    return sender->current ? send_fragment(gcs) : true;
}

struct gcs_submission *gcs_sender_match(struct gcs *gcs, uint64_t id, size_t size) {
    struct gcs_submission *s = gcs->sender.sent.head;
    if (!s || s->id != id || s->size != size) return NULL; /* sent before gcs_close gave it up */
    take_sent(&gcs->sender, s);
    return s;
}

/* Puts what was under way back to the head of its queue, in order. */
void gcs_sender_restart(struct gcs *gcs) {
    struct gcs_sender *sender = &gcs->sender;
    drop_refused(sender);
    if (sender->current) push_sent(sender, sender->current);
    sender->current = NULL;
    struct gcs_submission *s;
    while ((s = sender->sent.tail)) {
        take_sent(sender, s);
        s->progress = PROGRESS_QUEUED;
        push_front(queue_of(gcs, s), s);
    }
}

/* The callbacks may submit or cancel, so what is to fail is taken out of the reach of both first. */
static void fail_list(struct gcs *gcs, struct gcs_list *list, bool are_only_write_sets, int result) {
    struct gcs_list failed = {0};
    for (struct gcs_submission *s = list->head, *next; s; s = next) {
        next = s->next;
        if (are_only_write_sets && s->type != GCS_WRITESET) continue;
        take(list, s);
        push_back(&failed, s);
        s->progress = PROGRESS_NONE;
    }
    struct gcs_submission *s;
    while ((s = failed.head)) {
        take(&failed, s);
        gcs_finish(gcs, s, result, NULL);
    }
}

void gcs_sender_fail_unsent(struct gcs *gcs, int result) {
    if (gcs->sender.current) refuse_current(gcs, result);
    fail_list(gcs, &gcs->sender.urgent, false, result);
    fail_list(gcs, &gcs->sender.waiting, false, result);
}

void gcs_sender_fail(struct gcs *gcs, int result) {
    gcs->sender.sent_count = 0;
    fail_list(gcs, &gcs->sender.sent, false, result);
    gcs_sender_fail_unsent(gcs, result);
    gcs->sender.is_report_due = false;
}

void gcs_sender_fail_write_sets(struct gcs *gcs, int result) {
    fail_list(gcs, &gcs->sender.urgent, true, result);
    fail_list(gcs, &gcs->sender.waiting, true, result);
}
