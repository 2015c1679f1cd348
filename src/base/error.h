/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors that a person must read: a code for the program, a text for the log.
 *
 * A function that can fail returns 0 or a negative errno. Where the reason matters to a person it also takes a
 * struct xb_error and fills it: what happened, to what, and what to do about it, in one line without newline.
 */
#ifndef XB_BASE_ERROR_H
#define XB_BASE_ERROR_H

#define XB_ERROR_TEXT_SIZE 512

struct xb_error {
    int code; /* negative errno, 0 = none */
    char text[XB_ERROR_TEXT_SIZE];
};

/* Fills *error (which may be NULL) and returns code, so that a caller can `return xb_fail(...)`. */
int xb_fail(struct xb_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
