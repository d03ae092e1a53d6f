/* SPDX-License-Identifier: Apache-2.0
 *
 * reference.c - see reference.h. */
#include "tests/kernels/reference.h"

#include <math.h>
#include <string.h>

static double *at(double *x, int cols, int row) {
    return x + (size_t)row * (size_t)cols;
}

/* A float's value rounded to bf16, as a double. */
static double bf16(double x) {
    float f = (float)x;
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* in: x (N,K), w (C,K), bias (1,C); out: y (N,C) */
void reference_linear(const struct op_case *c, const int32_t *index, double *const *in,
                      double *const *out) {
    (void)index;
    bool round = c->precision == PRECISION_BF16;
    for (int n = 0; n < c->N; n++) {
        for (int o = 0; o < c->C; o++) {
            double sum = c->flag_b ? in[2][o] : 0.0;
            for (int i = 0; i < c->K; i++) {
                double x = at(in[0], c->K, n)[i], w = at(in[1], c->K, o)[i];
                sum += round ? bf16(x) * bf16(w) : x * w;
            }
            at(out[0], c->C, n)[o] = sum;
        }
    }
}

/* in: dy (N,C), w (C,K), dx (N,K); out: dx (N,K), added to when flag_a */
void reference_linear_back(const struct op_case *c, const int32_t *index, double *const *in,
                           double *const *out) {
    (void)index;
    bool round = c->precision == PRECISION_BF16;
    for (int n = 0; n < c->N; n++) {
        for (int i = 0; i < c->K; i++) {
            double sum = c->flag_a ? at(in[2], c->K, n)[i] : 0.0;
            for (int o = 0; o < c->C; o++) {
                double dy = at(in[0], c->C, n)[o], w = at(in[1], c->K, o)[i];
                sum += round ? bf16(dy) * bf16(w) : dy * w;
            }
            at(out[0], c->K, n)[i] = sum;
        }
    }
}

/* in: a (N,K) or (K,N), b (K,C) or (C,K), c (N,C); out: c (N,C) */
void reference_product(const struct op_case *c, const int32_t *index, double *const *in,
                       double *const *out) {
    (void)index;
    for (int i = 0; i < c->N; i++) {
        for (int j = 0; j < c->C; j++) {
            double sum = 0.0;
            for (int l = 0; l < c->K; l++) {
                double a = c->flag_a ? at(in[0], c->N, l)[i] : at(in[0], c->K, i)[l];
                double b = c->flag_b ? at(in[1], c->K, j)[l] : at(in[1], c->C, l)[j];
                sum += a * b;
            }
            double old = at(in[2], c->C, i)[j];
            at(out[0], c->C, i)[j] = (double)c->alpha * sum + (double)c->beta * old;
        }
    }
}

/* in: x (N,C), gain (1,C); out: y (N,C), rstd (N,1) */
void reference_rmsnorm(const struct op_case *c, const int32_t *index, double *const *in,
                       double *const *out) {
    (void)index;
    for (int n = 0; n < c->N; n++) {
        const double *x = at(in[0], c->C, n);
        double sum = 0.0;
        for (int i = 0; i < c->C; i++) {
            sum += x[i] * x[i];
        }
        double rstd = 1.0 / sqrt(sum / c->C + (double)c->alpha);
        for (int i = 0; i < c->C; i++) {
            at(out[0], c->C, n)[i] = x[i] * rstd * in[1][i];
        }
        out[1][n] = rstd;
    }
}

/* in: x (N,C), gain (1,C), bias (1,C); out: y (N,C), mean (N,1), rstd (N,1) */
void reference_layernorm(const struct op_case *c, const int32_t *index, double *const *in,
                         double *const *out) {
    (void)index;
    for (int n = 0; n < c->N; n++) {
        const double *x = at(in[0], c->C, n);
        double mean = 0.0, spread = 0.0;
        for (int i = 0; i < c->C; i++) {
            mean += x[i] / c->C;
        }
        for (int i = 0; i < c->C; i++) {
            spread += (x[i] - mean) * (x[i] - mean) / c->C;
        }
        double rstd = 1.0 / sqrt(spread + (double)c->alpha);
        for (int i = 0; i < c->C; i++) {
            at(out[0], c->C, n)[i] = (x[i] - mean) * rstd * in[1][i] + in[2][i];
        }
        out[1][n] = mean;
        out[2][n] = rstd;
    }
}

/* in: x (N,H*D), table (K,D); index: position; out: x (N,H*D) */
void reference_rotary(const struct op_case *c, const int32_t *index, double *const *in,
                      double *const *out) {
    double sign = c->flag_a ? -1.0 : 1.0;
    for (int n = 0; n < c->N; n++) {
        const double *table = at(in[1], c->D, index[n]);
        for (int h = 0; h < c->H; h++) {
            const double *x = at(in[0], c->H * c->D, n) + h * c->D;
            double *y = at(out[0], c->H * c->D, n) + h * c->D;
            for (int j = 0; j < c->D / 2; j++) {
                double cosine = table[j], sine = sign * table[c->D / 2 + j];
                y[j] = x[j] * cosine - x[c->D / 2 + j] * sine;
                y[c->D / 2 + j] = x[c->D / 2 + j] * cosine + x[j] * sine;
            }
        }
    }
}

/* Row n may look at row m, by the segments. */
static bool sees(const struct op_case *c, int n, int m) {
    for (int i = 0; i < c->segment_count; i++) {
        const struct segment *s = &c->segments[i];
        if (n < s->begin || n >= s->end) { continue; }
        return (m >= s->prefix_begin && m < s->prefix_end) || (m >= s->begin && m <= n);
    }
    return false;
}

static void attention_row(const struct op_case *c, double *const *in, double *const *out, int n,
                          int h) {
    int g = h / (c->H / c->G);
    const double *q = at(in[0], c->H * c->D, n) + h * c->D;
    double *o = at(out[0], c->H * c->D, n) + h * c->D;
    double sum = 0.0;

    for (int d = 0; d < c->D; d++) {
        o[d] = 0.0;
    }
    for (int m = 0; m < c->N; m++) {
        if (!sees(c, n, m)) { continue; }
        double score = 0.0;
        for (int d = 0; d < c->D; d++) {
            score += q[d] * (at(in[1], c->G * c->D, m) + g * c->D)[d];
        }
        double e = exp(score * (double)c->alpha);
        sum += e;
        for (int d = 0; d < c->D; d++) {
            o[d] += e * (at(in[2], c->G * c->D, m) + g * c->D)[d];
        }
    }
    for (int d = 0; d < c->D; d++) {
        o[d] /= sum;
    }
    at(out[1], c->H, n)[h] = log(sum);
}

/* in: q (N,H*D), k (N,G*D), v (N,G*D); out: o (N,H*D), lse (N,H) */
void reference_attention(const struct op_case *c, const int32_t *index, double *const *in,
                         double *const *out) {
    (void)index;
    for (int n = 0; n < c->N; n++) {
        for (int h = 0; h < c->H; h++) {
            attention_row(c, in, out, n, h);
        }
    }
}

static void cached_row(const struct op_case *c, double *const *in, double *const *out, int n,
                       int h) {
    const double *q = at(in[0], c->H * c->D, n) + h * c->D;
    double *o = at(out[0], c->H * c->D, n) + h * c->D;
    int key_head = h / (c->H / c->G) * c->D;
    double sum = 0.0;

    for (int d = 0; d < c->D; d++) {
        o[d] = 0.0;
    }
    for (int m = c->ranges[n].begin; m < c->ranges[n].end; m++) {
        double score = 0.0;
        for (int d = 0; d < c->D; d++) {
            score += q[d] * (at(in[1], c->G * c->D, m) + key_head)[d];
        }
        double e = exp(score * (double)c->alpha);
        sum += e;
        for (int d = 0; d < c->D; d++) {
            o[d] += e * (at(in[2], c->G * c->D, m) + key_head)[d];
        }
    }
    for (int d = 0; d < c->D; d++) {
        o[d] /= sum;
    }
}

/* in: q (N,H*D), k (K,G*D), v (K,G*D); out: o (N,H*D) */
void reference_attention_cached(const struct op_case *c, const int32_t *index, double *const *in,
                                double *const *out) {
    (void)index;
    for (int n = 0; n < c->N; n++) {
        for (int h = 0; h < c->H; h++) {
            cached_row(c, in, out, n, h);
        }
    }
}

/* in: gate_up (N,2C); out: y (N,C) */
void reference_swiglu(const struct op_case *c, const int32_t *index, double *const *in,
                      double *const *out) {
    (void)index;
    for (int n = 0; n < c->N; n++) {
        for (int i = 0; i < c->C; i++) {
            double gate = at(in[0], 2 * c->C, n)[i], up = at(in[0], 2 * c->C, n)[c->C + i];
            at(out[0], c->C, n)[i] = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

/* in: x (N,C); out: y (N,C) */
void reference_gelu(const struct op_case *c, const int32_t *index, double *const *in,
                    double *const *out) {
    (void)index;
    for (int i = 0; i < c->N * c->C; i++) {
        out[0][i] = 0.5 * in[0][i] * (1.0 + erf(in[0][i] / sqrt(2.0)));
    }
}

void reference_relu(const struct op_case *c, const int32_t *index, double *const *in,
                    double *const *out) {
    (void)index;
    for (int i = 0; i < c->N * c->C; i++) {
        out[0][i] = in[0][i] > 0.0 ? in[0][i] : 0.0;
    }
}

/* in: x (N,C), dst (N,C); out: dst (N,C) */
void reference_axpby(const struct op_case *c, const int32_t *index, double *const *in,
                     double *const *out) {
    (void)index;
    for (int i = 0; i < c->N * c->C; i++) {
        out[0][i] = (double)c->alpha * in[0][i] + (double)c->beta * in[1][i];
    }
}

void reference_multiply(const struct op_case *c, const int32_t *index, double *const *in,
                        double *const *out) {
    (void)index;
    for (int i = 0; i < c->N * c->C; i++) {
        out[0][i] = in[0][i] * in[1][i];
    }
}

/* in: x (N,C), bias (1,C); out: x (N,C) */
void reference_add_bias(const struct op_case *c, const int32_t *index, double *const *in,
                        double *const *out) {
    (void)index;
    for (int i = 0; i < c->N * c->C; i++) {
        out[0][i] = in[0][i] + in[1][i % c->C];
    }
}

/* in: dx (N,C), dbias (1,C); out: dbias (1,C) */
void reference_sum_rows(const struct op_case *c, const int32_t *index, double *const *in,
                        double *const *out) {
    (void)index;
    for (int i = 0; i < c->C; i++) {
        out[0][i] = in[1][i];
        for (int n = 0; n < c->N; n++) {
            out[0][i] += at(in[0], c->C, n)[i];
        }
    }
}

/* in: src (K,C); index (N); out: dst (N,C) */
void reference_gather(const struct op_case *c, const int32_t *index, double *const *in,
                      double *const *out) {
    for (int n = 0; n < c->N; n++) {
        for (int i = 0; i < c->C; i++) {
            at(out[0], c->C, n)[i] = index[n] < 0 ? 0.0 : at(in[0], c->C, index[n])[i];
        }
    }
}

/* in: src (N,C), dst (K,C); index (N); out: dst (K,C) */
void reference_scatter(const struct op_case *c, const int32_t *index, double *const *in,
                       double *const *out) {
    memcpy(out[0], in[1], (size_t)c->K * (size_t)c->C * sizeof(double));
    for (int n = 0; n < c->N; n++) {
        for (int i = 0; i < c->C && index[n] >= 0; i++) {
            at(out[0], c->C, index[n])[i] = at(in[0], c->C, n)[i];
        }
    }
}

void reference_scatter_add(const struct op_case *c, const int32_t *index, double *const *in,
                           double *const *out) {
    memcpy(out[0], in[1], (size_t)c->K * (size_t)c->C * sizeof(double));
    for (int n = 0; n < c->N; n++) {
        for (int i = 0; i < c->C && index[n] >= 0; i++) {
            at(out[0], c->C, index[n])[i] += at(in[0], c->C, n)[i];
        }
    }
}

/* in: h (N,C), gate (H,K); index: sequence; out: u (N,C) */
void reference_gate(const struct op_case *c, const int32_t *index, double *const *in,
                    double *const *out) {
    for (int n = 0; n < c->N; n++) {
        for (int r = 0; r < c->C; r++) {
            double g = at(in[1], c->K, index[n])[r / (c->C / c->K)];
            at(out[0], c->C, n)[r] = at(in[0], c->C, n)[r] * g;
        }
    }
}

/* log of the sum of e^x over a row */
static double row_lse(const double *x, int count) {
    double top = x[0], sum = 0.0;

    for (int i = 1; i < count; i++) {
        top = fmax(top, x[i]);
    }
    for (int i = 0; i < count; i++) {
        sum += exp(x[i] - top);
    }
    return top + log(sum);
}

/* in: x (N,C); out: w (N,C); beta: floor */
void reference_softmax(const struct op_case *c, const int32_t *index, double *const *in,
                       double *const *out) {
    double floor_share = (double)c->beta;

    (void)index;
    for (int n = 0; n < c->N; n++) {
        double lse = row_lse(at(in[0], c->C, n), c->C);
        for (int i = 0; i < c->C; i++) {
            double p = exp(at(in[0], c->C, n)[i] - lse);
            at(out[0], c->C, n)[i] = floor_share / c->C + (1.0 - floor_share) * p;
        }
    }
}

/* in: logits (N,C), weight (N,1); index: target; out: loss (N,1), dlogits (N,C) */
void reference_cross_entropy(const struct op_case *c, const int32_t *index, double *const *in,
                             double *const *out) {
    for (int n = 0; n < c->N; n++) {
        const double *x = at(in[0], c->C, n);
        double lse = row_lse(x, c->C);
        out[0][n] = index[n] < 0 ? 0.0 : lse - x[index[n]];
        for (int i = 0; i < c->C; i++) {
            double onehot = i == index[n] ? 1.0 : 0.0;
            double d = in[1][n] * (exp(x[i] - lse) - onehot);
            at(out[1], c->C, n)[i] = index[n] < 0 ? 0.0 : d;
        }
    }
}

/* in: logits (N,C); index: target; out: logprob (N,1) */
void reference_log_softmax_at(const struct op_case *c, const int32_t *index, double *const *in,
                              double *const *out) {
    for (int n = 0; n < c->N; n++) {
        const double *x = at(in[0], c->C, n);
        out[0][n] = x[index[n]] - row_lse(x, c->C);
    }
}

void reference_log_softmax(const struct op_case *c, const int32_t *index, double *const *in,
                           double *const *out) {
    (void)index;
    for (int n = 0; n < c->N; n++) {
        const double *x = at(in[0], c->C, n);
        double lse = row_lse(x, c->C);
        for (int i = 0; i < c->C; i++) {
            at(out[0], c->C, n)[i] = x[i] - lse;
        }
    }
}

/* One element of AdamW, step 3, betas 0.9 and 0.99, epsilon 1e-6, gradients halved, lr 0.01, decay
 * `alpha`. The second moment's input is squared, so that it is not negative. */
static void adam_element(double *value, double *m, double *v, double grad, double decay) {
    double g = grad * 0.5;

    *m = 0.9 * *m + 0.1 * g;
    *v = 0.99 * *v + 0.01 * g * g;
    double mhat = *m / (1.0 - 0.9 * 0.9 * 0.9), vhat = *v / (1.0 - 0.99 * 0.99 * 0.99);
    *value -= 0.01 * decay * *value + 0.01 * mhat / (sqrt(vhat) + 1e-6);
}

/* in: value, grad, moment1, moment2 (N,C); out: value, moment1, moment2 (N,C) */
void reference_adamw(const struct op_case *c, const int32_t *index, double *const *in,
                     double *const *out) {
    (void)index;
    for (int i = 0; i < c->N * c->C; i++) {
        out[0][i] = in[0][i];
        out[1][i] = in[2][i];
        out[2][i] = in[3][i];
        adam_element(&out[0][i], &out[1][i], &out[2][i], in[1][i], (double)c->alpha);
    }
}

/* in: value (K,C), grad (N,C), moment1, moment2 (K,C); index; out: value, moment1, moment2 (K,C) */
void reference_adam_rows(const struct op_case *c, const int32_t *index, double *const *in,
                         double *const *out) {
    for (int i = 0; i < c->K * c->C; i++) {
        out[0][i] = in[0][i];
        out[1][i] = in[2][i];
        out[2][i] = in[3][i];
    }
    for (int n = 0; n < c->N; n++) {
        for (int i = 0; i < c->C; i++) {
            adam_element(&at(out[0], c->C, index[n])[i], &at(out[1], c->C, index[n])[i],
                         &at(out[2], c->C, index[n])[i], at(in[1], c->C, n)[i], (double)c->alpha);
        }
    }
}
