/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Start, end and side effects of non-blocking operations. */
#include "certify/nbo.h"

#include "base/bytes.h"
#include "certify/certify.h"

#include <errno.h>
#include <stdlib.h>

struct nbo_operation {
    struct nbo_operation *next;
    int64_t start;
    bool has_zero_key, has_other_key;
    struct xb_uuid *ended; /* members that sent their end, at most one entry each */
    size_t ended_count;
    uint32_t ref_count;
    uint32_t refs[]; /* keys in the table */
};

int nbo_table_init(struct nbo_table *table, const uint64_t secret[2]) {
    struct iovec zero = {.iov_base = (char[]){0}, .iov_len = 1};
    struct xb_hash128 hash = writeset_key_hash(&zero, 1);
    *table = (struct nbo_table){.position = -1, .zero_id = xb_load_le(hash.bytes, 8) & ~(uint64_t)0x1f};
    return key_index_init(&table->keys, secret);
}

static void free_operation(struct nbo_operation *operation) {
    free(operation->ended);
    free(operation);
}

void nbo_table_free(struct nbo_table *table) {
    for (struct nbo_operation *operation = table->operations, *next; operation; operation = next) {
        next = operation->next;
        free_operation(operation);
    }
    free(table->members);
    key_index_free(&table->keys);
}

int nbo_change_members(struct nbo_table *table, const struct xb_uuid *members, size_t member_count) {
    struct xb_uuid *copy = malloc(member_count > 0 ? member_count * sizeof(*copy) : 1);
    if (!copy) return -ENOMEM;
    for (size_t i = 0; i < member_count; i++) copy[i] = members[i];
    free(table->members);
    table->members = copy;
    table->member_count = member_count;
    for (struct nbo_operation *operation = table->operations; operation; operation = operation->next)
        operation->ended_count = 0;
    return 0;
}

/* Does a running operation hold the key as UP or EX? */
static bool is_held(const struct nbo_table *table, const struct writeset_key *key) {
    uint32_t number = key_index_find(&table->keys, key, key_index_hash(&table->keys, key->id_low));
    if (number == KEY_INDEX_NONE) return false;
    const struct key_entry *entry = key_index_entry(&table->keys, number);
    return key_entry_has_value(entry, WRITESET_KEY_UPDATE) || key_entry_has_value(entry, WRITESET_KEY_EXCLUSIVE);
}

/*
 * Is there a conflict for a TOI or an NBO start? Beside the rule for single keys, a candidate with the zero-level key
 * conflicts with every operation that has it too and any other key: the stock provider's search finds that one by the
 * order in its container (the quirk of section 15).
 */
static bool has_conflict(const struct nbo_table *table, const struct writeset *ws) {
    if (table->count == 0) return false;
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&ws->keys);
    struct writeset_key key;
    while (writeset_next_key(&cursor, &key) > 0) {
        if (is_held(table, &key)) return true;
        if (key.id_low != table->zero_id) continue;
        for (const struct nbo_operation *operation = table->operations; operation; operation = operation->next)
            if (operation->has_zero_key && operation->has_other_key) return true;
    }
    return false;
}

static int hold_key(struct nbo_table *table, struct nbo_operation *operation, const struct writeset_key *key) {
    uint32_t hash = key_index_hash(&table->keys, key->id_low);
    uint32_t number = key_index_find(&table->keys, key, hash);
    if (number == KEY_INDEX_NONE) number = key_index_insert(&table->keys, key, hash);
    if (number == KEY_INDEX_NONE) return -ENOMEM;
    struct key_entry *entry = key_index_entry(&table->keys, number);
    uint32_t holders = key_entry_has_value(entry, key->type) ? entry->value[key->type] : 0;
    key_entry_set_value(entry, key->type, holders + 1);
    operation->refs[operation->ref_count++] = key_ref(number, key->type);
    if (key->id_low == table->zero_id)
        operation->has_zero_key = true;
    else
        operation->has_other_key = true;
    return 0;
}

static int start_operation(struct nbo_table *table, const struct writeset *ws, int64_t seqno) {
    if (table->count == CERTIFY_NBO_MAX) return -ENOBUFS;
    struct nbo_operation *operation = calloc(1, sizeof(*operation) + ws->keys.count * sizeof(operation->refs[0]));
    if (!operation) return -ENOMEM;
    operation->start = seqno;
    struct nbo_operation **link = &table->operations;
    while (*link) link = &(*link)->next;
    *link = operation;
    table->count++;
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&ws->keys);
    struct writeset_key key;
    while (writeset_next_key(&cursor, &key) > 0) {
        int rc = hold_key(table, operation, &key);
        if (rc < 0) return rc;
    }
    return 0;
}

static void end_operation(struct nbo_table *table, struct nbo_operation **link) {
    struct nbo_operation *operation = *link;
    for (uint32_t i = 0; i < operation->ref_count; i++) {
        uint32_t number = key_ref_number(operation->refs[i]);
        enum writeset_key_type type = key_ref_type(operation->refs[i]);
        struct key_entry *entry = key_index_entry(&table->keys, number);
        if (--entry->value[type] == 0 && key_entry_clear_value(entry, type)) key_index_remove(&table->keys, number);
    }
    *link = operation->next;
    table->count--;
    free_operation(operation);
}

static bool contains(const struct xb_uuid *list, size_t count, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < count; i++)
        if (xb_uuid_equal(&list[i], uuid)) return true;
    return false;
}

/* Only members count for the end, and each once, so nobody can make the set grow. -> 0 or -ENOMEM */
static int note_end(const struct nbo_table *table, struct nbo_operation *operation, const struct xb_uuid *source) {
    if (!contains(table->members, table->member_count, source)) return 0;
    if (contains(operation->ended, operation->ended_count, source)) return 0;
    struct xb_uuid *larger = realloc(operation->ended, (operation->ended_count + 1) * sizeof(*larger));
    if (!larger) return -ENOMEM;
    operation->ended = larger;
    larger[operation->ended_count++] = *source;
    return 0;
}

static int test_end(struct nbo_table *table, const struct writeset *ws, int64_t *start) {
    int64_t wanted;
    if (writeset_nbo_start_seqno(ws, &wanted) < 0) return -EPROTO;
    struct nbo_operation **link = &table->operations;
    while (*link && (*link)->start != wanted) link = &(*link)->next;
    if (!*link) return NBO_UNKNOWN_START;
    int rc = note_end(table, *link, &ws->header.source);
    if (rc < 0) return rc;
    if ((*link)->ended_count < table->member_count) return NBO_INEFFECTIVE;
    *start = wanted;
    end_operation(table, link);
    return NBO_PASSED;
}

int nbo_test(struct nbo_table *table, const struct writeset *ws, int64_t seqno, int64_t *start) {
    *start = -1;
    if (seqno <= table->position) return NBO_PASSED; /* processed before a transfer */
    table->position = seqno;
    if (writeset_flags_are_nbo_end(ws->header.flags)) return test_end(table, ws, start);
    if (has_conflict(table, ws)) {
        *start = table->operations->start;
        return NBO_CONFLICT;
    }
    if (!writeset_flags_are_nbo_start(ws->header.flags)) return NBO_PASSED;
    int rc = start_operation(table, ws, seqno);
    return rc < 0 ? rc : NBO_PASSED;
}
