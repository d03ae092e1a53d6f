/* SPDX-License-Identifier: Apache-2.0
 *
 * protocol_model.h - the commit protocol as a state machine small enough to try every schedule.
 *
 * Two daemons, each with a state directory, one stream with a ledger, a few events. A state is all
 * of it; a step is one atomic thing that one of them, the network or fate does: a read of the
 * ledger's tail, a fence, a transaction's begin, its commit (with the answer lost or late), an LMDB
 * commit, a learned row, a checkpoint, a kill, a power loss that takes LMDB back, a state directory
 * copied elsewhere, a disturbed connection that leaves a request in the network.
 *
 *   ledger   r r r r ...            each: owner, does it carry an event, which version it announces
 *   daemon   tail ▸ fence ▸ tail ▸ refold* ▸ claim ▸ { stage ▸ begin ▸ commit ▸ LMDB }*
 *
 * The protocol is the project's (ARCHITECTURE.md); each variant leaves out one of its rules and
 * must be caught, which shows that the model is able to see what the rule is for.
 */
#ifndef TESTS_PROTOCOL_PROTOCOL_MODEL_H
#define TESTS_PROTOCOL_PROTOCOL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_DAEMONS   2
#define MODEL_EVENTS    2  /* offsets 0 and 1 */
#define MODEL_LEDGER    8  /* records at most; schedules that need more are cut there */
#define MODEL_STEPS_MAX 48 /* steps that one state allows */

enum model_variant {
    VARIANT_NONE,             /* the protocol */
    VARIANT_LMDB_FIRST,       /* LMDB commits before the stream does */
    VARIANT_NO_FENCE,         /* the predecessor's producer is not fenced */
    VARIANT_LATE_FENCE,       /* the tail is read before the fence only */
    VARIANT_NO_OWNER,         /* the ledger's last owner is not looked at */
    VARIANT_NO_TAINT,         /* a disturbed producer goes on */
    VARIANT_BLIND_TAINT,      /* it is replaced, but the tail is not read again */
    VARIANT_OFFSETS_APART,    /* outputs in the transaction, offsets and ledger after it */
    VARIANT_LEARN_EARLY,      /* the learner learns what is staged, before it is committed */
    VARIANT_ANNOUNCE_EARLY,   /* a version is announced before it is durable */
    VARIANT_TRIM_EARLY,       /* log rows are trimmed when learned, not below a checkpoint */
    VARIANT_SKIP_REFOLD,      /* a state behind the ledger takes its position without folding */
    VARIANT_REFOLD_PUBLISHES, /* outputs are not suppressed in a refold */
    VARIANT_COUNT
};

enum model_place {
    PLACE_DEAD,       /* will be started and read the ledger's tail */
    PLACE_FENCE,      /* will fence */
    PLACE_TAIL_AGAIN, /* will read the tail again */
    PLACE_REFOLD,     /* will fold the next recorded epoch, or claim */
    PLACE_RUN,        /* nothing is staged */
    PLACE_BEGIN,      /* an epoch is staged, will be sent */
    PLACE_COMMIT,     /* its transaction is open */
    PLACE_OFFSETS,    /* VARIANT_OFFSETS_APART: outputs are out, offsets are not */
    PLACE_LMDB,       /* the stream has it, LMDB not */
    PLACE_REFENCE,    /* tainted: will make a new producer */
    PLACE_RECHECK,    /* and read the tail */
    PLACE_ENDED       /* 78, or never started: a human has to act */
};

/* One ledger record or folded epoch. */
struct model_epoch {
    uint8_t owner : 3;
    uint8_t event : 1;    /* carries the next event of the input */
    uint8_t announce : 2; /* version, 0 = none */
    uint8_t filled : 1;
};

struct model_daemon {
    uint8_t place;
    uint8_t current;      /* its producer is the one that may write: nobody fenced it */
    uint8_t known;        /* ledger length it read */
    uint8_t staged_event; /* offset + 1 of staged, 0 = none */
    uint8_t staged_base;  /* ledger length it was computed from */
    struct model_epoch staged;
    uint8_t tainted;
    uint8_t loaded; /* the learner runs: it has the checkpoint and follows LMDB */
};

struct model_directory {
    uint8_t owner;
    uint8_t length; /* epochs in LMDB */
    struct model_epoch epochs[MODEL_LEDGER];
    uint8_t folded[MODEL_EVENTS]; /* how often each event is in LMDB */
    uint8_t checkpoint;           /* rows learned in the newest checkpoint */
    uint8_t log_from;             /* rows below are trimmed */
    uint8_t versions;             /* bit v: durable */
};

struct model_stream {
    uint8_t length;
    struct model_epoch ledger[MODEL_LEDGER];
    uint8_t outputs[MODEL_EVENTS]; /* copies that a read_committed reader sees */
    uint8_t open;                  /* a transaction is open */
    uint8_t open_event;            /* offset + 1 of its output, 0 = none */
    uint8_t open_stray;            /* offset + 1 of a late output that slipped in, 0 = none */
    struct model_epoch open_epoch;
    uint8_t open_base; /* ledger length it was computed from */
    uint8_t beside;    /* an epoch was committed on another base than its own */
    uint8_t ending;    /* the open transaction's commit request is under way */
    uint8_t stray;     /* offset + 1 of an output left in the network, 0 = none */
};

struct model_state {
    struct model_stream stream;
    struct model_daemon daemons[MODEL_DAEMONS];
    struct model_directory directories[MODEL_DAEMONS];
    uint8_t owners;                             /* given out so far */
    uint8_t kills, losses, moves, disturbances; /* still allowed */
    uint8_t learner;                            /* the learner's steps are part of it */
};

struct model_bounds {
    int kills;        /* kill -9, of either daemon */
    int losses;       /* power losses: LMDB falls back by one or two epochs */
    int moves;        /* copies of a state directory, and take-overs */
    int disturbances; /* connections cut inside a transaction */
    bool learner;     /* versions, checkpoints, trims too */
};

void model_first(const struct model_bounds *bounds, struct model_state *ret_state);

/* All states one step away, with a word for each step; how many. */
int model_next(const struct model_state *state, enum model_variant variant,
               struct model_state ret_states[MODEL_STEPS_MAX],
               const char *ret_words[MODEL_STEPS_MAX]);

/* What is wrong with the state; NULL: nothing. */
const char *model_violation(const struct model_state *state);

/* All events are in the ledger and both learners' directories are whole. */
bool model_done(const struct model_state *state);

const char *model_variant_name(enum model_variant variant);

#endif
