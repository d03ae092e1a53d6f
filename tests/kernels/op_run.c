/* SPDX-License-Identifier: Apache-2.0
 *
 * op_run.c - runs a case on a backend and judges it.
 *
 * Every tensor lies in a larger one full of guard numbers: GUARD elements before and after, `pad`
 * between rows. After the run each guard must still be there. */
#include "tests/kernels/op_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

#define GUARD       8
#define GUARD_VALUE -12345.678f
#define WRONG       1e9 /* an excess that no comparison gives */

/* Tolerances: |a-b| <= ATOL * scale + RTOL * |ref| where scale is the largest |ref|, and the
 * normalised mean square error <= NMSE_MAX. */
#define ATOL     2e-5
#define RTOL     1e-4
#define NMSE_MAX 1e-7
/* Inputs are about 1; where the exact answer is 0 (a softmax over one column), the rest is
 * rounding. */
#define SCALE_MIN   1e-2
#define SQUARED_MIN 1e-4

/* Elements of one input whose derivative is taken, and the step: the error of a central difference
 * in double is about h^2 + 1e-16/h. */
#define SAMPLES_MAX 48
#define STEP        1e-5

/* One tensor of the run with its surroundings. */
struct field {
    struct op_shape shape;
    struct tensor whole; /* (1, everything) */
    struct tensor view;
    float *host;  /* owns: dense values */
    double *wide; /* owns: the same in double */
};

struct bench {
    struct backend *be;
    const struct op_case *c;
    const struct op *op;
    struct field in[OP_INPUTS_MAX], out[OP_OUTPUTS_MAX];
    struct field dout[OP_OUTPUTS_MAX], din[OP_INPUTS_MAX];
    int index_rows;
    int32_t *index;
    struct tensor index_tensor;
};

static size_t field_count(const struct field *f) {
    return (size_t)f->shape.rows * (size_t)f->shape.cols;
}

static void die_unless(bool ok, const char *what) {
    if (!ok) { (void)fprintf(stderr, "op_run: %s\n", what); }
    assert(ok);
}

/* Writes the field's dense host values into its guarded device memory. */
static void field_upload(struct backend *be, struct field *f, int pad) {
    struct error err = {0};
    int stride = f->shape.cols + pad, size = 2 * GUARD + f->shape.rows * stride;
    float *all = MEMORY_TAKE_ARRAY(float, size);

    die_unless(all != NULL, "no memory");
    if (f->whole.data == NULL) {
        die_unless(backend_tensor_take(be, DTYPE_F32, 1, size, &f->whole, &err) == STATUS_OK,
                   err.text);
    }
    f->view = tensor_cols(f->whole, GUARD, size - 2 * GUARD);
    f->view.rows = f->shape.rows;
    f->view.cols = f->shape.cols;
    f->view.stride = stride;
    for (int i = 0; i < size; i++) {
        all[i] = GUARD_VALUE;
    }
    for (int n = 0; n < f->shape.rows; n++) {
        memcpy(all + GUARD + n * stride, f->host + (size_t)n * (size_t)f->shape.cols,
               (size_t)f->shape.cols * sizeof(float));
    }
    die_unless(be->ops->upload(be, f->whole, all, &err) == STATUS_OK, err.text);
    memory_free(all);
}

/* Reads the values back into host; false when a guard number changed. */
static bool field_download(struct backend *be, struct field *f) {
    struct error err = {0};
    int size = f->whole.cols;
    float *all = MEMORY_TAKE_ARRAY(float, size);
    bool whole = true;

    die_unless(all != NULL, "no memory");
    die_unless(be->ops->download(be, all, f->whole, &err) == STATUS_OK, err.text);
    for (int i = 0; i < size; i++) {
        int at = i - GUARD;
        bool inside =
            at >= 0 && at < f->shape.rows * f->view.stride && at % f->view.stride < f->shape.cols;
        if (inside) {
            f->host[at / f->view.stride * f->shape.cols + at % f->view.stride] = all[i];
        } else if (all[i] != GUARD_VALUE) {
            whole = false;
        }
    }
    memory_free(all);
    return whole;
}

static void field_make(struct field *f, struct op_shape shape) {
    *f = (struct field){.shape = shape};
    f->host = MEMORY_TAKE_ARRAY(float, field_count(f) + 1);
    f->wide = MEMORY_TAKE_ARRAY(double, field_count(f) + 1);
    die_unless(f->host != NULL && f->wide != NULL, "no memory");
}

/* Normal numbers away from 0 (where ReLU has its corner), the same in float and in double. */
static void field_random(struct field *f, struct rng *rng, bool positive) {
    for (size_t i = 0; i < field_count(f); i++) {
        float x = (float)rng_normal(rng);
        x += x < 0.0f ? -0.01f : 0.01f;
        f->host[i] = positive ? x * x : x;
        f->wide[i] = (double)f->host[i];
    }
}

