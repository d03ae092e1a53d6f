/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model_train.c - gradients over micro-batches, then one AdamW step and the EMA.
 *
 *   loss = sum_i w_i CE_i / sum_i w_i (item head) + the same mean of title and rank losses
 *        + lambda sum over adapter tensors of KL(softmax(reference) || softmax(value))  (PESO)
 *
 * In exact mode the adapters see dropout (adapter.h), the ResNet gate its BatchNorm over samples of
 * the whole step (gate_run.c), and the step is Adam with coupled L2.
 *
 * The sums of weights are over the whole step, so how it is cut into micro-batches does not change
 * the gradient (but for dropout's masks, which are by row of a micro-batch). A step is a
 * transaction: nothing trainable is touched before loss and norm are known to be finite. Failure:
 * as the forward pass; the GRAD slab is then undefined, all else unchanged. */
#include <math.h>
#include <string.h>

#include "model/language_model_state.h"

/* What the whole step divides by; 0 when nobody takes part. */
struct weight_sums {
    double item, title;
};

static bool has_target(const struct language_model *lm, const struct lm_sample *sample) {
    return language_model_has(lm, ILORA_HEAD_ITEM) && sample->target < (uint32_t)lm->M;
}

static struct weight_sums sum_weights(const struct language_model *lm,
                                      const struct lm_sample *samples, int count) {
    struct weight_sums sums = {0.0, 0.0};
    for (int i = 0; i < count; i++) {
        if (has_target(lm, &samples[i])) { sums.item += (double)samples[i].weight; }
        if (language_model_has(lm, ILORA_HEAD_TITLE) && samples[i].candidate_count > 0) {
            sums.title += (double)samples[i].weight;
        }
    }
    return sums;
}

static double inverse(double sum) {
    return sum > 0.0 ? 1.0 / sum : 0.0;
}

/* Item head of one pack: loss and gradients; adds the weighted loss to stats. */
static enum status item_loss(struct language_model *lm, struct ilora_params *params,
                             const struct lm_sample *samples, double scale, struct tensor dfinal,
                             struct lm_step_stats *stats, struct error *err) {
    const struct backend_ops *ops = lm->be->ops;
    int B = lm->pack.samples;
    for (int b = 0; b < B; b++) {
        lm->staging[b] =
            has_target(lm, &samples[b]) ? (float)((double)samples[b].weight * scale) : 0.0f;
    }
    enum status status = ops->upload(lm->be, first_rows(lm->item_head.weight, B), lm->staging, err);
    if (status != STATUS_OK) { return status; }
    item_head_forward(lm->be, &lm->item_head, params, &lm->pack, lm->llama.final);
    item_head_loss(lm->be, &lm->item_head, params, &lm->pack, first_rows(lm->items, lm->M), dfinal);
    status = ops->download(lm->be, lm->staging, first_rows(lm->item_head.loss, B), err);
    if (status != STATUS_OK) { return status; }
    for (int b = 0; b < B; b++) {
        if (has_target(lm, &samples[b])) {
            stats->item_loss += (double)samples[b].weight * scale * (double)lm->staging[b];
        }
    }
    return STATUS_OK;
}

/* Adds the pack's gate weights to stats->expert_weight (divided at the end). */
static enum status add_expert_weights(struct language_model *lm, struct lm_step_stats *stats,
                                      struct error *err) {
    int B = lm->pack.samples, K = lm->shape.K;
    enum status status =
        lm->be->ops->download(lm->be, lm->staging, first_rows(lm->gate.weight, B), err);
    if (status != STATUS_OK) { return status; }
    for (int b = 0; b < B; b++) {
        for (int k = 0; k < K; k++) {
            stats->expert_weight[k] += (double)lm->staging[b * K + k];
        }
    }
    return STATUS_OK;
}

/* What is the same for all micro-batches of a step. */
struct step_run {
    struct ilora_params *params;
    const struct lm_sample *samples;
    int count;
    const struct lm_step *how; /* NULL: gradients alone, no dropout */
    struct weight_sums sums;
    struct lm_step_stats *stats;
};

/* Step, micro-batch and module share the 64 bits of a Philox stream. */
static struct llama_dropout dropout_of(const struct lm_step *how, int pack_number) {
    if (how == NULL || how->dropout == 0.0f) { return (struct llama_dropout){0}; }
    assert(how->dropout > 0.0f && how->dropout < 1.0f);
    assert(pack_number < 1 << 16);
    return (struct llama_dropout){.p = how->dropout,
                                  .seed = how->dropout_seed,
                                  .stream = (uint64_t)how->step << 32 | (uint64_t)pack_number
                                                                            << 16};
}

static enum status pack_forward(struct language_model *lm, const struct step_run *run, int first,
                                int pack_number, struct llama_pass *ret_pass, struct error *err) {
    lm->gate_given = gate_step_weights(lm, first);
    enum status status =
        pack_prepare(lm, run->params, true, run->samples + first, false, ret_pass, err);
    lm->gate_given = NULL; /* scoring between micro-batches has gates of its own */
    if (status != STATUS_OK) { return status; }
    ret_pass->dropout = dropout_of(run->how, pack_number);
    llama_forward(&lm->llama, ret_pass);
    return STATUS_OK;
}

/* Forward and backward of the pack that holds the samples of the step from `first` on. */
static enum status one_pack(struct language_model *lm, const struct step_run *run, int first,
                            int pack_number, struct error *err) {
    struct ilora_params *params = run->params;
    const struct lm_sample *samples = run->samples + first;
    const struct weight_sums *sums = &run->sums;
    struct lm_step_stats *stats = run->stats;
    struct llama_pass pass;
    enum status status = pack_forward(lm, run, first, pack_number, &pass, err);
    if (status != STATUS_OK) { return status; }
    status = add_expert_weights(lm, stats, err);
    if (status != STATUS_OK) { return status; }

    struct tensor dfinal = first_rows(lm->llama.dfinal, lm->pack.count[PACK_NEED]);
    lm->be->ops->fill(lm->be, dfinal, 0.0f);
    if (language_model_has(lm, ILORA_HEAD_ITEM) && lm->M > 0) {
        status = item_loss(lm, params, samples, inverse(sums->item), dfinal, stats, err);
        if (status != STATUS_OK) { return status; }
    }
    if (language_model_has(lm, ILORA_HEAD_TITLE)) {
        struct title_losses losses;
        status = title_head_loss(&lm->title_head, &lm->pack, samples, inverse(sums->title),
                                 lm->llama.final, dfinal, &losses, err);
        if (status != STATUS_OK) { return status; }
        stats->title_loss += losses.title;
        stats->rank_loss += losses.rank;
    }

    llama_backward(&lm->llama, &pass);
    if (lm->shape.item_tokens) {
        projector_backward(lm->be, &lm->projector, params, &lm->pack, lm->llama.dx);
    }
    status = gate_step_collect(lm, params, first, err);
    if (status != STATUS_OK) { return status; }
    stats->tokens += pack_rows(&lm->pack);
    stats->samples += lm->pack.samples;
    return lm->be->ops->synchronise(lm->be, err);
}

static enum status all_packs(struct language_model *lm, const struct step_run *run,
                             void (*beat)(void *), void *beat_context, struct error *err) {
    bool titles = language_model_has(lm, ILORA_HEAD_TITLE);
    int gate_batch = run->how != NULL ? run->how->gate_batch : 0, B = 0, pack_number = 0;
    assert(lm->settings.training && run->params->trainable);

    enum status status =
        gate_step_begin(lm, run->params, run->samples, run->count, gate_batch, err);
    if (status != STATUS_OK) { return error_wrap(err, "training"); }
    for (int first = 0; first < run->count; first += B) {
        status = pack_fill(lm, run->samples + first, run->count - first, titles, &B, err);
        if (status != STATUS_OK) { return status; }
        status = one_pack(lm, run, first, pack_number++, err);
        if (status != STATUS_OK) { return error_wrap(err, "training"); }
        if (beat != NULL) { beat(beat_context); }
    }
    for (int k = 0; k < lm->shape.K && run->count > 0; k++) {
        run->stats->expert_weight[k] /= (double)run->count;
    }
    status = gate_step_end(lm, run->params, run->count, gate_batch, err);
    if (status != STATUS_OK) { return error_wrap(err, "training"); }
    return STATUS_OK;
}

/* grad += lambda d/dvalue KL(softmax(reference) || softmax(value)) = lambda (softmax(value) -
 * softmax(reference)), tensor by tensor of the adapters. */
static void pull_to_reference(struct language_model *lm, struct ilora_params *params,
                              const struct ilora_params *reference, float lambda) {
    const struct backend_ops *ops = lm->be->ops;
    assert(reference->floats == params->floats && reference->count == params->count);
    for (int i = 0; i < params->count; i++) {
        if (params->tensors[i].group != GROUP_ADAPTER) { continue; }
        struct tensor value = ilora_params_tensor(params, ILORA_VALUE, i);
        struct tensor target = ilora_params_tensor(reference, ILORA_VALUE, i);
        struct tensor grad = ilora_params_tensor(params, ILORA_GRAD, i);
        int n = value.rows * value.cols;
        struct tensor p = tensor_cols(lm->softmax_value, 0, n);
        struct tensor q = tensor_cols(lm->softmax_reference, 0, n);
        struct tensor flat_grad = tensor_over(grad.data, DTYPE_F32, 1, n);
        p.stride = q.stride = n;
        ops->softmax_forward(lm->be, p, tensor_over(value.data, DTYPE_F32, 1, n), 0.0f);
        ops->softmax_forward(lm->be, q, tensor_over(target.data, DTYPE_F32, 1, n), 0.0f);
        ops->axpby(lm->be, flat_grad, lambda, p, 1.0f);
        ops->axpby(lm->be, flat_grad, -lambda, q, 1.0f);
    }
}

/* Coupled L2. The optimiser multiplies grad by grad_scale, so value is divided by it first. */
static void add_l2(struct language_model *lm, struct ilora_params *params,
                   const struct lm_step *how, float grad_scale) {
    for (int i = 0; i < params->count; i++) {
        int group = params->tensors[i].group;
        if (group >= GROUP_TRAINED || how->l2[group] == 0.0f) { continue; }
        lm->be->ops->axpby(lm->be, ilora_params_tensor(params, ILORA_GRAD, i),
                           how->l2[group] / grad_scale, ilora_params_tensor(params, ILORA_VALUE, i),
                           1.0f);
    }
}

/* AdamW over all trained tensors and the EMA. Biases (one row) do not decay. */
static void apply_step(struct language_model *lm, struct ilora_params *params,
                       const struct lm_step *how, float grad_scale) {
    int count = 0;
    add_l2(lm, params, how, grad_scale);
    for (int i = 0; i < params->count; i++) {
        const struct ilora_tensor *t = &params->tensors[i];
        if (t->group >= GROUP_TRAINED) { continue; }
        lm->step_list[count++] = (struct optimizer_tensor){
            .value = ilora_params_tensor(params, ILORA_VALUE, i),
            .grad = ilora_params_tensor(params, ILORA_GRAD, i),
            .moment1 = ilora_params_tensor(params, ILORA_MOMENT1, i),
            .moment2 = ilora_params_tensor(params, ILORA_MOMENT2, i),
            .learning_rate = how->learning_rate * how->multiplier[t->group],
            .weight_decay = t->rows > 1 ? how->weight_decay : 0.0f};
    }
    struct adamw adamw = {.beta1 = how->beta1,
                          .beta2 = how->beta2,
                          .epsilon = how->epsilon,
                          .step = how->step,
                          .grad_scale = grad_scale};
    lm->be->ops->adamw(lm->be, lm->step_list, count, &adamw);
    lm->be->ops->axpby(lm->be, params->slabs[ILORA_EMA], 1.0f - how->ema_decay,
                       params->slabs[ILORA_VALUE], how->ema_decay);
}

enum status language_model_train(struct language_model *lm, struct ilora_params *params,
                                 const struct ilora_params *reference,
                                 const struct lm_sample *samples, int count,
                                 const struct lm_step *how, void (*beat)(void *),
                                 void *beat_context, struct lm_step_stats *ret_stats,
                                 struct error *err) {
    assert(how->step >= 1);
    struct lm_step_stats stats = {0};
    struct step_run run = {.params = params,
                           .samples = samples,
                           .count = count,
                           .how = how,
                           .sums = sum_weights(lm, samples, count),
                           .stats = &stats};
    lm->be->ops->fill(lm->be, params->slabs[ILORA_GRAD], 0.0f);
    enum status status = all_packs(lm, &run, beat, beat_context, err);
    if (status != STATUS_OK) { return status; }
    if (how->proximal > 0.0f && reference != NULL) {
        pull_to_reference(lm, params, reference, how->proximal);
    }

    double sum = 0.0;
    status = lm->be->ops->squared_norm(lm->be, &params->slabs[ILORA_GRAD], 1, &sum, err);
    if (status != STATUS_OK) { return error_wrap(err, "gradient norm"); }
    stats.grad_norm = sqrt(sum);
    stats.discarded =
        !isfinite(sum) || !isfinite(stats.item_loss + stats.title_loss + stats.rank_loss);
    if (!stats.discarded) {
        float scale = 1.0f;
        if (how->clip_norm > 0.0f && stats.grad_norm > (double)how->clip_norm) {
            scale = (float)((double)how->clip_norm / stats.grad_norm);
        }
        apply_step(lm, params, how, scale);
        status = gate_step_keep(lm, params, err);
        if (status != STATUS_OK) { return status; }
        status = lm->be->ops->synchronise(lm->be, err);
        if (status != STATUS_OK) { return error_wrap(err, "optimiser step"); }
    }
    *ret_stats = stats;
    return STATUS_OK;
}

enum status language_model_gradients(struct language_model *lm, struct ilora_params *params,
                                     const struct lm_sample *samples, int count,
                                     struct lm_step_stats *ret_stats, struct error *err) {
    struct lm_step_stats stats = {0};
    struct step_run run = {.params = params,
                           .samples = samples,
                           .count = count,
                           .sums = sum_weights(lm, samples, count),
                           .stats = &stats};
    enum status status = all_packs(lm, &run, NULL, NULL, err);
    if (status != STATUS_OK) { return status; }

    double sum = 0.0;
    status = lm->be->ops->squared_norm(lm->be, &params->slabs[ILORA_GRAD], 1, &sum, err);
    if (status != STATUS_OK) { return error_wrap(err, "gradient norm"); }
    stats.grad_norm = sqrt(sum);
    *ret_stats = stats;
    return STATUS_OK;
}
