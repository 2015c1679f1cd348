/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EVS: extended virtual synchrony (spec 03). Agreed views and a totally ordered, safe message stream inside each.
 *
 * Pure state machine, group thread only. Upward calls (struct evs_up) are made from inside the functions, with the
 * state already consistent; from inside them only evs_submit, evs_now-style getters and evs_evict may be called: what
 * is submitted is sent, delivery is not re-entered.
 */
#ifndef XB_EVS_EVS_H
#define XB_EVS_EVS_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/uuid.h"
#include "evs/view_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVS_USER_HEADER_SIZE 52
#define EVS_PAYLOAD_MAX 32644 /* spec 03 section 4 */

struct evs;

enum evs_order { EVS_DROP = 0, EVS_UNRELIABLE = 1, EVS_FIFO = 2, EVS_AGREED = 3, EVS_SAFE = 4, EVS_LOCAL_CAUSAL = 8 };
enum evs_state { EVS_CLOSED, EVS_JOINING, EVS_GATHER, EVS_INSTALL, EVS_OPERATIONAL, EVS_LEAVING };

/* A regular (VIEW_REG) or transitional (VIEW_TRANS) view; without members it is the end of the own membership.
 * Arrays ascend by UUID and are valid during the call. */
struct evs_view {
    struct view_id id;
    uint8_t version; /* negotiated EVS version, 0 or 1 */
    const struct xb_uuid *members;
    size_t member_count;
    const struct xb_uuid *joined;
    size_t joined_count;
    const struct xb_uuid *left;
    size_t left_count;
    const struct xb_uuid *partitioned;
    size_t partitioned_count;
};

struct evs_message {
    struct xb_uuid source;
    struct view_id view; /* the view it was sent in */
    uint8_t user_type;
    enum evs_order order;
    int64_t seq;
    const uint8_t *payload; /* valid during the call */
    size_t size;
};

/*
 * To gmcast. broadcast and unicast: buf has exactly one reference, which stays EVS's (to drop, or to keep the message
 * for a retransmission), and headroom for the layers below. These put their headers in front for good, so after the
 * call head and size of buf mean nothing to EVS (it keeps the offset of its message in buf->mem), the bytes are frozen,
 * and buf is never sent a second time: a retransmission is a new buffer. See gmcast.h.
 */
struct evs_down {
    void *ctx;
    void (*broadcast)(void *ctx, struct xb_buf *buf, int64_t now_ns);
    void (*unicast)(void *ctx, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns);
    void (*allow)(void *ctx, const struct xb_uuid *node);
    void (*evict)(void *ctx, const struct xb_uuid *node);
    void (*unevict)(void *ctx, const struct xb_uuid *node); /* NULL: all */
    /* Address of a node for the text of evs_delayed_list, cut to size; "" if unknown. May be NULL. */
    void (*address)(void *ctx, const struct xb_uuid *node, char *text, size_t size);
};

struct evs_up {
    void *ctx;
    void (*view)(void *ctx, const struct evs_view *view, int64_t now_ns);
    void (*message)(void *ctx, const struct evs_message *message, int64_t now_ns);
    /* Gave up (max_install_timeouts exceeded, internal contradiction): the owner must force the close. */
    void (*fatal)(void *ctx, const struct xb_error *error);
};

struct evs_options { /* spec 03 section 12; times in ns */
    uint8_t version;
    int64_t suspect_timeout_ns, inactive_timeout_ns, inactive_check_period_ns, keepalive_period_ns;
    int64_t join_retrans_period_ns, install_timeout_ns, causal_keepalive_period_ns, view_forget_timeout_ns;
    int64_t stats_report_period_ns, delay_margin_ns, delayed_keep_period_ns;
    int32_t max_install_timeouts;
    int64_t send_window, user_send_window;
    bool use_aggregate;
    uint32_t auto_evict;
    uint32_t debug_log_mask, info_log_mask;
};
enum evs_info { EVS_INFO_VIEWS = 0x1, EVS_INFO_STATE = 0x2, EVS_INFO_STATS = 0x4 }; /* bits of info_log_mask */
void evs_options_default(struct evs_options *options);
int evs_options_check(const struct evs_options *options); /* the ranges at start: 0 or -ERANGE */