static void field_free(struct backend *be, struct field *f) {
    backend_tensor_give(be, &f->whole);
    memory_free(f->host);
    memory_free(f->wide);
}

static void bench_open(struct bench *b, struct backend *be, const struct op_case *c) {
    struct op_shape in[OP_INPUTS_MAX] = {{0, 0}}, out[OP_OUTPUTS_MAX] = {{0, 0}};
    struct rng rng = rng_make(7, (uint64_t)(c->N * 1000 + c->C));
    struct error err = {0};

    *b = (struct bench){.be = be, .c = c, .op = op_find(c->op)};
    die_unless(b->op != NULL, c->op);
    b->op->shapes(c, in, out, &b->index_rows);
    for (int i = 0; i < b->op->in_count; i++) {
        bool positive = i == 3 && c->op[0] == 'a'; /* the second moment of Adam */
        field_make(&b->in[i], in[i]);
        field_make(&b->din[i], in[i]);
        field_random(&b->in[i], &rng, positive);
        field_random(&b->din[i], &rng, false);
        field_upload(be, &b->in[i], c->pad);
        field_upload(be, &b->din[i], c->pad);
    }
    for (int o = 0; o < b->op->out_count; o++) {
        field_make(&b->out[o], out[o]);
        field_make(&b->dout[o], out[o]);
        field_random(&b->out[o], &rng, false);
        field_random(&b->dout[o], &rng, false);
        field_upload(be, &b->out[o], c->pad);
        field_upload(be, &b->dout[o], c->pad);
    }
    if (b->op->index == NULL) { return; }
    b->index = MEMORY_TAKE_ARRAY(int32_t, b->index_rows + 1);
    die_unless(b->index != NULL, "no memory");
    b->op->index(c, b->index);
    die_unless(backend_tensor_take(be, DTYPE_I32, b->index_rows, 1, &b->index_tensor, &err) ==
                   STATUS_OK,
               err.text);
    die_unless(be->ops->upload(be, b->index_tensor, b->index, &err) == STATUS_OK, err.text);
}

static void bench_close(struct bench *b) {
    for (int i = 0; i < b->op->in_count; i++) {
        field_free(b->be, &b->in[i]);
        field_free(b->be, &b->din[i]);
    }
    for (int o = 0; o < b->op->out_count; o++) {
        field_free(b->be, &b->out[o]);
        field_free(b->be, &b->dout[o]);
    }
    backend_tensor_give(b->be, &b->index_tensor);
    memory_free(b->index);
}

static struct op_run bench_run(const struct bench *b) {
    struct op_run run = {.be = b->be, .c = b->c, .index = b->index_tensor};

    for (int i = 0; i < b->op->in_count; i++) {
        run.in[i] = b->in[i].view;
        run.din[i] = b->din[i].view;
        run.host_in[i] = b->in[i].host;
    }
    for (int o = 0; o < b->op->out_count; o++) {
        run.out[o] = b->out[o].view;
        run.dout[o] = b->dout[o].view;
    }
    return run;
}

static void bench_reference(const struct bench *b) {
    double *in[OP_INPUTS_MAX] = {NULL}, *out[OP_OUTPUTS_MAX] = {NULL};

    for (int i = 0; i < b->op->in_count; i++) {
        in[i] = b->in[i].wide;
    }
    for (int o = 0; o < b->op->out_count; o++) {
        out[o] = b->out[o].wide;
    }
    b->op->reference(b->c, b->index, in, out);
}

/* ---- judging --------------------------------------------------------------------------------- */

struct judge {
    double excess;                 /* worst |a-b| / tolerance */
    double error_squared, squared; /* sums for the NMSE */
    bool finite;
};

static void judge_add(struct judge *j, double got, double want, double scale) {
    double error = fabs(got - want), allowed = ATOL * scale + RTOL * fabs(want);

    if (!isfinite(got)) { j->finite = false; }
    j->excess = fmax(j->excess, error / (allowed > 0.0 ? allowed : 1e-30));
    j->error_squared += error * error;
    j->squared += want * want;
}

static double judge_verdict(const struct judge *j) {
    double nmse = j->error_squared / (j->squared + SQUARED_MIN);

    return j->finite ? fmax(j->excess, nmse / NMSE_MAX) : WRONG;
}

static void say(char *ret_words, size_t words_bytes, const struct bench *b, const char *what,
                int which) {
    (void)snprintf(ret_words, words_bytes, "%s N=%d C=%d K=%d H=%d G=%d D=%d pad=%d: %s %d",
                   b->c->op, b->c->N, b->c->C, b->c->K, b->c->H, b->c->G, b->c->D, b->c->pad, what,
                   which); /* cut when too long */
}

static double field_judge(struct field *f) {
    struct judge j = {.finite = true};
    double scale = SCALE_MIN;

    for (size_t i = 0; i < field_count(f); i++) {
        scale = fmax(scale, fabs(f->wide[i]));
    }
    for (size_t i = 0; i < field_count(f); i++) {
        judge_add(&j, (double)f->host[i], f->wide[i], scale);
    }
    return judge_verdict(&j);
}

