/* SPDX-License-Identifier: Apache-2.0
 *
 * cuda_host_control.h - what a test says to the executor; C and C++.
 *
 * The executor is one per process: its state is shared by all backends, launches of several threads
 * wait for each other. */
#ifndef TESTS_CUDA_CUDA_HOST_CONTROL_H
#define TESTS_CUDA_CUDA_HOST_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* False when the program runs on cards (card.c) and this machine has none. */
bool cuda_host_is_there(void);

/* Which thread of a block goes on and which block comes next, where there is a choice. */
enum cuda_host_order { CUDA_HOST_ASCENDING, CUDA_HOST_DESCENDING, CUDA_HOST_SHUFFLED };
void cuda_host_set_order(enum cuda_host_order order, uint64_t seed);

/* The n-th call of the runtime from now (1 = the next) returns `error` without doing anything; 0:
 * none. Launches count. */
void cuda_host_fail(long nth, int error);
/* True when the armed call came. */
bool cuda_host_failed(void);

/* Bytes of device memory that are taken, and of pinned memory. */
uint64_t cuda_host_device_bytes(void);
uint64_t cuda_host_pinned_bytes(void);
/* False when a guard zone of any device memory was written. */
bool cuda_host_guards_whole(void);

/* Since the start: kernels launched, threads run, switches between threads. */
struct cuda_host_counts {
    uint64_t launches, threads, switches;
};
struct cuda_host_counts cuda_host_counts_now(void);

#ifdef __cplusplus
}
#endif

#endif
