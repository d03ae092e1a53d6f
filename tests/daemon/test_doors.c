/* SPDX-License-Identifier: Apache-2.0
 *
 * test_doors.c - what operators get through HTTP and the control socket, without an engine
 * behind. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "daemon/control_socket.h"
#include "daemon/http.h"
#include "daemon/query.h"
#include "tests/support/unit.h"

#define REPLY_BYTES 65536

struct fixture {
    struct settings settings;
    struct metrics *metrics;
    struct shared *shared;
    struct query *query;
    struct error err;
    char folder[64];
    char reply[REPLY_BYTES];
};

static int setup(void **state) {
    struct fixture *f = memory_take_zeroed(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/ilora-doors-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    char path[96];
    (void)snprintf(path, sizeof path, "state.path=%s", f->folder);
    const char *overrides[] = {path};
    ASSERT_OK(settings_load(NULL, overrides, 1, &f->settings, &f->err), f->err);
    ASSERT_OK(metrics_init(&f->metrics, &f->err), f->err);
    ASSERT_OK(shared_new(&f->settings, f->metrics, &f->shared, &f->err), f->err);
    ASSERT_OK(query_new(f->shared, &f->query, &f->err), f->err);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    query_free(f->query);
    shared_free(f->shared);
    metrics_free(f->metrics);
    assert_int_equal(dir_remove(f->folder, &f->err), STATUS_OK);
    memory_free(f);
    return 0;
}

static void make_ready(void *context, struct shared_picture *picture) {
    (void)context;
    picture->ready = true;
    picture->applied = 77;
    picture->figure_count = 1;
    picture->figures[0] = (struct eval_figure){.model = "fast",
                                               .kind = "candidates",
                                               .slice = "all",
                                               .count = 4,
                                               .hit_1 = 1.0,
                                               .log_loss = 6.0};
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static struct http *open_http(struct fixture *f) {
    struct listen_address listen;
    struct http *http = NULL;
    ASSERT_OK(settings_listen("127.0.0.1:0", &listen, &f->err), f->err);
    ASSERT_OK(http_open(f->shared, f->query, &listen, &http, &f->err), f->err);
    assert_true(http_port(http) != 0);
    return http;
}

/* Sends one request, turns the loop until the server closes, leaves the whole reply in f->reply. */
static void ask(struct fixture *f, struct http *http, const char *method, const char *path) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_port(http)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[4096];
    int size = snprintf(request, sizeof request,
                        "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, request, (size_t)size, 0), size);
    size_t got = 0;
    int64_t deadline = clock_monotonic_us() + 5000000;
    for (;;) {
        assert_true(clock_monotonic_us() < deadline);
        struct pollfd fds[2] = {{.fd = http_fd(http), .events = POLLIN},
                                {.fd = fd, .events = POLLIN}};
        (void)poll(fds, 2, 50);
        http_run(http);
        if ((fds[1].revents & (POLLIN | POLLHUP)) == 0) { continue; }
        ssize_t more = recv(fd, f->reply + got, sizeof f->reply - 1 - got, 0);
        assert_true(more >= 0);
        if (more == 0) { break; }
        got += (size_t)more;
    }
    f->reply[got] = '\0';
    assert_int_equal(close(fd), 0);
}

static void health_says_live_at_once_and_ready_when_it_is(void **state) {
    struct fixture *f = *state;
    struct http *http = open_http(f);

    ask(f, http, "GET", "/health/live");
    ASSERT_CONTAINS(f->reply, "200 OK");
    ask(f, http, "GET", "/health/ready");
    ASSERT_CONTAINS(f->reply, "503");
    shared_picture_update(f->shared, make_ready, NULL);
    ask(f, http, "GET", "/health/ready");
    ASSERT_CONTAINS(f->reply, "200 OK");
    shared_stop(f->shared, STATUS_OK, NULL);
    ask(f, http, "GET", "/health/ready");
    ASSERT_CONTAINS(f->reply, "503");

    http_close(http);
}

static void metrics_show_the_picture(void **state) {
    struct fixture *f = *state;
    struct http *http = open_http(f);
    shared_picture_update(f->shared, make_ready, NULL);

    ask(f, http, "GET", "/metrics");

    ASSERT_CONTAINS(f->reply, "text/plain; version=0.0.4");
    ASSERT_CONTAINS(f->reply, "ilorad_ready 1");
    ASSERT_CONTAINS(f->reply, "ilorad_build_info{version=");
    ASSERT_CONTAINS(f->reply, "ilorad_prequential_hit_rate{model=\"fast\",kind=\"candidates\","
                              "slice=\"all\",k=\"1\"} 0.25");
    http_close(http);
}

static void what_is_not_there_or_not_allowed_is_refused(void **state) {
    struct fixture *f = *state;
    struct http *http = open_http(f);

    ask(f, http, "GET", "/nothing");
    ASSERT_CONTAINS(f->reply, "404");
    ask(f, http, "POST", "/v1/status");
    ASSERT_CONTAINS(f->reply, "405");
    ASSERT_CONTAINS(f->reply, "Allow: GET, HEAD");
    ask(f, http, "GET", "/v1/recommend/42?n=0");
    ASSERT_CONTAINS(f->reply, "400");
    ask(f, http, "GET", "/v1/recommend/42");
    ASSERT_CONTAINS(f->reply, "503");
    ASSERT_CONTAINS(f->reply, "no version");

    http_close(http);
}

