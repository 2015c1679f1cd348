/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See check.h. */
#include "check.h"

#include "base/hash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LINEAGES_MAX 8
#define NODES_MAX 8

enum entry_type { ENTRY_NONE, ENTRY_WRITESET, ENTRY_CCHANGE };

struct entry { /* what is at one seqno */
    enum entry_type type;
    struct xb_hash128 digest;
    struct xb_uuid sender;
    uint64_t submission;
    int first_node;
    bool has_verdict, is_passed, is_acknowledged;
    int64_t depends, map_lowest;
    bool has_hash;
    uint64_t hash;
};

struct lineage {
    struct xb_uuid group_uuid;
    struct entry *entries; /* by seqno */
    size_t count;
    int64_t cut[NODES_MAX];
    int64_t vote_seqno[NODES_MAX];
    int64_t *vote_values; /* by seqno; INT64_MIN: none */
    size_t vote_count;
};

struct submission {
    int node;
    bool is_done, is_crashed;
    int64_t seqno; /* -1: not ordered as far as known */
};

struct primary_view {
    struct view_id id;
    bool is_bootstrap;
    size_t member_count;
    struct xb_uuid members[PC_MEMBERS_MAX];
};

struct check {
    bool has_failed;
    char text[CHECK_TEXT_SIZE];
    struct lineage lineages[LINEAGES_MAX];
    size_t lineage_count;
    struct submission *submissions;
    size_t submission_count, submission_capacity;
    struct primary_view *views;
    size_t view_count, view_capacity;
    int64_t last_acknowledged;
    int64_t held[NODES_MAX];
    struct check_counts counts;
    struct lineage nowhere; /* what is beyond all bounds, after the run has failed */
    struct entry nothing;
};

struct check *check_new(void) {
    struct check *check = calloc(1, sizeof(*check));
    check->last_acknowledged = -1;
    for (int i = 0; i < NODES_MAX; i++) check->held[i] = -1;
    return check;
}

void check_free(struct check *check) {
    for (size_t i = 0; i < check->lineage_count; i++) {
        free(check->lineages[i].entries);
        free(check->lineages[i].vote_values);
    }
    free(check->submissions);
    free(check->views);
    free(check);
}

void check_fail(struct check *check, const char *format, ...) {
    if (check->has_failed) return;
    check->has_failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(check->text, sizeof(check->text), format, args);
    va_end(args);
}

const char *check_failure(const struct check *check) {
    return check->has_failed ? check->text : NULL;
}

static struct lineage *lineage_of(struct check *check, const struct xb_uuid *group_uuid) {
    for (size_t i = 0; i < check->lineage_count; i++)
        if (xb_uuid_equal(&check->lineages[i].group_uuid, group_uuid)) return &check->lineages[i];
    if (check->lineage_count) check_fail(check, "a second history %s was founded", XB_UUID_TEXT(group_uuid));
    if (check->lineage_count == LINEAGES_MAX) return &check->nowhere;
    struct lineage *lineage = &check->lineages[check->lineage_count++];
    lineage->group_uuid = *group_uuid;
    for (int i = 0; i < NODES_MAX; i++) lineage->cut[i] = lineage->vote_seqno[i] = -1;
    return lineage;
}

static struct entry *entry_of(struct check *check, struct lineage *lineage, int64_t seqno) {
    if (seqno < 0 || seqno > 10000000) {
        check_fail(check, "seqno %lld", (long long)seqno);
        check->nothing = (struct entry){0};
        return &check->nothing;
    }
    if ((size_t)seqno >= lineage->count) {
        size_t count = 2 * (size_t)seqno + 64;
        lineage->entries = realloc(lineage->entries, count * sizeof(struct entry));
        memset(lineage->entries + lineage->count, 0, (count - lineage->count) * sizeof(struct entry));
        lineage->count = count;
    }
    return &lineage->entries[seqno];
}

