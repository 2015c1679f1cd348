/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JOIN: a state transfer, donation or desync is over (spec 05 section 11.4).
 *
 * Each JOIN of a donor takes one off its desync count, so each has to be delivered exactly once. Own JOINs are kept
 * until they are delivered; one that a view change overtook is ignored by all (only PRIMARY honours it), and is sent
 * again afterwards.
 */
#include "gcs/core.h"

static struct gcs_join_message *pending(struct gcs_joins *joins, size_t i) {
    return &joins->ring[(joins->head + i) % GCS_JOINS_MAX];
}

static void clear(struct gcs_joins *joins) {
    joins->count = joins->sent = 0;
}

static void pop(struct gcs_joins *joins) {
    if (!joins->sent) return;
    joins->head = (joins->head + 1) % GCS_JOINS_MAX;
    joins->count--;
    joins->sent--;
}

static void queue_join(struct gcs *gcs, int64_t seqno, int code) {
    struct gcs_joins *joins = &gcs->joins;
    if (joins->count == GCS_JOINS_MAX) {
        xb_log_warning(gcs->log, "More than %d JOINs of this node are under way, one is dropped", GCS_JOINS_MAX);
        return;
    }
    *pending(joins, joins->count++) = (struct gcs_join_message){seqno, code};
}

/* The state in which what is queued now will be looked at. */
static enum gcs_node_state expected_state(const struct gcs *gcs) {
    return gcs->group_state == GCS_PRIMARY ? gcs_own_state(gcs) : gcs->primary_state;
}

/* A joiner has one result: a newer one replaces it, an older success is of no use. */
static void queue_result(struct gcs *gcs, int64_t seqno, int code) {
    struct gcs_joins *joins = &gcs->joins;
    if (joins->count) {
        if (code >= 0 && seqno < pending(joins, joins->count - 1)->seqno) return;
        if (joins->count > joins->sent) joins->count--;
    }
    queue_join(gcs, seqno, code);
}

void gcs_join(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int code, int64_t now_ns) {
    if (gcs->is_closing) return;
    enum gcs_node_state state = expected_state(gcs);
    if (state != GCS_NODE_JOINER && state != GCS_NODE_DONOR) {
        xb_log_debug(gcs->log, "JOIN in state %s has no effect", gcs_node_state_name(state));
        return;
    }
    /* A failure counts for whatever transfer is going on; a success of another history does not. */
    if (code >= 0 && !xb_uuid_equal(group_uuid, &gcs->group_uuid)) return;
    gcs_enter(gcs, now_ns);
    if (state == GCS_NODE_JOINER)
        queue_result(gcs, seqno, code);
    else
        queue_join(gcs, seqno, code);
    gcs_leave(gcs, now_ns);
}

int gcs_join_as_donor(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int code, int64_t now_ns) {
    if (expected_state(gcs) != GCS_NODE_DONOR) return -EPERM;
    gcs_join(gcs, group_uuid, seqno, code, now_ns);
    return 0;
}

void gcs_give_up_transfer(struct gcs *gcs, int code, const char *why) {
    struct gcs_joins *joins = &gcs->joins;
    for (size_t i = 0; i < joins->count; i++)
        if (pending(joins, i)->code >= 0) return; /* the state is here already */
    xb_log_warning(gcs->log, "The state transfer to this node will not end: %s. It may be asked for again", why);
    clear(joins);
    queue_join(gcs, gcs->counter, code);
}

bool gcs_send_join(struct gcs *gcs) {
    struct gcs_joins *joins = &gcs->joins;
    if (joins->sent == joins->count) return false;
    const struct gcs_join_message *join = pending(joins, joins->sent);
    struct gcs_code code = {.group_uuid = gcs->group_uuid, .seqno = join->seqno, .code = join->code};
    uint8_t bytes[GCS_CODE_SIZE];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_code_write(&w, &code);
    uint64_t epoch = gcs->epoch;
    joins->sent++;
    if (!gcs_send_bytes(gcs, bytes, sizeof(bytes), GCS_MSG_JOIN)) return true;
    if (gcs->epoch == epoch) joins->sent--;
    return false;
}

