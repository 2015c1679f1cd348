/* SPDX-License-Identifier: GPL-2.0-or-later */
/* View ids, shared by EVS and PC (spec 03 section 3.1, 04 section 2.1). 20 bytes on the wire. */
#ifndef XB_EVS_VIEW_ID_H
#define XB_EVS_VIEW_ID_H

#include "base/bytes.h"
#include "base/uuid.h"

enum view_type { VIEW_REG = 0, VIEW_TRANS = 1, VIEW_NON_PRIM = 2, VIEW_PRIM = 3 };

#define VIEW_ID_SIZE 20
#define VIEW_SEQ_MAX 0x3fffffffu

struct view_id {
    enum view_type type;
    struct xb_uuid uuid; /* node that created the view */
    uint32_t seq;        /* 30 bits */
};

extern const struct view_id view_id_nil; /* REG, nil, 0 */

bool view_id_equal(const struct view_id *a, const struct view_id *b);
/* Total order: seq, then the older UUID is greater, then type. <0, 0, >0 */
int view_id_compare(const struct view_id *a, const struct view_id *b);
struct view_id view_id_read(struct xb_reader *r);
void view_id_write(struct xb_writer *w, const struct view_id *id);

#define VIEW_ID_TEXT_SIZE 48
/* "(PRIM,57b1804d-a2e9,12)" -> text */
const char *view_id_format(const struct view_id *id, char text[VIEW_ID_TEXT_SIZE]);
#define VIEW_ID_TEXT(id) view_id_format((id), (char[VIEW_ID_TEXT_SIZE]){0})

#endif
