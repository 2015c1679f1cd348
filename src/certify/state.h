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

struct certify {
    const struct xb_log *log;
    bool is_optimistic_pa, logs_conflicts;

    int64_t position, initial_position, last_pa_unsafe;
    int version; /* -1 undefined */
    int64_t last_preordered;
    uint64_t last_preordered_id;

    struct key_index index; /* values: seqno that last passed with the key and type */
    struct ledger ledger;
    struct unsettled unsettled;
    struct nbo_table nbo;
    uint32_t *found; /* entry of each key of the candidate, from the test to the references */
    size_t found_capacity;

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
 * The test of spec 06 section 12 and, if it passes, the references. The ledger has room for the references; they are
 * counted in the ticket. -> 0 with the verdict in *result, or a negative errno
 */
int test_writeset(struct certify *certify, const struct writeset *ws, struct certify_ticket *ticket, bool is_from_ist,
                  struct certify_result *result);

/* Takes the references of a record back out of the index. */
void forget_references(struct certify *certify, const struct certify_ticket *ticket);

/* May a line about a single write set be written now? */
bool may_log(struct certify *certify);

#endif
