/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A settled cluster for a scenario. Inside tests/unit/evs only. */
#ifndef XB_TESTS_EVS_SCENARIO_H
#define XB_TESTS_EVS_SCENARIO_H

#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static inline struct sim *cluster(int slots, void (*change)(struct sim_setting *setting)) {
    struct sim_setting setting;
    sim_setting_default(&setting);
    setting.slots = slots;
    setting.has_hints = false;
    if (change) change(&setting);
    struct sim *sim = sim_new(&setting);
    for (int i = 0; i < slots; i++) {
        sim_start(sim, i, -1, i == 0);
        assert_true(sim_run_until(sim, sim->now_ns + 5 * XB_SECOND, sim_is_settled));
    }
    sim_run(sim, sim->now_ns + 2 * XB_SECOND);
    assert_false(sim->is_failed);
    return sim;
}

static inline void end(struct sim *sim) {
    check_end(sim);
    assert_false(sim->is_failed);
    sim_free(sim);
}

static inline struct sim_proc *in(struct sim *sim, int slot) {
    return sim->procs[sim->in_slot[slot]];
}

#endif
