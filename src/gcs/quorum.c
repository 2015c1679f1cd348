/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quorum: which message represents the group, and what it says (spec 05 sections 7.1 to 7.3). The representative
 * message has nothing to do with the representative of the view, who sends STATE_UUID.
 */
#include "gcs/quorum.h"

#include "gcs/member.h"

#include <errno.h>

/* The higher received wins, then the higher primary seqno, then the earlier in order. */
static bool is_better(const struct gcs_state_message *a, const struct gcs_state_message *than) {
    if (a->received != than->received) return a->received > than->received;
    return a->primary_seqno > than->primary_seqno;
}

static bool is_same_candidate(const struct gcs_state_message *a, const struct gcs_state_message *b) {
    return xb_uuid_equal(&a->group_uuid, &b->group_uuid) && a->received == b->received &&
           a->primary_seqno == b->primary_seqno;
}

/* Step 1: the members that have the state now go on with it. -> 0, -EINVAL if they have different histories */
static int inherit(const struct gcs_state_message *const *messages, size_t count,
                   const struct gcs_state_message **best) {
    *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct gcs_state_message *m = messages[i];
        if (m->state < GCS_NODE_DONOR) continue;
        if (*best && !xb_uuid_equal(&m->group_uuid, &(*best)->group_uuid)) return -EINVAL;
        if (!*best || is_better(m, *best)) *best = m;
    }
    return 0;
}

static bool is_remerge_candidate(const struct gcs_state_message *m) {
    return m->primary_state >= GCS_NODE_DONOR && m->state != GCS_NODE_JOINER;
}

static bool is_bootstrap_candidate(const struct gcs_state_message *m) {
    return m->flags & GCS_STATE_BOOTSTRAP;
}

/*
 * Steps 2 and 3. Candidates are sets of messages with the same history, received and primary seqno; the first of a set
 * stands for it (all that the comparison looks at is equal within it).
 */
static const struct gcs_state_message *select_candidate(const struct gcs_state_message *const *messages, size_t count,
                                                        bool (*is_candidate)(const struct gcs_state_message *)) {
    const struct gcs_state_message *best = NULL;
    struct xb_uuid uuid = xb_uuid_nil;
    int64_t received = 0, primary_seqno = 0;
    for (size_t i = 0; i < count; i++) {
        const struct gcs_state_message *m = messages[i];
        if (!is_candidate(m)) continue;
        bool is_first = true;
        for (size_t k = 0; k < i && is_first; k++)
            is_first = !is_candidate(messages[k]) || !is_same_candidate(m, messages[k]);
        if (!is_first) continue;
        if (!best) {
            best = m;
            uuid = m->group_uuid;
            received = m->received;
            primary_seqno = m->primary_seqno;
            continue;
        }
        if (xb_uuid_is_nil(&m->group_uuid)) continue;
        if (!xb_uuid_is_nil(&uuid) && !xb_uuid_equal(&uuid, &m->group_uuid)) return NULL;
        if (primary_seqno < m->primary_seqno) {
            best = m;
            primary_seqno = m->primary_seqno; /* received stays: all members must do the same */
        } else if (primary_seqno == m->primary_seqno && received < m->received) {
            best = m;
            received = m->received;
        }
    }
    return best;
}

/*
 * Not in the specification: nobody in the group has the state, for who had it has crashed and left joiners behind; with
 * the stock provider an operator has to bootstrap. Joiners count what the group orders, so who restarts with as much as
 * any of them has counted has missed nothing.
 */
static const struct gcs_state_message *find_returned(const struct gcs_state_message *const *messages, size_t count) {
    const struct gcs_state_message *best = NULL;
    int64_t ordered = 0;
    for (size_t i = 0; i < count; i++) {
        const struct gcs_state_message *m = messages[i];
        bool has_state = m->primary_state == GCS_NODE_NON_PRIM && !(m->flags & GCS_STATE_STATELESS);
        if (m->received > ordered) ordered = m->received;
        if (has_state && (!best || m->received > best->received)) best = m;
    }
    if (!best || best->received < ordered) return NULL;
    for (size_t i = 0; i < count; i++) {
        const struct xb_uuid *uuid = &messages[i]->group_uuid;
        if (!xb_uuid_is_nil(uuid) && !xb_uuid_equal(uuid, &best->group_uuid)) return NULL;
    }
    return best;
}

