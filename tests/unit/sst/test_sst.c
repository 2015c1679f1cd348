/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pure parts of the state transfer program: arguments, addresses, option files, settings, container, words,
 * progress. */
#include "sst/address.h"
#include "sst/arguments.h"
#include "sst/binlog_archive.h"
#include "sst/container.h"
#include "sst/datadir.h"
#include "sst/kept_state.h"
#include "sst/magic.h"
#include "sst/piece.h"
#include "sst/progress.h"
#include "sst/rsync_magic.h"
#include "sst/settings.h"
#include "sst/symmetric.h"
#include "sst/words.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GTID "84808d14-e7fb-11f1-b86b-bb4f8c1fc5ae:8"

/* ---- arguments */

static int read_arguments(struct sst_arguments *a, char **argv, struct xb_error *error) {
    int argc = 0;
    while (argv[argc]) argc++;
    return sst_arguments_read(a, argc, argv, error);
}

static void test_arguments(void **state) {
    struct sst_arguments a;
    struct xb_error error = {0};
    char *joiner[] = {"/usr/bin/wsrep_sst_xtrabackup-v2",
                      "--role",
                      "joiner",
                      "--new-option",
                      "its-value",
                      "--flag",
                      "--address",
                      "10.0.0.2:4444",
                      "--datadir",
                      "/d/",
                      "--parent",
                      "17",
                      "--progress",
                      "2",
                      "--mysqld-args",
                      "--role",
                      "donor",
                      NULL};
    assert_int_equal(read_arguments(&a, joiner, &error), 0);
    assert_int_equal(a.role, SST_JOINER);
    assert_int_equal(a.method, SST_METHOD_BACKUP);
    assert_int_equal(a.parent_pid, 17);
    assert_true(a.has_progress && a.is_progress_wanted);
    assert_int_equal(a.server_argument_count, 2);
    assert_string_equal(a.server_arguments[0], "--role");

    char *donor[] = {"wsrep_sst_xebec",
                     "--gtid",
                     GTID,
                     "--bypass",
                     "--gtid-domain-id",
                     "3",
                     "--datadir",
                     "/d/",
                     "--address",
                     "h:1/x//1",
                     "--local-port",
                     "3306",
                     "--socket",
                     "/s",
                     "--role",
                     "donor",
                     NULL};
    assert_int_equal(read_arguments(&a, donor, &error), 0);
    assert_true(a.is_bypass && !a.has_progress && a.role == SST_DONOR && a.local_port == 3306);
    assert_int_equal(a.method, SST_METHOD_XEBEC);
}

