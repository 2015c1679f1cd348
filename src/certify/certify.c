/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Context, positions, events in order, finishing and purging (spec 06 sections 12, 17, 18, 20). */
#include "certify/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Keys in one call of certify_continue, references taken back in one call that purges: about a millisecond. */
#define SLICE_KEYS 8192
#define PURGE_SLICE 16384
/* ... and on the way of another event, so that what is left over goes faster than new references come. */
#define PURGE_BESIDE 1024

/* Lines about single write sets: so many in so many seqnos (section 25.7). */
#define LOG_BURST 32
#define LOG_INTERVAL 1024

struct certify *certify_new(const struct certify_config *config, const struct xb_log *log) {
    struct certify *certify = calloc(1, sizeof(*certify));
    if (!certify) return NULL;
    certify->log = log;
    certify->is_optimistic_pa = config->is_optimistic_pa;
    certify->logs_conflicts = config->logs_conflicts;
    certify->position = -1;
    unsettled_init(&certify->unsettled);
    int rc = key_index_init(&certify->index, config->hash_secret);
    if (rc == 0) rc = ledger_init(&certify->ledger);
    if (rc == 0) rc = nbo_table_init(&certify->nbo, config->hash_secret);
    if (rc < 0) {
        certify_free(certify);
        return NULL;
    }
    certify_reset(certify);
    return certify;
}

void certify_free(struct certify *certify) {
    if (!certify) return;
    key_index_free(&certify->index);
    ledger_free(&certify->ledger);
    unsettled_free(&certify->unsettled);
    nbo_table_free(&certify->nbo);
    free(certify->run.found);
    free(certify);
}

void certify_set_optimistic_pa(struct certify *certify, bool is_on) {
    certify->is_optimistic_pa = is_on;
}

void certify_set_log_conflicts(struct certify *certify, bool is_on) {
    certify->logs_conflicts = is_on;
}

/* Only this thread writes the statistics. */
static void add_stat(_Atomic(int64_t) *stat, int64_t n) {
    atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + n, memory_order_relaxed);
}

static void set_stat(_Atomic(int64_t) *stat, uint64_t n) {
    atomic_store_explicit(stat, (int64_t)n, memory_order_relaxed);
}

/* ---- positions ---- */

static void drop_index(struct certify *certify) {
    key_index_clear(&certify->index);
    certify->purge_target = -1;
    while (ledger_first(&certify->ledger)) ledger_remove_first(&certify->ledger);
    set_stat(&certify->stats.index_size, 0);
    set_stat(&certify->stats.length, 0);
}

/* Takes in what has been finished since the last call. The list is newest first; it is settled oldest first. */
static void settle(struct certify *certify) {
    if (!atomic_load_explicit(&certify->finished, memory_order_relaxed)) return;
    struct certify_ticket *list = atomic_exchange_explicit(&certify->finished, NULL, memory_order_acquire);
    struct certify_ticket *oldest = NULL;
    while (list) {
        struct certify_ticket *next = list->next;
        list->next = oldest;
        oldest = list;
        list = next;
    }
    while (oldest) {
        struct certify_ticket *ticket = oldest;
        oldest = ticket->next;
        ticket->is_out = false;
        if (ticket->is_unsettled)
            unsettled_remove(&certify->unsettled, ticket, &certify->ledger);
        else
            ledger_drop_ticket(&certify->ledger, ticket);
    }
}

/* A test that is under way when the index goes has nothing left to say. */
static void abandon_test(struct certify *certify) {
    if (certify->run.stage == TEST_NONE) return;
    certify->run.stage = TEST_NONE;
    certify->ledger.refs_tail -= certify->run.ticket->ref_count;
    ledger_drop_ticket(&certify->ledger, certify->run.ticket);
}

static void start_at(struct certify *certify, int64_t seqno, int version) {
    abandon_test(certify);
    settle(certify);
    drop_index(certify);
    unsettled_reset(&certify->unsettled, seqno, &certify->ledger);
    certify->position = certify->initial_position = certify->last_pa_unsafe = seqno;
    certify->last_preordered = seqno;
    certify->last_preordered_id = 0;
    certify->last_reported = -1;
    certify->report_keys = certify->report_bytes = certify->report_writesets = 0;
    certify->log_since = seqno;
    certify->version = version;
}

void certify_reset(struct certify *certify) {
    if (certify->position >= 0)
        xb_log_info(certify->log, "certification: reset from position %" PRId64, certify->position);
    start_at(certify, -1, -1);
}

