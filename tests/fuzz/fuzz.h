/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz.h - the entry point of every fuzz program; libFuzzer or replay.c calls it.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Reads one input of foreign bytes. Must not crash, leak or read outside; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
