/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold in every run. The checker sees all nodes at once and keeps one table of what was ordered: the first
 * node that delivers a seqno says what it is, all others must say the same.
 *
 *  - one total order: the same seqno has the same bytes and the same origin at all nodes (write sets, and configuration
 *    changes but for their vote fields, spec 05 section 7.5);
 *  - a history goes on from its end: no second history is founded, nothing acknowledged is replaced;
 *  - every node reaches the same verdict, and dependencies that differ only by how far the index was purged (06
 *    section 13);
 *  - no write set is ordered whose last seen seqno lies below a commit cut delivered before it (06 section 17.3);
 *  - the databases are equal at equal seqnos (a chain of hashes stands for the data);
 *  - a submission is over exactly once, and in the order at most once; if it ended well, then with its own bytes;
 *  - members of a primary view agree about it;
 *  - votes end alike at all nodes.
 *
 * The first violation stops the run.
 */
#ifndef XB_SIM_CHECK_H
#define XB_SIM_CHECK_H

#include "gcs/cchange.h"
#include "pc/pc.h"

#include <stdbool.h>
#include <stdint.h>

#define CHECK_TEXT_SIZE 512

struct check;

struct check *check_new(void);
void check_free(struct check *check);

void check_fail(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *check_failure(const struct check *check); /* NULL: none so far */

/* A position in a history, with the hash chain of everything that was applied up to it. */
struct check_state {
    struct xb_uuid group_uuid;
    int64_t seqno; /* -1: nothing */
    uint64_t hash;
};

/* The node has everything up to here and nothing beyond, as after a crash or a state transfer; what it delivers adds to
 * that. What nobody has any more and nobody acknowledged may be replaced by something else. */
void check_holds(struct check *check, int node, int64_t seqno);

/* Delivered, in order. has_state: the node is not waiting for a state transfer, so this adds to what it holds.
 * submission: number that the write set carries. */
void check_writeset(struct check *check, int node, bool has_state, const struct xb_uuid *group_uuid, int64_t seqno,
                    const void *bytes, size_t size, const struct xb_uuid *sender, uint64_t submission,
                    int64_t last_seen);
void check_cchange(struct check *check, int node, bool has_state, const struct gcs_cchange *change);
void check_commit_cut(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno);
/* map_lowest: the lowest seqno in the index map before the test, or seqno if the map was empty. */
void check_verdict(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno, bool is_passed,
                   int64_t depends, int64_t map_lowest);
/* The node has applied up to here. */
void check_applied(struct check *check, int node, const struct check_state *state);
/* The node's client was told that the transaction has committed. */
int64_t check_last_acknowledged(const struct check *check); /* highest, -1 none */
void check_acknowledged(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno);
void check_vote(struct check *check, int node, const struct xb_uuid *group_uuid, int64_t seqno, int64_t value);
void check_pc_view(struct check *check, int node, const struct pc_view *view);

/* Submissions. */
uint64_t check_submit(struct check *check, int node);
void check_done(struct check *check, uint64_t submission, int result, int64_t seqno);
void check_crashed(struct check *check, uint64_t submission); /* its process is gone, nobody waits for done */

/* The end: every submission over; the state of every node holds everything that was acknowledged. */
void check_end(struct check *check, const struct check_state *states, size_t count);

struct check_counts {
    uint64_t submitted, ordered, failed_verdicts, acknowledged, changes, primary_views, votes;
};
void check_get_counts(const struct check *check, struct check_counts *counts);

#endif