int certify_assign_position(struct certify *certify, int64_t seqno, int version) {
    if (seqno < -1 || version < WRITESET_VERSION_MIN || version > WRITESET_VERSION_MAX) return -EINVAL;
    xb_log_info(certify->log, "certification: initial position %" PRId64 " -> %" PRId64 ", write-set version %d",
                certify->initial_position, seqno, version);
    start_at(certify, seqno, version);
    return 0;
}

int certify_change_configuration(struct certify *certify, int64_t seqno, int version, const struct xb_uuid *members,
                                 size_t member_count, bool *is_dropped) {
    bool is_changed = version != certify->version;
    if (is_dropped) *is_dropped = is_changed;
    if (version < WRITESET_VERSION_MIN || version > WRITESET_VERSION_MAX) return -EINVAL;
    if (seqno <= certify->position) return -EEXIST;
    if (certify->run.stage != TEST_NONE) return -EBUSY;
    if (nbo_change_members(&certify->nbo, members, member_count) < 0) return -ENOMEM;
    settle(certify);
    if (is_changed) drop_index(certify);
    xb_log_info(certify->log, "certification: position %" PRId64 " -> %" PRId64 " (configuration change), version %d",
                certify->position, seqno, version);
    certify->version = version;
    certify->position = certify->last_pa_unsafe = seqno;
    return 0;
}

int64_t certify_position(const struct certify *certify) {
    return certify->position;
}

int64_t certify_lowest_seqno(const struct certify *certify) {
    const struct ledger *ledger = &certify->ledger;
    for (uint64_t at = ledger->ring_head; at < ledger->ring_tail; at++) {
        int64_t seqno = ledger->ring[at & ledger->ring_mask]->seqno;
        if (seqno > certify->purge_target) return seqno;
    }
    return certify->position;
}

/* ---- logging of verdicts ---- */

const char *certify_reason_text(enum certify_reason reason) {
    switch (reason) {
    case CERTIFY_OK:
        return "passed";
    case CERTIFY_CONFLICT:
        return "conflict with another write set";
    case CERTIFY_VERSION:
        return "write-set version not acceptable";
    case CERTIFY_BEFORE_INITIAL:
        return "last seen is below the initial position";
    case CERTIFY_INTERVAL:
        return "last seen is too far back";
    case CERTIFY_NBO_CONFLICT:
        return "conflict with a running non-blocking operation";
    case CERTIFY_NBO_UNKNOWN:
        return "end of an unknown non-blocking operation";
    case CERTIFY_NBO_INEFFECTIVE:
        return "other members have not ended the non-blocking operation yet";
    }
    return "?";
}

static bool may_log(struct certify *certify) {
    if (certify->position >= certify->log_since + LOG_INTERVAL) {
        if (certify->suppressed > 0)
            xb_log_warning(certify->log, "certification: %u more such lines were left out", certify->suppressed);
        certify->log_since = certify->position;
        certify->logged = certify->suppressed = 0;
    }
    if (certify->logged < LOG_BURST) {
        certify->logged++;
        return true;
    }
    certify->suppressed++;
    return false;
}

static void log_conflict(struct certify *certify, const struct certify_ticket *ticket,
                         const struct certify_conflict *conflict) {
    const struct certify_ticket *other = ledger_find(&certify->ledger, conflict->seqno);
    char key[WRITESET_KEY_TEXT_SIZE];
    if (!other || !may_log(certify)) return;
    xb_log_info(certify->log,
                "certification conflict %s - %s on key %s: candidate source %s version %d conn %" PRIu64 " trx %" PRIu64
                " flags 0x%x seqno %" PRId64 " last seen %" PRId64 " depends %" PRId64
                "; committed source %s version %d conn %" PRIu64 " trx %" PRIu64 " flags 0x%x seqno %" PRId64
                " last seen %" PRId64 " depends %" PRId64,
                writeset_key_type_name(conflict->own_type), writeset_key_type_name(conflict->other_type),
                writeset_key_format_text(&conflict->key, key), XB_UUID_TEXT(&ticket->source), ticket->version,
                ticket->connection_id, ticket->transaction_id, ticket->flags, ticket->seqno, ticket->last_seen,
                ticket->depends, XB_UUID_TEXT(&other->source), other->version, other->connection_id,
                other->transaction_id, other->flags, other->seqno, other->last_seen, other->depends);
}

