/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State transfer requests: the bytes of the captures (spec 07 section 25), and what is malformed. */
#include "replicator/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct xb_uuid uuid_of(const char *text) {
    struct xb_uuid uuid;
    assert_int_equal(xb_uuid_parse(&uuid, text), 0);
    return uuid;
}

static const char sst[] = "mariabackup\0"
                          "127.0.0.1:24034/xtrabackup_sst//1";
static const char full_ist[] = "00000000-0000-0000-0000-000000000000:-1-106|tcp://127.0.0.1:24032";

/* Section 25.2: a snapshot for a node that knows nothing. */
static void test_a_full_request(void **state) {
    static const uint8_t head[] = {0,    'V', 3,   0,   0,   0,   0,    0,    0,    0,    0,    0,    0,
                                   0,    0,   0,   0,   0,   0,   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 'S', 'T', 'R', 'v', '1', 0,    0x2e, 0,    0,    0};
    struct state_request request = {
        .donors = "", .history = xb_uuid_nil, .last_applied = -1, .sst = sst, .sst_size = sizeof(sst), .ist = full_ist};
    size_t size;
    assert_int_equal(sizeof(sst), 46);
    uint8_t *bytes = state_request_encode(&request, &size);
    assert_int_equal(size, sizeof(head) + 46 + 4 + 66);
    assert_memory_equal(bytes, head, sizeof(head));
    assert_memory_equal(bytes + sizeof(head), sst, 46);
    assert_memory_equal(bytes + sizeof(head) + 46, "\x42\0\0\0", 4);
    assert_memory_equal(bytes + sizeof(head) + 50, full_ist, 66);

    struct state_container container;
    struct ist_part ist;
    assert_int_equal(state_container_decode(&container, bytes + 27, size - 27, NULL), 0);
    assert_false(container.is_plain);
    assert_int_equal(container.sst_size, 46);
    assert_false(state_container_is_trivial(&container));
    assert_int_equal(ist_part_parse(&ist, container.ist, NULL), 0);
    assert_true(xb_uuid_is_nil(&ist.history));
    assert_int_equal(ist.last_applied, -1);
    assert_int_equal(ist.last_needed, 106);
    assert_string_equal(ist.address, "tcp://127.0.0.1:24032");
    free(bytes);
}

/* Section 25.3: an increment alone. */
static void test_an_increment_request(void **state) {
    struct ist_part part = {uuid_of("45a77f8f-e7b1-11f1-9621-96515d50e37a"), 111, 113, "tcp://127.0.0.1:24032"};
    char text[IST_PART_SIZE];
    assert_int_equal(ist_part_format(&part, text), 0);
    assert_string_equal(text, "45a77f8f-e7b1-11f1-9621-96515d50e37a:111-113|tcp://127.0.0.1:24032");
    struct state_request request = {.donors = "", .history = part.history, .last_applied = 111, .ist = text};
    size_t size;
    uint8_t *bytes = state_request_encode(&request, &size);
    assert_int_equal(size, 108);
    assert_memory_equal(bytes + 19, "\x6f\0\0\0\0\0\0\0", 8);
    assert_memory_equal(bytes + 33, "\0\0\0\0\x43\0\0\0", 8);
    free(bytes);
}

static void test_a_plain_request_is_a_snapshot(void **state) {
    static const uint8_t trivial[] = "trivial\0", backup[] = "backup\0x", none[] = "none";
    struct state_container container;
    assert_int_equal(state_container_decode(&container, trivial, sizeof(trivial), NULL), 0);
    assert_true(container.is_plain && state_container_is_trivial(&container));
    assert_int_equal(state_container_decode(&container, backup, sizeof(backup), NULL), 0);
    assert_true(container.is_plain && !state_container_is_trivial(&container));
    assert_int_equal(state_container_decode(&container, none, sizeof(none), NULL), 0);
    assert_true(state_container_is_trivial(&container));
    assert_int_equal(state_container_decode(&container, none, 0, NULL), 0);
    assert_false(state_container_is_trivial(&container));
}

static void test_malformed_requests(void **state) {
    struct state_request request = {.donors = "a,b",
                                    .history = xb_uuid_nil,
                                    .last_applied = -1,
                                    .sst = sst,
                                    .sst_size = sizeof(sst),
                                    .ist = full_ist};
    struct state_container container;
    struct ist_part ist;
    size_t size, skip = 4 + 26;
    uint8_t *bytes = state_request_encode(&request, &size);
    for (size_t n = 0; n < size - skip; n++) { /* every truncation; the exact size of memory, for the sanitizer */
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, bytes + skip, n);
        int rc = state_container_decode(&container, cut, n, NULL);
        assert_true(n < 5 ? rc == 0 && container.is_plain : rc == -EINVAL);
        free(cut);
    }
    for (size_t at = 6; at < 10; at++) { /* lengths out of range */
        bytes[skip + at] = 0xff;
        assert_int_equal(state_container_decode(&container, bytes + skip, size - skip, NULL), -EINVAL);
    }
    free(bytes);
    const char *bad[] = {"",
                         "x",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a:",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a:1",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a:1-",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a:1-2",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a:1-2|",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37g:1-2|tcp://h",
                         "45a77f8f-e7b1-11f1-9621-96515d50e37a;1-2|h"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ist_part_parse(&ist, bad[i], NULL), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_request),
        cmocka_unit_test(test_an_increment_request),
        cmocka_unit_test(test_a_plain_request_is_a_snapshot),
        cmocka_unit_test(test_malformed_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
