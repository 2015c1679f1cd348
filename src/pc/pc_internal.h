/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the PC layer: the data model of spec 04 section 2 and what its files ask of each other.
 *
 * header.c       the 8 bytes in front of every message, and the checksum
 * map.c          node records, ordered maps of them, and their bytes
 * state.c        STATE: the exchange after every regular view, and the decision that ends it
 * install.c      INSTALL: new primary component, run-time bootstrap, weight change
 * user.c         USER: messages of the layer above
 * quorum.c       who is a majority
 * view.c         views from EVS, views to the layer above
 * promotion.c    re-forming the group after a crash of all nodes
 * saved_view.c   the text of gvwstate.dat
 * pc.c           life cycle, options, timer
 */
#ifndef XB_PC_INTERNAL_H
#define XB_PC_INTERNAL_H

#include "base/clock.h"
#include "pc/pc.h"

#include <errno.h>

/* As many records as one STATE can carry (section 1: 627), with a margin. A group that knows more nodes stops. */
#define PC_NODES_MAX 600
/* Any member sends the INSTALL if the member that should do it has not done so for this long: twice the keepalive
 * period of EVS (section 17.2). */
#define PC_INSTALL_GRACE_NS (2 * XB_SECOND)
/* A saved view with a higher number is refused: its 30 bits are nearly used up (section 17.4). */
#define PC_SAVED_SEQ_MAX (VIEW_SEQ_MAX - (1u << 20))

#define PC_USER_TYPE 0xff /* EVS user type of STATE and INSTALL */
#define PC_VERSION_MAX 1
#define PC_NEVER_SEQ 0xffffffffu

enum pc_message_type { PC_STATE = 1, PC_INSTALL_MESSAGE = 2, PC_USER = 3 };
enum pc_flag { PC_FLAG_CRC = 0x1, PC_FLAG_BOOTSTRAP = 0x2, PC_FLAG_WEIGHT = 0x4 };

struct pc_header { /* section 3.1 */
    uint8_t version, flags, type;
    uint16_t crc;
    uint32_t seq;
};

struct pc_node { /* section 2.3 */
    struct xb_uuid uuid;
    bool is_prim, is_un, is_evicted;
    bool is_ours; /* own entry only: see promotion.c; not part of the state */
    uint32_t last_seq;
    struct view_id last_prim;
    int64_t to_seq;
    int weight; /* -1: not reported */
    uint8_t segment;
};

/* Node records in ascending order of UUIDs, each UUID once. */
struct pc_map {
    struct pc_node *nodes;
    size_t count, capacity;
};

struct pc_collected { /* one STATE of the current exchange */
    struct xb_uuid source;
    struct pc_map map;
};

/* A set of UUIDs, ascending. */
struct pc_set {
    struct xb_uuid uuids[PC_MEMBERS_MAX];
    size_t count;
};

/* What is to be sent again because EVS refused it (section 17.2). */
enum pc_pending { PC_PENDING_NONE, PC_PENDING_INSTALL, PC_PENDING_PROMOTION };

struct pc {
    struct xb_uuid uuid;
    struct pc_options options;
    struct pc_down down;
    struct pc_up up;
    const struct xb_log *log;

    enum pc_state state;
    struct pc_map nodes;
    struct pc_node *scratch;                       /* room for the entries of one message, PC_NODES_MAX */
    struct pc_collected collected[PC_MEMBERS_MAX]; /* ascending by source; kept after the exchange */
    size_t collected_count;
    bool has_current;
    struct view_id current;
    uint8_t version;       /* of the current view */
    struct pc_set members; /* of the current view */
    struct view_id basis;
    struct pc_set basis_members, left; /* left: who of them has left gracefully since */
    uint32_t last_sent;
    bool is_start_prim, is_closing, is_failed;
    bool is_bootstrapped;               /* the mark of the current primary view */
    bool is_recollection, are_all_ours; /* what the last exchange has found, see promotion.c */

    bool has_state; /* as pc_set_has_state says; a restarted node's as before its crash */
    bool has_restored;
    struct pc_saved_view restored;

    enum pc_pending pending;
    int64_t retry_at_ns; /* XB_NEVER unless something is pending, or an INSTALL of another member is awaited */

    struct pc_member view_members[PC_MEMBERS_MAX]; /* of the view being delivered */
};

extern const struct view_id pc_never_prim; /* NON_PRIM, nil, 0 */

