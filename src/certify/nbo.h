/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running non-blocking operations (spec 06 section 15). MariaDB 10.11 never starts one, but must reach the same
 * verdicts as members that do. Private to src/certify.
 */
#ifndef XB_CERTIFY_NBO_H
#define XB_CERTIFY_NBO_H

#include "certify/key_index.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nbo_operation;

struct nbo_table {
    struct key_index keys;            /* values: how many running operations hold the key with this type */
    struct nbo_operation *operations; /* ascending by start */
    size_t count;
    int64_t position;        /* highest seqno processed here, -1 none */
    uint64_t zero_id;        /* identity of the zero-level key */
    struct xb_uuid *members; /* of the current view */
    size_t member_count;
};

int nbo_table_init(struct nbo_table *table, const uint64_t secret[2]); /* 0 or -ENOMEM */
void nbo_table_free(struct nbo_table *table);

/* New view: what members had ended is forgotten, they send their ends again. -> 0 or -ENOMEM */
int nbo_change_members(struct nbo_table *table, const struct xb_uuid *members, size_t member_count);

enum nbo_verdict { NBO_PASSED, NBO_CONFLICT, NBO_UNKNOWN_START, NBO_INEFFECTIVE };

/*
 * Step 9 of the test: for an event with the TOI flag. -> enum nbo_verdict, or negative errno.
 * *start: of the operation that this event conflicts with (-1 unknown) or that it ends effectively, else -1.
 */
int nbo_test(struct nbo_table *table, const struct writeset *ws, int64_t seqno, int64_t *start);

#endif
