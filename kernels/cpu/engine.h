/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.h - products with a frozen matrix that was packed once.
 *
 * Two files implement it and CMake takes one: onednn_engine.c (matmul primitives with packed
 * weights) or plain_engine.c (own blocked loops, libc alone). linear.c is the only caller.
 */
#ifndef KERNELS_CPU_ENGINE_H
#define KERNELS_CPU_ENGINE_H

#include "kernels/cpu/cpu.h"

/* Opens the engine of a backend; its table is already filled. NO_MEMORY. */
MUST_CHECK enum status engine_open(struct cpu_backend *cpu, struct engine **ret_engine,
                                   struct error *err);
void engine_close(struct engine *engine);

/* Words for the numeric profile: "onednn 2.6.3 avx512_core_amx", "plain". */
void engine_describe(const struct engine *engine, char *text, size_t text_bytes);

struct packed; /* op(w) ready to be the right factor */

/* Packs w (O,I) as the right factor of y (N,O) = x w^T, or when `backward` of dx (N,I) = dy w.
 * BF16 rounds it. borrows: w, during the call. NO_MEMORY. */
MUST_CHECK enum status packed_make(struct engine *engine, const float *w, int O, int I,
                                   bool backward, enum precision precision,
                                   struct packed **ret_packed, struct error *err);
void packed_free(struct packed *packed);
size_t packed_bytes(const struct packed *packed);

/* y (N,n) = or += x (N,k) times the packed matrix (k,n). A failure is kept as the backend's
 * fault. */
void packed_multiply(struct engine *engine, const struct packed *packed, struct tensor y,
                     struct tensor x, bool accumulate);

#endif
