/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single situations, with the times they may take (spec 03 sections 8.4, 9, 10, 11, 12, 18). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double seconds_until_settled(struct sim *sim) {
    int64_t begin_ns = sim->now_ns;
    assert_true(sim_run_until(sim, begin_ns + 60 * XB_SECOND, sim_is_settled));
    return (double)(sim->now_ns - begin_ns) / 1e9;
}

static void assert_below(double value, double bound) {
    if (value >= bound) fail_msg("%.3f s, not below %.3f s", value, bound);
}

static void hints(struct sim_setting *setting) {
    setting->has_hints = true;
}

/* A node joins 2, 3 .. 6 others: from its first JOIN that they hear to the common view. */
static void test_join(void **state) {
    (void)state;
    struct sim *sim = cluster(2, NULL);
    sim->setting.slots = 7;
    for (int slot = 2; slot < 7; slot++) {
        sim_start(sim, slot, -1, false);
        assert_below(seconds_until_settled(sim), 0.6); /* announcements come every 0.5 s */
        sim_run(sim, sim->now_ns + XB_SECOND);
    }
    end(sim);
}

static void test_leave(void **state) {
    (void)state;
    struct sim *sim = cluster(4, NULL);
    for (int slot = 3; slot > 0; slot--) {
        for (int i = 0; i < 20; i++) sim_submit(sim, in(sim, i % (slot + 1)), 100, EVS_SAFE);
        struct sim_proc *proc = in(sim, slot);
        sim_leave(sim, proc);
        int64_t begin_ns = sim->now_ns;
        while (!proc->has_left && sim->now_ns < begin_ns + XB_SECOND) sim_run(sim, sim->now_ns + XB_MS);
        assert_true(proc->has_left);
        assert_below(seconds_until_settled(sim), 0.3);
        sim_run(sim, sim->now_ns + XB_SECOND);
    }
    sim_leave(sim, in(sim, 0));
    assert_int_equal(sim_running(sim), 0);
    end(sim);
}

/* Section 18.8: the host of a killed process refuses connections. */
static void test_kill_refused(void **state) {
    (void)state;
    for (int slots = 3; slots <= 7; slots++) {
        struct sim *sim = cluster(slots, hints);
        sim_crash(sim, in(sim, slots - 1));
        assert_below(seconds_until_settled(sim), 1.0);
        end(sim);
    }
}

/* Two of five at once: three of five agree. Three of five: no majority says so, time decides. */
static void test_kill_several(void **state) {
    (void)state;
    struct sim *sim = cluster(5, hints);
    sim_crash(sim, in(sim, 4));
    sim_crash(sim, in(sim, 0));
    assert_below(seconds_until_settled(sim), 1.0);
    end(sim);
    sim = cluster(5, hints);
    for (int slot = 0; slot < 3; slot++) sim_crash(sim, in(sim, slot));
    sim_run(sim, sim->now_ns + 3 * XB_SECOND);
    assert_false(sim_is_settled(sim));
    assert_below(seconds_until_settled(sim), 5.0);
    end(sim);
}

/* With two members the hint alone excludes nobody. */
static void test_kill_refused_of_two(void **state) {
    (void)state;
    struct sim *sim = cluster(2, hints);
    sim_crash(sim, in(sim, 1));
    sim_run(sim, sim->now_ns + 3 * XB_SECOND);
    assert_int_equal(evs_get_state(in(sim, 0)->evs), EVS_OPERATIONAL);
    assert_false(sim_is_settled(sim));
    assert_below(seconds_until_settled(sim), 4.0);
    end(sim);
}

/* A hint about a living node does no harm. */
static void test_false_hint(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    int views = sim->view_count;
    for (int i = 0; i < 2; i++) evs_peer_lost(in(sim, i)->evs, &in(sim, 2)->uuid, true, sim->now_ns);
    sim_run(sim, sim->now_ns + 300 * XB_MS);
    sim_submit(sim, in(sim, 2), 100, EVS_SAFE); /* it is heard of again */
    sim_run(sim, sim->now_ns + 5 * XB_SECOND);
    assert_true(sim_is_settled(sim));
    assert_int_equal(sim->view_count, views);
    end(sim);
}

