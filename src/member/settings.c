/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Provider options -> configuration of the group stack (spec 02 section 3.4, 03 section 12, 04 section 14, 05 section
 * 19), and the effective values back. Types and bounds of single options are checked where they are set; here follow
 * the rules between them.
 */
#include "member/internal.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options of EVS that are periods. */
struct period_option {
    const char *name;
    size_t offset;
};
#define EVS(field) offsetof(struct evs_options, field)
static const struct period_option evs_periods[] = {
    {"evs.suspect_timeout", EVS(suspect_timeout_ns)},
    {"evs.inactive_timeout", EVS(inactive_timeout_ns)},
    {"evs.inactive_check_period", EVS(inactive_check_period_ns)},
    {"evs.keepalive_period", EVS(keepalive_period_ns)},
    {"evs.join_retrans_period", EVS(join_retrans_period_ns)},
    {"evs.install_timeout", EVS(install_timeout_ns)},
    {"evs.causal_keepalive_period", EVS(causal_keepalive_period_ns)},
    {"evs.view_forget_timeout", EVS(view_forget_timeout_ns)},
    {"evs.stats_report_period", EVS(stats_report_period_ns)},
    {"evs.delay_margin", EVS(delay_margin_ns)},
    {"evs.delayed_keep_period", EVS(delayed_keep_period_ns)},
};
#define EVS_PERIOD_COUNT (sizeof(evs_periods) / sizeof(evs_periods[0]))

static int64_t *evs_period(struct evs_options *evs, size_t i) {
    return (int64_t *)(void *)((char *)evs + evs_periods[i].offset);
}

static int fail_range(struct xb_error *error, const char *name, int64_t value_ns, int64_t low_ns, int64_t high_ns) {
    char value[XB_PERIOD_TEXT_SIZE], low[XB_PERIOD_TEXT_SIZE], high[XB_PERIOD_TEXT_SIZE];
    return xb_fail(error, -ERANGE, "parameter '%s' value %s is out of range [%s,%s]", name,
                   xb_format_period(value_ns, value), xb_format_period(low_ns, low), xb_format_period(high_ns, high));
}

/* The relations of spec 03 section 12. */
static int check_evs(const struct evs_options *evs, struct xb_error *error) {
    if (evs->inactive_check_period_ns > evs->suspect_timeout_ns / 2)
        return fail_range(error, "evs.inactive_check_period", evs->inactive_check_period_ns, 0,
                          evs->suspect_timeout_ns / 2);
    if (evs->keepalive_period_ns > evs->suspect_timeout_ns / 3)
        return fail_range(error, "evs.keepalive_period", evs->keepalive_period_ns, XB_SECOND / 10,
                          evs->suspect_timeout_ns / 3);
    if (evs->install_timeout_ns < evs->keepalive_period_ns || evs->install_timeout_ns > evs->inactive_timeout_ns)
        return fail_range(error, "evs.install_timeout", evs->install_timeout_ns, evs->keepalive_period_ns,
                          evs->inactive_timeout_ns);
    if (evs->user_send_window > evs->send_window)
        return xb_fail(error, -ERANGE, "parameter 'evs.user_send_window' value %lld is out of range [1,%lld]",
                       (long long)evs->user_send_window, (long long)evs->send_window);
    if (evs_options_check(evs)) return xb_fail(error, -ERANGE, "a parameter evs.* is out of range");
    return 0;
}

