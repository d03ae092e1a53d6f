/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_resnet.c - the ResNet gate's shape, its memory and its two passes.
 *
 * Convolution 0 is the stem; block b has 2b+1 and 2b+2, stage b/3. Each keeps what went through it
 * (y before BatchNorm, a after ReLU) for all samples of a step: BatchNorm's backward pass needs the
 * whole batch at once. Failure: memory only. */
#include "model/gate_resnet.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define BLOCKS          9
#define BLOCKS_A_STAGE  3
#define STEM_CHANNELS   16
#define RUNNING_AT(c)   (GATE_RESNET_TRAINED + 2 * (c))
#define CHANNEL_COUNT_0 1 /* z is one channel */

/* ---- shape ----------------------------------------------------------------------------------- */

static int stage_of(int conv) {
    return conv == 0 ? 0 : (conv - 1) / 2 / BLOCKS_A_STAGE;
}

/* The first convolution of the first block of stages two and three. */
static bool narrows(int conv) {
    return conv > 0 && stage_of(conv) > 0 && (conv - 1) % (2 * BLOCKS_A_STAGE) == 0;
}

static int channels_out(int conv) {
    return STEM_CHANNELS << stage_of(conv);
}

static int channels_in(int conv) {
    return conv == 0 ? CHANNEL_COUNT_0 : channels_out(conv - 1);
}

/* "gate.", "gate.layer2.0." and the layer's number in it. */
static void conv_words(int conv, char ret_prefix[GATE_RESNET_NAME_BYTES], int *ret_number) {
    int block = (conv - 1) / 2;
    *ret_number = conv == 0 ? 1 : (conv - 1) % 2 + 1;
    if (conv == 0) {
        (void)snprintf(ret_prefix, GATE_RESNET_NAME_BYTES, "gate.");
    } else {
        (void)snprintf(ret_prefix, GATE_RESNET_NAME_BYTES, "gate.layer%d.%d.", stage_of(conv) + 1,
                       block % BLOCKS_A_STAGE);
    }
}

static void describe_norm(int conv, const char *what, float start, bool running,
                          struct gate_resnet_tensor *ret_tensor) {
    char prefix[GATE_RESNET_NAME_BYTES];
    int number = 0;
    conv_words(conv, prefix, &number);
    (void)snprintf(ret_tensor->name, sizeof ret_tensor->name, "%.24sbn%d.%s", prefix, number, what);
    ret_tensor->rows = 1;
    ret_tensor->cols = channels_out(conv);
    ret_tensor->running = running;
    ret_tensor->start = start;
}

static void describe_conv(int conv, struct gate_resnet_tensor *ret_tensor) {
    char prefix[GATE_RESNET_NAME_BYTES];
    int number = 0;
    conv_words(conv, prefix, &number);
    (void)snprintf(ret_tensor->name, sizeof ret_tensor->name, "%.24sconv%d.weight", prefix, number);
    ret_tensor->rows = channels_out(conv);
    ret_tensor->cols = channels_in(conv) * CONV_TAPS;
    ret_tensor->fan_in = ret_tensor->cols;
}

void gate_resnet_describe(int index, int K, struct gate_resnet_tensor *ret_tensor) {
    assert(index >= 0 && index < GATE_RESNET_TENSORS);

    *ret_tensor = (struct gate_resnet_tensor){0};
    int conv = index / 3, fc = 3 * GATE_RESNET_CONVS;
    if (index >= GATE_RESNET_TRAINED) {
        bool variance = (index - GATE_RESNET_TRAINED) % 2 == 1;
        describe_norm((index - GATE_RESNET_TRAINED) / 2, variance ? "running_var" : "running_mean",
                      variance ? 1.0f : 0.0f, true, ret_tensor);
    } else if (index >= fc) {
        (void)snprintf(ret_tensor->name, sizeof ret_tensor->name, "gate.fc.%s",
                       index == fc ? "weight" : "bias");
        ret_tensor->rows = index == fc ? K : 1;
        ret_tensor->cols = index == fc ? GATE_RESNET_FEATURES : K;
        ret_tensor->fan_in = GATE_RESNET_FEATURES;
    } else if (index % 3 == 0) {
        describe_conv(conv, ret_tensor);
    } else if (index % 3 == 1) {
        describe_norm(conv, "weight", 1.0f, false, ret_tensor);
    } else {
        describe_norm(conv, "bias", 0.0f, false, ret_tensor);
    }
}

