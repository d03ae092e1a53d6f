/* SPDX-License-Identifier: Apache-2.0
 *
 * onednn.h - the few calls of oneDNN that products need, the same for its 2.x and 3.x interfaces.
 *
 * 2.x passes memory descriptors by value and primitives through operation descriptors; 3.x made the
 * first opaque and dropped the second (oneDNN's "Transition from v2.x to v3.x"). Only onednn.c
 * knows.
 */
#ifndef KERNELS_CPU_ONEDNN_H
#define KERNELS_CPU_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oneapi/dnnl/dnnl.h>

#include "base/status.h"

/* Layout of a matrix. Zeroed = none. */
struct onednn_layout {
    dnnl_memory_desc_t md; /* owns (3.x: a pointer) */
    bool made;
};

/* The CPU as a device, with its queue. Zeroed = not open. */
struct onednn_device {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

/* One product of fixed shape: dst (rows,n) = or += src (rows,k) weights (k,n). */
struct onednn_matmul {
    dnnl_primitive_t primitive; /* owns */
    dnnl_memory_t src, dst;     /* owns; their handles are set per call */
};

MUST_CHECK enum status onednn_device_open(struct onednn_device *device, struct error *err);
void onednn_device_close(struct onednn_device *device);

/* (rows,cols) with these distances, in elements. */
MUST_CHECK enum status onednn_layout_strided(struct onednn_layout *layout, int rows, int cols,
                                             dnnl_data_type_t type, int row_stride, int col_stride,
                                             struct error *err);
void onednn_layout_free(struct onednn_layout *layout);
size_t onednn_layout_bytes(const struct onednn_layout *layout);

/* The layout of weights (k,n) that a product of about `rows` rows likes best. MALFORMED when the
 * library has no product of this type on this CPU. */
MUST_CHECK enum status onednn_layout_packed(struct onednn_layout *layout,
                                            const struct onednn_device *device, int rows, int k,
                                            int n, dnnl_data_type_t type, struct error *err);

/* to = from, converting type and layout; waits. */
MUST_CHECK enum status onednn_reorder(const struct onednn_device *device,
                                      const struct onednn_layout *from_layout, const void *from,
                                      const struct onednn_layout *to_layout, void *to,
                                      struct error *err);

/* A handle on packed weights that products take. */
MUST_CHECK enum status onednn_memory_make(dnnl_memory_t *ret_memory,
                                          const struct onednn_device *device,
                                          const struct onednn_layout *layout, void *data,
                                          struct error *err);

/* src is (rows,k) of `type` with src_stride, dst f32 (rows,n) with dst_stride. */
MUST_CHECK enum status onednn_matmul_make(struct onednn_matmul *matmul,
                                          const struct onednn_device *device, int rows, int k,
                                          int n, dnnl_data_type_t type, int src_stride,
                                          int dst_stride, const struct onednn_layout *weights,
                                          bool accumulate, struct error *err);
void onednn_matmul_free(struct onednn_matmul *matmul);
/* Runs it and waits. src is only read. */
MUST_CHECK enum status onednn_matmul_run(const struct onednn_matmul *matmul,
                                         const struct onednn_device *device, const void *src,
                                         dnnl_memory_t weights, float *dst, struct error *err);
/* The library's name of the kernel it chose, "brg:avx512_core_amx_bf16"; static while matmul
 * lives. */
const char *onednn_matmul_kernel(const struct onednn_matmul *matmul);

/* "2.6.3 isa=0x3e7". */
void onednn_describe(char *text, size_t text_bytes);
/* The CPU has bf16 products in hardware, by the library's own judgement. */
bool onednn_has_bf16(void);

#endif
