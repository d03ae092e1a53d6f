/* SPDX-License-Identifier: Apache-2.0
 *
 * params.c - lays the trainable tensors out, starts them from a seed, moves slabs to and from the
 * host.
 *
 * Start (Hu et al. 2021; MODEL.md): A ~ Kaiming-uniform(sqrt 5), that is U(-1/sqrt(I), 1/sqrt(I));
 * B = 0, so the first forward pass is the base model; the stream gate 0, so it starts uniform, the
 * other gates as PyTorch starts their layers; projector as a linear layer's usual start (in the
 * stream its biases 0); P a tenth of that (the head starts quiet), P2 the identity (the mean item
 * vector asks for items like itself), b = 0. Numbers are Philox(seed, tensor index): the same on
 * every machine. Thread: that of the backend. */
#include "model/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

#define HEAD_QUIET        0.1 /* share of the usual start that P gets */
#define RNG_STREAM_PARAMS (UINT64_C(0x706172616d) << 16)

/* How a tensor starts: uniform within bound, or (bound 0) one value, or the identity. */
struct start {
    double bound;
    float value;
    bool identity;
};

/* The linear layers of a site in HF's words. */
struct site_words {
    int parts;
    const char *names[ADAPTER_PARTS_MAX];
};
static const struct site_words site_words[SITE_COUNT] = {
    [SITE_QKV] = {3, {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
    [SITE_O] = {1, {"self_attn.o_proj"}},
    [SITE_GATE_UP] = {2, {"mlp.gate_proj", "mlp.up_proj"}},
    [SITE_DOWN] = {1, {"mlp.down_proj"}},
};

static int site_in(const struct model_description *d, enum site_kind kind) {
    if (kind == SITE_O) { return d->H * d->D; }
    return kind == SITE_DOWN ? d->F : d->C;
}

static int site_out(const struct model_description *d, enum site_kind kind, int part) {
    if (kind == SITE_QKV) { return (part == 0 ? d->H : d->G) * d->D; }
    return kind == SITE_GATE_UP ? d->F : d->C;
}

/* Appends a tensor; the list has room (PARAMS_ constants). Returns its index. */
static int add_tensor(struct ilora_params *params, enum params_group group, int rows, int cols,
                      const char *name) {
    assert(params->count < params->capacity);
    assert(rows > 0 && cols > 0);

    struct ilora_tensor *t = &params->tensors[params->count];
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
    t->group = (int)group;
    t->offset = params->floats;
    params->floats += (size_t)rows * (size_t)cols;
    return params->count++;
}

static void align(struct ilora_params *params) {
    params->floats = (params->floats + PARAMS_ALIGNMENT_FLOATS - 1) / PARAMS_ALIGNMENT_FLOATS *
                     PARAMS_ALIGNMENT_FLOATS;
}

static void add_site(struct ilora_params *params, const struct model_description *d, int layer,
                     enum site_kind kind) {
    const struct site_words *words = &site_words[kind];
    char name[128];
    for (int j = 0; j < words->parts; j++) { /* adjacent: no alignment between the parts */
        (void)snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_A.weight",
                       layer, words->names[j]);
        (void)add_tensor(params, GROUP_ADAPTER, params->shape.R, site_in(d, kind), name);
    }
    align(params);
    for (int j = 0; j < words->parts; j++) {
        (void)snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_B.weight",
                       layer, words->names[j]);
        (void)add_tensor(params, GROUP_ADAPTER, site_out(d, kind, j), params->shape.R, name);
        align(params);
    }
}

static void add_beside(struct ilora_params *params, enum params_group group, int rows, int cols,
                       const char *name) {
    (void)add_tensor(params, group, rows, cols, name);
    align(params);
}

static void add_gate(struct ilora_params *params) {
    const struct ilora_shape *s = &params->shape;
    params->gate_offset = params->floats;
    if (s->gate != ILORA_GATE_RESNET) {
        add_beside(params, GROUP_GATE, s->K, s->E, "gate.weight");
        if (s->gate == ILORA_GATE_STREAM) { add_beside(params, GROUP_GATE, 1, s->K, "gate.bias"); }
        return;
    }
    for (int i = 0; i < GATE_RESNET_TENSORS; i++) {
        struct gate_resnet_tensor t;
        gate_resnet_describe(i, s->K, &t);
        add_beside(params, t.running ? GROUP_STATISTICS : GROUP_GATE, t.rows, t.cols, t.name);
    }
}

