/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The group communication service: life cycle, what comes in, what is due.
 *
 * gcs.h        the door                       action.c      ACTION: fragments, seqnos
 * core.h       the state                      collector.c   defragmentation
 * component.c  views                          request.c     STATE_REQ, donor.c chooses the donor
 * exchange.c   STATE_UUID, STATE_MSG,         queue.c       what is to be sent, and resending
 *              new configurations             last.c        LAST, cut.c computes the commit cut
 * quorum.c     which state is the group's     join.c sync.c flow.c vote.c   the messages of these names
 * recount.c    counting votes                 flow_control.c throttle.c     when to stop the group
 * causal.c     causal reads                   status.c options.c            for people
 */
#include "gcs/core.h"

#include <stdarg.h>
#include <stdio.h>

static bool set_names(struct gcs *gcs, const struct gcs_config *config) {
    size_t name = strlen(config->name) + 1, incoming = strlen(config->incoming) + 1;
    if (name > PC_PAYLOAD_MAX || incoming > PC_PAYLOAD_MAX || GCS_STATE_FIXED_SIZE + name + incoming > PC_PAYLOAD_MAX)
        return false;
    gcs->name = strdup(config->name);
    gcs->incoming = strdup(config->incoming);
    return gcs->name && gcs->incoming;
}

struct gcs *gcs_new(const struct gcs_config *config, const struct gcs_down *down, const struct gcs_up *up,
                    struct xb_random *random, const struct xb_log *log) {
    if ((config->seqno >= 0) == xb_uuid_is_nil(&config->group_uuid)) return NULL;
    struct gcs *gcs = calloc(1, sizeof(*gcs));
    if (!gcs) return NULL;
    gcs->causal.last = &gcs->causal.first;
    if (!set_names(gcs, config)) {
        gcs_free(gcs);
        return NULL;
    }
    gcs->uuid = config->uuid;
    gcs->max = (struct gcs_versions){GCS_PROTOCOL_MAX, config->repl_version_max, config->appl_version_max};
    gcs->options = config->options;
    gcs->down = *down;
    gcs->up = *up;
    gcs->random = random;
    gcs->log = log;
    gcs->group_uuid = config->group_uuid;
    gcs->counter = config->seqno < 0 ? -1 : config->seqno;
    gcs->quorum_counter = -1;
    gcs->conf_id = -1;
    gcs->cut = (struct gcs_cut){gcs->counter, -1};
    gcs->cut_delivered = -1;
    gcs->primary_seqno = -1;
    gcs->versions = (struct gcs_versions){-1, -1, -1};
    gcs->exchange_version = GCS_STATE_VERSION;
    gcs->vote_policy = config->options.vote_policy;
    gcs->own_index = -1;
    gcs->sender.next_id = 1;
    gcs->sender.reported_seqno = -1;
    gcs->ballot.result.seqno = -1;
    gcs->ballot.request_seqno = -1;
    gcs->ballot.own_seqno = -1;
    gcs_flow_set_limits(gcs);
    return gcs;
}

void gcs_free(struct gcs *gcs) {
    if (!gcs) return;
    gcs->is_closing = gcs->is_closed = true;
    gcs->depth = 1; /* nothing is sent any more */
    gcs_sender_fail(gcs, -ECONNABORTED);
    gcs_vote_end(gcs, -ECONNABORTED);
    gcs_causal_fail(gcs, -ECONNABORTED);
    gcs_free_members(gcs, gcs->members, gcs->member_count);
    free(gcs->name);
    free(gcs->incoming);
    free(gcs);
}

int gcs_send_bytes(struct gcs *gcs, const uint8_t *payload, size_t size, enum gcs_message_type type) {
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    if (!buf) return -ENOMEM;
    memcpy(xb_buf_data(buf), payload, size);
    enum evs_order order = type == GCS_MSG_CAUSAL ? EVS_LOCAL_CAUSAL : EVS_SAFE;
    int result = gcs->down.submit(gcs->down.ctx, buf, (uint8_t)type, order, gcs->now_ns);
    if (result) {
        xb_buf_unref(buf);
        gcs->is_refused = true;
    }
    return result;
}

void gcs_halt(struct gcs *gcs, int code, const char *format, ...) {
    if (gcs->is_halted || gcs->is_closed) return;
    struct xb_error error = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    gcs->is_halted = true;
    gcs->down.fatal(gcs->down.ctx, &error);
}

void gcs_violation(struct gcs *gcs, struct gcs_member *member, const char *what) {
    gcs->dropped++;
    if (member->is_warned) return;
    member->is_warned = true;
    xb_log_warning(gcs->log, "%s from member %s (%s) is ignored, and so are further ones without a word", what,
                   gcs_member_name(member), XB_UUID_SHORT(&member->uuid));
}

void gcs_deliver(struct gcs *gcs, const struct gcs_action *action) {
    gcs->up.action(gcs->up.ctx, action, gcs->now_ns);
}

/* Small messages, the state exchange first. Each function sends at most one and says whether it did. */
static bool send_control(struct gcs *gcs) {
    if (gcs_send_state_uuid(gcs) || gcs_send_state(gcs)) return true;
    if (gcs->group_state != GCS_PRIMARY || gcs->is_closing) return false;
    return gcs_send_flow(gcs) || gcs_send_vote(gcs) || gcs_send_join(gcs) || gcs_send_sync(gcs);
}

/* Sends until there is nothing more or PC refuses. */
static void flush(struct gcs *gcs) {
    gcs->is_refused = false;
    while (!gcs->is_refused && !gcs->is_halted && !gcs->is_closed && (send_control(gcs) || gcs_send_action(gcs))) {
    }
}

void gcs_enter(struct gcs *gcs, int64_t now_ns) {
    gcs->depth++;
    gcs->now_ns = now_ns;
}

