/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model.c - makes the object of one token budget: every buffer once, none afterwards.
 *
 * Rule: the device memory is one slab, measured by running the layout without memory and placed by
 * running it again (slab.h). In steady state nothing here allocates.
 * Failure: NO_MEMORY or CONFIG with nothing left behind. Thread: that of the backend. */
#include "model/language_model.h"

#include <string.h>

#include "base/memory.h"
#include "model/language_model_state.h"

#define LOGITS_ROWS_WITHOUT_TITLE_HEAD 16 /* language_model_logits still works, a few rows a time */
#define STEP_SAMPLES                   128 /* of the ResNet gate: the published batch */

static int largest_adapter(const struct model_description *d, int R) {
    int widest = d->F;
    if (d->C > widest) { widest = d->C; }
    if (d->H * d->D > widest) { widest = d->H * d->D; }
    return widest * R;
}

/* Places (or counts) everything on the device. */
static void lay_out(struct language_model *lm, struct slab *slab) {
    const struct model_description *d = &lm->base->description;
    const struct language_model_settings *s = &lm->settings;
    pack_layout(&lm->pack, slab);
    llama_state_layout(&lm->llama, slab, &lm->shape, s->tokens_max);
    gate_layout(&lm->gate, slab, s->sequences_max, lm->shape.E, lm->shape.K);
    lm->items = slab_tensor(slab, DTYPE_F32, s->items_max > 0 ? s->items_max : 1, lm->shape.E);
    lm->sums = slab_tensor(slab, DTYPE_F32, s->sequences_max, d->C);
    if (lm->shape.item_tokens) {
        projector_layout(&lm->projector, slab, &lm->shape, d->C, s->tokens_max);
    }
    if (language_model_has(lm, ILORA_HEAD_ITEM)) {
        item_head_layout(&lm->item_head, slab, &lm->shape, d->C, s->sequences_max, s->items_max,
                         s->training);
    }
    title_head_layout(&lm->title_head, slab,
                      language_model_has(lm, ILORA_HEAD_TITLE) ? 0
                                                               : LOGITS_ROWS_WITHOUT_TITLE_HEAD);
    if (s->training) {
        int largest = largest_adapter(d, lm->shape.R);
        lm->softmax_value = slab_tensor(slab, DTYPE_F32, 1, largest);
        lm->softmax_reference = slab_tensor(slab, DTYPE_F32, 1, largest);
    }
}

static enum status take_host(struct language_model *lm, struct error *err) {
    const struct model_description *d = &lm->base->description;
    const struct language_model_settings *s = &lm->settings;
    enum status status = pack_init(&lm->pack, s->tokens_max, s->sequences_max, err);
    if (status != STATUS_OK) { return status; }
    status = llama_state_init(&lm->llama, lm->base, s->training, err);
    if (status != STATUS_OK) { return status; }
    status = title_head_init(&lm->title_head, lm->base, &lm->pack, err);
    if (status != STATUS_OK) { return status; }

    int widest = d->C > lm->shape.E ? d->C : lm->shape.E;
    if (lm->shape.K > widest) { widest = lm->shape.K; }
    lm->items_host = MEMORY_TAKE_ARRAY(float, (size_t)lm->items.rows *(size_t)lm->shape.E);
    lm->staging = MEMORY_TAKE_ARRAY(float, (size_t)s->sequences_max *(size_t)widest);
    lm->step_list =
        MEMORY_TAKE_ARRAY(struct optimizer_tensor, (size_t)d->L * PARAMS_A_LAYER + PARAMS_BESIDE);
    if (lm->items_host == NULL || lm->staging == NULL || lm->step_list == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "language model: host buffers");
    }
    if (lm->shape.gate != ILORA_GATE_RESNET) { return STATUS_OK; }
    int samples = s->step_samples_max > 0 ? s->step_samples_max : STEP_SAMPLES;
    return gate_resnet_init(&lm->resnet, lm->shape.E, lm->shape.K, PARAMS_ALIGNMENT_FLOATS,
                            s->training ? samples : 0, err);
}

static enum status take_device(struct language_model *lm, struct error *err) {
    struct slab slab = {0};
    lay_out(lm, &slab);
    lm->bytes = slab.used;
    enum status status = lm->be->ops->memory_take(lm->be, lm->bytes, &lm->memory, err);
    if (status != STATUS_OK) {
        return error_wrap(err, "activations of %d tokens, %zu bytes", lm->settings.tokens_max,
                          lm->bytes);
    }

    slab = (struct slab){.base = lm->memory};
    lay_out(lm, &slab);
    assert(slab.used == lm->bytes);
    gate_start(&lm->gate, lm->be);
    if (language_model_has(lm, ILORA_HEAD_ITEM)) { item_head_start(&lm->item_head, lm->be); }
    return STATUS_OK;
}

