/* SPDX-License-Identifier: Apache-2.0
 *
 * failpoint.h - named places of the protocol where a test kills, fails or delays the process.
 *
 * Every step of PROTOCOL's start, loop, learner and stop has one. They are compiled in always and
 * armed only by the environment variable ILORA_FAILPOINTS, which the daemon reads once before it
 * has threads; disarmed a point costs one load of a flag. A list, separated by ';':
 *
 *   NAME=kill[@N]        SIGKILL at the N-th pass (default 1)
 *   NAME=error[@N]       the N-th pass fails with STATUS_IO, once
 *   NAME=delay:MS[@N]    the N-th pass sleeps
 *   NAME=stop[@N]        SIGSTOP at the N-th pass: a process that sleeps, as for a zombie's test
 *   NAME=crash:VALUE     SIGSEGV whenever a place that carries a value passes with this one
 *   memory=error@N, file=error@N, store=error@N
 *                        the N-th allocation, file call or LMDB call fails (fault.h)
 *   count=PATH           at exit, or at a kill of ours, writes "NAME passes" lines to PATH
 *
 * The campaigns read the names from this table (tests/crash).
 */
#ifndef BASE_FAILPOINT_H
#define BASE_FAILPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* X(name, what has just happened when it is passed) */
/* clang-format off */
#define FAILPOINTS(X) \
    X(start_locked, "the state directory's lock is held") \
    X(start_owned, "the owner id is durable") \
    X(start_opened, "the state's LMDB is open") \
    X(start_model_opened, "base model, learner and newest checkpoint are loaded") \
    X(start_tail_read, "the ledger's tail was read and is ours") \
    X(start_fenced, "the transactional identity is ours; the tail is not yet read again") \
    X(start_tail_checked, "the tail was read again after the fence") \
    X(start_state_loaded, "LMDB says where the state stands") \
    X(start_token_checked, "the committed token agrees with the tail") \
    X(refold_begun, "the state is behind the ledger and a refold begins") \
    X(refold_epoch_folded, "an epoch was folded again and checked, not kept yet") \
    X(refold_epoch_kept, "a refolded epoch is in LMDB") \
    X(refold_ended, "the state has reached the ledger") \
    X(start_version_held, "the version in force is loaded") \
    X(claim_closed, "the claim epoch is closed, not published") \
    X(claim_published, "the claim is committed in the stream, not in LMDB") \
    X(claim_kept, "the claim is in LMDB") \
    X(start_assigned, "input is assigned at its positions") \
    X(start_ready, "READY was said") \
    X(poll_record, "a record came from the stream and goes into the ring") \
    X(record_folding, "a record is about to be folded; its value is the offset") \
    X(record_fed, "a record was given to the engine") \
    X(group_scored, "a group of events was scored") \
    X(version_announced, "a version is announced in the open epoch") \
    X(epoch_closed, "an epoch's record is made, nothing is published") \
    X(tainted, "the connection was disturbed, the producer will be replaced") \
    X(refenced, "a new producer has fenced, the tail is not read again yet") \
    X(refence_checked, "the tail was read again and is ours") \
    X(commit_begun, "a stream transaction is open") \
    X(output_published, "an output is in the transaction") \
    X(outputs_published, "all outputs but the ledger record are in the transaction") \
    X(ledger_published, "the ledger record is in the transaction") \
    X(offsets_sent, "offsets and token are in the transaction (Kafka)") \
    X(commit_done, "the stream transaction is committed, LMDB is behind") \
    X(commit_failed, "a transaction failed and will be aborted") \
    X(commit_aborted, "a transaction was aborted") \
    X(local_written, "the embedded stream's records are written, not committed") \
    X(local_committed, "the embedded stream's transaction is committed") \
    X(local_fenced, "the embedded stream has a new owner") \
    X(local_trimmed, "old records of the embedded stream are removed, not committed") \
    X(stage_begun, "the state's write transaction is open") \
    X(stage_written, "all rows are in it") \
    X(stage_trimmed, "trims are in it, not committed") \
    X(stage_committed, "the state's transaction is committed") \
    X(map_grown, "the state's map was made larger after it was full") \
    X(epoch_kept, "an epoch is in the stream and in LMDB, the learner does not know") \
    X(rows_handed, "the learner may learn from the epoch's rows") \
    X(batch_read, "a batch was read from the training log") \
    X(batch_evaluated, "a batch was evaluated before it is learned") \
    X(batch_learned, "a batch was learned") \
    X(version_begun, "a version is to be made") \
    X(version_written, "its files are durable under a temporary name") \
    X(version_kept, "its folder has its name") \
    X(version_delivered, "the core was told") \
    X(versions_trimmed, "an old version's folder was removed") \
    X(checkpoint_begun, "a checkpoint is to be written") \
    X(checkpoint_written, "its files are durable under a temporary name") \
    X(checkpoint_kept, "its folder has its name") \
    X(checkpoints_trimmed, "an old checkpoint's folder was removed") \
    X(rolled_back, "the learner went back to an older version") \
    X(forgotten, "the learner forgot a user") \
    X(profile_kept, "the learner's numeric profile is durable") \
    X(file_written, "a file's bytes are written under a temporary name, not synced") \
    X(file_synced, "they are synced, the name is the old one") \
    X(file_renamed, "a file has its name, its folder is not synced") \
    X(control_published, "an operator's request is a record of the input") \
    X(stop_begun, "the daemon stops") \
    X(stop_epoch_done, "the last epoch is committed") \
    X(stop_checkpointed, "the last checkpoint is written")
/* clang-format on */

enum failpoint {
#define FAILPOINT_ENUM(name, what) FAILPOINT_##name,
    FAILPOINTS(FAILPOINT_ENUM)
#undef FAILPOINT_ENUM
        FAILPOINT_COUNT
};

/* Arms what the list says; NULL or "": nothing. CONFIG names the part that is not understood.
 * Before there are threads. */
MUST_CHECK enum status failpoint_arm(const char *list, struct error *err);
void failpoint_disarm(void);

/* Below here: what the doors stand on. */
extern atomic_bool failpoint_armed;
MUST_CHECK enum status failpoint_reach(enum failpoint point, int64_t value, struct error *err);

/* Passes a place that carries a value >= 0: may not return (kill), may take its time, or fails with
 * IO. Any thread. */
MUST_CHECK static inline enum status failpoint_pass_value(enum failpoint point, int64_t value,
                                                          struct error *err) {
    if (!atomic_load_explicit(&failpoint_armed, memory_order_relaxed)) { return STATUS_OK; }
    return failpoint_reach(point, value, err);
}

/* The same for one without. */
MUST_CHECK static inline enum status failpoint_pass(enum failpoint point, struct error *err) {
    return failpoint_pass_value(point, -1, err);
}

/* The same where there is nothing that could fail: an error is taken as a kill, so that no armed
 * point is without effect. Any thread. */
static inline void failpoint_mark(enum failpoint point) {
    enum status status = failpoint_pass(point, NULL); /* kills instead of failing */
    (void)status;
}

#endif
