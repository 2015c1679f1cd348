/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arbitrator: a member of the group that votes in quorum and holds no data (spec 07 section 20).
 *
 * Threads: all functions by one thread, the owner's; the group thread is inside.
 */
#ifndef XB_ARBITRATOR_ARBITRATOR_H
#define XB_ARBITRATOR_ARBITRATOR_H

#include "base/error.h"
#include "base/log.h"
#include "base/options.h"

struct arbitrator;

struct arbitrator_config {
    const char *name;    /* node name, default "garb" */
    const char *address; /* cluster address */
    const char *group;
    const char *sst;     /* state request, "trivial" joins; anything else asks a donor for a backup, then leaves */
    const char *donor;   /* names, comma separated; "" anybody */
    const char *workdir; /* gvwstate.dat */
    struct xb_options *options; /* given by the user; what an arbitrator needs is set here */
};

/* -> an arbitrator that is joining, or NULL with *error. Keeps log. */
struct arbitrator *arbitrator_open(const struct arbitrator_config *config, const struct xb_log *log,
                                   struct xb_error *error);
/* Becomes readable when the membership has ended by itself. */
int arbitrator_end_fd(const struct arbitrator *arbitrator);
/* Retries the state request when one is due. -> when to call again at the latest, in ms; -1: no need. */
int arbitrator_tick(struct arbitrator *arbitrator);
/* Leaves the group and frees. -> 0 after a self-leave or a completed backup request, else a negative errno. */
int arbitrator_close(struct arbitrator *arbitrator);

#endif
