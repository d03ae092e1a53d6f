/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_resnet_layers.c - convolution and batch normalisation of the ResNet gate, plain loops.
 *
 * The products keep eight positions of four channels in vector variables (GCC's and clang's vector
 * types, of the 16 bytes that every x86-64 has: arrays of floats stayed in memory, twice as slow).
 * Every element's sum has one
 * order whatever the instruction set. */
#include "model/gate_resnet_layers.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LANES 4 /* positions in a vector */
#define PAIR  8 /* positions at a time: two vectors */
#define BLOCK 4 /* output channels at a time */

typedef float lanes __attribute__((vector_size(4 * LANES)));

static lanes lanes_at(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

static float lanes_sum(lanes v) {
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/* The positions [first, last) whose tap reads inside of the signal: 0 <= t stride + tap - 1 < T. */
static void inside(const struct conv_shape *shape, int tap, int *ret_first, int *ret_last) {
    int last = (shape->T_in + 1 - tap + shape->stride - 1) / shape->stride;
    *ret_first = tap == 0 ? 1 : 0;
    *ret_last = last < shape->T_out ? last : shape->T_out;
}

void conv_columns(const struct conv_shape *shape, float *columns, const float *x) {
    int stride = shape->stride, first = 0, last = 0;
    assert(stride == 1 || stride == 2);

    for (int i = 0; i < shape->in; i++) {
        const float *channel = x + (size_t)i * (size_t)shape->T_in;
        for (int k = 0; k < CONV_TAPS; k++) {
            float *row = columns + (size_t)(i * CONV_TAPS + k) * (size_t)shape->T_out;
            inside(shape, k, &first, &last);
            memset(row, 0, (size_t)shape->T_out * sizeof row[0]);
            for (int t = first; t < last; t++) {
                row[t] = channel[t * stride + k - 1];
            }
        }
    }
}

/* A matrix that may stand on its side: element (r,j) is at r * row + j * step. */
struct factor {
    const float *data;
    size_t row, step;
};

static void lanes_put(float *y, lanes low, lanes high) {
    memcpy(y, &low, sizeof low);
    memcpy(y + LANES, &high, sizeof high);
}

/* y (4,8), rows T apart: = a (4,n) x (n,8), rows T apart */
static void product_block(float *y, int T, struct factor a, const float *x, int n) {
    lanes low0 = {0.0f}, low1 = {0.0f}, low2 = {0.0f}, low3 = {0.0f};
    lanes high0 = {0.0f}, high1 = {0.0f}, high2 = {0.0f}, high3 = {0.0f};
    for (int j = 0; j < n; j++) {
        const float *w = a.data + (size_t)j * a.step, *row = x + (size_t)j * (size_t)T;
        lanes low = lanes_at(row), high = lanes_at(row + LANES);
        low0 += w[0] * low;
        high0 += w[0] * high;
        low1 += w[a.row] * low;
        high1 += w[a.row] * high;
        low2 += w[2 * a.row] * low;
        high2 += w[2 * a.row] * high;
        low3 += w[3 * a.row] * low;
        high3 += w[3 * a.row] * high;
    }
    lanes_put(y, low0, high0);
    lanes_put(y + (size_t)T, low1, high1);
    lanes_put(y + 2 * (size_t)T, low2, high2);
    lanes_put(y + 3 * (size_t)T, low3, high3);
}

/* y (rows,T) = a (rows,n) x (n,T); every element sums over j in order. */
static void product(float *y, int rows, int T, struct factor a, const float *x, int n) {
    int whole = T - T % PAIR;
    assert(rows % BLOCK == 0);

    for (int o = 0; o < rows; o += BLOCK) {
        struct factor part = {a.data + (size_t)o * a.row, a.row, a.step};
        for (int t = 0; t < whole; t += PAIR) {
            product_block(y + (size_t)o * (size_t)T + t, T, part, x + t, n);
        }
    }
    for (int o = 0; o < rows; o++) {
        for (int t = whole; t < T; t++) {
            float sum = 0.0f;
            for (int j = 0; j < n; j++) {
                sum += a.data[(size_t)o * a.row + (size_t)j * a.step] *
                       x[(size_t)j * (size_t)T + (size_t)t];
            }
            y[(size_t)o * (size_t)T + (size_t)t] = sum;
        }
    }
}

void conv_forward(const struct conv_shape *shape, float *y, const float *columns,
                  const float *weight) {
    int n = shape->in * CONV_TAPS;
    product(y, shape->out, shape->T_out, (struct factor){weight, (size_t)n, 1}, columns, n);
}

/* dw[o n] of four rows of dy (T apart): += the dot product with one row of the columns. */
static void dot_block(double *dw, size_t n, const float *dy, const float *column, int T) {
    const float *dy1 = dy + (size_t)T, *dy2 = dy1 + (size_t)T, *dy3 = dy2 + (size_t)T;
    lanes sum0 = {0.0f}, sum1 = {0.0f}, sum2 = {0.0f}, sum3 = {0.0f};
    float rest0 = 0.0f, rest1 = 0.0f, rest2 = 0.0f, rest3 = 0.0f;
    int t = 0;
    for (; t + LANES <= T; t += LANES) {
        lanes row = lanes_at(column + t);
        sum0 += lanes_at(dy + t) * row;
        sum1 += lanes_at(dy1 + t) * row;
        sum2 += lanes_at(dy2 + t) * row;
        sum3 += lanes_at(dy3 + t) * row;
    }
    for (; t < T; t++) {
        rest0 += dy[t] * column[t];
        rest1 += dy1[t] * column[t];
        rest2 += dy2[t] * column[t];
        rest3 += dy3[t] * column[t];
    }
    dw[0] += (double)(lanes_sum(sum0) + rest0);
    dw[n] += (double)(lanes_sum(sum1) + rest1);
    dw[2 * n] += (double)(lanes_sum(sum2) + rest2);
    dw[3 * n] += (double)(lanes_sum(sum3) + rest3);
}

void conv_backward_weight(const struct conv_shape *shape, double *dweight, const float *dy,
                          const float *columns) {
    int T = shape->T_out, n = shape->in * CONV_TAPS;
    assert(shape->out % BLOCK == 0);

    for (int o = 0; o < shape->out; o += BLOCK) {
        for (int j = 0; j < n; j++) {
            dot_block(dweight + (size_t)o * (size_t)n + j, (size_t)n, dy + (size_t)o * (size_t)T,
                      columns + (size_t)j * (size_t)T, T);
        }
    }
}

void conv_backward_input(const struct conv_shape *shape, float *dx, float *columns, const float *dy,
                         const float *weight) {
    int n = shape->in * CONV_TAPS, first = 0, last = 0;
    product(columns, n, shape->T_out, (struct factor){weight, 1, (size_t)n}, dy, shape->out);
    memset(dx, 0, (size_t)shape->in * (size_t)shape->T_in * sizeof dx[0]);
    for (int i = 0; i < shape->in; i++) {
        float *channel = dx + (size_t)i * (size_t)shape->T_in;
        for (int k = 0; k < CONV_TAPS; k++) {
            const float *row = columns + (size_t)(i * CONV_TAPS + k) * (size_t)shape->T_out;
            inside(shape, k, &first, &last);
            for (int t = first; t < last; t++) {
                channel[t * shape->stride + k - 1] += row[t];
            }
        }
    }
}

/* ---- batch normalisation --------------------------------------------------------------------- */

static const float *channel_of(struct batch_shape shape, const float *y, int b, int c) {
    return y + ((size_t)b * (size_t)shape.C + (size_t)c) * (size_t)shape.T;
}

void batchnorm_statistics(struct batch_shape shape, float *mean, float *variance, const float *y) {
    double n = (double)shape.B * (double)shape.T;
    assert(shape.B > 0 && shape.T > 0);

    for (int c = 0; c < shape.C; c++) {
        double sum = 0.0, squares = 0.0;
        for (int b = 0; b < shape.B; b++) {
            const float *row = channel_of(shape, y, b, c);
            for (int t = 0; t < shape.T; t++) {
                sum += (double)row[t];
            }
        }
        double middle = sum / n;
        for (int b = 0; b < shape.B; b++) { /* the second time over: no cancellation */
            const float *row = channel_of(shape, y, b, c);
            for (int t = 0; t < shape.T; t++) {
                squares += ((double)row[t] - middle) * ((double)row[t] - middle);
            }
        }
        mean[c] = (float)middle;
        variance[c] = (float)(squares / n);
    }
}

void batchnorm_relu(struct batch_shape shape, float *out, const float *y, const float *residual,
                    const float *mean, const float *variance, const float *gain,
                    const float *bias) {
    for (int b = 0; b < shape.B; b++) {
        for (int c = 0; c < shape.C; c++) {
            size_t at = ((size_t)b * (size_t)shape.C + (size_t)c) * (size_t)shape.T;
            float scale = gain[c] / sqrtf(variance[c] + BATCHNORM_EPSILON);
            for (int t = 0; t < shape.T; t++) {
                float value = (y[at + (size_t)t] - mean[c]) * scale + bias[c];
                if (residual != NULL) { value += residual[at + (size_t)t]; }
                out[at + (size_t)t] = value < 0.0f ? 0.0f : value; /* a NaN stays one */
            }
        }
    }
}

void batchnorm_backward(struct batch_shape shape, float *dy, double *dgain, double *dbias,
                        const float *dout, const float *y, const float *mean, const float *variance,
                        const float *gain) {
    double n = (double)shape.B * (double)shape.T;
    for (int c = 0; c < shape.C; c++) {
        double rstd = 1.0 / sqrt((double)variance[c] + (double)BATCHNORM_EPSILON);
        double sum = 0.0, along = 0.0; /* of dout, and of dout times the normalised y */
        for (int b = 0; b < shape.B; b++) {
            const float *row = channel_of(shape, y, b, c), *d = channel_of(shape, dout, b, c);
            for (int t = 0; t < shape.T; t++) {
                sum += (double)d[t];
                along += (double)d[t] * ((double)row[t] - (double)mean[c]) * rstd;
            }
        }
        dgain[c] += along;
        dbias[c] += sum;

        float scale = (float)((double)gain[c] * rstd);
        float even = (float)(sum / n), slope = (float)(along / n * rstd);
        for (int b = 0; b < shape.B; b++) {
            size_t at = ((size_t)b * (size_t)shape.C + (size_t)c) * (size_t)shape.T;
            for (size_t t = at; t < at + (size_t)shape.T; t++) {
                dy[t] = scale * (dout[t] - even - (y[t] - mean[c]) * slope);
            }
        }
    }
}
