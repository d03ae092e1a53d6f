/* SPDX-License-Identifier: Apache-2.0
 *
 * rates.h - how much of the stream the language model learns from and is asked about, by load.
 *
 * Recorded mode only: the result is a decision of the next epoch record, so it is exact on replay
 * although load is not. What costs most gives way first: evaluation with language models, then
 * training of the language model, last SASRec's share; recovery goes the other way round.
 */
#ifndef DAEMON_RATES_H
#define DAEMON_RATES_H

#include <stdint.h>

#include "daemon/core_state.h"
#include "daemon/settings.h"

struct rates_load {
    uint64_t backlog; /* rows the learner is behind */
    double busy;      /* share of the last seconds in which the learner worked, 0..1 */
};

/* The rates a new shard begins with: the language model starts low and grows while there is
 * time. */
struct core_rates rates_first(const struct settings *settings);
/* The next rates, to be asked when the learner has learned a batch, at most once a second. */
struct core_rates rates_next(const struct settings *settings, const struct core_rates *now,
                             const struct rates_load *load);

#endif
