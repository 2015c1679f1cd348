/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fault injection by counting: the n-th allocation fails, the others do not. For one source file of a test that is
 * linked with -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc. Only what runs while armed is
 * counted.
 */
#ifndef XB_TESTS_SUPPORT_FAIL_ALLOC_H
#define XB_TESTS_SUPPORT_FAIL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static bool fail_alloc_is_armed;
static unsigned long fail_alloc_left; /* that still succeed */
static bool fail_alloc_has_failed;

/* The next `succeeding` allocations succeed, the one after them fails. */
static inline void fail_alloc_arm(unsigned long succeeding) {
    fail_alloc_left = succeeding;
    fail_alloc_has_failed = false;
    fail_alloc_is_armed = true;
}

static inline void fail_alloc_disarm(void) {
    fail_alloc_is_armed = false;
}

static bool fail_alloc_must_fail(void) {
    if (!fail_alloc_is_armed || fail_alloc_has_failed) return false;
    if (fail_alloc_left > 0) {
        fail_alloc_left--;
        return false;
    }
    fail_alloc_has_failed = true;
    return true;
}

void *__wrap_malloc(size_t size) {
    return fail_alloc_must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fail_alloc_must_fail() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fail_alloc_must_fail() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fail_alloc_must_fail() ? NULL : __real_aligned_alloc(alignment, size);
}

#endif
