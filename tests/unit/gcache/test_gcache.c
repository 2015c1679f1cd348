/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The history: stores, seqnos, releasing, readers, threads. */
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    fixture_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_clear(*state);
    free(*state);
    return 0;
}

static int64_t page_count(struct gcache *cache) {
    struct gcache_status status;
    gcache_get_status(cache, &status);
    return status.page_count;
}

static void test_basic(void **state) {
    struct gcache *cache = fixture_open(*state);
    assert_int_equal(gcache_min(cache), -1);
    assert_int_equal(newest(cache), -1);
    assert_null(gcache_alloc(cache, 0));
    assert_null(gcache_alloc(cache, (size_t)GCACHE_BUFFER_SIZE_MAX + 1));
    void *buf = gcache_alloc(cache, 1);
    assert_int_equal((uintptr_t)buf % 8, 0);
    gcache_free(cache, buf);
    gcache_free(cache, NULL);

    for (int64_t s = 5; s < 15; s++) ws_put(cache, s, 128);
    assert_int_equal(gcache_min(cache), 5);
    assert_int_equal(newest(cache), 14);
    assert_int_equal(check_all(cache), 10);
    struct gcache_entry entry;
    assert_int_equal(gcache_get(cache, 4, &entry), -ENOENT);
    assert_int_equal(gcache_get(cache, 15, &entry), -ENOENT);
    assert_int_equal(gcache_get(cache, 7, &entry), 0);
    assert_int_equal(entry.size, 128);
    assert_false(entry.is_skip);
    assert_int_equal(gcache_skip(cache, 7), 0);
    assert_int_equal(gcache_skip(cache, 77), -ENOENT);
    assert_int_equal(gcache_get(cache, 7, &entry), 0);
    assert_true(entry.is_skip);

    buf = gcache_alloc(cache, 128);
    assert_int_equal(gcache_assign(cache, buf, 7, GCACHE_WRITESET, false), -EEXIST);
    assert_int_equal(gcache_assign(cache, buf, 0, GCACHE_WRITESET, false), -ERANGE);
    assert_int_equal(gcache_assign(cache, buf, -1, GCACHE_WRITESET, false), -ERANGE);
    assert_int_equal(gcache_assign(cache, buf, 15 + GCACHE_HOLE_MAX, GCACHE_WRITESET, false), -ERANGE);
    assert_int_equal(gcache_assign(cache, buf, INT64_MAX, GCACHE_WRITESET, false), -ERANGE);
    gcache_free(cache, buf);
    gcache_close(cache);
}

static void test_holes(void **state) {
    struct gcache *cache = fixture_open(*state);
    for (int64_t s = 50; s <= 60; s++) ws_put(cache, s, 88);
    gcache_release(cache, 60);
    /* IST with preload fills in below: what was there counts only when the hole is closed */
    for (int64_t s = 40; s < 49; s++) {
        ws_put(cache, s, 88);
        assert_int_equal(gcache_min(cache), 50);
    }
    ws_put(cache, 49, 88);
    assert_int_equal(gcache_min(cache), 40);
    assert_int_equal(newest(cache), 60);
    struct gcache_status status;
    gcache_get_status(cache, &status);
    assert_int_equal(status.released, 39); /* what is new has to be released again */
    ws_put(cache, 70, 88);
    assert_int_equal(gcache_min(cache), 70);
    for (int64_t s = 61; s < 70; s++) ws_put(cache, s, 88);
    assert_int_equal(gcache_min(cache), 40);
    assert_int_equal(check_all(cache), 31);
    gcache_close(cache);
}

/* As wide as the index has to become. */
static void test_wide_holes(void **state) {
    struct gcache *cache = fixture_open(*state);
    int64_t middle = 5000000;
    gcache_reset(cache, &uuid_a, middle);
    for (int64_t s = middle; s > middle - 4 * GCACHE_HOLE_MAX; s -= GCACHE_HOLE_MAX) ws_put(cache, s, 88);
    for (int64_t s = middle + 1000; s < middle + GCACHE_HOLE_MAX; s += 4096) ws_put(cache, s, 88);
    assert_int_equal(gcache_min(cache), newest(cache));
    assert_true(gcache_has(cache, middle - GCACHE_HOLE_MAX, NULL));
    assert_false(gcache_has(cache, middle - GCACHE_HOLE_MAX + 1, NULL));
    assert_true(gcache_has(cache, middle + 1000 + 4096, NULL));
    gcache_reset(cache, &uuid_a, middle + 1000 + 4096);
    assert_int_equal(newest(cache), middle + 1000 + 4096);
    for (int64_t s = middle + 1001; s < middle + 1000 + 4096; s++) ws_put(cache, s, 88);
    assert_int_equal(gcache_min(cache), middle + 1000);
    assert_int_equal(check_all(cache), 4097);
    gcache_release(cache, newest(cache));
    for (int64_t s = newest(cache) + 1, end = s + 10000; s < end; s++) {
        ws_put(cache, s, 88);
        gcache_release(cache, s);
    }
    assert_true(check_all(cache) > 300);
    gcache_close(cache);
}

