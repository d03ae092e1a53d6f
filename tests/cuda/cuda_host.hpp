/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda_host.hpp - CUDA's vocabulary for g++, so that kernels run on a CPU in tests.
 *
 * Included by kernels/cuda/port.h in the executor's build alone. Blocks run one after the other, in
 * a chosen order; the threads of a block are fibers of one OS thread that stop at barriers and warp
 * operations and nowhere else. Device memory is host memory between guard zones (runtime.cpp).
 *
 *   executor.cpp: launch ─▸ for each block ─▸ for each fiber that may go on: kernel(args...)
 *                                               └─ __syncthreads, __shfl_xor_sync ... ─▸ next fiber
 *
 * What it finds: a thread that misses a barrier, different barriers, lanes that are not in a mask
 * or not there (it stops with kernel, block, thread and line); memory errors (AddressSanitizer,
 * guard zones); races between barriers (other orders of threads, and ThreadSanitizer, to which a
 * barrier orders memory and a switch does not). Not found: races between blocks that no order shows,
 * asynchrony of streams, contraction and approximate functions.
 */
#ifndef TESTS_CUDA_CUDA_HOST_HPP
#define TESTS_CUDA_CUDA_HOST_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__    static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

#define CUDA_HOST_NO_TSAN __attribute__((no_sanitize("thread")))

/* Each block has its own heap block per declaration: static arrays of templates get no redzones. */
#define CUDA_HOST_SHARED(type, name, dims) \
    static char name##_key;                \
    using name##_type = type dims;         \
    name##_type &name =                    \
        *static_cast<name##_type *>(cuda_host::shared_static(&name##_key, sizeof(name##_type)))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    template <class X> constexpr dim3(X x_) : x(unsigned(x_)), y(1), z(1) {}
    template <class X, class Y>
    constexpr dim3(X x_, Y y_, unsigned z_ = 1) : x(unsigned(x_)), y(unsigned(y_)), z(z_) {}
    constexpr dim3() : x(1), y(1), z(1) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) {
    return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

/* ---- the executor's entry points (executor.cpp) ---------------------------------------------- */
namespace cuda_host {

struct site { /* the line of a kernel that called */
    const char *file;
    int line;
};
/* What a warp operation does once all its lanes are there: arg[i] is lane i's. */
using warp_function = void (*)(void *const *arg, unsigned mask);

[[noreturn]] void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
void barrier(site at);
void warp_meet(const char *name, warp_function function, unsigned mask, void *arg,
               bool orders_memory, site at);
void may_yield(); /* before an atomic: another thread may come first */
void fence();
void *shared_static(const char *key, size_t bytes);
void *shared_piece(unsigned number, size_t bytes);
int run(const char *what, const void *kernel, dim3 grid, dim3 block, size_t shared_bytes,
        void (*body)(void *), void *context);
int allow_shared(const void *kernel, size_t bytes);
int runtime_call(); /* the error that a test wants the next call to give, or 0 */

inline unsigned lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31u;
}

template <class... P>
int launch(const char *what, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
           P... args) {
    struct call {
        void (*kernel)(P...);
        std::tuple<P...> args;
    } call{kernel, std::tuple<P...>(args...)};
    return run(
        what, reinterpret_cast<const void *>(kernel), grid, block, shared_bytes,
        [](void *context) {
            auto *c = static_cast<struct call *>(context);
            std::apply(c->kernel, c->args);
        },
        &call);
}

/* ---- exchange within a warp ------------------------------------------------------------------ */

template <class T> struct shuffle_arg {
    T in, out;
    unsigned source;
};

template <class T> CUDA_HOST_NO_TSAN void shuffle_all(void *const *arg, unsigned mask) {
    for (unsigned i = 0; i < 32; i++) {
        if ((mask >> i & 1u) == 0) { continue; }
        auto *a = static_cast<shuffle_arg<T> *>(arg[i]);
        if ((mask >> a->source & 1u) == 0) {
            fault("shuffle: lane %u reads lane %u, which takes no part", i, a->source);
        }
        a->out = static_cast<shuffle_arg<T> *>(arg[a->source])->in;
    }
}

template <class T>
CUDA_HOST_NO_TSAN T shuffle(const char *name, unsigned mask, T value, unsigned source, site at) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4 && sizeof(T) <= 8,
                  "a type that CUDA shuffles too");
    shuffle_arg<T> a{value, value, source};
    warp_meet(name, shuffle_all<T>, mask, &a, false, at);
    return a.out;
}

struct vote_arg {
    bool in;
    unsigned out;
};

