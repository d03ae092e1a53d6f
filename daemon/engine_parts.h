/* SPDX-License-Identifier: Apache-2.0
 *
 * engine_parts.h - the inside of the engine, shared by its rooms only: engine.c (feed and fold),
 * groups.c (scoring), publisher.c (outputs), evaluator.c (live figures), decisions.c (closing).
 */
#ifndef DAEMON_ENGINE_PARTS_H
#define DAEMON_ENGINE_PARTS_H

#include "base/arena.h"
#include "base/training_row.h"
#include "daemon/engine.h"
#include "storage/sequence.h"
#include "storage/training_log.h"

#define DEAD_WINDOW 10000

/* What the hash of a sequence number decides. */
enum sample_salt { SALT_EVALUATE = 1, SALT_EVALUATE_LM = 2, SALT_LM = 3 };

struct group_user {
    struct span user; /* in group.arena */
    uint64_t user_key;
    uint64_t seq; /* of the user's last event in the group */
    uint8_t topic;
    int32_t partition;
    int64_t offset;
    int64_t time_ms;
};

struct group {
    struct arena arena;       /* user ids */
    struct group_user *users; /* group_events of them */
    int user_count;
    int events;
};

/* Room for scoring one group: allocated once. */
struct group_scratch {
    struct sequence *sequences;    /* (G) */
    uint32_t *exclude;             /* (G, seen) */
    struct rank_request *requests; /* (G) */
    struct rank_list *lists;       /* (G) */
    float *states;                 /* (G, E) */
    float *logprobs;               /* (lm_users, items_max) */
    struct span *titles;           /* (lm_users, history) */
    struct score_request *score_requests;
};

struct engine {
    struct engine_doors doors;
    struct core_state state;
    struct epoch epoch;
    struct group group;
    struct group_scratch scratch;
    uint8_t *hidden; /* (items_max) one byte an item */
    int lm_users;
    struct version *version;        /* in force, one reference; NULL: not held */
    uint8_t dead_ring[DEAD_WINDOW]; /* 1 = dead */
    int dead_at, dead_seen, dead_sum;
    uint64_t trim_seq;
    const struct epoch_record *follow; /* NULL: live */
    uint8_t follow_chain[SHA256_BYTES];
    int follow_group;
    bool set_waits;
    char set_key[128], set_value[CONFIG_TEXT_BYTES];
    struct buffer message; /* scratch for one encoded output */
    uint32_t seen_items[SEEN_MAX];
};

/* groups.c */
MUST_CHECK enum status group_init(struct engine *engine, struct error *err);
void group_free(struct engine *engine);
/* Notes that a user had an event; position and time are the newest event's. */
MUST_CHECK enum status group_note(struct engine *engine, struct span user,
                                  const struct training_row *row, struct error *err);
/* Takes a user out of the open group: its events count, it gets no prediction. */
void group_forget(struct engine *engine, struct span user);
/* Scores and publishes the open group, if it has events. */
MUST_CHECK enum status group_close(struct engine *engine, struct error *err);
/* Makes the version with this number the one in force (asks the door). */
void engine_take_version(struct engine *engine, uint64_t number);

/* publisher.c: each adds outputs to engine->epoch */
MUST_CHECK enum status publish_prediction(struct engine *engine, const struct group_user *user,
                                          const struct rank_list *list, const char *tier,
                                          uint32_t history_length, struct error *err);
MUST_CHECK enum status publish_dead_letter(struct engine *engine,
                                           const struct stream_record *record, const char *reason,
                                           const char *message, struct error *err);
MUST_CHECK enum status publish_metrics(struct engine *engine, struct error *err);

/* evaluator.c */
MUST_CHECK enum status evaluate_live(struct engine *engine, struct span user, uint32_t item,
                                     int64_t time_ms, struct error *err);

/* decisions.c */
/* Adds the marks of a batch end to a row; version_due: a version too. */
MUST_CHECK enum status mark_batch_end(struct engine *engine, struct training_row *row,
                                      bool version_due, struct error *err);
/* Strict mode: puts in force what is due before seq+1 is fed. */
void decide_strict_version(struct engine *engine);

/* engine.c */
const char *engine_topic_name(const struct engine *engine, int topic);

#endif
