/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The beginning and the end of a provider (spec 01 sections 4, 8.2 and 1.4). */
#include "provider/provider.h"

#include "tls/tls_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_SIZE 256

/* "host", "host:port", "[v6]", "[v6]:port" or a bare v6 address. -> port text, or NULL */
static const char *split_address(const char *address, char host[ADDRESS_SIZE]) {
    const char *end = address[0] == '[' ? strchr(address, ']') : NULL;
    const char *colon = strchr(end ? end : address, ':');
    if (!end && colon && strchr(colon + 1, ':')) colon = NULL; /* IPv6 without brackets */
    size_t size = colon ? (size_t)(colon - address) : strlen(address);
    if (size >= ADDRESS_SIZE) size = ADDRESS_SIZE - 1;
    memcpy(host, address, size);
    host[size] = 0;
    return colon && colon[1] ? colon + 1 : NULL;
}

static bool is_any_address(const char *host) {
    static const char *const any[] = {"0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0", "[0:0:0:0:0:0:0:0]"};
    for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++)
        if (!strcmp(host, any[i])) return true;
    return false;
}

/* The node's own address and directory are defaults; the option string may say otherwise. */
static int set_defaults(struct provider *provider, const struct abi_init_args *args, struct xb_error *error) {
    const char *address = args->node_address ? args->node_address : "", *dir = args->data_dir;
    char host[ADDRESS_SIZE];
    xb_options_put(provider->options, "base_dir", dir && dir[0] ? dir : ".");
    if (!address[0]) return 0;
    const char *port = split_address(address, host);
    if (is_any_address(host))
        return xb_fail(error, -EINVAL, "Bad value for 'node_address': '%s' is no address that others can use", address);
    xb_options_put(provider->options, "base_host", host);
    xb_options_put(provider->options, "ist.recv_addr", host);
    if (port) {
        if (xb_options_check("base_port", port, error))
            return xb_fail(error, -EINVAL, "Bad value for 'node_address': '%s': %s is no port", address, port);
        xb_options_put(provider->options, "base_port", port);
    }
    return 0;
}

static int warn_deprecated(void *ctx, const char *name, const char *value) {
    struct provider *provider = ctx;
    const struct xb_option_definition *option = xb_option_find(name);
    (void)value;
    if (option && (option->config_flags & XB_FLAG_DEPRECATED))
        xb_log_warning(&provider->log, "Option '%s' is deprecated and has no effect or another name", name);
    return 0;
}

static int warn_ignored(void *ctx, const char *name, const char *value) {
    struct provider *provider = ctx;
    int64_t number;
    if (!strcmp(name, "gcs.fc_limit") && !xb_parse_integer(value, true, &number) && number == 0)
        xb_log_warning(&provider->log, "gcs.fc_limit = 0 would stop the group for ever and is ignored: it is %s",
                       xb_option_find(name)->default_text);
    if (!strcmp(name, "cert.max_length") || !strcmp(name, "cert.length_check"))
        xb_log_warning(&provider->log, "Option '%s' is ignored: it must be equal on all nodes for ever", name);
    bool is_keeping = true;
    if (!strcmp(name, "ist.keep_keys") && !xb_parse_bool(value, &is_keeping) && !is_keeping)
        xb_log_warning(&provider->log, "ist.keep_keys = no is ignored: joiners need the keys to certify");
    return 0;
}

static int start_options(struct provider *provider, const struct abi_init_args *args, struct xb_error *error) {
    const char *text = args->options ? args->options : "";
    int rc = set_defaults(provider, args, error);
    if (!rc) rc = xb_options_start(provider->options, text, error);
    if (rc) return rc;
    xb_options_split(text, warn_ignored, provider, error);
    if (!service_has_config()) xb_options_split(text, warn_deprecated, provider, error);
    atomic_store(&provider->log.is_debug, xb_options_bool(provider->options, "debug"));
    return 0;
}

static void on_new_tls(void *ctx, struct tls_context *tls) {
    replicator_set_tls(((struct provider *)ctx)->rep, tls);
}

static int start_replicator(struct provider *provider, const struct abi_init_args *args, struct xb_error *error) {
    struct replicator_callbacks callbacks;
    char dir[4096];
    provider->tls = tls_keeper_new(provider->options, &provider->log, error);
    if (!provider->tls) return error->code;
    struct tls_context *tls = tls_keeper_context(provider->tls);
    /* Not at warning level: the server's own test suites take every unknown warning for a failure. */
    if (!tls)
        xb_log_info(&provider->log, "WARNING: group communication and state transfers are NOT ENCRYPTED: set "
                                    "socket.ssl_key, socket.ssl_cert and socket.ssl_ca in wsrep_provider_options");
    xb_options_text(provider->options, "base_dir", dir, sizeof(dir));
    struct replicator_config config = {
        .node_name = args->node_name ? args->node_name : "",
        .node_incoming = args->node_incoming ? args->node_incoming : "",
        .data_dir = dir,
        .appl_version_max = args->proto_ver,
        .start = args->state_id ? gtid_from_abi(args->state_id) : (struct replicator_gtid){xb_uuid_nil, -1},
        .options = provider->options,
        .tls = tls,
        .isolation = service_isolation(),
    };
    provider_callbacks(provider, &callbacks);
    provider->rep = replicator_new(&config, &callbacks, &provider->log, error);
    tls_context_unref(tls);
    if (!provider->rep) return error->code ? error->code : -EIO;
    return tls_keeper_start(provider->tls, on_new_tls, provider, error);
}

static void take_callbacks(struct provider *provider, const struct abi_init_args *args) {
    provider->app_ctx = args->app_ctx;
    provider->connected = args->connected_cb;
    provider->view = args->view_cb;
    provider->sst_request = args->sst_request_cb;
    provider->apply = args->apply_cb;
    provider->unordered = args->unordered_cb;
    provider->sst_donate = args->sst_donate_cb;
    provider->synced = args->synced_cb;
}

static void destroy(struct provider *provider) {
    if (provider->tls) tls_keeper_stop(provider->tls);
    replicator_free(provider->rep);
    tls_keeper_free(provider->tls);
    xb_options_free(provider->options);
    pthread_mutex_destroy(&provider->options_lock);
    free(provider);
}

int provider_init(struct abi_table *t, const struct abi_init_args *args) {
    struct provider *provider = calloc(1, sizeof(*provider));
    struct xb_error error = {.code = 0};
    if (!provider) return REPLICATOR_NODE_FAIL;
    provider_log_init(provider, args->logger_cb);
    pthread_mutex_init(&provider->options_lock, NULL);
    take_callbacks(provider, args);
    provider->options = xb_options_new();
    int rc = provider->options ? start_options(provider, args, &error) : xb_fail(&error, -ENOMEM, "no memory");
    if (!rc) rc = start_replicator(provider, args, &error);
    if (rc) {
        xb_log_error(&provider->log, "%s", error.text);
        destroy(provider);
        return REPLICATOR_NODE_FAIL;
    }
    t->ctx = provider;
    return REPLICATOR_OK;
}

/* The server calls it twice (section 1.4). */
void provider_free(struct abi_table *t) {
    struct provider *provider = provider_of(t);
    if (!provider) return;
    t->ctx = NULL;
    destroy(provider);
}
