/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Donor selection (spec 05 section 11.3). Must come out alike on every member, stock ones included, so it keeps the
 * stock rules where they look odd: names match by prefix, a node that can send IST goes before the named donors.
 */
#include "gcs/member.h"

#include <errno.h>

#define IST_GAP_SHIFT 7
#define IST_GAP_MAX (1 << 20)

struct choice { /* the inputs */
    const struct gcs_member *members;
    size_t count;
    size_t joiner;
    const struct gcs_request *request;
};

struct item { /* of the donor list */
    const char *name;
    size_t length;
};

/* Walks "a,b,": first item with *next = list; NULL at the end. */
static bool next_item(const char **next, struct item *item) {
    if (!*next) return false;
    const char *comma = strchr(*next, ',');
    item->name = *next;
    item->length = comma ? (size_t)(comma - *next) : strlen(*next);
    *next = comma ? comma + 1 : NULL;
    return true;
}

static bool name_matches(const struct gcs_member *member, const struct item *item) {
    return strncmp(gcs_member_name(member), item->name, item->length) == 0;
}

static int64_t shift_right(int64_t value, int bits) { /* arithmetic, whatever the compiler does */
    return value < 0 ? ~(~value >> bits) : value >> bits;
}

/* Does the oldest history in the group reach back far enough, with a margin for what is purged meanwhile? */
static bool is_ist_possible(const struct choice *c, const struct xb_uuid *group_uuid, int64_t counter) {
    const struct gcs_request *request = c->request;
    if (request->version < 2 || !xb_uuid_equal(&request->ist_uuid, group_uuid) || request->ist_seqno == -1)
        return false;
    int64_t low = -1;
    bool has_low = false;
    for (size_t i = 0; i < c->count; i++) {
        int64_t cached = gcs_member_cached(&c->members[i]);
        if (cached == -1 || (has_low && cached >= low)) continue;
        low = cached;
        has_low = true;
    }
    if (!has_low) return false;
    int64_t gap = shift_right(gcs_add(counter, (int64_t)(0 - (uint64_t)low)), IST_GAP_SHIFT);
    if (gap > IST_GAP_MAX) gap = IST_GAP_MAX;
    return request->ist_seqno >= gcs_add(low, gap);
}

static bool is_able(const struct choice *c, size_t i) {
    const struct gcs_member *m = &c->members[i];
    int64_t cached = gcs_member_cached(m);
    return i != c->joiner && m->state == GCS_NODE_SYNCED && cached != -1 && cached <= gcs_add(c->request->ist_seqno, 1);
}

/* Of two that are able the higher cached seqno wins, the later on ties. */
static void prefer_higher_cached(const struct choice *c, int *best, size_t i) {
    if (*best < 0 || gcs_member_cached(&c->members[i]) >= gcs_member_cached(&c->members[*best])) *best = (int)i;
}

static int choose_named_for_ist(const struct choice *c) {
    int best = -1;
    const char *next = c->request->donors;
    struct item item;
    while (next_item(&next, &item) && item.length) {
        for (size_t i = 0; i < c->count; i++) {
            if (!is_able(c, i) || !name_matches(&c->members[i], &item)) continue;
            prefer_higher_cached(c, &best, i);
            break;
        }
    }
    return best;
}

static int choose_any_for_ist(const struct choice *c, bool is_local) {
    int best = -1;
    uint8_t segment = c->members[c->joiner].segment;
    for (size_t i = 0; i < c->count; i++) {
        const struct gcs_member *m = &c->members[i];
        if (is_able(c, i) && !m->is_stateless && (m->segment == segment) == is_local) prefer_higher_cached(c, &best, i);
    }
    return best;
}

static int choose_for_ist(const struct choice *c) {
    int best = choose_named_for_ist(c);
    if (best < 0) best = choose_any_for_ist(c, true);
    if (best < 0) best = choose_any_for_ist(c, false);
    return best;
}

static int choose_by_name(const struct choice *c, const struct item *item) {
    for (size_t i = 0; i < c->count; i++) {
        const struct gcs_member *m = &c->members[i];
        if (m->is_stateless || !name_matches(m, item)) continue;
        if (i == c->joiner) return -EHOSTDOWN;
        if (m->state == GCS_NODE_SYNCED) return (int)i;
        return m->state >= GCS_NODE_JOINER ? -EAGAIN : -EHOSTUNREACH;
    }
    return -EHOSTUNREACH;
}

/* A donor of the joiner's own segment if there is, or will be, one. */
static int choose_by_state(const struct choice *c) {
    int candidate = -EAGAIN;
    bool will_have_local = false;
    for (size_t i = 0; i < c->count; i++) {
        const struct gcs_member *m = &c->members[i];
        if (i == c->joiner || m->is_stateless) continue;
        bool is_local = m->segment == c->members[c->joiner].segment;
        if (m->state == GCS_NODE_SYNCED) {
            candidate = (int)i;
            if (is_local) return candidate;
        } else if (is_local && m->state >= GCS_NODE_JOINER) {
            will_have_local = true;
        }
    }
    return will_have_local ? -EAGAIN : candidate;
}

static int choose_any(const struct choice *c) {
    const char *next = c->request->donors;
    size_t length = strlen(next);
    bool may_fall_back = c->request->version >= 2 && length > 0 && next[length - 1] == ',';
    int error = -EHOSTDOWN;
    struct item item;
    while (next_item(&next, &item)) {
        int found;
        if (item.length)
            found = choose_by_name(c, &item);
        else if (error == -EAGAIN && !may_fall_back)
            return -EAGAIN;
        else
            found = choose_by_state(c);
        if (found >= 0) return found;
        if (error != -EAGAIN) error = found;
    }
    return error;
}

int gcs_donor_choose(const struct gcs_member *members, size_t count, size_t joiner, const struct gcs_request *request,
                     const struct xb_uuid *group_uuid, int64_t counter) {
    struct choice c = {members, count, joiner, request};
    if (is_ist_possible(&c, group_uuid, counter)) {
        int donor = choose_for_ist(&c);
        if (donor >= 0) return donor;
    }
    return choose_any(&c);
}

size_t gcs_donor_ambiguity(const struct gcs_member *members, size_t count, const char *donors) {
    size_t most = 0;
    struct item item;
    while (next_item(&donors, &item)) {
        if (!item.length) continue;
        size_t matches = 0;
        bool is_whole = false;
        for (size_t i = 0; i < count; i++) {
            if (!name_matches(&members[i], &item)) continue;
            matches++;
            is_whole |= gcs_member_name(&members[i])[item.length] == '\0';
        }
        if (!is_whole && matches > most) most = matches;
    }
    return most;
}
