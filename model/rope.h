/* SPDX-License-Identifier: Apache-2.0
 *
 * rope.h - the table of rotary angles. Su et al. 2021 (RoFormer); scaling as in Llama 3.1's
 * release.
 *
 * Row t of the table (T,D) holds cos(t f_j) in columns [0,D/2) and sin(t f_j) in [D/2,D), with
 * f_j = theta^(-2j/D), changed by the description's scaling. Angles are computed in double.
 */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "model/checkpoint.h"

/* ret_table (rows, D), host. */
void rope_table_fill(const struct model_description *description, int rows, float *ret_table);

#endif
