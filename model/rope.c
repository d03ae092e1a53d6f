/* SPDX-License-Identifier: Apache-2.0
 *
 * rope.c - frequencies of the rotary embedding and their scaling.
 *
 * ROPE_LINEAR divides every angle by the factor (position interpolation). ROPE_LLAMA3 leaves short
 * wavelengths, divides long ones, and blends in between (Llama 3.1 model card's apply_scaling). */
#include "model/rope.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

static double scaled_frequency(const struct model_description *d, double frequency) {
    const double two_pi = 6.283185307179586476925;
    if (d->rope_scaling == ROPE_LINEAR) { return frequency / (double)d->rope_factor; }
    if (d->rope_scaling != ROPE_LLAMA3) { return frequency; }

    double low = (double)d->rope_low, high = (double)d->rope_high;
    double context = (double)d->rope_context;
    double wavelength = two_pi / frequency;
    if (wavelength < context / high) { return frequency; }
    if (wavelength > context / low) { return frequency / (double)d->rope_factor; }
    double smooth = (context / wavelength - low) / (high - low);
    return (1.0 - smooth) * frequency / (double)d->rope_factor + smooth * frequency;
}

void rope_table_fill(const struct model_description *description, int rows, float *ret_table) {
    int D = description->D, half = D / 2;
    assert(D % 2 == 0);
    assert(rows > 0);

    for (int j = 0; j < half; j++) {
        double exponent = -2.0 * (double)j / (double)D;
        double frequency =
            scaled_frequency(description, pow((double)description->rope_theta, exponent));
        for (int t = 0; t < rows; t++) {
            float *row = ret_table + (size_t)t * (size_t)D;
            row[j] = (float)cos((double)t * frequency);
            row[half + j] = (float)sin((double)t * frequency);
        }
    }
}