static const struct gcs_state_message *find_representative(const struct gcs_state_message *const *messages,
                                                           size_t count, bool are_all_ours, const struct xb_log *log) {
    const struct gcs_state_message *best;
    if (inherit(messages, count, &best)) {
        xb_log_error(log, "Members with different histories have joined: there is no group. Stop the ones that are not "
                          "wanted and let them take a state transfer");
        return NULL;
    }
    if (best) return best;
    for (size_t i = 0; i < count; i++)
        if (messages[i]->primary_state >= GCS_NODE_DONOR && messages[i]->state == GCS_NODE_JOINER)
            xb_log_warning(log, "State message of %s in the middle of a transfer is no base for a group",
                           messages[i]->name);
    best = select_candidate(messages, count, is_remerge_candidate);
    if (!best) best = select_candidate(messages, count, is_bootstrap_candidate);
    return best || !are_all_ours ? best : find_returned(messages, count);
}

/* No member may be asked for more than it can; a living group does not go back (section 7.3). */
static void negotiate(struct gcs_quorum *quorum, const struct gcs_state_message *const *messages, size_t count) {
    struct gcs_versions *v = &quorum->versions;
    *v = quorum->representative->max;
    for (size_t i = 0; i < count; i++) {
        const struct gcs_versions *m = &messages[i]->max;
        if (m->gcs < v->gcs) v->gcs = m->gcs;
        if (m->repl < v->repl) v->repl = m->repl;
        if (m->appl < v->appl) v->appl = m->appl;
    }
    if (quorum->exchange_version < 6) return;
    const struct gcs_versions *primary = &quorum->representative->primary;
    if (primary->gcs > v->gcs) v->gcs = primary->gcs;
    if (primary->repl > v->repl) v->repl = primary->repl;
    if (primary->appl > v->appl) v->appl = primary->appl;
}

/*
 * Not in the specification: members without state can do anything, so by the rules above those that outlive all others
 * would raise the group to versions that no node has, and none could come back. The last real versions stay.
 */
static void keep_versions(struct gcs_quorum *quorum, const struct gcs_state_message *const *messages, size_t count) {
    struct gcs_versions last = {0};
    for (size_t i = 0; i < count; i++) {
        const struct gcs_versions *m = &messages[i]->primary;
        if (m->repl > last.repl && m->repl < GCS_VERSION_ANY) last = *m;
    }
    if (last.repl > 0) quorum->versions = last;
}

static bool are_arbitrators(const struct gcs_state_message *const *messages, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(messages[i]->flags & GCS_STATE_STATELESS) || messages[i]->max.repl < GCS_VERSION_ANY) return false;
    return true;
}

void gcs_quorum_compute(struct gcs_quorum *quorum, const struct gcs_state_message *const *messages, size_t count,
                        bool are_all_ours, const struct xb_log *log) {
    *quorum = (struct gcs_quorum){
        .exchange_version = messages[0]->version,
        .counter = -1,
        .conf_id = -1,
        .last_applied = -1,
        .versions = {-1, -1, -1},
        .vote_policy = 1,
    };
    for (size_t i = 1; i < count; i++)
        if (messages[i]->version < quorum->exchange_version) quorum->exchange_version = messages[i]->version;
    const struct gcs_state_message *representative = find_representative(messages, count, are_all_ours, log);
    quorum->representative = representative;
    if (!representative) return;
    quorum->is_primary = true;
    quorum->group_uuid = representative->group_uuid;
    quorum->counter = representative->received;
    quorum->conf_id = representative->primary_seqno;
    quorum->last_applied = representative->last_applied;
    quorum->is_of_arbitrators = are_all_ours && are_arbitrators(messages, count);
    negotiate(quorum, messages, count);
    if (quorum->is_of_arbitrators) keep_versions(quorum, messages, count);
    if (quorum->versions.gcs >= 1) quorum->vote_policy = representative->vote_policy;
}
