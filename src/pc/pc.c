/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PC: life cycle, dispatch, options and timer.
 *
 * EVS gives agreed views and one total order inside each. After every view the members tell each other what they know
 * (STATE); from the same messages in the same order all draw the same conclusion; and one INSTALL in that order makes
 * the view primary for all at the same point. Between views quorum is decided without talking: who of the last primary
 * view comes along is in the transitional view that EVS delivers (spec 04 sections 6 and 7).
 */
#include "pc/pc_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void pc_options_default(struct pc_options *options) {
    *options = (struct pc_options){.weight = 1, .recovery = true, .retry_period_ns = 100 * XB_MS};
}

const char *pc_state_name(enum pc_state state) {
    static const char *const names[] = {"CLOSED", "STATES_EXCH", "INSTALL", "PRIM", "TRANS", "NON_PRIM"};
    return names[state];
}

void pc_shift(struct pc *pc, enum pc_state state) {
    xb_log_debug(pc->log, "PC: state %s -> %s", pc_state_name(pc->state), pc_state_name(state));
    pc->state = state;
}

struct pc_node *pc_self(struct pc *pc) {
    return pc_map_find(&pc->nodes, &pc->uuid);
}

void pc_fail(struct pc *pc, bool is_conflict, const char *format, ...) {
    if (pc->is_failed) return;
    struct xb_error error = {.code = -ECONNABORTED};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof(error.text), format, args);
    va_end(args);
    xb_log_error(pc->log, "PC: %s", error.text);
    pc->is_failed = true;
    pc->pending = PC_PENDING_NONE;
    pc->retry_at_ns = XB_NEVER;
    pc_shift(pc, PC_CLOSED);
    pc->up.save(pc->up.ctx, NULL);
    pc->up.fatal(pc->up.ctx, &error, is_conflict);
}

struct pc *pc_new(const struct xb_uuid *uuid, uint8_t segment, const struct pc_options *options,
                  const struct pc_saved_view *restored, const struct pc_down *down, const struct pc_up *up,
                  const struct xb_log *log) {
    struct pc *pc = calloc(1, sizeof(*pc));
    if (!pc) return NULL;
    pc->uuid = *uuid;
    pc->options = *options;
    pc->down = *down;
    pc->up = *up;
    pc->log = log;
    pc->basis = pc_never_prim;
    pc->retry_at_ns = XB_NEVER;
    struct pc_node self = pc_node_init(uuid);
    self.weight = options->weight;
    self.segment = segment;
    if (restored) {
        pc->has_restored = true;
        pc->restored = *restored;
        pc->has_state = !restored->lacks_state;
        self.last_prim = restored->id;
        self.last_prim.type = VIEW_NON_PRIM; /* section 13.3 */
    }
    pc->scratch = malloc(PC_NODES_MAX * sizeof(*pc->scratch));
    if (!pc->scratch || !pc_map_add(&pc->nodes, &self)) {
        pc_free(pc);
        return NULL;
    }
    return pc;
}

void pc_free(struct pc *pc) {
    if (!pc) return;
    pc_collected_clear(pc);
    pc_map_clear(&pc->nodes);
    free(pc->scratch);
    free(pc);
}

/* gvwstate.dat at the start: section 13.2. */
static void save_at_start(struct pc *pc) {
    if (!pc->options.recovery) {
        xb_log_info(pc->log, "PC: skip pc recovery and remove state file");
        pc->up.save(pc->up.ctx, NULL);
    } else if (pc->has_restored) {
        xb_log_info(pc->log, "PC: restore pc from disk successfully");
        struct pc_saved_view saved = pc->restored;
        saved.my_uuid = pc->uuid;
        pc->up.save(pc->up.ctx, &saved);
    }
}

static void warn_about_ignoring(struct pc *pc) {
    if (pc->options.ignore_sb)
        xb_log_info(pc->log, "PC: pc.ignore_sb is on: both halves of a split group will go on and diverge");
    if (pc->options.ignore_quorum)
        xb_log_info(pc->log, "PC: pc.ignore_quorum is on: all parts of a split group will go on and diverge");
}

