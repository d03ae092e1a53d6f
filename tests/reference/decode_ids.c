/* SPDX-License-Identifier: Apache-2.0
 *
 * decode_ids.c - greedy continuations of token lists by a frozen base, for decode_reference.py.
 *
 * usage: decode_ids MODEL TOKENS_MAX TOKENS [STOP_ID]...
 *
 * TOKENS: named arrays (lm_golden.h), one prompt each. Prints a line a prompt: "stop" or "max",
 * then the ids. */
#include <stdlib.h>
#include <string.h>

#include "model/language_model_decode.h"
#include "tests/reference/lm_golden.h"

#define ROWS_MAX      1024
#define SEQUENCES_MAX 64
#define STOPS_MAX     8

static enum status open_model(const char *path, struct backend **be, struct checkpoint **checkpoint,
                              struct base_model **base, struct language_model **lm,
                              struct error *err) {
    enum status status = backend_cpu_new(2, be, err);
    if (status != STATUS_OK) { return status; }
    status = checkpoint_open(path, checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(*be, *checkpoint, PRECISION_F32, false, base, err);
    if (status != STATUS_OK) { return status; }
    struct language_model_settings settings = {.tokens_max = ROWS_MAX,
                                               .sequences_max = SEQUENCES_MAX};
    struct ilora_shape shape = {.R = 8, .K = 4, .alpha = 32.0f, .E = 64, .head = ILORA_HEAD_TITLE};
    return language_model_new(*base, &settings, &shape, lm, err);
}

static void print_continuations(const struct lm_continuation *continuations, int count) {
    for (int i = 0; i < count; i++) {
        printf("%s", continuations[i].stopped ? "stop" : "max");
        for (int t = 0; t < continuations[i].count; t++) {
            printf(" %d", (int)continuations[i].ids[t]);
        }
        printf("\n");
    }
}

static enum status decode_all(struct language_model *lm, const struct lm_golden *lists,
                              int tokens_max, const int32_t *stops, int stop_count,
                              struct error *err) {
    size_t count = (size_t)lists->count;
    struct prompt *prompts = calloc(count, sizeof *prompts);
    struct lm_sample *samples = calloc(count, sizeof *samples);
    struct lm_continuation *continuations = calloc(count, sizeof *continuations);
    int32_t *ids = calloc(count * (size_t)tokens_max, sizeof *ids);
    enum status status = STATUS_NO_MEMORY;
    if (prompts != NULL && samples != NULL && continuations != NULL && ids != NULL) {
        for (size_t i = 0; i < count; i++) {
            const struct lm_array *list = &lists->arrays[i];
            prompts[i].count = list->rows * list->cols;
            memcpy(prompts[i].tokens, list->values, (size_t)prompts[i].count * sizeof(int32_t));
            samples[i].prompt = &prompts[i];
            continuations[i].ids = ids + i * (size_t)tokens_max;
        }
        status = language_model_decode(lm, NULL, false, samples, lists->count, tokens_max, stops,
                                       stop_count, continuations, err);
    }
    if (status == STATUS_OK) { print_continuations(continuations, lists->count); }
    free(prompts);
    free(samples);
    free(continuations);
    free(ids);
    return status;
}

int main(int argc, char **argv) {
    struct error err = {0};
    struct backend *be = NULL;
    struct checkpoint *checkpoint = NULL;
    struct base_model *base = NULL;
    struct language_model *lm = NULL;
    static struct lm_golden lists;
    int32_t stops[STOPS_MAX];
    if (argc < 4 || argc > 4 + STOPS_MAX || strtol(argv[2], NULL, 10) < 1) {
        fprintf(stderr, "usage: decode_ids MODEL TOKENS_MAX TOKENS [STOP_ID]...\n");
        return 64;
    }
    for (int i = 4; i < argc; i++) {
        stops[i - 4] = (int32_t)strtol(argv[i], NULL, 10);
    }
    if (lm_golden_read(argv[3], &lists) != 0) { return 1; }
    enum status status = open_model(argv[1], &be, &checkpoint, &base, &lm, &err);
    if (status == STATUS_OK) {
        status = decode_all(lm, &lists, (int)strtol(argv[2], NULL, 10), stops, argc - 4, &err);
    }
    if (status != STATUS_OK) { fprintf(stderr, "%s\n", err.text); }
    language_model_free(lm);
    base_model_free(base);
    checkpoint_close(checkpoint);
    if (be != NULL) { be->ops->free(be); }
    lm_golden_free(&lists);
    return status == STATUS_OK ? 0 : 1;
}
