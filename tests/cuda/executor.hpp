/* SPDX-License-Identifier: Apache-2.0
 *
 * executor.hpp - what executor.cpp and runtime.cpp tell each other. */
#ifndef TESTS_CUDA_EXECUTOR_HPP
#define TESTS_CUDA_EXECUTOR_HPP

#include <cstddef>
#include <mutex>

namespace cuda_host {

/* Held during a launch and every call of the runtime. */
std::mutex &door();
/* Device memory may be touched (a kernel runs) or not (AddressSanitizer then reports the host). */
void device_open(bool open);
/* Bytes without a call that a sanitizer or the compiler would take for its own. */
void fill_bytes(void *memory, unsigned char value, size_t bytes);

} // namespace cuda_host

#endif
