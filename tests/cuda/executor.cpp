/* SPDX-License-Identifier: Apache-2.0
 *
 * executor.cpp - runs the threads of a block as fibers; see cuda_host.hpp.
 *
 * A fiber is ready, at a barrier, at a warp operation, or done. The one that stops picks the next
 * ready one by the order; the last that arrives makes the others ready. When nobody is ready and
 * somebody is left, the block is stuck: the report says who waits where.
 *
 * Built without sanitizer instrumentation: what the executor does between fibers must not look like
 * the kernels' memory accesses. */
#include "tests/cuda/executor.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include "kernels/cuda/tile.h"
#include "tests/cuda/cuda_host_control.h"
#include "tests/cuda/fibers.hpp"

#if defined(CUDA_HOST_TSAN)
#include <sanitizer/tsan_interface.h>
#endif
extern "C" void __sanitizer_print_stack_trace() __attribute__((weak));

namespace cuda_host {
namespace {

constexpr unsigned threads_max = 1024, warps_max = threads_max / 32, words_max = threads_max / 64;
constexpr size_t shared_bytes_most = 232448; /* 227 KiB: sm_90 */

enum state : unsigned char { ready, at_barrier, at_warp, done };

struct fiber {
    fiber_stack stack;
    uint3 index;
    unsigned number;
    enum state state;
    const char *operation; /* where it waits */
    site at;
    warp_function function;
    unsigned mask;
    void *arg;
    struct copies copies;
};

struct piece {
    void *memory;
    size_t bytes;
    const char *key;
};

/* Never destroyed: the leak checker runs after the destructors. */
auto &pool = *new std::vector<fiber *>;
auto &dynamic_pieces = *new std::vector<piece>, &static_pieces = *new std::vector<piece>;
auto &shared_limit = *new std::map<const void *, size_t>;
auto &the_door = *new std::mutex;

fiber outside; /* the OS thread that launches */
fiber *current = &outside;
unsigned thread_count, alive, waiting; /* threads of the block, not done, at the barrier */
uint64_t ready_bits[words_max];
void (*body)(void *);
void *body_context;
const char *what = "no kernel";
size_t shared_asked, shared_used, arena_used;
bool running;
cuda_host_order order = CUDA_HOST_ASCENDING;
uint64_t random_state = 1;
cuda_host_counts counts;

/* ---- ThreadSanitizer: what orders memory ----------------------------------------------------- */

/* Two for a block: a thread that begins must not come after one that has ended. */
char edge_begin, edge_end, edge_fence, edge_barrier[2], edge_warp[warps_max][2];
unsigned barriers_passed, warps_passed[warps_max];

void release([[maybe_unused]] void *edge) {
#if defined(CUDA_HOST_TSAN)
    __tsan_release(edge);
#endif
}
void acquire([[maybe_unused]] void *edge) {
#if defined(CUDA_HOST_TSAN)
    __tsan_acquire(edge);
#endif
}

/* ---- who goes on ----------------------------------------------------------------------------- */

uint64_t next_random() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

void make_ready(unsigned number) {
    pool[number]->state = ready;
    ready_bits[number / 64] |= uint64_t(1) << number % 64;
}

/* The ready fiber that the order wants next; null when there is none. */
fiber *pick() {
    const unsigned words = (thread_count + 63) / 64;

    if (order == CUDA_HOST_DESCENDING) {
        for (unsigned w = words; w-- > 0;) {
            if (ready_bits[w] != 0) {
                return pool[w * 64 + 63 - unsigned(__builtin_clzll(ready_bits[w]))];
            }
        }
        return nullptr;
    }
    unsigned from = order == CUDA_HOST_SHUFFLED ? unsigned(next_random() >> 20) % thread_count : 0;
    uint64_t bits = ready_bits[from / 64] & (~uint64_t(0) << from % 64);
    for (unsigned i = 0, w = from / 64; i <= words; i++) {
        if (bits != 0) { return pool[w * 64 + unsigned(__builtin_ctzll(bits))]; }
        w = (w + 1) % words;
        bits = ready_bits[w];
    }
    return nullptr;
}

bool same_place(const fiber *a, const fiber *b) {
    if (a->state != b->state) { return false; }
    return a->state == done ||
           (a->operation == b->operation && a->at.line == b->at.line && a->mask == b->mask);
}

[[noreturn]] void stuck(const char *why) {
    fprintf(stderr, "cuda_host: %s in %s, block (%u,%u,%u): %u threads, %u of them done\n", why,
            what, blockIdx.x, blockIdx.y, blockIdx.z, thread_count, thread_count - alive);
    std::vector<bool> told(thread_count);
    for (unsigned i = 0; i < thread_count; i++) {
        const fiber *a = pool[i];
        if (told[i]) { continue; }
        fprintf(stderr, "  %s", a->state == done ? "done" : a->operation);
        if (a->state != done) { fprintf(stderr, " at %s:%d", a->at.file, a->at.line); }
        if (a->state == at_warp) { fprintf(stderr, " mask %08x", a->mask); }
        fprintf(stderr, ": threads");
        unsigned count = 0;
        for (unsigned j = i; j < thread_count; j++) {
            if (told[j] || !same_place(a, pool[j])) { continue; }
            told[j] = true;
            if (count++ < 8) { fprintf(stderr, " %u", j); }
        }
        fprintf(stderr, count > 8 ? " ... (%u in all)\n" : "\n", count);
    }
    abort();
}

void go_to(fiber *to) {
    fiber *from = current;

    if (to == from) { return; }
    counts.switches++;
    current = to;
    threadIdx = to->index;
    fiber_switch(&from->stack, &to->stack);
}

/* The running fiber stopped, or offers its place. */
void go_on() {
    fiber *next = pick();

    if (next != nullptr) {
        ready_bits[next->number / 64] &= ~(uint64_t(1) << next->number % 64);
        go_to(next);
    } else if (alive == 0) {
        go_to(&outside);
    } else {
        stuck("deadlock");
    }
}

/* Opens the barrier when all the block's threads are there. */
void barrier_try() {
    if (waiting == 0 || waiting < alive) { return; }
    if (alive < thread_count) { stuck("a barrier that threads which are done will never reach"); }
    for (unsigned i = 0; i < thread_count; i++) {
        if (pool[i]->at.line != pool[0]->at.line ||
            strcmp(pool[i]->at.file, pool[0]->at.file) != 0) {
            stuck("threads of one block at different barriers");
        }
    }
    waiting = 0;
    barriers_passed++;
    for (unsigned i = 0; i < thread_count; i++) {
        make_ready(i);
    }
}

/* What every fiber does for ever: one thread of one block after the other. */
void fiber_life() {
    fiber_landed();
    for (;;) {
        acquire(&edge_begin);
        body(body_context);
        release(&edge_end);
        if (current->copies.count > 0) { fault("a thread ends before its copies have"); }
        current->copies.groups = 0;
        current->state = done;
        alive--;
        barrier_try();
        go_on();
    }
}

/* ---- shared memory --------------------------------------------------------------------------- */

void *piece_take(size_t bytes) {
#if defined(CUDA_HOST_TSAN) /* malloc would look like a write of the fiber that calls */
    alignas(128) static char arena[512 * 1024];
    if (arena_used + bytes > sizeof arena) { fault("too much shared memory"); }
    void *memory = arena + arena_used;
    arena_used += (bytes + 127) & ~size_t(127);
#else
    void *memory = aligned_alloc(128, (bytes + 127) & ~size_t(127));
    if (bytes % 128 != 0) { /* so that AddressSanitizer knows the true end */
        free(memory);
        memory = malloc(bytes);
    }
    if (memory == nullptr) { fault("no memory for %zu bytes of shared memory", bytes); }
#endif
    fill_bytes(memory, 0xff, bytes);
    return memory;
}

void pieces_free(std::vector<piece> *pieces) {
#if !defined(CUDA_HOST_TSAN)
    for (const piece &p : *pieces) {
        free(p.memory);
    }
#endif
    pieces->clear();
}

void run_block() {
    shared_used = 0;
    arena_used = 0;
    alive = thread_count;
    waiting = 0;
    for (unsigned t = 0; t < thread_count; t++) {
        pool[t]->index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
        make_ready(t);
    }
    release(&edge_begin);
    go_on();
    acquire(&edge_end);
    pieces_free(&dynamic_pieces);
    pieces_free(&static_pieces);
    counts.threads += thread_count;
}

void run_blocks(dim3 grid) {
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    std::vector<uint32_t> sequence(blocks);

    for (uint64_t i = 0; i < blocks; i++) {
        sequence[i] = uint32_t(order == CUDA_HOST_DESCENDING ? blocks - 1 - i : i);
    }
    for (uint64_t i = blocks; order == CUDA_HOST_SHUFFLED && i > 1; i--) {
        std::swap(sequence[i - 1], sequence[(next_random() >> 16) % i]);
    }
    for (uint32_t i : sequence) {
        blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
        run_block();
    }
}

/* Shared memory of unspecified alignment beyond malloc's 16 bytes is what the takes promise. */
int launch_check(const void *kernel, dim3 grid, dim3 block, size_t shared_bytes) {
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    const auto limit = shared_limit.find(kernel);

    if (threads == 0 || threads > threads_max || block.z > 64) {
        return cudaErrorInvalidConfiguration;
    }
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
        grid.z > 65535) {
        return cudaErrorInvalidConfiguration;
    }
    if (shared_bytes > (limit == shared_limit.end() ? SHARED_BYTES_PLAIN : limit->second)) {
        return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}

} // namespace

std::mutex &door() {
    return the_door;
}

void fault(const char *format, ...) {
    va_list list;

    va_start(list, format);
    fprintf(stderr, "cuda_host: ");
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\n  in %s, block (%u,%u,%u) thread (%u,%u,%u)\n", what, blockIdx.x, blockIdx.y,
            blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    if (__sanitizer_print_stack_trace != nullptr) { __sanitizer_print_stack_trace(); }
    abort();
}

void fill_bytes(void *memory, unsigned char value, size_t bytes) {
#if defined(__x86_64__)
    __asm__ volatile("rep stosb" : "+D"(memory), "+c"(bytes) : "a"(value) : "memory");
#else
    volatile unsigned char *byte = static_cast<unsigned char *>(memory);
    for (size_t i = 0; i < bytes; i++) {
        byte[i] = value;
    }
#endif
}

copies &copies_of_thread() {
    if (current == &outside) { fault("copy_async outside of a kernel"); }
    return current->copies;
}

void barrier(site at) {
    if (current == &outside) { fault("__syncthreads outside of a kernel"); }
    char *edge = &edge_barrier[barriers_passed & 1];
    release(edge);
    current->state = at_barrier;
    current->operation = "__syncthreads";
    current->at = at;
    waiting++;
    barrier_try();
    go_on();
    acquire(edge);
}

void warp_meet(const char *name, warp_function function, unsigned mask, void *arg,
               bool orders_memory, site at) {
    if (current == &outside) { fault("%s outside of a kernel", name); }
    const unsigned warp = current->number / 32, me = current->number % 32, first = warp * 32;
    const unsigned there =
        thread_count - first >= 32 ? 0xffffffffu : (1u << (thread_count - first)) - 1;
    if ((mask >> me & 1u) == 0) {
        fault("%s: lane %u calls with mask %08x, which leaves it out", name, me, mask);
    }
    if ((mask & ~there) != 0) {
        fault("%s: mask %08x names lanes that the block of %u threads does not have", name, mask,
              thread_count);
    }
    char *edge = &edge_warp[warp][warps_passed[warp] & 1];
    if (orders_memory) { release(edge); }
    current->state = at_warp;
    current->operation = name;
    current->at = at;
    current->function = function;
    current->mask = mask;
    current->arg = arg;

    void *args[32] = {};
    bool all = true;
    for (unsigned lanes = mask; lanes != 0 && all; lanes &= lanes - 1) {
        const unsigned lane = unsigned(__builtin_ctz(lanes));
        const fiber *f = pool[first + lane];
        all = f->state == at_warp && f->mask == mask && f->function == function;
        args[lane] = f->arg;
    }
    if (all) {
        function(args, mask);
        warps_passed[warp]++;
        for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
            make_ready(first + unsigned(__builtin_ctz(lanes)));
        }
    }
    go_on();
    if (orders_memory) { acquire(edge); }
}

