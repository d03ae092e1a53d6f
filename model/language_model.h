/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model.h - the frozen base with iLoRA, its gate, projector and two heads: forward over
 * packed prompts, one training step, scores. (MODEL.md: iLoRA linear layer, Gate, Projector, Prompt
 * and loss, Scoring, Optimiser; Kong et al. 2024; Hu et al. 2021.)
 *
 *   prompts ──pack──▶ rows (N,C) ──L blocks, each linear + LoRA u = (x A^T)*g, y += s u B^T──▶ h
 *     h at each prompt's last row ──item head──▶ z (B,E) · item vectors (M,E) + b ──▶ logits (B,M)
 *     h at title rows ──lm_head──▶ token log-probabilities (title head)
 *
 * Three objects: struct base_model (frozen, shared), struct ilora_params (everything trainable, one
 * slab a kind: value, grad, moment1, moment2, ema) and struct language_model (activations and
 * scratch for a token budget; runs base with one params). The learner owns one language_model.
 *
 * thread: all calls with one backend stay on one thread.
 */
#ifndef MODEL_LANGUAGE_MODEL_H
#define MODEL_LANGUAGE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "model/checkpoint.h"
#include "model/prompt.h"

/* ---- frozen base ----------------------------------------------------------------------------- */

struct base_model;

MUST_CHECK enum status base_model_load(struct backend *be, struct checkpoint *checkpoint,
                                       enum precision precision, bool for_training,
                                       struct base_model **ret_base, struct error *err);
void base_model_free(struct base_model *base);
size_t base_model_bytes(const struct base_model *base);
const struct model_description *base_model_description(const struct base_model *base);

/* ---- trainable parameters -------------------------------------------------------------------- */

/* How a sequence chooses its experts (gate.h, gate_resnet.h; MODEL.md, Gate). The daemon learns
 * with the stream gate; the other two are Kong et al. 2024 as published (exact mode). */
enum ilora_gate {
    ILORA_GATE_STREAM = 0, /* LayerNorm, W_g, b, softmax with a floor */
    ILORA_GATE_LINEAR = 1, /* the paper's eq. 7: w = softmax(W_g z), no bias */
    ILORA_GATE_RESNET = 2, /* the released code's 1-D ResNet with BatchNorm over z */
};

enum ilora_head { ILORA_HEAD_ITEM = 1, ILORA_HEAD_TITLE = 2, ILORA_HEAD_BOTH = 3 };

struct ilora_shape {
    int R;               /* total rank */
    int K;               /* experts; divides R */
    float alpha;         /* s = alpha / (R/K); K = 1 is plain LoRA with alpha / R */
    float gate_floor;    /* stream gate only: w = floor/K + (1-floor) softmax */
    int E;               /* width of sequence and item vectors */
    int projector_width; /* C' of the projector's hidden layer; stream: 256 by default */
    int items_max;       /* M the item head's bias holds; > 0 when the item head is on */
    enum ilora_head head;
    bool item_tokens;     /* the prompt has placeholders: the projector is used */
    enum ilora_gate gate; /* 0 = stream */
};

/* One named trainable tensor on the device. PEFT's names for A and B. */
struct ilora_tensor {
    /* "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "gate.weight", ... */
    char name[128];
    int rows, cols;
    size_t offset; /* floats into each slab */
    /* 0 adapter, 1 projector, 2 gate, 3 heads: learning-rate multiplier; 4: running statistics of
     * the ResNet gate, saved with the rest but neither trained nor averaged */
    int group;
};

struct ilora_params; /* the slabs and the list */

/* A ~ Kaiming-uniform(sqrt 5), B = 0, gate uniform, heads small; a function of the seed alone.
 * trainable false: value slab only (a version for scoring). */
MUST_CHECK enum status ilora_params_new(struct backend *be, const struct model_description *base,
                                        const struct ilora_shape *shape, uint64_t seed,
                                        bool trainable, struct ilora_params **ret_params,
                                        struct error *err);
