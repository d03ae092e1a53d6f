/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_contract.h - what every stream promises (base/stream.h), as tests that any may be put to.
 */
#ifndef TESTS_STORAGE_STREAM_CONTRACT_H
#define TESTS_STORAGE_STREAM_CONTRACT_H

#include "base/stream.h"
#include "tests/support/unit.h"

/* One implementation under test. The contract's own tests use nothing else. */
struct stream_under_test {
    void *context;
    /* Opens the stream of an identity with two partitions of events, one of the other inputs when
     * it is new. Each call is another process' view of the same stream. */
    struct stream *(*open)(void *context, const char *identity);
    void (*close)(void *context, struct stream *stream);
    /* Appends to an input as a producer does. */
    void (*append)(void *context, struct stream *stream, const struct stream_output *output);
};

void contract_commit_shows_outputs_positions_and_token_together(struct stream_under_test *t);
void contract_abort_leaves_nothing(struct stream_under_test *t);
void contract_second_fence_keeps_the_first_owner_out(struct stream_under_test *t);
void contract_records_come_back_as_they_were(struct stream_under_test *t);
void contract_poll_gives_each_record_once_in_order_and_again_when_refused(
    struct stream_under_test *t);
void contract_poll_takes_partitions_in_turn(struct stream_under_test *t);
void contract_read_bounds_and_tail_agree(struct stream_under_test *t);

/* Fenced, with nothing committed and the inputs assigned from 0. */
void contract_start(struct stream *s);

#endif
