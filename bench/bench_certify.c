/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many write sets a second the serial section takes: reading and checking what came from the group, certifying it,
 * marking the header. Ten keys each, as the server makes them: schema, table, seven rows, the zero-level key.
 *
 * bench_certify [rows [data bytes]]: rows = distinct rows that are hit at random. Times are processor times.
 */
#include "base/bytes.h"
#include "base/random.h"
#include "certify/certify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WRITESETS 65536 /* prepared */
#define ROWS_EACH 7
#define ROUNDS 16
#define LAG 100 /* write sets between an origin's last seen and its own seqno */

struct prepared {
    uint8_t *bytes;
    size_t size;
};

static void fail(const char *what) {
    fprintf(stderr, "bench_certify: %s\n", what);
    exit(1);
}

/* Time that this thread had a processor: other work on the machine does not count. */
static int64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* -> a write set in one piece; *build_ns: time for building without the joining. */
static struct prepared prepare(struct writeset_builder *builder, struct xb_random *random, uint64_t rows,
                               const uint8_t *data, size_t data_size, int64_t *build_ns) {
    int64_t begin = cpu_ns();
    struct writeset_origin origin = {.connection_id = 1, .transaction_id = 2};
    origin.source.bytes[0] = (uint8_t)xb_random_below(random, 3);
    writeset_builder_reset(builder, NULL);
    for (int i = 0; i < ROWS_EACH; i++) {
        uint8_t row[5] = {0};
        xb_store_le(row + 1, xb_random_below(random, rows), 4);
        struct iovec key[3] = {{(void *)"sbtest", 6}, {(void *)"sbtest1", 7}, {row, sizeof(row)}};
        if (writeset_builder_add_key(builder, key, 3, WRITESET_KEY_UPDATE) < 0) fail("add_key");
    }
    if (writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE) < 0) fail("add_key");
    if (writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, data_size, true) < 0) fail("add_data");
    if (writeset_builder_finish(builder, &origin, WRITESET_COMMIT | WRITESET_BEGIN, NULL) < 0) fail("finish");
    writeset_builder_stamp(builder, 0, WRITESET_PA_RANGE_MAX, 0);
    *build_ns += cpu_ns() - begin;
    struct prepared prepared = {.bytes = malloc(writeset_builder_size(builder))};
    size_t count;
    const struct iovec *parts = writeset_builder_parts(builder, &count);
    for (size_t i = 0; i < count; i++) {
        memcpy(prepared.bytes + prepared.size, parts[i].iov_base, parts[i].iov_len);
        prepared.size += parts[i].iov_len;
    }
    return prepared;
}

static void report(const char *what, uint64_t count, int64_t ns) {
    printf("%-34s %9.0f write sets/s  %7.0f ns each\n", what, (double)count * 1e9 / (double)ns,
           (double)ns / (double)count);
}

/* Certifies all, finishing and purging as a cluster at work does. is_whole: with reading, checking and marking. */
static void run(const struct prepared *prepared, bool is_whole) {
    struct certify_config config = {.hash_secret = {1234567, 7654321}, .is_optimistic_pa = true};
    struct certify *certify = certify_new(&config, NULL);
    struct writeset *read = calloc(WRITESETS, sizeof(*read));
    struct certify_ticket *pending[LAG] = {0};
    int64_t seqno = 0, purge_ns = 0;
    uint64_t passed = 0;
    if (!certify || !read || certify_assign_position(certify, 0, WRITESET_VERSION_MAX) < 0) fail("setup");
    for (int i = 0; i < WRITESETS; i++)
        if (writeset_read(&read[i], prepared[i].bytes, prepared[i].size, NULL) < 0) fail("read");
    int64_t begin = cpu_ns();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WRITESETS; i++) {
            struct certify_result result;
            struct writeset ws;
            if (is_whole) {
                if (writeset_read(&ws, prepared[i].bytes, prepared[i].size, NULL) < 0) fail("read");
                if (writeset_check(&ws, NULL) < 0) fail("check");
            } else {
                ws = read[i];
            }
            seqno++;
            ws.header.seqno = seqno > LAG ? seqno - LAG : 0;
            ws.header.pa_range = WRITESET_PA_RANGE_MAX;
            ws.header.flags &= (uint16_t)~WRITESET_CERTIFIED;
            if (certify_writeset(certify, &ws, seqno, CERTIFY_FROM_GROUP, &result, NULL) < 0) fail("certify");
            if (is_whole) writeset_mark_certified(&ws, prepared[i].bytes, seqno, result.depends);
            passed += result.is_passed;
            struct certify_ticket **slot = &pending[seqno % LAG];
            if (*slot) certify_finish(certify, *slot);
            *slot = result.ticket;
            if (seqno % 384 == 0) {
                int64_t start = cpu_ns();
                certify_purge(certify, seqno - LAG - 1);
                purge_ns += cpu_ns() - start;
            }
        }
    }
    int64_t ns = cpu_ns() - begin;
    uint64_t count = (uint64_t)ROUNDS * WRITESETS;
    report(is_whole ? "read, check, certify, mark" : "certify", count, ns);
    struct certify_stats stats;
    certify_get_stats(certify, &stats);
    printf("    of which purging %3.0f ns; %.1f %% passed; index %" PRId64 " keys\n", (double)purge_ns / (double)count,
           100.0 * (double)passed / (double)count, stats.index_size);
    certify_free(certify);
    free(read);
}

int main(int argc, char **argv) {
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    size_t data_size = argc > 2 ? strtoull(argv[2], NULL, 10) : 500;
    struct prepared *prepared = calloc(WRITESETS, sizeof(*prepared));
    uint8_t *data = calloc(1, data_size + 1);
    struct xb_random random;
    xb_random_seed(&random, 42);
    struct writeset_builder_config config = {.version = WRITESET_VERSION_MAX,
                                             .key_format = WRITESET_FLAT8,
                                             .size_max = WRITESET_SIZE_MAX,
                                             .hash_secret = 99};
    struct writeset_builder *builder = writeset_builder_new(&config);
    if (!prepared || !data || !builder || rows == 0) fail("setup");
    int64_t build_ns = 0;
    for (int i = 0; i < WRITESETS; i++) prepared[i] = prepare(builder, &random, rows, data, data_size, &build_ns);
    report("build", WRITESETS, build_ns);
    run(prepared, false);
    run(prepared, true);
    writeset_builder_free(builder);
    for (int i = 0; i < WRITESETS; i++) free(prepared[i].bytes);
    free(prepared);
    free(data);
    return 0;
}
