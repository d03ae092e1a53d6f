/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.h - time as a value the caller passes in. Only CLOCK_MONOTONIC drives timers; the wall
 * clock is read for log lines and metrics alone, never for anything that is published.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_monotonic_us(void); /* microseconds since some start */
int64_t clock_wall_us(void);      /* microseconds since the epoch */
void clock_sleep_us(int64_t us);

#endif
