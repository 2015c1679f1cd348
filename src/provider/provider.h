/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the provider: what one loaded provider is, and what its files ask of each other. */
#ifndef XB_PROVIDER_PROVIDER_H
#define XB_PROVIDER_PROVIDER_H

#include "base/log.h"
#include "base/options.h"
#include "provider/abi.h"
#include "replicator/replicator.h"
#include "tls/keeper.h"

#include <pthread.h>
#include <stdatomic.h>

#define PROVIDER_NAME "Xebec"
/* Test suites and proxies look for the compatible Galera version first (spec 09 section 7). */
#define PROVIDER_VERSION "26.4.23(xebec " XEBEC_VERSION ")"
#define PROVIDER_VENDOR "The Xebec developers"
#define LOG_LINE_MAX 2000

struct provider {
    struct xb_log log;
    struct xb_options *options;
    struct tls_keeper *tls;
    pthread_mutex_t options_lock; /* one options_set at a time */
    struct replicator *rep;
    _Atomic(bool) is_server_starting; /* it connected from its main thread, which has clients to wait for later */
    /* The server's side. */
    void *app_ctx;
    void (*logger)(int level, const char *message);
    int (*connected)(void *app_ctx, const struct abi_view_info *view);
    int (*view)(void *app_ctx, void *recv_ctx, const struct abi_view_info *view, const char *state, size_t state_len);
    int (*sst_request)(void *app_ctx, void **request, size_t *size);
    int (*apply)(void *recv_ctx, const struct abi_ws_handle *handle, uint32_t flags, const struct abi_buf *data,
                 const struct abi_trx_meta *meta, bool *exit_loop);
    int (*unordered)(void *recv_ctx, const struct abi_buf *data);
    int (*sst_donate)(void *app_ctx, void *recv_ctx, const struct abi_buf *request, const struct abi_gtid *state_id,
                      const struct abi_buf *state, bool is_bypass);
    int (*synced)(void *app_ctx);
};

/* NULL before init and after free. */
static inline struct provider *provider_of(const struct abi_table *t) {
    return t->ctx;
}

/* callbacks.c */
void provider_log_init(struct provider *provider, void (*logger)(int level, const char *message));
void provider_callbacks(struct provider *provider, struct replicator_callbacks *callbacks);
struct xb_uuid uuid_from_abi(const union abi_uuid *uuid);
union abi_uuid uuid_to_abi(const struct xb_uuid *uuid);
struct replicator_gtid gtid_from_abi(const struct abi_gtid *gtid);
struct abi_gtid gtid_to_abi(const struct replicator_gtid *gtid);
struct replicator_meta meta_from_abi(const struct abi_trx_meta *meta);
struct abi_trx_meta meta_to_abi(const struct replicator_meta *meta);

/* init.c */
int provider_init(struct abi_table *t, const struct abi_init_args *args);
void provider_free(struct abi_table *t);

/* options.c */
int provider_options_set(struct abi_table *t, const char *text);
char *provider_options_get(struct abi_table *t);
int provider_get_parameters(struct abi_table *t, int (*visit)(const struct abi_parameter *parameter, void *context),
                            void *context);

/* transactions.c */
int provider_certify(struct abi_table *t, uint64_t conn, struct abi_ws_handle *handle, uint32_t flags,
                     struct abi_trx_meta *meta);
int provider_commit_order_enter(struct abi_table *t, const struct abi_ws_handle *handle,
                                const struct abi_trx_meta *meta);
int provider_commit_order_leave(struct abi_table *t, const struct abi_ws_handle *handle,
                                const struct abi_trx_meta *meta, const struct abi_buf *error);
int provider_release(struct abi_table *t, struct abi_ws_handle *handle);
int provider_replay_trx(struct abi_table *t, const struct abi_ws_handle *handle, void *trx_ctx);
int provider_abort_certification(struct abi_table *t, int64_t bf_seqno, uint64_t victim_trx, int64_t *victim_seqno);
int provider_rollback(struct abi_table *t, uint64_t trx, const struct abi_buf *data);
int provider_append_key(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_key *keys, size_t count,
                        int type, bool is_copy);
int provider_append_data(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_buf *data, size_t count,
                         int type, bool is_copy);
int provider_to_execute_start(struct abi_table *t, uint64_t conn, const struct abi_key *keys, size_t key_count,
                              const struct abi_buf *action, size_t count, uint32_t flags, struct abi_trx_meta *meta);
int provider_to_execute_end(struct abi_table *t, uint64_t conn, const struct abi_buf *error);
int provider_preordered_collect(struct abi_table *t, struct abi_po_handle *handle, const struct abi_buf *data,
                                size_t count, bool is_copy);
int provider_preordered_commit(struct abi_table *t, struct abi_po_handle *handle, const union abi_uuid *source,
                               uint32_t flags, int pa_range, bool is_commit);

/* stats.c */
struct abi_stats_var *provider_stats_get(struct abi_table *t);
void provider_stats_free(struct abi_table *t, struct abi_stats_var *stats);
void provider_stats_reset(struct abi_table *t);

/* allowlist.c */
const char *service_refusal(const char *host);

/* services.c */
void service_event(const char *name, const char *json);
bool service_has_config(void);
struct xb_isolation *service_isolation(void);

#endif
