/* SPDX-License-Identifier: Apache-2.0
 *
 * http.c - paths to answers, through libmicrohttpd without threads of its own.
 *
 * Why external polling: one thread answers operators, so the ranker needs no lock, and a thousand
 * slow clients cost memory (bounded), never the core's time. libmicrohttpd manual, "external event
 * loop" with epoll.
 * Failure: a status becomes an HTTP code with one JSON line. Thread: doors. */
#include "daemon/http.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "daemon/exposition.h"

#define CONNECTION_IDLE_S 10u /* no byte moves; the limits of http.h hold besides */
#define BEAT_AGE_LIVE_US  60000000
#define METRICS_BYTES_MAX (4u * 1024u * 1024u)
#define URL_BYTES_MAX     2048u

/* A connection, as long as libmicrohttpd has it. */
struct http_client {
    bool used;
    bool answering;   /* the request is whole, the answer not yet taken */
    int64_t since_us; /* when that began; 0: it was cut */
    int fd;           /* libmicrohttpd's */
};

struct http {
    struct MHD_Daemon *daemon;
    struct shared *shared;         /* borrows: until http_close */
    struct query *query;           /* borrows: until http_close */
    struct exposition *exposition; /* owns; NULL without metrics */
    const char *token;             /* borrows: of the settings; "" = none is asked for */
    int client_count;
    struct http_client clients[HTTP_CLIENTS_MAX];
    int fd; /* of epoll; libmicrohttpd's */
    uint16_t port;
    char path[108]; /* of the UNIX socket; "" otherwise */
};

struct answer {
    unsigned code;
    const char *type;
    struct buffer body; /* owns */
};

/* ---- answers ---- */

