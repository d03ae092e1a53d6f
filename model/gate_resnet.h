/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_resnet.h - the gate of iLoRA's released code: a 1-D ResNet that reads z as a signal.
 *
 *   z (1,E) ─conv 16─BN─ReLU─▶ 3 blocks (16,E) ─▶ 3 blocks (32,E/2) ─▶ 3 blocks (64,E/4)
 *           ─mean over positions─▶ (64) ─fc─▶ (K) ─softmax─▶ w
 *   block: ReLU(BN(conv(ReLU(BN(conv(x))))) + shortcut(x)); the first block of stages two and three
 *   has stride 2 and the shortcut x[:, ::2] between equal numbers of zero channels on both sides
 *
 * (He et al. 2016, option A, in one dimension; Kong et al. 2024, released code, `router share`: one
 * network for all modules, E = 64, fc with a bias, no bias in the convolutions.)
 *
 * Batch normalisation couples the sequences of a batch. The released code's batch is what one GPU
 * holds (8 sequences); here it is the caller's choice, all samples of the optimiser's step by
 * default, and never what happens to share a pack: the gate of a whole step is computed before its
 * micro-batches and its backward pass runs after them. In scoring, BatchNorm uses the running
 * statistics, so a user's gate never depends on batch mates. They are saved with the parameters
 * (the released code's checkpoints lose them).
 *
 * The network is small (2 million products a sequence), so it runs on the host for every backend.
 * values: the gate's part of a slab (params.h) on the host. thread: that of its language model.
 */
#ifndef MODEL_GATE_RESNET_H
#define MODEL_GATE_RESNET_H

#include <stdbool.h>

#include "base/status.h"
#include "model/gate_resnet_layers.h"

#define GATE_RESNET_CONVS      19
#define GATE_RESNET_TRAINED    (3 * GATE_RESNET_CONVS + 2) /* weight, gain, bias each; fc */
#define GATE_RESNET_TENSORS    (GATE_RESNET_TRAINED + 2 * GATE_RESNET_CONVS)
#define GATE_RESNET_FEATURES   64   /* channels of the last stage */
#define GATE_RESNET_CHANNELS   688  /* of all convolutions: 7*16 + 6*32 + 6*64 */
#define GATE_RESNET_MOMENTUM   0.1f /* of the running statistics; PyTorch's default */
#define GATE_RESNET_EXPERTS    16
#define GATE_RESNET_NAME_BYTES 48

/* One tensor of the network as the params list it: the trained ones first, then the statistics. */
struct gate_resnet_tensor {
    char name[GATE_RESNET_NAME_BYTES]; /* "gate.layer2.0.conv1.weight", ..., as PyTorch would */
    int rows, cols;                    /* a convolution's weight is (O, 3I) */
    bool running;                      /* a running statistic: not trained */
    int fan_in;                        /* starts uniform within 1/sqrt(fan_in) (PyTorch); or 0: */
    float start;                       /* ...with this value */
};
void gate_resnet_describe(int index, int K, struct gate_resnet_tensor *ret_tensor);

/* A convolution and its BatchNorm: where their values are, floats from the network's first. */
struct gate_resnet_conv {
    struct conv_shape shape;
    size_t weight, gain, bias, mean, variance;
    int channel; /* its first among GATE_RESNET_CHANNELS */
};

/* What the passes over some samples leave behind; (S,...) of the samples it has room for. */
struct gate_resnet_tape {
    float *z;                    /* (S,E) */
    float *y[GATE_RESNET_CONVS]; /* (S,O,T') each convolution's output */
    float *a[GATE_RESNET_CONVS]; /* (S,O,T') after BatchNorm, shortcut, ReLU */
    float *pooled;               /* (S,64) */
    float *weight;               /* (S,K) */
    float *mean, *variance;      /* (S,688) of a batch, at its first sample */
};

struct gate_resnet {
    int E, K;
    int samples_max; /* a training step may have; 0: scoring only */
    int width;       /* largest channels * positions of a layer */
    struct gate_resnet_conv convs[GATE_RESNET_CONVS];
    size_t fc_weight, fc_bias;
    size_t running;                /* where the statistics start among the values */
    size_t floats;                 /* of values */
    float *memory;                 /* owns: all below */
    float *values;                 /* (floats) of the training step under way */
    float *score_values;           /* (floats) of the pack being scored */
    float *columns;                /* scratch of one convolution */
    struct gate_resnet_tape tape;  /* training: samples_max */
    struct gate_resnet_tape one;   /* scoring: one sample */
    float *dweight;                /* (S,K) training: written by the caller */
    float *d, *d_inner, *d_before; /* (S,width) gradients of a block */
    double *gradient;              /* owns: (running) */
};

/* Sizes alone: convs, fc, running, floats. Tensors stand `alignment` floats apart. */
void gate_resnet_plan(struct gate_resnet *net, int E, int K, size_t alignment);
/* Plans and takes memory. NO_MEMORY with nothing left behind. */
MUST_CHECK enum status gate_resnet_init(struct gate_resnet *net, int E, int K, size_t alignment,
                                        int samples_max, struct error *err);
void gate_resnet_free(struct gate_resnet *net);

/* weight (K): = from one z (E) with the running statistics of values. */
void gate_resnet_score(struct gate_resnet *net, const float *values, const float *z,
                       float *ret_weight);
/* Training: samples [first, first+count) of tape.z are one batch. tape.weight: = ; the running
 * statistics in net->values move towards the batch's. */
void gate_resnet_forward(struct gate_resnet *net, int first, int count);
/* Of the same batch, from net->dweight: net->gradient += . */
void gate_resnet_backward(struct gate_resnet *net, int first, int count);

#endif
