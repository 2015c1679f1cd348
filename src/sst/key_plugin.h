/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption at rest: which key plugin a backup needs, and what this node must know to read it (spec 08 section 11). */
#ifndef XB_SST_KEY_PLUGIN_H
#define XB_SST_KEY_PLUGIN_H

#include "sst/settings.h"

#define KEY_PLUGIN_NAME_SIZE 64

/*
 * A backup carries the donor's options of its key plugin in backup-my.cnf. The keys are the same on all nodes, but not
 * where they lie: those lines are replaced by this node's own.
 * plugin: what the backup is encrypted by, "" nothing. -> 0, or negative with *error: this node loads no such plugin.
 */
int key_plugin_adopt(const struct sst_options *own, const char *directory, char plugin[KEY_PLUGIN_NAME_SIZE],
                     struct xb_error *error);

#endif
