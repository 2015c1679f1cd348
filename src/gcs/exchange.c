/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State exchange: STATE_UUID from member 0, STATE_MSG from each, and the configuration that all compute from them at
 * the same point of the total order (spec 05 sections 5.3, 5.4, 7.4, 7.5).
 */
#include "gcs/core.h"

/* If PC does not take it now it is tried again: without it the exchange would never end. */
bool gcs_send_state_uuid(struct gcs *gcs) {
    if (!gcs->is_state_uuid_due) return false;
    gcs->is_state_uuid_due = false;
    struct xb_uuid uuid = gcs->state_uuid;
    uint64_t epoch = gcs->epoch;
    if (!gcs_send_bytes(gcs, uuid.bytes, sizeof(uuid.bytes), GCS_MSG_STATE_UUID)) return true;
    if (gcs->epoch == epoch) gcs->is_state_uuid_due = true;
    return false;
}

void gcs_handle_state_uuid(struct gcs *gcs, size_t index, const uint8_t *payload, size_t size) {
    if (size != sizeof(gcs->state_uuid.bytes)) {
        gcs_violation(gcs, &gcs->members[index], "malformed STATE_UUID");
        return;
    }
    if (gcs->group_state != GCS_WAIT_STATE_UUID) return;
    if (index != 0) {
        xb_log_warning(gcs->log, "Stray STATE_UUID from member %zu (%s) is ignored", index,
                       gcs_member_name(&gcs->members[index]));
        return;
    }
    memcpy(gcs->state_uuid.bytes, payload, size);
    gcs->group_state = GCS_WAIT_STATE_MSG;
    gcs->is_state_uuid_due = false;
    gcs->is_state_due = true;
}

static struct gcs_state_message own_state(struct gcs *gcs) {
    const struct gcs_member *self = gcs_self(gcs);
    struct gcs_state_message s = {
        .version = GCS_STATE_VERSION,
        .max = gcs->max,
        .primary_state = gcs->primary_state,
        .state = self->state,
        .joined_count = gcs->joined_count,
        .state_uuid = gcs->state_uuid,
        .group_uuid = gcs->group_uuid,
        .primary_uuid = gcs->primary_uuid,
        .received = gcs->counter,
        .primary_seqno = gcs->primary_seqno,
        .name = gcs->name,
        .incoming = gcs->incoming,
        .cached = gcs->options.stateless ? -1 : gcs->up.cached(gcs->up.ctx),
        .desync_count = self->desync_count,
        .last_applied = gcs->cut.last_applied,
        .vote_seqno = self->vote_seqno,
        .vote_value = self->vote_value,
        .vote_policy = gcs->options.vote_policy,
        .primary = gcs->primary_versions,
    };
    if (gcs->own_index == 0) s.flags |= GCS_STATE_REPRESENTATIVE;
    if (self->is_counted) s.flags |= GCS_STATE_COUNTED;
    if (self->is_bootstrap) s.flags |= GCS_STATE_BOOTSTRAP;
    if (gcs->options.stateless) s.flags |= GCS_STATE_STATELESS;
    return s;
}

/* Nothing of what it holds changes between the delivery of STATE_UUID and here, but for votes and the cache: newer is
 * better. */
bool gcs_send_state(struct gcs *gcs) {
    if (!gcs->is_state_due) return false;
    struct gcs_state_message state = own_state(gcs);
    uint8_t bytes[PC_PAYLOAD_MAX];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_state_message_write(&w, &state);
    uint64_t epoch = gcs->epoch;
    gcs->is_state_due = false;
    if (!gcs_send_bytes(gcs, bytes, w.used, GCS_MSG_STATE)) return true;
    if (gcs->epoch == epoch) gcs->is_state_due = true;
    return false;
}

/* The message with its bytes behind it, so that the names live as long. */
static struct gcs_state_message *copy_state(const uint8_t *payload, size_t size) {
    struct gcs_state_message *message = malloc(sizeof(*message) + size);
    if (!message) return NULL;
    memcpy(message + 1, payload, size);
    if (!gcs_state_message_read(message, (const uint8_t *)(message + 1), size)) return message;
    free(message);
    return NULL;
}

