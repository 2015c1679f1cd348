/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gvwstate.dat (spec 04 sections 13.1 and 17.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pc/pc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define A "866c99ea-e7b4-11f1-a4d7-0bf5102dd6af"
#define A2 "866c99ea-e7b4-11f1-a4d8-0bf5102dd6af"
#define B "872c28b6-e7b4-11f1-a939-26bcb9fa963b"

static int parse(const char *text, struct pc_saved_view *saved) {
    struct xb_error error = {0};
    int result = pc_saved_view_parse(text, strlen(text), saved, &error);
    if (result) assert_true(error.text[0]);
    return result;
}

static void test_stock_file(void **state) {
    (void)state;
    struct pc_saved_view saved;
    assert_int_equal(parse("my_uuid: " A2 "\n#vwbeg\nview_id: 3 " A " 3\nbootstrap: 0\nmember: " B " 257\nmember: " A
                           " 0\n#vwend\n",
                           &saved),
                     0);
    assert_int_equal(saved.member_count, 2);
    assert_string_equal(XB_UUID_TEXT(&saved.members[0].uuid), A); /* put in order */
    assert_int_equal(saved.members[1].segment, 1);                /* modulo 256 */
    assert_int_equal(saved.id.seq, 3);
    assert_int_equal(saved.id.type, VIEW_PRIM);
    assert_string_equal(XB_UUID_TEXT(&saved.my_uuid), A2);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "\n",
        "my_uuid: " A "\n",
        "my_uuid: 00000000-0000-0000-0000-000000000000\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 2 " A " 3\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 0\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 1073741823\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 99999999999999999999\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\n#vwend",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nmember: " B " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nmember: " A "\n#vwend\n",
        "my_uuid: " A "x\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\n#vwend\n",
        "my_uuid: 866c99ea\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nbootstrap: 2\nmember: " A " 0\n#vwend\n",
        "my_uuid: " A "\n#vwbeg\nview_id: 3 " A " 3\nmember: " A " 0\n#vwend\n#crc32c: 00000000\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct pc_saved_view saved;
        assert_true(parse(bad[i], &saved) < 0);
    }
    struct pc_saved_view saved;
    assert_true(pc_saved_view_parse("my_uuid: \0", 10, &saved, NULL) < 0);
    char *big = malloc(100000);
    memset(big, 'x', 100000);
    assert_true(pc_saved_view_parse(big, 100000, &saved, NULL) < 0);
    free(big);
}

static void test_round_trip_and_damage(void **state) {
    (void)state;
    struct pc_saved_view saved = {.id = {VIEW_PRIM, {{9}}, 77}, .is_bootstrap = true, .member_count = 3};
    saved.lacks_state = true;
    for (size_t i = 0; i < 3; i++)
        saved.members[i] = (struct pc_member){.uuid = {{(uint8_t)(i + 1)}}, .segment = (uint8_t)(i * 100)};
    saved.my_uuid = saved.members[1].uuid;
    char text[1024];
    int size = pc_saved_view_format(&saved, text, sizeof(text));
    assert_true(size > 0);
    struct pc_saved_view back;
    assert_int_equal(pc_saved_view_parse(text, (size_t)size, &back, NULL), 0);
    assert_true(view_id_equal(&back.id, &saved.id));
    assert_true(back.is_bootstrap && back.lacks_state);
    assert_memory_equal(back.members, saved.members, 3 * sizeof(saved.members[0]));
    for (size_t cut = 0; cut < (size_t)size; cut++) {
        char small[1024];
        assert_int_equal(pc_saved_view_format(&saved, small, cut), -ENOBUFS);
        if (strstr(text, "#crc32c") > text + cut || strstr(text, "#crc32c") + 1 < text + cut)
            assert_true(pc_saved_view_parse(text, cut, &back, NULL) < 0);
    }
    for (int i = 0; i < size; i++) { /* any changed byte is noticed, but in the word that names the checksum */
        if (text + i >= strstr(text, "#crc32c") && text + i <= strstr(text, "#crc32c") + 8) continue;
        char before = text[i];
        text[i] ^= 1;
        assert_true(pc_saved_view_parse(text, (size_t)size, &back, NULL) < 0);
        text[i] = before;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stock_file),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_round_trip_and_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
