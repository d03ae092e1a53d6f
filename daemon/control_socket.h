/* SPDX-License-Identifier: Apache-2.0
 *
 * control_socket.h - `<state>/control.sock`: one JSON line asks, one JSON line answers.
 *
 *   {"command":"recommend","user":"42","n":10}\n
 *   {"ok":true,"answer":{...}}\n      or      {"ok":false,"status":"NOT_FOUND","error":"..."}\n
 *
 * The folder's mode (0750) and the socket's (0660) say who may connect; who asks for a change is
 * logged by user and process id. A connection may ask many times, one after the other; at most
 * CONTROL_CLIENTS_MAX at once, each idle for at most CONTROL_IDLE_US; a line is complete
 * CONTROL_LINE_US after its first byte and an answer taken CONTROL_ANSWER_US after it was made, or
 * the connection is closed.
 *
 * thread: doors; nothing here blocks.
 */
#ifndef DAEMON_CONTROL_SOCKET_H
#define DAEMON_CONTROL_SOCKET_H

#include <poll.h>

#include "base/status.h"
#include "daemon/query.h"

#define CONTROL_CLIENTS_MAX    16
#define CONTROL_LINE_BYTES_MAX 4096u
#define CONTROL_IDLE_US        INT64_C(60000000)
#define CONTROL_LINE_US        INT64_C(3000000)
#define CONTROL_ANSWER_US      INT64_C(30000000)
#define CONTROL_FDS_MAX        (CONTROL_CLIENTS_MAX + 1)

struct control_socket;

/* Replaces a socket a dead daemon left: the caller holds the state's lock. CONFIG: the path is too
 * long for a socket. query is borrowed until close. */
MUST_CHECK enum status control_socket_open(const char *path, struct query *query,
                                           struct control_socket **ret_socket, struct error *err);
/* Closes and removes the socket. */
void control_socket_close(struct control_socket *socket);

/* What to wait for: fills at most CONTROL_FDS_MAX entries, returns how many. */
int control_socket_fds(const struct control_socket *socket, struct pollfd *fds);
/* Does what poll said of the same entries. */
void control_socket_run(struct control_socket *socket, const struct pollfd *fds, int count);

/* One request line to one answer line with its newline (the dispatch alone; tests). who: asks, in
 * words for the log; NULL: not logged. */
MUST_CHECK enum status control_answer(struct query *query, struct span line, const char *who,
                                      struct buffer *out);

#endif
