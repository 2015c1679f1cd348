/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The group stack of a process on the simulator's network, for tests that need no more of a node than that: it is
 * started, ticked after every batch of events and at its deadlines, and taken off the network when its membership ends.
 */
#ifndef XB_SIM_STACK_H
#define XB_SIM_STACK_H

#include "group/group.h"
#include "sim/network.h"

#include "base/clock.h"

#define STACK_CALENDAR_NS (1700000000 * XB_SECOND) /* of virtual time 0 */
#define STACK_LINGER_NS (20 * XB_SECOND)

struct stack {
    /* Given. The rest is made by stack_start. */
    struct net *net;
    int host, host_count; /* its host; hosts 0 .. host_count - 1 are its peers */
    struct gcs_up up;
    /* What is received goes through it, and from it to group_received; NULL: directly. ctx is up.ctx. */
    void (*receive)(void *ctx, gmcast_conn conn, const uint8_t *body, size_t size);
    struct xb_random random; /* seeded */

    struct group *group; /* NULL when it is down */
    int64_t tick_ns;
    bool is_settling, has_left;
    int left_code;
};

int64_t stack_now(const struct stack *stack);
void stack_start(struct stack *stack, bool is_bootstrap);
/* After calls into its group: lets it answer. May end it. */
void stack_settle(struct stack *stack);
/* Off the network, and freed. is_silent: as by a power cut. Does nothing if it is down. */
void stack_stop(struct stack *stack, bool is_silent);

#endif
