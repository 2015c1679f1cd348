/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options_set, options_get and the config service (spec 01 section 6, 09 sections 1, 2 and 5). A string is checked as a
 * whole before its first option is touched; then the options take effect from left to right.
 */
#include "provider/provider.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_SIZE 4096

/* Shown text equal to the new one: nothing to do, whatever the option is. So a saved string can always be restored. */
static bool is_unchanged(struct provider *provider, const char *name, const char *value) {
    char text[VALUE_SIZE];
    if (!strcmp(name, "socket.ssl_reload")) return false;
    return xb_options_text(provider->options, name, text, sizeof(text)) >= 0 && !strcmp(text, value);
}

static int refuse(struct provider *provider, const char *name, const char *value, const char *reason) {
    xb_log_warning(&provider->log, "Setting parameter '%s' to '%s' failed: %s", name, value, reason);
    return -EINVAL;
}

static int check_one(void *ctx, const char *name, const char *value) {
    struct provider *provider = ctx;
    const struct xb_option_definition *option = xb_option_find(name);
    struct xb_error error;
    if (!option) {
        xb_log_warning(&provider->log, "Unknown parameter '%s'", name);
        return -ENOENT;
    }
    if (is_unchanged(provider, name, value)) return 0;
    if (option->dynamic == XB_OPTION_FIXED)
        return refuse(provider, name, value, "it cannot be changed while the provider is running");
    if (xb_options_check(name, value, &error)) return refuse(provider, name, value, error.text);
    return 0;
}

/* ---- how a new value is shown (spec 09 section 2.2) ---- */

static void format_size(int64_t value, char *text, size_t size) {
    static const char suffixes[] = " KMGT";
    int i = 0;
    while (value && value % 1024 == 0 && i < 4) {
        value /= 1024;
        i++;
    }
    if (i)
        snprintf(text, size, "%" PRId64 "%c", value, suffixes[i]);
    else
        snprintf(text, size, "%" PRId64, value);
}

static bool has_prefix(const char *name, const char *prefix) {
    return !strncmp(name, prefix, strlen(prefix));
}

static void normalize(const struct xb_option_definition *option, const char *value, char *text, size_t size) {
    bool is_gcomm = has_prefix(option->name, "evs.") || has_prefix(option->name, "pc.");
    int64_t number;
    bool is_true;
    snprintf(text, size, "%s", value);
    if (option->type == XB_OPTION_PERIOD && is_gcomm && !xb_parse_period(value, &number)) {
        char period[XB_PERIOD_TEXT_SIZE];
        snprintf(text, size, "%s", xb_format_period(number, period));
    } else if (option->type == XB_OPTION_INTEGER_SUFFIX && !xb_parse_integer(value, true, &number)) {
        format_size(number, text, size);
    } else if (option->type == XB_OPTION_BOOL && has_prefix(option->name, "evs.") && !xb_parse_bool(value, &is_true)) {
        snprintf(text, size, "%s", is_true ? "true" : "false");
    } else if (option->type == XB_OPTION_MASK) {
        unsigned long mask = strtoul(value, NULL, 16);
        snprintf(text, size, mask ? "0x%lx" : "%lx", mask);
    }
}

/* ---- taking effect ---- */

static int reload_tls(struct provider *provider) {
    struct xb_error error;
    if (!tls_keeper_reload(provider->tls, &error)) return 0;
    xb_log_error(&provider->log, "The certificate files are not usable; the old ones stay in use: %s", error.text);
    return -EINVAL;
}

static void set_debug(struct provider *provider, const char *value) {
    bool is_on = false;
    xb_parse_bool(value, &is_on);
    atomic_store(&provider->log.is_debug, is_on);
}

static int apply_trigger(struct provider *provider, const char *name, const char *value) {
    struct xb_error error;
    bool is_on = true;
    if (!strcmp(name, "socket.ssl_reload")) {
        if (xb_parse_bool(value, &is_on)) return refuse(provider, name, value, "not a boolean");
        return is_on ? reload_tls(provider) : 0;
    }
    return replicator_apply_option(provider->rep, name, value, &error) ? refuse(provider, name, value, error.text) : 0;
}

