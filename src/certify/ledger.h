/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The certified write sets that can still matter, in the order of their seqnos (the "ordered map" of spec 06 section
 * 11), each with what a later conflict or purge needs to know of it. Private to src/certify.
 *
 * A record is also the ticket of its write set: it lives until it is neither in the map, nor counted as unsettled, nor
 * still to be finished by somebody.
 */
#ifndef XB_CERTIFY_LEDGER_H
#define XB_CERTIFY_LEDGER_H

#include "base/uuid.h"
#include "certify/certify.h"

#include <stdbool.h>
#include <stdint.h>

struct certify_ticket {
    int64_t seqno, last_seen, depends;
    struct certify_ticket *next; /* finished ones, or free ones */
    uint64_t connection_id, transaction_id;
    struct xb_uuid source;
    uint64_t first_ref; /* position of its references in the ledger's ring */
    uint32_t ref_count;
    uint16_t flags;
    uint8_t version;
    bool is_in_map, is_in_heap;
    bool is_unsettled; /* counted in the unsettled set */
    bool is_out;       /* somebody has still to finish it */
};

struct ledger {
    struct certify_ticket **ring; /* ascending seqnos */
    uint64_t ring_head, ring_tail;
    size_t ring_mask;
    uint32_t *refs; /* key references of the records in the ring, in their order */
    uint64_t refs_head, refs_tail;
    size_t refs_mask;
    struct certify_ticket *free_tickets;
    void *slabs;
};

int ledger_init(struct ledger *ledger); /* 0 or -ENOMEM */
void ledger_free(struct ledger *ledger);

/* A fresh record, zeroed, not yet in the map; NULL: no memory. */
struct certify_ticket *ledger_new_ticket(struct ledger *ledger);
/* Gives the record back if nothing holds it any more. */
void ledger_drop_ticket(struct ledger *ledger, struct certify_ticket *ticket);

/* Room for one more record with this many references. -> 0 or -ENOMEM */
int ledger_reserve(struct ledger *ledger, uint32_t ref_count);
/* Appends the record (after ledger_reserve); its seqno is above all others. */
void ledger_append(struct ledger *ledger, struct certify_ticket *ticket);
/* Appends a reference to the record that is going to be appended next. */
static inline void ledger_add_ref(struct ledger *ledger, uint32_t ref) {
    ledger->refs[ledger->refs_tail++ & ledger->refs_mask] = ref;
}
static inline uint32_t ledger_ref(const struct ledger *ledger, uint64_t position) {
    return ledger->refs[position & ledger->refs_mask];
}

static inline uint64_t ledger_length(const struct ledger *ledger) {
    return ledger->ring_tail - ledger->ring_head;
}
static inline struct certify_ticket *ledger_first(const struct ledger *ledger) { /* NULL: empty */
    return ledger_length(ledger) > 0 ? ledger->ring[ledger->ring_head & ledger->ring_mask] : NULL;
}
/* NULL: not in the map. */
struct certify_ticket *ledger_find(const struct ledger *ledger, int64_t seqno);
/* Takes the first record out of the map, its references are forgotten. */
void ledger_remove_first(struct ledger *ledger);

#endif
