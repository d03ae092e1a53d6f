/* SPDX-License-Identifier: Apache-2.0
 *
 * fibers.cpp - see fibers.hpp. Built without sanitizer instrumentation in every build:
 * CUDA_HOST_ASAN and CUDA_HOST_TSAN say which one the kernels are built with. */
#include "tests/cuda/fibers.hpp"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#if defined(CUDA_HOST_ASAN)
#include <sanitizer/common_interface_defs.h>
#elif defined(CUDA_HOST_TSAN)
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_host {
namespace {

constexpr size_t stack_bytes = 128 * 1024, guard_bytes = 4096;
fiber_stack *left; /* the fiber that the latest switch came from */
fiber_stack *here;

#if defined(__x86_64__)
extern "C" void cuda_host_swap(void **save, void *load);
__asm__(".text\n"
        ".globl cuda_host_swap\n"
        ".type cuda_host_swap,@function\n"
        "cuda_host_swap:\n"
        "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
        ".size cuda_host_swap,.-cuda_host_swap\n");

/* Registers in the order of the pops, then the entry that `ret` goes to and its own (null) return
 * address; the entry then finds the stack as a call leaves it. */
void prepare(fiber_stack *fiber, char *top, void (*entry)()) {
    void **word = reinterpret_cast<void **>(top);
    word[-1] = nullptr;
    word[-2] = reinterpret_cast<void *>(entry);
    for (int i = 3; i <= 8; i++) {
        word[-i] = nullptr;
    }
    fiber->registers = word - 8;
}
void swap(fiber_stack *from, fiber_stack *to) {
    cuda_host_swap(&from->registers, to->registers);
}
#else
void prepare(fiber_stack *fiber, char *top, void (*entry)()) {
    auto *context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = top - stack_bytes;
    context->uc_stack.ss_size = stack_bytes;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    fiber->registers = context;
}
void swap(fiber_stack *from, fiber_stack *to) {
    if (from->registers == nullptr) { from->registers = new ucontext_t; }
    swapcontext(static_cast<ucontext_t *>(from->registers),
                static_cast<ucontext_t *>(to->registers));
}
#endif

} // namespace

void fiber_make(fiber_stack *fiber, void (*entry)()) {
    void *memory = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
        perror("cuda_host: stack of a fiber");
        abort();
    }
    char *bottom = static_cast<char *>(memory) + guard_bytes;
    fiber->bottom = bottom;
    fiber->bytes = stack_bytes;
    prepare(fiber, bottom + stack_bytes, entry);
#if defined(CUDA_HOST_TSAN)
    fiber->tsan = __tsan_create_fiber(0);
#endif
}

void fiber_adopt([[maybe_unused]] fiber_stack *fiber) {
#if defined(CUDA_HOST_TSAN)
    fiber->tsan = __tsan_get_current_fiber();
#endif
}

void fiber_landed() {
#if defined(CUDA_HOST_ASAN)
    const void *bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(here->fake_stack, &bottom, &bytes);
    left->bottom = bottom; /* the OS thread's own stack becomes known this way */
    left->bytes = bytes;
#endif
}

void fiber_switch(fiber_stack *from, fiber_stack *to) {
    left = from;
    here = to;
#if defined(CUDA_HOST_ASAN)
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
#elif defined(CUDA_HOST_TSAN)
    __tsan_switch_to_fiber(to->tsan, __tsan_switch_to_fiber_no_sync);
#endif
    swap(from, to);
    fiber_landed();
}

} // namespace cuda_host
