/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_resnet_layers.h - the two layers that the ResNet gate repeats: convolution of width 3 over a
 * signal, and batch normalisation.
 *
 *   x (I,T) ─columns─▶ (3I,T') : row 3i+k, column t is x[i, t stride + k - 1], zeros outside
 *   y (O,T') = w (O,3I) columns          no bias; T' = ceil(T / stride) (PyTorch's Conv1d, pad 1)
 *
 * Plain loops on the host, f32; sums over a whole batch are in double and in a fixed order, so the
 * same inputs give the same bits on every backend. One sample a call where nothing couples them.
 */
#ifndef MODEL_GATE_RESNET_LAYERS_H
#define MODEL_GATE_RESNET_LAYERS_H

#include <stddef.h>

#define CONV_TAPS         3
#define BATCHNORM_EPSILON 1e-5f /* PyTorch's BatchNorm1d */

struct conv_shape {
    int in, out;     /* channels */
    int stride;      /* 1 or 2 */
    int T_in, T_out; /* positions */
};

/* columns (3I,T'): = */
void conv_columns(const struct conv_shape *shape, float *columns, const float *x);
/* y (O,T'): = */
void conv_forward(const struct conv_shape *shape, float *y, const float *columns,
                  const float *weight);
/* dweight (O,3I): += */
void conv_backward_weight(const struct conv_shape *shape, double *dweight, const float *dy,
                          const float *columns);
/* dx (I,T): = ; columns (3I,T'): scratch */
void conv_backward_input(const struct conv_shape *shape, float *dx, float *columns, const float *dy,
                         const float *weight);

/* B samples of C channels and T positions: y (B,C,T). */
struct batch_shape {
    int B, C, T;
};

/* mean, variance (C): = of the batch; the variance is the biased one (Ioffe & Szegedy 2015). */
void batchnorm_statistics(struct batch_shape shape, float *mean, float *variance, const float *y);
/* out (B,C,T): = relu(gain (y - mean) / sqrt(variance + epsilon) + bias + residual); residual
 * (B,C,T) or NULL. out may be residual. */
void batchnorm_relu(struct batch_shape shape, float *out, const float *y, const float *residual,
                    const float *mean, const float *variance, const float *gain, const float *bias);
/* dy (B,C,T): = , may alias dout; dgain, dbias (C): += . dout is the gradient of gain (..) + bias
 * (what relu let through). mean, variance: those of this very batch, so they take part. */
void batchnorm_backward(struct batch_shape shape, float *dy, double *dgain, double *dbias,
                        const float *dout, const float *y, const float *mean, const float *variance,
                        const float *gain);

#endif