static void log_failure(struct certify *certify, const struct certify_ticket *ticket,
                        const struct certify_result *result) {
    if (result->reason == CERTIFY_CONFLICT) {
        if (certify->logs_conflicts) log_conflict(certify, ticket, &result->conflict);
    } else if (result->reason != CERTIFY_NBO_INEFFECTIVE && may_log(certify)) {
        xb_log_warning(certify->log,
                       "certification: write set %" PRId64 " from %s failed: %s (version %d of %d, last seen %" PRId64
                       ", initial position %" PRId64 ")",
                       ticket->seqno, XB_UUID_TEXT(&ticket->source), certify_reason_text(result->reason),
                       ticket->version, certify->version, ticket->last_seen, certify->initial_position);
    }
}

/* ---- events ---- */

/* Takes out what is to be purged, but not more than so many references. -> is there more? */
static bool purge_some(struct certify *certify, uint32_t budget) {
    struct ledger *ledger = &certify->ledger;
    struct certify_ticket *first;
    while ((first = ledger_first(ledger)) && first->seqno <= certify->purge_target && budget > 0) {
        uint32_t count = forget_references(certify, first, budget - 1);
        first->first_ref += count;
        first->ref_count -= count;
        ledger->refs_head += count;
        budget -= count + 1;
        if (first->ref_count == 0) ledger_remove_first(ledger);
    }
    set_stat(&certify->stats.length, ledger_length(ledger));
    first = ledger_first(ledger);
    return first && first->seqno <= certify->purge_target;
}

static void purge_to(struct certify *certify, int64_t seqno) {
    if (seqno > certify->purge_target) certify->purge_target = seqno;
    purge_some(certify, PURGE_SLICE);
}

/* The emergency brake of section 12, for when commit cuts do not come. */
static void trim(struct certify *certify, int64_t seqno) {
    if ((seqno & CERTIFY_LENGTH_CHECK) != 0 || ledger_length(&certify->ledger) <= CERTIFY_LENGTH_MAX) return;
    int64_t wanted = seqno - CERTIFY_LENGTH_MAX, safe = unsettled_safe_to_discard(&certify->unsettled);
    if (safe < wanted && may_log(certify))
        xb_log_warning(certify->log,
                       "certification: %" PRIu64 " write sets in the index; purging to %" PRId64
                       " is limited to %" PRId64 " by transactions that are not finished",
                       ledger_length(&certify->ledger), wanted, safe);
    purge_to(certify, safe < wanted ? safe : wanted);
}

/* Section 9: what the origin, or the donor, tells about dependencies. */
static int64_t initial_depends(const struct writeset_header *header, const struct certify_ticket *ticket,
                               bool is_from_ist) {
    if (is_from_ist) return writeset_certified_depends(header);
    if (header->flags & (WRITESET_TOI | WRITESET_PA_UNSAFE)) return ticket->seqno - 1;
    if (header->flags & WRITESET_IMPLICIT_DEPS) return ticket->last_seen;
    if (header->version < 5) return -1;
    return ticket->last_seen - header->pa_range > -1 ? ticket->last_seen - header->pa_range : -1;
}

static struct certify_ticket *new_ticket(struct certify *certify, const struct writeset *ws, int64_t seqno,
                                         bool is_from_ist) {
    struct certify_ticket *ticket = ledger_new_ticket(&certify->ledger);
    if (!ticket) return NULL;
    const struct writeset_header *header = &ws->header;
    ticket->seqno = seqno;
    ticket->source = header->source;
    ticket->connection_id = header->connection_id;
    ticket->transaction_id = header->transaction_id;
    ticket->flags = header->flags & WRITESET_TRX_FLAGS;
    ticket->version = (uint8_t)header->version;
    /* Nobody can have seen this write set or a negative one; values out of range would upset the arithmetic only. */
    ticket->last_seen = is_from_ist || header->seqno < -1 ? -1 : header->seqno;
    if (ticket->last_seen >= seqno || (header->flags & WRITESET_PREORDERED)) ticket->last_seen = seqno - 1;
    ticket->depends = initial_depends(header, ticket, is_from_ist);
    return ticket;
}

/* Section 20: depends on preordered events only, always passes. */
static void take_preordered(struct certify *certify, const struct writeset *ws, struct certify_ticket *ticket,
                            bool is_from_ist) {
    if (ws->header.transaction_id != certify->last_preordered_id + 1 && may_log(certify))
        xb_log_warning(certify->log, "certification: preordered event %" PRIu64 " follows %" PRIu64,
                       ws->header.transaction_id, certify->last_preordered_id);
    if (!is_from_ist) ticket->depends = certify->last_preordered + 1 - ws->header.pa_range;
    if (ticket->depends < -1) ticket->depends = -1;
    certify->last_preordered = ticket->seqno;
    certify->last_preordered_id = ws->header.transaction_id;
}