/* Without a hint: suspect_timeout, and agreement at once (sections 18.3, 18.4), under load too. */
static void test_kill_silent(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    for (int i = 0; i < 300; i++) {
        sim_submit(sim, in(sim, i % 3), 200, EVS_SAFE);
        sim_run(sim, sim->now_ns + XB_MS);
    }
    sim_crash(sim, in(sim, 1));
    for (int i = 0; i < 10; i++) sim_submit(sim, in(sim, 0), 200, EVS_SAFE);
    assert_below(seconds_until_settled(sim), 6.1);
    end(sim);
}

/* Stopped for 3 s: nobody is excluded. For 9 s: it is, and comes back. */
static void test_stopped_process(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    int views = sim->view_count;
    sim_pause(sim, in(sim, 2), 3 * XB_SECOND);
    sim_run(sim, sim->now_ns + 6 * XB_SECOND);
    assert_int_equal(sim->view_count, views);
    sim_pause(sim, in(sim, 2), 9 * XB_SECOND);
    sim_run(sim, sim->now_ns + 8 * XB_SECOND);
    assert_true(sim->view_count > views);
    sim_run(sim, sim->now_ns + XB_SECOND);
    assert_below(seconds_until_settled(sim), 10.0);
    end(sim);
}

static void test_partition_and_merge(void **state) {
    (void)state;
    struct sim *sim = cluster(5, NULL);
    sim_partition(sim, 0x3);
    sim_run(sim, sim->now_ns + 8 * XB_SECOND);
    assert_int_equal(sim->views[in(sim, 0)->view]->member_count, 2);
    assert_int_equal(sim->views[in(sim, 4)->view]->member_count, 3);
    sim_heal(sim);
    assert_below(seconds_until_settled(sim), 5.0);
    end(sim);
}

/* Section 9.11: the next incarnation waits until the former one is out. */
static void test_restart(void **state) {
    (void)state;
    struct sim *sim = cluster(3, hints);
    int former = sim->in_slot[1];
    sim_crash(sim, in(sim, 1));
    sim_run(sim, sim->now_ns + 200 * XB_MS);
    assert_non_null(sim_start(sim, 1, former, false));
    assert_below(seconds_until_settled(sim), 4.0);
    end(sim);
}

/* A JOIN of the member in slot 0, which still counts the former incarnation of the node in slot 1. */
static size_t write_outdated_join(struct sim *sim, const struct xb_uuid *former, uint8_t *out, size_t size) {
    struct evs_report *m = evs_report_new(3);
    const struct xb_uuid *uuids[] = {&in(sim, 0)->uuid, former, &in(sim, 1)->uuid};
    struct xb_writer w = xb_writer_init(out, size);
    assert_non_null(m);
    struct view_id view = sim->views[in(sim, 1)->view]->id;
    m->h = (struct evs_header){.type = EVS_TYPE_JOIN, .fifo_seq = -1, .source = in(sim, 0)->uuid, .view = view};
    m->seq = m->aru = -1;
    for (int i = 0; i < 3; i++) {
        bool is_former = xb_uuid_equal(uuids[i], former);
        m->entries[i] = (struct evs_entry){.uuid = *uuids[i],
                                           .is_operational = true,
                                           .leave_seq = -1,
                                           .view = is_former ? view_id_nil : view,
                                           .safe = -1,
                                           .lu = -1,
                                           .hs = -1};
    }
    m->count = 3;
    evs_report_write(&w, m);
    free(m);
    assert_true(xb_writer_ok(&w));
    return w.used;
}

/* A node that came back hears of its former self from members that have not let it go: it does not tell others of it.
 */
