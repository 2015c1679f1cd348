/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commit cut: what all counted members have applied (spec 05 section 12.2). */
#include "gcs/member.h"

void gcs_cut_recompute(struct gcs_cut *cut, const struct gcs_member *members, size_t count, int gcs_version) {
    int64_t minimum = 0;
    int reporter = -1;
    for (size_t i = 0; i < count; i++) {
        const struct gcs_member *m = &members[i];
        if (!m->is_counted || (gcs_version > 0 && m->is_stateless)) continue;
        if (gcs_version >= 2 && gcs_version <= 4 && m->last_applied < cut->last_applied) continue;
        if (reporter >= 0 && m->last_applied > minimum) continue;
        minimum = m->last_applied;
        reporter = (int)i;
    }
    if (reporter < 0) return;
    cut->reporter = reporter;
    if (gcs_version < 2 || minimum > cut->last_applied) cut->last_applied = minimum;
}