static void lay_out(struct ilora_params *params, const struct model_description *d) {
    const struct ilora_shape *s = &params->shape;
    for (int layer = 0; layer < d->L; layer++) {
        for (int kind = 0; kind < SITE_COUNT; kind++) {
            add_site(params, d, layer, (enum site_kind)kind);
        }
    }
    params->gate_first = params->count;
    add_gate(params);
    if (s->item_tokens) {
        add_beside(params, GROUP_PROJECTOR, s->projector_width, s->E, "projector.0.weight");
        add_beside(params, GROUP_PROJECTOR, 1, s->projector_width, "projector.0.bias");
        add_beside(params, GROUP_PROJECTOR, d->C, s->projector_width, "projector.2.weight");
        add_beside(params, GROUP_PROJECTOR, 1, d->C, "projector.2.bias");
    }
    if ((s->head & ILORA_HEAD_ITEM) != 0) {
        add_beside(params, GROUP_HEADS, s->E, d->C, "item_head.hidden.weight");
        add_beside(params, GROUP_HEADS, s->E, s->E, "item_head.history.weight");
        add_beside(params, GROUP_HEADS, 1, s->items_max, "item_head.bias");
    }
    params->floats = (params->floats + PARAMS_SLAB_COLS - 1) / PARAMS_SLAB_COLS * PARAMS_SLAB_COLS;
}

struct tensor ilora_params_tensor(const struct ilora_params *params, enum ilora_slab slab,
                                  int index) {
    assert(index >= 0 && index < params->count);
    if (tensor_is_none(params->slabs[slab])) { return tensor_none(); }

    const struct ilora_tensor *t = &params->tensors[index];
    return tensor_over((float *)params->slabs[slab].data + t->offset, DTYPE_F32, t->rows, t->cols);
}

static struct param param_at(const struct ilora_params *params, int index) {
    return (struct param){ilora_params_tensor(params, ILORA_VALUE, index),
                          ilora_params_tensor(params, ILORA_GRAD, index)};
}

/* The views that the rooms use, in the order of lay_out. */
static void set_views(struct ilora_params *params) {
    const struct ilora_shape *s = &params->shape;
    int index = 0;
    for (int i = 0; i < params->L * SITE_COUNT; i++) {
        struct adapter_site *site = &params->sites[i];
        site->parts = site_words[i % SITE_COUNT].parts;
        site->R = s->R;
        site->scale = s->alpha / (float)(s->R / s->K);
        site->down = ilora_params_tensor(params, ILORA_VALUE, index);
        site->ddown = ilora_params_tensor(params, ILORA_GRAD, index);
        site->down.rows = site->parts * s->R; /* the A that follow are adjacent */
        site->ddown.rows = tensor_is_none(site->ddown) ? 0 : site->parts * s->R;
        index += site->parts;
        for (int j = 0; j < site->parts; j++, index++) {
            site->up[j] = ilora_params_tensor(params, ILORA_VALUE, index);
            site->dup[j] = ilora_params_tensor(params, ILORA_GRAD, index);
        }
    }
    if (s->gate == ILORA_GATE_RESNET) {
        index += GATE_RESNET_TENSORS;
    } else {
        params->gate_weight = param_at(params, index++);
        if (s->gate == ILORA_GATE_STREAM) { params->gate_bias = param_at(params, index++); }
    }
    if (s->item_tokens) {
        params->projector_in = param_at(params, index++);
        params->projector_in_bias = param_at(params, index++);
        params->projector_out = param_at(params, index++);
        params->projector_out_bias = param_at(params, index++);
    }
    if ((s->head & ILORA_HEAD_ITEM) != 0) {
        params->head_hidden = param_at(params, index++);
        params->head_history = param_at(params, index++);
        params->head_bias = param_at(params, index++);
    }
    assert(index == params->count);
}

static struct start start_of_gate(const struct ilora_params *params, int index) {
    if (params->shape.gate == ILORA_GATE_STREAM) { return (struct start){0}; }
    if (params->shape.gate == ILORA_GATE_LINEAR) {
        return (struct start){.bound = 1.0 / sqrt((double)params->shape.E)};
    }
    struct gate_resnet_tensor t;
    gate_resnet_describe(index - params->gate_first, params->shape.K, &t);
    if (t.fan_in > 0) { return (struct start){.bound = 1.0 / sqrt((double)t.fan_in)}; }
    return (struct start){.value = t.start};
}