static enum status check_settings(const struct language_model_settings *s,
                                  const struct ilora_shape *shape, const struct base_model *base,
                                  struct error *err) {
    if (s->tokens_max < 1 || s->sequences_max < 1) {
        return error_set(err, STATUS_CONFIG,
                         "language model of %d tokens, %d sequences: expected "
                         "at least 1",
                         s->tokens_max, s->sequences_max);
    }
    if ((shape->head & ILORA_HEAD_ITEM) != 0 &&
        (s->items_max < 1 || s->items_max > shape->items_max)) {
        return error_set(err, STATUS_CONFIG, "language model for %d items: expected 1..%d",
                         s->items_max, shape->items_max);
    }
    if (s->training && !base->for_training) {
        return error_set(err, STATUS_CONFIG, "training on a base model loaded for scoring only");
    }
    return STATUS_OK;
}

enum status language_model_new(struct base_model *base,
                               const struct language_model_settings *settings,
                               const struct ilora_shape *shape, struct language_model **ret_lm,
                               struct error *err) {
    enum status status = check_settings(settings, shape, base, err);
    if (status != STATUS_OK) { return status; }
    if ((shape->head & ILORA_HEAD_TITLE) != 0) {
        status = base_model_prepare_head(base, settings->training, err);
        if (status != STATUS_OK) { return status; }
    }
    struct language_model *lm = MEMORY_TAKE_ARRAY(struct language_model, 1);
    if (lm == NULL) { return error_set(err, STATUS_NO_MEMORY, "language model"); }
    lm->base = base;
    lm->be = base->be;
    lm->settings = *settings;
    lm->shape = *shape;
    lm->items.rows = settings->items_max > 0 ? settings->items_max : 1;

    status = take_host(lm, err);
    if (status != STATUS_OK) { goto fail; }
    status = take_device(lm, err);
    if (status != STATUS_OK) { goto fail; }
    status = lm->be->ops->synchronise(lm->be, err);
    if (status != STATUS_OK) { goto fail; }

    *ret_lm = lm;
    return STATUS_OK;

fail:
    language_model_free(lm);
    return status;
}

void language_model_free(struct language_model *lm) {
    if (lm == NULL) { return; }
    pack_free(&lm->pack);
    llama_state_free(&lm->llama);
    title_head_free(&lm->title_head);
    if (lm->memory != NULL) { lm->be->ops->memory_give(lm->be, lm->memory); }
    gate_resnet_free(&lm->resnet);
    memory_free(lm->items_host);
    memory_free(lm->staging);
    memory_free(lm->step_list);
    memory_free(lm);
}

enum status language_model_measure(const struct model_description *base,
                                   const struct language_model_settings *settings,
                                   const struct ilora_shape *shape, size_t *ret_bytes,
                                   struct error *err) {
    struct base_model stand_in = {.description = *base};
    struct language_model lm = {.base = &stand_in, .settings = *settings, .shape = *shape};
    struct slab slab = {0};

    lm.items.rows = settings->items_max > 0 ? settings->items_max : 1;
    enum status status = pack_init(&lm.pack, settings->tokens_max, settings->sequences_max, err);
    if (status == STATUS_OK) {
        status = llama_state_init(&lm.llama, lm.base, settings->training, err);
    }
    if (status == STATUS_OK) { status = title_head_init(&lm.title_head, lm.base, &lm.pack, err); }
    if (status == STATUS_OK) {
        lay_out(&lm, &slab);
        *ret_bytes = slab.used;
    }
    pack_free(&lm.pack);
    llama_state_free(&lm.llama);
    title_head_free(&lm.title_head);
    return status;
}

size_t language_model_bytes(const struct language_model *lm) {
    return lm->bytes;
}

enum status language_model_set_items(struct language_model *lm, const float *vectors, int M,
                                     struct error *err) {
    if (M < 0 || M > lm->settings.items_max) {
        return error_set(err, STATUS_LIMIT, "%d items: the language model holds %d", M,
                         lm->settings.items_max);
    }
    if (M > 0) {
        memcpy(lm->items_host, vectors, (size_t)M * (size_t)lm->shape.E * sizeof(float));
        enum status status =
            lm->be->ops->upload(lm->be, first_rows(lm->items, M), lm->items_host, err);
        if (status != STATUS_OK) { return error_wrap(err, "vectors of %d items", M); }
    }
    lm->M = M;
    return STATUS_OK;
}

double language_model_flops_per_token(const struct model_description *base,
                                      const struct ilora_shape *shape, double T, bool training) {
    double C = base->C, HD = (double)base->H * base->D, GD = (double)base->G * base->D;
    double F = base->F, L = base->L, R = shape->R;
    double P = L * (C * (HD + 2.0 * GD) + HD * C + 3.0 * C * F);
    /* Thin products of the adapters: I + O of every linear layer, times the rank. */
    double thin = L * R * (3.0 * C + HD + 2.0 * GD + HD + C + 2.0 * C + 2.0 * F + F + C);
    /* Causal attention: q k^T and p v over T/2 earlier rows on average. */
    double attention = L * 2.0 * 2.0 * HD * (T / 2.0);
    if (!training) { return 2.0 * P + 2.0 * thin + attention; }
    return 4.0 * P + 6.0 * thin + 3.0 * attention;
}