static unsigned code_of(enum status status) {
    switch (status) {
    case STATUS_OK: return MHD_HTTP_OK;
    case STATUS_NOT_FOUND: return MHD_HTTP_NOT_FOUND;
    case STATUS_MALFORMED:
    case STATUS_CONFIG: return MHD_HTTP_BAD_REQUEST;
    case STATUS_AGAIN: return MHD_HTTP_SERVICE_UNAVAILABLE;
    case STATUS_LIMIT:
    case STATUS_NO_MEMORY:
    case STATUS_IO:
    case STATUS_DEVICE_LOST:
    case STATUS_FENCED:
    case STATUS_CORRUPT: return MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

/* Puts {"error": words} in place of whatever the body holds. */
static void refuse(struct answer *answer, unsigned code, const char *words) {
    struct json_writer w;
    buffer_reset(&answer->body);
    answer->code = code;
    answer->type = "application/json";
    json_write_begin(&w, &answer->body);
    json_write_object(&w, NULL);
    json_write_string(&w, "error", span_of(words));
    json_write_object_end(&w);
    if (json_write_end(&w) != STATUS_OK) { buffer_reset(&answer->body); } /* the code says it */
}

static void answer_text(struct answer *answer, unsigned code, const char *text) {
    answer->code = code;
    answer->type = "text/plain; charset=utf-8";
    if (buffer_append(&answer->body, text, strlen(text)) != STATUS_OK) {
        refuse(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory");
    }
}

static void answer_live(struct http *http, struct answer *answer) {
    bool live = shared_oldest_beat_us(http->shared) < BEAT_AGE_LIVE_US;
    answer_text(answer, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                live ? "live\n" : "a thread has stopped moving\n");
}

static void answer_ready(struct http *http, struct answer *answer) {
    struct shared_picture picture;
    shared_picture_copy(http->shared, &picture);
    bool ready = picture.ready && !shared_stopping(http->shared);
    answer_text(answer, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                ready ? "ready\n" : picture.state);
}

static void answer_metrics(struct http *http, struct answer *answer) {
    struct metrics *metrics = shared_metrics(http->shared);
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    answer->body.limit = METRICS_BYTES_MAX;
    if (http->exposition != NULL) { exposition_update(http->exposition); }
    if (metrics == NULL || metrics_render(metrics, &answer->body) != STATUS_OK) {
        refuse(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "the metrics do not fit");
    }
}

/* n of ?n=; 0 when absent; false when it is no number from 1 to LIST_MAX. */
static bool list_length(struct MHD_Connection *connection, int *ret_n) {
    const char *text = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "n");
    *ret_n = 0;
    if (text == NULL) { return true; }
    int64_t n = 0;
    if (!span_integer(span_of(text), &n) || n < 1 || n > LIST_MAX) { return false; }
    *ret_n = (int)n;
    return true;
}

/* The rest of url after prefix, NULL when url does not begin with it. */
static const char *after(const char *url, const char *prefix) {
    size_t size = strlen(prefix);
    return strncmp(url, prefix, size) == 0 ? url + size : NULL;
}

static void answer_query(struct http *http, struct MHD_Connection *connection, const char *url,
                         struct answer *answer) {
    struct error err = {0};
    enum status status = STATUS_OK;
    const char *user = NULL;
    int n = 0;
    answer->type = "application/json";
    if (strcmp(url, "/v1/status") == 0) {
        status = query_status(http->query, &answer->body, &err);
    } else if ((user = after(url, "/v1/recommend/")) != NULL) {
        if (!list_length(connection, &n)) {
            status = error_set(&err, STATUS_MALFORMED, "n: expected 1 to %d", LIST_MAX);
        } else {
            status = query_recommend(http->query, span_of(user), n, &answer->body, &err);
        }
    } else if ((user = after(url, "/v1/history/")) != NULL) {
        status = query_history(http->query, span_of(user), &answer->body, &err);
    } else if (strcmp(url, "/v1/snapshots") == 0) {
        status = query_snapshots(http->query, &answer->body, &err);
    } else {
        status = error_set(&err, STATUS_NOT_FOUND, "no such page");
    }
    if (status != STATUS_OK) { refuse(answer, code_of(status), err.text); }
}

/* Takes as long for a wrong token as for a right one of the same length. */
static bool token_fits(const char *given, const char *token) {
    size_t size = strlen(token);
    if (strlen(given) != size) { return false; }
    unsigned differ = 0;
    for (size_t i = 0; i < size; i++) {
        differ |= (unsigned)(unsigned char)given[i] ^ (unsigned)(unsigned char)token[i];
    }
    return differ == 0;
}

/* What says nothing about users is open to whoever may connect. */
static bool may_ask(const struct http *http, struct MHD_Connection *connection, const char *url) {
    static const char scheme[] = "Bearer ";
    if (http->token[0] == '\0' || strncmp(url, "/health/", 8) == 0 || strcmp(url, "/") == 0) {
        return true;
    }
    const char *given =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    return given != NULL && strncmp(given, scheme, sizeof scheme - 1) == 0 &&
           token_fits(given + sizeof scheme - 1, http->token);
}

static void answer_url(struct http *http, struct MHD_Connection *connection, const char *url,
                       struct answer *answer) {
    answer->code = MHD_HTTP_OK;
    if (strcmp(url, "/health/live") == 0) {
        answer_live(http, answer);
    } else if (strcmp(url, "/health/ready") == 0) {
        answer_ready(http, answer);
    } else if (strcmp(url, "/metrics") == 0) {
        answer_metrics(http, answer);
    } else if (strcmp(url, "/") == 0) {
        answer_text(answer, MHD_HTTP_OK, http_page);
        answer->type = "text/html; charset=utf-8";
    } else {
        answer_query(http, connection, url, answer);
    }
}

/* ---- libmicrohttpd ---- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct answer *answer) {
    static const char policy[] =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'";
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->body.size, answer->body.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) { return MHD_NO; }
    enum MHD_Result result = MHD_add_response_header(response, "Content-Type", answer->type);
    if (result == MHD_YES) {
        result = MHD_add_response_header(response, "Cache-Control", "no-store");
    }
    if (result == MHD_YES) {
        result = MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    }
    if (result == MHD_YES) {
        result = MHD_add_response_header(response, "Content-Security-Policy", policy);
    }
    if (result == MHD_YES && answer->code == MHD_HTTP_METHOD_NOT_ALLOWED) {
        result = MHD_add_response_header(response, "Allow", "GET, HEAD");
    }
    if (result == MHD_YES && answer->code == MHD_HTTP_UNAUTHORIZED) {
        result = MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    }
    if (result == MHD_YES) { result = MHD_queue_response(connection, answer->code, response); }
    MHD_destroy_response(response);
    return result;
}

static bool has_body(struct MHD_Connection *connection) {
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return (length != NULL && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                       MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
}

/* What is wrong with the head of a request, before any body is read. False: nothing. */
static bool head_refused(struct http *http, struct MHD_Connection *connection, const char *url,
                         const char *method, struct answer *answer) {
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        refuse(answer, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    } else if (has_body(connection)) {
        refuse(answer, MHD_HTTP_CONTENT_TOO_LARGE, "a request has no body here");
    } else if (strlen(url) > URL_BYTES_MAX) {
        refuse(answer, MHD_HTTP_URI_TOO_LONG, "the path is too long");
    } else if (!may_ask(http, connection, url)) {
        refuse(answer, MHD_HTTP_UNAUTHORIZED, "expected the bearer token of [http] token");
    } else {
        return false;
    }
    return true;
}

static void note_answering(struct MHD_Connection *connection, bool answering) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_client *client = info == NULL ? NULL : info->socket_context;
    if (client == NULL || client->since_us == 0) { return; }
    client->answering = answering;
    client->since_us = clock_monotonic_us();
}

/* Called first with the request line and headers, then to answer. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state) {
    struct http *http = context;
    (void)version; /* all are answered alike */
    (void)upload;
    struct answer answer = {.body = {.limit = QUERY_ANSWER_BYTES_MAX}};
    if (*state == NULL) {
        *state = http; /* any value: the headers were seen */
        if (!head_refused(http, connection, url, method, &answer)) { return MHD_YES; }
    } else {
        *upload_size = 0; /* there is none */
        answer_url(http, connection, url, &answer);
    }
    note_answering(connection, true);
    enum MHD_Result result = send_answer(connection, &answer);
    buffer_free(&answer.body);
    return result;
}

