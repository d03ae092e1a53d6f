/* SPDX-License-Identifier: Apache-2.0
 *
 * model_settings.c - settings to model settings.
 *
 * Why it exists: the version that the learner makes and the ranker that the core asks must agree on
 * every shape; so they get them from the same lines.
 * Thread: any. */
#include "daemon/model_settings.h"

/* Adam of SASRec as in its released code (beta2 0.98); clipping as usual for attention. */
#define SASREC_BETA1     0.9F
#define SASREC_BETA2     0.98F
#define SASREC_CLIP_NORM 5.0F
#define ADAM_EPSILON     1e-8F
#define LM_BETA1         0.9F
#define LM_BETA2         0.999F
#define LM_WARMUP_STEPS  20
#define TITLE_NEGATIVES  7 /* MODEL.md: 7 to 15 */

struct fast_settings model_settings_fast(const struct settings *settings, int title_width) {
    return (struct fast_settings){
        .sasrec = {.E = (int)settings->sasrec_width,
                   .blocks = (int)settings->sasrec_blocks,
                   .S = (int)settings->sasrec_history,
                   .items_max = (int)settings->state_items_max,
                   .title_width = settings->sasrec_title_vectors ? title_width : 0},
        .counters = {.items_max = (int)settings->state_items_max,
                     .neighbours_max = (int)settings->counters_neighbours,
                     .span = (int)settings->counters_span,
                     .half_life = settings->counters_half_life},
        .history_span = (int)settings->counters_history_span,
        .candidates = (int)settings->predict_candidates,
        .new_share = settings->predict_new_share,
    };
}

static struct lm_step step_settings(const struct settings *settings) {
    float heads = (float)settings->train_head_multiplier;
    return (struct lm_step){
        .learning_rate = (float)settings->train_learning_rate,
        .multiplier = {1.0F, heads, (float)settings->train_gate_multiplier, heads},
        .weight_decay = (float)settings->train_weight_decay,
        .beta1 = LM_BETA1,
        .beta2 = LM_BETA2,
        .epsilon = ADAM_EPSILON,
        .clip_norm = (float)settings->train_clip_norm,
        .ema_decay = (float)settings->train_ema_decay,
        .proximal = (float)settings->train_proximal,
    };
}

struct learner_settings model_settings_learner(const struct settings *settings, int title_width,
                                               bool item_tokens) {
    bool lm = title_width > 0;
    return (struct learner_settings){
        .seed = (uint64_t)settings->train_seed,
        .fast = model_settings_fast(settings, title_width),
        .sasrec_step = {.learning_rate = (float)settings->sasrec_learning_rate,
                        .beta1 = SASREC_BETA1,
                        .beta2 = SASREC_BETA2,
                        .epsilon = ADAM_EPSILON,
                        .clip_norm = SASREC_CLIP_NORM,
                        .dropout = (float)settings->sasrec_dropout},
        .sasrec_replay_users = settings->sasrec_replay_users,
        .title_vectors = lm && settings->sasrec_title_vectors,
        .lm = lm,
        .ilora = {.R = (int)settings->ilora_rank,
                  .K = (int)settings->ilora_experts,
                  .alpha = (float)settings->ilora_alpha,
                  .gate_floor = (float)settings->ilora_gate_floor,
                  .E = (int)settings->sasrec_width,
                  .projector_width = (int)settings->ilora_projector_width,
                  .head = (enum ilora_head)(settings->ilora_head + 1), /* item, title, both */
                  .item_tokens = item_tokens,
                  .items_max = (int)settings->state_items_max},
        .lm_step = step_settings(settings),
        .lm_warmup_steps = LM_WARMUP_STEPS,
        .history = (int)settings->ilora_history,
        .micro_batch_tokens = (int)settings->train_micro_batch_tokens,
        .replay = settings->train_replay,
        .replay_rows_max = (int)settings->train_replay_rows_max,
        .title_negatives = TITLE_NEGATIVES,
        .eval_candidates = (int)settings->eval_candidates,
        .warmup_events = (uint64_t)settings->eval_warmup_events,
        .min_history = (int)settings->eval_min_history,
    };
}
