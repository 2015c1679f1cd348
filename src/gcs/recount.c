/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counting the votes about an inconsistency (spec 05 section 15.3). */
#include "gcs/member.h"

#include <stdlib.h>

static int compare_values(const void *a, const void *b) { /* as unsigned */
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The lowest seqno that is being voted on; false: none. */
static bool find_open_vote(const struct gcs_member *members, size_t count, int64_t counter, int64_t last_result_seqno,
                           int64_t *seqno) {
    bool is_open = false;
    *seqno = counter;
    for (size_t i = 0; i < count; i++) {
        const struct gcs_member *m = &members[i];
        if (!gcs_member_has_voice(m) || m->vote_seqno <= last_result_seqno) continue;
        is_open = true;
        if (m->vote_seqno < *seqno) *seqno = m->vote_seqno;
    }
    return is_open;
}

struct tally {
    size_t missing, zero, most, second;
    uint64_t winner; /* the value that has most */
};

static void count_values(struct tally *tally, uint64_t *values, size_t count) {
    qsort(values, count, sizeof(*values), compare_values);
    for (size_t i = 0; i < count;) {
        size_t n = 1;
        while (i + n < count && values[i + n] == values[i]) n++;
        if (values[i] == 0) tally->zero = n;
        if (n >= tally->most) { /* of equals the later one */
            tally->second = tally->most;
            tally->most = n;
            tally->winner = values[i];
        }
        i += n;
    }
}

static bool is_decided(const struct tally *t, size_t policy) {
    if (policy > 0 && t->zero + t->missing >= policy) return false; /* success may still reach its number */
    return t->zero >= t->second + t->missing || t->most >= t->second + t->missing + (t->zero == t->second ? 1 : 0);
}

bool gcs_vote_recount(const struct gcs_member *members, size_t count, int64_t counter, int64_t last_result_seqno,
                      int policy, struct gcs_vote_result *result) {
    int64_t seqno;
    if (!find_open_vote(members, count, counter, last_result_seqno, &seqno)) return false;
    uint64_t values[PC_MEMBERS_MAX];
    size_t voted = 0;
    struct tally tally = {0};
    for (size_t i = 0; i < count && i < PC_MEMBERS_MAX; i++) {
        const struct gcs_member *m = &members[i];
        bool has_applied = m->last_applied >= seqno;
        if (!gcs_member_has_voice(m) && !has_applied) continue;
        if (m->vote_seqno >= seqno || has_applied)
            values[voted++] = m->vote_seqno == seqno ? (uint64_t)m->vote_value : 0;
        else
            tally.missing++;
    }
    count_values(&tally, values, voted);
    result->seqno = seqno;
    if (policy > 0 && tally.zero >= (size_t)policy) {
        result->value = 0;
        return true;
    }
    if (!is_decided(&tally, (size_t)(policy > 0 ? policy : 0))) return false;
    result->value = tally.zero >= tally.most ? 0 : (int64_t)tally.winner;
    return true;
}
