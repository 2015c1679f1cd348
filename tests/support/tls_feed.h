/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gives a TLS session bytes that a test has in memory. */
#ifndef XB_TESTS_SUPPORT_TLS_FEED_H
#define XB_TESTS_SUPPORT_TLS_FEED_H

#include "tls/tls.h"

#include <errno.h>
#include <string.h>

/* -> 0 or -ENOMEM */
static inline int tls_feed(struct tls_session *session, const void *data, size_t size) {
    size_t room;
    if (size == 0) return 0;
    uint8_t *to = tls_session_input(session, size, &room);
    if (!to) return -ENOMEM;
    memcpy(to, data, size);
    tls_session_input_done(session, size);
    return 0;
}

#endif
