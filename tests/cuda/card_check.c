/* SPDX-License-Identifier: Apache-2.0
 *
 * card_check.c - is the CUDA backend right on this machine's card? libc and CUDA alone.
 *
 * usage: card_check ops|parity|repeat [WORDS]
 *
 *   ops      every operator case against the double reference and its differences
 *   parity   gradients, steps and scores on a small model of every family, CPU against card, f32
 *            and bf16 (WORDS: f32 alone); a step with a NaN in it changes nothing
 *   repeat   ten times the same steps: the same bits (WORDS: how many times; f32: two families)
 *
 * Ends with one line "RESULT ..." and 0; 1 when something differs; 77 without a card. Tests run it
 * on the executor (tests/cuda/CMakeLists.txt), ops/bench/gpu.sh on a card. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/cuda/card_model.h"
#include "tests/kernels/op_case.h"

#define E_WIDTH    8
#define ITEMS      37
#define SAMPLES    4
#define TOKENS     24
#define CANDIDATES 2
#define TITLE      3
#define STEPS      3
#define BOUND_F32  1e-3 /* of a tensor's largest, as for snapshots */
#define BOUND_BF16 6e-2 /* activations are rounded to 8 bits at each product, in other orders */
#define ROUNDING   1e-6 /* of the largest of all tensors: where the exact value is 0 */
#define NO_CARD    77

static void say_failed(const char *what, enum status status, const struct error *err) {
    printf("%s: %s: %s\n", what, status_name(status), err->text);
}

/* ---- one small learner on one backend -------------------------------------------------------- */

struct side {
    struct backend *be;
    struct base_model *base;
    struct ilora_params *params;
    struct language_model *lm;
    float *grads, *values; /* (floats) owns */
    float scores[SAMPLES * ITEMS];
    float likelihoods[SAMPLES * CANDIDATES];
};

static const struct ilora_shape shape = {.R = 8,
                                         .K = 4,
                                         .alpha = 32.0f,
                                         .gate_floor = 0.05f,
                                         .E = E_WIDTH,
                                         .projector_width = 16,
                                         .items_max = ITEMS,
                                         .head = ILORA_HEAD_BOTH,
                                         .item_tokens = true};

static void side_close(struct side *side) {
    language_model_free(side->lm);
    ilora_params_free(side->params);
    base_model_free(side->base);
    memory_free(side->grads);
    memory_free(side->values);
    if (side->be != NULL) { side->be->ops->free(side->be); }
    *side = (struct side){0};
}

/* Every B starts at 0, which hides half of the mathematics: here all values are random. */
static enum status randomise(struct side *side, struct error *err) {
    size_t floats = ilora_params_floats(side->params);
    enum status status = ilora_params_read(side->params, ILORA_VALUE, side->values, err);
    if (status != STATUS_OK) { return status; }
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < floats; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        side->values[i] += 0.05f * ((float)(x >> 40) * 0x1p-24f - 0.5f);
    }
    status = ilora_params_write(side->params, ILORA_VALUE, side->values, err);
    if (status != STATUS_OK) { return status; }
    return ilora_params_write(side->params, ILORA_EMA, side->values, err);
}

static enum status side_open(struct side *side, struct backend *be, const struct card_model *model,
                             enum precision precision, struct error *err) {
    struct checkpoint *checkpoint = NULL;
    float items[ITEMS * E_WIDTH];
    *side = (struct side){.be = be};
    enum status status = card_model_open(model, &checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(be, checkpoint, precision, true, &side->base, err);
    if (status == STATUS_OK) {
        status = ilora_params_new(be, &model->description, &shape, 1, true, &side->params, err);
    }
    checkpoint_close(checkpoint);
    if (status != STATUS_OK) { return status; }
    const struct language_model_settings how = {.tokens_max = 2 * TOKENS + CANDIDATES * TITLE * 2,
                                                .sequences_max = SAMPLES,
                                                .items_max = ITEMS,
                                                .training = true};
    status = language_model_new(side->base, &how, &shape, &side->lm, err);
    if (status != STATUS_OK) { return status; }
    side->grads = MEMORY_TAKE_ARRAY(float, ilora_params_floats(side->params));
    side->values = MEMORY_TAKE_ARRAY(float, ilora_params_floats(side->params));
    if (side->grads == NULL || side->values == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "copies of slabs");
    }
    for (int i = 0; i < ITEMS * E_WIDTH; i++) {
        items[i] = sinf((float)(i * i % 1009));
    }
    status = language_model_set_items(side->lm, items, ITEMS, err);
    return status == STATUS_OK ? randomise(side, err) : status;
}

static enum status train(struct side *side, struct lm_sample *samples, int64_t step,
                         struct lm_step_stats *ret_stats, struct error *err) {
    const struct lm_step how = {.learning_rate = 1e-2f,
                                .multiplier = {1, 1, 1, 1},
                                .weight_decay = 0.01f,
                                .beta1 = 0.9f,
                                .beta2 = 0.999f,
                                .epsilon = 1e-4f, /* noise of tiny gradients stays noise */
                                .clip_norm = 1.0f,
                                .ema_decay = 0.5f,
                                .step = step};
    return language_model_train(side->lm, side->params, NULL, samples, SAMPLES, &how, NULL, NULL,
                                ret_stats, err);
}

