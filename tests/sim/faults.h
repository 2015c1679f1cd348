/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What befalls a simulated cluster: drawn from the seed, then healed, then the cluster must be well again. */
#ifndef XB_SIM_FAULTS_H
#define XB_SIM_FAULTS_H

#include "node.h"

struct faults_stats {
    uint64_t events;     /* of the network */
    int64_t virtual_ns;  /* length of the run */
    int64_t recovery_ns; /* from the healing until all are ready */
    int faults, operator_acts;
};

/* Runs the whole life of the cluster. The result is in the checker. */
void faults_run(struct cluster *cluster, struct faults_stats *stats);

#endif
