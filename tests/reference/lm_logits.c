/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_logits.c - logits of a frozen base model at every position, for lm_smollm2_logits.py.
 *
 * usage: lm_logits MODEL f32|bf16 TOKENS OUT     TOKENS, OUT: files of named arrays
 * (lm_golden.h) */
#include <stdlib.h>
#include <string.h>

#include "model/language_model.h"
#include "tests/reference/lm_golden.h"

#define TOKENS_MAX 1024

static int write_logits(struct language_model *lm, int V, const struct lm_array *tokens,
                        FILE *out) {
    struct error err;
    int count = tokens->rows * tokens->cols;
    float *logits = calloc((size_t)count * (size_t)V, sizeof *logits);
    if (logits == NULL) { return -1; }
    int result = -1;
    if (language_model_logits(lm, NULL, NULL, tokens->values, count, logits, &err) == STATUS_OK) {
        result = lm_golden_write(out, tokens->name, count, V, logits);
    } else {
        fprintf(stderr, "%s\n", err.text);
    }
    free(logits);
    return result;
}

static enum status open_model(const char *path, enum precision precision, struct backend **be,
                              struct checkpoint **checkpoint, struct base_model **base,
                              struct language_model **lm, struct error *err) {
    enum status status = backend_cpu_new(2, be, err);
    if (status != STATUS_OK) { return status; }
    status = checkpoint_open(path, checkpoint, err);
    if (status != STATUS_OK) { return status; }
    status = base_model_load(*be, *checkpoint, precision, false, base, err);
    if (status != STATUS_OK) { return status; }
    struct language_model_settings settings = {.tokens_max = TOKENS_MAX, .sequences_max = 8};
    struct ilora_shape shape = {.R = 8, .K = 4, .alpha = 32.0f, .E = 64, .head = ILORA_HEAD_TITLE};
    return language_model_new(*base, &settings, &shape, lm, err);
}

int main(int argc, char **argv) {
    struct error err;
    struct backend *be = NULL;
    struct checkpoint *checkpoint = NULL;
    struct base_model *base = NULL;
    struct language_model *lm = NULL;
    static struct lm_golden prompts;
    if (argc != 5) {
        fprintf(stderr, "usage: lm_logits MODEL f32|bf16 TOKENS OUT\n");
        return 64;
    }
    enum precision precision = strcmp(argv[2], "bf16") == 0 ? PRECISION_BF16 : PRECISION_F32;
    int bad = lm_golden_read(argv[3], &prompts);
    if (bad == 0 &&
        open_model(argv[1], precision, &be, &checkpoint, &base, &lm, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        bad = 1;
    }
    FILE *out = bad == 0 ? fopen(argv[4], "wb") : NULL;
    for (int i = 0; out != NULL && bad == 0 && i < prompts.count; i++) {
        bad = write_logits(lm, base_model_description(base)->V, &prompts.arrays[i], out);
    }
    if (out == NULL || fclose(out) != 0) { bad = 1; }
    if (bad == 0) { fprintf(stderr, "%s\n", be->profile); }
    language_model_free(lm);
    base_model_free(base);
    checkpoint_close(checkpoint);
    if (be != NULL) { be->ops->free(be); }
    lm_golden_free(&prompts);
    return bad == 0 ? 0 : 1;
}
