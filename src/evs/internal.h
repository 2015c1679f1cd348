/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of EVS: its state, and what its files ask of each other. Sections are those of spec 03.
 *
 * user gap join install leave delegate delayed_list   one message type each: reader, writer, handler
 * header report        the common header; what JOIN and INSTALL share
 * input_map queue      containers of messages
 * evs receive foreign  life cycle; dispatch of a received message; messages of unknown nodes
 * known views          known list; views that are over
 * send deliver causal  user messages down and up; local causal messages
 * recovery             asking for and serving retransmissions
 * gather consensus agreement   JOINs until all agree; whether they do; who is out
 * shift                changes of state, and the views they bring
 * tick suspicion       timers; failure detection
 * evict options status
 *
 * How work is spread over time. Receiving handles a message at once but only marks what it should answer: evs_settle,
 * called by evs_tick after every batch, completes, acknowledges, drains, and in GATHER tells the own JOIN and looks for
 * consensus. So a batch of messages costs one answer, and every answer tells the newest state.
 */
#ifndef XB_EVS_INTERNAL_H
#define XB_EVS_INTERNAL_H

#include "base/clock.h"
#include "evs/evs.h"
#include "evs/input_map.h"
#include "evs/message.h"
#include "evs/queue.h"

#include <errno.h>

#define EVS_KNOWN_MAX 256
#define EVS_EVICTED_MAX 128     /* with the known nodes they fit in one INSTALL */
#define EVS_BOOK_MAX 4096       /* views remembered */
#define EVS_AHEAD_MAX (1 << 20) /* seqs beyond safe that anybody may use or ask for (section 18.7) */
#define EVS_QUEUE_BYTES_MAX (1 << 20)
#define EVS_QUIET_BYTES_MAX 131072 /* a message without MSG_MORE at least this often (section 4) */
#define EVS_RUNS_MAX 32            /* missing runs asked for at a time */
#define EVS_JOBS_MAX 32            /* retransmissions in progress */
#define EVS_JOB_BURST_BYTES (512 * 1024)
#define EVS_JOB_SLICE_BYTES (256 * 1024)
#define EVS_UNSETTLED_MAX 64 /* messages handled before they are answered at the latest */
#define EVS_JOIN_BURST 6     /* JOINs sent without delay, then one per EVS_JOIN_PERIOD_NS (section 18.3) */

#define EVS_JOB_PERIOD_NS (5 * XB_MS)
#define EVS_JOIN_PERIOD_NS (20 * XB_MS)
#define EVS_JOIN_REPEAT_NS (100 * XB_MS) /* first repetition of an unanswered JOIN; then 3 times as long each */
#define EVS_ANNOUNCE_PERIOD_NS (500 * XB_MS)
#define EVS_REQUEST_PERIOD_NS (100 * XB_MS) /* for the messages of one origin */
#define EVS_PROBE_NS (30 * XB_MS)           /* section 18.13 */
#define EVS_GAP_REPEAT_NS (20 * XB_MS)      /* section 18.2 */
#define EVS_REFUSED_NS (500 * XB_MS)        /* from "connection refused" to suspicion (section 18.8) */
#define EVS_STRAGGLER_NS (200 * XB_MS)      /* relayed messages of the dead may come so late */
#define EVS_STRANGERS_NS (2 * XB_SECOND)    /* patience with members of another view that disagree on their dead */
#define EVS_IGNORED_NS (2 * XB_SECOND)      /* patience with a node of another view whose JOINs do not list me */
#define EVS_LAG_REPORT_NS XB_SECOND         /* section 18.10 */
#define EVS_LONG_AGO (INT64_MIN / 2)

enum evs_debug { /* bits of evs.debug_log_mask (section 12) */
                 EVS_DEBUG_STATE = 0x1,
                 EVS_DEBUG_TIMERS = 0x2,
                 EVS_DEBUG_CONSENSUS = 0x4,
                 EVS_DEBUG_USER = 0x8,
                 EVS_DEBUG_DELEGATE = 0x10,
                 EVS_DEBUG_GAP = 0x20,
                 EVS_DEBUG_JOIN = 0x40,
                 EVS_DEBUG_INSTALL = 0x80,
                 EVS_DEBUG_LEAVE = 0x100,
                 EVS_DEBUG_FOREIGN = 0x200,
                 EVS_DEBUG_RETRANS = 0x400,
                 EVS_DEBUG_DELIVERY = 0x800
};

