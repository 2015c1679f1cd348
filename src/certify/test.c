/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test (spec 06 sections 12 and 14 to 16). Two passes over the keys: no reference is made before all keys have
 * passed. Both go in blocks: the buckets and then the entries of a whole block are fetched into the cache before the
 * first one is looked at, since in a large index nearly every access misses it.
 */
#include "certify/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define BLOCK 16
#define AHEAD 8
#define FOUND_KEPT_MAX 65536 /* keys; more memory than that is given back after a giant write set */

enum rule { NOTHING, DEPENDENCY, CONFLICT };

/* Section 12.1: [type in the index][type of the candidate's key] */
static const uint8_t matrix[WRITESET_KEY_TYPES][WRITESET_KEY_TYPES] = {
    [WRITESET_KEY_SHARED] = {NOTHING, NOTHING, DEPENDENCY, DEPENDENCY},
    [WRITESET_KEY_REFERENCE] = {NOTHING, NOTHING, DEPENDENCY, CONFLICT},
    [WRITESET_KEY_UPDATE] = {DEPENDENCY, DEPENDENCY, CONFLICT, CONFLICT},
    [WRITESET_KEY_EXCLUSIVE] = {CONFLICT, CONFLICT, CONFLICT, CONFLICT},
};

/* The index keeps seqnos modulo 2^32, of which all in use lie close below the position. */
static int64_t whole_seqno(const struct certify *certify, uint32_t value) {
    return certify->position - (uint32_t)((uint32_t)certify->position - value);
}

/* -> false: conflict, described in *conflict. */
static bool check_key(const struct certify *certify, const struct writeset_key *key, const struct key_entry *entry,
                      struct candidate *candidate, struct certify_conflict *conflict) {
    for (int i = WRITESET_KEY_EXCLUSIVE; i >= WRITESET_KEY_SHARED; i--) {
        enum writeset_key_type type = (enum writeset_key_type)i;
        if (matrix[type][key->type] == NOTHING || !key_entry_has_value(entry, type)) continue;
        int64_t seqno = whole_seqno(certify, entry->value[type]);
        if (seqno > candidate->depends) candidate->depends = seqno;
        if (matrix[type][key->type] != CONFLICT || seqno <= candidate->last_seen) continue;
        const struct certify_ticket *other = ledger_find(&certify->ledger, seqno);
        assert(other);
        if (!(other->flags & WRITESET_TOI) && xb_uuid_equal(&other->source, candidate->source)) continue;
        *conflict = (struct certify_conflict){.seqno = seqno, .own_type = key->type, .other_type = type, .key = *key};
        return false;
    }
    return true;
}

struct block {
    struct writeset_key keys[BLOCK];
    uint32_t hashes[BLOCK];
    unsigned size;
};

/* Reads and hashes the next keys, and fetches where they may be found. */
static void read_block(const struct key_index *index, struct writeset_key_cursor *cursor, struct block *block) {
    unsigned n = 0;
    for (; n < BLOCK && writeset_next_key(cursor, &block->keys[n]) > 0; n++) {
        block->hashes[n] = key_index_hash(index, block->keys[n].id_low);
        __builtin_prefetch(key_index_bucket(index, block->hashes[n]));
    }
    block->size = n;
    for (unsigned i = 0; i < n; i++) {
        uint32_t first = *key_index_bucket(index, block->hashes[i]);
        if (first != KEY_INDEX_NONE) __builtin_prefetch(key_index_entry(index, first), 1);
    }
}

/* First pass: looks the next keys up and tests them. -> false: conflict */
static bool find_some(struct certify *certify, struct test_run *run) {
    const struct key_index *index = &certify->index;
    bool has_test = !run->is_from_ist && !(run->ticket->flags & WRITESET_TOI);
    struct block block;
    read_block(index, &run->cursor, &block);
    assert(block.size > 0);
    for (unsigned i = 0; i < block.size; i++) {
        uint32_t number = key_index_find(index, &block.keys[i], block.hashes[i]);
        run->found[run->done++] = number;
        if (!has_test || number == KEY_INDEX_NONE) continue;
        const struct key_entry *entry = key_index_entry(index, number);
        if (!check_key(certify, &block.keys[i], entry, &run->candidate, &run->result.conflict)) return false;
    }
    return true;
}