void may_yield() {
    if (order != CUDA_HOST_SHUFFLED || current == &outside || (next_random() >> 30 & 1) != 0) {
        return;
    }
    make_ready(current->number);
    go_on();
}

void fence() {
    release(&edge_fence);
    acquire(&edge_fence);
}

void *shared_static(const char *key, size_t bytes) {
    if (current == &outside) { fault("shared memory outside of a kernel"); }
    for (const piece &p : static_pieces) {
        if (p.key == key) { return p.memory; }
    }
    static_pieces.push_back({piece_take(bytes), bytes, key});
    return static_pieces.back().memory;
}

void *shared_piece(unsigned number, size_t bytes) {
    if (number > dynamic_pieces.size()) { fault("threads take shared memory in different order"); }
    if (number == dynamic_pieces.size()) {
        shared_used += (bytes + 15) & ~size_t(15);
        if (shared_used > shared_asked) {
            fault("shared memory: %zu bytes taken, launched with %zu", shared_used, shared_asked);
        }
        dynamic_pieces.push_back({piece_take(bytes), bytes, nullptr});
    }
    if (dynamic_pieces[number].bytes != bytes) {
        fault("threads take different amounts of shared memory");
    }
    return dynamic_pieces[number].memory;
}

int allow_shared(const void *kernel, size_t bytes) {
    if (bytes > shared_bytes_most) { return cudaErrorInvalidValue; }
    shared_limit[kernel] = bytes;
    return cudaSuccess;
}