void gcs_leave(struct gcs *gcs, int64_t now_ns) {
    gcs->now_ns = now_ns;
    if (gcs->depth == 1) flush(gcs);
    gcs->depth--;
}

void gcs_view(struct gcs *gcs, const struct pc_view *view, int64_t now_ns, int64_t calendar_ns) {
    if (gcs->is_closed) return;
    gcs_enter(gcs, now_ns);
    gcs->epoch++;
    if (!view->member_count)
        gcs_self_leave(gcs, 0);
    else if (!gcs->is_halted)
        gcs_component(gcs, view, calendar_ns);
    gcs_leave(gcs, now_ns);
}

void gcs_error(struct gcs *gcs, int code, int64_t now_ns) {
    if (gcs->is_closed) return;
    gcs_enter(gcs, now_ns);
    gcs->epoch++;
    gcs_self_leave(gcs, code);
    gcs_leave(gcs, now_ns);
}

void gcs_close(struct gcs *gcs, int64_t now_ns) {
    if (gcs->is_closing) return;
    gcs_enter(gcs, now_ns);
    gcs->is_closing = true;
    gcs_sender_fail_unsent(gcs, -ECONNABORTED);
    gcs_vote_end(gcs, -ECONNABORTED);
    gcs_causal_fail(gcs, -ECONNABORTED);
    gcs_leave(gcs, now_ns);
}

static int find_member(const struct gcs *gcs, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < gcs->member_count; i++)
        if (xb_uuid_equal(&gcs->members[i].uuid, uuid)) return (int)i;
    return -1;
}

/* LAST, JOIN, SYNC only in PRIMARY, all only of this history (section 2.1). */
static void handle_code(struct gcs *gcs, size_t index, enum gcs_message_type type, const struct pc_message *message) {
    struct gcs_member *member = &gcs->members[index];
    struct gcs_code code;
    if (gcs_code_read(&code, message->payload, message->size)) {
        gcs_violation(gcs, member, "malformed code message");
        return;
    }
    if (!xb_uuid_equal(&code.group_uuid, &gcs->group_uuid)) return;
    if (type == GCS_MSG_VOTE)
        gcs_handle_vote(gcs, member, &code);
    else if (gcs->group_state != GCS_PRIMARY)
        xb_log_debug(gcs->log, "Message of type %d from %s is ignored in a state exchange", type,
                     gcs_member_name(member));
    else if (type == GCS_MSG_LAST)
        gcs_handle_last(gcs, index, &code);
    else if (type == GCS_MSG_JOIN)
        gcs_handle_join(gcs, member, &code);
    else
        gcs_handle_sync(gcs, member);
}

static void dispatch(struct gcs *gcs, const struct pc_message *message) {
    int found = find_member(gcs, &message->source);
    if (found < 0) return;
    size_t index = (size_t)found;
    struct gcs_member *member = &gcs->members[index];
    if (message->order == EVS_LOCAL_CAUSAL) { /* made here; EVS takes no such order from the network */
        if (message->user_type == GCS_MSG_CAUSAL && gcs_is_own(gcs, member))
            gcs_handle_causal(gcs, message->payload, message->size);
        return;
    }
    if (message->order != EVS_SAFE) {
        gcs_violation(gcs, member, "message without total order");
        return;
    }
    switch (message->user_type) {
    case GCS_MSG_ACTION:
        gcs_handle_action(gcs, index, message->payload, message->size);
        break;
    case GCS_MSG_STATE_UUID:
        gcs_handle_state_uuid(gcs, index, message->payload, message->size);
        break;
    case GCS_MSG_STATE:
        gcs_handle_state(gcs, member, message->payload, message->size);
        break;
    case GCS_MSG_FLOW:
        gcs_handle_flow(gcs, member, message->payload, message->size);
        break;
    case GCS_MSG_LAST:
    case GCS_MSG_JOIN:
    case GCS_MSG_SYNC:
    case GCS_MSG_VOTE:
        handle_code(gcs, index, message->user_type, message);
        break;
    default: /* local events are never believed from the network (section 21.1) */
        gcs_violation(gcs, member, "message of a type that is never sent");
    }
}

void gcs_message(struct gcs *gcs, const struct pc_message *message, int64_t now_ns) {
    if (gcs->is_closed || gcs->is_halted || gcs->group_state == GCS_INCONSISTENT) return;
    gcs_enter(gcs, now_ns);
    dispatch(gcs, message);
    gcs_leave(gcs, now_ns);
}

int64_t gcs_deadline(const struct gcs *gcs, int64_t now_ns) {
    if (gcs->is_closed || gcs->is_halted) return XB_NEVER;
    int64_t next_ns = xb_earlier(gcs_throttle_deadline(gcs), gcs_vote_deadline(gcs));
    next_ns = xb_earlier(next_ns, gcs_causal_deadline(gcs, now_ns));
    if (gcs->is_refused) next_ns = xb_earlier(next_ns, now_ns + GCS_RETRY_NS);
    if (gcs->group_state == GCS_WAIT_STATE_UUID || gcs->group_state == GCS_WAIT_STATE_MSG)
        next_ns = xb_earlier(next_ns, gcs->exchange_watch_ns);
    return next_ns;
}

int64_t gcs_tick(struct gcs *gcs, int64_t now_ns) {
    if (gcs->is_closed || gcs->is_halted) return XB_NEVER;
    gcs_enter(gcs, now_ns);
    gcs_throttle_tick(gcs);
    gcs_vote_tick(gcs);
    gcs_watch_exchange(gcs);
    gcs_send_causal(gcs);
    gcs_leave(gcs, now_ns);
    return gcs_deadline(gcs, now_ns);
}