static void test_wrap(void **state) {
    struct gcache *cache = fixture_open(*state);
    struct xb_random random;
    xb_random_seed(&random, 1);
    for (int64_t s = 1; s < 20000; s++) {
        void *lost = NULL;
        if (xb_random_below(&random, 4) == 0) lost = gcache_alloc(cache, 1 + xb_random_below(&random, 500));
        ws_put(cache, s, WS_MIN + 8 * xb_random_below(&random, xb_random_below(&random, 50) ? 40 : 3000));
        gcache_free(cache, lost);
        gcache_release(cache, s);
        if (s % 512 == 0) {
            assert_true(check_all(cache) > 0);
            assert_int_equal(newest(cache), s);
        }
    }
    assert_int_equal(page_count(cache), 0);
    gcache_close(cache);
}

static void test_large_goes_to_page_and_back(void **state) {
    struct fixture *f = *state;
    struct gcache *cache = fixture_open(f);
    for (int64_t s = 1; s <= 100; s++) ws_put(cache, s, 128);
    gcache_release(cache, 100);
    ws_put(cache, 101, 40000); /* more than half of the ring */
    assert_int_equal(page_count(cache), 1);
    char path[128];
    assert_int_equal(access(fixture_path(f, "gcache.page.000000", path), F_OK), 0);
    assert_int_equal(gcache_min(cache), 1);
    ws_put(cache, 102, 128);
    assert_int_equal(check_all(cache), 102);
    gcache_release(cache, 102);
    await_page_count(cache, 0); /* gcache.keep_pages_size is 0 */
    assert_int_equal(gcache_min(cache), 102);
    for (int tries = 0; tries < 20000 && !access(path, F_OK); tries++) poll(NULL, 0, 1);
    assert_int_not_equal(access(path, F_OK), 0);

    gcache_set_keep_pages_size(cache, 100000);
    ws_put(cache, 103, 40000);
    ws_put(cache, 104, 40000);
    gcache_release(cache, 104);
    assert_int_equal(page_count(cache), 2);
    assert_int_equal(gcache_min(cache), 102);
    ws_put(cache, 105, 40000);
    gcache_release(cache, 105);
    await_page_count(cache, 2);
    assert_int_equal(gcache_min(cache), 104);
    gcache_set_keep_pages_size(cache, 0);
    await_page_count(cache, 0);
    assert_int_equal(gcache_min(cache), -1);
    gcache_close(cache);
}

/* The ring is held up for a while: what went to pages comes back as far as there is room. */
static void test_pages_move_to_ring(void **state) {
    struct gcache *cache = fixture_open(*state);
    void *in_use = gcache_alloc(cache, 100); /* at the old end of the ring */
    for (int64_t s = 1; s <= 2000; s++) {
        ws_put(cache, s, 128);
        if (s % 9 == 0) gcache_skip(cache, s);
    }
    assert_true(page_count(cache) > 1);
    assert_int_equal(check_all(cache), 2000);
    gcache_free(cache, in_use);
    gcache_release(cache, 2000);
    await_page_count(cache, 0);
    assert_int_equal(newest(cache), 2000);
    assert_in_range(check_all(cache), 200, 432); /* of what fits into the ring */
    for (int64_t s = gcache_min(cache); s <= 2000; s++) {
        struct gcache_entry entry;
        assert_true(gcache_has(cache, s, &entry));
        assert_int_equal(entry.is_skip, s % 9 == 0);
    }
    for (int64_t s = 2001; s <= 3000; s++) {
        ws_put(cache, s, 128);
        gcache_release(cache, s);
    }
    assert_int_equal(page_count(cache), 0);
    assert_true(check_all(cache) > 400);
    gcache_close(cache);
    cache = fixture_open(*state);
    assert_true(check_all(cache) == 0); /* no history was named */
    gcache_close(cache);
}

