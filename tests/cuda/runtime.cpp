/* SPDX-License-Identifier: Apache-2.0
 *
 * runtime.cpp - CUDA's runtime API over host memory, with guard zones and failures on demand.
 *
 *   cudaMalloc: [ 256 bytes of 0xa5 ][ the bytes, full of 0xff ][ 256 bytes of 0xa5 ]
 *
 * Under AddressSanitizer the zones are poisoned, and outside of kernels the bytes too: host code
 * that follows a device pointer is reported. */
#include "tests/cuda/executor.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>

#include "kernels/cuda/port.h"
#include "tests/cuda/cuda_host_control.h"

#if defined(CUDA_HOST_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace {

constexpr size_t zone = 256;
constexpr unsigned char zone_byte = 0xa5;
constexpr size_t device_bytes_total = size_t(8) << 30;

auto &device = *new std::map<char *, size_t>, &pinned = *new std::map<char *, size_t>;
uint64_t device_bytes, pinned_bytes;
long fail_in;
int fail_error;
bool failed, broken_zone;

using cuda_host::door;
using lock = std::lock_guard<std::mutex>;

void poison([[maybe_unused]] const char *p, [[maybe_unused]] size_t n, [[maybe_unused]] bool on) {
#if defined(CUDA_HOST_ASAN)
    if (on) {
        __asan_poison_memory_region(p, n);
    } else {
        __asan_unpoison_memory_region(p, n);
    }
#endif
}

bool zone_whole(const char *p, size_t bytes) {
    bool whole = true;

    poison(p, bytes, false);
    for (size_t i = 0; i < bytes; i++) {
        whole = whole && static_cast<unsigned char>(p[i]) == zone_byte;
    }
    poison(p, bytes, true);
    return whole;
}

bool zones_whole(const char *p, size_t bytes) {
    return zone_whole(p - zone, zone) && zone_whole(p + bytes, zone);
}

/* [p, p+n): inside one device allocation 1, clear of all 0, across an edge -1. */
int span(const void *p, size_t n) {
    const char *low = static_cast<const char *>(p), *high = low + n;
    int result = 0;

    for (const auto &d : device) {
        if (low >= d.first && high <= d.first + d.second) { return 1; }
        if (low < d.first + d.second && high > d.first) { result = -1; }
    }
    return result;
}

bool sides_right(const void *to, const void *from, size_t to_bytes, size_t from_bytes,
                 cudaMemcpyKind kind) {
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;

    return span(to, to_bytes) == int(to_device) && span(from, from_bytes) == int(from_device);
}

} // namespace

namespace cuda_host {

int runtime_call() {
    if (fail_in == 0 || --fail_in != 0) { return cudaSuccess; }
    failed = true;
    return fail_error;
}

void device_open(bool open) {
    for (const auto &d : device) {
        poison(d.first, d.second, !open);
    }
}

} // namespace cuda_host

/* ---- what tests say -------------------------------------------------------------------------- */

void cuda_host_fail(long nth, int error) {
    fail_in = nth;
    fail_error = error;
    failed = false;
}
bool cuda_host_failed(void) {
    return failed;
}
uint64_t cuda_host_device_bytes(void) {
    return device_bytes;
}
uint64_t cuda_host_pinned_bytes(void) {
    return pinned_bytes;
}
bool cuda_host_guards_whole(void) {
    const lock hold(door());

    for (const auto &d : device) {
        if (!zones_whole(d.first, d.second)) { broken_zone = true; }
    }
    return !broken_zone;
}

/* ---- devices --------------------------------------------------------------------------------- */

#define CALL()                                        \
    const lock hold(door());                          \
    const cudaError_t e_ = cuda_host::runtime_call(); \
    if (e_ != cudaSuccess) { return e_; }

cudaError_t cudaGetDeviceCount(int *count) {
    CALL();
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int number) {
    CALL();
    return number == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int number) {
    CALL();
    if (number != 0) { return cudaErrorInvalidDevice; }
    *value = attribute == cudaDevAttrMultiProcessorCount      ? 4
             : attribute == cudaDevAttrComputeCapabilityMajor ? 8
                                                              : 0;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    CALL();
    *version = 0; /* the executor's */
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
    CALL();
    *version = 0;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    CALL();
    *free_bytes = device_bytes_total - device_bytes;
    *total_bytes = device_bytes_total;
    return cudaSuccess;
}

