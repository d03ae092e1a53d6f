/* SPDX-License-Identifier: Apache-2.0
 *
 * fibers.hpp - threads of a block as stacks that one OS thread switches between.
 *
 * A switch saves six registers and changes the stack pointer (x86-64; elsewhere ucontext). The
 * sanitizers are told: AddressSanitizer which stack is in use, ThreadSanitizer which "thread" runs,
 * without that a switch would order memory.
 */
#ifndef TESTS_CUDA_FIBERS_HPP
#define TESTS_CUDA_FIBERS_HPP

#include <cstddef>

namespace cuda_host {

struct fiber_stack {
    void *registers = nullptr;    /* stack pointer, or a ucontext_t */
    void *fake_stack = nullptr;   /* AddressSanitizer: frames that outlive a return */
    const void *bottom = nullptr; /* AddressSanitizer: the stack and its size */
    size_t bytes = 0;
    void *tsan = nullptr; /* ThreadSanitizer: the fiber's identity */
};

/* A new stack with a guard page below; entry must never return. Never given back: the leak checker
 * runs after everything else. */
void fiber_make(fiber_stack *fiber, void (*entry)());
/* The OS thread's own stack, to come back to. */
void fiber_adopt(fiber_stack *fiber);
/* Leaves `from`, goes on with `to`. */
void fiber_switch(fiber_stack *from, fiber_stack *to);
/* The first thing that an entry calls. */
void fiber_landed();

} // namespace cuda_host

#endif
