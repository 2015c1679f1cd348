/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A TCP relay on loopback that breaks its first connection after so many bytes, and lets the later ones pass. */
#ifndef XB_TESTS_CUTTER_H
#define XB_TESTS_CUTTER_H

#include <stddef.h>

struct cutter;

struct cutter *cutter_start(int from_port, int to_port, size_t cut_after);
/* Ends it. -> connections that it has relayed */
int cutter_stop(struct cutter *cutter);

#endif
