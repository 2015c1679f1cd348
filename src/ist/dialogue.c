/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things that donor and joiner have in common. */
#include "ist/internal.h"

#include <signal.h>

int ist_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

int ist_send_plain(struct stream *stream, enum ist_message_type type, int8_t ctrl, int version,
                   struct xb_error *error) {
    uint8_t header[IST_HEADER_SIZE];
    ist_message_encode_plain(type, ctrl, version, header);
    int rc = stream_write(stream, header, sizeof(header), error);
    return rc ? rc : stream_flush(stream, error);
}

int ist_receive_header(struct stream *stream, struct ist_message *message, int version, struct xb_error *error) {
    uint8_t header[IST_HEADER_SIZE];
    int rc = stream_read(stream, header, sizeof(header), error);
    return rc ? rc : ist_message_decode(message, header, version, error);
}
