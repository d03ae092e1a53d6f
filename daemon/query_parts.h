/* SPDX-License-Identifier: Apache-2.0
 *
 * query_parts.h - what the files of query share; nobody else includes it.
 */
#ifndef DAEMON_QUERY_PARTS_H
#define DAEMON_QUERY_PARTS_H

#include "base/json.h"
#include "daemon/query.h"
#include "kernels/backend.h"
#include "model/fast_model.h"

/* thread: doors */
struct query {
    struct shared *shared;   /* borrows: until query_free */
    struct backend *backend; /* owns: one thread */
    struct ranker *ranker;   /* owns; NULL before the first recommendation */
    uint8_t *hidden;         /* owns: (hidden_capacity), one flag an item */
    size_t hidden_capacity;  /* bytes */
    uint64_t hidden_upto;    /* newest from_seq seen in the item changes */
};

/* The store and a fresh reader, for as long as one request takes. */
struct view {
    struct shared *shared;
    struct store *store; /* borrows: until view_close */
    struct store_reader *reader;
};

/* AGAIN: the state is not open. */
MUST_CHECK enum status view_open(struct query *query, struct view *view, struct error *err);
void view_close(struct view *view);
/* MALFORMED: no user can have such an id. */
MUST_CHECK enum status query_check_user(struct span user, struct error *err);

/* Ends the writer; the words when the answer would be too long. */
MUST_CHECK enum status query_written(struct json_writer *w, struct error *err);

#endif
