/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connects, and looks at who has answered. */
#include "sst/reach.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

#define HANDSHAKE_NS (10 * XB_SECOND)

/* The name that the joiner's certificate must carry, if any (section 8.1). */
static bool is_name_right(const struct transfer *t, const struct stream *stream) {
    const struct sst_settings *s = &t->settings;
    if (!s->is_peer_verified || s->encrypt == 2 || s->ssl_mode == SST_SSL_VERIFY_CA) return true;
    if (s->remote_name[0]) return stream_has_name(stream, s->remote_name);
    if (s->encrypt == 4 && s->ssl_mode != SST_SSL_VERIFY_IDENTITY) return true;
    return stream_has_name(stream, t->address.host) ||
           (strncmp(t->address.host, "127.", 4) == 0 && stream_has_name(stream, "localhost"));
}

int reach_joiner(struct transfer *t, struct stream *stream, struct xb_error *error) {
    int rc =
        stream_connect(stream, &t->address, &t->watch, xb_clock_monotonic_ns() + t->settings.donor_timeout_ns, error);
    if (rc == 0)
        rc = stream_start_client(stream, t->tls, t->settings.encrypt, xb_clock_monotonic_ns() + HANDSHAKE_NS, error);
    if (rc == 0 && t->tls && !is_name_right(t, stream))
        rc = xb_fail(error, -EPROTO, "the certificate '%s' of the joiner %s is not made out to '%s'", stream->subject,
                     stream->peer, t->settings.remote_name[0] ? t->settings.remote_name : t->address.host);
    stream->idle_ns = t->settings.idle_timeout_ns;
    return rc;
}