static int read_evs(struct evs_options *evs, struct xb_options *options, struct xb_error *error) {
    evs_options_default(evs);
    for (size_t i = 0; i < EVS_PERIOD_COUNT; i++) {
        char text[2];
        if (xb_options_text(options, evs_periods[i].name, text, sizeof(text)) >= 0)
            *evs_period(evs, i) = xb_options_period_ns(options, evs_periods[i].name);
        else if (!strcmp(evs_periods[i].name, "evs.install_timeout"))
            evs->install_timeout_ns = evs->inactive_timeout_ns / 2;
    }
    evs->causal_keepalive_period_ns = evs->keepalive_period_ns; /* whatever is configured */
    evs->version = (uint8_t)xb_options_integer(options, "evs.version");
    evs->max_install_timeouts = (int32_t)xb_options_integer(options, "evs.max_install_timeouts");
    evs->send_window = xb_options_integer(options, "evs.send_window");
    evs->user_send_window = xb_options_integer(options, "evs.user_send_window");
    evs->use_aggregate = xb_options_bool(options, "evs.use_aggregate");
    evs->auto_evict = (uint32_t)xb_options_integer(options, "evs.auto_evict");
    evs->debug_log_mask = (uint32_t)xb_options_integer(options, "evs.debug_log_mask");
    evs->info_log_mask = (uint32_t)xb_options_integer(options, "evs.info_log_mask");
    return check_evs(evs, error);
}

static void read_pc(struct pc_options *pc, struct xb_options *options) {
    pc_options_default(pc);
    pc->weight = (int)xb_options_integer(options, "pc.weight");
    pc->ignore_sb = xb_options_bool(options, "pc.ignore_sb");
    pc->ignore_quorum = xb_options_bool(options, "pc.ignore_quorum");
    pc->checksum = xb_options_bool(options, "pc.checksum");
    pc->npvo = xb_options_bool(options, "pc.npvo");
    pc->recovery = xb_options_bool(options, "pc.recovery");
}

static void read_gcs(struct gcs_options *gcs, struct xb_options *options) {
    gcs_options_default(gcs);
    int64_t fc_limit = xb_options_integer(options, "gcs.fc_limit");
    if (fc_limit > 0) gcs->fc_limit = fc_limit; /* 0 is accepted at start, and means nothing (09 section 9.5) */
    gcs->fc_factor = xb_options_double(options, "gcs.fc_factor");
    gcs->fc_single_primary =
        xb_options_bool(options, "gcs.fc_single_primary") || xb_options_bool(options, "gcs.fc_master_slave");
    gcs->sync_donor = xb_options_bool(options, "gcs.sync_donor");
    gcs->max_packet_size = xb_options_integer(options, "gcs.max_packet_size");
    gcs->recv_q_hard_limit = xb_options_integer(options, "gcs.recv_q_hard_limit");
    gcs->recv_q_soft_limit = xb_options_double(options, "gcs.recv_q_soft_limit");
    gcs->max_throttle = xb_options_double(options, "gcs.max_throttle");
    gcs->stateless = xb_options_bool(options, "gcs.stateless");
    gcs->vote_policy = (int)xb_options_integer(options, "gcs.vote_policy");
}

static int read_gmcast(struct gmcast_config *gmcast, const struct member_config *config, bool is_tls,
                       struct xb_error *error) {
    struct xb_options *options = config->options;
    size_t size = config->group_name ? strlen(config->group_name) : 0;
    if (size == 0 || size > GMCAST_GROUP_MAX)
        return xb_fail(error, -EINVAL, "the name of the cluster must have 1 to %d bytes, '%s' has %zu",
                       GMCAST_GROUP_MAX, config->group_name ? config->group_name : "", size);
    memcpy(gmcast->group, config->group_name, size + 1);
    gmcast->segment = (uint8_t)xb_options_integer(options, "gmcast.segment");
    gmcast->is_tls = is_tls;
    gmcast->refusal = config->refusal;
    gmcast->refusal_ctx = config->refusal_ctx;
    gmcast->checksum = (enum datagram_checksum)xb_options_integer(options, "socket.checksum");
    gmcast->peer_timeout_ns = xb_options_period_ns(options, "gmcast.peer_timeout");
    gmcast->time_wait_ns = xb_options_period_ns(options, "gmcast.time_wait");
    char text[2];
    gmcast->max_initial_reconnect_attempts = xb_options_text(options, "gmcast.mira", text, sizeof(text)) < 0
                                                 ? INT32_MAX
                                                 : (int32_t)xb_options_integer(options, "gmcast.mira");
    return 0;
}

