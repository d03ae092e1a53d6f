/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h - asks a running daemon through `<state>/control.sock`.
 */
#ifndef OPS_CLIENT_H
#define OPS_CLIENT_H

#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"
#include "daemon/settings.h"

struct client_answer {
    struct buffer text;               /* owns: the whole line */
    struct json_value *root;          /* owns */
    const struct json_value *content; /* borrows: the member "answer" */
    struct span content_text;         /* borrows: the same as text */
};

/* Sends one request (JSON without newline), waits up to ten seconds for the answer. NOT_FOUND: no
 * daemon runs there; otherwise the daemon's own status and words. */
MUST_CHECK enum status client_ask(const struct settings *settings, struct span request,
                                  struct client_answer *ret_answer, struct error *err);
/* {"command": name} with one text member (name NULL: none). */
MUST_CHECK enum status client_ask_about(const struct settings *settings, const char *command,
                                        const char *member, const char *value,
                                        struct client_answer *ret_answer, struct error *err);
void client_answer_free(struct client_answer *answer);

/* Members with a fallback: for printing. */
double client_real(const struct json_value *object, const char *name, double fallback);
int64_t client_integer(const struct json_value *object, const char *name, int64_t fallback);
/* borrows: from object. "" when absent. */
struct span client_text(const struct json_value *object, const char *name);

#endif