static int apply_one(void *ctx, const char *name, const char *value) {
    struct provider *provider = ctx;
    const struct xb_option_definition *option = xb_option_find(name);
    char old[VALUE_SIZE], shown[VALUE_SIZE];
    struct xb_error error;
    if (is_unchanged(provider, name, value)) return 0;
    if (option->dynamic == XB_OPTION_TRIGGER) return apply_trigger(provider, name, value);
    bool had_value = xb_options_text(provider->options, name, old, sizeof(old)) >= 0;
    normalize(option, value, shown, sizeof(shown));
    if (xb_options_put(provider->options, name, shown)) return refuse(provider, name, value, "no memory");
    if (option->dynamic == XB_OPTION_STORED) {
        if (!strcmp(name, "socket.recv_buf_size"))
            xb_log_warning(&provider->log, "socket.recv_buf_size takes effect at the next start");
        return 0;
    }
    if (!strcmp(name, "debug")) set_debug(provider, value);
    bool is_tls = has_prefix(name, "socket.ssl_") && strcmp(name, "socket.ssl_watch") != 0;
    if (is_tls ? !tls_keeper_reload(provider->tls, &error)
               : !replicator_apply_option(provider->rep, name, value, &error))
        return 0;
    xb_options_put(provider->options, name, had_value ? old : NULL);
    return refuse(provider, name, value, error.text);
}

int provider_options_set(struct abi_table *t, const char *text) {
    struct provider *provider = provider_of(t);
    struct xb_error error = {.text = ""};
    if (!text) return REPLICATOR_OK;
    pthread_mutex_lock(&provider->options_lock);
    int rc = xb_options_split(text, check_one, provider, &error);
    if (rc == -EINVAL && error.text[0]) xb_log_debug(&provider->log, "%s", error.text);
    if (!rc) rc = xb_options_split(text, apply_one, provider, &error);
    pthread_mutex_unlock(&provider->options_lock);
    return rc ? REPLICATOR_NODE_FAIL : REPLICATOR_OK;
}

char *provider_options_get(struct abi_table *t) {
    struct provider *provider = provider_of(t);
    return provider ? xb_options_show(provider->options) : NULL;
}

/* ---- config service ---- */

static void read_value(struct provider *provider, const struct xb_option_definition *option,
                       struct abi_parameter *parameter, char *text, size_t size) {
    xb_options_text(provider->options, option->name, text, size); /* "" without a value */
    if (parameter->flags & ABI_PARAMETER_BOOL)
        parameter->value.boolean = xb_options_bool(provider->options, option->name);
    else if (parameter->flags & ABI_PARAMETER_INTEGER)
        parameter->value.integer = xb_options_integer(provider->options, option->name);
    else if ((parameter->flags & ABI_PARAMETER_DOUBLE) && option->type == XB_OPTION_PERIOD)
        parameter->value.dbl = (double)xb_options_period_ns(provider->options, option->name) / 1e9;
    else if (parameter->flags & ABI_PARAMETER_DOUBLE)
        parameter->value.dbl = xb_options_double(provider->options, option->name);
    else
        parameter->value.string = text;
}

int provider_get_parameters(struct abi_table *t, int (*visit)(const struct abi_parameter *parameter, void *context),
                            void *context) {
    struct provider *provider = provider_of(t);
    if (!provider) return REPLICATOR_FATAL;
    for (size_t i = 0; i < xb_option_count; i++) {
        const struct xb_option_definition *option = &xb_option_table[i];
        struct abi_parameter parameter = {.flags = option->config_flags, .name = option->name};
        char text[VALUE_SIZE];
        if (option->is_hidden) continue;
        read_value(provider, option, &parameter, text, sizeof(text));
        if (visit(&parameter, context)) return REPLICATOR_FATAL;
    }
    return REPLICATOR_OK;
}
