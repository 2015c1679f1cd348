/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random histories of small clusters: crashes, restarts, pauses, partitions, merges, resets, losses, leaves, load;
 * then peace, in which all running processes must find together and deliver what they send.
 *
 * EVS_SIM_SEED=n runs one seed; EVS_SIM_FIRST=n and EVS_SIM_SEEDS=n choose others. A failure prints its seed.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS_DEFAULT 400

struct totals {
    uint64_t events, views, messages, fatals;
    int64_t settle_max_ns, settle_sum_ns;
    uint64_t settle_max_seed, fatal_seed;
    uint64_t disagreements;
};

static int64_t below(struct sim *sim, int64_t bound) {
    return (int64_t)xb_random_below(&sim->random, (uint64_t)bound);
}

static bool one_in(struct sim *sim, int64_t n) {
    return below(sim, n) == 0;
}

static void choose(struct sim_setting *s, uint64_t seed) {
    struct xb_random random;
    xb_random_seed(&random, seed ^ 0x5eed);
    sim_setting_default(s);
    s->seed = seed;
    s->slots = 1 + (int)xb_random_below(&random, SIM_SLOTS_MAX);
    if (s->slots < 3 && xb_random_below(&random, 2)) s->slots += 2;
    if (xb_random_below(&random, 3) == 0) { /* far apart */
        s->delay_min_ns = 2 * XB_MS;
        s->delay_max_ns = 60 * XB_MS;
    }
    static const double rates[] = {2, 20, 100, 400};
    s->messages_per_s = rates[xb_random_below(&random, 4)];
    if (s->slots > 4 && s->messages_per_s > 100) s->messages_per_s = 100;
    s->size_max = xb_random_below(&random, 4) == 0 ? 20000 : 300;
    static const double losses[] = {0, 0, 0.002, 0.02, 0.1};
    s->loss = losses[xb_random_below(&random, 5)];
    s->has_hints = xb_random_below(&random, 2);
    s->has_false_hints = xb_random_below(&random, 8) == 0;
    s->has_causal = xb_random_below(&random, 3) == 0;
    s->options.use_aggregate = xb_random_below(&random, 3) != 0;
    if (xb_random_below(&random, 3) == 0) {
        s->options.send_window = 256;
        s->options.user_send_window = 128;
    }
    if (xb_random_below(&random, 8) == 0) s->options.auto_evict = 200;
    if (xb_random_below(&random, 2)) return;
    /* Short timeouts and many faults: most of the time is spent between two views. */
    s->is_stormy = true;
    s->options.suspect_timeout_ns = XB_SECOND;
    s->options.inactive_timeout_ns = 3 * XB_SECOND;
    s->options.install_timeout_ns = 1500 * XB_MS;
    s->options.inactive_check_period_ns = 100 * XB_MS;
    s->options.keepalive_period_ns = s->options.join_retrans_period_ns = 300 * XB_MS;
}

static struct sim_proc *any_running(struct sim *sim) {
    int slot = (int)below(sim, sim->setting.slots);
    return sim->in_slot[slot] < 0 ? NULL : sim->procs[sim->in_slot[slot]];
}

static int last_in_slot(const struct sim *sim, int slot) {
    for (int i = sim->proc_count - 1; i >= 0; i--)
        if (sim->procs[i]->slot == slot) return i;
    return -1;
}

static void start_one(struct sim *sim) {
    int slot = (int)below(sim, sim->setting.slots);
    if (sim->in_slot[slot] >= 0) return;
    int former = last_in_slot(sim, slot);
    bool is_same_node = former >= 0 && !sim->procs[former]->has_left && one_in(sim, 2);
    sim_start(sim, slot, is_same_node ? former : -1, false);
}

static void make_fault(struct sim *sim) {
    struct sim_proc *proc = any_running(sim);
    int a = (int)below(sim, sim->setting.slots), b = (int)below(sim, sim->setting.slots);
    switch (below(sim, 12)) {
    case 0:
        if (proc) sim_crash(sim, proc);
        break;
    case 1:
    case 2:
    case 3:
        start_one(sim);
        break;
    case 4:
        if (proc && !proc->is_leaving && !proc->is_paused) sim_leave(sim, proc);
        break;
    case 5:
        if (proc && !proc->is_paused) sim_pause(sim, proc, below(sim, (one_in(sim, 2) ? 20 : 4) * XB_SECOND));
        break;
    case 6:
        sim_partition(sim, (unsigned)below(sim, 1 << sim->setting.slots));
        break;
    case 7:
    case 8:
        sim_heal(sim);
        break;
    case 9:
        if (a != b) sim_reset(sim, a, b);
        break;
    case 10:
        if (a != b && one_in(sim, 2)) sim_block(sim, a, b, below(sim, 10 * XB_SECOND));
        break;
    case 11:
        if (sim->setting.has_false_hints && proc && sim->in_slot[a] >= 0)
            evs_peer_lost(proc->evs, &sim->procs[sim->in_slot[a]]->uuid, true, sim->now_ns);
        break;
    }
}