#define evs_debug(evs, mask, ...)                                                                                      \
    do {                                                                                                               \
        if ((evs)->options.debug_log_mask & (mask)) xb_log_debug((evs)->log, __VA_ARGS__);                             \
    } while (0)

struct evs_node { /* a known node (section 5) */
    struct xb_uuid uuid;
    int rank; /* in the current view; -1: not in it */
    bool is_operational, is_suspected, is_inactive;
    bool is_committed, is_installed;
    struct evs_report *join; /* its last JOIN; mine: the one that tells the present state */
    bool has_leave;
    struct evs_header leave_header;
    struct evs_leave leave;
    int64_t leave_told_ns;
    struct evs_delayed_message *delayed; /* its last DELAYED_LIST */
    int64_t delayed_ns;
    int64_t progress_ns;      /* last message that advanced something */
    int64_t seen_ns;          /* last direct message */
    int64_t request_ns;       /* last request for its messages */
    int64_t push_ns;          /* last time it was sent what it lacks */
    int64_t ignores_since_ns; /* its JOINs do not list me; XB_NEVER: they do */
    int64_t fifo_seq;
    struct view_id early_commit_view, early_install_view; /* nil view: none (section 18.2) */
    int64_t early_commit_seq;
    bool is_refused;                     /* hint of the transport: the process is gone (section 18.8) */
    int64_t refused_ns, refused_ripe_ns; /* when it came, when it becomes a suspicion */
};

struct evs_book_item {
    struct view_id id;
    int64_t time_ns;
};
struct evs_book { /* views and when they were noted */
    struct evs_book_item *items;
    size_t count, capacity;
};

struct evs_evicted {
    struct xb_uuid uuid;
    int64_t time_ns;
    bool is_told; /* applied; not yet if it was evicted from inside an upward call */
};

struct evs_delayed { /* one row of the delayed list (section 11) */
    struct xb_uuid uuid;
    int64_t time_ns;
    bool is_delayed;
    uint8_t count;
};

struct evs_job { /* a retransmission in progress */
    struct xb_uuid to, origin;
    int64_t next, end;
};

struct evs {
    struct xb_uuid uuid;
    struct evs_options options;
    struct evs_down down;
    struct evs_up up;
    struct xb_random *random;
    const struct xb_log *log;
    int64_t now_ns; /* of the running call */
    enum evs_state state;
    int upcalls; /* depth of upward calls */

    /* current view */
    struct view_id view;
    uint8_t view_version;
    struct xb_uuid members[EVS_KNOWN_MAX];
    struct evs_node *by_rank[EVS_KNOWN_MAX];
    size_t member_count, own_rank;
    struct evs_map map;

    /* known list, ascending by UUID */
    struct evs_node *known[EVS_KNOWN_MAX];
    size_t known_count;
    struct evs_node *me;

    /* sending */
    int64_t fifo_seq, own_last;
    size_t quiet_bytes;
    struct evs_queue queue;
    struct evs_queue causal;
    int64_t causal_probe_ns;
    int64_t sent_ns;     /* when own_last advanced last */
    int64_t acked;       /* highest own aru told to all */
    int64_t complete_to; /* own sequence is to be completed up to here */
    unsigned unsettled;  /* messages handled since evs_settle */

    /* membership */
    struct evs_book old_views, met_views;
    uint32_t top_view_seq, attempt;
    uint32_t proposed_seq;        /* highest view seq that I have proposed */
    struct evs_report *install;   /* accepted INSTALL */
    struct evs_report *join_sent; /* as last broadcast since GATHER began */
    bool is_join_wanted;          /* to be told even if it is the same */
    int join_tokens;
    int64_t join_token_ns, join_repeat_ns, join_repeat_wait_ns;
    int64_t proposed_ns;
    int64_t strangers_ns; /* until when members of another view are given to agree on their dead; XB_NEVER: they do */
    int32_t install_timeouts;
    bool is_leave_wanted;
    int64_t linger_ns; /* as given to evs_leave */
    int64_t isolated_until_ns;