/* Second pass: the index learns that this seqno passed with these keys. -> 0 or -ENOMEM */
static int reference_some(struct certify *certify, struct test_run *run) {
    struct key_index *index = &certify->index;
    struct block block;
    read_block(index, &run->cursor, &block);
    assert(block.size > 0);
    for (unsigned i = 0; i < block.size; i++) {
        const struct writeset_key *key = &block.keys[i];
        uint32_t number = run->found[run->done++];
        /* What was not there may be there now: the write set may have a key twice. */
        if (number == KEY_INDEX_NONE) number = key_index_find(index, key, block.hashes[i]);
        if (number == KEY_INDEX_NONE) number = key_index_insert(index, key, block.hashes[i]);
        if (number == KEY_INDEX_NONE || key_index_adopt(index, number, key) < 0) return -ENOMEM;
        key_entry_set_value(key_index_entry(index, number), key->type, (uint32_t)run->ticket->seqno);
        ledger_add_ref(&certify->ledger, key_ref(number, key->type));
        run->ticket->ref_count++;
    }
    return 0;
}

uint32_t forget_references(struct certify *certify, const struct certify_ticket *ticket, uint32_t count) {
    struct key_index *index = &certify->index;
    if (count > ticket->ref_count) count = ticket->ref_count;
    for (uint32_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            uint32_t ahead = key_ref_number(ledger_ref(&certify->ledger, ticket->first_ref + i + AHEAD));
            const struct key_entry *entries = index->chunks[ahead / KEY_INDEX_CHUNK].entries;
            if (entries) __builtin_prefetch(&entries[ahead % KEY_INDEX_CHUNK], 1);
        }
        uint32_t ref = ledger_ref(&certify->ledger, ticket->first_ref + i), number = key_ref_number(ref);
        enum writeset_key_type type = key_ref_type(ref);
        /* A double of the key may have taken the entry out before, and its chunk with it. */
        if (!index->chunks[number / KEY_INDEX_CHUNK].entries) continue;
        struct key_entry *entry = key_index_entry(index, number);
        if (!key_entry_has_value(entry, type) || entry->value[type] != (uint32_t)ticket->seqno) continue;
        if (key_entry_clear_value(entry, type)) key_index_remove(index, number);
    }
    return count;
}

static int reserve_found(struct test_run *run, uint32_t count) {
    bool is_giant_memory = run->found_capacity > FOUND_KEPT_MAX && count < FOUND_KEPT_MAX / 2;
    if (count <= run->found_capacity && !is_giant_memory) return 0;
    size_t capacity = count > 256 ? count : 256;
    uint32_t *found = malloc(capacity * sizeof(*found));
    if (!found) return -ENOMEM;
    free(run->found);
    run->found = found;
    run->found_capacity = capacity;
    return 0;
}

/* Steps 1 and 2. */
static enum certify_reason check_acceptance(const struct certify *certify, const struct writeset *ws, int64_t seqno,
                                            bool is_from_ist) {
    int version = ws->header.version;
    if (certify->version <= 3 ? version != certify->version : version > certify->version) return CERTIFY_VERSION;
    if (is_from_ist) return CERTIFY_OK;
    if (ws->header.seqno < certify->initial_position) return CERTIFY_BEFORE_INITIAL;
    if (ws->header.seqno < seqno - CERTIFY_LENGTH_MAX) return CERTIFY_INTERVAL;
    return CERTIFY_OK;
}

/* Step 3. */
static int64_t raise_depends(const struct certify *certify, const struct certify_ticket *ticket, bool is_from_ist) {
    const struct certify_ticket *first = ledger_first(&certify->ledger);
    int64_t bound = first ? first->seqno - 1 : ticket->seqno - 1;
    if (bound < certify->purge_target) bound = certify->purge_target;
    if (first && !certify->is_optimistic_pa && !is_from_ist && ticket->last_seen > bound) bound = ticket->last_seen;
    return ticket->depends > bound ? ticket->depends : bound;
}

static void count_tested(struct certify *certify, const struct writeset *ws, bool is_passed) {
    certify->report_bytes += ws->size;
    if (is_passed) {
        certify->report_keys += ws->keys.count;
        certify->report_writesets++;
    }
    if (certify->report_keys > CERTIFY_REPORT_KEYS || certify->report_bytes > CERTIFY_REPORT_BYTES ||
        certify->report_writesets > CERTIFY_REPORT_WRITESETS)
        atomic_store_explicit(&certify->is_report_due, true, memory_order_relaxed);
}

