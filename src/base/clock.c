/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two clocks. */
#include "base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * XB_SECOND + t.tv_nsec;
}

int64_t xb_clock_monotonic_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t xb_clock_calendar_ns(void) {
    return read_clock(CLOCK_REALTIME);
}
