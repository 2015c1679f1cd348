/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Groups of synced members on a bus, for tests that begin with one. */
#ifndef XB_TESTS_UNIT_GCS_PARTY_H
#define XB_TESTS_UNIT_GCS_PARTY_H

#include "bus.h"

struct peer *start_peer(struct bus *bus, const char *name);
bus_set all(const struct bus *bus); /* that are alive */
enum gcs_node_state state_of(const struct peer *peer);
struct item *request(struct peer *peer, const char *donors); /* full state transfer, or desync */
void tell_join(struct peer *peer, int code);
/* Lets a PRIM member take a transfer from whom the group chooses. */
void transfer(struct bus *bus, struct peer *joiner);
/* n synced members n0, n1, ..., at most 5 */
struct bus *make_group(int n);
struct node *node_of(struct bus *bus, int i);
struct gcs *gcs_of(struct bus *bus, int i);
void assert_same_counters(struct bus *bus);
struct item *submit_big(struct node *node, size_t size, int seed);

#endif
