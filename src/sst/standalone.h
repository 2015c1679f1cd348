/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `xebec-sst send` and `xebec-sst receive`: the method xebec by hand, for backups, without a cluster. */
#ifndef XB_SST_STANDALONE_H
#define XB_SST_STANDALONE_H

int standalone_main(int argc, char **argv); /* -> exit status */

#endif