/* Where each tensor starts when they stand in order. */
static size_t place(size_t *offset, int K, size_t alignment) {
    size_t used = 0;
    for (int i = 0; i < GATE_RESNET_TENSORS; i++) {
        struct gate_resnet_tensor tensor;
        gate_resnet_describe(i, K, &tensor);
        offset[i] = used;
        used += (size_t)tensor.rows * (size_t)tensor.cols;
        used = (used + alignment - 1) / alignment * alignment;
    }
    return used;
}

void gate_resnet_plan(struct gate_resnet *net, int E, int K, size_t alignment) {
    size_t offset[GATE_RESNET_TENSORS];
    assert(E > 0 && K > 0 && K <= GATE_RESNET_EXPERTS && alignment > 0);

    *net = (struct gate_resnet){.E = E, .K = K};
    net->floats = place(offset, K, alignment);
    net->running = offset[GATE_RESNET_TRAINED];
    net->fc_weight = offset[3 * GATE_RESNET_CONVS];
    net->fc_bias = offset[3 * GATE_RESNET_CONVS + 1];
    int T = E, channel = 0;
    for (int c = 0; c < GATE_RESNET_CONVS; c++) {
        struct gate_resnet_conv *conv = &net->convs[c];
        int stride = narrows(c) ? 2 : 1;
        conv->shape = (struct conv_shape){.in = channels_in(c),
                                          .out = channels_out(c),
                                          .stride = stride,
                                          .T_in = T,
                                          .T_out = (T + stride - 1) / stride};
        T = conv->shape.T_out;
        conv->weight = offset[3 * c];
        conv->gain = offset[3 * c + 1];
        conv->bias = offset[3 * c + 2];
        conv->mean = offset[RUNNING_AT(c)];
        conv->variance = offset[RUNNING_AT(c) + 1];
        conv->channel = channel;
        channel += conv->shape.out;
        if (conv->shape.out * T > net->width) { net->width = conv->shape.out * T; }
    }
    assert(channel == GATE_RESNET_CHANNELS);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The next `count` floats; NULL while counting. */
static float *take(float *memory, size_t *used, size_t count) {
    float *at = memory != NULL ? memory + *used : NULL;
    *used += count;
    return at;
}

static void place_tape(const struct gate_resnet *net, struct gate_resnet_tape *tape, size_t S,
                       float *memory, size_t *used) {
    tape->z = take(memory, used, S * (size_t)net->E);
    for (int c = 0; c < GATE_RESNET_CONVS; c++) {
        const struct conv_shape *shape = &net->convs[c].shape;
        size_t floats = S * (size_t)shape->out * (size_t)shape->T_out;
        tape->y[c] = take(memory, used, floats);
        tape->a[c] = take(memory, used, floats);
    }
    tape->pooled = take(memory, used, S * GATE_RESNET_FEATURES);
    tape->weight = take(memory, used, S * (size_t)net->K);
    tape->mean = take(memory, used, S * GATE_RESNET_CHANNELS);
    tape->variance = take(memory, used, S * GATE_RESNET_CHANNELS);
}

/* Counts with memory NULL, then places. */
static size_t place_all(struct gate_resnet *net, float *memory) {
    size_t used = 0, S = (size_t)net->samples_max, columns = 0;
    for (int c = 0; c < GATE_RESNET_CONVS; c++) {
        const struct conv_shape *shape = &net->convs[c].shape;
        size_t floats = (size_t)shape->in * CONV_TAPS * (size_t)shape->T_out;
        if (floats > columns) { columns = floats; }
    }
    net->score_values = take(memory, &used, net->floats);
    net->columns = take(memory, &used, columns);
    place_tape(net, &net->one, 1, memory, &used);
    if (S > 0) {
        net->values = take(memory, &used, net->floats);
        place_tape(net, &net->tape, S, memory, &used);
        net->dweight = take(memory, &used, S * (size_t)net->K);
        net->d = take(memory, &used, S * (size_t)net->width);
        net->d_inner = take(memory, &used, S * (size_t)net->width);
        net->d_before = take(memory, &used, S * (size_t)net->width);
    }
    return used;
}

enum status gate_resnet_init(struct gate_resnet *net, int E, int K, size_t alignment,
                             int samples_max, struct error *err) {
    assert(samples_max >= 0);

    gate_resnet_plan(net, E, K, alignment);
    net->samples_max = samples_max;
    size_t floats = place_all(net, NULL);
    net->memory = MEMORY_TAKE_ARRAY(float, floats);
    if (samples_max > 0) { net->gradient = MEMORY_TAKE_ARRAY(double, net->running); }
    if (net->memory == NULL || (samples_max > 0 && net->gradient == NULL)) {
        gate_resnet_free(net);
        return error_set(err, STATUS_NO_MEMORY, "ResNet gate of %d samples a step", samples_max);
    }
    (void)place_all(net, net->memory);
    return STATUS_OK;
}

void gate_resnet_free(struct gate_resnet *net) {
    memory_free(net->memory);
    memory_free(net->gradient);
    *net = (struct gate_resnet){0};
}

/* ---- forward --------------------------------------------------------------------------------- */

static size_t sample_floats(const struct gate_resnet_conv *conv) {
    return (size_t)conv->shape.out * (size_t)conv->shape.T_out;
}

static struct batch_shape batch_of(const struct gate_resnet_conv *conv, int count) {
    return (struct batch_shape){count, conv->shape.out, conv->shape.T_out};
}

/* What convolution c reads: z, or what the one before left. */
static const float *input_of(const struct gate_resnet *net, const struct gate_resnet_tape *tape,
                             int c, int sample) {
    if (c == 0) { return tape->z + (size_t)sample * (size_t)net->E; }
    return tape->a[c - 1] + (size_t)sample * sample_floats(&net->convs[c - 1]);
}

static void convolve(struct gate_resnet *net, const float *values, struct gate_resnet_tape *tape,
                     int c, int first, int count) {
    const struct gate_resnet_conv *conv = &net->convs[c];
    for (int s = first; s < first + count; s++) {
        conv_columns(&conv->shape, net->columns, input_of(net, tape, c, s));
        conv_forward(&conv->shape, tape->y[c] + (size_t)s * sample_floats(conv), net->columns,
                     values + conv->weight);
    }
}

/* Channels of zeros before the shortcut's own, where it widens (and as many after). */
static int shortcut_margin(const struct gate_resnet_conv *first) {
    return (first->shape.out - first->shape.in) / 2;
}

/* out (O,T') = the shortcut of a block that narrows, from x (I,T). */
static void narrow_shortcut(const struct gate_resnet_conv *first, float *out, const float *x) {
    int T = first->shape.T_out, margin = shortcut_margin(first);
    memset(out, 0, sample_floats(first) * sizeof out[0]);
    for (int i = 0; i < first->shape.in; i++) {
        for (int t = 0; t < T; t++) {
            out[(size_t)(i + margin) * (size_t)T + (size_t)t] =
                x[(size_t)i * (size_t)first->shape.T_in + 2 * (size_t)t];
        }
    }
}

/* The shortcut that joins before the ReLU of convolution c (the second of a block), or NULL. It is
 * laid where the result goes, or is the block's input itself. */
static const float *shortcut(const struct gate_resnet *net, struct gate_resnet_tape *tape, int c,
                             int first, int count) {
    if (c == 0 || c % 2 == 1) { return NULL; }

    const struct gate_resnet_conv *head = &net->convs[c - 1];
    float *out = tape->a[c] + (size_t)first * sample_floats(&net->convs[c]);
    if (!narrows(c - 1)) { return input_of(net, tape, c - 1, first); }
    for (int s = 0; s < count; s++) {
        narrow_shortcut(head, out + (size_t)s * sample_floats(head),
                        input_of(net, tape, c - 1, first + s));
    }
    return out;
}

/* pooled, then weight = softmax(fc pooled), of one sample. */
static void choose(const struct gate_resnet *net, const float *values,
                   struct gate_resnet_tape *tape, int sample) {
    const struct gate_resnet_conv *last = &net->convs[GATE_RESNET_CONVS - 1];
    int T = last->shape.T_out, K = net->K;
    const float *a = tape->a[GATE_RESNET_CONVS - 1] + (size_t)sample * sample_floats(last);
    float *pooled = tape->pooled + (size_t)sample * GATE_RESNET_FEATURES;
    for (int c = 0; c < GATE_RESNET_FEATURES; c++) {
        double sum = 0.0;
        for (int t = 0; t < T; t++) {
            sum += (double)a[(size_t)c * (size_t)T + (size_t)t];
        }
        pooled[c] = (float)(sum / (double)T);
    }

    double logits[GATE_RESNET_EXPERTS], highest = -INFINITY, total = 0.0;
    for (int k = 0; k < K; k++) {
        const float *w = values + net->fc_weight + (size_t)k * GATE_RESNET_FEATURES;
        logits[k] = (double)values[net->fc_bias + (size_t)k];
        for (int c = 0; c < GATE_RESNET_FEATURES; c++) {
            logits[k] += (double)w[c] * (double)pooled[c];
        }
        if (logits[k] > highest) { highest = logits[k]; }
    }
    for (int k = 0; k < K; k++) {
        logits[k] = exp(logits[k] - highest);
        total += logits[k];
    }
    for (int k = 0; k < K; k++) {
        tape->weight[(size_t)sample * (size_t)K + (size_t)k] = (float)(logits[k] / total);
    }
}

void gate_resnet_score(struct gate_resnet *net, const float *values, const float *z,
                       float *ret_weight) {
    struct gate_resnet_tape *tape = &net->one;
    memcpy(tape->z, z, (size_t)net->E * sizeof z[0]);
    for (int c = 0; c < GATE_RESNET_CONVS; c++) {
        const struct gate_resnet_conv *conv = &net->convs[c];
        convolve(net, values, tape, c, 0, 1);
        const float *residual = shortcut(net, tape, c, 0, 1);
        batchnorm_relu(batch_of(conv, 1), tape->a[c], tape->y[c], residual, values + conv->mean,
                       values + conv->variance, values + conv->gain, values + conv->bias);
    }
    choose(net, values, tape, 0);
    memcpy(ret_weight, tape->weight, (size_t)net->K * sizeof ret_weight[0]);
}

/* running = (1 - momentum) running + momentum of the batch, whose variance is made unbiased (as
 * PyTorch does). */
static void move_running(float *values, const struct gate_resnet_conv *conv, const float *mean,
                         const float *variance, int count) {
    double n = (double)count * (double)conv->shape.T_out;
    double unbiased = n > 1.0 ? n / (n - 1.0) : 1.0, m = (double)GATE_RESNET_MOMENTUM;
    for (int c = 0; c < conv->shape.out; c++) {
        float *running_mean = values + conv->mean + c, *running = values + conv->variance + c;
        *running_mean = (float)((1.0 - m) * (double)*running_mean + m * (double)mean[c]);
        *running = (float)((1.0 - m) * (double)*running + m * unbiased * (double)variance[c]);
    }
}

void gate_resnet_forward(struct gate_resnet *net, int first, int count) {
    struct gate_resnet_tape *tape = &net->tape;
    assert(first >= 0 && count > 0 && first + count <= net->samples_max);

    float *mean = tape->mean + (size_t)first * GATE_RESNET_CHANNELS;
    float *variance = tape->variance + (size_t)first * GATE_RESNET_CHANNELS;
    for (int c = 0; c < GATE_RESNET_CONVS; c++) {
        const struct gate_resnet_conv *conv = &net->convs[c];
        struct batch_shape shape = batch_of(conv, count);
        const float *y = tape->y[c] + (size_t)first * sample_floats(conv);
        convolve(net, net->values, tape, c, first, count);
        batchnorm_statistics(shape, mean + conv->channel, variance + conv->channel, y);
        move_running(net->values, conv, mean + conv->channel, variance + conv->channel, count);
        const float *residual = shortcut(net, tape, c, first, count);
        batchnorm_relu(shape, tape->a[c] + (size_t)first * sample_floats(conv), y, residual,
                       mean + conv->channel, variance + conv->channel, net->values + conv->gain,
                       net->values + conv->bias);
    }
    for (int s = first; s < first + count; s++) {
        choose(net, net->values, tape, s);
    }
}

/* ---- backward -------------------------------------------------------------------------------- */

/* From dweight of one sample back to d (64,T) after the last ReLU. */
static void choose_backward(struct gate_resnet *net, int sample, float *d) {
    int T = net->convs[GATE_RESNET_CONVS - 1].shape.T_out, K = net->K;
    const float *w = net->tape.weight + (size_t)sample * (size_t)K;
    const float *dw = net->dweight + (size_t)sample * (size_t)K;
    const float *pooled = net->tape.pooled + (size_t)sample * GATE_RESNET_FEATURES;
    double dlogits[GATE_RESNET_EXPERTS], mean = 0.0;
    for (int k = 0; k < K; k++) {
        mean += (double)w[k] * (double)dw[k];
    }
    for (int k = 0; k < K; k++) {
        dlogits[k] = (double)w[k] * ((double)dw[k] - mean);
        net->gradient[net->fc_bias + (size_t)k] += dlogits[k];
    }
    for (int c = 0; c < GATE_RESNET_FEATURES; c++) {
        double sum = 0.0;
        for (int k = 0; k < K; k++) {
            size_t at = net->fc_weight + (size_t)k * GATE_RESNET_FEATURES + (size_t)c;
            net->gradient[at] += dlogits[k] * (double)pooled[c];
            sum += dlogits[k] * (double)net->values[at];
        }
        for (int t = 0; t < T; t++) {
            d[(size_t)c * (size_t)T + (size_t)t] = (float)(sum / (double)T);
        }
    }
}

/* d *= 1 where the ReLU of convolution c let something through. */
static void relu_backward(const struct gate_resnet *net, int c, int first, int count, float *d) {
    size_t floats = sample_floats(&net->convs[c]) * (size_t)count;
    const float *a = net->tape.a[c] + (size_t)first * sample_floats(&net->convs[c]);
    for (size_t i = 0; i < floats; i++) {
        if (!(a[i] > 0.0f)) { d[i] = 0.0f; }
    }
}

/* dy (count,O,T'): = , from dout (may be the same). */
static void norm_backward(struct gate_resnet *net, int c, int first, int count, float *dy,
                          const float *dout) {
    const struct gate_resnet_conv *conv = &net->convs[c];
    size_t statistics = (size_t)first * GATE_RESNET_CHANNELS + (size_t)conv->channel;
    batchnorm_backward(
        batch_of(conv, count), dy, net->gradient + conv->gain, net->gradient + conv->bias, dout,
        net->tape.y[c] + (size_t)first * sample_floats(conv), net->tape.mean + statistics,
        net->tape.variance + statistics, net->values + conv->gain);
}

/* The weight's gradient, and dx (count,I,T): = (NULL: not wanted). dx may be dy when a sample of
 * one is not larger than of the other: a sample is read before it is written. */
static void convolve_backward(struct gate_resnet *net, int c, int first, int count, float *dx,
                              const float *dy) {
    const struct gate_resnet_conv *conv = &net->convs[c];
    size_t out = sample_floats(conv), in = (size_t)conv->shape.in * (size_t)conv->shape.T_in;
    for (int s = 0; s < count; s++) {
        conv_columns(&conv->shape, net->columns, input_of(net, &net->tape, c, first + s));
        conv_backward_weight(&conv->shape, net->gradient + conv->weight, dy + (size_t)s * out,
                             net->columns);
        if (dx != NULL) {
            conv_backward_input(&conv->shape, dx + (size_t)s * in, net->columns,
                                dy + (size_t)s * out, net->values + conv->weight);
        }
    }
}

/* d (I,T) of a block's input: += what the shortcut carried, from dsum (O,T') of its sum. */
static void shortcut_backward(const struct gate_resnet_conv *head, bool narrow, float *d,
                              const float *dsum) {
    int T = head->shape.T_out, margin = shortcut_margin(head);
    for (int i = 0; i < head->shape.in; i++) {
        const float *from = dsum + (size_t)(i + margin) * (size_t)T;
        float *to = d + (size_t)i * (size_t)head->shape.T_in;
        for (int t = 0; t < T; t++) {
            to[narrow ? 2 * t : t] += from[t];
        }
    }
}

/* net->d: gradient after block b, becomes that before it. */
static void block_backward(struct gate_resnet *net, int b, int first, int count) {
    int head = 2 * b + 1, tail = 2 * b + 2;
    const struct gate_resnet_conv *conv = &net->convs[head];
    size_t in = (size_t)conv->shape.in * (size_t)conv->shape.T_in, out = sample_floats(conv);
    float *sum = net->d, *inner = net->d_inner, *before = net->d_before;

    relu_backward(net, tail, first, count, sum);
    norm_backward(net, tail, first, count, inner, sum);
    convolve_backward(net, tail, first, count, inner, inner);
    relu_backward(net, head, first, count, inner);
    norm_backward(net, head, first, count, inner, inner);
    convolve_backward(net, head, first, count, before, inner);
    for (int s = 0; s < count; s++) {
        shortcut_backward(conv, narrows(head), before + (size_t)s * in, sum + (size_t)s * out);
    }
    net->d = before;
    net->d_before = sum;
}

void gate_resnet_backward(struct gate_resnet *net, int first, int count) {
    assert(first >= 0 && count > 0 && first + count <= net->samples_max);

    size_t last = sample_floats(&net->convs[GATE_RESNET_CONVS - 1]);
    for (int s = 0; s < count; s++) {
        choose_backward(net, first + s, net->d + (size_t)s * last);
    }
    for (int b = BLOCKS - 1; b >= 0; b--) {
        block_backward(net, b, first, count);
    }
    relu_backward(net, 0, first, count, net->d);
    norm_backward(net, 0, first, count, net->d, net->d);
    convolve_backward(net, 0, first, count, NULL, net->d);
}