static int check_event(const struct certify *certify, const struct writeset *ws, int64_t seqno, bool is_from_ist,
                       struct xb_error *error) {
    if (seqno <= 0 || certify->version < 0)
        return xb_fail(error, -EINVAL, "certification: write set %" PRId64 " without a position", seqno);
    if (certify->run.stage != TEST_NONE)
        return xb_fail(error, -EBUSY, "certification: write set %" PRId64 " before the one at %" PRId64 " was done",
                       seqno, certify->position);
    if (seqno <= certify->position)
        return xb_fail(error, -EEXIST, "certification: write set %" PRId64 " at position %" PRId64, seqno,
                       certify->position);
    if (writeset_is_certified(ws) != is_from_ist)
        return xb_fail(error, -EPROTO, "certification: write set %" PRId64 " from %s came %s", seqno,
                       XB_UUID_TEXT(&ws->header.source), is_from_ist ? "uncertified by IST" : "certified");
    if (is_from_ist && ws->header.seqno != seqno)
        return xb_fail(error, -EPROTO, "certification: write set %" PRId64 " carries seqno %" PRId64, seqno,
                       ws->header.seqno);
    return 0;
}

static void count_verdict(struct certify *certify, const struct certify_ticket *ticket, bool is_from_ist,
                          bool is_passed) {
    if (!is_passed) {
        add_stat(&certify->stats.failed, 1);
        return;
    }
    if (ticket->flags & WRITESET_PREORDERED) return;
    add_stat(&certify->stats.passed, 1);
    add_stat(&certify->stats.deps_distance_sum, ticket->seqno - ticket->depends);
    set_stat(&certify->stats.index_size, certify->index.count);
    if (is_from_ist) return; /* its last seen is unknown */
    add_stat(&certify->stats.intervals, 1);
    add_stat(&certify->stats.interval_sum, ticket->seqno - ticket->last_seen - 1);
}

/* The verdict is there: the record enters the map, whatever it is, and the unsettled set. */
static void enter(struct certify *certify, struct certify_ticket *ticket, bool is_from_ist) {
    if (ticket->depends >= ticket->seqno) ticket->depends = ticket->seqno - 1;
    ledger_append(&certify->ledger, ticket);
    if (!is_from_ist) {
        ticket->is_out = true;
        unsettled_add(&certify->unsettled, ticket);
    }
    set_stat(&certify->stats.length, ledger_length(&certify->ledger));
    set_stat(&certify->stats.nbo_count, certify->nbo.count);
}

/* Room for what the event will need, so that the test itself needs little. */
static struct certify_ticket *prepare_event(struct certify *certify, const struct writeset *ws, int64_t seqno,
                                            bool is_from_ist) {
    settle(certify);
    trim(certify, seqno);
    purge_some(certify, PURGE_BESIDE + 2 * (ws->keys.count < SLICE_KEYS ? ws->keys.count : SLICE_KEYS));
    if (ledger_reserve(&certify->ledger, ws->keys.count) < 0) return NULL;
    if (unsettled_reserve(&certify->unsettled) < 0) return NULL;
    return new_ticket(certify, ws, seqno, is_from_ist);
}

static int fail_event(const struct certify *certify, int code, struct xb_error *error) {
    return xb_fail(error, code, "certification: write set %" PRId64 " cannot be certified (error %d)",
                   certify->position, -code);
}

/* The verdict is there. */
static void finish_event(struct certify *certify, struct certify_result *result) {
    struct certify_ticket *ticket = certify->run.ticket;
    bool is_from_ist = certify->run.is_from_ist;
    enter(certify, ticket, is_from_ist);
    *result = certify->run.result;
    result->is_passed = result->reason == CERTIFY_OK;
    result->is_skip = !result->is_passed && !writeset_flags_are_nbo_end(ticket->flags);
    result->depends = ticket->depends;
    result->ticket = is_from_ist ? NULL : ticket;
    count_verdict(certify, ticket, is_from_ist, result->is_passed);
    if (!result->is_passed) log_failure(certify, ticket, result);
}