/* Gradients, scores, then steps: all that a snapshot comes from. */
static enum status run_side(struct side *side, struct card_samples *s, struct error *err) {
    struct lm_step_stats stats;
    enum status status =
        language_model_gradients(side->lm, side->params, s->samples, SAMPLES, &stats, err);
    if (status == STATUS_OK) {
        status = ilora_params_read(side->params, ILORA_GRAD, side->grads, err);
    }
    if (status == STATUS_OK) {
        status = language_model_score_items(side->lm, side->params, false, s->samples, SAMPLES,
                                            side->scores, err);
    }
    if (status == STATUS_OK) {
        status = language_model_score_titles(side->lm, side->params, false, s->samples, SAMPLES,
                                             side->likelihoods, err);
    }
    for (int step = 1; step <= STEPS && status == STATUS_OK; step++) {
        status = train(side, s->samples, step, &stats, err);
        if (status == STATUS_OK && stats.discarded) {
            status = error_set(err, STATUS_CORRUPT, "step %d was discarded", step);
        }
    }
    if (status != STATUS_OK) { return status; }
    return ilora_params_read(side->params, ILORA_VALUE, side->values, err);
}

/* ---- parity ---------------------------------------------------------------------------------- */

static double largest(const float *values, size_t count) {
    double most = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) { return INFINITY; }
        most = fmax(most, fabs((double)values[i]));
    }
    return most;
}

/* Largest |a-b| as a share of the largest |b| plus a floor. */
static double share_off(const float *a, const float *b, size_t count, double floor_all) {
    double off = 0.0, most = largest(b, count);
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        off = isfinite(d) ? fmax(off, d) : (double)INFINITY;
    }
    return off == 0.0 ? 0.0 : off / (most + floor_all);
}

static double slabs_off(const struct side *card, const float *a, const float *b, double bound) {
    double worst = 0.0;
    double floor_all = ROUNDING / bound * largest(b, ilora_params_floats(card->params));
    for (int i = 0; i < ilora_params_count(card->params); i++) {
        const struct ilora_tensor *t = ilora_params_at(card->params, i);
        size_t count = (size_t)t->rows * (size_t)t->cols;
        worst = fmax(worst, share_off(a + t->offset, b + t->offset, count, floor_all));
    }
    return worst;
}

/* A weight that is not a number: the step is discarded and nothing is changed. */
static enum status nan_changes_nothing(struct side *side, struct card_samples *s, bool *ret_good,
                                       struct error *err) {
    struct lm_step_stats stats;
    float kept = s->samples[1].weight;
    s->samples[1].weight = NAN;
    enum status status = train(side, s->samples, STEPS + 1, &stats, err);
    s->samples[1].weight = kept;
    if (status == STATUS_OK) {
        status = ilora_params_read(side->params, ILORA_VALUE, side->grads, err);
    }
    if (status != STATUS_OK) { return status; }
    *ret_good = stats.discarded && memcmp(side->grads, side->values,
                                          ilora_params_floats(side->params) * sizeof(float)) == 0;
    return STATUS_OK;
}

static enum status compare_family(const struct card_model *model, enum precision precision,
                                  int *failed, struct error *err) {
    struct side cpu = {0}, card = {0};
    struct card_samples s = {0};
    struct backend *be = NULL;
    double bound = precision == PRECISION_F32 ? BOUND_F32 : BOUND_BF16;
    bool good = false;
    enum status status = STATUS_OK;
    if (!card_samples_make(&s, model->description.V, E_WIDTH, ITEMS, SAMPLES, TOKENS, true, true,
                           CANDIDATES, TITLE)) {
        status = error_set(err, STATUS_NO_MEMORY, "samples");
    }
    if (status == STATUS_OK) { status = backend_cpu_new(1, &be, err); }
    if (status == STATUS_OK) { status = side_open(&cpu, be, model, precision, err); }
    if (status == STATUS_OK) { status = run_side(&cpu, &s, err); }
    if (status == STATUS_OK) { status = backend_cuda_new(0, &be, err); }
    if (status == STATUS_OK) { status = side_open(&card, be, model, precision, err); }
    if (status == STATUS_OK) { status = run_side(&card, &s, err); }
    if (status == STATUS_OK) {
        double off[4] = {slabs_off(&card, card.grads, cpu.grads, bound),
                         slabs_off(&card, card.values, cpu.values, bound),
                         share_off(card.scores, cpu.scores, SAMPLES * ITEMS, 0.0),
                         share_off(card.likelihoods, cpu.likelihoods, SAMPLES * CANDIDATES, 0.0)};
        status = nan_changes_nothing(&card, &s, &good, err);
        /* AdamW divides a gradient by its own size: an element whose gradient is noise moves by the
         * whole learning rate, either way. bf16 has such: its steps are printed, not judged. */
        for (int i = 0; i < 4; i++) {
            good = good && (off[i] <= bound || (i == 1 && precision == PRECISION_BF16));
        }
        printf("%-8s %-4s gradients %.2g, %d steps %.2g, scores %.2g, titles %.2g  %s\n",
               model->name, precision == PRECISION_F32 ? "f32" : "bf16", off[0], STEPS, off[1],
               off[2], off[3], good ? "ok" : "WRONG");
        *failed += good ? 0 : 1;
    }
    side_close(&cpu);
    side_close(&card);
    card_samples_free(&s);
    return status;
}