int run(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared_bytes,
        void (*kernel_body)(void *), void *context) {
    if (running && current != &outside) { fault("launch from inside a kernel"); }
    const std::lock_guard<std::mutex> lock(door());
    int e = runtime_call();
    if (e == cudaSuccess) { e = launch_check(kernel, grid, block, shared_bytes); }
    if (e != cudaSuccess) { return e; }

    thread_count = block.x * block.y * block.z;
    while (pool.size() < thread_count) {
        auto *f = new fiber{};
        f->number = unsigned(pool.size());
        f->state = done;
        fiber_make(&f->stack, fiber_life);
        pool.push_back(f);
    }
    fiber_adopt(&outside.stack);
    what = name;
    shared_asked = shared_bytes;
    body = kernel_body;
    body_context = context;
    gridDim = grid;
    blockDim = block;
    counts.launches++;
    running = true;
    device_open(true);
    run_blocks(grid);
    device_open(false);
    running = false;
    return cudaSuccess;
}

} // namespace cuda_host

bool cuda_host_is_there(void) {
    return true;
}

void cuda_host_set_order(enum cuda_host_order order, uint64_t seed) {
    cuda_host::order = order;
    cuda_host::random_state = seed * 0x9e3779b97f4a7c15u | 1u;
}

struct cuda_host_counts cuda_host_counts_now(void) {
    return cuda_host::counts;
}