/* Its biases start at 0 in the stream, in exact mode as PyTorch's: within 1/sqrt(fan in) too. */
static struct start start_of_projector(const struct ilora_params *params,
                                       const struct ilora_tensor *t) {
    if (t->rows > 1) { return (struct start){.bound = 1.0 / sqrt((double)t->cols)}; }
    if (params->shape.gate == ILORA_GATE_STREAM) { return (struct start){0}; }
    bool inner = strcmp(t->name, "projector.0.bias") == 0;
    int fan_in = inner ? params->shape.E : params->shape.projector_width;
    return (struct start){.bound = 1.0 / sqrt((double)fan_in)};
}

static struct start start_of(const struct ilora_params *params, int index) {
    const struct ilora_tensor *t = &params->tensors[index];
    double usual = 1.0 / sqrt((double)t->cols);
    if (t->group == GROUP_GATE || t->group == GROUP_STATISTICS) {
        return start_of_gate(params, index);
    }
    if (strstr(t->name, ".lora_A.") != NULL) { return (struct start){.bound = usual}; }
    if (t->group == GROUP_PROJECTOR) { return start_of_projector(params, t); }
    if (strcmp(t->name, "item_head.hidden.weight") == 0) {
        return (struct start){.bound = usual * HEAD_QUIET};
    }
    return (struct start){.identity = strcmp(t->name, "item_head.history.weight") == 0};
}

static void start_tensor(const struct ilora_params *params, uint64_t seed, int index,
                         float *values) {
    const struct ilora_tensor *t = &params->tensors[index];
    struct start start = start_of(params, index);
    struct rng rng = rng_make(seed, RNG_STREAM_PARAMS + (uint64_t)index);
    size_t count = (size_t)t->rows * (size_t)t->cols;
    for (size_t i = 0; i < count && start.bound == 0.0; i++) {
        values[i] = start.value;
    }
    for (size_t i = 0; i < count && start.bound > 0.0; i++) {
        values[i] = (float)((2.0 * rng_unit(&rng) - 1.0) * start.bound);
    }
    for (int i = 0; i < t->rows && start.identity; i++) {
        values[(size_t)i * (size_t)t->cols + (size_t)i] = 1.0f;
    }
}

/* Writes the starting values into VALUE, and EMA where there is one. */
static enum status start_values(struct ilora_params *params, uint64_t seed, struct error *err) {
    float *host = MEMORY_TAKE_ARRAY(float, params->floats);
    if (host == NULL) { return error_set(err, STATUS_NO_MEMORY, "starting values on the host"); }
    for (int i = 0; i < params->count; i++) {
        start_tensor(params, seed, i, host + params->tensors[i].offset);
    }

    enum status status = ilora_params_write(params, ILORA_VALUE, host, err);
    if (status == STATUS_OK && params->trainable) {
        status = ilora_params_write(params, ILORA_EMA, host, err);
    }
    memory_free(host);
    return status;
}

static enum status check_shape(const struct ilora_shape *s, struct error *err) {
    if (s->R < 1 || s->K < 1 || s->K > 16 || s->R % s->K != 0) {
        return error_set(err, STATUS_CONFIG,
                         "iLoRA rank %d and %d experts: expected 1..16 experts "
                         "that divide the rank",
                         s->R, s->K);
    }
    if (s->E < 1 || !(s->alpha > 0.0f) || !(s->gate_floor >= 0.0f && s->gate_floor <= 1.0f)) {
        return error_set(err, STATUS_CONFIG,
                         "iLoRA alpha %g, gate floor %g, vector width %d: expected "
                         "alpha > 0, floor in [0,1], width > 0",
                         (double)s->alpha, (double)s->gate_floor, s->E);
    }
    if (s->item_tokens && s->projector_width < 1) {
        return error_set(err, STATUS_CONFIG, "projector width %d: expected > 0",
                         s->projector_width);
    }
    if ((s->head & ILORA_HEAD_ITEM) != 0 && s->items_max < 1) {
        return error_set(err, STATUS_CONFIG, "item head for %d items: expected items_max > 0",
                         s->items_max);
    }
    return STATUS_OK;
}