    /* timers: when due, XB_NEVER: not armed */
    int64_t announce_ns, announce_end_ns;
    int64_t retrans_ns, check_ns, last_check_ns, last_tick_ns, install_timer_ns, join_due_ns;
    int64_t probe_ns, probe_wait_ns, probe_safe;
    int64_t gap_repeat_ns, gap_repeat_wait_ns;
    int64_t ask_ns, refused_due_ns, job_ns, close_ns, stats_ns;
    int64_t lag_since_ns;
    bool is_lag_told;

    struct evs_job jobs[EVS_JOBS_MAX];
    size_t job_count;

    struct evs_evicted evicted[EVS_EVICTED_MAX];
    size_t evicted_count;
    struct evs_delayed delayed[EVS_KNOWN_MAX];
    size_t delayed_count;

    struct evs_stats stats;
    double latency_sum_s, latency_squares_s2;
    double latency_smooth_ns; /* moving average, survives the resets */
};

/* evs.c */
void evs_fatal(struct evs *evs, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void evs_leave_now(struct evs *evs);
/* Header of a new message of this node, with a new fifo_seq. */
struct evs_header evs_new_header(struct evs *evs, enum evs_type type, uint8_t flags);
struct xb_buf *evs_new_buf(size_t size); /* with headroom for the layers below */
/* Sends, unless isolated, and drops the reference. target NULL: broadcast. */
void evs_transmit(struct evs *evs, struct xb_buf *buf, const struct xb_uuid *target);
void evs_transmit_keep(struct evs *evs, struct xb_buf *buf, const struct xb_uuid *target);

/* receive.c */
int evs_dispatch(struct evs *evs, const struct evs_header *h, struct xb_reader *r, bool is_direct);
/* foreign.c */
int evs_foreign(struct evs *evs, const struct evs_header *h, struct xb_reader *r);

/* known.c */
struct evs_node *evs_node_find(const struct evs *evs, const struct xb_uuid *uuid);
struct evs_node *evs_node_add(struct evs *evs, const struct xb_uuid *uuid); /* NULL: no room or memory */
void evs_node_remove(struct evs *evs, size_t index);
void evs_nodes_free(struct evs *evs);
void evs_node_exclude(struct evs *evs, struct evs_node *node);
void evs_node_set_join(struct evs_node *node, struct evs_report *join); /* takes join; NULL: forget */
const struct evs_node *evs_representative(const struct evs *evs);
bool evs_is_current(const struct evs *evs, const struct view_id *view);

/* views.c */
bool evs_book_has(const struct evs_book *book, const struct view_id *id);
int evs_book_add(struct evs_book *book, const struct view_id *id, int64_t time_ns); /* if new */
void evs_book_forget(struct evs_book *book, int64_t before_ns);
void evs_book_free(struct evs_book *book);
bool evs_is_previous(const struct evs *evs, const struct evs_header *h);
void evs_views_are_over(struct evs *evs); /* met views become old views */

/* send.c */
enum { EVS_SENT = 0, EVS_BLOCKED = 1 };
int evs_send_filler(struct evs *evs);
void evs_complete(struct evs *evs, int64_t up_to); /* own sequence, by one message */
void evs_drain(struct evs *evs);
int evs_flush_queue(struct evs *evs); /* 0 or -ENOMEM */
void evs_settle(struct evs *evs);

/* user.c, gap.c, delegate.c, leave.c, install.c, join.c, delayed_list.c */
int evs_user_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r,
                     bool is_direct);
int evs_gap_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r);
void evs_gap_send_ack(struct evs *evs);
void evs_gap_send_request(struct evs *evs, const struct xb_uuid *target, const struct xb_uuid *origin, int64_t lu,
                          int64_t hs);