static void make_load(struct sim *sim) {
    struct sim_proc *proc = any_running(sim);
    if (!proc || proc->is_paused) return;
    int64_t burst = one_in(sim, 10) ? 1 + below(sim, 30) : 1;
    while (burst--) {
        bool is_causal = sim->setting.has_causal && one_in(sim, 10);
        size_t size = SIM_PAYLOAD_MIN + (size_t)below(sim, (int64_t)sim->setting.size_max);
        enum evs_order order = is_causal ? EVS_LOCAL_CAUSAL : EVS_SAFE;
        if (sim_submit(sim, proc, size, order)) break;
    }
    proc->deadline_ns = sim->now_ns; /* the tick after a submission */
}

static void live(struct sim *sim, int64_t duration_ns) {
    double load_per_s = sim->setting.messages_per_s * sim->setting.slots;
    int64_t end_ns = sim->now_ns + duration_ns, load_ns = sim->now_ns;
    int64_t fault_ns = sim->now_ns + (sim->setting.is_stormy ? XB_SECOND : 5 * XB_SECOND);
    while (sim->now_ns < end_ns && !sim->is_failed) {
        sim_run(sim, xb_earlier(xb_earlier(load_ns, fault_ns), end_ns));
        if (sim->now_ns >= load_ns) {
            make_load(sim);
            load_ns = sim->now_ns + below(sim, (int64_t)(2e9 / load_per_s));
        }
        if (sim->now_ns >= fault_ns) {
            make_fault(sim);
            int64_t pause_ns = sim->setting.is_stormy ? XB_SECOND : 4 * XB_SECOND;
            fault_ns = sim->now_ns + below(sim, one_in(sim, 3) ? XB_SECOND / 5 : pause_ns);
        }
    }
}

static bool is_all_delivered(struct sim *sim) {
    for (int i = 0; i < sim->setting.slots; i++) {
        if (sim->in_slot[i] < 0) continue;
        const struct sim_proc *proc = sim->procs[sim->in_slot[i]];
        const struct sim_list *common = &sim->views[proc->view]->common;
        if (proc->accepted != proc->own_delivered || proc->delivered.count != common->count) return false;
    }
    return true;
}

static int64_t last_change_ns(const struct sim *sim) {
    int64_t last_ns = 0;
    for (int i = 0; i < sim->setting.slots; i++)
        if (sim->in_slot[i] >= 0 && sim->procs[sim->in_slot[i]]->last_view_ns > last_ns)
            last_ns = sim->procs[sim->in_slot[i]]->last_view_ns;
    return last_ns;
}

/* For longer than a suspicion that stems from before could take. */
static bool is_settled_for_good(struct sim *sim) {
    int64_t quiet_ns = sim->setting.options.suspect_timeout_ns + 3 * XB_SECOND;
    if (!sim_running(sim)) return true;
    return sim_is_settled(sim) && sim->now_ns >= last_change_ns(sim) + quiet_ns &&
           sim->now_ns >= sim->peace_ns + quiet_ns;
}

