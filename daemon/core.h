/* SPDX-License-Identifier: Apache-2.0
 *
 * core.h - what the core thread owns, shared by its rooms only: pipeline.c (life and loop), start.c
 * (the start procedure), core_open.c (opening and closing), core_versions.c (versions held).
 */
#ifndef DAEMON_CORE_H
#define DAEMON_CORE_H

#include "base/file.h"
#include "base/ring.h"
#include "daemon/commit.h"
#include "daemon/engine.h"
#include "daemon/learner_thread.h"
#include "daemon/ledger.h"
#include "daemon/pipeline.h"
#include "daemon/poll_thread.h"
#include "storage/catalogue.h"

#define CORE_VERSIONS_MAX 96

struct core_metrics {
    struct metric *applied, *duplicate, *dead, *filtered;
    struct metric *prediction_age, *commit_time, *trained_rows, *trained_tokens;
    struct metric *in_force, *lag, *queued_max, *lmdb_used;
    struct metric *train_age, *rejected, *version_age;
};

/* When an epoch's oldest record arrived, kept until the learner is past the epoch. */
struct core_arrival {
    uint64_t seq_hi;
    int64_t arrived_us;
};
#define CORE_ARRIVALS_MAX 256 /* epochs behind; older ones are not observed */

struct core {
    struct shared *shared;
    const struct pipeline_options *options;
    struct settings settings;       /* the core's own copy; reloadable ones change */
    struct settings start_settings; /* as at start: the learner's; never changes */
    char path[FILE_PATH_BYTES_MAX]; /* [state] path */
    int lock_fd;                    /* flock on <path>/lock; -1 = not held */
    uint8_t owner[OWNER_BYTES];

    struct store *store;
    struct store_reader *reader; /* start only */
    struct stage *stage;
    struct catalogue *catalogue;
    struct inbound *inbound;
    struct backend *backend; /* one thread: the fast tier */
    struct ranker *ranker;
    struct stream *stream;
    struct learner_thread *learner;
    struct learner_identity identity;
    struct ring *ring;
    struct poll_thread *poll;
    struct engine *engine;
    struct commit_doors doors;
    struct crash_list crashes; /* of earlier lives */
    struct core_metrics metrics;

    struct learner_delivery held[CORE_VERSIONS_MAX]; /* delivered or loaded, by number */
    int held_count;
    bool door_failed; /* a door met an error: kept here */
    struct error door_error;

    /* loop */
    int64_t epoch_began_us, batch_cut_us, version_marked_us, rates_us, heartbeat_us, shown_us;
    uint64_t batch_end_seen, version_seq_seen;
    int64_t oldest_arrival_us;
    uint64_t shown_seq;
    struct core_arrival arrivals[CORE_ARRIVALS_MAX];
    int arrival_count;
    int64_t in_force_us; /* when the version in force became it */
    uint64_t in_force_seen;
    uint64_t predictions; /* committed by this process */
    double lm_user_us;    /* measured time of one user's language-model score */
    double lm_credit_us;  /* time that scoring may take now */
    int64_t lm_credit_at_us;
    uint64_t rates_seq;    /* learned when the rates were last asked */
    int64_t rates_busy_us; /* the learner's busy time then */
    bool disk_full;
    uint64_t committed_epoch; /* where the ledger ends as far as this process knows */
    uint8_t committed_chain[SHA256_BYTES];
    bool ready; /* the start procedure is over */
};

/* core_open.c */
MUST_CHECK enum status core_open_state(struct core *core, struct error *err);
MUST_CHECK enum status core_open_stream(struct core *core, struct error *err);
MUST_CHECK enum status core_open_engine_parts(struct core *core, struct error *err);
void core_close(struct core *core);
/* Beats and says whether to go on; for every wait. */
bool core_wait(void *core);
/* The engine's epoch is committed: where the ledger must end from now on. */
void core_note_committed(struct core *core);
void core_say(struct core *core, const char *format, ...) PRINTF_LIKE(2, 3);
/* The disk has no room, in these words: shown and logged once, until the disk has room again. */
void core_note_full(void *core, const char *words);

/* start.c: PROTOCOL.md, Start. Leaves core->engine ready and positions assigned. */
MUST_CHECK enum status core_start(struct core *core, struct error *err);

/* core_versions.c */
/* core_score.c */
/* Sets the language-model users of the next groups (recorded mode). */
void core_score_choose(struct core *core);
/* What a language-model score of `count` users took. */
void core_score_spent(struct core *core, int count, int64_t spent_us);
/* engine_doors.version and .score */
struct version *core_version_door(void *core, uint64_t number);
MUST_CHECK enum status core_score_door(void *core, struct version *version,
                                       const struct score_request *requests, int count,
                                       float *ret_logprobs, struct error *err);
/* Takes what the learner delivered into the held list. */
void core_versions_collect(struct core *core);
/* Announces what is delivered and pending, in order; *ret_count how many. */
MUST_CHECK enum status core_versions_announce(struct core *core, int *ret_count, struct error *err);
/* Gives back versions nobody can need any more; shows the one in force. */
void core_versions_trim(struct core *core);
/* After a refold in recorded mode: the newest version held, at most `number`; NOT_FOUND. */
MUST_CHECK enum status core_versions_newest(struct core *core, uint64_t number,
                                            uint64_t *ret_number, struct error *err);

#endif
