/* SPDX-License-Identifier: Apache-2.0
 *
 * backend.c - the CPU backend as an object: memory, scratch, the first fault, the choice of
 * instruction set.
 *
 * Failure: an operator can only fail for want of memory (scratch, oneDNN). The first such failure
 * stays here and synchronise returns it; operators after it may leave their outputs as they
 * were. */
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/engine.h"

#define MEMORY_ALIGNMENT 64u /* bytes: one cache line, one vector of sixteen floats */

enum status cpu_memory_take(size_t bytes, void **ret_memory, struct error *err) {
    assert(bytes > 0);
    void *memory = memory_take_aligned(MEMORY_ALIGNMENT, bytes);
    if (memory == NULL) { return error_set(err, STATUS_NO_MEMORY, "%zu bytes", bytes); }
    memset(memory, 0, bytes);
    *ret_memory = memory;
    return STATUS_OK;
}

void cpu_fault(struct cpu_backend *cpu, const struct error *err) {
    if (cpu->fault.code == STATUS_OK) { cpu->fault = *err; }
}

void *cpu_scratch(struct cpu_backend *cpu, enum scratch slot, size_t bytes) {
    struct error err = {0};

    assert(slot < SCRATCH_COUNT);
    if (bytes <= cpu->scratch_bytes[slot]) { return cpu->scratch[slot]; }
    memory_free(cpu->scratch[slot]);
    cpu->scratch[slot] = NULL;
    cpu->scratch_bytes[slot] = 0;
    size_t rounded = bytes + bytes / 4; /* a quarter more: row counts creep up, then stay */
    if (cpu_memory_take(rounded, &cpu->scratch[slot], &err) != STATUS_OK) {
        (void)error_wrap(&err, "scratch of an operator");
        cpu_fault(cpu, &err);
        return NULL;
    }
    cpu->scratch_bytes[slot] = rounded;
    return cpu->scratch[slot];
}

/* ---- table: memory --------------------------------------------------------------------------- */

static enum status table_memory_take(struct backend *be, size_t bytes, void **ret_memory,
                                     struct error *err) {
    (void)be;
    return cpu_memory_take(bytes, ret_memory, err);
}

static void table_memory_give(struct backend *be, void *memory) {
    (void)be;
    memory_free(memory);
}

static enum status synchronise(struct backend *be, struct error *err) {
    struct cpu_backend *cpu = cpu_of(be);

    if (cpu->fault.code == STATUS_OK) { return STATUS_OK; }
    enum status status = error_set(err, cpu->fault.code, "%s", cpu->fault.text);
    cpu->fault = (struct error){0};
    return status;
}

static enum status upload(struct backend *be, struct tensor dst, const void *host,
                          struct error *err) {
    size_t row_bytes = (size_t)dst.cols * dtype_bytes(dst.dtype);

    for (int n = 0; n < dst.rows; n++) {
        memcpy(tensor_rows(dst, n, 1).data, (const unsigned char *)host + (size_t)n * row_bytes,
               row_bytes);
    }
    return synchronise(be, err);
}

static enum status download(struct backend *be, void *host, struct tensor src, struct error *err) {
    size_t row_bytes = (size_t)src.cols * dtype_bytes(src.dtype);

    enum status status = synchronise(be, err);
    if (status != STATUS_OK) { return status; }
    for (int n = 0; n < src.rows; n++) {
        memcpy((unsigned char *)host + (size_t)n * row_bytes, tensor_rows(src, n, 1).data,
               row_bytes);
    }
    return STATUS_OK;
}

static void cpu_free(struct backend *be) {
    struct cpu_backend *cpu = cpu_of(be);

    if (cpu == NULL) { return; }
    engine_close(cpu->engine);
    for (int slot = 0; slot < SCRATCH_COUNT; slot++) {
        memory_free(cpu->scratch[slot]);
    }
    memory_free(cpu);
}

/* ---- choice of instruction set --------------------------------------------------------------- */

#ifdef ILORA_X86
static bool cpu_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}
static bool cpu_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

/* Fills the table with the best copies this CPU can run, at most `limit` ("base", "avx2" or
 * "avx512"), and returns the name of the set taken. */
static const char *table_fill(struct cpu_backend *cpu, const char *limit) {
#ifdef ILORA_X86
    bool wide = strcmp(limit, "avx512") == 0;
    if (wide && cpu_has_avx512()) {
        cpu_table_avx512(&cpu->ops, &cpu->loops);
        return "avx512";
    }
    if ((wide || strcmp(limit, "avx2") == 0) && cpu_has_avx2()) {
        cpu_table_avx2(&cpu->ops, &cpu->loops);
        return "avx2";
    }
#endif
    (void)limit;
    cpu_table_base(&cpu->ops, &cpu->loops);
    return "base";
}

enum status backend_cpu_new(int threads, struct backend **ret_backend, struct error *err) {
    return backend_cpu_new_with(threads, "avx512", ret_backend, err);
}

enum status backend_cpu_new_with(int threads, const char *isa_limit, struct backend **ret_backend,
                                 struct error *err) {
    void *memory = NULL;
    char engine_words[96];

    assert(threads >= 1);
    enum status status = cpu_memory_take(sizeof(struct cpu_backend), &memory, err);
    if (status != STATUS_OK) { return error_wrap(err, "CPU backend"); }
    struct cpu_backend *cpu = memory;
    const char *isa = table_fill(cpu, isa_limit);
    cpu->ops.name = "cpu";
    cpu->ops.memory_take = table_memory_take;
    cpu->ops.memory_give = table_memory_give;
    cpu->ops.upload = upload;
    cpu->ops.download = download;
    cpu->ops.synchronise = synchronise;
    cpu->ops.free = cpu_free;
    linear_install(&cpu->ops);
    cpu->base.ops = &cpu->ops;
    cpu->base.threads = threads;

    status = engine_open(cpu, &cpu->engine, err);
    if (status != STATUS_OK) {
        cpu_free(&cpu->base);
        return error_wrap(err, "CPU backend");
    }
    engine_describe(cpu->engine, engine_words, sizeof engine_words);
    (void)snprintf(cpu->base.profile, sizeof cpu->base.profile,
                   "cpu loops=%s products=%s threads=%d", isa, engine_words,
                   threads); /* cut at the end when too long */
    *ret_backend = &cpu->base;
    return STATUS_OK;
}