void ilora_params_free(struct ilora_params *params);
const struct ilora_shape *ilora_params_shape(const struct ilora_params *params);
int ilora_params_count(const struct ilora_params *params); /* tensors */
const struct ilora_tensor *ilora_params_at(const struct ilora_params *params, int index);
size_t ilora_params_floats(const struct ilora_params *params); /* in one slab */

/* What ilora_params_floats would say, before there is a device. NO_MEMORY, CONFIG. */
MUST_CHECK enum status ilora_params_measure(const struct model_description *base,
                                            const struct ilora_shape *shape, size_t *ret_floats,
                                            struct error *err);

enum ilora_slab { ILORA_VALUE, ILORA_GRAD, ILORA_MOMENT1, ILORA_MOMENT2, ILORA_EMA };
/* Whole slab to or from host (floats of ilora_params_floats). */
MUST_CHECK enum status ilora_params_read(struct ilora_params *params, enum ilora_slab slab,
                                         float *ret_host, struct error *err);
MUST_CHECK enum status ilora_params_write(struct ilora_params *params, enum ilora_slab slab,
                                          const float *host, struct error *err);

/* ---- running --------------------------------------------------------------------------------- */

struct language_model;

struct language_model_settings {
    int tokens_max;    /* rows of one packed forward, micro_batch_tokens */
    int sequences_max; /* prompts in it */
    int items_max;     /* M the item head must be able to hold */
    bool training;     /* keep activations */
    /* ResNet gate, training: samples of one step at most (its activations are kept for all of
     * them, 170 KB each on the host at E = 64); 0 = 128, the published batch */
    int step_samples_max;
};

MUST_CHECK enum status language_model_new(struct base_model *base,
                                          const struct language_model_settings *settings,
                                          const struct ilora_shape *shape,
                                          struct language_model **ret_lm, struct error *err);
void language_model_free(struct language_model *lm);
size_t language_model_bytes(const struct language_model *lm);

/* What language_model_bytes would say, before there is a base model or a device. NO_MEMORY. */
MUST_CHECK enum status language_model_measure(const struct model_description *base,
                                              const struct language_model_settings *settings,
                                              const struct ilora_shape *shape, size_t *ret_bytes,
                                              struct error *err);

/* The item vectors the projector reads and the item head scores against; host (M,E). Copied. */
MUST_CHECK enum status language_model_set_items(struct language_model *lm, const float *vectors,
                                                int M, struct error *err);

/* One sequence to learn from or to score. borrows: during the call. */
struct lm_sample {
    const struct prompt *prompt;
    const float *gate_input; /* z (E): SASRec state of the sequence */
    const uint32_t *history; /* items whose mean vector enters the item head (P2 term) */
    int history_count;
    uint32_t target; /* item number; training only */
    float weight;    /* loss weight */
    /* title head, training: candidates[0] is the target's title */
    const struct title_tokens *candidates;
    const float *candidate_corrections; /* logQ of each, subtracted; NULL = 0 */
    int candidate_count;                /* 0 when the title head is off */
};

struct lm_step_stats {
    double item_loss;  /* weighted mean cross-entropy over the catalogue */
    double title_loss; /* token cross-entropy of target titles, mean */
    double rank_loss;  /* softmax over candidates' summed log-likelihoods, mean */
    double grad_norm;  /* before clipping */
    int tokens;
    int samples;
    bool discarded;           /* loss or norm was not finite: nothing was changed */
    double expert_weight[16]; /* mean gate weight of each expert */
};

