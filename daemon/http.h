/* SPDX-License-Identifier: Apache-2.0
 *
 * http.h - the HTTP door: health, metrics, status, recommendations, and a page that shows learning.
 *
 *   GET /health/live   /health/ready   /metrics   /v1/status   /v1/snapshots
 *       /v1/recommend/{user}?n=   /v1/history/{user}   /
 *
 * Everything is read-only: other methods get 405, a request with a body 413. Where [http] token is
 * set, all but the health pages and the page itself want "Authorization: Bearer <token>".
 *
 * Limits: HTTP_CLIENTS_MAX connections; a request's line and headers fit HTTP_REQUEST_BYTES_MAX and
 * are there HTTP_REQUEST_US after the connection or the answer before, however the bytes trickle;
 * an answer is taken within HTTP_ANSWER_US. When all places are taken, who has not asked within
 * HTTP_CROWDED_US makes room. libmicrohttpd runs inside the doors thread (no threads of its own).
 *
 * thread: doors.
 */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include <stdint.h>

#include "base/status.h"
#include "daemon/query.h"

#define HTTP_CLIENTS_MAX       64
#define HTTP_REQUEST_BYTES_MAX (32u * 1024u)
#define HTTP_REQUEST_US        INT64_C(5000000)
#define HTTP_CROWDED_US        INT64_C(500000)
#define HTTP_ANSWER_US         INT64_C(30000000)

struct http;

/* Listens where `listen` says (not LISTEN_NONE). IO: the address is taken. query and shared are
 * borrowed until close. */
MUST_CHECK enum status http_open(struct shared *shared, struct query *query,
                                 const struct listen_address *listen, struct http **ret_http,
                                 struct error *err);
void http_close(struct http *http);
int http_fd(const struct http *http);         /* readable: http_run has something to do */
int http_timeout_ms(const struct http *http); /* until http_run is due; -1: no limit */
void http_run(struct http *http);
uint16_t http_port(const struct http *http); /* the port listened on; 0 for a UNIX socket */

/* "/": one page, no outside resources. */
extern const char http_page[];

#endif
