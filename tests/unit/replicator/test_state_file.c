/* SPDX-License-Identifier: GPL-2.0-or-later */
/* grastate.dat: the bytes, what is written when, torn and failing files. */
#include "replicator/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[80];
static const char capture[] = "# GALERA saved state\nversion: 2.1\nuuid:    45a77f8f-e7b1-11f1-9621-96515d50e37a\n"
                              "seqno:   115\nsafe_to_bootstrap: 1\n";
static struct xb_uuid uuid;

static int setup(void **state) {
    snprintf(dir, sizeof(dir), "/tmp/xb_state_XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof(path), "%s/grastate.dat", dir);
    return xb_uuid_parse(&uuid, "45a77f8f-e7b1-11f1-9621-96515d50e37a");
}

static int teardown(void **state) {
    unlink(path);
    rmdir(dir);
    return 0;
}

static void put(const char *text, size_t size) {
    FILE *f = fopen(path, "w");
    fwrite(text, 1, size, f);
    fclose(f);
}

/* The file through another descriptor; a lock of this process does not mind as long as it is not the last close. */
static struct saved_state file_says(void) {
    char text[4096];
    FILE *f = fopen(path, "r");
    size_t n = fread(text, 1, sizeof(text), f);
    struct saved_state saved;
    fclose(f);
    saved_state_parse(&saved, text, n);
    return saved;
}

static void assert_says(const struct xb_uuid *expected, int64_t seqno, bool is_safe) {
    struct saved_state saved = file_says();
    assert_string_equal(XB_UUID_TEXT(&saved.uuid), XB_UUID_TEXT(expected));
    assert_int_equal(saved.seqno, seqno);
    assert_int_equal(saved.is_safe_to_bootstrap, is_safe);
}

static void test_the_stock_text_is_read_and_made_again(void **state) {
    struct saved_state saved;
    char text[STATE_FILE_SIZE_MAX];
    assert_true(saved_state_parse(&saved, capture, strlen(capture)));
    assert_int_equal(saved.seqno, 115);
    assert_true(saved.is_safe_to_bootstrap);
    assert_int_equal(saved_state_format(&saved, text), strlen(capture));
    assert_string_equal(text, capture);
}

static void test_every_truncation_is_survived(void **state) {
    for (size_t n = 0; n < sizeof(capture); n++) {
        struct saved_state saved;
        char *text = malloc(n ? n : 1);
        memcpy(text, capture, n);
        saved_state_parse(&saved, text, n);
        assert_true(saved.seqno == -1 || saved.seqno == 115);
        if (saved.seqno == 115) assert_true(xb_uuid_equal(&saved.uuid, &uuid));
        free(text);
    }
    struct saved_state saved;
    const char *bad = "uuid: 45a77f8f-e7b1-11f1-9621-96515d50e37\nseqno: 7\n";
    assert_false(saved_state_parse(&saved, bad, strlen(bad)));
    assert_int_equal(saved.seqno, -1);
}

static void test_a_missing_file_is_made(void **state) {
    struct state_file *file = state_file_open(dir, NULL, NULL, NULL);
    assert_non_null(file);
    assert_says(&xb_uuid_nil, -1, true);
    state_file_close(file);
    assert_null(state_file_open("/nonexistent", NULL, NULL, NULL));
}

static void test_marks_nest_and_corruption_stays(void **state) {
    put(capture, strlen(capture));
    struct state_file *file = state_file_open(dir, NULL, NULL, NULL);
    assert_int_equal(state_file_get(file).seqno, 115);
    state_file_set(file, &uuid, -1, false);
    assert_says(&uuid, -1, false);
    state_file_mark_unsafe(file);
    assert_says(&xb_uuid_nil, -1, false);
    state_file_mark_unsafe(file);
    state_file_set_position(file, &uuid, 120); /* remembered only */
    state_file_mark_safe(file);
    assert_says(&xb_uuid_nil, -1, false);
    state_file_mark_safe(file);
    assert_says(&uuid, 120, false);
    state_file_mark_corrupt(file);
    state_file_set_position(file, &uuid, 121);
    state_file_mark_unsafe(file);
    state_file_mark_safe(file);
    assert_says(&xb_uuid_nil, -1, false);
    assert_true(state_file_is_corrupt(file));
    state_file_mark_restored(file, &uuid, -1);
    assert_says(&uuid, -1, false);
    state_file_set(file, &uuid, 1234567890, true);
    state_file_set(file, &uuid, 5, true); /* shorter: blanks behind */
    assert_says(&uuid, 5, true);
    state_file_close(file);
    file = state_file_open(dir, NULL, NULL, NULL);
    assert_int_equal(state_file_get(file).seqno, 5);
    state_file_close(file);
}

static void test_a_large_file_is_replaced(void **state) {
    char text[3000];
    struct stat st;
    memset(text, '\n', sizeof(text));
    memcpy(text, capture, strlen(capture));
    put(text, sizeof(text));
    struct state_file *file = state_file_open(dir, NULL, NULL, NULL);
    assert_int_equal(state_file_get(file).seqno, 115);
    state_file_set(file, &uuid, 7, true);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < STATE_FILE_SIZE_MAX);
    assert_says(&uuid, 7, true);
    state_file_close(file);
}

static void test_a_second_process_is_refused(void **state) {
    struct state_file *file = state_file_open(dir, NULL, NULL, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct xb_error error;
        _exit(!state_file_open(dir, NULL, NULL, &error) && error.code == -EAGAIN ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    state_file_close(file);
}

static int writes_left;
static int failing_write(int fd, const char *text, size_t size, bool is_truncating) {
    if (writes_left-- <= 0) return -ENOSPC;
    return pwrite(fd, text, size, 0) == (ssize_t)size ? 0 : -EIO;
}

/* Whichever write fails: the file never claims a position that is not true, and the next write that works is right. */
static void test_failing_writes(void **state) {
    for (int n = 0; n < 6; n++) {
        put(capture, strlen(capture));
        writes_left = n;
        struct state_file *file = state_file_open(dir, failing_write, NULL, NULL);
        assert_non_null(file);
        state_file_set(file, &uuid, -1, false);
        state_file_mark_unsafe(file);
        state_file_mark_safe(file);
        state_file_mark_unsafe(file);
        state_file_mark_safe(file);
        writes_left = 100;
        state_file_set(file, &uuid, 130, true);
        assert_says(&uuid, 130, true);
        state_file_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_stock_text_is_read_and_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_truncation_is_survived, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_missing_file_is_made, setup, teardown),
        cmocka_unit_test_setup_teardown(test_marks_nest_and_corruption_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_large_file_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_second_process_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_writes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
