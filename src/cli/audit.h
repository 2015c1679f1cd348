/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an audit has found out: a row a channel, the findings, and the proof by canary. */
#ifndef XB_CLI_AUDIT_H
#define XB_CLI_AUDIT_H

#include "cli/finding.h"
#include "cli/inventory.h"

struct audit_channel {
    const char *node, *kind;
    bool is_open;
    char *protocol, *cipher, *subject;
    int days_left; /* INT_MAX: no certificate seen */
    const char *plain, *old_tls, *anonymous, *foreign,
        *expired; /* "refused", "ACCEPTED", "not tried", NULL: does not apply */
};

struct audit_proof {
    const char *node, *kind;
    size_t bytes, hits; /* payload captured; how often a canary was in it */
};

struct audit {
    struct cli_common common;
    const char *inventory_path, *interface;
    bool knocks_at_transfers;
    int proof_s;
    struct inventory inventory;
    struct findings findings;
    struct audit_channel channels[4 * INVENTORY_NODES_MAX];
    int channel_count;
    struct audit_proof proofs[4 * INVENTORY_NODES_MAX];
    int proof_count;
};

/* Captures for proof_s seconds, writes canaries, fills proofs and adds findings. -> 0, or a negative errno with *error
 */
int audit_prove(struct audit *audit, struct xb_error *error);

#endif
