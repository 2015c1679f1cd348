/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Defragmentation (spec 05 section 3.5). */
#include "gcs/collector.h"

static void start(struct gcs_collector *c, const struct gcs_fragment *fragment, const struct gcs_up *up) {
    c->is_active = true;
    c->is_reset = false;
    c->id = fragment->id;
    c->next = 0;
    c->type = fragment->type;
    c->size = fragment->action_size;
    c->received = 0;
    c->buf = up->alloc(up->ctx, c->size);
}

enum gcs_collected gcs_collector_add(struct gcs_collector *c, const struct gcs_fragment *fragment,
                                     const struct gcs_up *up) {
    if (!c->is_active) {
        if (fragment->number > 0) {
            if (c->is_reset) return GCS_COLLECT_IGNORED; /* tail of an action that was thrown away */
            goto violation;
        }
        if (fragment->size > fragment->action_size) goto violation;
        start(c, fragment, up);
    } else {
        if (fragment->id == c->id && fragment->number < c->next) return GCS_COLLECT_IGNORED; /* duplicate */
        if (fragment->id != c->id || fragment->number != c->next || fragment->type != c->type) goto violation;
        if (fragment->size > c->size - c->received) goto violation;
    }
    if (c->buf) memcpy(c->buf + c->received, fragment->data, fragment->size);
    c->received += fragment->size;
    c->next++;
    if (c->received < c->size) return GCS_COLLECT_MORE;
    c->is_active = false;
    return GCS_COLLECT_COMPLETE;

violation:
    gcs_collector_reset(c, up);
    return GCS_COLLECT_VIOLATION;
}

uint8_t *gcs_collector_take(struct gcs_collector *c) {
    uint8_t *buf = c->buf;
    c->buf = NULL;
    return buf;
}

void gcs_collector_reset(struct gcs_collector *c, const struct gcs_up *up) {
    if (c->buf) up->free(up->ctx, c->buf);
    *c = (struct gcs_collector){.is_reset = true};
}
