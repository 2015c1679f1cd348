/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of src/member without network: cluster address, settings, gvwstate.dat, reports. */
#include "member/internal.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void test_cluster_addresses(void **state) {
    static const struct {
        const char *text;
        bool is_bootstrap;
        size_t count;
        const char *last;
        int port;
    } good[] = {
        {"gcomm://", true, 0, NULL, 0},
        {"gcomm://?pc.weight=3", true, 0, NULL, 0},
        {"gcomm://10.0.0.1", false, 1, "10.0.0.1", 4567},
        {"gcomm://10.0.0.1:1,node2:2", false, 2, "node2", 2},
        {"gcomm://10.0.0.1,10.0.0.2:", false, 2, "10.0.0.2", 4567},
        {"gcomm://0.0.0.0", true, 0, NULL, 0},
        {"gcomm://0.0.0.0,10.0.0.1:5", true, 1, "10.0.0.1", 5},
        {"gcomm://10.0.0.1:5,0.0.0.0", false, 1, "10.0.0.1", 5},
        {"gcomm://[2001:db8::1]:7/path?pc.weight=2#x", false, 1, "[2001:db8::1]", 7},
        {"gcomm://[fe80::1%2]", false, 1, "[fe80::1%2]", 4567},
        {"gcomm://user@node1:9", false, 1, "node1", 9},
        {"gcomm://[::]", true, 0, NULL, 0},
        {"gcomm://::/128", true, 0, NULL, 0},
    };
    struct xb_options *options = xb_options_new();
    struct cluster_address address;
    struct xb_error error;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        error.text[0] = '\0';
        if (cluster_address_parse(&address, good[i].text, options, &error)) fail_msg("%s", error.text);
        assert_int_equal(address.is_bootstrap, good[i].is_bootstrap);
        assert_int_equal(address.host_count, good[i].count);
        if (!good[i].count) continue;
        assert_string_equal(address.hosts[address.host_count - 1].name, good[i].last);
        assert_int_equal(address.hosts[address.host_count - 1].port, good[i].port);
    }
    static const struct {
        const char *text;
        int code;
    } bad[] = {
        {"", -EINVAL},
        {"10.0.0.1", -EINVAL},
        {"dummy://10.0.0.1", -ESOCKTNOSUPPORT},
        {"gcomm://10.0.0.1:70000", -EINVAL},
        {"gcomm://10.0.0.1:x", -EINVAL},
        {"gcomm://10.0.0.1?pc.weight", -EINVAL},
        {"gcomm://10.0.0.1?=1", -EINVAL},
        {"gcomm://10.0.0.1?pc.weight=1=2", -EINVAL},
        {"gcomm://10.0.0.1?pc.weight=x", -EINVAL},
        {"gcomm://10.0.0.1?pc.weight=999", -ERANGE},
        {"gcomm://10.0.0.1?pc.nosuch=1", -EINVAL},
        {"gcomm://10.0.0.1?socket.ssl=no", -EINVAL}, /* never a way around TLS */
        {"gcomm://10.0.0.1?socket.dynamic=yes", -EINVAL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cluster_address_parse(&address, bad[i].text, options, &error), bad[i].code);
    xb_options_free(options);
}

static void test_address_options(void **state) {
    struct xb_options *options = xb_options_new();
    struct cluster_address address;
    struct xb_error error;
    xb_options_put(options, "pc.weight", "2");
    assert_int_equal(cluster_address_parse(&address,
                                           "gcomm://h?pc.weight=4&evs.keepalive_period=PT0.5S&base_port=99&"
                                           "gmcast.isolate=1",
                                           options, &error),
                     0);
    assert_int_equal(xb_options_integer(options, "pc.weight"), 4); /* the address comes first */
    assert_int_equal(xb_options_period_ns(options, "evs.keepalive_period"), XB_SECOND / 2);
    assert_int_equal(address.hosts[0].port, 99);
    assert_null(xb_options_copy(options, "gmcast.isolate")); /* no effect at start */
    xb_options_free(options);
}

