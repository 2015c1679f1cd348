/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Times are int64_t nanoseconds. State machines are given the time (`now_ns`, monotonic) and never read a clock;
 * the two clock functions here are for the rim. XB_NEVER is a deadline that never comes.
 */
#ifndef XB_BASE_CLOCK_H
#define XB_BASE_CLOCK_H

#include <stdint.h>

#define XB_NEVER INT64_MAX
#define XB_MS ((int64_t)1000000)
#define XB_SECOND ((int64_t)1000000000)

int64_t xb_clock_monotonic_ns(void);
int64_t xb_clock_calendar_ns(void); /* since 1970, for UUIDs and people */

static inline int64_t xb_earlier(int64_t a_ns, int64_t b_ns) {
    return a_ns < b_ns ? a_ns : b_ns;
}

#endif
