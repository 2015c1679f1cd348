/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the replicator to the server: views, write sets, requests and log lines in the interface's clothes. */
#include "provider/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct xb_uuid uuid_from_abi(const union abi_uuid *uuid) {
    struct xb_uuid result;
    memcpy(result.bytes, uuid->data, sizeof(result.bytes));
    return result;
}

union abi_uuid uuid_to_abi(const struct xb_uuid *uuid) {
    union abi_uuid result;
    memcpy(result.data, uuid->bytes, sizeof(result.data));
    return result;
}

struct replicator_gtid gtid_from_abi(const struct abi_gtid *gtid) {
    return (struct replicator_gtid){uuid_from_abi(&gtid->uuid), gtid->seqno};
}

struct abi_gtid gtid_to_abi(const struct replicator_gtid *gtid) {
    return (struct abi_gtid){uuid_to_abi(&gtid->uuid), gtid->seqno};
}

struct replicator_meta meta_from_abi(const struct abi_trx_meta *meta) {
    return (struct replicator_meta){gtid_from_abi(&meta->gtid), uuid_from_abi(&meta->stid.node), meta->stid.trx,
                                    meta->stid.conn, meta->depends_on};
}

struct abi_trx_meta meta_to_abi(const struct replicator_meta *meta) {
    return (struct abi_trx_meta){
        gtid_to_abi(&meta->gtid), {uuid_to_abi(&meta->node), meta->trx, meta->conn}, meta->depends};
}

/* ---- log ---- */

static void write_line(void *ctx, enum xb_log_level level, const char *line) {
    static const char *const words[] = {"fatal", "error", "warning", "info", "debug"};
    struct provider *provider = ctx;
    char cut[LOG_LINE_MAX + 1];
    if (strlen(line) > LOG_LINE_MAX) {
        memcpy(cut, line, LOG_LINE_MAX);
        cut[LOG_LINE_MAX] = 0;
        line = cut;
    }
    if (provider->logger)
        provider->logger((int)level, line);
    else
        fprintf(stderr, "%s: %s\n", words[level], line);
}

void provider_log_init(struct provider *provider, void (*logger)(int level, const char *message)) {
    provider->logger = logger;
    provider->log.write = write_line;
    provider->log.ctx = provider;
    atomic_init(&provider->log.is_debug, false);
}

/* ---- views ---- */

static void copy_text(char *to, size_t size, const char *from) {
    size_t n = strnlen(from, size - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

static struct abi_view_info *make_view(const struct replicator_view *view) {
    size_t size = sizeof(struct abi_view_info) + (view->member_count + 1) * sizeof(struct abi_member_info);
    struct abi_view_info *info = calloc(1, size);
    if (!info) return NULL;
    info->state_id = gtid_to_abi(&view->state);
    info->view = view->conf_id;
    info->status = view->conf_id < 0;
    info->capabilities = view->capabilities;
    info->my_idx = view->own_index;
    info->memb_num = (int)view->member_count;
    info->proto_ver = view->appl_version;
    for (size_t i = 0; i < view->member_count; i++) {
        const struct gcs_cchange_member *from = &view->members[i];
        struct abi_member_info *to = &info->members[i];
        to->id = uuid_to_abi(&from->uuid);
        copy_text(to->name, sizeof(to->name), from->name);
        copy_text(to->incoming, sizeof(to->incoming), from->incoming);
    }
    return info;
}

static int call_connected(void *ctx, const struct replicator_view *view) {
    struct provider *provider = ctx;
    struct abi_view_info *info = make_view(view);
    if (!info) return -1;
    int rc = provider->connected ? provider->connected(provider->app_ctx, info) : 0;
    free(info);
    return rc;
}

static int call_view(void *ctx, void *recv_ctx, const struct replicator_view *view) {
    struct provider *provider = ctx;
    struct abi_view_info *info = make_view(view);
    if (!info) return -1;
    int rc = provider->view(provider->app_ctx, recv_ctx, info, NULL, 0);
    free(info);
    return rc;
}

/* ---- the rest ---- */

static int call_sst_request(void *ctx, void **request, size_t *size) {
    struct provider *provider = ctx;
    *request = NULL;
    *size = 0;
    return provider->sst_request(provider->app_ctx, request, size);
}

static int call_apply(void *ctx, void *recv_ctx, const struct replicator_apply *apply, bool *exit_loop) {
    struct provider *provider = ctx;
    struct abi_ws_handle handle = {apply->trx, apply->opaque};
    struct abi_buf data = {apply->data, apply->size};
    struct abi_trx_meta meta = meta_to_abi(&apply->meta);
    return provider->apply(recv_ctx, &handle, apply->flags, &data, &meta, exit_loop);
}

static void call_unordered(void *ctx, void *recv_ctx, const void *data, size_t size) {
    struct provider *provider = ctx;
    struct abi_buf buf = {data, size};
    if (provider->unordered) provider->unordered(recv_ctx, &buf);
}

static int call_sst_donate(void *ctx, void *recv_ctx, const void *request, size_t size,
                           const struct replicator_gtid *state, bool is_bypass) {
    struct provider *provider = ctx;
    struct abi_buf message = {request, size}, none = {NULL, 0};
    struct abi_gtid gtid = gtid_to_abi(state);
    return provider->sst_donate(provider->app_ctx, recv_ctx, &message, &gtid, &none, is_bypass);
}

static int call_synced(void *ctx) {
    struct provider *provider = ctx;
    atomic_store(&provider->is_server_starting, false);
    return provider->synced ? provider->synced(provider->app_ctx) : 0;
}

/* A server that waits for its first state while it starts takes the final view for the end of its start, and its way
 * out runs against its own threads of the state transfer: it hangs or crashes (MariaDB 10.11: one start in three). */
static void end_starting_server(void *ctx) {
    struct provider *provider = ctx;
    if (!atomic_load(&provider->is_server_starting)) return;
    xb_log_info(&provider->log, "The server cannot start without a state: the process ends, with exit code 1");
    _exit(EXIT_FAILURE);
}

static void call_event(void *ctx, const char *name, const char *json) {
    (void)ctx;
    service_event(name, json);
}

static const char *call_refusal(void *ctx, const char *host) {
    (void)ctx;
    return service_refusal(host);
}

void provider_callbacks(struct provider *provider, struct replicator_callbacks *callbacks) {
    *callbacks = (struct replicator_callbacks){
        .ctx = provider,
        .connected = call_connected,
        .view = call_view,
        .sst_request = call_sst_request,
        .apply = call_apply,
        .unordered = call_unordered,
        .sst_donate = call_sst_donate,
        .synced = call_synced,
        .no_state = end_starting_server,
        .event = call_event,
        .refusal = call_refusal,
    };
}