/* A bad value may be refused by the table already. */
static int read_with(const char *text, struct settings *settings, struct xb_error *error) {
    struct xb_options *options = xb_options_new();
    struct member_config config = {.group_name = "lab", .options = options, .seqno = -1};
    int rc = xb_options_start(options, text, error);
    if (!rc) rc = settings_read(settings, &config, error);
    if (!rc) settings_write_back(settings, options, "tcp://127.0.0.1:99", 99);
    if (!rc) {
        char shown[64];
        xb_options_text(options, "evs.view_forget_timeout", shown, sizeof(shown));
        assert_string_equal(shown, "P1D");
        xb_options_text(options, "base_port", shown, sizeof(shown));
        assert_string_equal(shown, "99");
    }
    xb_options_free(options);
    return rc;
}

static void test_settings(void **state) {
    struct settings settings;
    struct xb_error error;
    assert_int_equal(read_with("", &settings, &error), 0);
    struct evs_options evs;
    evs_options_default(&evs);
    const struct evs_options *got = &settings.group.evs; /* field by field: there is padding */
    assert_int_equal(got->version, evs.version);
    assert_int_equal(got->suspect_timeout_ns, evs.suspect_timeout_ns);
    assert_int_equal(got->inactive_timeout_ns, evs.inactive_timeout_ns);
    assert_int_equal(got->inactive_check_period_ns, evs.inactive_check_period_ns);
    assert_int_equal(got->keepalive_period_ns, evs.keepalive_period_ns);
    assert_int_equal(got->join_retrans_period_ns, evs.join_retrans_period_ns);
    assert_int_equal(got->install_timeout_ns, evs.install_timeout_ns);
    assert_int_equal(got->causal_keepalive_period_ns, evs.causal_keepalive_period_ns);
    assert_int_equal(got->view_forget_timeout_ns, evs.view_forget_timeout_ns);
    assert_int_equal(got->stats_report_period_ns, evs.stats_report_period_ns);
    assert_int_equal(got->delay_margin_ns, evs.delay_margin_ns);
    assert_int_equal(got->delayed_keep_period_ns, evs.delayed_keep_period_ns);
    assert_int_equal(got->max_install_timeouts, evs.max_install_timeouts);
    assert_int_equal(got->send_window, evs.send_window);
    assert_int_equal(got->user_send_window, evs.user_send_window);
    assert_int_equal(got->use_aggregate, evs.use_aggregate);
    assert_int_equal(got->auto_evict, evs.auto_evict);
    assert_int_equal(got->debug_log_mask, evs.debug_log_mask);
    assert_int_equal(got->info_log_mask, evs.info_log_mask);
    struct pc_options pc;
    pc_options_default(&pc);
    assert_int_equal(settings.group.pc.weight, pc.weight);
    assert_int_equal(settings.group.pc.recovery, pc.recovery);
    assert_int_equal(settings.group.pc.retry_period_ns, pc.retry_period_ns);
    assert_false(settings.group.pc.ignore_sb || settings.group.pc.ignore_quorum || settings.group.pc.checksum ||
                 settings.group.pc.npvo);
    assert_string_equal(settings.listen_host, "0.0.0.0");
    assert_int_equal(settings.listen_port, 4567);
    assert_string_equal(settings.scheme, "tcp");
    assert_int_equal(settings.group.gmcast.peer_timeout_ns, 3 * XB_SECOND);
    assert_int_equal(settings.group.gmcast.max_initial_reconnect_attempts, INT32_MAX);
    assert_int_equal(settings.wait_timeout_ns, 30 * XB_SECOND);
    assert_true(settings.is_waiting);

    assert_int_equal(read_with("evs.inactive_timeout=PT6S;evs.keepalive_period=PT0.2S;gmcast.mira=5;base_port=77;"
                               "socket.recv_buf_size=64K;gcomm.thread_prio=rr:2;gcs.fc_master_slave=yes;"
                               "evs.causal_keepalive_period=PT9S",
                               &settings, &error),
                     0);
    assert_int_equal(settings.group.evs.install_timeout_ns, 3 * XB_SECOND);
    assert_int_equal(settings.group.evs.causal_keepalive_period_ns, XB_SECOND / 5);
    assert_int_equal(settings.group.gmcast.max_initial_reconnect_attempts, 5);
    assert_int_equal(settings.listen_port, 77);
    assert_int_equal(settings.net.receive_buffer_bytes, 65536);
    assert_true(settings.has_schedule && settings.schedule_priority == 2);
    assert_true(settings.group.gcs.options.fc_single_primary);
}