/* As long as the ring is held up the newest page or two stay. */
static void test_ring_stays_blocked(void **state) {
    struct gcache *cache = fixture_open(*state);
    void *in_use = gcache_alloc(cache, 100);
    for (int64_t s = 1; s <= 5000; s++) {
        ws_put(cache, s, 128);
        gcache_release(cache, s);
    }
    assert_int_equal(newest(cache), 5000);
    await_page_count(cache, 2);
    check_all(cache);
    gcache_free(cache, in_use);
    gcache_release(cache, 5000);
    await_page_count(cache, 0);
    assert_true(check_all(cache) > 200);
    gcache_close(cache);
}

static void test_get_takes_back(void **state) {
    struct gcache *cache = fixture_open(*state);
    for (int64_t s = 1; s <= 100; s++) ws_put(cache, s, 512);
    gcache_release(cache, 100);
    struct gcache_entry entry;
    assert_int_equal(gcache_get(cache, 50, &entry), 0);
    for (int64_t s = 101; s <= 300; s++) ws_put(cache, s, 512);
    assert_true(gcache_has(cache, 50, NULL));
    ws_check(&entry);
    gcache_release(cache, 300);
    for (int64_t s = 301; s <= 420; s++) ws_put(cache, s, 512);
    assert_false(gcache_has(cache, 50, NULL));
    gcache_release(cache, 420);
    gcache_close(cache);
}

static void test_memory(void **state) {
    struct fixture *f = *state;
    f->config.mem_size_bytes = 16 * 1024;
    struct gcache *cache = fixture_open(f);
    for (int64_t s = 1; s <= 10000; s++) {
        ws_put(cache, s, 128 + 8 * (size_t)(s % 50));
        gcache_release(cache, s);
    }
    struct gcache_status status;
    gcache_get_status(cache, &status);
    assert_true(status.mem_used_bytes > 0 && status.mem_used_bytes <= 16 * 1024);
    assert_true(check_all(cache) > 20);
    assert_int_equal(status.page_count, 0);
    gcache_close(cache);
    cache = fixture_open(f); /* what is in memory is gone, but what was in the ring is sound */
    check_all(cache);
    gcache_close(cache);
}

static void test_tiny_ring(void **state) {
    struct fixture *f = *state;
    for (int64_t size = 0; size < 260; size += size < 20 ? 1 : 60) {
        f->config.size_bytes = size;
        struct gcache *cache = fixture_open(f);
        gcache_reset(cache, &uuid_a, 0);
        for (int64_t s = 1; s <= 300; s++) {
            ws_put(cache, s, WS_MIN);
            if (s % 7 == 0) gcache_release(cache, s);
        }
        assert_int_equal(newest(cache), 300);
        check_all(cache);
        gcache_close(cache);
    }
}

static void test_reset(void **state) {
    struct gcache *cache = fixture_open(*state);
    gcache_reset(cache, &uuid_a, 0);
    check_uuid(cache, &uuid_a);
    for (int64_t s = 1; s <= 100; s++) ws_put(cache, s, 128);
    uint8_t *in_use = gcache_alloc(cache, 1000);
    memset(in_use, 0x5a, 1000);

    gcache_reset(cache, &uuid_a, 60); /* within: only what is above goes */
    assert_int_equal(newest(cache), 60);
    assert_int_equal(check_all(cache), 60);
    ws_put(cache, 61, 128);
    assert_int_equal(check_all(cache), 61);

    gcache_reset(cache, &uuid_a, 70); /* above: all goes */
    assert_int_equal(newest(cache), -1);
    ws_put(cache, 71, 128);
    assert_int_equal(gcache_min(cache), 71);
    gcache_reset(cache, &uuid_b, 71); /* other history: all goes */
    assert_int_equal(newest(cache), -1);
    check_uuid(cache, &uuid_b);
    for (int64_t s = 1; s <= 1000; s++) ws_put(cache, s, 128);
    gcache_reset(cache, &uuid_b, -1);
    assert_int_equal(newest(cache), -1);
    for (size_t i = 0; i < 1000; i++) assert_int_equal(in_use[i], 0x5a);
    assert_int_equal(gcache_assign(cache, in_use, 5, GCACHE_WRITESET, true), 0);
    gcache_close(cache);
}

