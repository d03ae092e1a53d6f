/* SPDX-License-Identifier: Apache-2.0
 *
 * tiny_core.h - one shard in one thread: the engine with its state in a folder, a stream in memory
 * and a learner that only counts. Everything of the daemon's core but clocks, threads and the
 * language model.
 *
 *   broker ─poll─▶ engine ─close─▶ commit ─▶ LMDB ─▶ learner (rows up to what LMDB holds)
 *     ▲                                                 │ versions/<n>/, a new one at each mark
 *     └── outputs ◀── announcement of a version ◀───────┘
 *
 * Opening is the start procedure of PROTOCOL.md in short: refold what LMDB lacks, then claim. A
 * kill is tiny_core_kill at any moment: broker and folder outlive it. When versions come and epochs
 * close is the caller's choice (tiny_pace), so that tests can show what must not depend on it.
 */
#ifndef TESTS_SUPPORT_TINY_CORE_H
#define TESTS_SUPPORT_TINY_CORE_H

#include "base/arena.h"
#include "base/file.h"
#include "daemon/commit.h"
#include "daemon/engine.h"
#include "daemon/ledger.h"
#include "tests/support/stream_memory.h"

#define TINY_HELD_MAX 256

/* When things happen. Zero: never (records: 64). */
struct tiny_pace {
    int epoch_records; /* an epoch is closed after so many (strict mode: at the next boundary) */
    int batch_every;   /* recorded: a batch is cut every so many epochs */
    int version_every; /* recorded: a version is due every so many epochs */
    /* the learner runs every so many epochs (1 by default; strict: when awaited) */
    int learner_every;
    double fast_share; /* recorded: rate decided at every close; 0 = as the settings say */
};

struct tiny_learner {
    struct fast_model *model;  /* owns */
    struct training_row *rows; /* owns, TINY_ROWS of them */
    uint64_t seq;              /* last row learned */
    uint64_t version;          /* last version made */
    uint64_t rollbacks, forgets;
};

struct tiny_core {
    struct settings settings;
    char path[FILE_PATH_BYTES_MAX]; /* the state folder */
    struct memory_broker *broker;   /* borrows: until closed */
    struct stream *stream;          /* owns, and all below */
    struct store *store;
    struct stage *stage;
    struct store_reader *reader;
    struct catalogue *catalogue;
    struct inbound *inbound;
    struct backend *backend;
    struct ranker *ranker;
    struct engine *engine;
    struct tiny_learner learner;
    struct version *held[TINY_HELD_MAX];
    int held_count;
    uint8_t owner[OWNER_BYTES];
    struct commit_doors doors;
    struct tiny_pace pace;
    bool no_versions;  /* the version door answers NULL: folders were lost */
    uint64_t refolded; /* epochs folded again by open */
    uint64_t epochs;   /* closed since open */
    bool close_due;
    uint64_t fed; /* records fed since open */
};

/* Settings of a small shard; more: count further "section.key=value". Fails the test when
 * refused. */
void tiny_settings(struct settings *settings, bool strict, const char *const *more, int count);

/* Opens the state in `path` over the broker, refolds what it lacks and claims. On failure the
 * core is closed. no_versions may be set before (the rest of core is overwritten). */
MUST_CHECK enum status tiny_core_open(struct tiny_core *core, struct memory_broker *broker,
                                      const char *path, const struct settings *settings,
                                      struct error *err);
/* Drops everything in memory at once. */
void tiny_core_kill(struct tiny_core *core);
/* Consumes all there is and lets the learner catch up; every announced version is committed. */
MUST_CHECK enum status tiny_core_run(struct tiny_core *core, const struct tiny_pace *pace,
                                     struct error *err);
/* The steps of tiny_core_run, for tests that stop in between. */
MUST_CHECK enum status tiny_core_feed(struct tiny_core *core, struct error *err);
/* Closes and commits the epoch in progress. */
MUST_CHECK enum status tiny_core_close_epoch(struct tiny_core *core, const struct engine_close *how,
                                             struct error *err);
MUST_CHECK enum status tiny_core_learn(struct tiny_core *core, struct error *err);
MUST_CHECK enum status tiny_core_announce(struct tiny_core *core, int *ret_count,
                                          struct error *err);

/* ---- looking --------------------------------------------------------------------------------- */

/* Every record of a topic as text lines: key, value, headers; without offsets and timestamps. */
void tiny_dump_topic(struct memory_broker *broker, enum stream_topic topic, struct buffer *out);
/* Digest over all tables but META. */
void tiny_digest_state(struct tiny_core *core, uint8_t ret_digest[SHA256_BYTES]);
/* The last epoch record of the ledger into arena. */
void tiny_ledger_last(struct memory_broker *broker, struct arena *arena,
                      struct epoch_record *ret_record);

/* ---- input ----------------------------------------------------------------------------------- */

/* Appends one JSON record; key NULL: none. Returns its offset. */
int64_t tiny_send(struct memory_broker *broker, enum stream_topic topic, const char *key,
                  const char *format, ...) PRINTF_LIKE(4, 5);

/* A stream of `count` records that is a function of seed: interactions of 40 users with 60 items
 * that appear one after another, bursts in one second, duplicates, broken records, titles before
 * and after the first event. one_topic: everything on the events topic (strict mode). */
void tiny_stream(struct memory_broker *broker, uint64_t seed, int count, bool one_topic);

#endif