static void the_page_is_one_document_without_outside_resources(void **state) {
    struct fixture *f = *state;
    struct http *http = open_http(f);

    ask(f, http, "GET", "/");

    ASSERT_CONTAINS(f->reply, "200 OK");
    ASSERT_CONTAINS(f->reply, "default-src 'none'");
    ASSERT_CONTAINS(f->reply, "</html>");
    assert_null(strstr(f->reply, "//cdn"));
    http_close(http);
}

static void a_taken_port_is_an_error_that_names_it(void **state) {
    struct fixture *f = *state;
    struct http *first = open_http(f);
    struct http *second = NULL;
    struct listen_address listen;
    char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", http_port(first));
    ASSERT_OK(settings_listen(text, &listen, &f->err), f->err);

    ASSERT_STATUS(http_open(f->shared, f->query, &listen, &second, &f->err), STATUS_IO);

    ASSERT_CONTAINS(f->err.text, "[http] listen");
    http_close(first);
}

/* ---- control socket -------------------------------------------------------------------------- */

static void expect(struct fixture *f, const char *request, const char *part) {
    struct buffer out = {0};
    assert_int_equal(control_answer(f->query, span_of(request), NULL, &out), STATUS_OK);
    assert_int_equal(out.data[out.size - 1], '\n');
    out.data[out.size - 1] = '\0';
    ASSERT_CONTAINS((char *)out.data, part);
    buffer_free(&out);
}

static void every_request_gets_one_line(void **state) {
    struct fixture *f = *state;
    shared_picture_update(f->shared, make_ready, NULL);

    expect(f, "{\"command\":\"status\"}", "\"applied\":77");
    expect(f, "{\"command\":\"status\"}", "\"hit_1\":0.25");
    expect(f, "{\"command\":\"config\"}", "group_events = 64");
    expect(f, "{\"command\":\"snapshots\"}", "\"versions\":[]");
    expect(f, "not json", "\"ok\":false");
    expect(f, "{\"command\":\"dance\"}", "no command 'dance'");
    expect(f, "{\"command\":\"recommend\"}", "expected a string 'user'");
    expect(f, "{\"command\":\"recommend\",\"user\":\"1\",\"n\":1000}", "'n'");
    expect(f, "{\"command\":\"history\",\"user\":\"1\"}", "AGAIN");
}

static void wishes_reach_the_core_until_too_many_wait(void **state) {
    struct fixture *f = *state;
    struct operator_request request;

    expect(f, "{\"command\":\"rollback\",\"version\":41}", "accepted");
    expect(f, "{\"command\":\"forget\",\"user\":\"J\\u00fcrgen\"}", "accepted");
    expect(f, "{\"command\":\"rollback\",\"version\":-1}", "MALFORMED");
    for (int i = 2; i < 8; i++) {
        expect(f, "{\"command\":\"publish_now\"}", "accepted");
    }
    expect(f, "{\"command\":\"publish_now\"}", "AGAIN");

    assert_true(shared_request_take(f->shared, &request));
    assert_int_equal(request.command, OPERATOR_ROLLBACK);
    assert_int_equal(request.version, 41);
    assert_true(shared_request_take(f->shared, &request));
    assert_string_equal(request.user, "J\xC3\xBCrgen");
}

static int connect_control(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void turn(struct control_socket *control, int times) {
    struct pollfd fds[CONTROL_FDS_MAX];
    for (int i = 0; i < times; i++) {
        int count = control_socket_fds(control, fds);
        (void)poll(fds, (nfds_t)count, 10);
        control_socket_run(control, fds, count);
    }
}

static void two_requests_in_one_packet_get_two_answers(void **state) {
    struct fixture *f = *state;
    char path[96];
    struct control_socket *control = NULL;
    static const char both[] = "{\"command\":\"snapshots\"}\n{\"command\":\"dance\"}\n";
    (void)snprintf(path, sizeof path, "%s/control.sock", f->folder);
    ASSERT_OK(control_socket_open(path, f->query, &control, &f->err), f->err);
    int fd = connect_control(path);

    assert_int_equal(send(fd, both, sizeof both - 1, 0), (int)sizeof both - 1);
    turn(control, 4);

    ssize_t got = recv(fd, f->reply, sizeof f->reply - 1, 0);
    assert_true(got > 0);
    f->reply[got] = '\0';
    ASSERT_CONTAINS(f->reply, "{\"ok\":true,\"answer\":{\"in_force\":0");
    ASSERT_CONTAINS(f->reply, "}\n{\"ok\":false");
    assert_int_equal(close(fd), 0);
    control_socket_close(control);
    assert_false(file_exists(path));
}

static void an_endless_line_ends_the_connection(void **state) {
    struct fixture *f = *state;
    char path[96], bytes[CONTROL_LINE_BYTES_MAX + 16];
    struct control_socket *control = NULL;
    (void)snprintf(path, sizeof path, "%s/control.sock", f->folder);
    ASSERT_OK(control_socket_open(path, f->query, &control, &f->err), f->err);
    int fd = connect_control(path);
    memset(bytes, 'x', sizeof bytes);

    assert_true(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0);
    turn(control, 6);

    ssize_t got = recv(fd, f->reply, sizeof f->reply, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    assert_int_equal(close(fd), 0);
    control_socket_close(control);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(health_says_live_at_once_and_ready_when_it_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(metrics_show_the_picture, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_there_or_not_allowed_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_page_is_one_document_without_outside_resources, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_taken_port_is_an_error_that_names_it, setup, teardown),
        cmocka_unit_test_setup_teardown(every_request_gets_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(wishes_reach_the_core_until_too_many_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(two_requests_in_one_packet_get_two_answers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_endless_line_ends_the_connection, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