struct lm_step {
    float learning_rate;
    float multiplier[4]; /* by group: adapter, projector, gate, heads */
    float weight_decay;
    float beta1, beta2, epsilon;
    float clip_norm; /* 0 = no clipping */
    float ema_decay; /* 0: EMA = value */
    float proximal;  /* lambda of the pull towards `reference`; 0 = off */
    int64_t step;    /* 1, 2, ... */
    /* Exact mode; all 0 in the stream. Plain Adam is weight_decay = 0. */
    float dropout;         /* p on the LoRA input x of x A^T, a mask a module (as PEFT); 0 = none */
    uint64_t dropout_seed; /* masks are Philox of it, the step, the micro-batch and the module */
    /* By group: added to the (clipped) gradient before the moments, grad + l2 value, as the
     * weight_decay of torch.optim.Adam; biases and BatchNorm's gains too. 0 = none */
    float l2[4];
    /* ResNet gate: BatchNorm takes its statistics over this many samples at a time, in the order
     * given; 0 = over all samples of the step. The released code's is the batch of one GPU, 8. */
    int gate_batch;
};

/* Forward and backward of all samples in micro-batches of at most tokens_max rows (samples are
 * packed in the order given), then one AdamW step and the EMA. reference: params of the last
 * version or NULL. beat (may be NULL) is called between micro-batches: watchdog and scoring jobs;
 * it must not touch params. A non-finite loss or norm discards the step: parameters, moments, EMA
 * and running statistics unchanged. LIMIT: ResNet gate and more than step_samples_max samples.
 * DEVICE_LOST, NO_MEMORY. */
MUST_CHECK enum status language_model_train(struct language_model *lm, struct ilora_params *params,
                                            const struct ilora_params *reference,
                                            const struct lm_sample *samples, int count,
                                            const struct lm_step *how, void (*beat)(void *),
                                            void *beat_context, struct lm_step_stats *ret_stats,
                                            struct error *err);
/* Gradients only (tests, reference comparison): adds to the GRAD slab, no step. */
MUST_CHECK enum status language_model_gradients(struct language_model *lm,
                                                struct ilora_params *params,
                                                const struct lm_sample *samples, int count,
                                                struct lm_step_stats *ret_stats, struct error *err);

/* Item head: log-probabilities over the whole catalogue, ret (count, M) row-major. params NULL: the
 * frozen base without adapter is not possible (heads belong to params); frozen true: the adapter's
 * contribution is left out, heads stay (the "frozen base" row of the evaluation). */
MUST_CHECK enum status language_model_score_items(struct language_model *lm,
                                                  struct ilora_params *params, bool frozen,
                                                  const struct lm_sample *samples, int count,
                                                  float *ret_logprobs, struct error *err);
/* Title head: for each sample the summed log-likelihood of each of its candidates (title + end),
 * all branches after one shared prompt in one packed sequence. ret: concatenated, candidate_count
 * each. */
MUST_CHECK enum status language_model_score_titles(struct language_model *lm,
                                                   struct ilora_params *params, bool frozen,
                                                   const struct lm_sample *samples, int count,
                                                   float *ret_loglikelihoods, struct error *err);
/* Logits of the frozen base (params NULL) or of the adapted model at every row of one token
 * sequence; ret (count, V). For tests and iloractl score. */
MUST_CHECK enum status language_model_logits(struct language_model *lm, struct ilora_params *params,
                                             const float *gate_input, const int32_t *tokens,
                                             int count, float *ret_logits, struct error *err);
/* Title vectors: mean over each title's rows of the hidden states after block L/2 and after the
 * last block (final norm not applied), frozen base; ret (count, 2C). */
MUST_CHECK enum status language_model_embed_titles(struct language_model *lm,
                                                   const struct title_tokens *const *titles,
                                                   int count, float *ret_vectors,
                                                   struct error *err);

/* Useful FLOPs of one training (or scoring) token: the one function every figure comes from
 * (PERFORMANCE.md: 4P + attention + LoRA; 2P for scoring). T: mean prompt length. */
double language_model_flops_per_token(const struct model_description *base,
                                      const struct ilora_shape *shape, double T, bool training);

#endif