/* ---- slow clients ---- */

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how) {
    (void)context;
    (void)state;
    (void)how; /* the next request has its own time */
    note_answering(connection, false);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **client_context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http *http = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct http_client *client = *client_context;
        if (client == NULL) { return; }
        memset(client, 0, sizeof *client);
        http->client_count--;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (int i = 0; info != NULL && i < HTTP_CLIENTS_MAX; i++) {
        struct http_client *client = &http->clients[i];
        if (client->used) { continue; }
        *client = (struct http_client){
            .used = true, .since_us = clock_monotonic_us(), .fd = info->connect_fd};
        http->client_count++;
        *client_context = client;
        return;
    }
}

/* libmicrohttpd's own limit is of silence, which a byte a second never is. */
static void cut_slow_clients(struct http *http) {
    int64_t now = clock_monotonic_us();
    int64_t request_us = http->client_count == HTTP_CLIENTS_MAX ? HTTP_CROWDED_US : HTTP_REQUEST_US;
    for (int i = 0; i < HTTP_CLIENTS_MAX; i++) {
        struct http_client *client = &http->clients[i];
        if (!client->used || client->since_us == 0) { continue; }
        if (now - client->since_us > (client->answering ? HTTP_ANSWER_US : request_us)) {
            (void)shutdown(client->fd, SHUT_RDWR); /* libmicrohttpd sees the end and closes */
            client->since_us = 0;
        }
    }
}

/* ---- listening ---- */

static enum status listen_ip(struct http *http, const struct listen_address *listen, int fd,
                             struct error *err) {
    struct sockaddr_storage storage = {0};
    socklen_t size = 0;
    int one = 1;
    if (listen->kind == LISTEN_IPV4) {
        struct sockaddr_in *address = (struct sockaddr_in *)&storage;
        *address = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(listen->port), .sin_addr = listen->ipv4};
        size = sizeof *address;
    } else {
        struct sockaddr_in6 *address = (struct sockaddr_in6 *)&storage;
        *address = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(listen->port), .sin6_addr = listen->ipv6};
        size = sizeof *address;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* only a convenience */
    if (bind(fd, (struct sockaddr *)&storage, size) != 0) {
        return error_errno(err, errno, "[http] listen, port %u", listen->port);
    }
    if (getsockname(fd, (struct sockaddr *)&storage, &size) != 0) {
        return error_errno(err, errno, "[http] listen");
    }
    http->port = ntohs(listen->kind == LISTEN_IPV4 ? ((struct sockaddr_in *)&storage)->sin_port
                                                   : ((struct sockaddr_in6 *)&storage)->sin6_port);
    return STATUS_OK;
}

