/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the server's loader gets: the table, its version, and the functions that are one call each. */
#include "provider/provider.h"

#include <errno.h>
#include <unistd.h>

const char *wsrep_interface_version = ABI_VERSION;

static uint32_t get_capabilities(struct abi_table *t) {
    return replicator_capabilities(provider_of(t)->rep);
}

/* The stock provider has no encryption of its history, no read views, no snapshots on request and no locks either. */
static int enc_set_key(struct abi_table *t, const struct abi_buf *key) {
    (void)t;
    (void)key;
    return REPLICATOR_NOT_IMPLEMENTED;
}

static int assign_read_view(struct abi_table *t, struct abi_ws_handle *handle, const struct abi_gtid *view) {
    (void)t;
    (void)handle;
    (void)view;
    return REPLICATOR_NOT_IMPLEMENTED;
}

static int snapshot(struct abi_table *t, const struct abi_buf *message, const char *donor) {
    (void)t;
    (void)message;
    (void)donor;
    return REPLICATOR_NOT_IMPLEMENTED;
}

static int lock(struct abi_table *t, const char *name, bool is_shared, uint64_t owner, int64_t timeout_ns) {
    (void)t;
    (void)name;
    (void)is_shared;
    (void)owner;
    (void)timeout_ns;
    return REPLICATOR_NOT_IMPLEMENTED;
}

static int unlock(struct abi_table *t, const char *name, uint64_t owner) {
    (void)t;
    (void)name;
    (void)owner;
    return REPLICATOR_OK;
}

static bool is_locked(struct abi_table *t, const char *name, uint64_t *owner, union abi_uuid *node) {
    (void)t;
    (void)name;
    (void)owner;
    (void)node;
    return false;
}

static int free_connection(struct abi_table *t, uint64_t conn) {
    (void)t;
    (void)conn;
    return REPLICATOR_OK;
}

static int connect_group(struct abi_table *t, const char *cluster_name, const char *cluster_url,
                         const char *state_donor, bool is_bootstrap) {
    atomic_store(&provider_of(t)->is_server_starting, gettid() == getpid());
    return (int)replicator_connect(provider_of(t)->rep, cluster_name ? cluster_name : "",
                                   cluster_url ? cluster_url : "", state_donor, is_bootstrap);
}

static int disconnect_group(struct abi_table *t) {
    return (int)replicator_disconnect(provider_of(t)->rep);
}

static int receive(struct abi_table *t, void *recv_ctx) {
    return (int)replicator_recv(provider_of(t)->rep, recv_ctx);
}

static int sync_wait(struct abi_table *t, struct abi_gtid *upto, int timeout_s, struct abi_gtid *gtid) {
    struct replicator_gtid target, reached;
    if (upto) target = gtid_from_abi(upto);
    int rc = (int)replicator_sync_wait(provider_of(t)->rep, upto ? &target : NULL, timeout_s, gtid ? &reached : NULL);
    if (!rc && gtid) *gtid = gtid_to_abi(&reached);
    return rc;
}

static int last_committed_id(struct abi_table *t, struct abi_gtid *gtid) {
    struct replicator_gtid position = replicator_last_committed(provider_of(t)->rep);
    *gtid = gtid_to_abi(&position);
    return REPLICATOR_OK;
}

static int sst_sent(struct abi_table *t, const struct abi_gtid *state_id, int code) {
    struct replicator_gtid state = gtid_from_abi(state_id);
    return (int)replicator_sst_sent(provider_of(t)->rep, &state, code);
}

static int sst_received(struct abi_table *t, const struct abi_gtid *state_id, const struct abi_buf *state, int code) {
    struct replicator_gtid position = gtid_from_abi(state_id);
    (void)state;
    return (int)replicator_sst_received(provider_of(t)->rep, &position, code);
}

static int64_t pause_node(struct abi_table *t) {
    return replicator_pause(provider_of(t)->rep);
}

static int resume_node(struct abi_table *t) {
    return (int)replicator_resume(provider_of(t)->rep);
}

static int desync_node(struct abi_table *t) {
    return (int)replicator_desync(provider_of(t)->rep);
}

static int resync_node(struct abi_table *t) {
    return (int)replicator_resync(provider_of(t)->rep);
}

int wsrep_loader(struct abi_table *t) {
    if (!t) return EINVAL;
    *t = (struct abi_table){
        .version = ABI_VERSION,
        .init = provider_init,
        .capabilities = get_capabilities,
        .options_set = provider_options_set,
        .options_get = provider_options_get,
        .enc_set_key = enc_set_key,
        .connect = connect_group,
        .disconnect = disconnect_group,
        .recv = receive,
        .assign_read_view = assign_read_view,
        .certify = provider_certify,
        .commit_order_enter = provider_commit_order_enter,
        .commit_order_leave = provider_commit_order_leave,
        .release = provider_release,
        .replay_trx = provider_replay_trx,
        .abort_certification = provider_abort_certification,
        .rollback = provider_rollback,
        .append_key = provider_append_key,
        .append_data = provider_append_data,
        .sync_wait = sync_wait,
        .last_committed_id = last_committed_id,
        .free_connection = free_connection,
        .to_execute_start = provider_to_execute_start,
        .to_execute_end = provider_to_execute_end,
        .preordered_collect = provider_preordered_collect,
        .preordered_commit = provider_preordered_commit,
        .sst_sent = sst_sent,
        .sst_received = sst_received,
        .snapshot = snapshot,
        .stats_get = provider_stats_get,
        .stats_free = provider_stats_free,
        .stats_reset = provider_stats_reset,
        .pause = pause_node,
        .resume = resume_node,
        .desync = desync_node,
        .resync = resync_node,
        .lock = lock,
        .unlock = unlock,
        .is_locked = is_locked,
        .provider_name = PROVIDER_NAME,
        .provider_version = PROVIDER_VERSION,
        .provider_vendor = PROVIDER_VENDOR,
        .free = provider_free,
    };
    return 0;
}