static int parity(int precisions) {
    struct error err = {0};
    int failed = 0, ran = 0;
    for (int m = 0; card_families[m].name != NULL; m++) {
        for (int p = 0; p < precisions; p++) {
            enum status status = compare_family(
                &card_families[m], p == 0 ? PRECISION_F32 : PRECISION_BF16, &failed, &err);
            if (status != STATUS_OK) {
                say_failed(card_families[m].name, status, &err);
                failed++;
            }
            ran++;
        }
    }
    printf("RESULT %d of %d agree\n", ran - failed, ran);
    return failed == 0 ? 0 : 1;
}

/* ---- repeat ---------------------------------------------------------------------------------- */

static int repeat(int times, enum precision precision) {
    struct error err = {0};
    int differ = 0, ran = 0;
    int families = precision == PRECISION_F32 ? 2 : 100; /* f32 is for the slow executor */
    for (int m = 0; card_families[m].name != NULL && m < families; m++) {
        struct card_samples s = {0};
        float *first = NULL;
        enum status status = STATUS_OK;
        if (!card_samples_make(&s, card_families[m].description.V, E_WIDTH, ITEMS, SAMPLES, TOKENS,
                               true, true, CANDIDATES, TITLE)) {
            return 1;
        }
        for (int t = 0; t < times && status == STATUS_OK; t++) {
            struct side card = {0};
            struct backend *be = NULL;
            status = backend_cuda_new(0, &be, &err);
            if (status == STATUS_OK) {
                status = side_open(&card, be, &card_families[m], precision, &err);
            }
            if (status == STATUS_OK) { status = run_side(&card, &s, &err); }
            if (status == STATUS_OK && first == NULL) {
                first = card.values;
                card.values = NULL;
            } else if (status == STATUS_OK) {
                size_t bytes = ilora_params_floats(card.params) * sizeof(float);
                differ += memcmp(first, card.values, bytes) != 0 ? 1 : 0;
            }
            ran++;
            side_close(&card);
        }
        memory_free(first);
        card_samples_free(&s);
        if (status != STATUS_OK) {
            say_failed(card_families[m].name, status, &err);
            return 1;
        }
    }
    printf("RESULT %d of %d runs have the bits of the first\n", ran - differ, ran);
    return differ == 0 ? 0 : 1;
}

/* ---- operators ------------------------------------------------------------------------------- */

static int operators(struct backend *be) {
    struct error err = {0};
    char words[256];
    int failed = 0;
    double worst = 0.0;
    for (int i = 0; i < op_case_count; i++) {
        for (int backward = 0; backward < 2; backward++) {
            words[0] = '\0';
            double excess = backward == 0
                                ? op_check_forward(be, &op_cases[i], words, sizeof words)
                                : op_check_backward(be, &op_cases[i], words, sizeof words);
            enum status status = be->ops->synchronise(be, &err);
            if (status != STATUS_OK) {
                say_failed(op_cases[i].op, status, &err);
                return 1; /* the context is gone */
            }
            worst = fmax(worst, excess);
            if (excess > 1.0) {
                printf("%s %s: %s: %.3g times the tolerance\n", op_cases[i].op,
                       backward == 0 ? "forward" : "backward", words, excess);
                failed++;
            }
        }
    }
    printf("RESULT %d cases, %d wrong, worst %.2g of the tolerance\n", op_case_count, failed,
           worst);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct backend *be = NULL;
    struct error err = {0};
    int result = 64;
    if (argc < 2) {
        (void)fprintf(stderr, "usage: card_check ops|parity|repeat [TIMES]\n");
        return result;
    }
    enum status status = backend_cuda_new(0, &be, &err);
    if (status != STATUS_OK) {
        printf("no device: %s\n", err.text);
        return status == STATUS_NOT_FOUND ? NO_CARD : 1;
    }
    printf("%s\n", be->profile);
    if (strcmp(argv[1], "ops") == 0) { result = operators(be); }
    be->ops->free(be);
    if (strcmp(argv[1], "parity") == 0) { result = parity(argc > 2 ? 1 : 2); }
    if (strcmp(argv[1], "repeat") == 0) {
        long times = argc > 2 ? strtol(argv[2], NULL, 10) : 10;
        result = repeat(times > 0 && times < 1000 ? (int)times : 10,
                        argc > 3 ? PRECISION_F32 : PRECISION_BF16);
    }
    return result;
}