static void count_abort(void *ctx) {
    (*(int *)ctx)++;
}

static void test_reader(void **state) {
    struct gcache *cache = fixture_open(*state);
    for (int64_t s = 1; s <= 50; s++) ws_put(cache, s, 512);
    gcache_release(cache, 50);
    assert_null(gcache_reader_open(cache, 51, NULL, NULL));
    assert_null(gcache_reader_open(cache, 0, NULL, NULL));
    struct gcache_reader *slow = gcache_reader_open(cache, 10, NULL, NULL);
    struct gcache_reader *fast = gcache_reader_open(cache, 20, NULL, NULL);
    struct gcache_entry entries[16];
    assert_int_equal(gcache_reader_next(slow, entries, 16), 16);
    assert_int_equal(entries[0].seqno, 10);
    for (int64_t s = 51; s <= 400; s++) {
        ws_put(cache, s, 512);
        gcache_release(cache, s);
        struct gcache_entry one;
        assert_int_equal(gcache_reader_next(fast, &one, 1), 1);
        assert_int_equal(one.seqno, s - 31);
        ws_check(&one);
    }
    assert_true(page_count(cache) > 0);
    for (int i = 0; i < 16; i++) ws_check(&entries[i]);
    assert_false(gcache_has(cache, 9, NULL));
    int64_t expected = 26;
    int n;
    while ((n = gcache_reader_next(slow, entries, 16)) > 0)
        for (int i = 0; i < n; i++) {
            assert_int_equal(entries[i].seqno, expected++);
            ws_check(&entries[i]);
        }
    assert_int_equal(n, 0);
    assert_int_equal(expected, 401);
    gcache_reader_close(slow);
    gcache_reader_close(fast);
    gcache_reader_close(NULL);
    await_page_count(cache, 0);
    assert_int_equal(newest(cache), 400);
    assert_true(check_all(cache) > 60);
    gcache_close(cache);
}

static void test_reader_limit(void **state) {
    struct fixture *f = *state;
    f->config.reader_limit_bytes = 100 * 1024;
    struct gcache *cache = fixture_open(f);
    for (int64_t s = 1; s <= 50; s++) ws_put(cache, s, 512);
    gcache_release(cache, 50);
    int slow_aborts = 0, fast_aborts = 0;
    struct gcache_reader *fast = gcache_reader_open(cache, 20, count_abort, &fast_aborts);
    struct gcache_reader *slow = gcache_reader_open(cache, 10, count_abort, &slow_aborts);
    struct gcache_entry entries[4];
    assert_int_equal(gcache_reader_next(slow, entries, 4), 4);
    for (int64_t s = 51; s <= 1000; s++) {
        ws_put(cache, s, 512);
        gcache_release(cache, s);
    }
    assert_int_equal(slow_aborts, 1); /* it has not closed yet, so the other one is spared */
    assert_int_equal(fast_aborts, 0);
    for (int i = 0; i < 4; i++) ws_check(&entries[i]);
    assert_int_equal(gcache_reader_next(slow, entries, 4), -ECANCELED);
    gcache_reader_close(slow);
    for (int64_t s = 1001; s <= 1200; s++) {
        ws_put(cache, s, 512);
        gcache_release(cache, s);
    }
    assert_int_equal(fast_aborts, 1);
    gcache_reader_close(fast);
    struct gcache_status status;
    gcache_get_status(cache, &status);
    assert_int_equal(status.readers_aborted, 2);
    await_page_count(cache, 0);
    gcache_close(cache);
}

static void test_page_impossible(void **state) {
    struct fixture *f = *state;
    f->config.page_size_bytes = 1 << 20;
    struct gcache *cache = fixture_open(f);
    struct rlimit old, low;
    getrlimit(RLIMIT_FSIZE, &old);
    low = old;
    low.rlim_cur = 1 << 18;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &low);
    for (int64_t s = 1; s <= 2000; s++) ws_put(cache, s, 128);
    assert_int_equal(page_count(cache), 0);
    assert_int_equal(check_all(cache), 2000); /* memory had to do */
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    gcache_release(cache, 2000);
    gcache_close(cache);
}

