/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views that are over: their late messages are recognised and dropped (spec 03 section 9.3). */
#include "evs/internal.h"

#include <stdlib.h>

bool evs_book_has(const struct evs_book *book, const struct view_id *id) {
    for (size_t i = book->count; i-- > 0;)
        if (view_id_equal(&book->items[i].id, id)) return true;
    return false;
}

int evs_book_add(struct evs_book *book, const struct view_id *id, int64_t time_ns) {
    if (evs_book_has(book, id)) return 0;
    if (book->count == EVS_BOOK_MAX) {
        book->count--;
        memmove(&book->items[0], &book->items[1], book->count * sizeof(book->items[0]));
    }
    if (book->count == book->capacity) {
        size_t capacity = book->capacity ? 2 * book->capacity : 16;
        struct evs_book_item *items = realloc(book->items, capacity * sizeof(*items));
        if (!items) return -ENOMEM;
        book->items = items;
        book->capacity = capacity;
    }
    book->items[book->count++] = (struct evs_book_item){.id = *id, .time_ns = time_ns};
    return 0;
}

void evs_book_forget(struct evs_book *book, int64_t before_ns) {
    size_t kept = 0;
    for (size_t i = 0; i < book->count; i++)
        if (book->items[i].time_ns >= before_ns) book->items[kept++] = book->items[i];
    book->count = kept;
}

void evs_book_free(struct evs_book *book) {
    free(book->items);
    memset(book, 0, sizeof(*book));
}

bool evs_is_previous(const struct evs *evs, const struct evs_header *h) {
    if (evs_is_current(evs, &h->view)) return false;
    const struct evs_node *source = evs_node_find(evs, &h->source);
    if (source && source->rank >= 0 && h->view.seq < evs->view.seq) return true;
    return evs_book_has(&evs->old_views, &h->view);
}

void evs_views_are_over(struct evs *evs) {
    for (size_t i = 0; i < evs->met_views.count; i++) {
        const struct evs_book_item *item = &evs->met_views.items[i];
        /* A fast member may have shown the view that is being entered. */
        if (evs->install && view_id_equal(&item->id, &evs->install->install_view)) continue;
        evs_book_add(&evs->old_views, &item->id, item->time_ns);
    }
    evs->met_views.count = 0;
}