/* ---- memory ---------------------------------------------------------------------------------- */

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    CALL();
    char *all =
        bytes <= device_bytes_total - device_bytes
            ? static_cast<char *>(aligned_alloc(256, (2 * zone + bytes + 255) & ~size_t(255)))
            : nullptr;
    if (all == nullptr) { return cudaErrorMemoryAllocation; }
    char *p = all + zone;
    cuda_host::fill_bytes(all, zone_byte, 2 * zone + bytes);
    cuda_host::fill_bytes(p, 0xff, bytes);
    poison(all, 2 * zone + bytes, true);
    device[p] = bytes;
    device_bytes += bytes;
    *memory = p;
    return cudaSuccess;
}
/* What gives back does so even when it is to fail: nothing may leak for that. */
cudaError_t cudaFree(void *memory) {
    const lock hold(door());
    const cudaError_t e = cuda_host::runtime_call();
    if (memory == nullptr) { return e; }
    const auto at = device.find(static_cast<char *>(memory));
    if (at == device.end()) { return cudaErrorInvalidValue; }
    if (!zones_whole(at->first, at->second)) { broken_zone = true; }
    poison(at->first - zone, 2 * zone + at->second, false);
    device_bytes -= at->second;
    free(at->first - zone);
    device.erase(at);
    return e;
}
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    CALL();
    char *p = static_cast<char *>(malloc(bytes));
    if (p == nullptr) { return cudaErrorMemoryAllocation; }
    cuda_host::fill_bytes(p, 0xff, bytes);
    pinned[p] = bytes;
    pinned_bytes += bytes;
    *memory = p;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *memory) {
    const lock hold(door());
    const cudaError_t e = cuda_host::runtime_call();
    const auto at = pinned.find(static_cast<char *>(memory));
    if (at == pinned.end()) { return cudaErrorInvalidValue; }
    pinned_bytes -= at->second;
    free(at->first);
    pinned.erase(at);
    return e;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
    CALL();
    if (!sides_right(to, from, bytes, bytes, kind)) { return cudaErrorInvalidValue; }
    cuda_host::device_open(true);
    memmove(to, from, bytes);
    cuda_host::device_open(false);
    return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t) {
    CALL();
    if (height == 0 || width == 0) { return cudaSuccess; }
    if (width > to_pitch || width > from_pitch ||
        !sides_right(to, from, to_pitch * (height - 1) + width, from_pitch * (height - 1) + width,
                     kind)) {
        return cudaErrorInvalidValue;
    }
    cuda_host::device_open(true);
    for (size_t i = 0; i < height; i++) {
        memmove(static_cast<char *>(to) + i * to_pitch,
                static_cast<const char *>(from) + i * from_pitch, width);
    }
    cuda_host::device_open(false);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t) {
    CALL();
    if (span(memory, bytes) != 1) { return cudaErrorInvalidValue; }
    cuda_host::device_open(true);
    cuda_host::fill_bytes(memory, static_cast<unsigned char>(value), bytes);
    cuda_host::device_open(false);
    return cudaSuccess;
}

/* ---- streams, events: everything has happened when it was asked for --------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    CALL();
    *stream = reinterpret_cast<cudaStream_t>(malloc(1));
    return *stream == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    const lock hold(door());
    free(reinterpret_cast<void *>(stream));
    return cuda_host::runtime_call();
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
    CALL();
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    CALL();
    *event = reinterpret_cast<cudaEvent_t>(malloc(1));
    return *event == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    const lock hold(door());
    free(reinterpret_cast<void *>(event));
    return cuda_host::runtime_call();
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
    CALL();
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
    CALL();
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute, int value) {
    CALL();
    return cuda_host::allow_shared(kernel, size_t(value));
}
cudaError_t cudaGetLastError() {
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    default: return "unspecified";
    }
}
const char *cudaGetErrorName(cudaError_t e) {
    return cudaGetErrorString(e);
}
