/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda.h - what the rooms of the CUDA backend share: the object, its memory, how a kernel is
 * launched, how a failure is kept. The folder mirrors kernels/cpu file by file.
 *
 * One stream a backend: everything runs in the order it was enqueued, so operators need no events
 * between them and their results do not depend on timing. Operators check shapes, launch and return
 * nothing; the first failure stays in `fault` and synchronise, upload and download return it.
 *
 *   memory_take ──▸ slabs (pool.cu)       tensors, weights: no cudaMalloc once a slab is there
 *   cuda_scratch ─▸ one area per slot     grows by a quarter more than asked, then stays
 *   cuda_pass ────▸ pinned ring ─▸ ring   small host arrays (segments, tensors) for kernels
 *   upload ───────▸ two pinned halves     the host fills one while the other is copied
 *
 * A room is one file: kernels and their launchers under two rule lines, and one door,
 * cuda_<room>_install, that puts its operators into the table. Launch like this, after the asserts:
 *
 *   CUDA_LAUNCH(cuda, rmsnorm_kernel<256>, dim3(x.rows), dim3(256), 0, y, rstd, x, gain, epsilon);
 *
 * An empty grid launches nothing, so no launcher asks for it.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <assert.h>

#include "kernels/cuda/reduce.h"

extern "C" {
#include "kernels/backend.h"
}

struct cuda_pool;  /* slabs of device memory (pool.cu) */
struct cuda_stage; /* pinned memory and its rings (stage.cu) */
struct cublas;     /* cublasLt, loaded at run time (cublas.cu) */

/* Scratch slots: each keeps the largest size it was ever asked for. */
enum cuda_slot {
    CUDA_SLOT_ROWS_IN,  /* rows of a product's input, rounded or gathered */
    CUDA_SLOT_ROWS_OUT, /* rows of a product's output */
    CUDA_SLOT_PRODUCT,  /* parts of split products */
    CUDA_SLOT_ATTENTION,
    CUDA_SLOT_SUM, /* first stages of sums over rows and tensors */
    CUDA_SLOT_LOSS,
    CUDA_SLOT_LIBRARY, /* cublasLt's workspace */
    CUDA_SLOT_COUNT
};

/* thread: the one that uses the backend */
struct cuda_backend {
    struct backend base; /* first: the table's functions get a pointer to it */
    struct backend_ops ops;
    int device;
    int multiprocessors;      /* of the card */
    cudaStream_t stream;      /* owns */
    bool wait_each;           /* ILORA_CUDA_SYNC=1: waits after every launch, to find the culprit */
    struct error fault;       /* first failure; returned by synchronise */
    struct cuda_pool *pool;   /* owns */
    struct cuda_stage *stage; /* owns */
    struct cublas *cublas;    /* owns; NULL: the library is not there, own products */
    int bf16_weights;         /* weights in bf16 that there are now: attention.h asks */
    void *slot[CUDA_SLOT_COUNT]; /* owns: device memory */
    size_t slot_bytes[CUDA_SLOT_COUNT];
};

/* The backend's card becomes the calling thread's; a thread starts with card 0. */
static inline void cuda_current(const struct cuda_backend *cuda) {
    if (cuda->device != 0) { (void)cudaSetDevice(cuda->device); /* what follows fails then */ }
}

static inline struct cuda_backend *cuda_of(struct backend *be) {
    return reinterpret_cast<struct cuda_backend *>(be);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* NO_MEMORY for want of memory (the context lives), NOT_FOUND for no card or driver, else
 * DEVICE_LOST: CUDA says of these that the process must end. */
MUST_CHECK enum status cuda_status(cudaError_t e);

/* Returns OK, or fills err with the call, its place and CUDA's words. */
MUST_CHECK enum status cuda_check(cudaError_t e, const char *call, const char *file, int line,
                                  struct error *err);
#define CUDA_TRY(call, err) cuda_check((call), #call, __FILE__, __LINE__, (err))

/* Keeps the first failure; OK is none. For calls inside of operators. */
void cuda_keep(struct cuda_backend *cuda, cudaError_t e, const char *call, const char *file,
               int line);
#define CUDA_KEEP(cuda, call) cuda_keep((cuda), (call), #call, __FILE__, __LINE__)

/* Keeps a failure that is not CUDA's own. */
void cuda_fault(struct cuda_backend *cuda, const struct error *err);

/* ---- launching ------------------------------------------------------------------------------- */

/* Enqueues kernel(args...) on the backend's stream and checks the launch. Nothing when the grid is
 * empty or a failure is kept. */
#define CUDA_LAUNCH(cuda, ...) cuda_launch((cuda), #__VA_ARGS__, __FILE__, __LINE__, __VA_ARGS__)

template <class... P, class... A>
static inline void cuda_launch(struct cuda_backend *cuda, const char *what, const char *file,
                               int line, void (*kernel)(P...), dim3 grid, dim3 block,
                               size_t shared_bytes, A... args) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || cuda->fault.code != STATUS_OK) { return; }
    cuda_current(cuda);
    cudaError_t e =
        port_launch(what, cuda->stream, kernel, grid, block, shared_bytes, static_cast<P>(args)...);
    if (e == cudaSuccess && cuda->wait_each) { e = cudaStreamSynchronize(cuda->stream); }
    if (e != cudaSuccess) { cuda_keep(cuda, e, what, file, line); }
}