static enum status listen_unix(struct http *http, const struct listen_address *listen, int fd,
                               struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat file;
    static_assert(sizeof address.sun_path >= sizeof listen->path, "the path fits");
    memcpy(address.sun_path, listen->path, sizeof listen->path);
    if (lstat(listen->path, &file) == 0 && S_ISSOCK(file.st_mode)) {
        (void)unlink(listen->path); /* a dead daemon's; bind says what else is wrong */
    }
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(listen->path, S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP) != 0) {
        return error_errno(err, errno, "[http] listen = %s", listen->path);
    }
    memcpy(http->path, listen->path, sizeof http->path);
    return STATUS_OK;
}

static enum status listen_socket(struct http *http, const struct listen_address *listen_at,
                                 int *ret_fd, struct error *err) {
    int family = listen_at->kind == LISTEN_UNIX   ? AF_UNIX
                 : listen_at->kind == LISTEN_IPV4 ? AF_INET
                                                  : AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) { return error_errno(err, errno, "[http] listen"); }
    enum status status = listen_at->kind == LISTEN_UNIX ? listen_unix(http, listen_at, fd, err)
                                                        : listen_ip(http, listen_at, fd, err);
    if (status == STATUS_OK && listen(fd, HTTP_CLIENTS_MAX) != 0) {
        status = error_errno(err, errno, "[http] listen");
    }
    if (status != STATUS_OK) {
        (void)close(fd);
        return status;
    }
    *ret_fd = fd;
    return STATUS_OK;
}

enum status http_open(struct shared *shared, struct query *query,
                      const struct listen_address *listen, struct http **ret_http,
                      struct error *err) {
    assert(listen->kind != LISTEN_NONE);
    int fd = -1;
    enum status status = STATUS_OK;
    struct http *http = memory_take_zeroed(1, sizeof *http);
    if (http == NULL) { return error_set(err, STATUS_NO_MEMORY, "http"); }
    http->shared = shared;
    http->query = query;
    http->token = shared_settings(shared)->http_token;
    if (shared_metrics(shared) != NULL) {
        status = exposition_new(shared, &http->exposition, err);
        if (status != STATUS_OK) { goto fail; }
    }
    status = listen_socket(http, listen, &fd, err);
    if (status != STATUS_OK) { goto fail; }

    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        CONNECTION_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_REQUEST_BYTES_MAX,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, http, MHD_OPTION_END);
    if (http->daemon == NULL) {
        (void)close(fd);
        status = error_set(err, STATUS_IO, "[http] listen: libmicrohttpd does not start");
        goto fail;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        status = error_set(err, STATUS_IO, "[http] listen: libmicrohttpd has no epoll");
        goto fail;
    }
    http->fd = info->epoll_fd;
    *ret_http = http;
    return STATUS_OK;

fail:
    http_close(http);
    return status;
}

void http_close(struct http *http) {
    if (http == NULL) { return; }
    if (http->daemon != NULL) { MHD_stop_daemon(http->daemon); } /* closes the socket too */
    if (http->path[0] != '\0') { (void)unlink(http->path); }     /* the next start does otherwise */
    exposition_free(http->exposition);
    memory_free(http);
}

int http_fd(const struct http *http) {
    return http->fd;
}

int http_timeout_ms(const struct http *http) {
    MHD_UNSIGNED_LONG_LONG timeout = 0;
    if (MHD_get_timeout(http->daemon, &timeout) != MHD_YES) { return -1; }
    return timeout > 1000 ? 1000 : (int)timeout;
}

void http_run(struct http *http) {
    cut_slow_clients(http);
    (void)MHD_run(http->daemon); /* NO only when the flags do not fit, which http_open chose */
}

uint16_t http_port(const struct http *http) {
    return http->port;
}
