/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts the fragments of one member together again (spec 05 section 3.5). The own collector works like those of the
 * others: an own action that a view change cut is sent again under a new id, so nothing of an old one is of use.
 */
#ifndef XB_GCS_COLLECTOR_H
#define XB_GCS_COLLECTOR_H

#include "gcs/messages.h"

struct gcs_collector {
    bool is_active;
    bool is_reset; /* a tail of an action may follow, which is ignored */
    uint64_t id;
    uint32_t next; /* expected fragment number */
    uint8_t type;
    uint8_t *buf; /* from the history; NULL: there was no memory, but the action is counted */
    size_t size, received;
};

enum gcs_collected { GCS_COLLECT_MORE, GCS_COLLECT_COMPLETE, GCS_COLLECT_IGNORED, GCS_COLLECT_VIOLATION };

/* GCS_COLLECT_COMPLETE: the action is in buf, size and type until the collector is used again; the buffer belongs to
 * the caller (gcs_collector_take). After a violation the collector has been reset. */
enum gcs_collected gcs_collector_add(struct gcs_collector *collector, const struct gcs_fragment *fragment,
                                     const struct gcs_up *up);
uint8_t *gcs_collector_take(struct gcs_collector *collector);
/* Throws away what is there, and what may follow of it. */
void gcs_collector_reset(struct gcs_collector *collector, const struct gcs_up *up);

#endif
