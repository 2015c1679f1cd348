/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options at run time (spec 09 section 4): what each one changes, here or in the layers of the group. The value has
 * been checked against the table and stored; whoever called takes it back if this fails.
 */
#include "replicator/internal.h"

#include <stdio.h>
#include <stdlib.h>

struct option_task {
    struct member_task task;
    struct replicator *rep;
    const char *name, *value;
    struct xb_error *error;
    int result;
};

/* ---- group layers, in the group thread ---- */

static int set_gcs(struct option_task *option, struct gcs *gcs, int64_t now_ns) {
    struct xb_options *from = option->rep->options;
    struct gcs_options options;
    gcs_options_default(&options);
    options.fc_limit = xb_options_integer(from, "gcs.fc_limit");
    options.fc_factor = xb_options_double(from, "gcs.fc_factor");
    options.fc_single_primary =
        xb_options_bool(from, "gcs.fc_single_primary") || xb_options_bool(from, "gcs.fc_master_slave");
    options.sync_donor = xb_options_bool(from, "gcs.sync_donor");
    options.max_packet_size = xb_options_integer(from, "gcs.max_packet_size");
    options.recv_q_hard_limit = xb_options_integer(from, "gcs.recv_q_hard_limit");
    options.recv_q_soft_limit = xb_options_double(from, "gcs.recv_q_soft_limit");
    options.max_throttle = xb_options_double(from, "gcs.max_throttle");
    options.stateless = xb_options_bool(from, "gcs.stateless");
    options.vote_policy = (int)xb_options_integer(from, "gcs.vote_policy");
    int rc = gcs_set_options(gcs, &options, now_ns);
    return rc ? xb_fail(option->error, rc, "%s", strerror(-rc)) : 0;
}

static const struct {
    const char *name;
    size_t offset;
} evs_periods[] = {
    {"evs.suspect_timeout", offsetof(struct evs_options, suspect_timeout_ns)},
    {"evs.inactive_timeout", offsetof(struct evs_options, inactive_timeout_ns)},
    {"evs.keepalive_period", offsetof(struct evs_options, keepalive_period_ns)},
    {"evs.join_retrans_period", offsetof(struct evs_options, join_retrans_period_ns)},
    {"evs.install_timeout", offsetof(struct evs_options, install_timeout_ns)},
    {"evs.causal_keepalive_period", offsetof(struct evs_options, causal_keepalive_period_ns)},
    {"evs.stats_report_period", offsetof(struct evs_options, stats_report_period_ns)},
    {"evs.delay_margin", offsetof(struct evs_options, delay_margin_ns)},
    {"evs.delayed_keep_period", offsetof(struct evs_options, delayed_keep_period_ns)},
};

static bool set_evs_period(struct evs_options *options, const char *name, const char *value) {
    for (size_t i = 0; i < sizeof(evs_periods) / sizeof(evs_periods[0]); i++)
        if (!strcmp(name, evs_periods[i].name)) {
            xb_parse_period(value, (int64_t *)((char *)options + evs_periods[i].offset));
            return true;
        }
    return false;
}

static void set_evs_number(struct evs_options *options, const char *name, const char *value) {
    int64_t number = 0;
    if (!strcmp(name, "evs.use_aggregate")) {
        xb_parse_bool(value, &options->use_aggregate);
        return;
    }
    if (strstr(name, "_log_mask"))
        number = (int64_t)strtoull(value, NULL, 16);
    else
        xb_parse_integer(value, false, &number);
    if (!strcmp(name, "evs.max_install_timeouts")) options->max_install_timeouts = (int32_t)number;
    if (!strcmp(name, "evs.send_window")) options->send_window = number;
    if (!strcmp(name, "evs.user_send_window")) options->user_send_window = number;
    if (!strcmp(name, "evs.auto_evict")) options->auto_evict = (uint32_t)number;
    if (!strcmp(name, "evs.version")) options->version = (uint8_t)number;
    if (!strcmp(name, "evs.debug_log_mask")) options->debug_log_mask = (uint32_t)number;
    if (!strcmp(name, "evs.info_log_mask")) options->info_log_mask = (uint32_t)number;
}

static int evict(struct option_task *option, struct evs *evs, int64_t now_ns) {
    struct xb_uuid node;
    if (!*option->value) {
        evs_evict(evs, NULL, now_ns);
        return 0;
    }
    if (strlen(option->value) != 36 || xb_uuid_parse(&node, option->value))
        return xb_fail(option->error, -EINVAL, "could not parse UUID from '%s'", option->value);
    evs_evict(evs, &node, now_ns);
    return 0;
}

static int set_evs(struct option_task *option, struct evs *evs, int64_t now_ns) {
    struct evs_options options;
    if (!strcmp(option->name, "evs.evict")) return evict(option, evs, now_ns);
    evs_get_options(evs, &options);
    if (!set_evs_period(&options, option->name, option->value)) set_evs_number(&options, option->name, option->value);
    int rc = evs_set_options(evs, &options, now_ns);
    return rc ? xb_fail(option->error, rc, "it does not fit the other evs.* values in force") : 0;
}