void gcs_joins_configuration(struct gcs *gcs) {
    enum gcs_node_state state = gcs_own_state(gcs);
    gcs->joins.sent = 0;
    if (state != GCS_NODE_JOINER && state != GCS_NODE_DONOR) clear(&gcs->joins);
}

static void deliver_join(struct gcs *gcs, int code) {
    struct gcs_action action = {.type = GCS_JOIN, .code = code, .sender = gcs->own_index, .sender_uuid = gcs->uuid};
    gcs_deliver(gcs, &action);
}

static const char *name_of(const struct gcs *gcs, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < gcs->member_count; i++)
        if (xb_uuid_equal(&gcs->members[i].uuid, uuid)) return gcs_member_name(&gcs->members[i]);
    return "a node that left";
}

/* In the words of the stock provider, which tests and tools look for. */
static void log_transfer(const struct gcs *gcs, const struct gcs_member *member, const char *direction,
                         const struct xb_uuid *other, enum xb_log_level failure, int code) {
    if (code < 0)
        xb_log_write(gcs->log, failure, "%s: State transfer %s %s failed: %s", gcs_member_name(member), direction,
                     name_of(gcs, other), strerror(-code));
    else
        xb_log_info(gcs->log, "%s: State transfer %s %s complete.", gcs_member_name(member), direction,
                    name_of(gcs, other));
}

static void donor_is_done(struct gcs *gcs, struct gcs_member *donor, int code) {
    bool is_own = gcs_is_own(gcs, donor);
    bool is_over = donor->desync_count <= 1;
    bool is_my_donor = !is_own && gcs_own_state(gcs) == GCS_NODE_JOINER && xb_uuid_equal(&donor->joiner, &gcs->uuid);
    donor->desync_count = is_over ? 0 : donor->desync_count - 1;
    if (is_over) donor->state = GCS_NODE_JOINED;
    if (is_over && xb_uuid_equal(&donor->joiner, &donor->uuid))
        xb_log_info(gcs->log, "%s resyncs itself to the group", gcs_member_name(donor));
    else
        log_transfer(gcs, donor, "to", &donor->joiner, XB_LOG_WARNING, code);
    if (!is_over) xb_log_info(gcs->log, "%s has other transfers or desyncs to finish", gcs_member_name(donor));
    if (is_my_donor && code < 0) gcs_give_up_transfer(gcs, code, "the donor failed");
    if (!is_own) return;
    pop(&gcs->joins);
    if (!is_over) return; /* still DONOR for the group (section 21.7) */
    gcs_flow_joined(gcs);
    deliver_join(gcs, code);
}

static void joiner_is_done(struct gcs *gcs, struct gcs_member *joiner, int code) {
    joiner->state = code < 0 ? GCS_NODE_PRIM : GCS_NODE_JOINED;
    if (code >= 0) gcs->joined_count++;
    /* Whoever failed has warned: the donor, or the joiner in its own log. */
    log_transfer(gcs, joiner, "from", &joiner->donor, XB_LOG_INFO, code);
    if (!gcs_is_own(gcs, joiner)) return;
    clear(&gcs->joins);
    gcs_throttle_end(gcs);
    if (code >= 0) gcs_flow_joined(gcs);
    deliver_join(gcs, code);
}

void gcs_handle_join(struct gcs *gcs, struct gcs_member *member, const struct gcs_code *message) {
    int code = message->code < -INT16_MAX ? -EPROTO : message->code > 0 ? 0 : (int)message->code;
    switch (member->state) {
    case GCS_NODE_DONOR:
        donor_is_done(gcs, member, code);
        return;
    case GCS_NODE_JOINER:
        joiner_is_done(gcs, member, code);
        return;
    case GCS_NODE_JOINED:
    case GCS_NODE_SYNCED: /* repeated ones are normal */
        break;
    case GCS_NODE_PRIM:
    case GCS_NODE_NON_PRIM:
        xb_log_warning(gcs->log, "JOIN of %s in state %s is ignored", gcs_member_name(member),
                       gcs_node_state_name(member->state));
    }
    if (gcs_is_own(gcs, member)) pop(&gcs->joins);
}
