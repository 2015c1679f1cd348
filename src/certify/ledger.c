/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rings of records and of their key references; records come from slabs. */
#include "certify/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIN 1024
#define REFS_MIN 16384
#define SLAB_TICKETS 256

struct slab {
    struct slab *next;
    struct certify_ticket tickets[SLAB_TICKETS];
};

int ledger_init(struct ledger *ledger) {
    *ledger = (struct ledger){.ring_mask = RING_MIN - 1, .refs_mask = REFS_MIN - 1};
    ledger->ring = malloc(RING_MIN * sizeof(*ledger->ring));
    ledger->refs = malloc(REFS_MIN * sizeof(*ledger->refs));
    return ledger->ring && ledger->refs ? 0 : -ENOMEM;
}

void ledger_free(struct ledger *ledger) {
    free(ledger->ring);
    free(ledger->refs);
    for (struct slab *slab = ledger->slabs, *next; slab; slab = next) {
        next = slab->next;
        free(slab);
    }
}

struct certify_ticket *ledger_new_ticket(struct ledger *ledger) {
    if (!ledger->free_tickets) {
        struct slab *slab = malloc(sizeof(*slab));
        if (!slab) return NULL;
        slab->next = ledger->slabs;
        ledger->slabs = slab;
        for (int i = SLAB_TICKETS - 1; i >= 0; i--) {
            slab->tickets[i].next = ledger->free_tickets;
            ledger->free_tickets = &slab->tickets[i];
        }
    }
    struct certify_ticket *ticket = ledger->free_tickets;
    ledger->free_tickets = ticket->next;
    memset(ticket, 0, sizeof(*ticket));
    return ticket;
}

void ledger_drop_ticket(struct ledger *ledger, struct certify_ticket *ticket) {
    if (ticket->is_in_map || ticket->is_in_heap || ticket->is_out) return;
    ticket->next = ledger->free_tickets;
    ledger->free_tickets = ticket;
}

/* Moves the elements head..tail of a ring to one of another size; both positions stay what they are. */
static void *resize_ring(void *old, size_t old_mask, size_t new_mask, uint64_t head, uint64_t tail, size_t element) {
    char *to = malloc((new_mask + 1) * element);
    if (!to) return NULL;
    for (uint64_t at = head; at < tail;) {
        size_t from_index = at & old_mask, to_index = at & new_mask;
        size_t n = (size_t)(tail - at);
        if (n > old_mask + 1 - from_index) n = old_mask + 1 - from_index;
        if (n > new_mask + 1 - to_index) n = new_mask + 1 - to_index;
        memcpy(to + to_index * element, (const char *)old + from_index * element, n * element);
        at += n;
    }
    free(old);
    return to;
}

static int resize_refs(struct ledger *ledger, size_t mask) {
    void *refs =
        resize_ring(ledger->refs, ledger->refs_mask, mask, ledger->refs_head, ledger->refs_tail, sizeof(*ledger->refs));
    if (!refs) return -ENOMEM;
    ledger->refs = refs;
    ledger->refs_mask = mask;
    return 0;
}

int ledger_reserve(struct ledger *ledger, uint32_t ref_count) {
    if (ledger_length(ledger) > ledger->ring_mask) {
        size_t mask = 2 * ledger->ring_mask + 1;
        void *ring = resize_ring(ledger->ring, ledger->ring_mask, mask, ledger->ring_head, ledger->ring_tail,
                                 sizeof(*ledger->ring));
        if (!ring) return -ENOMEM;
        ledger->ring = ring;
        ledger->ring_mask = mask;
    }
    uint64_t needed = ledger->refs_tail - ledger->refs_head + ref_count;
    size_t mask = ledger->refs_mask;
    while (needed > mask + 1) mask = 2 * mask + 1;
    return mask == ledger->refs_mask ? 0 : resize_refs(ledger, mask);
}

void ledger_append(struct ledger *ledger, struct certify_ticket *ticket) {
    assert(ledger_length(ledger) == 0 ||
           ledger->ring[(ledger->ring_tail - 1) & ledger->ring_mask]->seqno < ticket->seqno);
    ticket->is_in_map = true;
    ledger->ring[ledger->ring_tail++ & ledger->ring_mask] = ticket;
}

struct certify_ticket *ledger_find(const struct ledger *ledger, int64_t seqno) {
    const struct certify_ticket *first = ledger_first(ledger);
    if (!first || seqno < first->seqno) return NULL;
    /* Without gaps its place is known; each gap before it moves it down by one. */
    uint64_t count = ledger_length(ledger), high = (uint64_t)(seqno - first->seqno);
    if (high >= count) high = count - 1;
    uint64_t low = 0;
    for (uint64_t probe = high;; probe = low + (high - low) / 2) {
        struct certify_ticket *ticket = ledger->ring[(ledger->ring_head + probe) & ledger->ring_mask];
        if (ticket->seqno == seqno) return ticket;
        if (ticket->seqno < seqno)
            low = probe + 1;
        else if (probe == 0)
            return NULL;
        else
            high = probe - 1;
        if (low > high) return NULL;
    }
}

void ledger_remove_first(struct ledger *ledger) {
    struct certify_ticket *ticket = ledger_first(ledger);
    ledger->ring_head++;
    ledger->refs_head += ticket->ref_count;
    ticket->is_in_map = false;
    ledger_drop_ticket(ledger, ticket);
    /* Gives back what a giant write set took; failing that the ring just stays large. */
    uint64_t used = ledger->refs_tail - ledger->refs_head;
    if (ledger->refs_mask >= REFS_MIN * 4 && used < ledger->refs_mask / 8) resize_refs(ledger, ledger->refs_mask / 4);
}
