/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_memory.h - a stream in memory that breaks when told to: for tests of the engine's flow.
 *
 *   struct memory_broker      what Kafka would keep: records, committed positions, tokens, owners.
 *      ▲            ▲         Outlives its streams, so that a kill and a restart are: close, open.
 *   stream A     stream B     Two streams of one identity fence each other as two processes would.
 *
 * Planned faults say what the nth commit (or another call) does. Closing a stream inside a
 * transaction is a kill there: nothing of it stays.
 * Threads: any; the broker has a lock, held while a sink runs.
 */
#ifndef TESTS_SUPPORT_STREAM_MEMORY_H
#define TESTS_SUPPORT_STREAM_MEMORY_H

#include "base/stream.h"

struct memory_broker;

enum memory_fault {
    MEMORY_COMMIT_LOST,        /* the commit fails with IO and was not applied */
    MEMORY_COMMIT_ANSWER_LOST, /* the commit fails with IO and was applied */
    MEMORY_COMMIT_DISTURBED, /* the commit is applied and OK, and the stream is tainted after it */
    MEMORY_COMMIT_AGAIN,     /* the commit fails with AGAIN and was not applied */
    MEMORY_PUBLISH_FULL,     /* publish fails with AGAIN */
    MEMORY_POLL_AWAY,        /* poll fails with AGAIN: the broker is away */
    MEMORY_FENCE_AWAY,       /* fence fails with AGAIN */
};
#define MEMORY_FAULT_COUNT 7

/* Inputs have `partitions` each, the rest one. Fails the test when memory is short. */
struct memory_broker *memory_broker_new(int32_t partitions);
void memory_broker_free(struct memory_broker *broker);

/* Appends a record as another producer would (any topic); returns its offset. */
int64_t memory_broker_append(struct memory_broker *broker, const struct stream_output *output);
/* The nth call of the fault's kind from now fails once; 1 is the next one, 0 disarms. */
void memory_broker_fail(struct memory_broker *broker, enum memory_fault fault, int nth);
/* True when the planned fault has happened. */
bool memory_broker_failed(const struct memory_broker *broker, enum memory_fault fault);
/* Drops the records below first, as retention would. */
void memory_broker_trim(struct memory_broker *broker, enum stream_topic topic, int32_t partition,
                        int64_t first);
/* Commits that were applied, over all identities. */
int memory_broker_commits(const struct memory_broker *broker);

/* A process' view. Close it with its ops. identity: as in stream_local.h; NULL: reads only. */
struct stream *stream_memory_open(struct memory_broker *broker, const char *identity);

#endif
