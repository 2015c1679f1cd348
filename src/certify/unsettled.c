/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Binary heap of unsettled write sets, smallest last seen on top. */
#include "certify/unsettled.h"

#include <errno.h>
#include <stdlib.h>

#define CAPACITY_MIN 256

void unsettled_init(struct unsettled *unsettled) {
    *unsettled = (struct unsettled){.remembered = -1};
}

void unsettled_free(struct unsettled *unsettled) {
    free(unsettled->heap);
}

int unsettled_reserve(struct unsettled *unsettled) {
    if (unsettled->size < unsettled->capacity) return 0;
    size_t capacity = unsettled->capacity ? 2 * unsettled->capacity : CAPACITY_MIN;
    struct certify_ticket **larger = realloc(unsettled->heap, capacity * sizeof(struct certify_ticket *));
    if (!larger) return -ENOMEM;
    unsettled->heap = larger;
    unsettled->capacity = capacity;
    return 0;
}

void unsettled_add(struct unsettled *unsettled, struct certify_ticket *ticket) {
    size_t at = unsettled->size++;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (unsettled->heap[parent]->last_seen <= ticket->last_seen) break;
        unsettled->heap[at] = unsettled->heap[parent];
        at = parent;
    }
    unsettled->heap[at] = ticket;
    unsettled->count++;
    ticket->is_in_heap = ticket->is_unsettled = true;
}

static void remove_top(struct unsettled *unsettled) {
    struct certify_ticket *last = unsettled->heap[--unsettled->size];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= unsettled->size) break;
        if (child + 1 < unsettled->size && unsettled->heap[child + 1]->last_seen < unsettled->heap[child]->last_seen)
            child++;
        if (unsettled->heap[child]->last_seen >= last->last_seen) break;
        unsettled->heap[at] = unsettled->heap[child];
        at = child;
    }
    unsettled->heap[at] = last;
}

void unsettled_remove(struct unsettled *unsettled, struct certify_ticket *ticket, struct ledger *ledger) {
    if (!ticket->is_unsettled) return;
    ticket->is_unsettled = false;
    if (--unsettled->count == 0) unsettled->remembered = ticket->last_seen;
    while (unsettled->size > 0 && !unsettled->heap[0]->is_unsettled) {
        struct certify_ticket *top = unsettled->heap[0];
        remove_top(unsettled);
        top->is_in_heap = false;
        ledger_drop_ticket(ledger, top);
    }
}

void unsettled_reset(struct unsettled *unsettled, int64_t remembered, struct ledger *ledger) {
    for (size_t i = 0; i < unsettled->size; i++) {
        struct certify_ticket *ticket = unsettled->heap[i];
        ticket->is_in_heap = ticket->is_unsettled = false;
        ledger_drop_ticket(ledger, ticket);
    }
    unsettled->size = unsettled->count = 0;
    unsettled->remembered = remembered;
}

int64_t unsettled_safe_to_discard(const struct unsettled *unsettled) {
    return unsettled->count > 0 ? unsettled->heap[0]->last_seen - 1 : unsettled->remembered;
}
