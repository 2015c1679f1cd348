/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets the checksums of a write set right, so that the fuzzer gets past them to what they protect. */
#ifndef XB_TESTS_FUZZ_CHECKSUMS_H
#define XB_TESTS_FUZZ_CHECKSUMS_H

#include <stddef.h>
#include <stdint.h>

/* Header, and headers and payloads of the record sets, as far as they can be found. */
void checksums_fix_writeset(uint8_t *bytes, size_t size);

#endif
