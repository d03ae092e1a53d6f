/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c - one connection, one line out, one line back. */
#include "ops/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/query.h"

#define ANSWER_TIMEOUT_US 10000000
#define READ_BYTES        (64u * 1024u)

static enum status client_connect(const struct settings *settings, int *ret_fd, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, settings->state_path, "control.sock", err);
    if (status != STATUS_OK) { return status; }
    if (strlen(path) >= sizeof address.sun_path) {
        return error_set(err, STATUS_CONFIG, "'%s' is too long for a socket", path);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) { return error_errno(err, errno, "socket"); }
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int reason = errno;
        (void)close(fd);
        if (reason == ENOENT || reason == ECONNREFUSED) {
            return error_set(err, STATUS_NOT_FOUND, "no ilorad runs on '%s'", settings->state_path);
        }
        return error_errno(err, reason, "connecting to '%s'", path);
    }
    *ret_fd = fd;
    return STATUS_OK;
}

static enum status send_line(int fd, struct span request, struct error *err) {
    struct span pieces[2] = {request, span_of("\n")};
    for (int i = 0; i < 2; i++) {
        size_t sent = 0;
        while (sent < pieces[i].size) {
            ssize_t size = send(fd, pieces[i].data + sent, pieces[i].size - sent, MSG_NOSIGNAL);
            if (size < 0 && errno == EINTR) { continue; }
            if (size < 0) { return error_errno(err, errno, "asking ilorad"); }
            sent += (size_t)size;
        }
    }
    return STATUS_OK;
}

static enum status receive_line(int fd, struct buffer *text, struct error *err) {
    int64_t deadline = clock_monotonic_us() + ANSWER_TIMEOUT_US;
    text->limit = QUERY_ANSWER_BYTES_MAX + READ_BYTES;
    for (;;) {
        int64_t left_us = deadline - clock_monotonic_us();
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        if (left_us <= 0 || poll(&poll_fd, 1, (int)(left_us / 1000) + 1) == 0) {
            return error_set(err, STATUS_AGAIN, "ilorad does not answer");
        }
        enum status status = buffer_reserve(text, READ_BYTES);
        if (status != STATUS_OK) { return error_set(err, status, "the answer is too long"); }
        ssize_t got = recv(fd, text->data + text->size, READ_BYTES, 0);
        if (got < 0 && errno == EINTR) { continue; }
        if (got < 0) { return error_errno(err, errno, "reading the answer"); }
        if (got == 0) { return error_set(err, STATUS_IO, "ilorad closed the connection"); }
        text->size += (size_t)got;
        if (text->data[text->size - 1] == '\n') {
            text->size--;
            return STATUS_OK;
        }
    }
}

static enum status status_of_name(struct span name) {
    for (int i = 0; i < STATUS_COUNT; i++) {
        if (span_equal(name, span_of(status_name((enum status)i)))) { return (enum status)i; }
    }
    return STATUS_MALFORMED;
}

static enum status read_answer(struct client_answer *answer, struct error *err) {
    static const char head[] = "{\"ok\":true,\"answer\":";
    bool ok = false;
    enum status status = json_parse(buffer_span(&answer->text), &answer->root, err);
    if (status != STATUS_OK) { return error_wrap(err, "the answer of ilorad"); }
    if (json_bool(json_member(answer->root, "ok"), &ok) && ok && answer->text.size > sizeof head) {
        answer->content = json_member(answer->root, "answer");
        answer->content_text =
            span_make(answer->text.data + sizeof head - 1, answer->text.size - sizeof head);
        return STATUS_OK;
    }
    status = status_of_name(client_text(answer->root, "status"));
    if (status == STATUS_OK) { status = STATUS_MALFORMED; }
    struct span words = client_text(answer->root, "error");
    return error_set(err, status, "%.*s", SPAN_ARG(words));
}

enum status client_ask(const struct settings *settings, struct span request,
                       struct client_answer *ret_answer, struct error *err) {
    struct client_answer answer = {0};
    int fd = -1;
    enum status status = client_connect(settings, &fd, err);
    if (status != STATUS_OK) { return status; }
    status = send_line(fd, request, err);
    if (status == STATUS_OK) { status = receive_line(fd, &answer.text, err); }
    (void)close(fd);
    if (status == STATUS_OK) { status = read_answer(&answer, err); }
    if (status != STATUS_OK) {
        client_answer_free(&answer);
        return status;
    }
    *ret_answer = answer;
    return STATUS_OK;
}

enum status client_ask_about(const struct settings *settings, const char *command,
                             const char *member, const char *value,
                             struct client_answer *ret_answer, struct error *err) {
    struct buffer request = {0};
    struct json_writer w;
    json_write_begin(&w, &request);
    json_write_object(&w, NULL);
    json_write_string(&w, "command", span_of(command));
    if (member != NULL) { json_write_string(&w, member, span_of(value)); }
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status != STATUS_OK) {
        (void)error_set(err, status, "the request"); /* returns its code */
    } else {
        status = client_ask(settings, buffer_span(&request), ret_answer, err);
    }
    buffer_free(&request);
    return status;
}

void client_answer_free(struct client_answer *answer) {
    json_free(answer->root);
    buffer_free(&answer->text);
    memset(answer, 0, sizeof *answer);
}

double client_real(const struct json_value *object, const char *name, double fallback) {
    const struct json_value *member = json_member(object, name);
    double value = 0.0;
    return member != NULL && json_real(member, &value) ? value : fallback;
}

int64_t client_integer(const struct json_value *object, const char *name, int64_t fallback) {
    const struct json_value *member = json_member(object, name);
    int64_t value = 0;
    return member != NULL && json_integer(member, &value) ? value : fallback;
}

struct span client_text(const struct json_value *object, const char *name) {
    const struct json_value *member = json_member(object, name);
    struct span text = {(const uint8_t *)"", 0};
    if (member != NULL) { (void)json_string(member, &text); } /* another kind: "" */
    return text;
}