static void test_open_errors(void **state) {
    struct fixture *f = *state;
    struct xb_error error = {0};
    struct gcache *cache = fixture_open(f);
    assert_null(gcache_open(&f->config, NULL, &error)); /* locked */
    assert_int_equal(error.code, -EAGAIN);
    gcache_close(cache);
    struct gcache_config config = f->config;
    config.dir = "/nonexistent/directory";
    assert_null(gcache_open(&config, NULL, &error));
    assert_int_equal(error.code, -ENOENT);
    config = f->config;
    config.size_bytes = INT64_MAX;
    assert_null(gcache_open(&config, NULL, &error));
    config.size_bytes = -1;
    assert_null(gcache_open(&config, NULL, &error));
}

/* ----------------------------------------------------------------- threads */

#define THREAD_SEQNOS 30000

struct shared {
    struct gcache *cache;
    _Atomic(int64_t) written;
    _Atomic(bool) is_stopping;
};

static void *release_thread(void *arg) {
    struct shared *shared = arg;
    while (!shared->is_stopping) {
        int64_t written = shared->written;
        if (written > 50) gcache_release(shared->cache, written - 50);
        gcache_min(shared->cache);
    }
    return NULL;
}

static void *reading_thread(void *arg) {
    struct shared *shared = arg;
    uint64_t sum = 0;
    while (!shared->is_stopping) {
        struct gcache_reader *reader = gcache_reader_open(shared->cache, gcache_min(shared->cache), NULL, NULL);
        if (!reader) continue;
        struct gcache_entry entries[32];
        int n, rounds = 0;
        while (rounds++ < 20 && (n = gcache_reader_next(reader, entries, 32)) > 0)
            for (int i = 0; i < n; i++) {
                if ((int64_t)xb_load_le(entries[i].buf + 8, 8) != entries[i].seqno) abort();
                if (!ws_is_payload_intact(NULL, GCACHE_WRITESET, entries[i].buf, entries[i].size)) abort();
                sum += entries[i].size;
            }
        gcache_reader_close(reader);
    }
    return (void *)(uintptr_t)sum;
}

static void test_threads(void **state) {
    struct fixture *f = *state;
    f->config.size_bytes = 8 << 20; /* large enough for the prefault thread */
    struct shared shared = {.cache = fixture_open(f)};
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, release_thread, &shared);
    pthread_create(&threads[1], NULL, reading_thread, &shared);
    pthread_create(&threads[2], NULL, reading_thread, &shared);
    for (int64_t s = 1; s <= THREAD_SEQNOS; s++) {
        ws_put(shared.cache, s, 128 + 8 * (size_t)(s % 300));
        shared.written = s;
    }
    shared.is_stopping = true;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    gcache_release(shared.cache, THREAD_SEQNOS);
    await_page_count(shared.cache, 0);
    assert_true(check_all(shared.cache) > 100);
    gcache_close(shared.cache);
}

static void close_on_abort(void *ctx) {
    *(_Atomic(bool) *)ctx = true;
}

struct expelled {
    struct gcache_reader *reader;
    _Atomic(bool) is_aborted;
};

static void *expelled_thread(void *arg) {
    struct expelled *expelled = arg;
    while (!expelled->is_aborted) sched_yield();
    gcache_reader_close(expelled->reader);
    return NULL;
}

static void test_reset_expels_readers(void **state) {
    struct gcache *cache = fixture_open(*state);
    gcache_reset(cache, &uuid_a, 0);
    for (int64_t s = 1; s <= 50; s++) ws_put(cache, s, 128);
    struct expelled expelled = {.is_aborted = false};
    expelled.reader = gcache_reader_open(cache, 1, close_on_abort, &expelled.is_aborted);
    struct gcache_entry entries[40];
    assert_int_equal(gcache_reader_next(expelled.reader, entries, 20), 20);
    gcache_reset(cache, &uuid_a, 30); /* beyond what it has */
    assert_int_equal(gcache_reader_next(expelled.reader, entries, 40), 10);
    pthread_t thread;
    pthread_create(&thread, NULL, expelled_thread, &expelled);
    gcache_reset(cache, &uuid_b, 30);
    assert_true(expelled.is_aborted);
    pthread_join(thread, NULL);
    gcache_close(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_basic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wide_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_goes_to_page_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_move_to_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ring_stays_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_get_takes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tiny_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_page_impossible, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_expels_readers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
