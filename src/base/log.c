/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Formats log lines and hands them to the sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_SIZE 4096

void xb_log_write(const struct xb_log *log, enum xb_log_level level, const char *format, ...) {
    if (!log || !log->write || (level == XB_LOG_DEBUG && !log->is_debug)) return;
    char line[LINE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log->write(log->ctx, level, line);
}
