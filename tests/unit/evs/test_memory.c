/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EVS when memory runs out: allocations inside it fail at random while a small cluster lives through faults. Nothing
 * crashes or leaks, no invariant is violated, and when memory is back the processes that have not given up (in order)
 * find together. Built with malloc, calloc and realloc wrapped by the linker.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS 60

static int inside;
static bool is_failing;
static uint64_t failures;
static struct xb_random dice;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool fails(void) {
    if (!is_failing || inside <= 0 || xb_random_below(&dice, 100)) return false;
    failures++;
    return true;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}

static int64_t below(struct sim *sim, int64_t bound) {
    return (int64_t)xb_random_below(&sim->random, (uint64_t)bound);
}

static void live(struct sim *sim) {
    for (int step = 0; step < 400 && !sim->is_failed; step++) {
        sim_run(sim, sim->now_ns + below(sim, 50 * XB_MS));
        int slot = (int)below(sim, sim->setting.slots);
        if (sim->in_slot[slot] < 0) {
            if (below(sim, 20) == 0) {
                is_failing = false; /* evs_new may fail, which is no news */
                sim_start(sim, slot, -1, false);
                is_failing = true;
            }
            continue;
        }
        struct sim_proc *proc = sim->procs[sim->in_slot[slot]];
        if (proc->is_leaving) continue;
        if (below(sim, 150) == 0)
            sim_crash(sim, proc);
        else if (below(sim, 150) == 0)
            sim_leave(sim, proc);
        else if (below(sim, 100) == 0)
            sim_reset(sim, slot, (slot + 1) % sim->setting.slots);
        else
            for (int64_t burst = below(sim, 20); burst > 0; burst--)
                sim_submit(sim, proc, SIM_PAYLOAD_MIN + (size_t)below(sim, 500), EVS_SAFE);
        proc->deadline_ns = sim->now_ns;
    }
}

static bool run_seed(uint64_t seed) {
    struct sim_setting setting;
    sim_setting_default(&setting);
    setting.seed = seed;
    setting.slots = 3 + (int)(seed % 3);
    setting.options.suspect_timeout_ns = XB_SECOND;
    setting.options.inactive_timeout_ns = 3 * XB_SECOND;
    setting.options.install_timeout_ns = 1500 * XB_MS;
    setting.options.inactive_check_period_ns = 100 * XB_MS;
    setting.options.keepalive_period_ns = setting.options.join_retrans_period_ns = 300 * XB_MS;
    struct sim *sim = sim_new(&setting);
    xb_random_seed(&dice, seed);
    sim->inside = &inside;
    for (int i = 0; i < setting.slots; i++) sim_start(sim, i, -1, i == 0);
    is_failing = true;
    live(sim);
    is_failing = false;
    if (!sim->is_failed && !sim_run_until(sim, sim->now_ns + 30 * XB_SECOND, sim_is_settled) && sim_running(sim))
        sim_fail(sim, NULL, "no common view when memory is back");
    if (!sim->is_failed) check_end(sim);
    bool is_ok = !sim->is_failed;
    sim_free(sim);
    inside = 0;
    return is_ok;
}

int main(void) {
    int failed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) failed += !run_seed(seed);
    printf("%d seeds, %d failed, %llu allocations refused\n", SEEDS, failed, (unsigned long long)failures);
    return failed || !failures;
}
