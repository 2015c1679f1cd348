/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code message: the form of LAST, JOIN, SYNC and VOTE (spec 05 section 2.1). */
#include "gcs/messages.h"

#include <errno.h>

int gcs_code_read(struct gcs_code *code, const uint8_t *payload, size_t size) {
    struct xb_reader r = xb_reader_init(payload, size);
    code->group_uuid = xb_read_uuid(&r);
    code->seqno = xb_read_i64(&r);
    code->code = xb_read_i64(&r);
    code->text_size = xb_reader_left(&r);
    code->text = xb_read_bytes(&r, code->text_size);
    return xb_reader_ok(&r) ? 0 : -EPROTO;
}

void gcs_code_write(struct xb_writer *w, const struct gcs_code *code) {
    xb_write_uuid(w, &code->group_uuid);
    xb_write_i64(w, code->seqno);
    xb_write_i64(w, code->code);
    xb_write_bytes(w, code->text, code->text_size);
}
