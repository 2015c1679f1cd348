/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Certification (spec 06 part B): the test by which every node reaches the same verdict on every write set without
 * talking. First committer wins: a write set fails if another transaction that its origin had not seen used one of its
 * keys in an incompatible way and was ordered before it.
 *
 * State: an index of key identities, each with the seqno that last passed with each of the four key types; a map of the
 * certified seqnos that can still matter; the last seen seqnos of what is not yet finished here ("unsettled"); running
 * NBOs. The index copies the identities and never refers to the history's buffers, so those can go at any time. Memory:
 * 36 bytes a distinct key (8 more if there are 16-byte keys), 4 bytes a key of each write set, about 120 bytes a write
 * set, in blocks of 2 MiB; after a giant write set nearly all of it goes back.
 *
 * Pure. Threads: everything is for the group thread, in delivery order; so there is no lock. Exceptions, for any thread
 * at any time: certify_finish and certify_get_stats, which touch only atomics.
 *
 * Errors: any negative return of a function that takes an event means that this node cannot follow the group's verdicts
 * any more (-ENOMEM, -EEXIST seqno out of order, -EPROTO faulty origin, -ENOBUFS a bound); the caller must leave the
 * group as inconsistent. Nothing here aborts.
 */
#ifndef XB_CERTIFY_CERTIFY_H
#define XB_CERTIFY_CERTIFY_H

#include "base/error.h"
#include "base/log.h"
#include "base/uuid.h"
#include "writeset/writeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Equal on all nodes for ever (spec 06 sections 12, 17.3). */
#define CERTIFY_LENGTH_MAX 16384
#define CERTIFY_LENGTH_CHECK 127 /* trim when (seqno & this) == 0 */
/* When to report (section 17.2). */
#define CERTIFY_REPORT_KEYS 1024
#define CERTIFY_REPORT_BYTES (128 << 20)
#define CERTIFY_REPORT_WRITESETS 127
/* Bound of running NBOs; beyond it -ENOBUFS. */
#define CERTIFY_NBO_MAX 65536

struct certify;

struct certify_config {
    uint64_t hash_secret[2]; /* random: keeps clients from flooding buckets (spec 06 section 25.8) */
    bool is_optimistic_pa;   /* cert.optimistic_pa */
    bool logs_conflicts;     /* cert.log_conflicts; rate-limited */
};

struct certify *certify_new(const struct certify_config *config, const struct xb_log *log); /* NULL: no memory */
void certify_free(struct certify *certify);                                                 /* tickets end with it */

void certify_set_optimistic_pa(struct certify *certify, bool is_on);
void certify_set_log_conflicts(struct certify *certify, bool is_on);

/* ---- positions (spec 06 section 18) ---- */

/*
 * Start, state transfer needed, replicator protocol changed: drops index and map, all positions undefined. NBOs stay.
 * Monitors should have been drained; tickets still out stay valid and lose their meaning.
 */
void certify_reset(struct certify *certify);
/* First event of IST or preload: position = initial position = seqno (the event's minus 1), with its version. */
int certify_assign_position(struct certify *certify, int64_t seqno, int version);
/*
 * Configuration change in order, live or from IST: position and last PA-unsafe := seqno; the index is dropped if the
 * version changes (-> *is_dropped, may be NULL: the history may be released up to the old position). Members for the
 * ends of NBOs, whose marks are cleared: local NBO waiters must be woken "aborted" and send their ends again.
 */
int certify_change_configuration(struct certify *certify, int64_t seqno, int version, const struct xb_uuid *members,
                                 size_t member_count, bool *is_dropped);

int64_t certify_position(const struct certify *certify); /* last certified seqno, -1 undefined */
/* Lowest seqno in the map, or the position if the map is empty: cc_lowest of 07 section 5.3, to be taken at the CC. */
int64_t certify_lowest_seqno(const struct certify *certify);

/* ---- events ---- */

enum certify_source {
    CERTIFY_FROM_GROUP, /* to be tested; tracked until finished */
    CERTIFY_FROM_IST    /* certified by the donor: no conflict test, not tracked */
};

enum certify_reason {
    CERTIFY_OK = 0,
    CERTIFY_CONFLICT,       /* with `conflict` */
    CERTIFY_VERSION,        /* write-set version not acceptable (22.2) */
    CERTIFY_BEFORE_INITIAL, /* last seen below the initial position */
    CERTIFY_INTERVAL,       /* seqno - last seen > 16384 */
    CERTIFY_NBO_CONFLICT,   /* TOI or NBO start beside a running NBO; `conflict.seqno` is its start */
    CERTIFY_NBO_UNKNOWN,    /* NBO end without its start */
    CERTIFY_NBO_INEFFECTIVE /* NBO end, others are still missing */
};
const char *certify_reason_text(enum certify_reason reason);

