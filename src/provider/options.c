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

#define SHOWN_SIZE 128 /* of a value that is shown otherwise than it was given: none is longer */

/* Shown text equal to the new one: nothing to do, whatever the option is. So a saved string can always be restored. */
static bool is_unchanged(struct provider *provider, const char *name, const char *value) {
    return strcmp(name, "socket.ssl_reload") != 0 && xb_options_is(provider->options, name, value);
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

/* -> the value itself, or another text in `text` */
static const char *normalize(const struct xb_option_definition *option, const char *value, char text[SHOWN_SIZE]) {
    bool is_gcomm = has_prefix(option->name, "evs.") || has_prefix(option->name, "pc.");
    int64_t number;
    bool is_true;
    if (option->type == XB_OPTION_PERIOD && is_gcomm && !xb_parse_period(value, &number)) {
        char period[XB_PERIOD_TEXT_SIZE];
        snprintf(text, SHOWN_SIZE, "%s", xb_format_period(number, period));
    } else if (option->type == XB_OPTION_INTEGER_SUFFIX && !xb_parse_integer(value, true, &number)) {
        format_size(number, text, SHOWN_SIZE);
    } else if (option->type == XB_OPTION_BOOL && has_prefix(option->name, "evs.") && !xb_parse_bool(value, &is_true)) {
        snprintf(text, SHOWN_SIZE, "%s", is_true ? "true" : "false");
    } else if (option->type == XB_OPTION_MASK) {
        unsigned long mask = strtoul(value, NULL, 16);
        snprintf(text, SHOWN_SIZE, mask ? "0x%lx" : "%lx", mask);
    } else {
        return value;
    }
    return text;
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

/* A stored value takes effect. -> 0, or the reason in *error */
static int take_effect(struct provider *provider, const struct xb_option_definition *option, const char *value,
                       struct xb_error *error) {
    const char *name = option->name;
    if (option->dynamic == XB_OPTION_STORED) {
        if (!strcmp(name, "socket.recv_buf_size"))
            xb_log_warning(&provider->log, "socket.recv_buf_size takes effect at the next start");
        return 0;
    }
    if (!strcmp(name, "debug")) set_debug(provider, value);
    bool is_tls = has_prefix(name, "socket.ssl_") && strcmp(name, "socket.ssl_watch") != 0;
    return is_tls ? tls_keeper_reload(provider->tls, error)
                  : replicator_apply_option(provider->rep, name, value, error);
}

static int apply_one(void *ctx, const char *name, const char *value) {
    struct provider *provider = ctx;
    const struct xb_option_definition *option = xb_option_find(name);
    char shown[SHOWN_SIZE];
    struct xb_error error;
    if (is_unchanged(provider, name, value)) return 0;
    if (option->dynamic == XB_OPTION_TRIGGER) return apply_trigger(provider, name, value);
    char *old = xb_options_copy(provider->options, name);
    int rc = 0;
    if (xb_options_put(provider->options, name, normalize(option, value, shown))) {
        rc = refuse(provider, name, value, "no memory");
    } else if (take_effect(provider, option, value, &error)) {
        xb_options_put(provider->options, name, old);
        rc = refuse(provider, name, value, error.text);
    }
    free(old);
    return rc;
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
                       struct abi_parameter *parameter, const char *text) {
    if (parameter->flags & ABI_PARAMETER_BOOL)
        parameter->value.boolean = xb_options_bool(provider->options, option->name);
    else if (parameter->flags & ABI_PARAMETER_INTEGER)
        parameter->value.integer = xb_options_integer(provider->options, option->name);
    else if ((parameter->flags & ABI_PARAMETER_DOUBLE) && option->type == XB_OPTION_PERIOD)
        parameter->value.dbl = (double)xb_options_period_ns(provider->options, option->name) / 1e9;
    else if (parameter->flags & ABI_PARAMETER_DOUBLE)
        parameter->value.dbl = xb_options_double(provider->options, option->name);
    else
        parameter->value.string = text ? text : "";
}

int provider_get_parameters(struct abi_table *t, int (*visit)(const struct abi_parameter *parameter, void *context),
                            void *context) {
    struct provider *provider = provider_of(t);
    if (!provider) return REPLICATOR_FATAL;
    for (size_t i = 0; i < xb_option_count; i++) {
        const struct xb_option_definition *option = &xb_option_table[i];
        struct abi_parameter parameter = {.flags = option->config_flags, .name = option->name};
        if (option->is_hidden) continue;
        char *text = xb_options_copy(provider->options, option->name);
        read_value(provider, option, &parameter, text);
        int rc = visit(&parameter, context);
        free(text);
        if (rc) return REPLICATOR_FATAL;
    }
    return REPLICATOR_OK;
}
