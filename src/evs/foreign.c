/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of nodes that are not known: they are made known, and a new view is sought (spec 03 section 9.2). */
#include "evs/internal.h"

#include <stdlib.h>

/* The same node under another incarnation has to be out first. A later incarnation shows that the former one is dead,
 * which is as good as a refused connection. -> true if there is one. */
static bool has_other_incarnation(struct evs *evs, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *n = evs->known[i];
        if (!xb_uuid_is_same_node(&n->uuid, uuid)) continue;
        if (xb_uuid_incarnation(&n->uuid) < xb_uuid_incarnation(uuid) && !n->is_refused)
            evs_peer_lost(evs, &n->uuid, true, evs->now_ns);
        return true;
    }
    return false;
}

int evs_foreign(struct evs *evs, const struct evs_header *h, struct xb_reader *r) {
    if (h->type == EVS_TYPE_LEAVE || evs->install || evs->state == EVS_LEAVING || evs_is_previous(evs, h) ||
        has_other_incarnation(evs, &h->source))
        return 0;
    struct evs_report *join = NULL;
    if (h->type == EVS_TYPE_JOIN) {
        int result = evs_report_read(r, h, &join);
        if (result) return result == -ENOMEM ? 0 : result;
    }
    if (evs->state == EVS_JOINING && (!join || !evs_report_find(join, &evs->uuid))) {
        free(join);
        return 0;
    }
    struct evs_node *node = evs_node_add(evs, &h->source);
    if (!node) {
        free(join);
        return 0;
    }
    evs_debug(evs, EVS_DEBUG_FOREIGN, "evs: %s meets %s of %s by a message of type %d", XB_UUID_SHORT(&evs->uuid),
              XB_UUID_SHORT(&h->source), VIEW_ID_TEXT(&h->view), h->type);
    evs_shift_gather(evs, true);
    evs->install_timer_ns = evs->now_ns + evs->options.install_timeout_ns;
    return join ? evs_join_handle(evs, node, join) : 0;
}