static int read_buffer_size(struct xb_options *options, const char *name, int *size, struct xb_error *error) {
    char text[64];
    int64_t value;
    *size = 0;
    if (xb_options_text(options, name, text, sizeof(text)) <= 0 || !strcmp(text, "auto")) return 0;
    if (xb_parse_integer(text, true, &value) || value < 0 || value > INT_MAX)
        return xb_fail(error, -EINVAL, "Bad value '%s' for parameter '%s'", text, name);
    *size = (int)value;
    return 0;
}

/* "", "other:0", "fifo:N", "rr:N" */
static int read_schedule(struct settings *settings, struct xb_options *options, struct xb_error *error) {
    char text[64];
    if (xb_options_text(options, "gcomm.thread_prio", text, sizeof(text)) <= 0) return 0;
    char *colon = strchr(text, ':');
    int64_t priority;
    if (!colon || xb_parse_integer(colon + 1, false, &priority))
        return xb_fail(error, -EINVAL, "Invalid schedparam: %s (gcomm.thread_prio: other:0, fifo:N or rr:N)", text);
    *colon = '\0';
    if (!strcmp(text, "other"))
        settings->schedule_policy = SCHED_OTHER;
    else if (!strcmp(text, "fifo"))
        settings->schedule_policy = SCHED_FIFO;
    else if (!strcmp(text, "rr"))
        settings->schedule_policy = SCHED_RR;
    else
        return xb_fail(error, -EINVAL, "Invalid scheduling policy: %s (gcomm.thread_prio)", text);
    if (priority < sched_get_priority_min(settings->schedule_policy) ||
        priority > sched_get_priority_max(settings->schedule_policy))
        return xb_fail(error, -EINVAL, "Invalid schedparam: priority %lld (gcomm.thread_prio)", (long long)priority);
    settings->schedule_priority = (int)priority;
    settings->has_schedule = true;
    return 0;
}

/* Section 3.2: tcp://HOST[:PORT], ssl://HOST[:PORT] or a bare HOST; the scheme is ours to decide. */
static int read_listen_address(struct settings *settings, struct xb_options *options, struct xb_error *error) {
    uint16_t base_port = (uint16_t)xb_options_integer(options, "base_port");
    settings->listen_port = base_port ? base_port : MEMBER_DEFAULT_PORT;
    char text[NET_NAME_SIZE + 16];
    if (xb_options_text(options, "gmcast.listen_addr", text, sizeof(text)) <= 0) {
        snprintf(settings->listen_host, sizeof(settings->listen_host), "0.0.0.0");
        return 0;
    }
    struct net_uri uri;
    if (net_uri_parse(text, &uri))
        return xb_fail(error, -EINVAL, "Bad value '%s' for parameter 'gmcast.listen_addr'", text);
    bool has_scheme = uri.scheme[0] != '\0';
    if (has_scheme ? strcmp(uri.scheme, "tcp") && strcmp(uri.scheme, "ssl") : uri.port >= 0)
        return xb_fail(error, -EINVAL,
                       "gmcast.listen_addr '%s' does not specify supported protocol: write tcp:// or "
                       "ssl:// in front",
                       text);
    memcpy(settings->listen_host, uri.host, sizeof(settings->listen_host));
    if (uri.port >= 0) settings->listen_port = (uint16_t)uri.port;
    return 0;
}

static int read_net(struct settings *settings, const struct member_config *config, struct xb_error *error) {
    struct net_config *net = &settings->net;
    net->tls = config->tls;
    net->is_dynamic = config->tls && xb_options_bool(config->options, "socket.dynamic");
    net->handshake_timeout_ns = settings->group.gmcast.peer_timeout_ns;
    net->refusal = config->refusal;
    net->refusal_ctx = config->refusal_ctx;
    net->isolation = config->isolation;
    int rc = read_buffer_size(config->options, "socket.recv_buf_size", &net->receive_buffer_bytes, error);
    return rc ? rc : read_buffer_size(config->options, "socket.send_buf_size", &net->send_buffer_bytes, error);
}