void check_holds(struct check *check, int node, int64_t seqno) {
    check->held[node] = seqno;
}

/* All from seqno on was lost with the processes that had delivered it, before any client was told. */
static bool is_gone(const struct check *check, int64_t seqno) {
    for (int i = 0; i < NODES_MAX; i++)
        if (check->held[i] >= seqno) return false;
    return check->last_acknowledged < seqno;
}

static void forget_from(struct check *check, struct lineage *lineage, int64_t seqno) {
    for (size_t i = (size_t)seqno; i < lineage->count; i++) {
        if (lineage->entries[i].type == ENTRY_WRITESET) check->submissions[lineage->entries[i].submission].seqno = -1;
        lineage->entries[i] = (struct entry){.type = ENTRY_NONE};
    }
    for (size_t i = (size_t)seqno; i < lineage->vote_count; i++) lineage->vote_values[i] = INT64_MIN;
}

/* -> the entry, new or equal to what it was */
static struct entry *entry_agree(struct check *check, int node, bool has_state, const struct xb_uuid *group_uuid,
                                 int64_t seqno, enum entry_type type, struct xb_hash128 digest,
                                 const struct xb_uuid *sender, bool *is_new) {
    struct lineage *lineage = lineage_of(check, group_uuid);
    struct entry *entry = entry_of(check, lineage, seqno);
    if (entry->type != ENTRY_NONE && is_gone(check, seqno)) forget_from(check, lineage, seqno);
    if (has_state && check->held[node] < seqno) check->held[node] = seqno;
    *is_new = entry->type == ENTRY_NONE;
    if (*is_new) {
        entry->type = type;
        entry->digest = digest;
        entry->sender = *sender;
        entry->first_node = node;
    } else if (entry->type != type || memcmp(&entry->digest, &digest, sizeof(digest)) ||
               !xb_uuid_equal(&entry->sender, sender)) {
        check_fail(
            check,
            "node %d delivers as seqno %lld something else (type %d of %s) than node %d before (type %d of %s)%s", node,
            (long long)seqno, type, XB_UUID_SHORT(sender), entry->first_node, entry->type,
            XB_UUID_SHORT(&entry->sender), entry->is_acknowledged ? ", which was acknowledged" : "");
    }
    return entry;
}

void check_writeset(struct check *check, int node, bool has_state, const struct xb_uuid *group_uuid, int64_t seqno,
                    const void *bytes, size_t size, const struct xb_uuid *sender, uint64_t submission,
                    int64_t last_seen) {
    bool is_new;
    struct entry *entry = entry_agree(check, node, has_state, group_uuid, seqno, ENTRY_WRITESET,
                                      xb_fast_hash128(bytes, size), sender, &is_new);
    if (is_new) {
        check->counts.ordered++;
        entry->submission = submission;
        if (submission >= check->submission_count) {
            check_fail(check, "seqno %lld holds submission %llu, which nobody made", (long long)seqno,
                       (unsigned long long)submission);
            return;
        }
        struct submission *s = &check->submissions[submission];
        if (s->seqno != -1)
            check_fail(check, "submission %llu of node %d was ordered twice, as %lld and %lld",
                       (unsigned long long)submission, s->node, (long long)s->seqno, (long long)seqno);
        s->seqno = seqno;
    }
    const struct lineage *lineage = lineage_of(check, group_uuid);
    if (last_seen < lineage->cut[node])
        check_fail(check, "node %d: write set %lld has seen only %lld, below the commit cut %lld", node,
                   (long long)seqno, (long long)last_seen, (long long)lineage->cut[node]);
    if (last_seen >= seqno) check_fail(check, "write set %lld has seen %lld", (long long)seqno, (long long)last_seen);
}