void pc_start(struct pc *pc, bool is_start_prim, int64_t now_ns) {
    (void)now_ns;
    pc->is_start_prim = is_start_prim;
    pc->is_closing = false;
    warn_about_ignoring(pc);
    save_at_start(pc);
    pc_shift(pc, PC_NON_PRIM);
}

void pc_closing(struct pc *pc) {
    pc->is_closing = true;
}

int pc_send_control(struct pc *pc, struct xb_buf *buf, int64_t now_ns) {
    if (!buf) return -ENOMEM;
    int result = pc->down.submit(pc->down.ctx, buf, PC_USER_TYPE, EVS_SAFE, now_ns);
    if (result) xb_buf_unref(buf);
    return result;
}

void pc_evs_message(struct pc *pc, const struct evs_message *message, int64_t now_ns) {
    if (pc->state == PC_CLOSED) return;
    struct xb_reader r = xb_reader_init(message->payload, message->size);
    struct pc_header header;
    struct xb_error error = {0};
    int result = pc_header_read(&r, &header, &error);
    if (result == -EPROTONOSUPPORT && pc_self(pc)->is_prim) {
        xb_log_warning(pc->log, "PC: message of %s dropped: %s", XB_UUID_SHORT(&message->source), error.text);
        return;
    }
    if (!result && header.flags & PC_FLAG_CRC && pc->options.checksum &&
        pc_message_crc(message->payload, message->size) != header.crc)
        result = xb_fail(&error, -EPROTO, "checksum does not match");
    if (result)
        pc_fail(pc, false, "message of %s: %s", XB_UUID_SHORT(&message->source), error.text);
    else if (header.type == PC_STATE)
        pc_handle_state(pc, &message->source, &r, now_ns);
    else if (header.type == PC_INSTALL_MESSAGE)
        pc_handle_install(pc, &message->source, &header, &r, now_ns);
    else
        pc_handle_user(pc, message, &header, &r, now_ns);
}

int64_t pc_tick(struct pc *pc, int64_t now_ns) {
    if (now_ns >= pc->retry_at_ns) {
        enum pc_pending pending = pc->pending;
        pc->retry_at_ns = XB_NEVER;
        if (pending == PC_PENDING_INSTALL && pc->state == PC_INSTALL)
            pc_await_install(pc, now_ns);
        else if (pending == PC_PENDING_PROMOTION)
            pc_promote(pc, now_ns);
    }
    return pc->retry_at_ns;
}

int pc_bootstrap(struct pc *pc, int64_t now_ns) {
    if (pc->state != PC_NON_PRIM) {
        xb_log_info(pc->log, "PC: ignoring 'pc.bootstrap' in state %s", pc_state_name(pc->state));
        return 0;
    }
    return pc_send_install(pc, PC_FLAG_BOOTSTRAP, 0, now_ns);
}

int pc_set_weight(struct pc *pc, int weight, int64_t now_ns) {
    if (weight < 0 || weight > 255) return -ERANGE;
    if (pc->state != PC_PRIM) return -EAGAIN;
    return pc_send_install(pc, PC_FLAG_WEIGHT, weight, now_ns);
}

void pc_set_has_state(struct pc *pc, bool has_state) {
    if (pc->has_state == has_state || pc->state == PC_CLOSED) return;
    pc->has_state = has_state;
    if (pc->state == PC_PRIM && pc->options.recovery) pc_save_view(pc, pc->is_bootstrapped);
}

void pc_set_ignore(struct pc *pc, bool ignore_sb, bool ignore_quorum) {
    pc->options.ignore_sb = ignore_sb;
    pc->options.ignore_quorum = ignore_quorum;
    warn_about_ignoring(pc);
}

enum pc_state pc_get_state(const struct pc *pc) {
    return pc->state;
}

int pc_cluster_weight(const struct pc *pc) {
    if (pc->basis.type != VIEW_PRIM) return 0;
    int weight = 0;
    for (size_t i = 0; i < pc->nodes.count; i++) {
        const struct pc_node *node = &pc->nodes.nodes[i];
        if (view_id_equal(&node->last_prim, &pc->basis) && node->weight > 0) weight += node->weight;
    }
    return weight;
}
