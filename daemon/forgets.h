/* SPDX-License-Identifier: Apache-2.0
 *
 * forgets.h - what is known of a forgotten user: where it was forgotten and what had learned from
 * it by then. No name, no item: the user is its keyed hash.
 *
 * One META value a user, key "forgotten/<16 hex digits of the user key>". META is part of no
 * digest, but what stands here follows from the input and the recorded decisions alone, so that a
 * refold writes the same. Whether rows and checkpoints are erased is not kept: it is read off the
 * log and the folders when somebody asks (receipt.h).
 *
 *   first_seq ...... seq ........ mark_seq ............. two checkpoints beyond mark_seq
 *   rows of the user │ forgotten  │ the learner forgets  │ erased: the log begins beyond mark_seq
 */
#ifndef DAEMON_FORGETS_H
#define DAEMON_FORGETS_H

#include <stdint.h>

#include "base/status.h"
#include "storage/sequence.h"
#include "storage/store.h"

struct forget_record {
    uint64_t first_seq;     /* of the user's first event; 0: it had none */
    uint64_t events;        /* applied for the user */
    uint64_t seq;           /* last sequence number when it was forgotten */
    uint64_t epoch;         /* number of the epoch record that says so */
    uint64_t mark_seq;      /* batch end at which the learner forgets; 0: not decided yet */
    uint64_t first_version; /* lowest version that can have learned from the user's rows */
    uint64_t last_version;  /* highest that can; 0: not decided yet. Later ones descend from it. */
};

/* The user is forgotten after `seq` in epoch `epoch`; sequence is what was removed. A user that was
 * forgotten before and came back gets one record for both; one without events keeps the old. */
MUST_CHECK enum status forget_note(struct stage *stage, uint64_t user_key,
                                   const struct sequence *sequence, uint64_t seq, uint64_t epoch,
                                   struct error *err);
/* The learner will forget the user at batch end `mark_seq`; rows up to it are learned by versions
 * up to last_version. Only the first mark counts. */
MUST_CHECK enum status forget_mark(struct stage *stage, uint64_t user_key, uint64_t mark_seq,
                                   uint64_t last_version, struct error *err);
/* NOT_FOUND: never forgotten. CORRUPT. */
MUST_CHECK enum status forget_read(struct store_reader *reader, uint64_t user_key,
                                   struct forget_record *ret_record, struct error *err);

#endif