void check_cchange(struct check *check, int node, bool has_state, const struct gcs_cchange *change) {
    struct gcs_cchange plain = *change; /* without the vote fields, which may differ */
    plain.vote_seqno = -1;
    plain.vote_value = 0;
    size_t size = gcs_cchange_encoded_size(&plain);
    uint8_t *bytes = malloc(size);
    gcs_cchange_encode(&plain, bytes);
    bool is_new;
    entry_agree(check, node, has_state, &change->group_uuid, change->seqno, ENTRY_CCHANGE, xb_fast_hash128(bytes, size),
                &xb_uuid_nil, &is_new);
    if (is_new) check->counts.changes++;
    free(bytes);
}

void check_commit_cut(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno) {
    struct lineage *lineage = lineage_of(check, group_uuid);
    if (seqno <= lineage->cut[node])
        check_fail(check, "node %d: commit cut %lld after %lld", node, (long long)seqno, (long long)lineage->cut[node]);
    lineage->cut[node] = seqno;
}

void check_verdict(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno, bool is_passed,
                   int64_t depends, int64_t map_lowest) {
    struct entry *entry = entry_of(check, lineage_of(check, group_uuid), seqno);
    if (!entry->has_verdict) {
        entry->has_verdict = true;
        entry->is_passed = is_passed;
        entry->depends = depends;
        entry->map_lowest = map_lowest;
        check->counts.failed_verdicts += !is_passed;
        return;
    }
    if (entry->is_passed != is_passed) {
        check_fail(check, "node %d: write set %lld %s, at another node it %s", node, (long long)seqno,
                   is_passed ? "passes" : "fails", entry->is_passed ? "passed" : "failed");
        return;
    }
    if (!is_passed) return; /* the dependency of a failed one depends on where the test stopped, and matters nowhere */
    /* The bound "lowest in the map - 1" hides lower dependencies; above it they must be equal. */
    int64_t bound = (map_lowest > entry->map_lowest ? map_lowest : entry->map_lowest) - 1;
    int64_t here = depends > bound ? depends : bound, there = entry->depends > bound ? entry->depends : bound;
    if (here != there || depends >= seqno)
        check_fail(check,
                   "node %d: write set %lld depends on %lld (map from %lld), at another node on %lld (map from %lld)",
                   node, (long long)seqno, (long long)depends, (long long)map_lowest, (long long)entry->depends,
                   (long long)entry->map_lowest);
}

void check_applied(struct check *check, int node, const struct check_state *state) {
    if (state->seqno < 0) return;
    struct entry *entry = entry_of(check, lineage_of(check, &state->group_uuid), state->seqno);
    if (!entry->has_hash) {
        entry->has_hash = true;
        entry->hash = state->hash;
    } else if (entry->hash != state->hash) {
        check_fail(check, "node %d: the data at seqno %lld differs from that of other nodes", node,
                   (long long)state->seqno);
    }
}

void check_acknowledged(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno) {
    struct entry *entry = entry_of(check, lineage_of(check, group_uuid), seqno);
    if (entry->type != ENTRY_WRITESET || !entry->is_passed || entry->is_acknowledged)
        check_fail(check, "node %d acknowledges %lld, which is no passed write set, or twice", node, (long long)seqno);
    entry->is_acknowledged = true;
    if (seqno > check->last_acknowledged) check->last_acknowledged = seqno;
    check->counts.acknowledged++;
}

int64_t check_last_acknowledged(const struct check *check) {
    return check->last_acknowledged;
}

void check_vote(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno, int64_t value) {
    struct lineage *lineage = lineage_of(check, group_uuid);
    if (seqno < 0) return;
    if ((size_t)seqno >= lineage->vote_count) {
        size_t count = 2 * (size_t)seqno + 64;
        lineage->vote_values = realloc(lineage->vote_values, count * sizeof(int64_t));
        for (size_t i = lineage->vote_count; i < count; i++) lineage->vote_values[i] = INT64_MIN;
        lineage->vote_count = count;
    }
    if (lineage->vote_values[seqno] == INT64_MIN) {
        lineage->vote_values[seqno] = value;
        check->counts.votes++;
    } else if (lineage->vote_values[seqno] != value) {
        check_fail(check, "node %d: vote on %lld ends with %llx, elsewhere with %llx", node, (long long)seqno,
                   (unsigned long long)value, (unsigned long long)lineage->vote_values[seqno]);
    }
}