static int set_pc(struct option_task *option, struct pc *pc, int64_t now_ns) {
    struct xb_options *options = option->rep->options;
    bool wants_bootstrap = true;
    int64_t weight = 0;
    int rc = 0;
    if (!strcmp(option->name, "pc.weight")) {
        xb_parse_integer(option->value, false, &weight);
        rc = pc_set_weight(pc, (int)weight, now_ns);
    } else if (!strcmp(option->name, "pc.bootstrap")) {
        if (*option->value && xb_parse_bool(option->value, &wants_bootstrap)) rc = -EINVAL;
        if (!rc && wants_bootstrap) rc = pc_bootstrap(pc, now_ns);
    } else {
        pc_set_ignore(pc, xb_options_bool(options, "pc.ignore_sb"), xb_options_bool(options, "pc.ignore_quorum"));
    }
    return rc ? xb_fail(option->error, rc, "%s", strerror(-rc)) : 0;
}

static int set_gmcast(struct option_task *option, struct gmcast *mesh, int64_t now_ns) {
    const char *value = option->value;
    int64_t mode = 0;
    int rc = 0;
    if (!strcmp(option->name, "gmcast.isolate")) {
        xb_parse_integer(value, false, &mode);
        gmcast_isolate(mesh, (int)mode, now_ns);
    } else if (!strcmp(option->name, "gmcast.peer_addr")) {
        rc = !strncmp(value, "add:", 4)   ? gmcast_peer_add(mesh, value + 4, now_ns)
             : !strncmp(value, "del:", 4) ? gmcast_peer_delete(mesh, value + 4, now_ns)
                                          : -EINVAL;
        if (rc) return xb_fail(option->error, rc, "invalid addr spec '%s'", value);
    }
    return 0;
}

static bool has_prefix(const char *name, const char *prefix) {
    return !strncmp(name, prefix, strlen(prefix));
}

static void run_option(struct member_task *task, struct group *group, int64_t now_ns) {
    struct option_task *option = (struct option_task *)((char *)task - offsetof(struct option_task, task));
    if (has_prefix(option->name, "gcs.")) option->result = set_gcs(option, group_gcs(group), now_ns);
    if (has_prefix(option->name, "evs.")) option->result = set_evs(option, group_evs(group), now_ns);
    if (has_prefix(option->name, "pc.")) option->result = set_pc(option, group_pc(group), now_ns);
    if (has_prefix(option->name, "gmcast.")) option->result = set_gmcast(option, group_gmcast(group), now_ns);
}

static int apply_in_group(struct replicator *rep, const char *name, const char *value, struct xb_error *error) {
    struct option_task option = {.task.run = run_option, .rep = rep, .name = name, .value = value, .error = error};
    int rc = link_call(&rep->link, &option.task);
    if (!rc) return option.result;
    if (has_prefix(name, "gcs.")) return 0; /* taken at the next connect */
    return xb_fail(error, -ENOTCONN, "not connected to a group");
}

/* ---- group thread: certification's options ---- */

struct certify_task {
    struct member_task task;
    struct replicator *rep;
};

static void run_certify(struct member_task *task, struct group *group, int64_t now_ns) {
    struct replicator *rep = ((struct certify_task *)((char *)task - offsetof(struct certify_task, task)))->rep;
    (void)group;
    (void)now_ns;
    certify_set_optimistic_pa(rep->certify, xb_options_bool(rep->options, "cert.optimistic_pa"));
    certify_set_log_conflicts(rep->certify, xb_options_bool(rep->options, "cert.log_conflicts"));
}

static int apply_certify(struct replicator *rep) {
    struct certify_task certify = {.task.run = run_certify, .rep = rep};
    if (link_call(&rep->link, &certify.task)) run_certify(&certify.task, NULL, 0); /* nobody else is there then */
    return 0;
}

/* ---- our own ---- */

static int apply_repl(struct replicator *rep, const char *name, const char *value, struct xb_error *error) {
    if (!strcmp(name, "repl.max_ws_size")) atomic_store(&rep->max_ws_size, xb_options_integer(rep->options, name));
    if (!strcmp(name, "repl.key_format")) {
        int format = writeset_key_format_parse(value);
        if (format <= WRITESET_KEYS_NONE) return xb_fail(error, -EINVAL, "Unsupported KeySet version: %s", value);
        atomic_store(&rep->key_format, format);
    }
    return 0;
}

static int apply_gcache(struct replicator *rep, const char *name) {
    int64_t bytes = xb_options_integer(rep->options, name);
    if (!strcmp(name, "gcache.mem_size")) gcache_set_mem_size(rep->cache, bytes);
    if (!strcmp(name, "gcache.page_size")) gcache_set_page_size(rep->cache, bytes);
    if (!strcmp(name, "gcache.keep_pages_size")) gcache_set_keep_pages_size(rep->cache, bytes);
    if (!strcmp(name, "gcache.reader_limit")) gcache_set_reader_limit(rep->cache, bytes);
    return 0;
}

int replicator_apply_option(struct replicator *rep, const char *name, const char *value, struct xb_error *error) {
    if (has_prefix(name, "repl.")) return apply_repl(rep, name, value, error);
    if (has_prefix(name, "cert.")) return apply_certify(rep);
    if (has_prefix(name, "gcache.")) return apply_gcache(rep, name);
    if (has_prefix(name, "gcs.") || has_prefix(name, "evs.") || has_prefix(name, "pc.") || has_prefix(name, "gmcast."))
        return apply_in_group(rep, name, value, error);
    return 0;
}

void replicator_set_tls(struct replicator *rep, struct tls_context *tls) {
    pthread_mutex_lock(&rep->identity_lock);
    struct tls_context *old = rep->tls;
    rep->tls = tls_context_ref(tls);
    pthread_mutex_unlock(&rep->identity_lock);
    tls_context_unref(old);
    struct member *member = link_use(&rep->link);
    if (!member) return;
    member_set_tls(member, tls);
    link_done(&rep->link);
}
