/* SPDX-License-Identifier: Apache-2.0
 *
 * test_doors_limits.c - the doors against clients that trickle, crowd, lie or have no token. Time
 * is real here: the limits are seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "daemon/control_socket.h"
#include "daemon/http.h"
#include "daemon/query.h"
#include "daemon/settings.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

#define REPLY_BYTES 65536
#define CROWD       200

struct fixture {
    struct settings settings;
    struct shared *shared;
    struct query *query;
    struct http *http;
    struct tmpdir folder;
    struct error err;
    char reply[REPLY_BYTES];
};

static struct fixture *open_with(const char *token) {
    struct fixture *f = memory_take_zeroed(1, sizeof *f);
    struct listen_address listen;
    char path[FILE_PATH_BYTES_MAX + 16], secret[128];
    assert_non_null(f);
    tmpdir_init(&f->folder);
    (void)snprintf(path, sizeof path, "state.path=%s", f->folder.path);
    (void)snprintf(secret, sizeof secret, "http.token=%s", token);
    const char *overrides[] = {path, secret};
    ASSERT_OK(settings_load(NULL, overrides, 2, &f->settings, &f->err), f->err);
    ASSERT_OK(shared_new(&f->settings, NULL, &f->shared, &f->err), f->err);
    ASSERT_OK(query_new(f->shared, &f->query, &f->err), f->err);
    ASSERT_OK(settings_listen("127.0.0.1:0", &listen, &f->err), f->err);
    ASSERT_OK(http_open(f->shared, f->query, &listen, &f->http, &f->err), f->err);
    return f;
}

static void close_fixture(struct fixture *f) {
    http_close(f->http);
    query_free(f->query);
    shared_free(f->shared);
    tmpdir_free(&f->folder);
    memory_free(f);
}

/* ---- HTTP clients ---- */

/* Never blocks: a place in a full queue may come late. */
static int client_open(struct fixture *f) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_port(f->http)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    int code = connect(fd, (struct sockaddr *)&address, sizeof address);
    assert_true(code == 0 || errno == EINPROGRESS);
    return fd;
}

static void turn(struct fixture *f) {
    struct pollfd poll_fd = {.fd = http_fd(f->http), .events = POLLIN};
    (void)poll(&poll_fd, 1, 20);
    http_run(f->http);
}

/* True once the server has closed; what it said is in f->reply. */
static bool client_ended(struct fixture *f, int fd, size_t *got) {
    ssize_t more = recv(fd, f->reply + *got, sizeof f->reply - 1 - *got, 0);
    if (more > 0) { *got += (size_t)more; }
    f->reply[*got] = '\0';
    return more == 0 || (more < 0 && errno != EAGAIN && errno != ENOTCONN);
}

/* Sends the request as soon as it can be sent and reads until the server closes. */
static void ask(struct fixture *f, const char *request, int64_t limit_us) {
    int fd = client_open(f);
    size_t size = strlen(request), sent = 0, got = 0;
    int64_t deadline = clock_monotonic_us() + limit_us;
    for (;;) {
        assert_true(clock_monotonic_us() < deadline);
        turn(f);
        if (sent < size) {
            ssize_t more = send(fd, request + sent, size - sent, MSG_NOSIGNAL);
            if (more > 0) { sent += (size_t)more; }
            if (more <= 0 && errno == EPIPE) { sent = size; }
            continue;
        }
        if (client_ended(f, fd, &got)) { break; }
    }
    assert_int_equal(close(fd), 0);
}

#define LIVE "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* Silence has always been cut; this one is never silent. */
static void a_client_that_sends_a_byte_at_a_time_is_cut(void **state) {
    (void)state;
    struct fixture *f = open_with("");
    static const char request[] = "GET /v1/status HTTP/1.1\r\nHost: a-long-name-that-never-ends-";
    int fd = client_open(f);
    int64_t began = clock_monotonic_us(), next = began;
    size_t sent = 0, got = 0;
    while (!client_ended(f, fd, &got)) {
        int64_t now = clock_monotonic_us();
        assert_true(now - began < 3 * HTTP_REQUEST_US);
        if (now >= next && sent < sizeof request - 1) {
            (void)send(fd, request + sent, 1, MSG_NOSIGNAL); /* fails once it is cut */
            sent++;
            next += 300000;
        }
        turn(f);
    }
    assert_true(clock_monotonic_us() - began >= HTTP_REQUEST_US - 100000);
    assert_true(sent < sizeof request - 1); /* it was cut while it still sent */
    assert_int_equal(close(fd), 0);

    ask(f, LIVE, 5000000);
    ASSERT_CONTAINS(f->reply, "200 OK");
    close_fixture(f);
}

static void two_hundred_silent_clients_keep_nobody_out(void **state) {
    (void)state;
    struct fixture *f = open_with("");
    int fds[CROWD];
    for (int i = 0; i < CROWD; i++) {
        fds[i] = client_open(f);
        if (i % 20 == 0) { turn(f); }
    }
    int64_t began = clock_monotonic_us();
    ask(f, LIVE, 15000000);
    ASSERT_CONTAINS(f->reply, "200 OK");
    /* Places come free by HTTP_CROWDED_US, so not by the limit of an empty house. */
    assert_true(clock_monotonic_us() - began < 3 * HTTP_REQUEST_US);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(close(fds[i]), 0);
    }
    close_fixture(f);
}

