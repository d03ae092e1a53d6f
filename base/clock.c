/* SPDX-License-Identifier: Apache-2.0
 *
 * clock.c - the two clocks and a sleep that a signal does not shorten.
 */
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

static int64_t clock_read_us(clockid_t id) {
    struct timespec now;
    int failed = clock_gettime(id, &now);
    assert(!failed); /* fails only for an unknown clock */
    (void)failed;
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_us(void) {
    return clock_read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void) {
    return clock_read_us(CLOCK_REALTIME);
}

void clock_sleep_us(int64_t us) {
    if (us <= 0) { return; }

    struct timespec left = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
        /* goes on with what is left */
    }
}
