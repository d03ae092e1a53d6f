/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_run.c - the gate of a pack, whichever kind; and of a whole step where BatchNorm wants it.
 *
 *   gate_step_begin ─▶ weights of all samples ─pack by pack─▶ gate_run uploads the pack's,
 *   gate_step_collect takes its gradient back ─▶ gate_step_end: gradients of the network ─▶ GRAD
 *
 * The stream and the linear gate treat a row alone: they run with the pack, and the gate_step
 * functions have nothing to do for them. Failure: kept by the backend; LIMIT for a step of too many
 * samples, before anything ran. */
#include <string.h>

#include "model/language_model_state.h"

static bool is_resnet(const struct language_model *lm) {
    return lm->shape.gate == ILORA_GATE_RESNET;
}

/* The network's part of a slab: everything, or its running statistics alone. */
static struct tensor network_floats(const struct language_model *lm,
                                    const struct ilora_params *params, enum ilora_slab slab,
                                    size_t first, size_t count) {
    assert(params->shape.gate == ILORA_GATE_RESNET);
    assert(first + count <= lm->resnet.floats);
    float *data = (float *)params->slabs[slab].data + params->gate_offset + first;
    return tensor_over(data, DTYPE_F32, 1, (int)count);
}

/* ---- a pack ---------------------------------------------------------------------------------- */

static enum status upload_inputs(struct language_model *lm, const struct lm_sample *samples,
                                 struct error *err) {
    int B = lm->pack.samples, E = lm->shape.E;
    for (int b = 0; b < B; b++) {
        memcpy(lm->staging + (size_t)b * (size_t)E, samples[b].gate_input,
               (size_t)E * sizeof(float));
    }
    return lm->be->ops->upload(lm->be, first_rows(lm->gate.z, B), lm->staging, err);
}

static enum status resnet_weights(struct language_model *lm, const struct ilora_params *params,
                                  const struct lm_sample *samples, struct error *err) {
    struct gate_resnet *net = &lm->resnet;
    int B = lm->pack.samples, K = lm->shape.K;
    const float *weights = lm->gate_given;
    if (weights == NULL) {
        struct tensor from = network_floats(lm, params, ILORA_VALUE, 0, net->floats);
        enum status status = lm->be->ops->download(lm->be, net->score_values, from, err);
        if (status != STATUS_OK) { return error_wrap(err, "parameters of the gate"); }
        for (int b = 0; b < B; b++) {
            gate_resnet_score(net, net->score_values, samples[b].gate_input,
                              lm->staging + (size_t)b * (size_t)K);
        }
        weights = lm->staging;
    }
    lm->be->ops->fill(lm->be, first_rows(lm->gate.dweight, B), 0.0f);
    return lm->be->ops->upload(lm->be, first_rows(lm->gate.weight, B), weights, err);
}

enum status gate_run(struct language_model *lm, const struct ilora_params *params,
                     const struct lm_sample *samples, struct error *err) {
    assert(params->shape.gate == lm->shape.gate);

    if (is_resnet(lm)) { return resnet_weights(lm, params, samples, err); }
    enum status status = upload_inputs(lm, samples, err);
    if (status != STATUS_OK) { return status; }
    gate_forward(lm->be, &lm->gate, params, lm->pack.samples);
    return STATUS_OK;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Samples of the batch that starts at `first`. */
static int batch_at(int first, int count, int gate_batch) {
    int left = count - first;
    return gate_batch > 0 && gate_batch < left ? gate_batch : left;
}

enum status gate_step_begin(struct language_model *lm, const struct ilora_params *params,
                            const struct lm_sample *samples, int count, int gate_batch,
                            struct error *err) {
    struct gate_resnet *net = &lm->resnet;
    if (!is_resnet(lm)) { return STATUS_OK; }
    if (count > net->samples_max) {
        return error_set(err, STATUS_LIMIT, "step of %d samples: the gate holds %d", count,
                         net->samples_max);
    }

    struct tensor from = network_floats(lm, params, ILORA_VALUE, 0, net->floats);
    enum status status = lm->be->ops->download(lm->be, net->values, from, err);
    if (status != STATUS_OK) { return error_wrap(err, "parameters of the gate"); }
    for (int i = 0; i < count; i++) {
        memcpy(net->tape.z + (size_t)i * (size_t)net->E, samples[i].gate_input,
               (size_t)net->E * sizeof(float));
    }
    for (int first = 0; first < count; first += batch_at(first, count, gate_batch)) {
        gate_resnet_forward(net, first, batch_at(first, count, gate_batch));
    }
    return STATUS_OK;
}

const float *gate_step_weights(const struct language_model *lm, int first) {
    return is_resnet(lm) ? lm->resnet.tape.weight + (size_t)first * (size_t)lm->shape.K : NULL;
}

enum status gate_step_collect(struct language_model *lm, const struct ilora_params *params,
                              int first, struct error *err) {
    if (!is_resnet(lm)) {
        gate_backward(lm->be, &lm->gate, params, lm->pack.samples);
        return STATUS_OK;
    }
    float *rows = lm->resnet.dweight + (size_t)first * (size_t)lm->shape.K;
    return lm->be->ops->download(lm->be, rows, first_rows(lm->gate.dweight, lm->pack.samples), err);
}

enum status gate_step_end(struct language_model *lm, struct ilora_params *params, int count,
                          int gate_batch, struct error *err) {
    struct gate_resnet *net = &lm->resnet;
    if (!is_resnet(lm)) { return STATUS_OK; }
    memset(net->gradient, 0, net->running * sizeof net->gradient[0]);
    for (int first = 0; first < count; first += batch_at(first, count, gate_batch)) {
        gate_resnet_backward(net, first, batch_at(first, count, gate_batch));
    }

    struct tensor grad = network_floats(lm, params, ILORA_GRAD, 0, net->running);
    enum status status = lm->be->ops->download(lm->be, net->score_values, grad, err);
    if (status != STATUS_OK) { return error_wrap(err, "gradient of the gate"); }
    for (size_t i = 0; i < net->running; i++) {
        net->score_values[i] += (float)net->gradient[i];
    }
    return lm->be->ops->upload(lm->be, grad, net->score_values, err);
}

enum status gate_step_keep(struct language_model *lm, struct ilora_params *params,
                           struct error *err) {
    static const enum ilora_slab slabs[] = {ILORA_VALUE, ILORA_EMA};
    struct gate_resnet *net = &lm->resnet;
    if (!is_resnet(lm)) { return STATUS_OK; }
    for (size_t i = 0; i < sizeof slabs / sizeof slabs[0]; i++) {
        struct tensor to =
            network_floats(lm, params, slabs[i], net->running, net->floats - net->running);
        enum status status = lm->be->ops->upload(lm->be, to, net->values + net->running, err);
        if (status != STATUS_OK) { return error_wrap(err, "statistics of the gate"); }
    }
    return STATUS_OK;
}
