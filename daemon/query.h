/* SPDX-License-Identifier: Apache-2.0
 *
 * query.h - what the daemon answers when asked: the same JSON for HTTP and the control socket.
 *
 * Every function appends one JSON object to `out`. Reads go to LMDB through a reader that lives for
 * one request; the newest commit is seen. Ranking uses the version in force on a CPU backend of one
 * thread, so nothing here touches what the core or the learner own.
 *
 * thread: doors.
 */
#ifndef DAEMON_QUERY_H
#define DAEMON_QUERY_H

#include "base/bytes.h"
#include "base/status.h"
#include "daemon/shared.h"

#define QUERY_ANSWER_BYTES_MAX (8u * 1024u * 1024u)

struct query; /* backend, ranker, hidden flags of the catalogue */

MUST_CHECK enum status query_new(struct shared *shared, struct query **ret_query,
                                 struct error *err);
void query_free(struct query *query);

/* The whole picture: counts, rates, versions, figures of all models as means, pairs with
 * intervals. */
MUST_CHECK enum status query_status(struct query *query, struct buffer *out, struct error *err);

/* A list of n items (1..LIST_MAX; 0 = [predict] list) for the user by the fast tier of the version
 * in force, and the list last published. AGAIN: no version yet; NOT_FOUND: a user never seen. */
MUST_CHECK enum status query_recommend(struct query *query, struct span user, int n,
                                       struct buffer *out, struct error *err);
/* The user's sequence, oldest first. NOT_FOUND. */
MUST_CHECK enum status query_history(struct query *query, struct span user, struct buffer *out,
                                     struct error *err);
/* The effective settings, secrets replaced: {"section.key": "value", ...}. */
MUST_CHECK enum status query_config(struct query *query, struct buffer *out, struct error *err);
/* The versions on disk with their manifests, and which one is in force. */
MUST_CHECK enum status query_snapshots(struct query *query, struct buffer *out, struct error *err);
/* What became of a forgotten user: removed, erased or still waiting, and the versions that learned
 * from it. NOT_FOUND: never forgotten (under this [train] seed). */
MUST_CHECK enum status query_receipt(struct query *query, struct span user, struct buffer *out,
                                     struct error *err);
/* Hands a request to the core. AGAIN: too many wait. */
MUST_CHECK enum status query_request(struct query *query, const struct operator_request *request,
                                     struct buffer *out, struct error *err);

#endif