/* pc.c */
void pc_shift(struct pc *pc, enum pc_state state);
const char *pc_state_name(enum pc_state state);
/* The group connection cannot go on (section 12.2). After it every entry of the layer does nothing. */
void pc_fail(struct pc *pc, bool is_conflict, const char *format, ...) __attribute__((format(printf, 3, 4)));
struct pc_node *pc_self(struct pc *pc);
/* Submits a message built by pc_map_message. The buffer is consumed. -> 0 or EVS's error */
int pc_send_control(struct pc *pc, struct xb_buf *buf, int64_t now_ns);

/* header.c: -> 0, -EPROTO */
int pc_header_read(struct xb_reader *r, struct pc_header *header, struct xb_error *error);
void pc_header_write(uint8_t to[PC_HEADER_SIZE], const struct pc_header *header);
uint16_t pc_message_crc(const uint8_t *message, size_t size);

/* map.c */
struct pc_node pc_node_init(const struct xb_uuid *uuid);
/* State equality of section 2.3; the weight does not count if b's is unknown. */
bool pc_node_is_same_state(const struct pc_node *a, const struct pc_node *b);
struct pc_node *pc_map_find(const struct pc_map *map, const struct xb_uuid *uuid);
/* -> the new record, a copy of *node; NULL without memory or room. The UUID must not be in the map yet. */
struct pc_node *pc_map_add(struct pc_map *map, const struct pc_node *node);
void pc_map_remove(struct pc_map *map, size_t index);
void pc_map_clear(struct pc_map *map);
/* The map must be empty. -> 0, -EPROTO, -ENOMEM */
int pc_map_read(struct xb_reader *r, struct pc_map *map, struct xb_error *error);
/* A STATE or INSTALL with these records. -> NULL without memory */
struct xb_buf *pc_map_message(const struct pc_header *header, const struct pc_node *nodes, size_t count);
bool pc_set_has(const struct pc_set *set, const struct xb_uuid *uuid);
/* False if there are too many. */
bool pc_set_assign(struct pc_set *set, const struct xb_uuid *uuids, size_t count);
void pc_set_add(struct pc_set *set, const struct xb_uuid *uuid); /* that is not in it; there must be room */

/* quorum.c: section 7 over the current view */
enum pc_majority { PC_MINORITY, PC_SPLIT_BRAIN, PC_QUORUM };
enum pc_majority pc_quorum(const struct pc *pc, const struct pc_set *basis);
/* The known members of the current view. */
void pc_known_members(const struct pc *pc, struct pc_set *set);

/* state.c */
void pc_send_state(struct pc *pc, int64_t now_ns);
void pc_handle_state(struct pc *pc, const struct xb_uuid *source, struct xb_reader *r, int64_t now_ns);
void pc_collected_clear(struct pc *pc);

/* install.c */
int pc_send_install(struct pc *pc, uint8_t flags, int weight, int64_t now_ns);
/* Sends the INSTALL that ends the exchange, or sees to it that it will be sent. */
void pc_await_install(struct pc *pc, int64_t now_ns);
void pc_handle_install(struct pc *pc, const struct xb_uuid *source, const struct pc_header *header, struct xb_reader *r,
                       int64_t now_ns);

/* user.c */
void pc_handle_user(struct pc *pc, const struct evs_message *message, const struct pc_header *header,
                    struct xb_reader *r, int64_t now_ns);

/* view.c */
void pc_mark_prim(struct pc *pc);                    /* section 6.2, PRIM */
void pc_mark_non_prim(struct pc *pc);                /* section 6.2, NON_PRIM */
void pc_save_view(struct pc *pc, bool is_bootstrap); /* the primary view this node is in */
void pc_deliver_view(struct pc *pc, enum view_type type, bool is_bootstrap, int64_t now_ns);

/* The node, in this or another incarnation, is in the current view. */
bool pc_is_back(const struct pc *pc, const struct xb_uuid *uuid);
/* Some member of the finished exchange says that exactly this incarnation is evicted. */
bool pc_is_reported_evicted(const struct pc *pc, const struct xb_uuid *uuid);

/* promotion.c */
void pc_promote(struct pc *pc, int64_t now_ns); /* section 13.4 */
/* Of the finished exchange: was a restarted member in a later primary view than `last`, and may this be heeded? */
bool pc_has_later_memory(const struct pc *pc, const struct view_id *last);
bool pc_are_all_ours(const struct pc *pc);
bool pc_is_recollection(const struct pc *pc);

#endif
