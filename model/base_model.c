/* SPDX-License-Identifier: Apache-2.0
 *
 * base_model.c - reads a checkpoint's tensors and packs them for products.
 *
 * Why stacked: x W_q^T, x W_k^T and x W_v^T read the same x, so one product of the stacked matrix
 * reads and rounds x once. A matrix is read to the host in f32, packed by the backend, and dropped.
 * Failure: NO_MEMORY, or CONFIG from the checkpoint with the tensor's name; nothing is left behind.
 * Thread: the caller's, at start. */
#include "model/base_model.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "model/rope.h"

#define NAME_BYTES 128

/* One part of a stacked matrix: its HF name and rows. */
struct part {
    const char *name;
    int rows;
};

static size_t largest_matrix(const struct model_description *d) {
    size_t qkv = (size_t)(d->H + 2 * d->G) * (size_t)d->D * (size_t)d->C;
    size_t gate_up = 2 * (size_t)d->F * (size_t)d->C;
    size_t embedding = (size_t)d->V * (size_t)d->C;
    size_t largest = qkv > gate_up ? qkv : gate_up;
    return largest > embedding ? largest : embedding;
}

/* Floats of all gains and biases. */
static size_t vector_floats(const struct model_description *d) {
    size_t a_layer = 2 * (size_t)d->C;
    if (d->qkv_bias) { a_layer += (size_t)(d->H + 2 * d->G) * (size_t)d->D; }
    if (d->qk_norm) { a_layer += 2 * (size_t)d->D; }
    return (size_t)d->L * a_layer + (size_t)d->C;
}

/* ---- without reading it ---- */

static size_t matrix_bytes(const struct base_model_form *form, int O, int I) {
    size_t element = form->precision == PRECISION_BF16 ? 2 : 4, pad = (size_t)form->row_bytes;
    size_t row = ((size_t)I * element + pad - 1) / pad * pad;
    return (size_t)form->copies * (size_t)O * row;
}

size_t base_model_measure(const struct model_description *d, const struct base_model_form *form) {
    int q = d->H * d->D, kv = d->G * d->D;
    size_t layer = matrix_bytes(form, q + 2 * kv, d->C) + matrix_bytes(form, d->C, q) +
                   matrix_bytes(form, 2 * d->F, d->C) + matrix_bytes(form, d->C, d->F);
    size_t head = form->head ? matrix_bytes(form, d->V, d->C) : 0;
    int rope_rows = d->context < ROPE_ROWS_MAX ? d->context : ROPE_ROWS_MAX;
    size_t floats =
        (size_t)d->V * (size_t)d->C + vector_floats(d) + (size_t)rope_rows * (size_t)d->D;
    return (size_t)d->L * layer + head + floats * sizeof(float);
}

size_t base_model_parameters(const struct model_description *d) {
    size_t layer = (size_t)(d->H + 2 * d->G) * (size_t)d->D * (size_t)d->C +
                   (size_t)d->C * (size_t)(d->H * d->D) + 3 * (size_t)d->F * (size_t)d->C;
    size_t heads = d->tied_head ? 1 : 2;
    return heads * (size_t)d->V * (size_t)d->C + (size_t)d->L * layer + vector_floats(d);
}

static enum status read_layer_part(struct checkpoint *checkpoint, int layer, const char *part,
                                   int rows, int cols, float *ret_values, struct error *err) {
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "model.layers.%d.%s", layer, part);
    return checkpoint_read(checkpoint, name, rows, cols, ret_values, err);
}

/* Reads the parts under one another and packs them as one weight. */
static enum status make_stacked(struct base_model *base, struct checkpoint *checkpoint, int layer,
                                const struct part *parts, int count, int cols, float *host,
                                struct weight **ret_weight, struct error *err) {
    int rows = 0;
    for (int i = 0; i < count; i++) {
        enum status status = read_layer_part(checkpoint, layer, parts[i].name, parts[i].rows, cols,
                                             host + (size_t)rows * (size_t)cols, err);
        if (status != STATUS_OK) { return status; }
        rows += parts[i].rows;
    }

    const struct backend_ops *ops = base->be->ops;
    enum status status = ops->weight_make(base->be, host, rows, cols, base->for_training,
                                          base->precision, ret_weight, err);
    if (status != STATUS_OK) { return error_wrap(err, "packing layer %d", layer); }
    base->bytes += ops->weight_bytes(*ret_weight);
    return STATUS_OK;
}