static void a_client_that_takes_its_answers_may_stay(void **state) {
    (void)state;
    struct fixture *f = open_with("");
    static const char request[] = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = client_open(f);
    int64_t began = clock_monotonic_us(), next = began;
    int asked = 0;
    while (clock_monotonic_us() - began < HTTP_REQUEST_US + 1500000) {
        turn(f);
        if (clock_monotonic_us() < next) { continue; }
        next += 700000;
        assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
        asked++;
    }
    size_t got = 0;
    for (int i = 0; i < 10; i++) {
        turn(f);
        assert_false(client_ended(f, fd, &got));
    }
    int answers = 0;
    for (const char *at = f->reply; (at = strstr(at, "200 OK")) != NULL; at++) {
        answers++;
    }
    assert_true(asked > 5 && answers == asked);
    assert_int_equal(close(fd), 0);
    close_fixture(f);
}

static void a_head_that_is_too_large_and_any_body_are_refused(void **state) {
    (void)state;
    struct fixture *f = open_with("");
    char *request = memory_take_zeroed(1, 2 * HTTP_REQUEST_BYTES_MAX);
    assert_non_null(request);
    int size = snprintf(request, 64, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: ");
    memset(request + size, 'y', HTTP_REQUEST_BYTES_MAX + 1000);

    ask(f, request, 8000000);
    ASSERT_CONTAINS(f->reply, " 431 ");
    request[0] = '\0';
    size = snprintf(request, 64, "GET /v1/recommend/");
    memset(request + size, 'u', 3000);
    memcpy(request + size + 3000, " HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n", 42);
    ask(f, request, 8000000);
    ASSERT_CONTAINS(f->reply, " 414 ");
    ask(f, "GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc", 8000000);
    ASSERT_CONTAINS(f->reply, " 413 ");
    ask(f, "POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc", 8000000);
    ASSERT_CONTAINS(f->reply, " 405 ");
    memory_free(request);
    close_fixture(f);
}

static void what_tells_of_users_wants_the_token(void **state) {
    (void)state;
    struct fixture *f = open_with("open-sesame");
#define ASK(path, more) \
    ask(f, "GET " path " HTTP/1.1\r\nHost: x\r\n" more "Connection: close\r\n\r\n", 5000000)
    static const char *const tag = "WWW-Authenticate: Bearer";

    ASK("/health/live", "");
    ASSERT_CONTAINS(f->reply, " 200 ");
    ASK("/", "");
    ASSERT_CONTAINS(f->reply, " 200 ");
    ASK("/v1/status", "");
    ASSERT_CONTAINS(f->reply, " 401 ");
    ASSERT_CONTAINS(f->reply, tag);
    ASK("/v1/history/42", "Authorization: Bearer open-sesamE\r\n");
    ASSERT_CONTAINS(f->reply, " 401 ");
    ASK("/metrics", "Authorization: Bearer open-sesame-more\r\n");
    ASSERT_CONTAINS(f->reply, " 401 ");
    ASK("/v1/status", "Authorization: open-sesame\r\n");
    ASSERT_CONTAINS(f->reply, " 401 ");
    ASK("/v1/status", "Authorization: Bearer open-sesame\r\n");
    ASSERT_CONTAINS(f->reply, " 200 ");
    assert_null(strstr(f->reply, "open-sesame"));
#undef ASK
    close_fixture(f);
}

/* ---- the control socket ---- */

static int control_client(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void control_turn(struct control_socket *control) {
    struct pollfd fds[CONTROL_FDS_MAX];
    int count = control_socket_fds(control, fds);
    (void)poll(fds, (nfds_t)count, 20);
    control_socket_run(control, fds, count);
}

static void a_control_line_that_trickles_is_cut_and_a_whole_one_is_not(void **state) {
    (void)state;
    struct fixture *f = open_with("");
    static const char line[] = "{\"command\":\"snapshots\"}\n";
    const char *path = tmpdir_path(&f->folder, "control.sock");
    struct control_socket *control = NULL;
    ASSERT_OK(control_socket_open(path, f->query, &control, &f->err), f->err);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0660); /* owner and group, nobody else */
    int slow = control_client(path), quiet = control_client(path);
    int64_t began = clock_monotonic_us(), next = began;
    size_t got = 0;
    while (!client_ended(f, slow, &got)) {
        int64_t now = clock_monotonic_us();
        assert_true(now - began < 3 * CONTROL_LINE_US);
        if (now >= next) {
            (void)send(slow, "x", 1, MSG_NOSIGNAL); /* fails once it is cut */
            next += 200000;
        }
        control_turn(control);
    }
    assert_true(clock_monotonic_us() - began >= CONTROL_LINE_US);

    assert_int_equal(send(quiet, line, sizeof line - 1, MSG_NOSIGNAL), sizeof line - 1);
    for (int i = 0; i < 4; i++) {
        control_turn(control);
    }
    assert_false(client_ended(f, quiet, &got));
    ASSERT_CONTAINS(f->reply, "{\"ok\":true");
    assert_int_equal(close(slow), 0);
    assert_int_equal(close(quiet), 0);
    control_socket_close(control);
    close_fixture(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_sends_a_byte_at_a_time_is_cut),
        cmocka_unit_test(two_hundred_silent_clients_keep_nobody_out),
        cmocka_unit_test(a_client_that_takes_its_answers_may_stay),
        cmocka_unit_test(a_head_that_is_too_large_and_any_body_are_refused),
        cmocka_unit_test(what_tells_of_users_wants_the_token),
        cmocka_unit_test(a_control_line_that_trickles_is_cut_and_a_whole_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