static void test_bad_settings(void **state) {
    static const struct {
        const char *options;
        int code;
        const char *text;
    } bad[] = {
        {"evs.suspect_timeout=PT2S", -ERANGE, "evs.keepalive_period"}, /* the trap of spec 09 section 4.6 */
        {"evs.inactive_check_period=PT3S", -ERANGE, "evs.inactive_check_period"},
        {"evs.install_timeout=PT16S", -ERANGE, "evs.install_timeout"},
        {"evs.user_send_window=5", -ERANGE, "evs.user_send_window"},
        {"gmcast.listen_addr=127.0.0.1:99", -EINVAL, "supported protocol"},
        {"gmcast.listen_addr=[::1]:99", -EINVAL, "supported protocol"},
        {"gmcast.listen_addr=udp://127.0.0.1", -EINVAL, "supported protocol"},
        {"gmcast.mcast_addr=239.0.0.1", -EINVAL, "multicast"},
        {"gcomm.thread_prio=fast:1", -EINVAL, "Invalid scheduling policy"},
        {"gcomm.thread_prio=rr", -EINVAL, "Invalid schedparam"},
        {"socket.send_buf_size=-1", -EINVAL, "socket.send_buf_size"},
        {"protonet.backend=epoll", -EINVAL, "not supported"},
    };
    struct settings settings;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct xb_error error = {0};
        assert_int_equal(read_with(bad[i].options, &settings, &error), bad[i].code);
        assert_non_null(strstr(error.text, bad[i].text));
    }
    static const char *const good[][2] = {{"gmcast.listen_addr=127.0.0.1", "127.0.0.1"},
                                          {"gmcast.listen_addr=ssl://10.0.0.1:5", "10.0.0.1"},
                                          {"gmcast.listen_addr=tcp://[::]", "[::]"},
                                          {"gmcast.listen_addr=[::1]", "[::1]"}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct xb_error error = {0};
        assert_int_equal(read_with(good[i][0], &settings, &error), 0);
        assert_string_equal(settings.listen_host, good[i][1]);
    }
}

static void test_group_name(void **state) {
    struct xb_options *options = xb_options_new();
    struct settings settings;
    struct xb_error error;
    static const char *const names[] = {"", "a name of more than thirty-two by"};
    for (size_t i = 0; i < 2; i++) {
        struct member_config config = {.group_name = names[i], .options = options, .seqno = -1};
        assert_int_equal(settings_read(&settings, &config, &error), -EINVAL);
    }
    struct member_config config = {.group_name = "exactly thirty-two bytes in name", .options = options, .seqno = -1};
    assert_int_equal(settings_read(&settings, &config, &error), 0);
    xb_options_free(options);
}

struct lines {
    char text[4096];
    size_t count;
};

static void note_line(void *ctx, enum xb_log_level level, const char *line) {
    struct lines *lines = ctx;
    snprintf(lines->text, sizeof(lines->text), "%s", line);
    lines->count++;
}

static void test_saved_state(void **state) {
    char directory[] = "/tmp/xebec-saved-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/gvwstate.dat", directory);
    struct pc_saved_view saved = {.is_bootstrap = true, .member_count = 1}, read;
    struct xb_error error;
    assert_int_equal(saved_state_read(directory, &read, &error), -ENOENT);
    xb_uuid_parse(&saved.my_uuid, "866c99ea-e7b4-11f1-a4d7-0bf5102dd6af");
    saved.id = (struct view_id){.type = VIEW_PRIM, .uuid = saved.my_uuid, .seq = 3};
    saved.members[0].uuid = saved.my_uuid;
    assert_int_equal(saved_state_write(directory, &saved, &error), 0);
    assert_int_equal(saved_state_read(directory, &read, &error), 0);
    assert_true(view_id_equal(&read.id, &saved.id) && xb_uuid_equal(&read.my_uuid, &saved.my_uuid));

    struct lines lines = {.count = 0};
    struct xb_log log = {note_line, &lines, false};
    struct saved_state *writer = saved_state_start(directory, &log);
    assert_non_null(writer);
    for (uint32_t seq = 4; seq < 40; seq++) {
        saved.id.seq = seq;
        saved_state_put(writer, &saved);
    }
    saved_state_stop(writer); /* the newest is on disk */
    assert_int_equal(saved_state_read(directory, &read, &error), 0);
    assert_int_equal(read.id.seq, 39);
    writer = saved_state_start(directory, &log);
    saved_state_put(writer, &saved);
    saved_state_put(writer, NULL);
    saved_state_stop(writer);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(lines.count, 0);

    FILE *f = fopen(path, "w"); /* empty: as if it were not there, with a reason */
    fclose(f);
    assert_int_equal(saved_state_read(directory, &read, &error), -EINVAL);
    assert_non_null(strstr(error.text, path));
    unlink(path);
    assert_int_equal(rmdir(directory), 0); /* no temporary file is left */

    writer = saved_state_start(directory, &log); /* the directory is gone: a warning each, nothing worse */
    saved_state_put(writer, &saved);
    saved_state_stop(writer);
    assert_int_equal(lines.count, 1);
    assert_non_null(strstr(lines.text, "gvwstate.dat"));
}

