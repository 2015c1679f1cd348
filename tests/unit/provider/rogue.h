/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A member of the group that has gone mad: it has no data and orders what a test gives it as a write set. */
#ifndef XB_TESTS_ROGUE_H
#define XB_TESTS_ROGUE_H

#include <stddef.h>

struct rogue;

/* Joins the group of the make-believe servers; dir: its files. Returns when it may send. */
struct rogue *rogue_join(const char *address, int port, const char *dir);
/* Returns when the bytes have their place in the order of this member. */
void rogue_order(struct rogue *rogue, const void *bytes, size_t size);
void rogue_leave(struct rogue *rogue);

#endif
