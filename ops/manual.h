/* SPDX-License-Identifier: Apache-2.0
 *
 * manual.h - ilorad.conf(5) from the table of settings.
 */
#ifndef OPS_MANUAL_H
#define OPS_MANUAL_H

#include "base/bytes.h"
#include "base/config.h"
#include "base/status.h"

/* Appends the page as roff (man(7)). */
MUST_CHECK enum status manual_settings(const struct setting *table, int count, struct buffer *out);

#endif
