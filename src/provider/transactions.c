/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table functions of transactions: handles, buffers and results translated, nothing else. */
#include "provider/provider.h"

#include <stdlib.h>

static void to_iovec(struct iovec *to, const struct abi_buf *from, size_t count) {
    for (size_t i = 0; i < count; i++) to[i] = (struct iovec){(void *)from[i].ptr, from[i].len};
}

int provider_append_key(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_key *keys, size_t count,
                        int type, bool is_copy) {
    struct provider *provider = provider_of(t);
    struct iovec parts[WRITESET_KEY_PARTS_MAX];
    (void)is_copy; /* keys are hashed at once */
    if (type < WRITESET_KEY_SHARED || type > WRITESET_KEY_EXCLUSIVE) return REPLICATOR_CONN_FAIL;
    if (!count)
        return (int)replicator_append_key(provider->rep, handle->trx_id, &handle->opaque, NULL, 0,
                                          (enum writeset_key_type)type);
    for (size_t i = 0; i < count; i++) {
        size_t n = keys[i].key_parts_num;
        if (n > WRITESET_KEY_PARTS_MAX) return REPLICATOR_CONN_FAIL;
        to_iovec(parts, keys[i].key_parts, n);
        int rc = (int)replicator_append_key(provider->rep, handle->trx_id, &handle->opaque, parts, n,
                                            (enum writeset_key_type)type);
        if (rc) return rc;
    }
    return REPLICATOR_OK;
}

int provider_append_data(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_buf *data, size_t count,
                         int type, bool is_copy) {
    struct provider *provider = provider_of(t);
    if (!data) return REPLICATOR_OK;
    if (type < WRITESET_DATA_ORDERED || type > WRITESET_DATA_ANNOTATION) return REPLICATOR_CONN_FAIL;
    for (size_t i = 0; i < count; i++) {
        int rc = (int)replicator_append_data(provider->rep, handle->trx_id, &handle->opaque, data[i].ptr, data[i].len,
                                             (enum writeset_data_kind)type, is_copy);
        if (rc) return rc;
    }
    return REPLICATOR_OK;
}

int wsrep_certify_v1(struct abi_table *t, uint64_t conn, struct abi_ws_handle *handle, uint32_t flags,
                     struct abi_trx_meta *meta, const struct abi_seq_cb *seq_cb) {
    struct provider *provider = provider_of(t);
    struct replicator_meta own = meta_from_abi(meta);
    int rc = (int)replicator_certify(provider->rep, conn, handle->trx_id, &handle->opaque, flags, &own,
                                     seq_cb ? seq_cb->fn : NULL, seq_cb ? seq_cb->ctx : NULL);
    *meta = meta_to_abi(&own);
    return rc;
}

int provider_certify(struct abi_table *t, uint64_t conn, struct abi_ws_handle *handle, uint32_t flags,
                     struct abi_trx_meta *meta) {
    return wsrep_certify_v1(t, conn, handle, flags, meta, NULL);
}

int provider_commit_order_enter(struct abi_table *t, const struct abi_ws_handle *handle,
                                const struct abi_trx_meta *meta) {
    (void)meta;
    return (int)replicator_commit_order_enter(provider_of(t)->rep, handle->opaque);
}

int provider_commit_order_leave(struct abi_table *t, const struct abi_ws_handle *handle,
                                const struct abi_trx_meta *meta, const struct abi_buf *error) {
    (void)meta;
    return (int)replicator_commit_order_leave(provider_of(t)->rep, handle->opaque, error ? error->ptr : NULL,
                                              error ? error->len : 0);
}

int provider_release(struct abi_table *t, struct abi_ws_handle *handle) {
    if (!handle->opaque) return REPLICATOR_OK; /* after every statement, most of them not ours */
    return (int)replicator_release(provider_of(t)->rep, &handle->opaque);
}

int provider_replay_trx(struct abi_table *t, const struct abi_ws_handle *handle, void *trx_ctx) {
    return (int)replicator_replay(provider_of(t)->rep, handle->opaque, trx_ctx);
}

int provider_abort_certification(struct abi_table *t, int64_t bf_seqno, uint64_t victim_trx, int64_t *victim_seqno) {
    return (int)replicator_abort_certification(provider_of(t)->rep, bf_seqno, victim_trx, victim_seqno);
}

int provider_rollback(struct abi_table *t, uint64_t trx, const struct abi_buf *data) {
    (void)data; /* a rollback fragment carries none */
    return (int)replicator_rollback(provider_of(t)->rep, trx);
}

/* ---- total order isolation ---- */

struct toi_input {
    struct replicator_key *keys;
    struct iovec *parts, *action;
};

static int make_input(struct toi_input *input, const struct abi_key *keys, size_t key_count,
                      const struct abi_buf *action, size_t count) {
    size_t part_count = 0, used = 0;
    for (size_t i = 0; i < key_count; i++) part_count += keys[i].key_parts_num;
    input->keys = calloc(key_count + 1, sizeof(*input->keys));
    input->parts = calloc(part_count + 1, sizeof(*input->parts));
    input->action = calloc(count + 1, sizeof(*input->action));
    if (!input->keys || !input->parts || !input->action) return -1;
    for (size_t i = 0; i < key_count; i++) {
        to_iovec(input->parts + used, keys[i].key_parts, keys[i].key_parts_num);
        input->keys[i] = (struct replicator_key){input->parts + used, keys[i].key_parts_num};
        used += keys[i].key_parts_num;
    }
    to_iovec(input->action, action, count);
    return 0;
}

int provider_to_execute_start(struct abi_table *t, uint64_t conn, const struct abi_key *keys, size_t key_count,
                              const struct abi_buf *action, size_t count, uint32_t flags, struct abi_trx_meta *meta) {
    struct replicator_meta own = meta_from_abi(meta);
    struct toi_input input = {NULL, NULL, NULL};
    int rc = REPLICATOR_CONN_FAIL;
    if (!make_input(&input, keys, key_count, action, count)) {
        rc = (int)replicator_toi_start(provider_of(t)->rep, conn, input.keys, key_count, input.action, count, flags,
                                       &own);
        *meta = meta_to_abi(&own);
    }
    free(input.keys);
    free(input.parts);
    free(input.action);
    return rc;
}

int provider_to_execute_end(struct abi_table *t, uint64_t conn, const struct abi_buf *error) {
    return (int)replicator_toi_end(provider_of(t)->rep, conn, error ? error->ptr : NULL, error ? error->len : 0);
}

/* ---- preordered ---- */

int provider_preordered_collect(struct abi_table *t, struct abi_po_handle *handle, const struct abi_buf *data,
                                size_t count, bool is_copy) {
    struct iovec *parts = calloc(count + 1, sizeof(*parts));
    (void)is_copy; /* always */
    if (!parts) return REPLICATOR_TRX_FAIL;
    to_iovec(parts, data, count);
    int rc = (int)replicator_preordered_collect(provider_of(t)->rep, &handle->opaque, parts, count);
    free(parts);
    return rc;
}

int provider_preordered_commit(struct abi_table *t, struct abi_po_handle *handle, const union abi_uuid *source,
                               uint32_t flags, int pa_range, bool is_commit) {
    struct xb_uuid uuid = source ? uuid_from_abi(source) : xb_uuid_nil;
    return (int)replicator_preordered_commit(provider_of(t)->rep, &handle->opaque, &uuid, flags, pa_range, is_commit);
}