static void test_hearsay_of_a_former_incarnation(void **state) {
    (void)state;
    uint8_t join[1024];
    struct sim *sim = cluster(2, NULL);
    int former = sim->in_slot[1];
    struct xb_uuid former_uuid = in(sim, 1)->uuid;
    sim_crash(sim, in(sim, 1));
    assert_non_null(sim_start(sim, 1, former, false));
    seconds_until_settled(sim);
    size_t size = write_outdated_join(sim, &former_uuid, join, sizeof(join));
    evs_receive(in(sim, 1)->evs, &in(sim, 0)->uuid, join, size, sim->now_ns);
    sim_run(sim, sim->now_ns + XB_SECOND);
    assert_below(seconds_until_settled(sim), 3.0);
    end(sim);
}

static int64_t messages_of(struct sim *sim, int type) {
    return (int64_t)sim->sent[type];
}

/* Section 18.6: one keepalive a period for the whole group, answered once by each. */
static void test_idle_traffic(void **state) {
    (void)state;
    for (int slots = 2; slots <= 7; slots++) {
        struct sim *sim = cluster(slots, NULL);
        int64_t users = messages_of(sim, EVS_TYPE_USER), gaps = messages_of(sim, EVS_TYPE_GAP);
        sim_run(sim, sim->now_ns + 20 * XB_SECOND);
        users = messages_of(sim, EVS_TYPE_USER) - users;
        gaps = messages_of(sim, EVS_TYPE_GAP) - gaps;
        assert_in_range(users, 20 * slots, 32 * slots);
        assert_true(gaps <= 32 * slots);
        assert_true(sim_is_settled(sim));
        end(sim);
    }
}

/* Section 16: a SAFE message of one sender takes one USER, N - 1 completions and N acknowledgements. */
static void test_cost_of_a_message(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    sim_run(sim, sim->now_ns + XB_SECOND);
    int64_t users = messages_of(sim, EVS_TYPE_USER), gaps = messages_of(sim, EVS_TYPE_GAP);
    uint32_t delivered = in(sim, 0)->own_delivered;
    for (int i = 0; i < 50; i++) {
        sim_submit(sim, in(sim, 0), 100, EVS_SAFE);
        sim_run(sim, sim->now_ns + 5 * XB_MS);
    }
    delivered = in(sim, 0)->own_delivered - delivered;
    users = messages_of(sim, EVS_TYPE_USER) - users;
    gaps = messages_of(sim, EVS_TYPE_GAP) - gaps;
    assert_true(delivered >= 50 && users <= 3 * (int64_t)delivered + 6 && gaps <= 3 * (int64_t)delivered + 6);
    end(sim);
}

/* Section 18.13: the tail of a burst is lost; the probe finds it without waiting for the keepalive. */
static int lost;
static bool drop_user(struct sim *sim, struct sim_proc *from, struct sim_proc *to, const uint8_t *data, size_t size) {
    (void)sim;
    (void)size;
    bool is_new_user = (data[0] >> 2 & 7) == EVS_TYPE_USER && !(data[1] & EVS_FLAG_RETRANS);
    return from->slot == 0 && to->slot == 1 && is_new_user && lost++ == 0;
}

static void test_lost_tail(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    uint32_t before = in(sim, 0)->own_delivered;
    sim_run(sim, sim->now_ns + 10 * XB_MS);
    lost = 0;
    sim->drop = drop_user;
    sim_submit(sim, in(sim, 0), 100, EVS_SAFE);
    sim_run(sim, sim->now_ns + 150 * XB_MS);
    assert_true(lost > 0);
    assert_true(in(sim, 0)->own_delivered > before);
    end(sim);
}

/* Section 18.2: commit and install gaps that are lost are repeated soon. */
static bool drop_first_gaps(struct sim *sim, struct sim_proc *from, struct sim_proc *to, const uint8_t *data,
                            size_t size) {
    (void)sim;
    (void)from;
    (void)to;
    (void)size;
    return (data[0] >> 2 & 7) == EVS_TYPE_GAP && lost++ < 6;
}

