/* SPDX-License-Identifier: Apache-2.0
 *
 * plain_engine.c - the engine without oneDNN: every matrix is a plain_packed. */
#include "kernels/cpu/engine.h"

#include <stdio.h>

#include "base/memory.h"
#include "kernels/cpu/plain_packed.h"

struct engine {
    struct cpu_backend *cpu; /* borrows: until engine_close */
};

struct packed {
    struct plain_packed plain; /* owns */
};

bool backend_cpu_has_bf16(void) {
    return false;
}

enum status engine_open(struct cpu_backend *cpu, struct engine **ret_engine, struct error *err) {
    void *memory = NULL;

    enum status status = cpu_memory_take(sizeof(struct engine), &memory, err);
    if (status != STATUS_OK) { return error_wrap(err, "products"); }
    struct engine *engine = memory;
    engine->cpu = cpu;
    *ret_engine = engine;
    return STATUS_OK;
}

void engine_close(struct engine *engine) {
    memory_free(engine);
}

void engine_describe(const struct engine *engine, char *text, size_t text_bytes) {
    (void)engine;
    (void)snprintf(text, text_bytes, "plain"); /* fits: the caller gives 96 bytes */
}

enum status packed_make(struct engine *engine, const float *w, int O, int I, bool backward,
                        enum precision precision, struct packed **ret_packed, struct error *err) {
    void *memory = NULL;

    enum status status = cpu_memory_take(sizeof(struct packed), &memory, err);
    if (status != STATUS_OK) { return status; }
    struct packed *packed = memory;
    status = plain_packed_make(engine->cpu, w, O, I, backward, precision, &packed->plain, err);
    if (status != STATUS_OK) {
        memory_free(packed);
        return status;
    }
    *ret_packed = packed;
    return STATUS_OK;
}

void packed_free(struct packed *packed) {
    if (packed == NULL) { return; }
    plain_packed_free(&packed->plain);
    memory_free(packed);
}

size_t packed_bytes(const struct packed *packed) {
    return sizeof *packed + plain_packed_bytes(&packed->plain);
}

void packed_multiply(struct engine *engine, const struct packed *packed, struct tensor y,
                     struct tensor x, bool accumulate) {
    plain_packed_multiply(engine->cpu, &packed->plain, y, x, accumulate);
}
