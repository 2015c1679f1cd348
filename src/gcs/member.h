/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A member of the view, and the rules that every member computes alike from the members: donor, commit cut, vote.
 * They look at nothing but their arguments, so that equal inputs give equal results everywhere (spec 05 section 20.1).
 */
#ifndef XB_GCS_MEMBER_H
#define XB_GCS_MEMBER_H

#include "gcs/collector.h"
#include "gcs/messages.h"

struct gcs_member {
    struct xb_uuid uuid;
    uint8_t segment;
    enum gcs_node_state state;
    int64_t last_applied;
    int64_t vote_seqno, vote_value;
    int64_t desync_count;
    struct xb_uuid donor, joiner;
    struct gcs_state_message *message; /* the last one with its bytes, NULL before; owned */
    bool has_answered;                 /* message belongs to the running exchange */
    bool is_counted;                   /* in the commit cut, if not stateless */
    bool is_bootstrap, is_stateless;
    int64_t stops;  /* FLOW stop less FLOW continue since the configuration */
    bool is_warned; /* of malformed messages */
    struct gcs_collector collector;
};

static inline const char *gcs_member_name(const struct gcs_member *member) {
    return member->message ? member->message->name : "unspecified";
}

static inline const char *gcs_member_incoming(const struct gcs_member *member) {
    return member->message ? member->message->incoming : "unspecified";
}

static inline int64_t gcs_member_cached(const struct gcs_member *member) {
    return member->message ? member->message->cached : -1;
}

/* Takes part in cut and vote. */
static inline bool gcs_member_has_voice(const struct gcs_member *member) {
    return member->is_counted && !member->is_stateless;
}

/* Numbers of peers may be anything: they wrap around instead of overflowing. */
static inline int64_t gcs_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* donor.c: index of the donor for the member `joiner`, or a negative errno (section 11.3). counter: action counter of
 * the last quorum. */
int gcs_donor_choose(const struct gcs_member *members, size_t count, size_t joiner, const struct gcs_request *request,
                     const struct xb_uuid *group_uuid, int64_t counter);
/* Number of members whose names begin with the list's item that matches most ambiguously (section 21.9): > 1 if the
 * item is not a member's whole name. */
size_t gcs_donor_ambiguity(const struct gcs_member *members, size_t count, const char *donors);

/* cut.c: recomputes the group's last applied seqno (section 12.2). */
struct gcs_cut {
    int64_t last_applied;
    int reporter; /* most lagging counted member; -1 none */
};
void gcs_cut_recompute(struct gcs_cut *cut, const struct gcs_member *members, size_t count, int gcs_version);

/* recount.c: is the vote decided (section 15.3)? */
struct gcs_vote_result {
    int64_t seqno, value;
};
bool gcs_vote_recount(const struct gcs_member *members, size_t count, int64_t counter, int64_t last_result_seqno,
                      int policy, struct gcs_vote_result *result);

#endif
