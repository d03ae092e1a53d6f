/* SPDX-License-Identifier: Apache-2.0
 *
 * flow_run.h - one run of a tiny core from the first record to the last, with planned kills, and
 * all that can be said about it afterwards.
 */
#ifndef TESTS_FLOW_FLOW_RUN_H
#define TESTS_FLOW_FLOW_RUN_H

#include "tests/support/tiny_core.h"
#include "tests/support/tmpdir.h"

struct flow_run {
    /* what to do */
    bool strict;
    uint64_t seed;
    int records;
    int32_t partitions; /* of inputs; 0 = 1 */
    struct tiny_pace pace;
    enum memory_fault fault;
    int fault_every; /* the nth call of a life fails and ends it; 0 = never */
    const char *const *settings;
    int setting_count;
    /* Appends the input instead of tiny_stream; NULL: tiny_stream. */
    void (*fill)(struct memory_broker *broker);

    /* what came of it */
    struct memory_broker *broker;              /* owns */
    struct tmpdir folder;                      /* owns */
    struct buffer outputs[STREAM_TOPIC_COUNT]; /* owns; tiny_dump_topic */
    uint8_t state_digest[SHA256_BYTES];
    struct core_state state; /* owns; at the end */
    uint64_t applied, duplicate, dead, filtered, other, versions, ledger_records;
    uint64_t rollbacks, forgets; /* marks that the learner saw in its last life */
    int kills;
    int pads; /* events added at the end */

    uint8_t refold_digest[SHA256_BYTES];
    uint64_t refolded, refold_published; /* epochs; rows of table published */
};

void flow_run(struct flow_run *run);
void flow_run_free(struct flow_run *run);
/* Forgets results that a copy of a finished run brought along. */
void flow_run_reset(struct flow_run *run);
/* Folds the run's ledger again into an empty state. */
void flow_refold(struct flow_run *run, bool without_versions);
/* The same with the ledger of one run over the input of another. */
MUST_CHECK enum status flow_refold_ledger_of(struct flow_run *ledger, struct flow_run *input,
                                             struct error *err);
/* Predictions, snapshots, metrics and dead letters are the same bytes in the same order. */
void flow_assert_same_outputs(const struct flow_run *a, const struct flow_run *b);
/* The number behind the first `name` of the line. */
uint64_t flow_number_after(const char *line, const char *name);

#endif
