/* SPDX-License-Identifier: Apache-2.0
 *
 * test_gate_layers.c - the ResNet gate's convolution against its definition, at every odd size.
 *
 * What PyTorch says of the whole network: tests/reference/test_gate_reference.c. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "model/gate_resnet_layers.h"
#include "tests/support/unit.h"

#define CHANNELS 16
#define T_MAX    33
#define FLOATS   (CHANNELS * CONV_TAPS * T_MAX)

struct arrays {
    float x[FLOATS], y[FLOATS], dy[FLOATS], dx[FLOATS], columns[FLOATS];
    float weight[CHANNELS * CHANNELS * CONV_TAPS];
    double dweight[CHANNELS * CHANNELS * CONV_TAPS];
};

static void draw(struct arrays *a) {
    struct rng rng = rng_make(3, 1);
    for (int i = 0; i < FLOATS; i++) {
        a->x[i] = (float)rng_normal(&rng);
        a->dy[i] = (float)rng_normal(&rng);
    }
    for (int i = 0; i < CHANNELS * CHANNELS * CONV_TAPS; i++) {
        a->weight[i] = (float)rng_normal(&rng);
        a->dweight[i] = 1.0; /* gradients are added to what is there */
    }
}

/* x of channel i at position `at`, zero outside. */
static double signal(const struct conv_shape *s, const float *x, int i, int at) {
    return at < 0 || at >= s->T_in ? 0.0 : (double)x[i * s->T_in + at];
}

static double output(const struct conv_shape *s, const struct arrays *a, int o, int t) {
    double sum = 0.0;
    for (int i = 0; i < s->in; i++) {
        for (int k = 0; k < CONV_TAPS; k++) {
            sum += (double)a->weight[(o * s->in + i) * CONV_TAPS + k] *
                   signal(s, a->x, i, t * s->stride + k - 1);
        }
    }
    return sum;
}

static double weight_gradient(const struct conv_shape *s, const struct arrays *a, int o, int i,
                              int k) {
    double sum = 1.0;
    for (int t = 0; t < s->T_out; t++) {
        sum += (double)a->dy[o * s->T_out + t] * signal(s, a->x, i, t * s->stride + k - 1);
    }
    return sum;
}

static double input_gradient(const struct conv_shape *s, const struct arrays *a, int i, int at) {
    double sum = 0.0;
    for (int o = 0; o < s->out; o++) {
        for (int t = 0; t < s->T_out; t++) {
            int k = at - t * s->stride + 1;
            if (k < 0 || k >= CONV_TAPS) { continue; }
            sum += (double)a->weight[(o * s->in + i) * CONV_TAPS + k] *
                   (double)a->dy[o * s->T_out + t];
        }
    }
    return sum;
}

static void check_shape(const struct conv_shape *s) {
    static struct arrays a;
    draw(&a);
    conv_columns(s, a.columns, a.x);
    conv_forward(s, a.y, a.columns, a.weight);
    conv_backward_weight(s, a.dweight, a.dy, a.columns);
    conv_backward_input(s, a.dx, a.columns, a.dy, a.weight);
    for (int o = 0; o < s->out; o++) {
        for (int t = 0; t < s->T_out; t++) {
            assert_true(fabs((double)a.y[o * s->T_out + t] - output(s, &a, o, t)) < 1e-4);
        }
        for (int i = 0; i < s->in * CONV_TAPS; i++) {
            double ref = weight_gradient(s, &a, o, i / CONV_TAPS, i % CONV_TAPS);
            assert_true(fabs(a.dweight[o * s->in * CONV_TAPS + i] - ref) < 1e-4);
        }
    }
    for (int i = 0; i < s->in * s->T_in; i++) {
        double ref = input_gradient(s, &a, i / s->T_in, i % s->T_in);
        assert_true(fabs((double)a.dx[i] - ref) < 1e-4);
    }
}

static void convolution_is_its_definition_at_every_length(void **state) {
    (void)state;
    for (int stride = 1; stride <= 2; stride++) {
        for (int T = 1; T <= T_MAX; T++) {
            struct conv_shape shape = {.in = 4,
                                       .out = CHANNELS,
                                       .stride = stride,
                                       .T_in = T,
                                       .T_out = (T + stride - 1) / stride};
            check_shape(&shape);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_is_its_definition_at_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
