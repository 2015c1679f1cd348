/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The replication provider interface, version 26 (spec 01 sections 2 to 5), as far as it is exported or called here.
 * Layout for x86-64 and every other LP64 platform; the assertions at the end hold it in place.
 */
#ifndef XB_PROVIDER_ABI_H
#define XB_PROVIDER_ABI_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION "26"
#define ABI_MEMBER_NAME_SIZE 32
#define ABI_MEMBER_INCOMING_SIZE 256

/* Call status: the values of enum replicator_status. Callback status: 0 success, anything else failure. */
enum abi_log_level { ABI_LOG_FATAL, ABI_LOG_ERROR, ABI_LOG_WARNING, ABI_LOG_INFO, ABI_LOG_DEBUG };
enum abi_stat_type { ABI_STAT_STRING, ABI_STAT_INT64, ABI_STAT_DOUBLE };
enum abi_allowlist_key { ABI_ALLOWLIST_ADDRESS, ABI_ALLOWLIST_CERTIFICATE };
enum abi_isolation { ABI_ISOLATION_NONE, ABI_ISOLATION_ISOLATED, ABI_ISOLATION_DISCONNECT };

union abi_uuid {
    uint8_t data[16];
    size_t alignment;
};

struct abi_gtid {
    union abi_uuid uuid;
    int64_t seqno;
};

struct abi_stid { /* source of a transaction */
    union abi_uuid node;
    uint64_t trx;
    uint64_t conn;
};

struct abi_trx_meta {
    struct abi_gtid gtid;
    struct abi_stid stid;
    int64_t depends_on;
};

struct abi_buf {
    const void *ptr;
    size_t len;
};

struct abi_ws_handle {
    uint64_t trx_id;
    void *opaque; /* ours */
};

struct abi_member_info {
    union abi_uuid id;
    char name[ABI_MEMBER_NAME_SIZE];
    char incoming[ABI_MEMBER_INCOMING_SIZE];
};

struct abi_view_info {
    struct abi_gtid state_id;
    int64_t view;
    int status; /* 0 primary, 1 non-primary, 2 disconnected */
    uint32_t capabilities;
    int my_idx;
    int memb_num;
    int proto_ver;
    struct abi_member_info members[];
};

struct abi_key {
    const struct abi_buf *key_parts;
    size_t key_parts_num;
};

struct abi_stats_var {
    const char *name;
    int type;
    union {
        int64_t int64;
        double dbl;
        const char *string;
    } value;
};

struct abi_po_handle {
    void *opaque;
};

struct abi_enc_ctx {
    const struct abi_buf *key;
    const char (*iv)[32];
    void *ctx;
};

struct abi_seq_cb {
    void *ctx;
    void (*fn)(void *ctx);
};

struct abi_init_args {
    void *app_ctx;
    const char *node_name;
    const char *node_address;
    const char *node_incoming;
    const char *data_dir;
    const char *options;
    int proto_ver;
    const struct abi_gtid *state_id;
    const struct abi_buf *state;
    void (*logger_cb)(int level, const char *message);
    int (*connected_cb)(void *app_ctx, const struct abi_view_info *view);
    int (*view_cb)(void *app_ctx, void *recv_ctx, const struct abi_view_info *view, const char *state,
                   size_t state_len);
    int (*sst_request_cb)(void *app_ctx, void **request, size_t *size);
    int (*encrypt_cb)(void *app_ctx, struct abi_enc_ctx *enc, const struct abi_buf *input, void *output, int direction,
                      bool is_last);
    int (*apply_cb)(void *recv_ctx, const struct abi_ws_handle *handle, uint32_t flags, const struct abi_buf *data,
                    const struct abi_trx_meta *meta, bool *exit_loop);
    int (*unordered_cb)(void *recv_ctx, const struct abi_buf *data);
    int (*sst_donate_cb)(void *app_ctx, void *recv_ctx, const struct abi_buf *request, const struct abi_gtid *state_id,
                         const struct abi_buf *state, bool is_bypass);
    int (*synced_cb)(void *app_ctx);
};

