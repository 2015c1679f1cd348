/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cluster of EVS instances in one process, on a virtual network and a virtual clock.
 *
 * A process (struct sim_proc) is one incarnation of a node; it lives in a slot. Each pair of running processes has a
 * connection that keeps the order of messages in each direction, delays them, breaks (losing what is in flight) and is
 * made again; a test may also drop single messages. Everything is drawn from one seed, so a run replays exactly.
 * What the processes deliver is checked against the invariants of spec 03 section 15 (check.c).
 */
#ifndef XB_TESTS_EVS_SIM_H
#define XB_TESTS_EVS_SIM_H

#include "base/clock.h"
#include "evs/evs.h"
#include "evs/internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_SLOTS_MAX 7
#define SIM_PROCS_MAX 256
#define SIM_VIEWS_MAX 4096

/* A delivered message: which, and where it stands in the order. */
struct sim_delivered {
    uint64_t id; /* process << 32 | its own number */
    int64_t seq;
    size_t rank;
};

struct sim_list {
    struct sim_delivered *items;
    size_t count, capacity;
};

/* A regular view, as known from all who delivered it. */
struct sim_view {
    struct view_id id;
    uint8_t version;
    struct xb_uuid members[EVS_KNOWN_MAX];
    size_t member_count;
    struct sim_list common; /* what was delivered in it before its end, by anyone, in order */
};

/* What one process delivered in one view, once it has left it. */
struct sim_passage {
    int proc;
    int view, next; /* index of views; next -1: closed */
    struct sim_list list;
    bool is_bounded;
};

struct sim_packet {
    int64_t at_ns;
    struct xb_buf *buf;
    uint32_t offset, size;
};

struct sim_link { /* one direction */
    bool is_up;
    int64_t up_at_ns;   /* when it is to be made again; XB_NEVER: not planned */
    int64_t last_at_ns; /* arrival of the newest packet: order is kept */
    struct sim_packet *packets;
    size_t head, count, capacity;
};

struct sim_proc {
    struct sim *sim;
    int number, slot;
    struct xb_uuid uuid;
    struct evs *evs;
    struct xb_random random;
    bool is_alive, is_paused, is_leaving, has_left, is_fatal;
    bool is_forced; /* closed by force: what was queued is not sent */
    int64_t deadline_ns;
    int64_t resume_ns;
    int64_t started_ns;

    /* checks */
    int view; /* index of the current regular view, -1 before the first */
    bool is_in_trans;
    bool is_bounded;        /* see is_bounded_by_stranger */
    struct view_id last_id; /* of the last view in force: initial or regular */
    struct xb_uuid last_members[EVS_KNOWN_MAX];
    size_t last_member_count;
    struct sim_list delivered;
    size_t regular_count; /* of those, before the transitional view */
    uint32_t accepted, own_delivered, next_of[SIM_PROCS_MAX];
    int64_t fifo_seq, user_seq;
    struct view_id user_view;
    int64_t map_aru, map_safe;
    struct view_id map_view;
    uint32_t causal_sent, causal_got;
    int64_t last_view_ns;
};

struct sim_setting { /* of one run */
    uint64_t seed;
    int slots;
    int64_t delay_min_ns, delay_max_ns;
    double loss;           /* of each message, while faults are on */
    double messages_per_s; /* of each process */
    size_t size_max;
    bool has_hints, has_false_hints, has_causal, is_stormy;
    struct evs_options options;
};

struct sim {
    struct sim_setting setting;
    struct xb_random random;
    struct xb_log log;
    int64_t now_ns, peace_ns;
    double loss;
    struct sim_proc *procs[SIM_PROCS_MAX];
    int proc_count;
    struct sim_link links[SIM_PROCS_MAX][SIM_SLOTS_MAX]; /* by process, to slot */
    int group_of[SIM_SLOTS_MAX];                         /* partition */
    int64_t blocked_until_ns[SIM_SLOTS_MAX][SIM_SLOTS_MAX];
    int in_slot[SIM_SLOTS_MAX]; /* running process or -1 */
    struct sim_view *views[SIM_VIEWS_MAX];
    int view_count;
    struct sim_passage *passages;
    size_t passage_count, passage_capacity;
    struct hint {
        int to, about;
        int64_t at_ns;
    } hints[512];
    size_t hint_count;
    bool is_failed, is_traced;
    uint64_t events, sent[8];
    uint64_t disagreements;                                                     /* install timeouts since peace began */
    void (*on_view)(struct sim *sim, struct sim_proc *proc);                    /* after a regular view; may be NULL */
    void (*on_log)(struct sim *sim, enum xb_log_level level, const char *line); /* may be NULL */
    int *inside; /* if set: raised while EVS runs, lowered while it calls up or down */
    bool (*drop)(struct sim *sim, struct sim_proc *from, struct sim_proc *to, const uint8_t *data, size_t size);
};

void sim_setting_default(struct sim_setting *setting);
struct sim *sim_new(const struct sim_setting *setting);
void sim_free(struct sim *sim);

/* Starts a process in a free slot. former >= 0: the same node as that process, next incarnation, with its last view. */
struct sim_proc *sim_start(struct sim *sim, int slot, int former, bool is_bootstrap);
void sim_crash(struct sim *sim, struct sim_proc *proc);
void sim_leave(struct sim *sim, struct sim_proc *proc);
void sim_pause(struct sim *sim, struct sim_proc *proc, int64_t duration_ns);
void sim_reset(struct sim *sim, int slot_a, int slot_b); /* connection breaks and is made again */
void sim_block(struct sim *sim, int slot_a, int slot_b, int64_t duration_ns);
void sim_partition(struct sim *sim, unsigned mask); /* slots in the mask from the others */
void sim_heal(struct sim *sim);

/* -> 0, or the error of evs_submit. */
int sim_submit(struct sim *sim, struct sim_proc *proc, size_t size, enum evs_order order);
/* Runs until the time, or the first violation. */
void sim_run(struct sim *sim, int64_t until_ns);
/* Runs until is_done says so. -> true, or false at until_ns or at a violation. */
bool sim_run_until(struct sim *sim, int64_t until_ns, bool (*is_done)(struct sim *sim));

/* All running processes share one view in OPERATIONAL that holds exactly them. */
bool sim_is_settled(struct sim *sim);
int sim_running(const struct sim *sim);

void sim_fail(struct sim *sim, const struct sim_proc *proc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* check.c */
void check_view(struct sim_proc *proc, const struct evs_view *view);
void check_message(struct sim_proc *proc, const struct evs_message *message);
void check_sent(struct sim_proc *proc, const uint8_t *data, size_t size);
void check_inside(struct sim_proc *proc);
void check_end(struct sim *sim);
void check_free(struct sim *sim);

/* Payload of message `number` of a process: a header and bytes that follow from it. */
#define SIM_PAYLOAD_MIN 12
void sim_payload(uint8_t *to, size_t size, int proc, uint32_t number);

#endif
