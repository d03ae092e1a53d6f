/* SPDX-License-Identifier: Apache-2.0
 *
 * engine.h - the deterministic core: records in, folded state and outputs out. No clock, no I/O.
 *
 *   engine_feed(record) ─▶ decode ─▶ de-duplicate ─▶ fold: sequence, seen, row of the training log
 *                                        └─▶ live evaluation against what was published
 *            every G events ─▶ group: candidates, scores, one prediction a distinct user
 *   engine_close ─▶ decisions ─▶ epoch record (the last output)      commit.h puts it all through
 *
 * Two ways to run: live (timers and rates come from the caller and are recorded) and following (an
 * epoch record says what was decided: engine_follow, refold). What an epoch publishes is a function
 * of the state before it, its records, the settings, the versions and the recorded decisions.
 *
 * thread: core. The stage must be empty when an epoch begins; it is the engine's alone until then.
 */
#ifndef DAEMON_ENGINE_H
#define DAEMON_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/stream.h"
#include "daemon/core_state.h"
#include "daemon/crash.h"
#include "daemon/epoch.h"
#include "daemon/settings.h"
#include "model/fast_model.h"
#include "model/learner.h"
#include "proto/inbound.h"
#include "storage/catalogue.h"
#include "storage/store.h"

struct engine;

/* What the engine asks of others. All borrowed for its life. */
struct engine_doors {
    const struct settings *settings;
    struct stage *stage;
    struct catalogue *catalogue;
    struct inbound *inbound;
    struct ranker *ranker;
    const struct crash_list *crashes; /* records to give up; NULL = none */
    void *context;
    /* The version with this number, one reference for the caller; NULL: not held (the group is then
     * folded without scoring). Strict mode may wait inside. */
    struct version *(*version)(void *context, uint64_t number);
    /* Item-head log-probabilities (count, M) under a version; NULL when there is no language
     * model. */
    enum status (*score)(void *context, struct version *version,
                         const struct score_request *requests, int count, float *ret_logprobs,
                         struct error *err);
};

/* state: where to go on; copied. */
MUST_CHECK enum status engine_new(const struct engine_doors *doors, const struct core_state *state,
                                  struct engine **ret_engine, struct error *err);
void engine_free(struct engine *engine);
/* The running state (ahead of what is committed by the epoch in progress). */
const struct core_state *engine_state(const struct engine *engine);
const struct epoch *engine_epoch(const struct engine *engine);

/* Folds one record of an input topic. A bad record becomes a dead letter (OK). AGAIN: close the
 * epoch first, then feed it again. Records below the position are dropped (OK). CORRUPT, NO_MEMORY,
 * LIMIT, and what scoring returns. */
MUST_CHECK enum status engine_feed(struct engine *engine, const struct stream_record *record,
                                   struct error *err);
/* True when no group is open: the epoch may be closed in strict mode. */
bool engine_at_boundary(const struct engine *engine);
/* Strict mode: the version that must be announced before the next record may be fed, + 1; else
 * 0. */
uint64_t engine_waits_for(const struct engine *engine);
/* Language-model users of the next groups (recorded mode; the caller knows what time allows). */
void engine_set_lm_users(struct engine *engine, int users);
/* Share of dead records among the last 10,000; 0 while fewer were seen. */
double engine_dead_share(const struct engine *engine);

/* A version the learner delivered (or rejected: version NULL): its manifest and chunks become
 * outputs of this epoch. path: the version's folder, to read its files from. */
struct engine_announcement {
    uint64_t number;
    struct version *version; /* NULL: rejected */
    const char *path;
    const char *reason; /* rejected: why */
    const char *numeric_profile;
    const char *base_model;
    const uint8_t *base_model_sha256; /* (32) */
};
MUST_CHECK enum status engine_announce(struct engine *engine,
                                       const struct engine_announcement *announcement,
                                       struct error *err);
struct engine_close {
    uint8_t owner[OWNER_BYTES];
    bool claim;                       /* "here I am": nothing but the record */
    bool batch_due;                   /* recorded: cut a batch at seq_hi if rows wait */
    bool version_due;                 /* recorded: and make a version */
    struct core_rates rates;          /* recorded: from seq_hi+1 */
    bool with_settings;               /* put the settings that affect outputs into the record */
    const char *numeric_profile;      /* put it into the record; NULL = not */
    const uint8_t *base_model_sha256; /* (32) with the settings; NULL = none */
};
/* Ends the epoch: cuts the open group (recorded mode), applies decisions, computes digests, adds
 * the ledger's record as last output and writes the new state into the stage. *ret_chain is H of
 * the new epoch. Nothing is committed yet. */
MUST_CHECK enum status engine_close_epoch(struct engine *engine, const struct engine_close *how,
                                          struct error *err);
/* True when the epoch in progress holds anything worth a commit. */
bool engine_has_work(const struct engine *engine);

/* Follows an epoch record from now until engine_close_followed. record lives until then. */
void engine_follow(struct engine *engine, const struct epoch_record *record,
                   const uint8_t chain_after[SHA256_BYTES]);
/* Ends a followed epoch: applies its decisions and verifies sequence numbers, counts and digests.
 * CORRUPT says what differs. */
MUST_CHECK enum status engine_close_followed(struct engine *engine, struct error *err);

/* After the stage was committed: a new epoch begins. */
MUST_CHECK enum status engine_begin(struct engine *engine, struct error *err);

/* Positions to commit: all partitions, next offsets. */
const struct stream_position *engine_positions(const struct engine *engine, int *ret_count);
/* Rows of the training log below this are needed by nobody: trimmed with the next close. */
void engine_trim_below(struct engine *engine, uint64_t seq);
/* Publishes a control record (JSON) to our own input in this epoch's transaction. */
MUST_CHECK enum status engine_publish_control(struct engine *engine, struct span json,
                                              struct error *err);
/* A `set` control record arrived: key and value, once. */
bool engine_take_set(struct engine *engine, char key[128], char value[CONFIG_TEXT_BYTES]);

#endif
