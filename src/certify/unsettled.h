/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The multiset of last seen seqnos of write sets that are certified but not yet finished here (spec 06 section 17.1),
 * of which only the smallest matters: a heap from which what has been finished goes when it comes to the top.
 * Last seen seqnos nearly ascend, so putting one in costs nearly nothing. Private to src/certify.
 */
#ifndef XB_CERTIFY_UNSETTLED_H
#define XB_CERTIFY_UNSETTLED_H

#include "certify/ledger.h"

#include <stddef.h>
#include <stdint.h>

struct unsettled {
    struct certify_ticket **heap;
    size_t size, capacity;
    size_t count;       /* of those that are really unsettled */
    int64_t remembered; /* last seen of the one that was settled last when none was left */
};

void unsettled_init(struct unsettled *unsettled);
void unsettled_free(struct unsettled *unsettled);

/* Room for one more. -> 0 or -ENOMEM */
int unsettled_reserve(struct unsettled *unsettled);
void unsettled_add(struct unsettled *unsettled, struct certify_ticket *ticket);
/* The ticket's write set is finished. */
void unsettled_remove(struct unsettled *unsettled, struct certify_ticket *ticket, struct ledger *ledger);
/* Forgets all; `remembered` becomes that seqno. */
void unsettled_reset(struct unsettled *unsettled, int64_t remembered, struct ledger *ledger);
/* Smallest last seen - 1, or what is remembered. */
int64_t unsettled_safe_to_discard(const struct unsettled *unsettled);

#endif
