/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From state messages to a configuration (spec 05 sections 7.1 to 7.3). Looks at nothing but its arguments. */
#ifndef XB_GCS_QUORUM_H
#define XB_GCS_QUORUM_H

#include "gcs/messages.h"

struct gcs_quorum {
    bool is_primary;
    const struct gcs_state_message *representative;
    int exchange_version;
    struct xb_uuid group_uuid;
    int64_t counter, conf_id, last_applied;
    struct gcs_versions versions; /* -1 if not primary */
    int vote_policy;
    bool is_of_arbitrators; /* of nobody else, and all of them ours: they keep what the group had */
};

/* messages: one of each member in order, count > 0. are_all_ours: nobody decides by the stock rules, so a member that
 * has restarted with the whole state may bring it back to a group of joiners, and arbitrators keep the place of a group
 * whose nodes have all gone. */
void gcs_quorum_compute(struct gcs_quorum *quorum, const struct gcs_state_message *const *messages, size_t count,
                        bool are_all_ours, const struct xb_log *log);

#endif