static enum status load_matrices(struct base_model *base, struct checkpoint *checkpoint, int layer,
                                 float *host, struct error *err) {
    const struct model_description *d = &base->description;
    struct base_layer *l = &base->layers[layer];
    const struct part qkv[] = {{"self_attn.q_proj.weight", d->H * d->D},
                               {"self_attn.k_proj.weight", d->G * d->D},
                               {"self_attn.v_proj.weight", d->G * d->D}};
    const struct part o[] = {{"self_attn.o_proj.weight", d->C}};
    const struct part gate_up[] = {{"mlp.gate_proj.weight", d->F}, {"mlp.up_proj.weight", d->F}};
    const struct part down[] = {{"mlp.down_proj.weight", d->C}};

    enum status status = make_stacked(base, checkpoint, layer, qkv, 3, d->C, host, &l->qkv, err);
    if (status != STATUS_OK) { return status; }
    status = make_stacked(base, checkpoint, layer, o, 1, d->H * d->D, host, &l->o, err);
    if (status != STATUS_OK) { return status; }
    status = make_stacked(base, checkpoint, layer, gate_up, 2, d->C, host, &l->gate_up, err);
    if (status != STATUS_OK) { return status; }
    return make_stacked(base, checkpoint, layer, down, 1, d->F, host, &l->down, err);
}

/* The next (1, cols) of the slab of vectors. */
static struct tensor next_vector(struct base_model *base, size_t *used, int cols) {
    float *data = (float *)base->vectors.data + *used;
    *used += (size_t)cols;
    return tensor_over(data, DTYPE_F32, 1, cols);
}

