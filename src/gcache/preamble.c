/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text at the start of the ring file (spec 07 section 19): lines "key value", the rest of the 1024 bytes zero. */
#include "gcache/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define OUR_COMMENT "# xebec"

static void read_line(struct ring_preamble *preamble, const char *line) {
    const char *value = strchr(line, ' ');
    if (!strcmp(line, OUR_COMMENT)) preamble->is_ours = true;
    if (*line == '#' || !value) return;
    size_t key = (size_t)(value - line);
#define IS(name) (key == sizeof(name) - 1 && !memcmp(line, name, key))
    if (IS("Version:"))
        preamble->version = atoi(value);
    else if (IS("GID:"))
        xb_uuid_parse(&preamble->uuid, value + 1);
    else if (IS("seqno_min:"))
        preamble->seqno_min = strtoll(value, NULL, 10);
    else if (IS("seqno_max:"))
        preamble->seqno_max = strtoll(value, NULL, 10);
    else if (IS("offset:"))
        preamble->offset = strtoll(value, NULL, 10);
    else if (IS("synced:"))
        preamble->is_synced = atoi(value) == 1;
#undef IS
}

void ring_read_preamble(const struct gcache_ring *ring, struct ring_preamble *preamble) {
    *preamble = (struct ring_preamble){.seqno_min = -1, .seqno_max = -1, .offset = -1};
    char text[RING_PREAMBLE_SIZE + 1];
    memcpy(text, ring->map, RING_PREAMBLE_SIZE);
    text[RING_PREAMBLE_SIZE] = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) read_line(preamble, line);
}

void ring_write_preamble(struct gcache_ring *ring, const struct ring_preamble *preamble) {
    char text[RING_PREAMBLE_SIZE] = {0};
    int n = snprintf(text, sizeof(text), OUR_COMMENT "\nVersion: %d\nGID: %s\n", preamble->version,
                     XB_UUID_TEXT(&preamble->uuid));
    if (preamble->is_synced)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "seqno_min: %lld\nseqno_max: %lld\n",
                      (long long)preamble->seqno_min, (long long)preamble->seqno_max);
    if (preamble->is_synced && preamble->offset >= 0)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "offset: %lld\n", (long long)preamble->offset);
    snprintf(text + n, sizeof(text) - (size_t)n, "synced: %d\n\n", preamble->is_synced);
    memcpy(ring->map, text, sizeof(text));
    msync(ring->map, sizeof(text), MS_SYNC);
}