static void test_reports(void **state) {
    struct lines lines = {.count = 0};
    struct xb_log log = {note_line, &lines, false};
    struct report report = {.last = ""};
    struct net_loss loss = {.reason = -EPROTO,
                            .text = "certificate verify failed: expired",
                            .host = "10.0.0.1",
                            .port = 99,
                            .is_tls = true,
                            .is_handshake = true};
    for (int i = 0; i < 100; i++) report_failure(&report, &loss, &log, i * XB_SECOND / 100);
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.text,
                        "Failed to establish connection from 10.0.0.1:99: certificate verify failed: expired");
    loss.host = "10.0.0.2"; /* another host has a line of its own */
    report_failure(&report, &loss, &log, XB_SECOND);
    assert_int_equal(lines.count, 2);
    loss.host = "10.0.0.1";
    report_failure(&report, &loss, &log, 20 * XB_SECOND);
    assert_int_equal(lines.count, 3);
    assert_non_null(strstr(lines.text, "(99 more before)"));
    loss.text = "certificate verify failed: self-signed (peer certificate 'CN=x')"; /* another reason, too */
    report_failure(&report, &loss, &log, 21 * XB_SECOND);
    assert_int_equal(lines.count, 4);
    loss.text = "certificate verify failed: self-signed (peer certificate 'CN=y')"; /* but not another subject */
    report_failure(&report, &loss, &log, 21 * XB_SECOND);
    assert_int_equal(lines.count, 4);
    /* many hosts: table and lines are bounded */
    lines.count = 0;
    for (int i = 0; i < 1000; i++) {
        char host[NET_HOST_SIZE];
        snprintf(host, sizeof(host), "10.1.%d.%d", i / 250, i % 250);
        loss.host = host;
        report_failure(&report, &loss, &log, 30 * XB_SECOND);
    }
    assert_int_equal(lines.count, REPORT_LINES_MAX);
    /* a peer with a valid certificate, and nonsense: whatever it claims, one line */
    lines.count = 0;
    report_refusal(&report, "10.2.0.1", 7, "CN=x", "it belongs to the group 'a'", &log, 50 * XB_SECOND);
    report_refusal(&report, "10.2.0.1", 8, "CN=x", "it belongs to the group 'b'", &log, 50 * XB_SECOND);
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.text,
                        "Refused 10.2.0.1:7 after the TLS handshake (certificate 'CN=x'): it belongs to the "
                        "group 'a'");
    struct net_loss garbage = {.reason = -EPROTO,
                               .text = "bad checksum",
                               .host = "10.2.0.2",
                               .port = 9,
                               .subject = "CN=y",
                               .is_violation = true};
    for (int i = 0; i < 5; i++) report_failure(&report, &garbage, &log, 51 * XB_SECOND);
    assert_int_equal(lines.count, 2);
    assert_string_equal(lines.text,
                        "Refused 10.2.0.2:9 after the TLS handshake (certificate 'CN=y'): what it sends is no "
                        "group communication: bad checksum");
    /* a health check is no failure; a refused dial is the mesh's to tell */
    size_t before = lines.count;
    struct net_loss check = {.text = "closed", .host = "10.9.9.9", .is_handshake = true};
    report_failure(&report, &check, &log, 40 * XB_SECOND);
    struct net_loss refused = {
        .reason = -ECONNREFUSED, .text = "refused", .host = "10.9.9.9", .is_dialled = true, .is_handshake = true};
    report_failure(&report, &refused, &log, 40 * XB_SECOND);
    assert_int_equal(lines.count, before);
    assert_non_null(strstr(report.last, "refused")); /* but it explains a start that failed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_addresses), cmocka_unit_test(test_address_options),
        cmocka_unit_test(test_settings),          cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_group_name),        cmocka_unit_test(test_saved_state),
        cmocka_unit_test(test_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