/* restored_view: a saved primary view (its seq + 1 is the first own view seq), or NULL. Keeps log and random. */
struct evs *evs_new(const struct xb_uuid *uuid, const struct evs_options *options, const struct view_id *restored_view,
                    const struct evs_down *down, const struct evs_up *up, struct xb_random *random,
                    const struct xb_log *log, int64_t now_ns);
void evs_free(struct evs *evs);

/* CLOSED -> JOINING (section 9.2). The announce phase (JOINs every 0.5 s until somebody is known or announce_timeout)
 * is done here by timers; is_bootstrap skips it and goes to the singleton view at once. */
void evs_start(struct evs *evs, bool is_bootstrap, int64_t announce_timeout_ns, int64_t now_ns);
/* Begins a graceful leave; the empty view follows (section 9.10), at the latest after linger_ns (0: at once). */
void evs_leave(struct evs *evs, int64_t linger_ns, int64_t now_ns);

/* One EVS message from the transport; source = original sender of the transport header.
 * -> 0, or -EPROTO for a malformed message (the caller should close the connection it came over). */
int evs_receive(struct evs *evs, const struct xb_uuid *source, const uint8_t *data, size_t size, int64_t now_ns);
/* Hint of the transport (section 18.8). */
void evs_peer_lost(struct evs *evs, const struct xb_uuid *peer, bool is_refused, int64_t now_ns);

/*
 * Does what is due. -> when to be called again at the latest (XB_NEVER when CLOSED).
 * To be called after every batch of other calls: received messages are answered (completion, acknowledgement, JOIN)
 * from here, one answer a batch, and what evs_submit made deliverable is delivered from here, never inside evs_submit.
 */
int64_t evs_tick(struct evs *evs, int64_t now_ns);

/*
 * Sends a message: buf holds the payload (1..EVS_PAYLOAD_MAX bytes, headroom for EVS and below); its ownership passes
 * to EVS if 0 is returned, else stays with the caller, unchanged.
 * -> 0 (sent or queued), -EAGAIN (membership change, or queue full), -ENOTCONN, -EMSGSIZE.
 * EVS_LOCAL_CAUSAL: delivered only locally, once everything that any member delivered before is delivered here
 * (section 8.4); the payload comes back in evs_up.message with that order.
 */
int evs_submit(struct evs *evs, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns);

/* Run-time options: -> 0 or -EINVAL/-ERANGE/-EPERM. Values as in struct evs_options. */
int evs_set_options(struct evs *evs, const struct evs_options *options, int64_t now_ns);
void evs_get_options(const struct evs *evs, struct evs_options *options);
void evs_evict(struct evs *evs, const struct xb_uuid *node, int64_t now_ns); /* NULL: clear the list */
bool evs_is_evicted(const struct evs *evs, const struct xb_uuid *node);

enum evs_state evs_get_state(const struct evs *evs);
const char *evs_state_name(enum evs_state state);

/* Status (section 13). Text goes to `text`, cut to size. */
#define EVS_LATENCY_CLASSES 13
extern const double evs_latency_class_s[EVS_LATENCY_CLASSES]; /* the lower bound of each */
struct evs_stats {
    double latency_min_s, latency_avg_s, latency_max_s, latency_stddev_s;
    int64_t latency_count;
    /* How many messages of this node took so long from their sending to their delivery, since the last reset. */
    int64_t safe_latency[EVS_LATENCY_CLASSES], causal_latency[EVS_LATENCY_CLASSES];
    int64_t submitted, queued; /* messages since the last reset; how many waited before each, added up */
    int64_t sent_user, sent_delegate, sent_gap, sent_join, sent_install, sent_leave;
    int64_t retransmitted, recovered, delivered_safe;
};
/* The other members of the current view (section 18.10). */
struct evs_peer {
    struct xb_uuid uuid;
    int64_t lag;       /* messages of the view that it has not acknowledged yet */
    int64_t silent_ns; /* since its last progress */
    bool is_suspected;
};
size_t evs_get_peers(const struct evs *evs, struct evs_peer *peers, size_t max, int64_t now_ns);

void evs_get_stats(const struct evs *evs, struct evs_stats *stats);
void evs_reset_stats(struct evs *evs);
size_t evs_delayed_list(const struct evs *evs, char *text, size_t size); /* uuid:address:count, comma separated */
size_t evs_evict_list(const struct evs *evs, char *text, size_t size);

#endif