static enum status load_vectors(struct base_model *base, struct checkpoint *checkpoint, int layer,
                                float *host, size_t *used, struct error *err) {
    const struct model_description *d = &base->description;
    struct base_layer *l = &base->layers[layer];
    int q = d->H * d->D, k = d->G * d->D;
    l->norm1 = next_vector(base, used, d->C);
    l->norm2 = next_vector(base, used, d->C);
    l->qkv_bias = d->qkv_bias ? next_vector(base, used, q + 2 * k) : tensor_none();
    l->q_norm = d->qk_norm ? next_vector(base, used, d->D) : tensor_none();
    l->k_norm = d->qk_norm ? next_vector(base, used, d->D) : tensor_none();

    const struct {
        const char *name;
        struct tensor dst;
    } vectors[] = {
        {"input_layernorm.weight", l->norm1},
        {"post_attention_layernorm.weight", l->norm2},
        {"self_attn.q_proj.bias", d->qkv_bias ? tensor_cols(l->qkv_bias, 0, q) : tensor_none()},
        {"self_attn.k_proj.bias", d->qkv_bias ? tensor_cols(l->qkv_bias, q, k) : tensor_none()},
        {"self_attn.v_proj.bias", d->qkv_bias ? tensor_cols(l->qkv_bias, q + k, k) : tensor_none()},
        {"self_attn.q_norm.weight", l->q_norm},
        {"self_attn.k_norm.weight", l->k_norm},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct tensor dst = vectors[i].dst;
        if (tensor_is_none(dst)) { continue; }
        enum status status =
            read_layer_part(checkpoint, layer, vectors[i].name, 1, dst.cols, host, err);
        if (status != STATUS_OK) { return status; }
        dst.stride = dst.cols;
        status = base->be->ops->upload(base->be, dst, host, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status load_rope(struct base_model *base, struct error *err) {
    const struct model_description *d = &base->description;
    int rows = d->context < ROPE_ROWS_MAX ? d->context : ROPE_ROWS_MAX;
    enum status status = backend_tensor_take(base->be, DTYPE_F32, rows, d->D, &base->rope, err);
    if (status != STATUS_OK) { return status; }

    float *host = MEMORY_TAKE_ARRAY(float, (size_t)rows *(size_t)d->D);
    if (host == NULL) { return error_set(err, STATUS_NO_MEMORY, "rotary table of %d rows", rows); }
    rope_table_fill(d, rows, host);
    status = base->be->ops->upload(base->be, base->rope, host, err);
    memory_free(host);
    return status;
}

/* Embedding, final norm, and the head when it is a matrix of its own. */
static enum status load_ends(struct base_model *base, struct checkpoint *checkpoint, float *host,
                             size_t *used, struct error *err) {
    const struct model_description *d = &base->description;
    const struct backend_ops *ops = base->be->ops;
    enum status status =
        checkpoint_read(checkpoint, "model.embed_tokens.weight", d->V, d->C, host, err);
    if (status != STATUS_OK) { return status; }
    status = backend_tensor_take(base->be, DTYPE_F32, d->V, d->C, &base->embedding, err);
    if (status != STATUS_OK) { return status; }
    status = ops->upload(base->be, base->embedding, host, err);
    if (status != STATUS_OK) { return status; }

    base->final_norm = next_vector(base, used, d->C);
    status = checkpoint_read(checkpoint, "model.norm.weight", 1, d->C, host, err);
    if (status != STATUS_OK) { return status; }
    status = ops->upload(base->be, base->final_norm, host, err);
    if (status != STATUS_OK || d->tied_head) { return status; }

    status = checkpoint_read(checkpoint, "lm_head.weight", d->V, d->C, host, err);
    if (status != STATUS_OK) { return status; }
    status = ops->weight_make(base->be, host, d->V, d->C, base->for_training, base->precision,
                              &base->head, err);
    if (status != STATUS_OK) { return error_wrap(err, "packing the output head"); }
    base->head_backward = base->for_training;
    base->bytes += ops->weight_bytes(base->head);
    return STATUS_OK;
}

static enum status load_all(struct base_model *base, struct checkpoint *checkpoint, float *host,
                            struct error *err) {
    const struct model_description *d = &base->description;
    size_t floats = vector_floats(d);
    enum status status =
        backend_tensor_take(base->be, DTYPE_F32, 1, (int)floats, &base->vectors, err);
    if (status != STATUS_OK) { return status; }

    size_t used = 0;
    for (int i = 0; i < d->L; i++) {
        status = load_matrices(base, checkpoint, i, host, err);
        if (status != STATUS_OK) { return status; }
        status = load_vectors(base, checkpoint, i, host, &used, err);
        if (status != STATUS_OK) { return status; }
    }
    status = load_ends(base, checkpoint, host, &used, err);
    if (status != STATUS_OK) { return status; }
    assert(used == floats);
    status = load_rope(base, err);
    if (status != STATUS_OK) { return status; }

    base->bytes += (floats + (size_t)d->V * (size_t)d->C + (size_t)base->rope.rows * (size_t)d->D) *
                   sizeof(float);
    return STATUS_OK;
}

enum status base_model_load(struct backend *be, struct checkpoint *checkpoint,
                            enum precision precision, bool for_training,
                            struct base_model **ret_base, struct error *err) {
    struct base_model *base = MEMORY_TAKE_ARRAY(struct base_model, 1);
    float *host = NULL;
    enum status status = STATUS_OK;
    if (base == NULL) { return error_set(err, STATUS_NO_MEMORY, "base model"); }
    base->be = be;
    base->description = *checkpoint_description(checkpoint);
    base->precision = precision;
    base->for_training = for_training;

    base->layers = MEMORY_TAKE_ARRAY(struct base_layer, (size_t)base->description.L);
    host = MEMORY_TAKE_ARRAY(float, largest_matrix(&base->description));
    if (base->layers == NULL || host == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "base model: host copy of its largest matrix");
        goto fail;
    }
    status = load_all(base, checkpoint, host, err);
    if (status != STATUS_OK) { goto fail; }

    memory_free(host);
    *ret_base = base;
    return STATUS_OK;

fail:
    memory_free(host);
    base_model_free(base);
    return status;
}

static void free_weight(struct base_model *base, struct weight *weight) {
    if (weight != NULL) { base->be->ops->weight_free(base->be, weight); }
}

void base_model_free(struct base_model *base) {
    if (base == NULL) { return; }
    for (int i = 0; base->layers != NULL && i < base->description.L; i++) {
        free_weight(base, base->layers[i].qkv);
        free_weight(base, base->layers[i].o);
        free_weight(base, base->layers[i].gate_up);
        free_weight(base, base->layers[i].down);
    }
    free_weight(base, base->head);
    if (!tensor_is_none(base->embedding)) { backend_tensor_give(base->be, &base->embedding); }
    if (!tensor_is_none(base->vectors)) { backend_tensor_give(base->be, &base->vectors); }
    if (!tensor_is_none(base->rope)) { backend_tensor_give(base->be, &base->rope); }
    memory_free(base->layers);
    memory_free(base);
}

size_t base_model_bytes(const struct base_model *base) {
    return base->bytes;
}

const struct model_description *base_model_description(const struct base_model *base) {
    return &base->description;
}

enum status base_model_prepare_head(struct base_model *base, bool backward, struct error *err) {
    if (base->head != NULL && (base->head_backward || !backward)) { return STATUS_OK; }
    if (!base->description.tied_head) {
        return error_set(err, STATUS_CONFIG,
                         "training the title head: the base model was loaded for scoring only");
    }

    const struct model_description *d = &base->description;
    const struct backend_ops *ops = base->be->ops;
    float *host = MEMORY_TAKE_ARRAY(float, (size_t)d->V *(size_t)d->C);
    struct weight *head = NULL;
    if (host == NULL) { return error_set(err, STATUS_NO_MEMORY, "output head on the host"); }
    enum status status = ops->download(base->be, host, base->embedding, err);
    if (status == STATUS_OK) {
        status =
            ops->weight_make(base->be, host, d->V, d->C, backward, base->precision, &head, err);
    }
    memory_free(host);
    if (status != STATUS_OK) { return error_wrap(err, "packing the output head"); }

    if (base->head != NULL) {
        base->bytes -= ops->weight_bytes(base->head);
        ops->weight_free(base->be, base->head);
    }
    base->head = head;
    base->head_backward = backward;
    base->bytes += ops->weight_bytes(head);
    return STATUS_OK;
}
