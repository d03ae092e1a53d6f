/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu.h - what the rooms of the CPU backend share: the object, its scratch and its table.
 *
 * The rooms with hot loops are compiled once per instruction set (base, avx2, avx512) from the same
 * source; each exports one function that puts its operators into the table, and its name carries
 * the set: ISA(norm_install) is norm_install_avx512 in the third copy. backend.c asks the CPU once
 * and calls the best copy, so one binary runs everywhere and nothing is built with -march=native.
 *
 *   backend.c ── cpu_table_avx512(ops, loops) ──▸ norm_install_avx512(ops) ... every room
 *                                            └──▸ attention_install_avx512(ops, loops)
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/backend.h"

struct cpu_backend;
struct engine; /* products with packed matrices: oneDNN or plain loops, see engine.h */

/* Loops that rooms compiled once need from the rooms compiled per instruction set. */
struct cpu_loops {
    /* dst (rows,cols) dense bf16 = src f32, round to nearest even; rows beyond `rows` up to
     * `rows_padded` are zeroed. */
    void (*to_bf16)(uint16_t *dst, const float *src, int stride, int rows, int cols,
                    int rows_padded, int threads);
    /* dst (rows,cols) dense f32 = src rounded to bf16's 8 bits. */
    void (*round_bf16)(float *dst, const float *src, int stride, int rows, int cols, int threads);
};

/* Scratch slots: each keeps the largest size it was ever asked for. */
enum scratch {
    SCRATCH_ROWS_IN,
    SCRATCH_ROWS_OUT,
    SCRATCH_PRODUCT,
    SCRATCH_ATTENTION,
    SCRATCH_COUNT
};

/* thread: the one that uses the backend */
struct cpu_backend {
    struct backend base; /* first: the table's functions get a pointer to it */
    struct backend_ops ops;
    struct cpu_loops loops;
    struct engine *engine;        /* owns */
    struct error fault;           /* first failure of an operator; returned by synchronise */
    void *scratch[SCRATCH_COUNT]; /* owns */
    size_t scratch_bytes[SCRATCH_COUNT];
};

static inline struct cpu_backend *cpu_of(struct backend *be) {
    return (struct cpu_backend *)be;
}

/* Memory of at least `bytes` > 0, 64-byte aligned, zeroed. NO_MEMORY. Ends with memory_free. */
MUST_CHECK enum status cpu_memory_take(size_t bytes, void **ret_memory, struct error *err);

/* At least `bytes` of the slot, uninitialised; NULL after a failure, which is then kept as the
 * backend's fault (the operator returns at once). borrows: until the slot is asked for again. */
void *cpu_scratch(struct cpu_backend *cpu, enum scratch slot, size_t bytes);

/* Keeps the first failure. */
void cpu_fault(struct cpu_backend *cpu, const struct error *err);

/* Row n of a tensor. */
static inline float *row_f32(struct tensor t, int n) {
    return (float *)t.data + (size_t)n * (size_t)t.stride;
}
static inline int32_t *row_i32(struct tensor t, int n) {
    return (int32_t *)t.data + (size_t)n * (size_t)t.stride;
}

/* Elements below which waking a team costs more than it saves: a region costs 0.7 us when threads
 * spin between regions and 2.5 us when they sleep (OMP_WAIT_POLICY=passive), one thread does 4 to 8
 * elements a nanosecond. */
#define TEAM_ELEMENTS_MIN 32768

/* Team size for an operator that touches `elements` numbers. The size never changes a result:
 * every loop splits over outputs and each output is summed by one thread in a fixed order. */
static inline int team_for(const struct backend *be, int rows, int cols) {
    return (size_t)rows * (size_t)cols < TEAM_ELEMENTS_MIN ? 1 : be->threads;
}

/* Number of the calling thread in its team, 0 when built without OpenMP. */
static inline int team_member(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

#define ISA_JOIN(name, isa)   name##_##isa
#define ISA_EXPAND(name, isa) ISA_JOIN(name, isa)
#ifdef CPU_ISA
#define ISA(name) ISA_EXPAND(name, CPU_ISA)

/* Each room's door, in the copy being compiled. */
void ISA(move_install)(struct backend_ops *ops, struct cpu_loops *loops);
void ISA(norm_install)(struct backend_ops *ops);
void ISA(rotary_install)(struct backend_ops *ops);
void ISA(attention_install)(struct backend_ops *ops);
void ISA(attention_backward_install)(struct backend_ops *ops);
void ISA(activation_install)(struct backend_ops *ops);
void ISA(elementwise_install)(struct backend_ops *ops);
void ISA(rows_install)(struct backend_ops *ops);
void ISA(gate_install)(struct backend_ops *ops);
void ISA(loss_install)(struct backend_ops *ops);
void ISA(optim_install)(struct backend_ops *ops);
void ISA(product_install)(struct backend_ops *ops);
void ISA(cpu_table)(struct backend_ops *ops, struct cpu_loops *loops);
#endif

/* Fills the table and the loops with one instruction set's copies. */
void cpu_table_base(struct backend_ops *ops, struct cpu_loops *loops);
void cpu_table_avx2(struct backend_ops *ops, struct cpu_loops *loops);
void cpu_table_avx512(struct backend_ops *ops, struct cpu_loops *loops);

/* Puts the operators of frozen weights into the table (linear.c, compiled once). */
void linear_install(struct backend_ops *ops);

#endif
