/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address strings of peers (spec 02 section 3.1). Pure. */
#ifndef XB_GMCAST_ADDRESS_H
#define XB_GMCAST_ADDRESS_H

#include "gmcast/gmcast.h"

/* "tcp://HOST:PORT" or "ssl://HOST:PORT" with some host and a port of 1..65535 -> the port, else 0. */
unsigned mesh_address_port(const char *text);

/* The one form of an address that the book compares: scheme of the local policy whatever the text says (section 22.3),
 * numeric host as inet_ntop prints it, IPv4-mapped IPv6 as plain IPv4. -> 0, or -EINVAL if the text is no such
 * address, the host no number, or the port missing. */
int mesh_address_normalize(char address[GMCAST_ADDRESS_SIZE], const char *text, bool is_tls);

/* The address of a dialler: where it came from and the port it advertised. -> 0 or -EINVAL */
int mesh_address_compose(char address[GMCAST_ADDRESS_SIZE], const char *host, unsigned port, bool is_tls);

#endif
