/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Logging. Every module is given a struct xb_log by its creator and keeps the pointer; there is no global logger.
 * The sink decides where lines go: the server's logger callback, stderr, a test's memory.
 * Threads: xb_log_write may be called from any thread; the sink must cope.
 */
#ifndef XB_BASE_LOG_H
#define XB_BASE_LOG_H

#include <stdbool.h>

/* Values of the provider interface (spec 01 section 2.2). */
enum xb_log_level { XB_LOG_FATAL = 0, XB_LOG_ERROR, XB_LOG_WARNING, XB_LOG_INFO, XB_LOG_DEBUG };

struct xb_log {
    void (*write)(void *ctx, enum xb_log_level level, const char *line); /* line without newline */
    void *ctx;
    _Atomic(bool) is_debug; /* debug lines are built and written only if set */
};

/* log may be NULL: then nothing is written. */
void xb_log_write(const struct xb_log *log, enum xb_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define xb_log_error(log, ...) xb_log_write(log, XB_LOG_ERROR, __VA_ARGS__)
#define xb_log_warning(log, ...) xb_log_write(log, XB_LOG_WARNING, __VA_ARGS__)
#define xb_log_info(log, ...) xb_log_write(log, XB_LOG_INFO, __VA_ARGS__)
#define xb_log_debug(log, ...) xb_log_write(log, XB_LOG_DEBUG, __VA_ARGS__)

#endif