static void apply_quorum_to_member(struct gcs_member *m, const struct gcs_quorum *quorum) {
    const struct gcs_state_message *s = m->message;
    m->is_bootstrap = false;
    m->is_stateless = s->flags & GCS_STATE_STATELESS;
    m->is_counted = false;
    m->stops = 0;
    m->desync_count = 0;
    if (!quorum->is_primary) {
        m->state = GCS_NODE_NON_PRIM;
        return;
    }
    m->state = GCS_NODE_PRIM;
    if (xb_uuid_equal(&s->group_uuid, &quorum->group_uuid)) {
        if (s->received == quorum->counter) /* "just joined, already up to date" if it was in no component */
            m->state = s->primary_state == GCS_NODE_NON_PRIM ? GCS_NODE_JOINED : s->primary_state;
        if (quorum->versions.gcs >= 2) {
            m->last_applied = s->last_applied;
            m->vote_seqno = s->vote_seqno;
            m->vote_value = s->vote_value;
        }
    }
    if (m->state == GCS_NODE_DONOR) m->desync_count = quorum->exchange_version >= 4 ? s->desync_count : 1;
    if (m->state == GCS_NODE_JOINED) m->is_counted = s->flags & GCS_STATE_COUNTED;
    if (m->state == GCS_NODE_DONOR || m->state == GCS_NODE_SYNCED) m->is_counted = true;
    if (m->state == GCS_NODE_PRIM) {
        m->last_applied = 0;
        m->vote_seqno = -1;
        m->vote_value = 0;
    }
}

/*
 * Where the commit cut goes on. Members of one history may know different values of it (some saw LASTs in their last
 * moments with a lost member), each of them right; the highest that comes from a configuration is taken, so that all
 * members agree and no one goes back.
 */
static int64_t merge_last_applied(const struct gcs *gcs, const struct gcs_quorum *quorum) {
    int64_t last_applied = quorum->last_applied;
    for (size_t i = 0; i < gcs->member_count; i++) {
        const struct gcs_state_message *s = gcs->members[i].message;
        if (!xb_uuid_equal(&s->group_uuid, &quorum->group_uuid) || xb_uuid_is_nil(&s->primary_uuid)) continue;
        if (s->last_applied > last_applied && s->last_applied <= quorum->counter) last_applied = s->last_applied;
    }
    return last_applied;
}

static bool is_member(const struct gcs *gcs, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < gcs->member_count; i++)
        if (xb_uuid_equal(&gcs->members[i].uuid, uuid)) return true;
    return false;
}

/* A group that has never had a member with state has no version to keep. */
static void raise_primary_versions(struct gcs *gcs) {
    struct gcs_versions *primary = &gcs->primary_versions;
    if (gcs->versions.repl == GCS_VERSION_ANY) return;
    if (gcs->versions.gcs > primary->gcs) primary->gcs = gcs->versions.gcs;
    if (gcs->versions.repl > primary->repl) primary->repl = gcs->versions.repl;
    if (gcs->versions.appl > primary->appl) primary->appl = gcs->versions.appl;
}

/* Steps 6 to 8 of section 7.4. */
static void adopt(struct gcs *gcs, const struct gcs_quorum *quorum) {
    if (!xb_uuid_equal(&gcs->group_uuid, &quorum->group_uuid)) {
        gcs->group_uuid = quorum->group_uuid;
        gcs->cut_delivered = -1;
        gcs_vote_new_group(gcs);
    }
    gcs->group_state = GCS_PRIMARY;
    gcs->counter = quorum->counter;
    gcs->quorum_counter = quorum->counter;
    gcs->conf_id = gcs_add(quorum->conf_id, 1);
    gcs->primary_uuid = gcs->state_uuid;
    gcs->state_uuid = xb_uuid_nil;
    gcs->primary_seqno = gcs->conf_id;
    gcs->joined_count = 0;
    for (size_t i = 0; i < gcs->member_count; i++) gcs->joined_count += gcs->members[i].state >= GCS_NODE_DONOR;
    raise_primary_versions(gcs);
    gcs->cut = (struct gcs_cut){merge_last_applied(gcs, quorum), -1};
    if (gcs->versions.gcs != 2) gcs_cut_recompute(&gcs->cut, gcs->members, gcs->member_count, gcs->versions.gcs);
}