static void test_lost_gaps(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    lost = 0;
    sim_leave(sim, in(sim, 2));
    sim->drop = drop_first_gaps;
    assert_below(seconds_until_settled(sim), 0.5);
    end(sim);
}

static void test_eviction(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    struct xb_uuid out = in(sim, 2)->uuid;
    evs_evict(in(sim, 0)->evs, &out, sim->now_ns);
    in(sim, 0)->deadline_ns = sim->now_ns;
    sim_run(sim, sim->now_ns + 500 * XB_MS);
    assert_int_equal(sim->views[in(sim, 0)->view]->member_count, 2);
    assert_true(evs_is_evicted(in(sim, 1)->evs, &out)); /* it spreads with the JOIN */
    char text[200];
    assert_int_equal(evs_evict_list(in(sim, 1)->evs, text, sizeof(text)), 36);
    assert_int_equal(evs_evict_list(in(sim, 1)->evs, text, 10), 9);
    sim_crash(sim, in(sim, 2)); /* as its transport would make it */
    /* Section 18.14: a joiner is not held up by what it hears of the evicted node. */
    sim_start(sim, 2, -1, false);
    assert_below(seconds_until_settled(sim), 1.0);
    evs_evict(in(sim, 0)->evs, NULL, sim->now_ns);
    assert_false(evs_is_evicted(in(sim, 0)->evs, &out));
    end(sim);
}

/* Section 11: a node that is slow again and again is evicted by the majority. */
static void slow_setting(struct sim_setting *setting) {
    setting->options.auto_evict = 3;
    setting->options.delayed_keep_period_ns = 60 * XB_SECOND;
}

static void test_auto_evict(void **state) {
    (void)state;
    struct sim *sim = cluster(4, slow_setting);
    struct xb_uuid slow = in(sim, 3)->uuid;
    for (int i = 0; i < 5 && !evs_is_evicted(in(sim, 0)->evs, &slow); i++) {
        sim_pause(sim, in(sim, 3), 3 * XB_SECOND);
        sim_run(sim, sim->now_ns + 5 * XB_SECOND);
        char text[300];
        if (i == 0) assert_true(evs_delayed_list(in(sim, 0)->evs, text, sizeof(text)) > 36);
    }
    for (int i = 0; i < 3; i++) assert_true(evs_is_evicted(in(sim, i)->evs, &slow));
    assert_int_equal(sim->views[in(sim, 0)->view]->member_count, 3);
    end(sim);
}

/* Section 8.4: a causal message comes after everything that was delivered anywhere before it was submitted. */
static void test_causal(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    for (int i = 0; i < 200; i++) {
        struct sim_proc *reader = in(sim, i % 3);
        sim_submit(sim, in(sim, (i + 1) % 3), 100, EVS_SAFE);
        sim_run(sim, sim->now_ns + (int64_t)xb_random_below(&sim->random, XB_MS));
        size_t most = 0;
        for (int k = 0; k < 3; k++)
            if (in(sim, k)->delivered.count > most) most = in(sim, k)->delivered.count;
        uint32_t token = reader->causal_sent;
        assert_int_equal(sim_submit(sim, reader, 20, EVS_LOCAL_CAUSAL), 0);
        reader->deadline_ns = sim->now_ns;
        int64_t until_ns = sim->now_ns + 100 * XB_MS;
        while (reader->causal_got <= token && sim->now_ns < until_ns && !sim->is_failed)
            sim_run(sim, sim->now_ns + 20000);
        assert_true(reader->causal_got > token);
        assert_true(reader->delivered.count >= most);
    }
    end(sim);
}

