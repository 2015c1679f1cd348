/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fills struct xb_error. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

int xb_fail(struct xb_error *error, int code, const char *format, ...) {
    if (error) {
        va_list args;
        va_start(args, format);
        error->code = code;
        vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
    }
    return code;
}
