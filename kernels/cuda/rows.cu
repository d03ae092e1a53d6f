/* SPDX-License-Identifier: Apache-2.0
 *
 * rows.cu - rows by index: gather, scatter, and scatter with sums in order.
 *
 * Rows are moved as words of 16, 4 or 2 bytes, the widest that both tensors allow. */
#include "kernels/cuda/sheet.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* A matrix of words: 16, 4 or 2 bytes each. */
template <class Word> struct words {
    Word *data;
    size_t stride; /* words */
    int rows, cols;
};

/* dst (n,C) = src[index]; index -1 gives zeros */
template <class Word> struct gather_operation {
    struct words<Word> dst, src;
    struct tensor index;
    template <int V> __device__ void at(int n, int c) const {
        const int from = *row_i32(index, n);
        Word word = {};
        if (from >= 0) { word = src.data[(size_t)from * src.stride + (size_t)c]; }
        dst.data[(size_t)n * dst.stride + (size_t)c] = word;
    }
};

/* dst[index] = src (n,C); indices distinct, -1 skipped */
template <class Word> struct scatter_operation {
    struct words<Word> dst, src;
    struct tensor index;
    template <int V> __device__ void at(int n, int c) const {
        const int to = *row_i32(index, n);
        if (to >= 0) {
            dst.data[(size_t)to * dst.stride + (size_t)c] =
                src.data[(size_t)n * src.stride + (size_t)c];
        }
    }
};

#define SCATTER_WARPS 8
#define SCATTER_LANE  4 /* columns of a lane */
#define SCATTER_SLICE (WARP * SCATTER_LANE)

/* Row n's columns of the slice, lane by lane, added to `sum`. */
static __device__ __forceinline__ void slice_add(float (&sum)[SCATTER_LANE], const float *row,
                                                 int first, int cols) {
    for (int i = 0; i < SCATTER_LANE; i++) {
        const int c = first + i * WARP;
        if (c < cols) { sum[i] += row[c]; }
    }
}

/* dst[index] += src (n,C) in the order of n, as on the CPU. A warp has one row of src and a slice
 * of 128 columns: it looks through the whole index, and where its row is the first with its index
 * it adds them all. Two warps never write the same place. */
static __global__ void __launch_bounds__(WARP *SCATTER_WARPS)
    scatter_add_kernel(struct tensor dst, struct tensor src, struct tensor index) {
    const int n = (int)blockIdx.x * SCATTER_WARPS + warp_of_block();
    const int first = (int)blockIdx.y * SCATTER_SLICE + lane_of_warp();
    const int to = n < src.rows ? *row_i32(index, n) : -1;
    float sum[SCATTER_LANE] = {};
    bool leads = to >= 0, begun = false; /* the same for the whole warp */

    if (leads) { slice_add(sum, row_f32(dst, to), first, src.cols); }
    for (int base = 0; leads && base < src.rows; base += WARP) {
        const int m = base + lane_of_warp();
        unsigned same = WARP_BALLOT(m < src.rows && *row_i32(index, m) == to);
        for (; leads && same != 0; same &= same - 1) {
            const int next = base + __ffs((int)same) - 1;
            leads = begun || next == n;
            begun = true;
            if (leads) { slice_add(sum, row_f32(src, next), first, src.cols); }
        }
    }
    for (int i = 0; leads && i < SCATTER_LANE; i++) {
        const int c = first + i * WARP;
        if (c < src.cols) { row_f32(dst, to)[c] = sum[i]; }
    }
}

/* ---- launchers ------------------------------------------------------------------------------- */

template <class Word> static struct words<Word> words_of(struct tensor t) {
    const size_t bytes = dtype_bytes(t.dtype);
    return {static_cast<Word *>(t.data), (size_t)t.stride *bytes / sizeof(Word), t.rows,
            (int)((size_t)t.cols *bytes / sizeof(Word))};
}

/* Rows begin on, and are, whole words. */
static bool
in_words(struct tensor t, size_t word_bytes) {
    const size_t bytes = dtype_bytes(t.dtype);
    return (uintptr_t)t.data % word_bytes == 0 && (size_t)t.stride * bytes % word_bytes == 0 &&
           (size_t)t.cols * bytes % word_bytes == 0;
}

template <template <class> class Operation, class Word>
static void move_words(struct backend *be, struct tensor dst, struct tensor src,
                       struct tensor index) {
    const Operation<Word> operation{words_of<Word>(dst), words_of<Word>(src), index};
    sheet_launch(cuda_of(be), operation, index.rows, operation.src.cols, false);
}

template <template <class> class Operation>
static void move_rows(struct backend *be, struct tensor dst, struct tensor src,
                      struct tensor index) {
    if (in_words(dst, sizeof(uint4)) && in_words(src, sizeof(uint4))) {
        move_words<Operation, uint4>(be, dst, src, index);
    } else if (dtype_bytes(dst.dtype) == sizeof(uint32_t)) {
        move_words<Operation, uint32_t>(be, dst, src, index);
    } else {
        move_words<Operation, uint16_t>(be, dst, src, index);
    }
}

static void gather_rows(struct backend *be, struct tensor dst, struct tensor src,
                        struct tensor index) {
    assert(tensor_is_index(index, dst.rows));
    assert(dst.cols == src.cols && dst.dtype == src.dtype);
    move_rows<gather_operation>(be, dst, src, index);
}

static void scatter_rows(struct backend *be, struct tensor dst, struct tensor src,
                         struct tensor index) {
    assert(tensor_is_index(index, src.rows));
    assert(dst.cols == src.cols && dst.dtype == src.dtype);
    move_rows<scatter_operation>(be, dst, src, index);
}

static void scatter_add_rows(struct backend *be, struct tensor dst, struct tensor src,
                             struct tensor index) {
    assert(tensor_is_index(index, src.rows));
    assert(dst.cols == src.cols && dst.dtype == DTYPE_F32 && src.dtype == DTYPE_F32);
    const dim3 grid(cuda_pieces((size_t)src.rows, SCATTER_WARPS),
                    cuda_pieces((size_t)src.cols, SCATTER_SLICE));
    CUDA_LAUNCH(cuda_of(be), scatter_add_kernel, grid, dim3(WARP * SCATTER_WARPS), 0, dst, src,
                index);
}

void cuda_rows_install(struct backend_ops *ops) {
    ops->gather_rows = gather_rows;
    ops->scatter_rows = scatter_rows;
    ops->scatter_add_rows = scatter_add_rows;
}