struct abi_table {
    const char *version;
    int (*init)(struct abi_table *t, const struct abi_init_args *args);
    uint32_t (*capabilities)(struct abi_table *t);
    int (*options_set)(struct abi_table *t, const char *options);
    char *(*options_get)(struct abi_table *t);
    int (*enc_set_key)(struct abi_table *t, const struct abi_buf *key);
    int (*connect)(struct abi_table *t, const char *cluster_name, const char *cluster_url, const char *state_donor,
                   bool is_bootstrap);
    int (*disconnect)(struct abi_table *t);
    int (*recv)(struct abi_table *t, void *recv_ctx);
    int (*assign_read_view)(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_gtid *view);
    int (*certify)(struct abi_table *t, uint64_t conn, struct abi_ws_handle *handle, uint32_t flags,
                   struct abi_trx_meta *meta);
    int (*commit_order_enter)(struct abi_table *t, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta);
    int (*commit_order_leave)(struct abi_table *t, const struct abi_ws_handle *handle, const struct abi_trx_meta *meta,
                              const struct abi_buf *error);
    int (*release)(struct abi_table *t, struct abi_ws_handle *handle);
    int (*replay_trx)(struct abi_table *t, const struct abi_ws_handle *handle, void *trx_ctx);
    int (*abort_certification)(struct abi_table *t, int64_t bf_seqno, uint64_t victim_trx, int64_t *victim_seqno);
    int (*rollback)(struct abi_table *t, uint64_t trx, const struct abi_buf *data);
    int (*append_key)(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_key *keys, size_t count,
                      int type, bool is_copy);
    int (*append_data)(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_buf *data, size_t count,
                       int type, bool is_copy);
    int (*sync_wait)(struct abi_table *t, struct abi_gtid *upto, int timeout_s, struct abi_gtid *gtid);
    int (*last_committed_id)(struct abi_table *t, struct abi_gtid *gtid);
    int (*free_connection)(struct abi_table *t, uint64_t conn);
    int (*to_execute_start)(struct abi_table *t, uint64_t conn, const struct abi_key *keys, size_t key_count,
                            const struct abi_buf *action, size_t count, uint32_t flags, struct abi_trx_meta *meta);
    int (*to_execute_end)(struct abi_table *t, uint64_t conn, const struct abi_buf *error);
    int (*preordered_collect)(struct abi_table *t, struct abi_po_handle *handle, const struct abi_buf *data,
                              size_t count, bool is_copy);
    int (*preordered_commit)(struct abi_table *t, struct abi_po_handle *handle, const union abi_uuid *source,
                             uint32_t flags, int pa_range, bool is_commit);
    int (*sst_sent)(struct abi_table *t, const struct abi_gtid *state_id, int code);
    int (*sst_received)(struct abi_table *t, const struct abi_gtid *state_id, const struct abi_buf *state, int code);
    int (*snapshot)(struct abi_table *t, const struct abi_buf *message, const char *donor);
    struct abi_stats_var *(*stats_get)(struct abi_table *t);
    void (*stats_free)(struct abi_table *t, struct abi_stats_var *stats);
    void (*stats_reset)(struct abi_table *t);
    int64_t (*pause)(struct abi_table *t);
    int (*resume)(struct abi_table *t);
    int (*desync)(struct abi_table *t);
    int (*resync)(struct abi_table *t);
    int (*lock)(struct abi_table *t, const char *name, bool is_shared, uint64_t owner, int64_t timeout_ns);
    int (*unlock)(struct abi_table *t, const char *name, uint64_t owner);
    bool (*is_locked)(struct abi_table *t, const char *name, uint64_t *owner, union abi_uuid *node);
    const char *provider_name;
    const char *provider_version;
    const char *provider_vendor;
    void (*free)(struct abi_table *t);
    void *dlh; /* of the server's loader */
    void *ctx; /* ours */
};

/* Optional services (section 5). */
struct abi_allowlist_v1 {
    int (*check)(void *ctx, int key_kind, const struct abi_buf *value);
    void *ctx;
};

struct abi_event_v1 {
    void (*event)(void *ctx, const char *name, const char *json);
    void *ctx;
};

enum abi_parameter_flag {
    ABI_PARAMETER_DEPRECATED = 1,
    ABI_PARAMETER_READ_ONLY = 2,
    ABI_PARAMETER_BOOL = 4,
    ABI_PARAMETER_INTEGER = 8,
    ABI_PARAMETER_DOUBLE = 16
};

struct abi_parameter {
    int flags;
    const char *name;
    union {
        bool boolean;
        int64_t integer;
        double dbl;
        const char *string;
    } value;
};

struct abi_config_v1 {
    int (*get_parameters)(struct abi_table *t, int (*visit)(const struct abi_parameter *parameter, void *context),
                          void *context);
};

/* What the library exports (section 1.2). */
#pragma GCC visibility push(default)
extern const char *wsrep_interface_version;
int wsrep_loader(struct abi_table *t);
int wsrep_init_allowlist_service_v1(struct abi_allowlist_v1 *service);
void wsrep_deinit_allowlist_service_v1(void);
int wsrep_init_event_service_v1(struct abi_event_v1 *service);
void wsrep_deinit_event_service_v1(void);
int wsrep_init_config_service_v1(struct abi_config_v1 *service);
void wsrep_deinit_config_service_v1(void);
int wsrep_node_isolation_mode_set_v1(int mode);
int wsrep_certify_v1(struct abi_table *t, uint64_t conn, struct abi_ws_handle *handle, uint32_t flags,
                     struct abi_trx_meta *meta, const struct abi_seq_cb *seq_cb);
#pragma GCC visibility pop