CUDA_HOST_NO_TSAN inline void vote_all(void *const *arg, unsigned mask) {
    unsigned bits = 0;
    for (unsigned i = 0; i < 32; i++) {
        if ((mask >> i & 1u) != 0 && static_cast<vote_arg *>(arg[i])->in) { bits |= 1u << i; }
    }
    for (unsigned i = 0; i < 32; i++) {
        if ((mask >> i & 1u) != 0) { static_cast<vote_arg *>(arg[i])->out = bits; }
    }
}

CUDA_HOST_NO_TSAN inline unsigned vote(const char *name, unsigned mask, bool condition, site at) {
    vote_arg a{condition, 0};
    warp_meet(name, vote_all, mask, &a, false, at);
    return a.out;
}

} // namespace cuda_host

#define CUDA_HOST_SITE const char *file_ = __builtin_FILE(), int line_ = __builtin_LINE()

inline void __syncthreads(CUDA_HOST_SITE) {
    cuda_host::barrier({file_, line_});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_HOST_SITE) {
    cuda_host::warp_meet("__syncwarp", [](void *const *, unsigned) {}, mask, nullptr, true,
                         {file_, line_});
}
inline void __threadfence() {
    cuda_host::fence();
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_HOST_SITE) {
    const unsigned me = cuda_host::lane(), w = unsigned(width);
    return cuda_host::shuffle("__shfl_sync", mask, value,
                              (me & ~(w - 1)) | (unsigned(source) & (w - 1)), {file_, line_});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance, int width = 32, CUDA_HOST_SITE) {
    const unsigned me = cuda_host::lane(), to = me ^ unsigned(distance);
    return cuda_host::shuffle("__shfl_xor_sync", mask, value,
                              to > (me | (unsigned(width) - 1)) ? me : to & 31u, {file_, line_});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32, CUDA_HOST_SITE) {
    const unsigned me = cuda_host::lane(), to = me + unsigned(distance);
    return cuda_host::shuffle("__shfl_down_sync", mask, value,
                              to > (me | (unsigned(width) - 1)) ? me : to, {file_, line_});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance, int width = 32, CUDA_HOST_SITE) {
    const unsigned me = cuda_host::lane(), base = me & ~(unsigned(width) - 1);
    return cuda_host::shuffle("__shfl_up_sync", mask, value,
                              me - base < unsigned(distance) ? me : me - unsigned(distance),
                              {file_, line_});
}
inline unsigned __ballot_sync(unsigned mask, int condition, CUDA_HOST_SITE) {
    return cuda_host::vote("__ballot_sync", mask, condition != 0, {file_, line_});
}
inline int __any_sync(unsigned mask, int condition, CUDA_HOST_SITE) {
    return cuda_host::vote("__any_sync", mask, condition != 0, {file_, line_}) != 0;
}
inline int __all_sync(unsigned mask, int condition, CUDA_HOST_SITE) {
    return cuda_host::vote("__all_sync", mask, condition == 0, {file_, line_}) == 0;
}

/* ---- atomics (relaxed, as on the device) and loads ------------------------------------------- */

template <class T>
std::enable_if_t<std::is_integral_v<T>, T> atomicAdd(T *p, std::common_type_t<T> value) {
    cuda_host::may_yield();
    return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
inline float atomicAdd(float *p, float value) {
    cuda_host::may_yield();
    auto *word = reinterpret_cast<uint32_t *>(p);
    uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED), want = 0;
    float before = 0.0f;
    do {
        memcpy(&before, &old, sizeof before);
        float after = before + value;
        memcpy(&want, &after, sizeof want);
    } while (
        !__atomic_compare_exchange_n(word, &old, want, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return before;
}
template <class T> T __ldg(const T *p) {
    return *p;
}

/* ---- numbers: macros, because the C library may declare the same names ----------------------- */

inline float cuda_host_rsqrtf(float x) {
    return 1.0f / std::sqrt(x);
}
inline float cuda_host_expf(float x) {
    return std::exp(x);
}
inline float cuda_host_logf(float x) {
    return std::log(x);
}
#define rsqrtf cuda_host_rsqrtf
#define __expf cuda_host_expf
#define __logf cuda_host_logf
inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __clz(int x) {
    return x != 0 ? __builtin_clz(unsigned(x)) : 32;
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return unsigned(uint64_t(a) * b >> 32);
}
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
inline float __fdividef(float a, float b) {
    return a / b;
}

/* bf16: to nearest even, a NaN to 0x7fff, as cuda_bf16.h. */
struct __nv_bfloat16 {
    uint16_t bits;
};
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { return {0x7fff}; }
    return {uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
inline float __bfloat162float(__nv_bfloat16 x) {
    return __uint_as_float(unsigned(x.bits) << 16);
}
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 x) {
    return x.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(uint16_t bits) {
    return {bits};
}

#include <cuda_host_runtime.hpp>

#endif