static void test_submit_limits(void **state) {
    (void)state;
    struct sim *sim = cluster(2, NULL);
    struct sim_proc *proc = in(sim, 0);
    assert_int_equal(sim_submit(sim, proc, EVS_PAYLOAD_MAX + 1, EVS_SAFE), -EMSGSIZE);
    assert_int_equal(sim_submit(sim, proc, EVS_PAYLOAD_MAX, EVS_SAFE), 0);
    int accepted = 0;
    while (sim_submit(sim, proc, 30000, EVS_SAFE) == 0) accepted++;
    assert_in_range(accepted, 34, 40); /* 1 MiB and the window */
    assert_true(proc->own_delivered < proc->accepted);
    sim_run(sim, sim->now_ns + XB_SECOND);
    assert_int_equal(proc->accepted, proc->own_delivered);
    sim_leave(sim, proc);
    assert_int_equal(sim_submit(sim, proc, 100, EVS_SAFE), -ENOTCONN);
    sim_run(sim, sim->now_ns + XB_SECOND);
    end(sim);
}

static void test_options(void **state) {
    (void)state;
    struct sim *sim = cluster(2, NULL);
    struct evs *evs = in(sim, 0)->evs;
    struct evs_options good, o;
    evs_get_options(evs, &good);
    assert_int_equal(evs_options_check(&good), 0);
    o = good;
    o.inactive_check_period_ns++;
    assert_int_equal(evs_set_options(evs, &o, sim->now_ns), -EPERM);
    o = good;
    o.view_forget_timeout_ns++;
    assert_int_equal(evs_set_options(evs, &o, sim->now_ns), -EPERM);
    o = good;
    o.send_window = 1;
    assert_int_equal(evs_set_options(evs, &o, sim->now_ns), -ERANGE);
    o = good;
    o.install_timeout_ns = o.inactive_timeout_ns + 1;
    assert_int_equal(evs_set_options(evs, &o, sim->now_ns), -ERANGE);
    o = good;
    o.keepalive_period_ns = 2 * XB_SECOND;
    assert_int_equal(evs_options_check(&o), -ERANGE);
    o = good;
    o.suspect_timeout_ns = 2 * XB_SECOND;
    o.send_window = 512;
    assert_int_equal(evs_set_options(evs, &o, sim->now_ns), 0);
    /* The version offered at run time: a new view with the least of all. */
    int views = sim->view_count;
    o.version = 0;
    assert_int_equal(evs_set_options(evs, &o, sim->now_ns), 0);
    in(sim, 0)->deadline_ns = sim->now_ns;
    sim_run(sim, sim->now_ns + XB_SECOND);
    assert_true(sim_is_settled(sim) && sim->view_count > views);
    assert_int_equal(sim->views[in(sim, 1)->view]->version, 0);
    end(sim);
}

/* Section 18.1: slot 1 never hears that the others have installed, but they work: that proves it. */
static bool drop_install_gaps(struct sim *sim, struct sim_proc *from, struct sim_proc *to, const uint8_t *data,
                              size_t size) {
    struct xb_reader r = xb_reader_init(data, size);
    struct evs_header h;
    struct evs_gap gap;
    (void)sim;
    if (to->slot != 1 || evs_header_read(&r, &from->uuid, &h) || h.type != EVS_TYPE_GAP) return false;
    bool is_install = !evs_gap_read(&r, &gap) && !(h.flags & EVS_FLAG_COMMIT) && gap.seq == -1;
    lost += is_install;
    return is_install;
}

static void submit_one(struct sim *sim, struct sim_proc *proc) {
    sim_submit(sim, proc, 100, EVS_SAFE);
}

static void test_work_proves_the_install(void **state) {
    (void)state;
    struct sim *sim = cluster(2, NULL);
    sim->setting.slots = 3;
    lost = 0;
    sim->drop = drop_install_gaps;
    sim->on_view = submit_one;
    sim_start(sim, 2, -1, false);
    assert_below(seconds_until_settled(sim), 0.6);
    assert_true(lost > 0);
    sim->drop = NULL;
    sim->on_view = NULL;
    sim_run(sim, sim->now_ns + XB_SECOND);
    end(sim);
}

