/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What EVS tells about itself: status, statistics, the log (spec 03 sections 12, 13, 18.10). */
#include "scenario.h"

#include <stdio.h>
#include <string.h>

static int64_t count_all(const int64_t classes[EVS_LATENCY_CLASSES]) {
    int64_t count = 0;
    for (int i = 0; i < EVS_LATENCY_CLASSES; i++) count += classes[i];
    return count;
}

/* Classes of latency are those between the least and the greatest one, and all messages are in one. */
static void test_latency_and_queue(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    struct evs_stats stats;
    struct evs *evs = in(sim, 0)->evs;
    sim_run(sim, sim->now_ns + XB_SECOND);
    evs_reset_stats(evs);
    for (int i = 0; i < 10; i++) sim_submit(sim, in(sim, 0), 100, EVS_SAFE);
    sim_submit(sim, in(sim, 0), 100, EVS_LOCAL_CAUSAL);
    sim_run(sim, sim->now_ns + XB_SECOND / 10);
    evs_get_stats(evs, &stats);
    assert_int_equal(stats.submitted, 10);
    assert_in_range(stats.queued, 1, 45);
    assert_int_equal(count_all(stats.safe_latency), stats.latency_count);
    assert_int_equal(count_all(stats.causal_latency), 1);
    for (int i = 0; i < EVS_LATENCY_CLASSES - 1; i++) {
        if (evs_latency_class_s[i + 1] <= stats.latency_min_s || evs_latency_class_s[i] > stats.latency_max_s)
            assert_int_equal(stats.safe_latency[i], 0);
    }
    evs_reset_stats(evs);
    evs_get_stats(evs, &stats);
    assert_int_equal(count_all(stats.safe_latency) + count_all(stats.causal_latency), 0);
    assert_int_equal(stats.submitted + stats.queued, 0);
    end(sim);
}

static void test_status(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    for (int i = 0; i < 10; i++) {
        sim_submit(sim, in(sim, 0), 100, EVS_SAFE);
        sim_run(sim, sim->now_ns + 10 * XB_MS);
    }
    struct evs_stats stats;
    evs_get_stats(in(sim, 0)->evs, &stats);
    assert_true(stats.latency_count >= 10);
    assert_true(stats.latency_min_s > 0 && stats.latency_min_s <= stats.latency_avg_s);
    assert_true(stats.latency_avg_s <= stats.latency_max_s && stats.latency_max_s < 0.01);
    assert_true(stats.sent_user > 10 && stats.delivered_safe >= 10);
    evs_reset_stats(in(sim, 0)->evs);
    evs_get_stats(in(sim, 0)->evs, &stats);
    assert_int_equal(stats.latency_count, 0);
    struct evs_peer peers[4];
    sim_pause(sim, in(sim, 2), 2 * XB_SECOND);
    sim_submit(sim, in(sim, 0), 100, EVS_SAFE);
    sim_run(sim, sim->now_ns + XB_SECOND);
    assert_int_equal(evs_get_peers(in(sim, 0)->evs, peers, 4, sim->now_ns), 2);
    for (int i = 0; i < 2; i++) {
        bool is_stopped = xb_uuid_equal(&peers[i].uuid, &in(sim, 2)->uuid);
        if (is_stopped) assert_true(peers[i].lag > 0 && peers[i].silent_ns >= XB_SECOND);
    }
    assert_string_equal(evs_state_name(evs_get_state(in(sim, 0)->evs)), "OPERATIONAL");
    end(sim);
}

/* What an operator reads: the periodic statistics if they are asked for, and who holds back delivery (section 18.10).
 */
static int stats_lines, lag_lines;
static void count_lines(struct sim *sim, enum xb_log_level level, const char *line) {
    (void)sim;
    long long users, gaps, joins;
    if (sscanf(line, "evs: sent user %lld gap %lld join %lld,", &users, &gaps, &joins) == 3) {
        assert_int_equal(level, XB_LOG_INFO);
        assert_true(users > 0 && gaps > 0 && joins > 0);
        stats_lines++;
    }
    if (strncmp(line, "evs: delivery waits for ", 24)) return;
    assert_int_equal(strncmp(line + 24, XB_UUID_TEXT(&in(sim, 2)->uuid), 36), 0);
    lag_lines++;
}

static void test_log_lines(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    sim->on_log = count_lines;
    stats_lines = lag_lines = 0;
    sim_run(sim, sim->now_ns + 65 * XB_SECOND);
    assert_int_equal(stats_lines, 0);
    struct evs_options options;
    evs_get_options(in(sim, 1)->evs, &options);
    options.info_log_mask = EVS_INFO_STATS;
    options.stats_report_period_ns = 2 * XB_SECOND;
    assert_int_equal(evs_set_options(in(sim, 1)->evs, &options, sim->now_ns), 0);
    sim_run(sim, sim->now_ns + 70 * XB_SECOND); /* the old period may run out first */
    assert_in_range(stats_lines, 5, 36);
    assert_int_equal(lag_lines, 0);
    sim_pause(sim, in(sim, 2), 4 * XB_SECOND);
    sim_submit(sim, in(sim, 0), 100, EVS_SAFE);
    sim_run(sim, sim->now_ns + 6 * XB_SECOND);
    assert_int_equal(lag_lines, 2); /* once on each of the others */
    end(sim);
}

/* Each bit of evs.debug_log_mask has something to say about a cluster that loses messages and a member. */
static int debug_lines;
static void count_debug_lines(struct sim *sim, enum xb_log_level level, const char *line) {
    (void)sim;
    debug_lines += level == XB_LOG_DEBUG && !strncmp(line, "evs: ", 5);
}

/* Slot 1 gets nothing from slot 2: what that has sent last has to come from slot 0. */
static bool drop_users_of_2(struct sim *sim, struct sim_proc *from, struct sim_proc *to, const uint8_t *data,
                            size_t size) {
    (void)sim;
    (void)size;
    return from->slot == 2 && to->slot == 1 && (data[0] >> 2 & 7) == EVS_TYPE_USER;
}

static uint32_t mask_on_trial;
static void set_mask(struct sim_setting *setting) {
    setting->options.debug_log_mask = mask_on_trial;
}

static int lines_of_mask(uint32_t mask) {
    mask_on_trial = mask;
    struct sim *sim = cluster(3, set_mask);
    sim->on_log = count_debug_lines;
    sim->log.is_debug = true;
    debug_lines = 0;
    sim->drop = drop_users_of_2;
    for (int i = 0; i < 3; i++) sim_submit(sim, in(sim, 2), 100, EVS_SAFE);
    sim_run(sim, sim->now_ns + XB_SECOND);
    sim_crash(sim, in(sim, 2));
    sim_run(sim, sim->now_ns + 20 * XB_SECOND);
    sim->drop = NULL;
    sim_start(sim, 2, -1, false);
    sim_run(sim, sim->now_ns + 5 * XB_SECOND);
    sim_leave(sim, in(sim, 2));
    sim_run(sim, sim->now_ns + 5 * XB_SECOND);
    end(sim);
    return debug_lines;
}

static void test_debug_mask(void **state) {
    (void)state;
    assert_int_equal(lines_of_mask(0), 0);
    for (uint32_t bit = 0x1; bit <= 0x800; bit <<= 1)
        if (lines_of_mask(bit) == 0) fail_msg("nothing is logged for evs.debug_log_mask=%#x", bit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latency_and_queue),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_debug_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
