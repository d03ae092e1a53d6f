/* SPDX-License-Identifier: Apache-2.0
 *
 * lm_dump.c - writes a base model's weights as named arrays, so that PyTorch computes with the
 * same.
 *
 * usage: lm_dump MODEL FILE      MODEL as for checkpoint_open, e.g. builtin:tiny:3 */
#include <stdlib.h>

#include "model/checkpoint.h"
#include "tests/reference/lm_golden.h"

struct wanted {
    const char *name;
    int rows, cols;
};

static int dump(struct checkpoint *checkpoint, FILE *file, const char *name, int rows, int cols) {
    struct error err;
    if (!checkpoint_has(checkpoint, name)) { return 0; }
    float *values = calloc((size_t)rows * (size_t)cols, sizeof *values);
    if (values == NULL) { return -1; }
    int result = -1;
    if (checkpoint_read(checkpoint, name, rows, cols, values, &err) == STATUS_OK) {
        result = lm_golden_write(file, name, rows, cols, values);
    } else {
        fprintf(stderr, "%s\n", err.text);
    }
    free(values);
    return result;
}

static int dump_layer(struct checkpoint *checkpoint, FILE *file, int layer) {
    const struct model_description *d = checkpoint_description(checkpoint);
    const int q = d->H * d->D, k = d->G * d->D;
    const struct wanted list[] = {
        {"input_layernorm.weight", 1, d->C},  {"self_attn.q_proj.weight", q, d->C},
        {"self_attn.k_proj.weight", k, d->C}, {"self_attn.v_proj.weight", k, d->C},
        {"self_attn.o_proj.weight", d->C, q}, {"post_attention_layernorm.weight", 1, d->C},
        {"mlp.gate_proj.weight", d->F, d->C}, {"mlp.up_proj.weight", d->F, d->C},
        {"mlp.down_proj.weight", d->C, d->F},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "model.layers.%d.%s", layer, list[i].name);
        if (dump(checkpoint, file, name, list[i].rows, list[i].cols) != 0) { return -1; }
    }
    return 0;
}

static int dump_all(struct checkpoint *checkpoint, FILE *file) {
    const struct model_description *d = checkpoint_description(checkpoint);
    const float numbers[] = {(float)d->L, (float)d->C, (float)d->H,     (float)d->G,  (float)d->D,
                             (float)d->F, (float)d->V, d->norm_epsilon, d->rope_theta};
    int bad = lm_golden_write(file, "description", 1, 9, numbers);
    bad |= dump(checkpoint, file, "model.embed_tokens.weight", d->V, d->C);
    for (int i = 0; i < d->L; i++) {
        bad |= dump_layer(checkpoint, file, i);
    }
    bad |= dump(checkpoint, file, "model.norm.weight", 1, d->C);
    bad |= dump(checkpoint, file, "lm_head.weight", d->V, d->C);
    return bad;
}

int main(int argc, char **argv) {
    struct error err;
    struct checkpoint *checkpoint = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: lm_dump MODEL FILE\n");
        return 64;
    }
    if (checkpoint_open(argv[1], &checkpoint, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    FILE *file = fopen(argv[2], "wb");
    int bad = file == NULL ? -1 : dump_all(checkpoint, file);
    if (file != NULL && fclose(file) != 0) { bad = -1; }
    checkpoint_close(checkpoint);
    if (bad != 0) { fprintf(stderr, "%s: not written whole\n", argv[2]); }
    return bad == 0 ? 0 : 1;
}