void evs_gap_send_commit(struct evs *evs);
void evs_gap_send_install(struct evs *evs);
int evs_delegate_receive(struct evs *evs, const struct evs_header *h, struct xb_reader *r);
/* A new DELEGATE around an inner message of inner_size bytes; the cursor stands where that goes. NULL: no memory. */
struct xb_buf *evs_delegate_begin(struct evs *evs, size_t inner_size, struct xb_writer *w);
int evs_leave_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r,
                      bool is_direct);
void evs_leave_send(struct evs *evs);
void evs_leave_tell(struct evs *evs, struct evs_node *q); /* another node's, in a DELEGATE */
int evs_join_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r);
int evs_join_handle(struct evs *evs, struct evs_node *p, struct evs_report *m); /* takes m */
bool evs_is_hearsay(const struct evs *evs, const struct evs_entry *e);          /* not to be made known */
int evs_install_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r);
void evs_install_propose(struct evs *evs);
void evs_install_repeat(struct evs *evs);
bool evs_install_all_committed(const struct evs *evs);
bool evs_install_all_installed(const struct evs *evs);
void evs_install_advance(struct evs *evs); /* goes on if all have committed or installed */
/* Somebody listed works in the view being installed, so all have committed and installed (section 9.9, 18.1). */
void evs_install_complete(struct evs *evs);
int evs_delayed_list_receive(struct evs *evs, struct evs_node *p, struct xb_reader *r);
void evs_delayed_list_check(struct evs *evs);

/* deliver.c */
void evs_deliver(struct evs *evs);
void evs_deliver_trans(struct evs *evs); /* what is left at a view change (section 8.6) */
void evs_up_view(struct evs *evs, const struct evs_view *view);
/* causal.c */
int evs_causal_submit(struct evs *evs, struct xb_buf *buf, uint8_t user_type);
void evs_causal_release(struct evs *evs, int64_t up_to);

/* recovery.c */
/* -> false if it was asked for only now. */
bool evs_request(struct evs *evs, const struct xb_uuid *target, struct evs_node *origin, int64_t lu, int64_t hs);
void evs_serve(struct evs *evs, const struct xb_uuid *to, const struct evs_node *origin, int64_t lu, int64_t hs);
void evs_serve_jobs(struct evs *evs);
void evs_ask_missing(struct evs *evs);
void evs_push_own(struct evs *evs);                         /* LEAVING */
void evs_push_remains(struct evs *evs, struct evs_node *p); /* of dead nodes */

/* gather.c */
void evs_gather_step(struct evs *evs);
void evs_announce(struct evs *evs);     /* JOINING: the JOIN of a node that knows nobody */
void evs_join_refresh(struct evs *evs); /* own stored JOIN tells the present state */
struct evs_report *evs_report_build(struct evs *evs, enum evs_type type, uint8_t flags);
/* consensus.c */
bool evs_is_consistent(const struct evs *evs, const struct evs_report *m);
bool evs_is_consensus(const struct evs *evs);
bool evs_do_strangers_agree(const struct evs *evs);
/* agreement.c */
void evs_agree(struct evs *evs);
void evs_eliminate_asymmetry(struct evs *evs);

/* shift.c */
void evs_shift_gather(struct evs *evs, bool is_join_wanted);
void evs_shift_install(struct evs *evs);
void evs_shift_operational(struct evs *evs);
void evs_shift_leaving(struct evs *evs);
void evs_shift_closed(struct evs *evs);
void evs_set_state(struct evs *evs, enum evs_state state);
void evs_arm_retrans(struct evs *evs);
/* suspicion.c */
void evs_check_inactivity(struct evs *evs);
void evs_check_refused(struct evs *evs);
bool evs_is_gone(const struct evs *evs, const struct evs_node *node); /* hint ripe */
/* evict.c */
bool evs_evict_add(struct evs *evs, const struct xb_uuid *node); /* -> false if it was evicted already */
void evs_evict_apply(struct evs *evs);
void evs_evict_forget(struct evs *evs);
/* status.c */
void evs_stats_latency(struct evs *evs, int64_t latency_ns);
void evs_stats_causal_latency(struct evs *evs, int64_t latency_ns);

#endif