static void test_bad_arguments(void **state) {
    static char *const bad[][10] = {
        {"wsrep_sst_none", "--role", "joiner", "--address", "a", "--datadir", "d", NULL},
        {"wsrep_sst_xebec", "--role", "jointer", "--address", "a", "--datadir", "d", NULL},
        {"wsrep_sst_xebec", "--role", "joiner", "--datadir", "d", NULL},
        {"wsrep_sst_xebec", "--role", "joiner", "--address", "a", NULL},
        {"wsrep_sst_xebec", "--role", "donor", "--address", "a", "--datadir", "d", NULL},
        {"wsrep_sst_xebec", "--role", "donor", "--address", "a", "--datadir", "d", "--gtid", "x:1", NULL},
        {"wsrep_sst_xebec", "--role", "joiner", "--address", "a", "--datadir", "d", "--parent", "1x", NULL},
        {"wsrep_sst_xebec", "--role", "joiner", "--address", "a", "--datadir", "d", "--port", "70000", NULL},
        {"wsrep_sst_xebec", "stray", "--role", "joiner", "--address", "a", "--datadir", "d", NULL},
        {"wsrep_sst_xebec", "--address", "a", "--datadir", "d", "--role", NULL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct sst_arguments a;
        struct xb_error error = {0};
        assert_int_not_equal(read_arguments(&a, (char **)bad[i], &error), 0);
        assert_true(error.text[0] != '\0');
    }
}

/* ---- addresses */

static void test_addresses(void **state) {
    struct sst_address a;
    struct xb_error error = {0};
    assert_int_equal(sst_address_read(&a, "node.example:417abdba@127.0.0.1:26891/xtrabackup_sst//1", &error), 0);
    assert_string_equal(a.name, "node.example");
    assert_string_equal(a.secret, "417abdba");
    assert_string_equal(a.host, "127.0.0.1");
    assert_int_equal(a.port, 26891);
    assert_string_equal(a.module, "xtrabackup_sst");
    assert_string_equal(a.lsn, "");
    assert_string_equal(a.version, "1");
    assert_int_equal(sst_address_read(&a, "[fe80::1]:5/m", &error), 0);
    assert_true(a.is_ip6 && a.port == 5);
    assert_string_equal(a.host, "fe80::1");
    assert_int_equal(sst_address_read(&a, "db-1", &error), 0);
    assert_true(!a.has_port && a.port == SST_PORT_DEFAULT);
    static const char *const bad[] = {"",     "h:0",    "h:65536", "h:1x",    "h;x:1",   "h:1/m/l/v/w", "a b@h:1",
                                      "[::1", "$(x):1", "-h:1",    "h:1/..;", "a@b@h:1", "h:",          "h:1/\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sst_address_read(&a, bad[i], &error), -EINVAL);
}

/* ---- option files and settings */

static void test_option_file(void **state) {
    struct sst_options o = {.suffix = "_x"};
    struct xb_error error = {0};
    assert_int_equal(
        sst_options_parse(
            &o, "f",
            "# c\n[mysqld]\nssl_ca = /a b.pem # why\nport=1\nport=2\n; c\n[sst]\nssl-ca=/other\nloose-rlimit='4m'\n"
            "compressor=\"zstd -T0 \\\"x\\\"\"\nempty=\nflag\n[mysqld_x]\nfrom_suffix=1\n[mariadb-10.11]\nport=3\n",
            0, &error),
        0);
    assert_string_equal(sst_options_get(&o, "mysqld*,sst", "ssl-ca"), "/a b.pem");
    assert_string_equal(sst_options_get(&o, "sst,mysqld*", "ssl-ca"), "/other");
    assert_string_equal(sst_options_get(&o, "mysqld*", "port"), "3");
    assert_string_equal(sst_options_get(&o, "mysqld", "port"), "2");
    assert_string_equal(sst_options_get(&o, "sst", "rlimit"), "4m");
    assert_string_equal(sst_options_get(&o, "sst", "compressor"), "zstd -T0 \"x\"");
    assert_string_equal(sst_options_get(&o, "mysqld*", "from-suffix"), "1");
    assert_null(sst_options_get(&o, "sst", "empty"));
    assert_null(sst_options_get(&o, "sst", "absent"));
    assert_int_equal(sst_options_add_argument(&o, "--port=9", &error), 0);
    assert_string_equal(sst_options_get(&o, "mysqld*", "port"), "9");
    sst_options_free(&o);
    assert_int_equal(sst_options_parse(&o, "f", "a=1\n", 0, &error), -EINVAL);
    assert_int_equal(sst_options_parse(&o, "f", "[g\n", 0, &error), -EINVAL);
    sst_options_free(&o);
}

/* -> result of applying a [sst] text; *encrypt is the mode */
static int apply(const char *text, enum sst_method method, struct sst_settings *s, struct xb_error *error) {
    struct sst_arguments a = {.method = method, .role = SST_JOINER, .datadir = "/nowhere"};
    *s = (struct sst_settings){.options.suffix = ""};
    *error = (struct xb_error){0};
    assert_int_equal(sst_options_parse(&s->options, "f", text, 0, error), 0);
    return sst_settings_apply(s, &a, error);
}

static void test_modes(void **state) {
    static const struct {
        const char *text;
        int encrypt; /* -1: refused */
        bool is_tls, is_verified;
    } cases[] = {
        {"[sst]\n", 0, false, false},
        {"[mysqld]\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n", 4, true, true},
        {"[mysqld]\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n[sst]\nencrypt=0\n", 0, false, false},
        {"[mysqld]\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n[sst]\nssl-mode=disabled\n", 0, false, false},
        {"[mysqld]\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n[sst]\nssl-mode=REQUIRED\n", 3, true, false},
        {"[mysqld]\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n[sst]\nssl-mode=VERIFY_CA\n", 3, true, true},
        {"[sst]\nencrypt=0\nssl-mode=REQUIRED\nssl-cert=/p\nssl-key=/k\n", 3, true, false},
        {"[sst]\nssl-mode=REQUIRED\n", -1, false, false},
        {"[sst]\nssl-mode=VERIFY_CA\nssl-cert=/p\nssl-key=/k\n", -1, false, false},
        {"[sst]\nssl-mode=MAYBE\n", -1, false, false},
        {"[sst]\nencrypt=4\nssl-cert=/p\nssl-key=/k\n", -1, false, false},
        {"[sst]\nencrypt=2\ntca=/c\ntcert=/p\n", 2, true, true},
        {"[sst]\nencrypt=2\ntcert=/p\n", -1, false, false},
        {"[sst]\nencrypt=3\ntcert=/p\ntkey=/k\n", 3, true, false},
        {"[sst]\nencrypt=3\ntcert=/p\n", -1, false, false},
        {"[sst]\nencrypt=1\nencrypt-algo=aes-256-ctr\nencrypt-key=x\n", 1, false, false},
        {"[sst]\nencrypt=1\nencrypt-key=x\n", -1, false, false},
        {"[sst]\nencrypt=1\nencrypt-algo=aes-256-ctr\n", -1, false, false},
        {"[sst]\nencrypt=5\n", -1, false, false},
        {"[sst]\nencrypt=4\ntransferfmt=nc\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n", -1, false, false},
        {"[sst]\nstreamfmt=tar\n", -1, false, false},
        {"[sst]\nrlimit=fast\n", -1, false, false},
        {"[sst]\nsst-initial-timeout=soon\n", -1, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sst_settings s;
        struct xb_error error;
        int rc = apply(cases[i].text, SST_METHOD_BACKUP, &s, &error);
        if (cases[i].encrypt < 0) {
            assert_true(rc < 0 && error.text[0]);
        } else {
            assert_int_equal(rc, 0);
            assert_int_equal(s.encrypt, cases[i].encrypt);
            assert_int_equal(s.is_tls, cases[i].is_tls);
            assert_int_equal(s.is_peer_verified, cases[i].is_verified);
        }
        sst_settings_free(&s);
    }
}

static void test_xebec_needs_verified_tls(void **state) {
    struct sst_settings s;
    struct xb_error error;
    assert_int_equal(apply("[sst]\nencrypt=0\n", SST_METHOD_XEBEC, &s, &error), -EINVAL);
    sst_settings_free(&s);
    assert_int_equal(apply("[sst]\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n", SST_METHOD_XEBEC, &s, &error), 0);
    sst_settings_free(&s);
}

static void test_no_symmetric_mode_for_other_methods(void **state) {
    static const char text[] = "[sst]\nencrypt=1\nencrypt-algo=aes-256-ctr\nencrypt-key=x\n";
    static const enum sst_method methods[] = {SST_METHOD_RSYNC, SST_METHOD_MYSQLDUMP};
    for (size_t i = 0; i < 2; i++) {
        struct sst_settings s;
        struct xb_error error;
        assert_int_equal(apply(text, methods[i], &s, &error), -EINVAL);
        sst_settings_free(&s);
    }
}

static void test_binlog_names(void **state) {
    assert_string_equal(binlog_number("/a.b/mysql-bin.000012"), "000012");
    assert_string_equal(binlog_number("x.1000000"), "1000000");
    assert_null(binlog_number("x.index"));
    assert_null(binlog_number("x.00001"));
    assert_null(binlog_number("/a.000001/x"));
}

static void test_rsync_magic(void **state) {
    char directory[] = "/tmp/xebec-test-sst-XXXXXX";
    struct magic_stage in = {.state = GTID " 7", .secret = "0123abcd", .is_ist_only = true}, out;
    struct xb_error error = {0};
    assert_non_null(mkdtemp(directory));
    assert_int_equal(rsync_magic_read(directory, &out, &error), -ENOENT);
    assert_int_equal(rsync_magic_write(directory, &in, &error), 0);
    assert_int_equal(rsync_magic_read(directory, &out, &error), 0);
    assert_string_equal(out.state, in.state);
    assert_string_equal(out.secret, in.secret);
    assert_true(out.is_ist_only);
    snprintf(in.state, sizeof(in.state), "no position");
    assert_int_equal(rsync_magic_write(directory, &in, &error), 0);
    assert_int_equal(rsync_magic_read(directory, &out, &error), -EBADMSG);
    rsync_magic_remove(directory);
    assert_int_equal(rmdir(directory), 0);
}

static void test_warnings(void **state) {
    struct sst_settings s;
    struct xb_error error;
    assert_int_equal(apply("[sst]\nencrypt=3\ntcert=/p\ntkey=/k\n", SST_METHOD_BACKUP, &s, &error), 0);
    assert_non_null(strstr(sst_settings_warning(&s, 0), "deprecated"));
    assert_non_null(strstr(sst_settings_warning(&s, 1), "NOT VERIFIED"));
    assert_null(sst_settings_warning(&s, 2));
    sst_settings_free(&s);
    assert_int_equal(apply("[sst]\nencrypt=4\nssl-ca=/c\nssl-cert=/p\nssl-key=/k\n", SST_METHOD_BACKUP, &s, &error), 0);
    assert_null(sst_settings_warning(&s, 0));
    sst_settings_free(&s);
}

/* ---- words, cleaning, progress */

static void test_words(void **state) {
    struct words w = {0};
    struct xb_error error = {0};
    assert_int_equal(words_split(&w, "c", "  zstd -T0  'a b' \"c d\" e\\ f ", &error), 0);
    static const char *const wanted[] = {"zstd", "-T0", "a b", "c d", "e f"};
    assert_int_equal(w.count, 5);
    for (size_t i = 0; i < 5; i++) assert_string_equal(w.items[i], wanted[i]);
    assert_null(w.items[5]);
    words_free(&w);
    static const char *const bad[] = {"a | b", "a; b", "a $HOME", "a `b`", "a > f", "a 'b", "a \"$(x)\"", "a & b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(words_split(&w, "c", bad[i], &error), -EINVAL);
        words_free(&w);
    }
}

static void test_what_cleaning_keeps(void **state) {
    assert_true(datadir_is_kept("/d/grastate.dat", ".*x$"));
    assert_true(datadir_is_kept("/d/galera.cache", ""));
    assert_true(datadir_is_kept("/d/ca.pem", ".*x$"));
    assert_true(datadir_is_kept("/d/.sst", ".*x$"));
    assert_true(datadir_is_kept("/d/some.x", ".*\\.y$\\|.*\\.x$"));
    assert_false(datadir_is_kept("/d/some.xy", ".*\\.y$\\|.*\\.x$"));
    assert_false(datadir_is_kept("/d/ibdata1", ".*x$"));
    assert_true(datadir_is_kept("/d/ibdata1", "\\(")); /* a broken pattern costs nothing */
}

static void test_progress(void **state) {
    struct progress p;
    char line[PROGRESS_LINE_SIZE];
    progress_begin(&p, 1000 << 20, 0);
    assert_false(progress_add(&p, 100 << 20, XB_SECOND / 2));
    assert_true(progress_add(&p, 150 << 20, XB_SECOND));
    assert_string_equal(progress_format(&p, XB_SECOND, line), "25% (250.0 MiB of 1000.0 MiB), 250.0 MiB/s, 0:03 left");
    progress_add(&p, 900u << 20, 2 * XB_SECOND);
    assert_non_null(strstr(progress_format(&p, 2 * XB_SECOND, line), "99% ("));
    progress_begin(&p, 0, 0);
    progress_add(&p, 2048, XB_SECOND);
    assert_string_equal(progress_format(&p, XB_SECOND, line), "2.0 KiB, 2.0 KiB/s");
}

/* The bar fills the line at every width, and gives way to the words where there is no room for both. */
static void test_bar(void **state) {
    char line[PROGRESS_LINE_SIZE];
    struct progress p;
    for (int columns = 1; columns < 2 * PROGRESS_LINE_SIZE; columns++) {
        progress_begin(&p, 1000, 0);
        progress_add(&p, 500, XB_SECOND);
        progress_bar(&p, XB_SECOND, columns, line);
        assert_int_equal(strlen(line), columns < PROGRESS_LINE_SIZE ? columns : PROGRESS_LINE_SIZE - 1);
    }
    assert_non_null(strstr(line, "#.")); /* the last was a wide one */
    assert_non_null(strstr(line, "] 50% ("));
    progress_begin(&p, 0, 0);
    progress_add(&p, 500, XB_SECOND);
    assert_null(strchr(progress_bar(&p, XB_SECOND, 80, line), '[')); /* of what is not known there is no bar */
    progress_begin(&p, 100, 0);
    progress_add(&p, 500, XB_SECOND); /* more than was estimated */
    assert_int_equal(strlen(progress_bar(&p, XB_SECOND, 80, line)), 80);
}

static void test_limit(void **state) {
    uint64_t bytes;
    assert_true(limit_parse("10m", &bytes) && bytes == 10 << 20);
    assert_true(limit_parse("1.5K", &bytes) && bytes == 1536);
    assert_false(limit_parse("m", &bytes) || limit_parse("1x", &bytes) || limit_parse("", &bytes) ||
                 limit_parse("-1", &bytes) || limit_parse("0", &bytes));
    struct limit limit = {1000000, 0};
    int64_t now_ns = 5 * XB_SECOND, begin_ns = now_ns;
    for (int i = 0; i < 100; i++) now_ns += limit_take(&limit, 50000, now_ns);
    assert_true(now_ns - begin_ns > 4 * XB_SECOND && now_ns - begin_ns < 6 * XB_SECOND);
}

/* ---- container and first stage */

struct seen {
    char text[4096];
    size_t size, files;
};

static int see_data(void *ctx, const char *path, uint64_t offset, const uint8_t *data, size_t size,
                    struct xb_error *error) {
    struct seen *seen = ctx;
    if (size) memcpy(seen->text + seen->size, data, size);
    seen->size += size;
    return 0;
}

static int see_end(void *ctx, const char *path, struct xb_error *error) {
    ((struct seen *)ctx)->files++;
    return 0;
}

/* Feeds the bytes in pieces. -> 0, or what reading or ending said */
static int feed_pieces(const uint8_t *bytes, size_t size, size_t piece, struct seen *seen, struct xb_error *error) {
    struct container_reader *r = container_reader_new(&(struct container_sink){see_data, see_end, seen});
    int rc = 0;
    for (size_t at = 0; at < size && rc == 0; at += piece)
        rc = container_reader_feed(r, bytes + at, size - at < piece ? size - at : piece, error);
    if (rc == 0) rc = container_reader_end(r, error);
    container_reader_free(r);
    return rc;
}

static size_t make_container(uint8_t *to, size_t room) {
    struct xb_writer w = xb_writer_init(to, room);
    container_write_file(&w, "dir/one", "hello ", 6);
    container_write_file(&w, "empty", "", 0);
    container_write_file(&w, "two", "world", 5);
    assert_false(w.is_bad);
    return w.used;
}

static void test_container(void **state) {
    uint8_t bytes[1024];
    size_t size = make_container(bytes, sizeof(bytes));
    for (size_t piece = 1; piece <= size; piece++) {
        struct seen seen = {0};
        struct xb_error error = {0};
        assert_int_equal(feed_pieces(bytes, size, piece, &seen, &error), 0);
        assert_int_equal(seen.files, 3);
        assert_memory_equal(seen.text, "hello world", 11);
    }
}

static void test_container_damage(void **state) {
    uint8_t bytes[1024];
    size_t size = make_container(bytes, sizeof(bytes)), whole_cuts = 0;
    for (size_t cut = 1; cut < size; cut++) {
        struct seen seen = {0};
        struct xb_error error = {0};
        int rc = feed_pieces(bytes, cut, cut, &seen, &error);
        assert_true(rc == 0 || rc == -EBADMSG);
        whole_cuts += rc == 0; /* only behind a whole file */
    }
    assert_int_equal(whole_cuts, 2);
    size_t undetected = 0;
    for (size_t at = 0; at < size; at++) {
        struct seen seen = {0};
        struct xb_error error = {0};
        bytes[at] ^= 0x10;
        undetected += feed_pieces(bytes, size, size, &seen, &error) == 0;
        bytes[at] ^= 0x10;
    }
    assert_true(undetected <= 32); /* flags, bytes of offsets, of names in both chunks: never the payload, see below */
    bytes[14 + 7 + 20] ^= 1;
    struct seen seen = {0};
    struct xb_error error = {0};
    assert_int_equal(feed_pieces(bytes, size, 7, &seen, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "checksum of 'dir/one'"));
}

static void test_container_refuses_paths(void **state) {
    static const char *const bad[] = {"/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/.", "a/..", "a\nb", ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t bytes[256];
        struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
        struct seen seen = {0};
        struct xb_error error = {0};
        container_write_file(&w, bad[i], "x", 1);
        assert_int_equal(feed_pieces(bytes, w.used, w.used, &seen, &error), -EBADMSG);
        assert_int_equal(seen.size, 0);
    }
}

static void test_first_stage(void **state) {
    struct magic_stage in = {.state = GTID " 0",
                             .secret = "abc",
                             .total_bytes = 12345,
                             .is_ist_only = true,
                             .is_ours = true},
                       out;
    uint8_t bytes[4096];
    struct xb_error error = {0};
    size_t size = magic_write_stage(&in, bytes, sizeof(bytes));
    assert_true(size > 0);
    assert_int_equal(magic_read_stage(&out, bytes, size, &error), 0);
    assert_string_equal(out.state, in.state);
    assert_string_equal(out.secret, "abc");
    assert_true(out.is_ist_only && out.is_ours && out.total_bytes == 12345);
    assert_int_equal(magic_read_stage(&out, bytes, size - 1, &error), -EBADMSG);
    assert_int_equal(magic_read_stage(&out, bytes, 0, &error), -EBADMSG);
    assert_int_equal(magic_write_stage(&in, bytes, 100), 0);
    snprintf(in.state, sizeof(in.state), "nonsense");
    size = magic_write_stage(&in, bytes, sizeof(bytes));
    assert_int_equal(magic_read_stage(&out, bytes, size, &error), -EBADMSG);
    assert_true(magic_is_secret_equal("abc", "abc") && !magic_is_secret_equal("abc", "abd") &&
                !magic_is_secret_equal("abc", "ab"));
}

static void test_symmetric(void **state) {
    struct xb_error error = {0};
    struct symmetric *in = symmetric_new("aes-256-ctr", "key", true, &error),
                     *out = symmetric_new("aes-256-ctr", "key", false, &error);
    uint8_t coded[256], plain[256];
    ssize_t n = symmetric_feed(in, (const uint8_t *)"attack at dawn", 14, coded, &error);
    n += symmetric_end(in, coded + n, &error);
    assert_int_equal(n, 30);
    assert_memory_equal(coded, "Salted__", 8);
    size_t got = 0;
    for (ssize_t i = 0; i < n; i++) got += (size_t)symmetric_feed(out, coded + i, 1, plain + got, &error);
    assert_int_equal(symmetric_end(out, plain + got, &error), 0);
    assert_int_equal(got, 14);
    assert_memory_equal(plain, "attack at dawn", 14);
    symmetric_free(in);
    symmetric_free(out);
    out = symmetric_new("aes-256-cbc", "key", false, &error);
    assert_int_equal(symmetric_feed(out, (const uint8_t *)"XBSTCK01 and more bytes", 23, plain, &error), -EBADMSG);
    symmetric_free(out);
    assert_null(symmetric_new("aes-256-gcm", "key", true, &error));
    assert_null(symmetric_new("nonsense", "key", true, &error));
}

/* ---- the method xebec */

static struct hello make_hello(void) {
    struct hello hello = {.connection = 3, .is_ist_only = true, .total_bytes = 77};
    snprintf(hello.state, sizeof(hello.state), "%s", GTID " 0");
    memset(hello.session, 9, sizeof(hello.session));
    return hello;
}

static void test_hello(void **state) {
    uint8_t key[32] = {1}, other_key[32] = {2}, bytes[HELLO_SIZE], answer[WELCOME_SIZE];
    struct xb_error error = {0};
    struct hello sent = make_hello(), got;
    hello_write(&sent, "secret", key, bytes);
    assert_int_equal(hello_read(&got, "secret", key, bytes, &error), 0);
    assert_true(got.connection == 3 && got.is_ist_only && got.total_bytes == 77);
    assert_string_equal(got.state, sent.state);
    assert_int_equal(hello_read(&got, "Secret", key, bytes, &error), -EACCES);
    assert_int_equal(hello_read(&got, "secret", other_key, bytes, &error), -EACCES); /* another connection */
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 1;
        assert_int_not_equal(hello_read(&got, "secret", key, bytes, &error), 0);
        bytes[i] ^= 1;
    }
    welcome_write(&sent, "secret", key, answer);
    assert_int_equal(welcome_read(&sent, "secret", key, answer, &error), 0);
    assert_int_equal(welcome_read(&sent, "secret", other_key, answer, &error), -EACCES);
    struct hello other_cluster = sent;
    other_cluster.state[0] = '9';
    assert_int_equal(welcome_read(&other_cluster, "secret", key, answer, &error), -EACCES);
    answer[0] ^= 1;
    assert_int_equal(welcome_read(&sent, "secret", key, answer, &error), -EBADMSG);
}

static void test_piece_header(void **state) {
    struct piece_header in = {.number = 5,
                              .offset = 5 * PIECE_BYTES,
                              .raw_size = 100,
                              .wire_size = 50,
                              .crc = 7,
                              .is_compressed = true},
                        out;
    uint8_t bytes[PIECE_HEADER_SIZE];
    struct xb_error error = {0};
    piece_write(&in, bytes);
    assert_int_equal(piece_read(&out, bytes, &error), 0);
    assert_memory_equal(&in, &out, offsetof(struct piece_header, is_last));
    const struct piece_header bad[] = {
        {.raw_size = PIECE_BYTES + 1, .wire_size = PIECE_BYTES + 1},
        {.raw_size = 10, .wire_size = PIECE_BYTES + 1, .is_compressed = true},
        {.raw_size = 10, .wire_size = 9},
        {.number = ACK_WHOLE},
        {.raw_size = 1, .wire_size = 1, .is_last = true},
        {.raw_size = 1, .wire_size = 1, .is_beat = true},
        {.is_beat = true, .is_last = true},
        {.is_pause = true},
        {.number = ACK_HERE},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        piece_write(&bad[i], bytes);
        assert_int_equal(piece_read(&out, bytes, &error), -EBADMSG);
    }
    bytes[0] ^= 1;
    assert_int_equal(piece_read(&out, bytes, &error), -EBADMSG);
    piece_write(&(struct piece_header){.is_beat = true}, bytes);
    assert_int_equal(piece_read(&out, bytes, &error), 0);
    assert_true(out.is_beat && !out.is_last && !out.is_pause);
    piece_write(&(struct piece_header){.is_beat = true, .is_pause = true}, bytes);
    assert_int_equal(piece_read(&out, bytes, &error), 0);
    assert_true(out.is_beat && out.is_pause);
}

static void test_silence(void **state) {
    assert_int_equal(piece_silence_ns(0), 30 * XB_SECOND);
    assert_int_equal(piece_silence_ns(XB_SECOND), 4 * XB_SECOND); /* two beats */
    assert_int_equal(piece_silence_ns(99 * XB_SECOND), 99 * XB_SECOND);
}

/* The position in grastate.dat is blotted out in place, whatever stands around it; without one nothing is done. */
static void test_kept_state(void **state) {
    static const struct {
        const char *before, *after;
    } cases[] = {
        {"# GALERA saved state\nversion: 2.1\nuuid:    23a3cce8-e7b3-11f1-8a8d-7bf17f4ae3db\nseqno:   "
         "1234\nsafe_to_bootstrap: 0\n",
         "# GALERA saved state\nversion: 2.1\nuuid:    00000000-0000-0000-0000-000000000000\nseqno:   -1  "
         "\nsafe_to_bootstrap: 0\n"},
        {"seqno: -1\nuuid: 23a3cce8-e7b3-11f1-8a8d-7bf17f4ae3db",
         "seqno: -1\nuuid: 00000000-0000-0000-0000-000000000000"},
        {"uuid: 23a3cce8-e7b3-11f1-8a8d-7bf17f4ae3db\nseqno: 7",
         "uuid: 00000000-0000-0000-0000-000000000000\nseqno: 0"},
        {"uuid:    00000000-0000-0000-0000-000000000000\nseqno:   -1\n", NULL},
        {"uuid:    23a3cce8-e7b3-11f1-8a8d\nseqno:   1\n", NULL},
        {"uuid:    23a3cce8-e7b3-11f1-8a8d-7bf17f4ae3db\n", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[KEPT_STATE_MAX];
        size_t size = strlen(cases[i].before);
        memcpy(text, cases[i].before, size);
        assert_int_equal(kept_state_make_unknown(text, size), cases[i].after != NULL);
        assert_memory_equal(text, cases[i].after ? cases[i].after : cases[i].before, size);
    }
}

/* Compression is chosen when the wire is slow, left when it is fast, and tried again now and then. */
static void test_meter(void **state) {
    struct meter slow = {0}, fast = {0};
    assert_true(meter_wants_compression(&slow));
    assert_true(meter_wants_compression(&fast));
    meter_note_compression(&slow, 1000, 400, 2000); /* 2 ns a byte */
    meter_note_send(&slow, 1000, 10000);            /* 10 ns a byte */
    meter_note_compression(&fast, 1000, 400, 2000);
    meter_note_send(&fast, 1000, 1000); /* 1 ns a byte */
    assert_true(meter_wants_compression(&slow));
    assert_false(meter_wants_compression(&fast));
    int trials = 0;
    for (int i = 0; i < 160; i++) trials += meter_wants_compression(&fast);
    assert_int_equal(trials, 10);
    meter_note_compression(&slow, 1000, 1000, 2000); /* data that does not shrink */
    for (int i = 0; i < 30; i++) meter_note_compression(&slow, 1000, 1000, 2000);
    slow.pieces = 1;
    assert_false(meter_wants_compression(&slow));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_option_file),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_xebec_needs_verified_tls),
        cmocka_unit_test(test_no_symmetric_mode_for_other_methods),
        cmocka_unit_test(test_binlog_names),
        cmocka_unit_test(test_rsync_magic),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_what_cleaning_keeps),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_container),
        cmocka_unit_test(test_container_damage),
        cmocka_unit_test(test_container_refuses_paths),
        cmocka_unit_test(test_first_stage),
        cmocka_unit_test(test_symmetric),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_piece_header),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_kept_state),
        cmocka_unit_test(test_meter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
