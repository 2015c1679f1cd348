/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The certification context, shared by the files of this folder. */
#ifndef XB_CERTIFY_STATE_H
#define XB_CERTIFY_STATE_H

#include "certify/certify.h"
#include "certify/key_index.h"
#include "certify/ledger.h"
#include "certify/nbo.h"
#include "certify/unsettled.h"

#include <stdatomic.h>

/* What a candidate's keys are compared with. */
struct candidate {
    const struct xb_uuid *source;
    int64_t last_seen;
    int64_t depends; /* raised by the keys */
};

enum test_stage { TEST_NONE, TEST_FIND, TEST_REFERENCE };

/* A test under way: a large write set takes several calls. */
struct test_run {
    enum test_stage stage;
    const struct writeset *ws;
    bool is_from_ist;
    struct certify_ticket *ticket;
    struct candidate candidate;
    struct writeset_key_cursor cursor;
    uint32_t *found; /* entry of each key that was looked up */
    size_t found_capacity;
    uint32_t done; /* keys of this stage */
    struct certify_result result;
};

struct certify {
    const struct xb_log *log;
    bool is_optimistic_pa, logs_conflicts;

    int64_t position, initial_position, last_pa_unsafe;
    int64_t purge_target; /* records up to here are purged, or on their way out */
    int version;          /* -1 undefined */
    int64_t last_preordered;
    uint64_t last_preordered_id;

    struct key_index index; /* values: seqno that last passed with the key and type, modulo 2^32 */
    struct ledger ledger;
    struct unsettled unsettled;
    struct nbo_table nbo;
    struct test_run run;

    /* Since the last report. */
    uint64_t report_keys, report_bytes, report_writesets;
    int64_t last_reported;

    /* What is logged for each write set stays below a rate. */
    int64_t log_since;
    unsigned logged, suppressed;

    _Atomic(struct certify_ticket *) finished; /* newest first */
    _Atomic(bool) is_report_due;
    struct {
        _Atomic(int64_t) passed, deps_distance_sum, intervals, interval_sum, failed, index_size, length, nbo_count;
    } stats;
};

/*
 * The test of spec 06 section 12 and, if it passes, the references. Begin has room for everything made that it can; the
 * ledger must have room for the references. -> 1: test_continue must be called; 0: the verdict is in run.result and the
 * ticket; or a negative errno
 */
int test_begin(struct certify *certify, const struct writeset *ws, struct certify_ticket *ticket, bool is_from_ist);
int test_continue(struct certify *certify, uint32_t key_count);

/* Takes up to `count` references of a record back out of the index. -> how many it did */
uint32_t forget_references(struct certify *certify, const struct certify_ticket *ticket, uint32_t count);

#endif