/* Sections 18.5 and 18.9: a node that has lost thousands of messages is served in slices, and nobody floods the others
 * with JOINs while the messages of a dead member are recovered. */
static int64_t burst_ns, burst_bytes, burst_max, resent_bytes;
static bool is_deaf;
static bool deafen(struct sim *sim, struct sim_proc *from, struct sim_proc *to, const uint8_t *data, size_t size) {
    int type = data[0] >> 2 & 7;
    bool is_resent = (type == EVS_TYPE_USER && (data[1] & EVS_FLAG_RETRANS)) || type == EVS_TYPE_DELEGATE;
    if (is_deaf && from->slot == 0 && to->slot == 1) return type == EVS_TYPE_USER || type == EVS_TYPE_DELEGATE;
    if (!is_resent) return false;
    burst_bytes = sim->now_ns == burst_ns ? burst_bytes + (int64_t)size : (int64_t)size;
    burst_ns = sim->now_ns;
    if (burst_bytes > burst_max) burst_max = burst_bytes;
    resent_bytes += (int64_t)size;
    return false;
}

static void wide_window(struct sim_setting *setting) {
    setting->options.send_window = setting->options.user_send_window = 512;
    setting->options.use_aggregate = false;
    setting->size_max = 20000;
}

static void test_recovery_is_paced(void **state) {
    (void)state;
    struct sim *sim = cluster(3, wide_window);
    burst_max = resent_bytes = 0;
    sim->drop = deafen;
    is_deaf = true;
    for (int i = 0; i < 200; i++) assert_int_equal(sim_submit(sim, in(sim, 0), 20000, EVS_SAFE), 0);
    sim_run(sim, sim->now_ns + XB_SECOND);
    is_deaf = false;
    int64_t joins = messages_of(sim, EVS_TYPE_JOIN);
    sim_crash(sim, in(sim, 0));
    assert_below(seconds_until_settled(sim), 6.5);
    assert_true(resent_bytes > 3000000);
    assert_true(burst_max <= EVS_JOB_BURST_BYTES + 2 * 20100);
    assert_true(messages_of(sim, EVS_TYPE_JOIN) - joins < 60);
    sim->drop = NULL;
    end(sim);
}

/* linger 0: closed at once, whatever the state. */
static void test_forced_close(void **state) {
    (void)state;
    struct sim *sim = cluster(3, NULL);
    struct sim_proc *proc = in(sim, 1);
    for (int i = 0; i < 10; i++) sim_submit(sim, proc, 100, EVS_SAFE);
    proc->is_forced = true;
    evs_leave(proc->evs, 0, sim->now_ns);
    assert_int_equal(evs_get_state(proc->evs), EVS_CLOSED);
    assert_true(proc->has_left);
    assert_int_equal(evs_tick(proc->evs, sim->now_ns), XB_NEVER);
    sim_crash(sim, proc);
    assert_below(seconds_until_settled(sim), 7.0);
    end(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_leave),
        cmocka_unit_test(test_kill_refused),
        cmocka_unit_test(test_kill_several),
        cmocka_unit_test(test_kill_refused_of_two),
        cmocka_unit_test(test_false_hint),
        cmocka_unit_test(test_kill_silent),
        cmocka_unit_test(test_stopped_process),
        cmocka_unit_test(test_partition_and_merge),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_hearsay_of_a_former_incarnation),
        cmocka_unit_test(test_idle_traffic),
        cmocka_unit_test(test_cost_of_a_message),
        cmocka_unit_test(test_lost_tail),
        cmocka_unit_test(test_lost_gaps),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_auto_evict),
        cmocka_unit_test(test_causal),
        cmocka_unit_test(test_submit_limits),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_work_proves_the_install),
        cmocka_unit_test(test_recovery_is_paced),
        cmocka_unit_test(test_forced_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