/* 18: liveness. */
static void find_together(struct sim *sim, struct totals *totals) {
    sim->loss = 0;
    sim_heal(sim);
    for (int i = 0; i < sim->setting.slots; i++) {
        struct sim_proc *proc = sim->in_slot[i] < 0 ? NULL : sim->procs[sim->in_slot[i]];
        if (proc && proc->is_paused) proc->resume_ns = sim->now_ns;
    }
    const struct evs_options *o = &sim->setting.options;
    int64_t begin_ns = sim->now_ns;
    int64_t bound_ns = o->inactive_timeout_ns + (o->max_install_timeouts + 1) * o->install_timeout_ns + 10 * XB_SECOND;
    sim->peace_ns = begin_ns;
    if (!sim_run_until(sim, begin_ns + bound_ns, is_settled_for_good)) {
        for (int i = 0; i < sim->setting.slots && !sim->is_failed; i++)
            if (sim->in_slot[i] >= 0)
                fprintf(stderr, "slot %d process %d %s view %d of %zu\n", i, sim->in_slot[i],
                        evs_state_name(evs_get_state(sim->procs[sim->in_slot[i]]->evs)),
                        sim->procs[sim->in_slot[i]]->view, sim->procs[sim->in_slot[i]]->evs->member_count);
        sim_fail(sim, NULL, "no common view after %.1f s of peace", (double)bound_ns / 1e9);
        return;
    }
    int64_t settle_ns = last_change_ns(sim) > begin_ns ? last_change_ns(sim) - begin_ns : 0;
    totals->settle_sum_ns += settle_ns;
    if (settle_ns > totals->settle_max_ns) {
        totals->settle_max_ns = settle_ns;
        totals->settle_max_seed = sim->setting.seed;
    }
    for (int i = 0; i < sim->setting.slots; i++) {
        struct sim_proc *proc = sim->in_slot[i] < 0 ? NULL : sim->procs[sim->in_slot[i]];
        int64_t end_ns = sim->now_ns + 900 * XB_SECOND; /* its queue may be full */
        while (proc && sim_submit(sim, proc, 100, EVS_SAFE) && !sim->is_failed) {
            sim_run(sim, sim->now_ns + 100 * XB_MS);
            if (sim->now_ns > end_ns) sim_fail(sim, proc, "takes no message after all came together");
        }
    }
    if (!sim_run_until(sim, sim->now_ns + 900 * XB_SECOND, is_all_delivered))
        sim_fail(sim, NULL, "messages are not delivered");
    if (!sim_is_settled(sim)) sim_fail(sim, NULL, "the common view does not last");
}

static bool run_seed(uint64_t seed, struct totals *totals) {
    struct sim_setting setting;
    choose(&setting, seed);
    struct sim *sim = sim_new(&setting);
    bool is_staggered = one_in(sim, 2);
    for (int i = 0; i < setting.slots; i++) {
        sim_start(sim, i, -1, i == 0);
        if (is_staggered) sim_run(sim, sim->now_ns + below(sim, XB_SECOND));
    }
    sim->loss = setting.loss;
    live(sim, (10 + below(sim, 30)) * XB_SECOND);
    if (!sim->is_failed) find_together(sim, totals);
    if (!sim->is_failed) check_end(sim);
    totals->events += sim->events;
    totals->disagreements += sim->disagreements;
    if (sim->disagreements && getenv("EVS_SIM_SHOW"))
        printf("seed %llu: %llu install timeouts in peace\n", (unsigned long long)seed,
               (unsigned long long)sim->disagreements);
    totals->views += (uint64_t)sim->view_count;
    for (int i = 0; i < sim->view_count; i++) totals->messages += sim->views[i]->common.count;
    for (int i = 0; i < sim->proc_count; i++) {
        totals->fatals += sim->procs[i]->is_fatal;
        if (sim->procs[i]->is_fatal) totals->fatal_seed = seed;
    }
    bool is_ok = !sim->is_failed;
    sim_free(sim);
    return is_ok;
}

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

int main(void) {
    struct totals totals = {0};
    uint64_t first = number_of("EVS_SIM_FIRST", 1), count = number_of("EVS_SIM_SEEDS", SEEDS_DEFAULT);
    uint64_t failed = 0;
    if (getenv("EVS_SIM_SEED")) {
        first = number_of("EVS_SIM_SEED", 1);
        count = 1;
    }
    for (uint64_t seed = first; seed < first + count; seed++) failed += !run_seed(seed, &totals);
    printf("%llu seeds, %llu failed; %llu messages received, %llu views, %llu messages delivered, "
           "%llu gave up (seed %llu), "
           "%llu install timeouts in peace; "
           "settled after %.3f s on average, %.3f s at most (seed %llu)\n",
           (unsigned long long)count, (unsigned long long)failed, (unsigned long long)totals.events,
           (unsigned long long)totals.views, (unsigned long long)totals.messages, (unsigned long long)totals.fatals,
           (unsigned long long)totals.fatal_seed, (unsigned long long)totals.disagreements,
           (double)totals.settle_sum_ns / 1e9 / (double)count, (double)totals.settle_max_ns / 1e9,
           (unsigned long long)totals.settle_max_seed);
    return failed ? 1 : 0;
}