static void log_quorum(const struct gcs *gcs, const struct gcs_quorum *quorum) {
    xb_log_info(gcs->log,
                "Quorum of %zu members: %s, group %s, last seqno %" PRId64 ", configuration %" PRId64
                ", protocols gcs %d repl %d appl %d, vote policy %d",
                gcs->member_count, quorum->is_primary ? "primary" : "not primary", XB_UUID_TEXT(&quorum->group_uuid),
                quorum->counter, quorum->is_primary ? gcs_add(quorum->conf_id, 1) : -1, quorum->versions.gcs,
                quorum->versions.repl, quorum->versions.appl, quorum->vote_policy);
}

/* -> may this node stay? */
static bool check_quorum(struct gcs *gcs, const struct gcs_quorum *quorum) {
    if (xb_uuid_equal(&gcs->group_uuid, &quorum->group_uuid) && gcs->counter > quorum->counter) {
        gcs->group_state = GCS_INCONSISTENT;
        struct gcs_action action = {.type = GCS_INCONSISTENCY, .seqno = -1};
        int64_t own = gcs->counter;
        gcs_deliver(gcs, &action);
        gcs_halt(gcs, -ENOTRECOVERABLE,
                 "this node has seen seqno %" PRId64 " of history %s, the group only %" PRId64 ": its state is not "
                 "the group's. Restart it with a full state transfer",
                 own, XB_UUID_TEXT(&quorum->group_uuid), quorum->counter);
        return false;
    }
    const struct gcs_versions *v = &quorum->versions;
    if (v->gcs < 1) {
        gcs_halt(gcs, -EPROTO, "group protocol %d is too old (1 to %d are supported): upgrade the other nodes", v->gcs,
                 GCS_PROTOCOL_MAX);
        return false;
    }
    if (v->gcs > gcs->max.gcs || v->repl > gcs->max.repl || v->appl > gcs->max.appl) {
        gcs_halt(gcs, -EPROTO,
                 "the group needs protocols %d/%d/%d (gcs/repl/appl), this node supports %d/%d/%d: upgrade the node",
                 v->gcs, v->repl, v->appl, gcs->max.gcs, gcs->max.repl, gcs->max.appl);
        return false;
    }
    return true;
}

static void finish_primary(struct gcs *gcs, const struct gcs_quorum *quorum) {
    adopt(gcs, quorum);
    /* The configuration change takes a seqno; but not while nobody has the state, so that the node that left last is
     * still up to date when it comes back: there is no donor. */
    if (!quorum->is_of_arbitrators) gcs->counter = gcs_add(gcs->counter, 1);
    struct gcs_vote_result vote;
    bool has_vote = gcs_vote_configuration(gcs, &vote);
    const struct gcs_member *self = gcs_self(gcs);
    gcs_vote_new_configuration(gcs, has_vote ? &vote : NULL);
    gcs_joins_configuration(gcs);
    if (self->state < GCS_NODE_DONOR) gcs_sender_fail_write_sets(gcs, -ENOTCONN);
    gcs_deliver_configuration(gcs, has_vote ? &vote : NULL);
    if (self->state == GCS_NODE_JOINER && !xb_uuid_is_nil(&self->donor) && !is_member(gcs, &self->donor))
        gcs_give_up_transfer(gcs, -EHOSTDOWN, "the donor has left the group");
    gcs_repeat_report(gcs);
}

static void finish_exchange(struct gcs *gcs) {
    const struct gcs_state_message *messages[PC_MEMBERS_MAX];
    for (size_t i = 0; i < gcs->member_count; i++) messages[i] = gcs->members[i].message;
    struct gcs_quorum quorum;
    gcs_quorum_compute(&quorum, messages, gcs->member_count, gcs->are_all_ours, gcs->log);
    log_quorum(gcs, &quorum);
    gcs->is_state_due = false;
    if (quorum.is_primary && !check_quorum(gcs, &quorum)) return;
    gcs->versions = quorum.versions;
    gcs->exchange_version = quorum.exchange_version;
    gcs->vote_policy = quorum.vote_policy;
    for (size_t i = 0; i < gcs->member_count; i++) apply_quorum_to_member(&gcs->members[i], &quorum);
    if (quorum.is_primary) {
        finish_primary(gcs, &quorum);
        return;
    }
    gcs_become_non_primary(gcs);
    gcs_sender_fail(gcs, -ENOTCONN);
    gcs_causal_fail(gcs, -EPERM);
    gcs_deliver_configuration(gcs, NULL);
}