/* Launches a kernel whose template argument is the team of a row (reduce.h): a warp for narrow
 * rows, a block for wide ones. */
#define CUDA_LAUNCH_ROWS(cuda, kernel, rows, cols, ...)                                           \
    do {                                                                                          \
        const dim3 team_block_(TEAM_BLOCK);                                                       \
        if ((cols) <= TEAM_COLS_MAX) {                                                            \
            CUDA_LAUNCH(cuda, kernel<WARP>, dim3(cuda_pieces((size_t)(rows), TEAM_BLOCK / WARP)), \
                        team_block_, 0, __VA_ARGS__);                                             \
        } else {                                                                                  \
            CUDA_LAUNCH(cuda, kernel<TEAM_BLOCK>, dim3((unsigned)(rows)), team_block_, 0,         \
                        __VA_ARGS__);                                                             \
        }                                                                                         \
    } while (0)

/* Pieces of `size` that cover `count`. */
static inline unsigned cuda_pieces(size_t count, size_t size) {
    return (unsigned)((count + size - 1) / size);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Device memory of at least `bytes` > 0, aligned to 256 bytes, zeroed in the stream's order.
 * NO_MEMORY. Ends with cuda_memory_give, which may come while work that uses it is enqueued. */
MUST_CHECK enum status cuda_memory_take(struct cuda_backend *cuda, size_t bytes, void **ret_memory,
                                        struct error *err);
void cuda_memory_give(struct cuda_backend *cuda, void *memory);

/* At least `bytes` of the slot, uninitialised; NULL after a failure, which is kept (the operator
 * returns at once). borrows: until the slot is asked for again. */
void *cuda_scratch(struct cuda_backend *cuda, enum cuda_slot slot, size_t bytes);

/* A device copy of a small host array for kernels enqueued by the operator that asks; the host
 * array may change at once. bytes <= CUDA_PASS_BYTES_MAX. NULL after a failure, which is kept.
 * borrows: until the operator returns (what it enqueued stays right). */
const void *cuda_pass(struct cuda_backend *cuda, const void *host, size_t bytes);
#define CUDA_PASS_BYTES_MAX ((size_t)1 << 20)

/* Dense host bytes to and from dense device memory, through pinned memory. Waits. */
MUST_CHECK enum status cuda_write(struct cuda_backend *cuda, void *device, const void *host,
                                  size_t bytes, struct error *err);
MUST_CHECK enum status cuda_read(struct cuda_backend *cuda, void *host, const void *device,
                                 size_t bytes, struct error *err);

/* Waits for the stream; returns and forgets the first failure since. */
MUST_CHECK enum status cuda_synchronise(struct cuda_backend *cuda, struct error *err);

/* dst (src.rows, dst_stride) bf16 = src f32 rounded to nearest even, zeros in columns from src.cols
 * on (move.cu). dst_stride >= src.cols. */
void cuda_round_rows(struct cuda_backend *cuda, bf16 *dst, int dst_stride, struct tensor src);

/* What backend.cu opens and closes; each accepts being closed unopened. pool.cu: */
MUST_CHECK enum status cuda_pool_open(struct cuda_backend *cuda, struct error *err);
void cuda_pool_close(struct cuda_backend *cuda);
/* stage.cu: */
MUST_CHECK enum status cuda_stage_open(struct cuda_backend *cuda, struct error *err);
void cuda_stage_close(struct cuda_backend *cuda);
/* Strided rows of device memory, `pitch` bytes apart, from and to dense host rows. Waits. */
MUST_CHECK enum status cuda_stage_write(struct cuda_backend *cuda, void *device, size_t pitch,
                                        const void *host, size_t row_bytes, size_t rows,
                                        struct error *err);
MUST_CHECK enum status cuda_stage_read(struct cuda_backend *cuda, void *host, const void *device,
                                       size_t pitch, size_t row_bytes, size_t rows,
                                       struct error *err);

/* ---- rows inside kernels --------------------------------------------------------------------- */

/* Row n of a tensor. */
__device__ __forceinline__ float *row_f32(struct tensor t, int n) {
    return static_cast<float *>(t.data) + (size_t)n * (size_t)t.stride;
}
__device__ __forceinline__ int32_t *row_i32(struct tensor t, int n) {
    return static_cast<int32_t *>(t.data) + (size_t)n * (size_t)t.stride;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Rows of at least 16-byte alignment throughout: four floats may be read at once. */
static inline bool tensor_in_fours(struct tensor t) {
    return t.cols % 4 == 0 && t.stride % 4 == 0 && (uintptr_t)t.data % 16 == 0;
}

/* ---- doors of the rooms (table.cu calls them) ------------------------------------------------ */
void cuda_move_install(struct backend_ops *ops);
void cuda_norm_install(struct backend_ops *ops);
void cuda_rotary_install(struct backend_ops *ops);
void cuda_attention_install(struct backend_ops *ops);
void cuda_attention_backward_install(struct backend_ops *ops);
void cuda_activation_install(struct backend_ops *ops);
void cuda_elementwise_install(struct backend_ops *ops);
void cuda_rows_install(struct backend_ops *ops);
void cuda_gate_install(struct backend_ops *ops);
void cuda_loss_install(struct backend_ops *ops);
void cuda_optim_install(struct backend_ops *ops);
void cuda_product_install(struct backend_ops *ops);
void cuda_linear_install(struct backend_ops *ops);
void cuda_table(struct backend_ops *ops);

#endif
