/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The provider's grastate.dat (spec 08 sections 2.10 and 12.8). The provider makes it say "nothing" before it asks for
 * a snapshot. While the old data is as it was, the old position is true as well: written back, it lets the next start
 * do with an increment, whatever becomes of this transfer, the server or the host. One user.
 */
#ifndef XB_SST_KEPT_STATE_H
#define XB_SST_KEPT_STATE_H

#include <stdbool.h>
#include <stddef.h>

#define KEPT_STATE_MAX 1024

struct kept_state {
    char text[KEPT_STATE_MAX];
    size_t size; /* 0: there is no position to keep */
};

/* Call it before the server knows that this program is ready: so long the file tells the position of the old data. */
void kept_state_remember(struct kept_state *kept, const char *datadir);
/* The data is still that of the remembered position. Durable. */
void kept_state_restore(const struct kept_state *kept, const char *datadir);
/* The data will not be that of any position from now on. Durable. -> 0 or negative errno */
int kept_state_forget(const struct kept_state *kept, const char *datadir);

/* The text that tells no position, of the same length. -> false: text has no position. Pure. */
bool kept_state_make_unknown(char *text, size_t size);

#endif
