/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that a node finds at its start, damaged or edited: gvwstate.dat and grastate.dat. */
#include "fuzz.h"
#include "pc/pc.h"
#include "replicator/state_file.h"

#include <stdlib.h>

static void try_gvwstate(const char *text, size_t size) {
    static struct pc_saved_view saved, again;
    static char shown[65536];
    struct xb_error error = {0};
    int rc = pc_saved_view_parse(text, size, &saved, &error);
    fuzz_require(rc == 0 || error.text[0]);
    if (rc) return;
    fuzz_require(saved.member_count <= PC_MEMBERS_MAX);
    int shown_size = pc_saved_view_format(&saved, shown, sizeof(shown));
    fuzz_require(shown_size > 0 && !pc_saved_view_parse(shown, (size_t)shown_size, &again, &error));
    fuzz_require(again.member_count == saved.member_count && view_id_equal(&again.id, &saved.id));
}

static void try_grastate(const char *text, size_t size) {
    struct saved_state saved, again;
    char shown[STATE_FILE_SIZE_MAX];
    if (!saved_state_parse(&saved, text, size)) return;
    size_t shown_size = saved_state_format(&saved, shown);
    fuzz_require(shown_size < sizeof(shown) && saved_state_parse(&again, shown, shown_size));
    fuzz_require(xb_uuid_equal(&again.uuid, &saved.uuid) && again.seqno == saved.seqno);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = (char *)fuzz_copy(data, size); /* not terminated */
    try_gvwstate(text, size);
    try_grastate(text, size);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct pc_saved_view saved;
    char text[4096];
    saved = (struct pc_saved_view){.my_uuid = {{1, 2}}, .id = {VIEW_PRIM, {{1, 2}}, 17}, .member_count = 3};
    for (size_t i = 0; i < 3; i++) saved.members[i] = (struct pc_member){.uuid = {{(uint8_t)(i + 1), 2}}, .segment = 1};
    int size = pc_saved_view_format(&saved, text, sizeof(text));
    take(ctx, (const uint8_t *)text, (size_t)size);
    saved.is_bootstrap = true;
    size = pc_saved_view_format(&saved, text, sizeof(text));
    take(ctx, (const uint8_t *)text, (size_t)size);
    struct saved_state state = {.uuid = {{9, 8, 7}}, .seqno = 12345, .is_safe_to_bootstrap = true};
    take(ctx, (const uint8_t *)text, saved_state_format(&state, text));
    state.seqno = -1;
    take(ctx, (const uint8_t *)text, saved_state_format(&state, text));
}
