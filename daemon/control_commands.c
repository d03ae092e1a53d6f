/* SPDX-License-Identifier: Apache-2.0
 *
 * control_commands.c - a request line of the control socket to the question it asks.
 *
 * A refused request is an answer like any other; only an answer that cannot be built (no memory) is
 * a failure of this room. Thread: doors. */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "daemon/control_socket.h"

typedef enum status (*command_run)(struct query *query, const struct json_value *request,
                                   struct buffer *out, struct error *err);

static enum status text_member(const struct json_value *request, const char *name,
                               struct span *ret_text, struct error *err) {
    const struct json_value *member = json_member(request, name);
    if (member == NULL || !json_string(member, ret_text)) {
        return error_set(err, STATUS_MALFORMED, "expected a string '%s'", name);
    }
    return STATUS_OK;
}

/* Copies a text member with its NUL. */
static enum status copy_member(const struct json_value *request, const char *name, char *text,
                               size_t text_bytes, struct error *err) {
    struct span value;
    enum status status = text_member(request, name, &value, err);
    if (status != STATUS_OK) { return status; }
    if (value.size == 0 || value.size >= text_bytes || memchr(value.data, '\0', value.size)) {
        return error_set(err, STATUS_MALFORMED, "'%s': expected 1 to %zu bytes", name,
                         text_bytes - 1);
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    return STATUS_OK;
}

static enum status run_status(struct query *query, const struct json_value *request,
                              struct buffer *out, struct error *err) {
    (void)request; /* has no members of its own */
    return query_status(query, out, err);
}

static enum status run_recommend(struct query *query, const struct json_value *request,
                                 struct buffer *out, struct error *err) {
    struct span user;
    int64_t n = 0;
    enum status status = text_member(request, "user", &user, err);
    if (status != STATUS_OK) { return status; }
    const struct json_value *member = json_member(request, "n");
    if (member != NULL && (!json_integer(member, &n) || n < 1 || n > LIST_MAX)) {
        return error_set(err, STATUS_MALFORMED, "'n': expected an integer from 1 to %d", LIST_MAX);
    }
    return query_recommend(query, user, (int)n, out, err);
}

static enum status run_history(struct query *query, const struct json_value *request,
                               struct buffer *out, struct error *err) {
    struct span user;
    enum status status = text_member(request, "user", &user, err);
    if (status != STATUS_OK) { return status; }
    return query_history(query, user, out, err);
}

static enum status run_config(struct query *query, const struct json_value *request,
                              struct buffer *out, struct error *err) {
    (void)request; /* has no members of its own */
    return query_config(query, out, err);
}

static enum status run_snapshots(struct query *query, const struct json_value *request,
                                 struct buffer *out, struct error *err) {
    (void)request; /* has no members of its own */
    return query_snapshots(query, out, err);
}

static enum status run_rollback(struct query *query, const struct json_value *request,
                                struct buffer *out, struct error *err) {
    struct operator_request what = {.command = OPERATOR_ROLLBACK};
    int64_t version = -1;
    const struct json_value *member = json_member(request, "version");
    if (member == NULL || !json_integer(member, &version) || version < 0) {
        return error_set(err, STATUS_MALFORMED, "expected 'version', a number");
    }
    what.version = (uint64_t)version;
    return query_request(query, &what, out, err);
}

static enum status run_forget(struct query *query, const struct json_value *request,
                              struct buffer *out, struct error *err) {
    struct operator_request what = {.command = OPERATOR_FORGET};
    enum status status = copy_member(request, "user", what.user, sizeof what.user, err);
    if (status != STATUS_OK) { return status; }
    return query_request(query, &what, out, err);
}

static enum status run_receipt(struct query *query, const struct json_value *request,
                               struct buffer *out, struct error *err) {
    struct span user;
    enum status status = text_member(request, "user", &user, err);
    if (status != STATUS_OK) { return status; }
    return query_receipt(query, user, out, err);
}

static enum status run_hide(struct query *query, const struct json_value *request,
                            struct buffer *out, struct error *err) {
    struct operator_request what = {.command = OPERATOR_HIDE};
    enum status status = copy_member(request, "item", what.item, sizeof what.item, err);
    if (status != STATUS_OK) { return status; }
    return query_request(query, &what, out, err);
}

static enum status run_publish_now(struct query *query, const struct json_value *request,
                                   struct buffer *out, struct error *err) {
    (void)request; /* has no members of its own */
    struct operator_request what = {.command = OPERATOR_PUBLISH_NOW};
    return query_request(query, &what, out, err);
}

static enum status run_set(struct query *query, const struct json_value *request,
                           struct buffer *out, struct error *err) {
    struct operator_request what = {.command = OPERATOR_SET};
    enum status status = copy_member(request, "key", what.key, sizeof what.key, err);
    if (status != STATUS_OK) { return status; }
    status = copy_member(request, "value", what.value, sizeof what.value, err);
    if (status != STATUS_OK) { return status; }
    return query_request(query, &what, out, err);
}

static const struct {
    const char *name;
    command_run run;
    bool changes; /* something: logged with who asked */
} commands[] = {
    {"status", run_status, false},    {"recommend", run_recommend, false},
    {"history", run_history, false},  {"config", run_config, false},
    {"receipt", run_receipt, false},  {"snapshots", run_snapshots, false},
    {"rollback", run_rollback, true}, {"forget", run_forget, true},
    {"hide", run_hide, true},         {"publish_now", run_publish_now, true},
    {"set", run_set, true},
};

/* Who changed what; never of whom: a log outlives a forgotten user. */
static enum status dispatch(struct query *query, const struct json_value *request, const char *who,
                            struct buffer *out, struct error *err) {
    struct span name;
    enum status status = text_member(request, "command", &name, err);
    if (status != STATUS_OK) { return status; }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (span_equal(name, span_of(commands[i].name))) {
            enum status done = commands[i].run(query, request, out, err);
            if (commands[i].changes && who != NULL) {
                LOG_NOTICE("control socket: %s by %s%s", commands[i].name, who,
                           done == STATUS_OK ? "" : ", refused");
            }
            return done;
        }
    }
    return error_set(err, STATUS_NOT_FOUND, "no command '%.*s'", SPAN_ARG(name));
}

static enum status append_refusal(struct buffer *out, const struct error *err) {
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_bool(&w, "ok", false);
    json_write_string(&w, "status", span_of(status_name(err->code)));
    json_write_string(&w, "error", span_of(err->text));
    json_write_object_end(&w);
    return json_write_end(&w);
}

enum status control_answer(struct query *query, struct span line, const char *who,
                           struct buffer *out) {
    static const char head[] = "{\"ok\":true,\"answer\":";
    struct error err = {0};
    struct json_value *request = NULL;
    size_t before = out->size;
    enum status status = json_parse(line, &request, &err);
    if (status == STATUS_OK) {
        status = buffer_append(out, head, sizeof head - 1);
        if (status == STATUS_OK) { status = dispatch(query, request, who, out, &err); }
        if (status == STATUS_OK) { status = buffer_append(out, "}", 1); }
        if (status != STATUS_OK && err.code == STATUS_OK) {
            (void)error_set(&err, status, "building the answer"); /* returns its code */
        }
    }
    json_free(request);
    if (status != STATUS_OK) {
        out->size = before;
        status = append_refusal(out, &err);
    }
    if (status == STATUS_OK) { status = buffer_append(out, "\n", 1); }
    return status;
}
