/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events of another, already ordered stream (spec 01 section 21, 07 section 8.11): no keys, nobody waits. */
#include "replicator/internal.h"

enum replicator_status replicator_preordered_collect(struct replicator *rep, void **opaque, const struct iovec *data,
                                                     size_t count) {
    struct trx *trx = *opaque;
    if (!trx) {
        trx = trx_new(rep, atomic_fetch_add(&rep->preordered_id, 1) + 1);
        if (!trx) return REPLICATOR_TRX_FAIL;
        if (trx_builder_start(trx)) {
            trx_unref(trx);
            return REPLICATOR_TRX_FAIL;
        }
        *opaque = trx;
    }
    /* Copied in any case: it is sent after commit has returned, and the memory is the caller's then. */
    for (size_t i = 0; i < count; i++)
        if (writeset_builder_add_data(trx->builder, WRITESET_DATA_ORDERED, data[i].iov_base, data[i].iov_len, true))
            return REPLICATOR_TRX_FAIL;
    return REPLICATOR_OK;
}

enum replicator_status replicator_preordered_commit(struct replicator *rep, void **opaque, const struct xb_uuid *source,
                                                    uint32_t flags, int pa_range, bool is_commit) {
    struct trx *trx = *opaque;
    int rc = 0;
    *opaque = NULL;
    if (!trx) return REPLICATOR_OK;
    if (is_commit) {
        int64_t range = (int64_t)pa_range + 1;
        trx->conn = 0;
        trx->flags = (flags & WRITESET_API_FLAGS) | WRITESET_PREORDERED;
        trx->pa_range = range < 0 ? 0 : range < WRITESET_PA_RANGE_MAX ? range : WRITESET_PA_RANGE_MAX;
        rc = node_may_replicate(rep) ? trx_finish_builder(trx, source, trx->flags, false) : -ENOTCONN;
        if (!rc) rc = trx_submit(trx, false, false);
    }
    trx_unref(trx);
    return rc ? REPLICATOR_TRX_FAIL : REPLICATOR_OK;
}