#define ABI_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#define ABI_AT(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "." #field)
#define ABI_SLOT(number, field) ABI_AT(struct abi_table, field, (number)*8)

ABI_SIZE(union abi_uuid, 16);
ABI_SIZE(struct abi_gtid, 24);
ABI_SIZE(struct abi_stid, 32);
ABI_SIZE(struct abi_trx_meta, 64);
ABI_AT(struct abi_trx_meta, stid, 24);
ABI_AT(struct abi_trx_meta, depends_on, 56);
ABI_SIZE(struct abi_buf, 16);
ABI_SIZE(struct abi_ws_handle, 16);
ABI_SIZE(struct abi_member_info, 304);
ABI_AT(struct abi_view_info, view, 24);
ABI_AT(struct abi_view_info, status, 32);
ABI_AT(struct abi_view_info, capabilities, 36);
ABI_AT(struct abi_view_info, my_idx, 40);
ABI_AT(struct abi_view_info, memb_num, 44);
ABI_AT(struct abi_view_info, proto_ver, 48);
ABI_AT(struct abi_view_info, members, 56);
ABI_SIZE(struct abi_key, 16);
ABI_SIZE(struct abi_stats_var, 24);
ABI_AT(struct abi_stats_var, value, 16);
ABI_SIZE(struct abi_po_handle, 8);
ABI_SIZE(struct abi_enc_ctx, 24);
ABI_SIZE(struct abi_seq_cb, 16);

ABI_SIZE(struct abi_init_args, 144);
ABI_AT(struct abi_init_args, node_name, 8);
ABI_AT(struct abi_init_args, node_address, 16);
ABI_AT(struct abi_init_args, node_incoming, 24);
ABI_AT(struct abi_init_args, data_dir, 32);
ABI_AT(struct abi_init_args, options, 40);
ABI_AT(struct abi_init_args, proto_ver, 48);
ABI_AT(struct abi_init_args, state_id, 56);
ABI_AT(struct abi_init_args, state, 64);
ABI_AT(struct abi_init_args, logger_cb, 72);
ABI_AT(struct abi_init_args, connected_cb, 80);
ABI_AT(struct abi_init_args, view_cb, 88);
ABI_AT(struct abi_init_args, sst_request_cb, 96);
ABI_AT(struct abi_init_args, encrypt_cb, 104);
ABI_AT(struct abi_init_args, apply_cb, 112);
ABI_AT(struct abi_init_args, unordered_cb, 120);
ABI_AT(struct abi_init_args, sst_donate_cb, 128);
ABI_AT(struct abi_init_args, synced_cb, 136);

ABI_SIZE(struct abi_table, 360);
ABI_SLOT(0, version);
ABI_SLOT(1, init);
ABI_SLOT(2, capabilities);
ABI_SLOT(3, options_set);
ABI_SLOT(4, options_get);
ABI_SLOT(5, enc_set_key);
ABI_SLOT(6, connect);
ABI_SLOT(7, disconnect);
ABI_SLOT(8, recv);
ABI_SLOT(9, assign_read_view);
ABI_SLOT(10, certify);
ABI_SLOT(11, commit_order_enter);
ABI_SLOT(12, commit_order_leave);
ABI_SLOT(13, release);
ABI_SLOT(14, replay_trx);
ABI_SLOT(15, abort_certification);
ABI_SLOT(16, rollback);
ABI_SLOT(17, append_key);
ABI_SLOT(18, append_data);
ABI_SLOT(19, sync_wait);
ABI_SLOT(20, last_committed_id);
ABI_SLOT(21, free_connection);
ABI_SLOT(22, to_execute_start);
ABI_SLOT(23, to_execute_end);
ABI_SLOT(24, preordered_collect);
ABI_SLOT(25, preordered_commit);
ABI_SLOT(26, sst_sent);
ABI_SLOT(27, sst_received);
ABI_SLOT(28, snapshot);
ABI_SLOT(29, stats_get);
ABI_SLOT(30, stats_free);
ABI_SLOT(31, stats_reset);
ABI_SLOT(32, pause);
ABI_SLOT(33, resume);
ABI_SLOT(34, desync);
ABI_SLOT(35, resync);
ABI_SLOT(36, lock);
ABI_SLOT(37, unlock);
ABI_SLOT(38, is_locked);
ABI_SLOT(39, provider_name);
ABI_SLOT(40, provider_version);
ABI_SLOT(41, provider_vendor);
ABI_SLOT(42, free);
ABI_SLOT(43, dlh);
ABI_SLOT(44, ctx);

ABI_SIZE(struct abi_allowlist_v1, 16);
ABI_SIZE(struct abi_event_v1, 16);
ABI_SIZE(struct abi_config_v1, 8);
ABI_SIZE(struct abi_parameter, 24);
ABI_AT(struct abi_parameter, name, 8);
ABI_AT(struct abi_parameter, value, 16);

#endif