int certify_begin(struct certify *certify, const struct writeset *ws, int64_t seqno, enum certify_source source,
                  struct certify_result *result, struct xb_error *error) {
    bool is_from_ist = source == CERTIFY_FROM_IST;
    *result = (struct certify_result){.depends = -1, .nbo_ended = -1, .conflict = {.seqno = -1}};
    int rc = check_event(certify, ws, seqno, is_from_ist, error);
    if (rc < 0) return rc;
    struct certify_ticket *ticket = prepare_event(certify, ws, seqno, is_from_ist);
    if (!ticket) return xb_fail(error, -ENOMEM, "certification: no memory for write set %" PRId64, seqno);
    certify->position = seqno;
    certify->run.ticket = ticket;
    certify->run.is_from_ist = is_from_ist;
    certify->run.result = *result;
    if (ticket->flags & WRITESET_PREORDERED)
        take_preordered(certify, ws, ticket, is_from_ist);
    else
        rc = test_begin(certify, ws, ticket, is_from_ist);
    if (rc < 0) return fail_event(certify, rc, error);
    if (rc > 0) return certify_continue(certify, result, error);
    finish_event(certify, result);
    return 0;
}

int certify_continue(struct certify *certify, struct certify_result *result, struct xb_error *error) {
    int rc = test_continue(certify, SLICE_KEYS);
    if (rc < 0) return fail_event(certify, rc, error);
    if (rc == 0) finish_event(certify, result);
    return rc;
}

int certify_writeset(struct certify *certify, const struct writeset *ws, int64_t seqno, enum certify_source source,
                     struct certify_result *result, struct xb_error *error) {
    int rc = certify_begin(certify, ws, seqno, source, result, error);
    while (rc > 0) rc = certify_continue(certify, result, error);
    return rc;
}

int certify_placeholder(struct certify *certify, int64_t seqno) {
    if (seqno <= certify->position || seqno <= 0) return -EEXIST;
    if (certify->run.stage != TEST_NONE) return -EBUSY;
    settle(certify);
    trim(certify, seqno);
    if (ledger_reserve(&certify->ledger, 0) < 0) return -ENOMEM;
    struct certify_ticket *ticket = ledger_new_ticket(&certify->ledger);
    if (!ticket) return -ENOMEM;
    ticket->seqno = seqno;
    ledger_append(&certify->ledger, ticket);
    certify->position = seqno;
    set_stat(&certify->stats.length, ledger_length(&certify->ledger));
    return 0;
}

/* ---- finishing, reporting, purging ---- */

bool certify_finish(struct certify *certify, struct certify_ticket *ticket) {
    struct certify_ticket *head = atomic_load_explicit(&certify->finished, memory_order_relaxed);
    do {
        ticket->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&certify->finished, &head, ticket, memory_order_release,
                                                    memory_order_relaxed));
    return atomic_load_explicit(&certify->is_report_due, memory_order_relaxed) &&
           atomic_exchange_explicit(&certify->is_report_due, false, memory_order_relaxed);
}

int64_t certify_take_report(struct certify *certify, int64_t last_committed) {
    settle(certify);
    certify->report_keys = certify->report_bytes = certify->report_writesets = 0;
    atomic_store_explicit(&certify->is_report_due, false, memory_order_relaxed);
    int64_t safe = unsettled_safe_to_discard(&certify->unsettled);
    int64_t value = safe < last_committed ? safe : last_committed;
    if (value <= certify->last_reported) return -1;
    certify->last_reported = value;
    return value;
}

int64_t certify_safe_to_discard(struct certify *certify) {
    settle(certify);
    return unsettled_safe_to_discard(&certify->unsettled);
}

int64_t certify_purge(struct certify *certify, int64_t cut) {
    int64_t safe = certify_safe_to_discard(certify);
    int64_t upto = cut < safe ? cut : safe;
    if (certify->run.stage == TEST_NONE) purge_to(certify, upto);
    return upto;
}

bool certify_purge_more(struct certify *certify) {
    return certify->run.stage == TEST_NONE && purge_some(certify, PURGE_SLICE);
}

/* ---- status ---- */

void certify_get_stats(const struct certify *certify, struct certify_stats *stats) {
#define GET(name) stats->name = atomic_load_explicit(&certify->stats.name, memory_order_relaxed)
    GET(passed);
    GET(deps_distance_sum);
    GET(intervals);
    GET(interval_sum);
    GET(failed);
    GET(index_size);
    GET(length);
    GET(nbo_count);
#undef GET
}