static enum status take_slabs(struct ilora_params *params, struct error *err) {
    int rows = (int)(params->floats / PARAMS_SLAB_COLS);
    int slabs = params->trainable ? ILORA_SLAB_COUNT : 1;
    for (int i = 0; i < slabs; i++) {
        enum status status = backend_tensor_take(params->be, DTYPE_F32, rows, PARAMS_SLAB_COLS,
                                                 &params->slabs[i], err);
        if (status != STATUS_OK) { return error_wrap(err, "trainable parameters"); }
    }
    return STATUS_OK;
}

enum status ilora_params_measure(const struct model_description *base,
                                 const struct ilora_shape *shape, size_t *ret_floats,
                                 struct error *err) {
    struct ilora_params list = {.shape = *shape,
                                .capacity = base->L * PARAMS_A_LAYER + PARAMS_BESIDE};

    enum status status = check_shape(shape, err);
    if (status != STATUS_OK) { return status; }
    list.tensors = MEMORY_TAKE_ARRAY(struct ilora_tensor, (size_t)list.capacity);
    if (list.tensors == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "list of %d parameters", list.capacity);
    }
    lay_out(&list, base);
    memory_free(list.tensors);
    *ret_floats = list.floats;
    return STATUS_OK;
}

enum status ilora_params_new(struct backend *be, const struct model_description *base,
                             const struct ilora_shape *shape, uint64_t seed, bool trainable,
                             struct ilora_params **ret_params, struct error *err) {
    enum status status = check_shape(shape, err);
    if (status != STATUS_OK) { return status; }
    struct ilora_params *params = MEMORY_TAKE_ARRAY(struct ilora_params, 1);
    if (params == NULL) { return error_set(err, STATUS_NO_MEMORY, "trainable parameters"); }
    params->be = be;
    params->shape = *shape;
    params->trainable = trainable;
    params->L = base->L;
    params->capacity = base->L * PARAMS_A_LAYER + PARAMS_BESIDE;
    params->tensors = MEMORY_TAKE_ARRAY(struct ilora_tensor, (size_t)params->capacity);
    params->sites = MEMORY_TAKE_ARRAY(struct adapter_site, (size_t)base->L * SITE_COUNT);
    if (params->tensors == NULL || params->sites == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "list of %d parameters", params->capacity);
        goto fail;
    }

    lay_out(params, base);
    status = take_slabs(params, err);
    if (status != STATUS_OK) { goto fail; }
    set_views(params);
    status = start_values(params, seed, err);
    if (status != STATUS_OK) { goto fail; }

    *ret_params = params;
    return STATUS_OK;

fail:
    ilora_params_free(params);
    return status;
}

void ilora_params_free(struct ilora_params *params) {
    if (params == NULL) { return; }
    for (int i = 0; i < ILORA_SLAB_COUNT; i++) {
        if (!tensor_is_none(params->slabs[i])) {
            backend_tensor_give(params->be, &params->slabs[i]);
        }
    }
    memory_free(params->tensors);
    memory_free(params->sites);
    memory_free(params);
}

const struct ilora_shape *ilora_params_shape(const struct ilora_params *params) {
    return &params->shape;
}

int ilora_params_count(const struct ilora_params *params) {
    return params->count;
}

const struct ilora_tensor *ilora_params_at(const struct ilora_params *params, int index) {
    assert(index >= 0 && index < params->count);
    return &params->tensors[index];
}

size_t ilora_params_floats(const struct ilora_params *params) {
    return params->floats;
}

enum status ilora_params_read(struct ilora_params *params, enum ilora_slab slab, float *ret_host,
                              struct error *err) {
    assert(!tensor_is_none(params->slabs[slab]));
    return params->be->ops->download(params->be, ret_host, params->slabs[slab], err);
}

enum status ilora_params_write(struct ilora_params *params, enum ilora_slab slab, const float *host,
                               struct error *err) {
    assert(!tensor_is_none(params->slabs[slab]));
    return params->be->ops->upload(params->be, params->slabs[slab], host, err);
}

const struct adapter_site *ilora_params_site(const struct ilora_params *params, int layer,
                                             enum site_kind kind) {
    assert(layer >= 0 && layer < params->L);
    return &params->sites[layer * SITE_COUNT + (int)kind];
}
