/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda_host_tile.hpp - scalar twins of kernels/cuda/tile.h for the executor.
 *
 * A copy that was started is carried out when its thread waits for it, and not before: a kernel
 * that forgets to wait reads what was there. */
#ifndef TESTS_CUDA_CUDA_HOST_TILE_HPP
#define TESTS_CUDA_CUDA_HOST_TILE_HPP

#include <cstdint>

namespace cuda_host {

/* ---- products -------------------------------------------------------------------------------- */

struct mma_arg {
    float *c;
    const uint32_t *a, *b;
};

inline float half_of(uint32_t word, int which) {
    return __uint_as_float((which != 0 ? word >> 16 : word & 0xffffu) << 16);
}

CUDA_HOST_NO_TSAN inline void mma_all(void *const *arg, unsigned mask) {
    float a[16][16], b[16][8];

    if (mask != 0xffffffffu) { fault("tile_mma needs all 32 lanes"); }
    for (int lane = 0; lane < 32; lane++) {
        const auto *m = static_cast<const mma_arg *>(arg[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int word = 0; word < 4; word++) {
            for (int i = 0; i < 2; i++) {
                a[g + 8 * (word % 2)][2 * t + i + 8 * (word / 2)] = half_of(m->a[word], i);
            }
        }
        for (int word = 0; word < 2; word++) {
            for (int i = 0; i < 2; i++) {
                b[2 * t + i + 8 * word][g] = half_of(m->b[word], i);
            }
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const auto *m = static_cast<const mma_arg *>(arg[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int word = 0; word < 4; word++) {
            float sum = m->c[word];
            for (int k = 0; k < 16; k++) {
                sum += a[g + 8 * (word / 2)][k] * b[k][2 * t + word % 2];
            }
            m->c[word] = sum;
        }
    }
}

/* ---- loads ----------------------------------------------------------------------------------- */

struct load_arg {
    uint16_t row[8]; /* what this lane's address holds */
    uint32_t *words;
};

template <bool Turned> CUDA_HOST_NO_TSAN void load_all(void *const *arg, unsigned mask) {
    if (mask != 0xffffffffu) { fault("tile_load needs all 32 lanes"); }
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        for (int j = 0; j < 4; j++) {
            const auto row = [arg, j](int i) {
                return static_cast<const load_arg *>(arg[8 * j + i])->row;
            };
            const uint32_t low = Turned ? row(2 * t)[g] : row(g)[2 * t];
            const uint32_t high = Turned ? row(2 * t + 1)[g] : row(g)[2 * t + 1];
            static_cast<load_arg *>(arg[lane])->words[j] = low | high << 16;
        }
    }
}

template <bool Turned> void load(uint32_t (&words)[4], const __nv_bfloat16 *row, site at) {
    load_arg a{{}, words};

    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) { fault("tile_load: address not on 16 bytes"); }
    for (int i = 0; i < 8; i++) { /* here and not in load_all: the sanitizers watch */
        a.row[i] = row[i].bits;
    }
    warp_meet(Turned ? "tile_load_turned" : "tile_load", load_all<Turned>, 0xffffffffu, &a, false,
              at);
}

/* ---- copies that take their time ------------------------------------------------------------- */

constexpr int copies_max = 256;
struct copies { /* of one thread, oldest first */
    struct {
        void *to;
        const void *from; /* null: zeros */
    } piece[copies_max];
    int count, groups;
    int group_end[copies_max]; /* pieces in groups 0..i */
};
copies &copies_of_thread();

inline void copies_finish(copies *all, int groups) {
    const int count = groups > 0 ? all->group_end[groups - 1] : 0;

    for (int i = 0; i < count; i++) {
        auto *to = static_cast<uint4 *>(all->piece[i].to);
        const auto *from = static_cast<const uint4 *>(all->piece[i].from);
        *to = from != nullptr ? *from : uint4{0, 0, 0, 0};
    }
    for (int i = count; i < all->count; i++) {
        all->piece[i - count] = all->piece[i];
    }
    for (int i = groups; i < all->groups; i++) {
        all->group_end[i - groups] = all->group_end[i] - count;
    }
    all->count -= count;
    all->groups -= groups;
}

} // namespace cuda_host

inline void tile_mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                     CUDA_HOST_SITE) {
    cuda_host::mma_arg m{c, a, b};
    cuda_host::warp_meet("tile_mma", cuda_host::mma_all, 0xffffffffu, &m, false, {file_, line_});
}
inline void tile_load(uint32_t (&words)[4], const __nv_bfloat16 *row, CUDA_HOST_SITE) {
    cuda_host::load<false>(words, row, {file_, line_});
}
inline void tile_load_turned(uint32_t (&words)[4], const __nv_bfloat16 *row, CUDA_HOST_SITE) {
    cuda_host::load<true>(words, row, {file_, line_});
}

inline void copy_async(void *shared, const void *global, bool valid) {
    cuda_host::copies &all = cuda_host::copies_of_thread();

    if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 ||
        (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)) {
        cuda_host::fault("copy_async: address not on 16 bytes");
    }
    if (all.count == cuda_host::copies_max) {
        cuda_host::fault("copy_async: more than %d at once", cuda_host::copies_max);
    }
    all.piece[all.count++] = {shared, valid ? global : nullptr};
}
inline void copy_async_commit() {
    cuda_host::copies &all = cuda_host::copies_of_thread();

    if (all.groups == cuda_host::copies_max) { cuda_host::fault("copy_async_commit: too many"); }
    all.group_end[all.groups++] = all.count;
}
template <int Pending> void copy_async_wait() {
    cuda_host::copies &all = cuda_host::copies_of_thread();

    if (all.groups > Pending) { cuda_host::copies_finish(&all, all.groups - Pending); }
}

#endif