static int check_unsupported(struct xb_options *options, struct xb_error *error) {
    char text[64];
    if (xb_options_text(options, "gmcast.mcast_addr", text, sizeof(text)) > 0)
        return xb_fail(error, -EINVAL, "Bad value '%s' for parameter 'gmcast.mcast_addr': multicast is not supported",
                       text);
    if (xb_options_text(options, "protonet.backend", text, sizeof(text)) > 0 && strcmp(text, "asio") != 0)
        return xb_fail(error, -EINVAL, "protonet.backend '%s' not supported", text);
    return 0;
}

int settings_read(struct settings *settings, const struct member_config *config, struct xb_error *error) {
    struct xb_options *options = config->options;
    memset(settings, 0, sizeof(*settings));
    bool is_tls = config->tls && !xb_options_bool(options, "socket.dynamic");
    settings->scheme = is_tls ? "ssl" : "tcp";
    int rc = check_unsupported(options, error);
    if (!rc) rc = read_evs(&settings->group.evs, options, error);
    if (!rc) rc = read_gmcast(&settings->group.gmcast, config, is_tls, error);
    if (!rc) rc = read_net(settings, config, error);
    if (!rc) rc = read_listen_address(settings, options, error);
    if (!rc) rc = read_schedule(settings, options, error);
    if (rc) return rc;
    read_pc(&settings->group.pc, options);
    read_gcs(&settings->group.gcs.options, options);
    settings->group.gcs.name = config->node_name ? config->node_name : "";
    settings->group.gcs.incoming = config->node_incoming ? config->node_incoming : "";
    settings->group.gcs.repl_version_max = config->repl_version_max;
    settings->group.gcs.appl_version_max = config->appl_version_max;
    settings->group.gcs.group_uuid = config->group_uuid;
    settings->group.gcs.seqno = config->seqno;
    settings->group.announce_timeout_ns = xb_options_period_ns(options, "pc.announce_timeout");
    settings->group.linger_ns = xb_options_period_ns(options, "pc.linger");
    settings->is_recovering = settings->group.pc.recovery;
    settings->is_waiting = xb_options_bool(options, "pc.wait_prim");
    settings->wait_timeout_ns = xb_options_period_ns(options, "pc.wait_prim_timeout");
    return 0;
}

static void put_period(struct xb_options *options, const char *name, int64_t value_ns) {
    char text[XB_PERIOD_TEXT_SIZE];
    xb_options_put(options, name, xb_format_period(value_ns, text));
}

static void put_bool(struct xb_options *options, const char *name, bool value) {
    xb_options_put(options, name, value ? "true" : "false");
}

void settings_write_back(const struct settings *settings, struct xb_options *options, const char *listen_address,
                         uint16_t port) {
    const struct group_config *group = &settings->group;
    struct evs_options evs = group->evs;
    char text[32];
    for (size_t i = 0; i < EVS_PERIOD_COUNT; i++) put_period(options, evs_periods[i].name, *evs_period(&evs, i));
    put_bool(options, "evs.use_aggregate", evs.use_aggregate);
    put_period(options, "gmcast.peer_timeout", group->gmcast.peer_timeout_ns);
    put_period(options, "gmcast.time_wait", group->gmcast.time_wait_ns);
    put_period(options, "pc.linger", group->linger_ns);
    put_bool(options, "pc.checksum", group->pc.checksum);
    put_bool(options, "pc.ignore_quorum", group->pc.ignore_quorum);
    put_bool(options, "pc.ignore_sb", group->pc.ignore_sb);
    put_bool(options, "pc.npvo", group->pc.npvo);
    put_bool(options, "pc.recovery", group->pc.recovery);
    snprintf(text, sizeof(text), "%d", group->pc.weight);
    xb_options_put(options, "pc.weight", text);
    xb_options_put(options, "gmcast.listen_addr", listen_address);
    snprintf(text, sizeof(text), "%u", port);
    xb_options_put(options, "base_port", text);
}
