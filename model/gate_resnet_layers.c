/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_resnet_layers.c - convolution and batch normalisation of the ResNet gate, plain loops.
 *
 * The products keep eight positions of four channels in registers: with everything in the first
 * cache, that is what a compiler turns into vectors without reordering any sum. */
#include "model/gate_resnet_layers.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LANES 8 /* positions at a time */
#define BLOCK 4 /* output channels at a time */

void conv_columns(const struct conv_shape *shape, float *columns, const float *x) {
    assert(shape->stride == 1 || shape->stride == 2);

    for (int i = 0; i < shape->in; i++) {
        const float *channel = x + (size_t)i * (size_t)shape->T_in;
        for (int k = 0; k < CONV_TAPS; k++) {
            float *row = columns + (size_t)(i * CONV_TAPS + k) * (size_t)shape->T_out;
            for (int t = 0; t < shape->T_out; t++) {
                int at = t * shape->stride + k - 1;
                row[t] = at >= 0 && at < shape->T_in ? channel[at] : 0.0f;
            }
        }
    }
}

/* A matrix that may stand on its side: element (r,j) is at r * row + j * step. */
struct factor {
    const float *data;
    size_t row, step;
};

/* y (4,8), rows T apart: = a (4,n) x (n,8), rows T apart */
static void product_block(float *y, int T, struct factor a, const float *x, int n) {
    float sum[BLOCK][LANES] = {{0.0f}};
    for (int j = 0; j < n; j++) {
        const float *row = x + (size_t)j * (size_t)T;
        for (int o = 0; o < BLOCK; o++) {
            float w = a.data[(size_t)o * a.row + (size_t)j * a.step];
            for (int t = 0; t < LANES; t++) {
                sum[o][t] += w * row[t];
            }
        }
    }
    for (int o = 0; o < BLOCK; o++) {
        memcpy(y + (size_t)o * (size_t)T, sum[o], sizeof sum[o]);
    }
}

/* y (rows,T) = a (rows,n) x (n,T); every element sums over j in order. */
static void product(float *y, int rows, int T, struct factor a, const float *x, int n) {
    int whole = T - T % LANES;
    assert(rows % BLOCK == 0);

    for (int o = 0; o < rows; o += BLOCK) {
        struct factor part = {a.data + (size_t)o * a.row, a.row, a.step};
        for (int t = 0; t < whole; t += LANES) {
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

static float dot(const float *a, const float *b, int n) {
    float lane[LANES] = {0.0f};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            lane[l] += a[i + l] * b[i + l];
        }
    }
    for (; i < n; i++) {
        lane[i % LANES] += a[i] * b[i];
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void conv_backward_weight(const struct conv_shape *shape, double *dweight, const float *dy,
                          const float *columns) {
    int T = shape->T_out, n = shape->in * CONV_TAPS;
    for (int o = 0; o < shape->out; o++) {
        const float *row = dy + (size_t)o * (size_t)T;
        double *out = dweight + (size_t)o * (size_t)n;
        for (int j = 0; j < n; j++) {
            out[j] += (double)dot(row, columns + (size_t)j * (size_t)T, T);
        }
    }
}

void conv_backward_input(const struct conv_shape *shape, float *dx, float *columns, const float *dy,
                         const float *weight) {
    int n = shape->in * CONV_TAPS;
    product(columns, n, shape->T_out, (struct factor){weight, 1, (size_t)n}, dy, shape->out);
    memset(dx, 0, (size_t)shape->in * (size_t)shape->T_in * sizeof dx[0]);
    for (int i = 0; i < shape->in; i++) {
        float *channel = dx + (size_t)i * (size_t)shape->T_in;
        for (int k = 0; k < CONV_TAPS; k++) {
            const float *row = columns + (size_t)(i * CONV_TAPS + k) * (size_t)shape->T_out;
            for (int t = 0; t < shape->T_out; t++) {
                int at = t * shape->stride + k - 1;
                if (at >= 0 && at < shape->T_in) { channel[at] += row[t]; }
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