/* The other party of a conflict. */
struct certify_conflict {
    int64_t seqno; /* -1: none */
    enum writeset_key_type own_type, other_type;
    struct writeset_key key; /* of the candidate; points into its buffer */
};

/* What appliers and clients hand back when a write set is finished here. Owned by certify. */
struct certify_ticket;

struct certify_result {
    bool is_passed;
    bool is_skip; /* cache entry gets the skip mark: failed, and not an NBO end */
    enum certify_reason reason;
    int64_t depends;   /* < seqno, also when failed; -1: none */
    int64_t nbo_ended; /* start seqno of the NBO that this event ends effectively, else -1 */
    struct certify_conflict conflict;
    struct certify_ticket *ticket; /* to be given to certify_finish exactly once; NULL from IST and for placeholders */
};

/*
 * Certifies the event with this seqno (above the position; gaps are allowed). The write set must have passed
 * writeset_check. The header is not changed: the caller calls writeset_mark_certified with result->depends next.
 * Overlap after a transfer (07 section 17.6): the same call, verdict ignored, finished at once.
 * Preordered ones (section 20) always pass: is_passed, depends maybe -1.
 */
int certify_writeset(struct certify *certify, const struct writeset *ws, int64_t seqno, enum certify_source source,
                     struct certify_result *result, struct xb_error *error);
/*
 * The same in slices, for write sets with very many keys, so that the group thread can look after the network in
 * between: certify_begin does the first slice (8192 keys, about a millisecond), certify_continue another.
 * -> 1: not done yet, ws and its buffer must stay; 0 with *result; or a negative errno. Until it is done no other event
 * is taken (-EBUSY), certify_purge does nothing, certify_is_doomed says no, and only certify_reset and certify_free
 * abandon it.
 */
int certify_begin(struct certify *certify, const struct writeset *ws, int64_t seqno, enum certify_source source,
                  struct certify_result *result, struct xb_error *error);
int certify_continue(struct certify *certify, struct certify_result *result, struct xb_error *error);
/* A seqno without a write set here: SKIP of IST, NBO events that are preload only. */
int certify_placeholder(struct certify *certify, int64_t seqno);

/*
 * Would a write set with these keys, this source and last seen fail, if it were ordered next? For the test before
 * sending (section 25.5): an existing conflict cannot go away in the origin's favour. Keys only, no TOI.
 */
bool certify_is_doomed(const struct certify *certify, const struct writeset_keys *keys, const struct xb_uuid *source,
                       int64_t last_seen, struct certify_conflict *conflict);

/* ---- finishing, reporting, purging (section 17) ---- */

/*
 * Any thread: the write set is over here (committed, rolled back, applied or skipped). Exactly once for each ticket,
 * before the apply monitor is left. -> true if a report has become due: the caller then sees to it that the group
 * thread calls certify_take_report soon.
 */
bool certify_finish(struct certify *certify, struct certify_ticket *ticket);
/* -> the value to report as last committed, or -1 if there is nothing new to report. last_committed: apply monitor's
 * last left, read before the call. */
int64_t certify_take_report(struct certify *certify, int64_t last_committed);
/* min(unsettled last seen) - 1, or what is remembered when nothing is unsettled. */
int64_t certify_safe_to_discard(struct certify *certify);
/* Commit cut: purges up to min(cut, safe to discard). -> up to where it purged, which is also where the history may be
 * released to. The caller ignores cuts below the last CC and waits for the apply monitor as 17.3 says. Very many
 * references are taken out bit by bit, here, beside later events, and by certify_purge_more when there is time. */
int64_t certify_purge(struct certify *certify, int64_t cut);
bool certify_purge_more(struct certify *certify); /* -> is there still more? */

/* ---- for status; any thread ---- */

struct certify_stats { /* totals since certify_new: averages are differences of sums over differences of counts */
    int64_t passed;    /* count for deps_distance_sum */
    int64_t deps_distance_sum; /* of seqno - depends */
    int64_t intervals;         /* count for interval_sum: those from the group */
    int64_t interval_sum;      /* of seqno - last seen - 1 */
    int64_t failed;
    int64_t index_size; /* distinct keys in the index after the last pass */
    int64_t length;     /* write sets in the map */
    int64_t nbo_count;  /* running NBOs: no SST is donated while there are any */
};
void certify_get_stats(const struct certify *certify, struct certify_stats *stats);

#endif