/* Step 9. */
static int test_nbo(struct certify *certify, const struct writeset *ws, struct certify_ticket *ticket,
                    struct certify_result *result) {
    static const enum certify_reason reasons[] = {
        [NBO_PASSED] = CERTIFY_OK,
        [NBO_CONFLICT] = CERTIFY_NBO_CONFLICT,
        [NBO_UNKNOWN_START] = CERTIFY_NBO_UNKNOWN,
        [NBO_INEFFECTIVE] = CERTIFY_NBO_INEFFECTIVE,
    };
    int64_t start;
    int verdict = nbo_test(&certify->nbo, ws, ticket->seqno, &start);
    if (verdict < 0) return verdict;
    result->reason = reasons[verdict];
    if (verdict == NBO_CONFLICT) result->conflict.seqno = start;
    if (verdict == NBO_PASSED) result->nbo_ended = start;
    if (writeset_flags_are_nbo_end(ws->header.flags)) ticket->depends = ticket->seqno - 1;
    return 0;
}

int test_begin(struct certify *certify, const struct writeset *ws, struct certify_ticket *ticket, bool is_from_ist) {
    struct test_run *run = &certify->run;
    run->stage = TEST_NONE;
    run->ws = ws;
    run->is_from_ist = is_from_ist;
    run->ticket = ticket;
    run->done = 0;
    run->result.reason = check_acceptance(certify, ws, ticket->seqno, is_from_ist);
    if (run->result.reason != CERTIFY_OK) return 0;
    int rc = reserve_found(run, ws->keys.count);
    if (rc < 0) return rc;
    ticket->depends = raise_depends(certify, ticket, is_from_ist);
    run->candidate =
        (struct candidate){.source = &ticket->source, .last_seen = ticket->last_seen, .depends = ticket->depends};
    run->cursor = writeset_key_cursor_init(&ws->keys);
    run->stage = TEST_FIND;
    return 1;
}

/* All keys were looked up, or one has a conflict. -> as test_begin */
static int end_find(struct certify *certify, struct test_run *run, bool is_passed) {
    int64_t depends = run->candidate.depends;
    run->ticket->depends = depends > certify->last_pa_unsafe ? depends : certify->last_pa_unsafe;
    if (!run->is_from_ist) count_tested(certify, run->ws, is_passed);
    if (!is_passed) {
        run->result.reason = CERTIFY_CONFLICT;
        run->stage = TEST_NONE;
        return 0;
    }
    run->cursor = writeset_key_cursor_init(&run->ws->keys);
    run->ticket->first_ref = certify->ledger.refs_tail;
    run->done = 0;
    run->stage = TEST_REFERENCE;
    return 1;
}

static int end_reference(struct certify *certify, struct test_run *run) {
    run->stage = TEST_NONE;
    if (run->ws->header.flags & WRITESET_PA_UNSAFE) certify->last_pa_unsafe = run->ticket->seqno;
    if (run->ws->header.flags & WRITESET_TOI) return test_nbo(certify, run->ws, run->ticket, &run->result);
    return 0;
}

int test_continue(struct certify *certify, uint32_t key_count) {
    struct test_run *run = &certify->run;
    for (uint32_t done = 0; done < key_count; done += BLOCK) {
        bool has_more = run->done < run->ws->keys.count;
        int rc = 1;
        if (run->stage == TEST_FIND) {
            bool is_passed = !has_more || find_some(certify, run);
            if (!is_passed || run->done == run->ws->keys.count) rc = end_find(certify, run, is_passed);
        } else {
            rc = has_more ? reference_some(certify, run) : 0;
            if (rc == 0) rc = run->done == run->ws->keys.count ? end_reference(certify, run) : 1;
        }
        if (rc <= 0) return rc;
    }
    return 1;
}

bool certify_is_doomed(const struct certify *certify, const struct writeset_keys *keys, const struct xb_uuid *source,
                       int64_t last_seen, struct certify_conflict *conflict) {
    const struct key_index *index = &certify->index;
    struct writeset_key_cursor cursor = writeset_key_cursor_init(keys);
    struct candidate candidate = {.source = source, .last_seen = last_seen};
    struct block block;
    if (certify->run.stage != TEST_NONE) return false; /* the index is between two states */
    do {
        read_block(index, &cursor, &block);
        for (unsigned i = 0; i < block.size; i++) {
            uint32_t number = key_index_find(index, &block.keys[i], block.hashes[i]);
            if (number == KEY_INDEX_NONE) continue;
            const struct key_entry *entry = key_index_entry(index, number);
            if (!check_key(certify, &block.keys[i], entry, &candidate, conflict)) return true;
        }
    } while (block.size == BLOCK);
    return false;
}
