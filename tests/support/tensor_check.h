/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor_check.h - is this array the reference, and if not, where first?
 *
 * In this order: NaN and infinity, |a-b| <= atol + rtol*|ref| for every element, and the normalised
 * mean squared error sum (a-b)^2 / sum ref^2. An error that every element hides in its tolerance
 * shows in the NMSE; one wrong element that the NMSE hides shows in the tolerance.
 */
#ifndef TESTS_SUPPORT_TENSOR_CHECK_H
#define TESTS_SUPPORT_TENSOR_CHECK_H

#include <stdbool.h>
#include <stddef.h>

struct tensor_tolerance {
    double atol; /* absolute */
    double rtol; /* relative to |ref| of the element */
    double nmse; /* of the whole array; INFINITY = not checked */
};

/* f32 operators (ggml uses the same bound on NMSE). */
#define TENSOR_TOLERANCE_F32 ((struct tensor_tolerance){1e-5, 1e-4, 1e-7})

/* True when a (count) is ref (count); otherwise prints name, index and both values of the first
 * offender. ref may not hold NaN or infinity. */
bool tensor_check(const char *name, const float *a, const float *ref, size_t count,
                  struct tensor_tolerance tolerance);
/* The same against a reference in double. */
bool tensor_check_double(const char *name, const float *a, const double *ref, size_t count,
                         struct tensor_tolerance tolerance);
/* max|a-b| <= bound * max|ref|: one scale for the whole tensor. NaN and infinity fail. */
bool tensor_check_scaled(const char *name, const float *a, const float *ref, size_t count,
                         double bound);

#endif