void gcs_handle_state(struct gcs *gcs, struct gcs_member *member, const uint8_t *payload, size_t size) {
    if (gcs->group_state != GCS_WAIT_STATE_MSG) return;
    struct gcs_state_message *message = copy_state(payload, size);
    if (!message) {
        gcs_violation(gcs, member, "malformed state message");
        return;
    }
    if (!xb_uuid_equal(&message->state_uuid, &gcs->state_uuid)) {
        free(message);
        return;
    }
    free(member->message);
    member->message = message;
    member->has_answered = true;
    member->state = message->state;
    member->vote_seqno = message->vote_seqno;
    member->vote_value = message->vote_value;
    for (size_t i = 0; i < gcs->member_count; i++)
        if (!gcs->members[i].has_answered) return;
    finish_exchange(gcs);
}

void gcs_watch_exchange(struct gcs *gcs) {
    if (gcs->group_state != GCS_WAIT_STATE_UUID && gcs->group_state != GCS_WAIT_STATE_MSG) return;
    if (gcs->now_ns < gcs->exchange_watch_ns) return;
    gcs->exchange_watch_ns = gcs->now_ns + GCS_EXCHANGE_WATCH_NS;
    double seconds = (double)(gcs->now_ns - gcs->exchange_since_ns) / (double)XB_SECOND;
    if (gcs->group_state == GCS_WAIT_STATE_UUID) {
        xb_log_warning(gcs->log, "State exchange waits for %.0f s for its start by member 0 (%s, %s)", seconds,
                       gcs_member_name(&gcs->members[0]), XB_UUID_SHORT(&gcs->members[0].uuid));
        return;
    }
    for (size_t i = 0; i < gcs->member_count; i++)
        if (!gcs->members[i].has_answered)
            xb_log_warning(gcs->log,
                           "State exchange waits for %.0f s for member %zu (%s, %s). If it does not answer, "
                           "stop that node",
                           seconds, i, gcs_member_name(&gcs->members[i]), XB_UUID_SHORT(&gcs->members[i].uuid));
}

/* Section 7.5, and what section 7.6 has to be done before it is delivered. */
void gcs_deliver_configuration(struct gcs *gcs, const struct gcs_vote_result *vote) {
    struct gcs_cchange_member members[PC_MEMBERS_MAX];
    for (size_t i = 0; i < gcs->member_count; i++) {
        const struct gcs_member *m = &gcs->members[i];
        members[i] = (struct gcs_cchange_member){m->uuid, gcs_member_name(m), gcs_member_incoming(m),
                                                 gcs_member_cached(m), m->state};
    }
    struct gcs_cchange change = {
        .repl_version = gcs->versions.repl,
        .appl_version = gcs->versions.appl,
        .group_uuid = gcs->group_uuid,
        .seqno = gcs->counter,
        .conf_id = gcs->conf_id,
        .vote_seqno = vote ? vote->seqno : -1,
        .vote_value = vote ? vote->value : 0,
        .members = members,
        .member_count = gcs->member_count,
    };
    gcs_flow_configuration(gcs);
    gcs->is_sync_sent = false;
    struct gcs_action action = {.type = GCS_CCHANGE,
                                .size = gcs_cchange_encoded_size(&change),
                                .seqno = gcs->own_index,
                                .sender = gcs->own_index,
                                .sender_uuid = gcs->uuid};
    action.buf = gcs->up.alloc(gcs->up.ctx, action.size);
    if (!action.buf) {
        gcs_halt(gcs, -ENOMEM, "no memory for a configuration change of %zu bytes", action.size);
        return;
    }
    gcs_cchange_encode(&change, action.buf);
    gcs_deliver(gcs, &action);
}
