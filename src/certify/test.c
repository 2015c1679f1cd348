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

/* What a candidate's keys are compared with. */
struct candidate {
    const struct xb_uuid *source;
    int64_t last_seen;
    int64_t depends; /* raised by the keys */
};

/* -> false: conflict, described in *conflict. */
static bool check_key(const struct certify *certify, const struct writeset_key *key, const struct key_entry *entry,
                      struct candidate *candidate, struct certify_conflict *conflict) {
    for (int i = WRITESET_KEY_EXCLUSIVE; i >= WRITESET_KEY_SHARED; i--) {
        enum writeset_key_type type = (enum writeset_key_type)i;
        int64_t seqno = entry->value[type];
        if (seqno == 0 || matrix[type][key->type] == NOTHING) continue;
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
    uint32_t entries[BLOCK];
    unsigned size;
};

/* Reads and looks up the next keys. */
static void find_block(const struct certify *certify, struct writeset_key_cursor *cursor, struct block *block) {
    const struct key_index *index = &certify->index;
    block->size = 0;
    while (block->size < BLOCK && writeset_next_key(cursor, &block->keys[block->size]) > 0) {
        block->hashes[block->size] = key_index_hash(index, block->keys[block->size].id_low);
        __builtin_prefetch(key_index_bucket(index, block->hashes[block->size]));
        block->size++;
    }
    for (unsigned i = 0; i < block->size; i++) {
        uint32_t first = *key_index_bucket(index, block->hashes[i]);
        if (first != KEY_INDEX_NONE) __builtin_prefetch(key_index_entry(index, first), 1);
    }
    for (unsigned i = 0; i < block->size; i++)
        block->entries[i] = key_index_find(index, &block->keys[i], block->hashes[i]);
}

/* First pass. has_test: else the keys are only looked up. -> false: conflict */
static bool find_keys(struct certify *certify, const struct writeset_keys *keys, bool has_test,
                      struct candidate *candidate, struct certify_conflict *conflict) {
    struct writeset_key_cursor cursor = writeset_key_cursor_init(keys);
    struct block block;
    for (uint32_t *found = certify->found;; found += block.size) {
        find_block(certify, &cursor, &block);
        if (block.size == 0) return true;
        for (unsigned i = 0; i < block.size; i++) {
            found[i] = block.entries[i];
            if (!has_test || found[i] == KEY_INDEX_NONE) continue;
            const struct key_entry *entry = key_index_entry(&certify->index, found[i]);
            if (!check_key(certify, &block.keys[i], entry, candidate, conflict)) return false;
        }
    }
}

/* Second pass: the index learns that this seqno passed with these keys. -> 0 or -ENOMEM */
static int reference_keys(struct certify *certify, const struct writeset_keys *keys, struct certify_ticket *ticket) {
    struct writeset_key_cursor cursor = writeset_key_cursor_init(keys);
    struct writeset_key key;
    struct key_index *index = &certify->index;
    ticket->first_ref = certify->ledger.refs_tail;
    for (uint32_t i = 0; writeset_next_key(&cursor, &key) > 0; i++) {
        uint32_t number = certify->found[i];
        if (number == KEY_INDEX_NONE) {
            uint32_t hash = key_index_hash(index, key.id_low);
            number = key_index_find(index, &key, hash); /* the write set may have it twice */
            if (number == KEY_INDEX_NONE) number = key_index_insert(index, &key, hash);
            if (number == KEY_INDEX_NONE) return -ENOMEM;
        }
        struct key_entry *entry = key_index_entry(index, number);
        entry->id_high = key.id_high;
        entry->is_wide = key.is_wide;
        entry->value[key.type] = ticket->seqno;
        ledger_add_ref(&certify->ledger, key_ref(number, key.type));
        ticket->ref_count++;
    }
    return 0;
}

void forget_references(struct certify *certify, const struct certify_ticket *ticket) {
    struct key_index *index = &certify->index;
    for (uint32_t i = 0; i < ticket->ref_count; i++) {
        if (i + AHEAD < ticket->ref_count) {
            uint32_t ahead = key_ref_number(ledger_ref(&certify->ledger, ticket->first_ref + i + AHEAD));
            /* Its chunk is gone if a double of the same key took the last entry out just before. */
            const struct key_entry *entries = index->chunks[ahead / KEY_INDEX_CHUNK].entries;
            if (entries) __builtin_prefetch(&entries[ahead % KEY_INDEX_CHUNK], 1);
        }
        uint32_t ref = ledger_ref(&certify->ledger, ticket->first_ref + i), number = key_ref_number(ref);
        if (!index->chunks[number / KEY_INDEX_CHUNK].entries) continue;
        struct key_entry *entry = key_index_entry(index, number);
        if (entry->value[key_ref_type(ref)] != ticket->seqno) continue;
        entry->value[key_ref_type(ref)] = 0;
        if (key_entry_is_unused(entry)) key_index_remove(index, number);
    }
}

static int reserve_found(struct certify *certify, uint32_t count) {
    bool is_giant_memory = certify->found_capacity > FOUND_KEPT_MAX && count < FOUND_KEPT_MAX / 2;
    if (count <= certify->found_capacity && !is_giant_memory) return 0;
    size_t capacity = count > 256 ? count : 256;
    uint32_t *found = malloc(capacity * sizeof(*found));
    if (!found) return -ENOMEM;
    free(certify->found);
    certify->found = found;
    certify->found_capacity = capacity;
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

int test_writeset(struct certify *certify, const struct writeset *ws, struct certify_ticket *ticket, bool is_from_ist,
                  struct certify_result *result) {
    bool is_toi = ws->header.flags & WRITESET_TOI;
    result->reason = check_acceptance(certify, ws, ticket->seqno, is_from_ist);
    if (result->reason != CERTIFY_OK) return 0;
    ticket->depends = raise_depends(certify, ticket, is_from_ist);
    int rc = reserve_found(certify, ws->keys.count);
    if (rc < 0) return rc;

    struct candidate candidate = {
        .source = &ws->header.source, .last_seen = ticket->last_seen, .depends = ticket->depends};
    bool has_test = !is_toi && !is_from_ist;
    bool is_passed = find_keys(certify, &ws->keys, has_test, &candidate, &result->conflict);
    ticket->depends = candidate.depends > certify->last_pa_unsafe ? candidate.depends : certify->last_pa_unsafe;
    if (!is_from_ist) count_tested(certify, ws, is_passed);
    if (!is_passed) {
        result->reason = CERTIFY_CONFLICT;
        return 0;
    }
    rc = reference_keys(certify, &ws->keys, ticket);
    if (rc < 0) return rc;
    if (ws->header.flags & WRITESET_PA_UNSAFE) certify->last_pa_unsafe = ticket->seqno;
    return is_toi ? test_nbo(certify, ws, ticket, result) : 0;
}

bool certify_is_doomed(const struct certify *certify, const struct writeset_keys *keys, const struct xb_uuid *source,
                       int64_t last_seen, struct certify_conflict *conflict) {
    struct writeset_key_cursor cursor = writeset_key_cursor_init(keys);
    struct candidate candidate = {.source = source, .last_seen = last_seen};
    struct block block;
    for (;;) {
        find_block(certify, &cursor, &block);
        if (block.size == 0) return false;
        for (unsigned i = 0; i < block.size; i++) {
            if (block.entries[i] == KEY_INDEX_NONE) continue;
            const struct key_entry *entry = key_index_entry(&certify->index, block.entries[i]);
            if (!check_key(certify, &block.keys[i], entry, &candidate, conflict)) return true;
        }
    }
}
