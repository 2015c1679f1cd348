/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What rsync starts on the donor in place of ssh: this program, under RELAY_WORD, moves its standard input and output
 * to and from descriptor CHILD_EXTRA_FD, which the transfer has left open through rsync. So nothing listens on the
 * donor and no command needs a shell.
 */
#ifndef XB_SST_RELAY_H
#define XB_SST_RELAY_H

#define RELAY_WORD "relay-for-rsync"

int relay_main(void); /* -> exit status */

#endif