void check_pc_view(struct check *check, int node, const struct pc_view *view) {
    if (view->id.type != VIEW_PRIM || !view->member_count) return;
    for (size_t i = check->view_count; i-- > 0;) {
        const struct primary_view *known = &check->views[i];
        if (!view_id_equal(&known->id, &view->id)) continue;
        bool is_same = known->is_bootstrap == view->is_bootstrap && known->member_count == view->member_count;
        for (size_t j = 0; is_same && j < view->member_count; j++)
            is_same = xb_uuid_equal(&known->members[j], &view->members[j].uuid);
        if (!is_same)
            check_fail(check, "node %d: primary view %s is not that of others", node, VIEW_ID_TEXT(&view->id));
        return;
    }
    if (check->view_count == check->view_capacity) {
        check->view_capacity = check->view_capacity ? 2 * check->view_capacity : 16;
        check->views = realloc(check->views, check->view_capacity * sizeof(*check->views));
    }
    struct primary_view *fresh = &check->views[check->view_count++];
    *fresh =
        (struct primary_view){.id = view->id, .is_bootstrap = view->is_bootstrap, .member_count = view->member_count};
    for (size_t i = 0; i < view->member_count; i++) fresh->members[i] = view->members[i].uuid;
    check->counts.primary_views++;
}

uint64_t check_submit(struct check *check, int node) {
    if (check->submission_count == check->submission_capacity) {
        check->submission_capacity = check->submission_capacity ? 2 * check->submission_capacity : 256;
        check->submissions = realloc(check->submissions, check->submission_capacity * sizeof(*check->submissions));
    }
    check->submissions[check->submission_count] = (struct submission){.node = node, .seqno = -1};
    check->counts.submitted++;
    return check->submission_count++;
}

void check_done(struct check *check, uint64_t number, int result, int64_t seqno) {
    struct submission *s = &check->submissions[number];
    if (s->is_done) check_fail(check, "submission %llu is done twice", (unsigned long long)number);
    if (s->is_crashed) check_fail(check, "submission %llu is done after its process", (unsigned long long)number);
    s->is_done = true;
    if (result == 0 && s->seqno != seqno)
        check_fail(check, "submission %llu is done with seqno %lld, but was ordered as %lld",
                   (unsigned long long)number, (long long)seqno, (long long)s->seqno);
    if (result == -EINTR && s->seqno != -1)
        check_fail(check, "submission %llu was cancelled and ordered", (unsigned long long)number);
}

void check_crashed(struct check *check, uint64_t number) {
    if (!check->submissions[number].is_done) check->submissions[number].is_crashed = true;
}

void check_end(struct check *check, const struct check_state *states, size_t count) {
    for (size_t i = 0; i < check->submission_count; i++)
        if (!check->submissions[i].is_done && !check->submissions[i].is_crashed)
            check_fail(check, "submission %zu of node %d was never done", i, check->submissions[i].node);
    for (size_t i = 0; i < check->lineage_count; i++) {
        const struct lineage *lineage = &check->lineages[i];
        int64_t last = -1;
        for (size_t j = 0; j < lineage->count; j++)
            if (lineage->entries[j].is_acknowledged) last = (int64_t)j;
        for (size_t j = 0; j < count; j++)
            if (last >= 0 && (!xb_uuid_equal(&states[j].group_uuid, &lineage->group_uuid) || states[j].seqno < last))
                check_fail(check, "a node ends at seqno %lld without the acknowledged %lld", (long long)states[j].seqno,
                           (long long)last);
    }
}

void check_get_counts(const struct check *check, struct check_counts *counts) {
    *counts = check->counts;
}