double op_check_forward(struct backend *be, const struct op_case *c, char *ret_words,
                        size_t words_bytes) {
    struct bench b;
    double worst = 0.0;

    bench_open(&b, be, c);
    struct op_run run = bench_run(&b);
    b.op->forward(&run);
    bench_reference(&b);
    for (int o = 0; o < b.op->out_count; o++) {
        double excess = field_download(be, &b.out[o]) ? field_judge(&b.out[o]) : WRONG;
        if (excess > worst) {
            worst = excess;
            say(ret_words, words_bytes, &b, "output", o);
        }
    }
    for (int i = 0; i < b.op->in_count; i++) {
        if (field_download(be, &b.in[i])) { continue; }
        worst = WRONG;
        say(ret_words, words_bytes, &b, "guard of input", i);
    }
    bench_close(&b);
    return worst;
}

/* The loss of the reference: sum over the outputs that count of dout * out. */
static double bench_loss(const struct bench *b) {
    double loss = 0.0;

    bench_reference(b);
    for (int o = 0; o < b->op->out_count; o++) {
        for (size_t e = 0; ((b->op->grad_out >> o) & 1u) != 0 && e < field_count(&b->out[o]); e++) {
            loss += b->dout[o].wide[e] * b->out[o].wide[e];
        }
    }
    return loss;
}

/* Derivative of the loss by element e of input i. */
static double bench_derivative(const struct bench *b, int i, size_t e) {
    double *x = &b->in[i].wide[e], kept = *x;

    *x = kept + STEP;
    double above = bench_loss(b);
    *x = kept - STEP;
    double below = bench_loss(b);
    *x = kept;
    return (above - below) / (2.0 * STEP);
}

/* Gradient of input i at evenly spread elements; `before` is what was there for +=. */
static double gradient_judge(const struct bench *b, int i, const float *before) {
    struct judge j = {.finite = true};
    size_t count = field_count(&b->in[i]);
    size_t most = b->c->samples > 0 ? (size_t)b->c->samples : SAMPLES_MAX;
    size_t samples = count < most ? count : most;
    double want[SAMPLES_MAX], scale = SCALE_MIN;
    bool adds = ((b->op->grad_adds >> i) & 1u) != 0;

    for (size_t s = 0; s < samples; s++) {
        size_t e = s * count / samples;
        want[s] = bench_derivative(b, i, e) + (adds ? (double)before[e] : 0.0);
        scale = fmax(scale, fabs(want[s]));
    }
    for (size_t s = 0; s < samples; s++) {
        judge_add(&j, (double)b->din[i].host[s * count / samples], want[s], scale);
    }
    return judge_verdict(&j);
}

double op_check_backward(struct backend *be, const struct op_case *c, char *ret_words,
                         size_t words_bytes) {
    struct bench b;
    double worst = 0.0;

    bench_open(&b, be, c);
    struct op_run run = bench_run(&b);
    if (b.op->backward != NULL) {
        b.op->forward(&run);
        b.op->backward(&run);
    }
    for (int i = 0; b.op->backward != NULL && i < b.op->in_count; i++) {
        if (((b.op->grad_in >> i) & 1u) == 0) { continue; }
        float *before = MEMORY_TAKE_ARRAY(float, field_count(&b.din[i]) + 1);
        die_unless(before != NULL, "no memory");
        memcpy(before, b.din[i].host, field_count(&b.din[i]) * sizeof(float));
        double excess = field_download(be, &b.din[i]) ? gradient_judge(&b, i, before) : WRONG;
        memory_free(before);
        if (excess > worst) {
            worst = excess;
            say(ret_words, words_bytes, &b, "gradient of input", i);
        }
    }
    bench_close(&b);
    return worst;
}

/* FNV-1a over the bits of a field's values. */
static uint64_t field_bits(struct backend *be, struct field *f, uint64_t hash) {
    (void)field_download(be, f); /* guards are judged elsewhere */
    for (size_t i = 0; i < field_count(f); i++) {
        uint32_t bits;
        memcpy(&bits, &f->host[i], sizeof bits);
        hash = (hash ^ bits) * 1099511628211u;
    }
    return hash;
}

uint64_t op_bits(struct backend *be, const struct op_case *c) {
    struct bench b;
    uint64_t hash = 14695981039346656037u;

    bench_open(&b, be, c);
    struct op_run run = bench_run(&b);
    b.op->forward(&run);
    for (int o = 0; o < b.op->out_count; o++) {
        hash = field_bits(be, &b.out[o], hash);
    }
    if (b.op->backward != NULL) { b.op->backward(&run); }
    for (int i = 0; b.op->backward != NULL && i < b.op->in_count; i++) {
        hash = field_bits(be, &b.din[i], hash);
    }
    bench_close(&b);
    return hash;
}
