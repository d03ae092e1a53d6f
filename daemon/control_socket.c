/* SPDX-License-Identifier: Apache-2.0
 *
 * control_socket.c - clients of the control socket: lines in, lines out, never blocking.
 *
 *   client: reading a line ─▶ answered ─▶ writing the answer ─▶ reading a line ...
 *
 * While an answer is being written the client's input is left in the socket: that bounds memory.
 * Thread: doors. */
#include "daemon/control_socket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

#define WHO_BYTES 64

struct client {
    int fd;          /* -1: free */
    int64_t seen_us; /* last time bytes moved */
    int64_t due_us;  /* the line or the answer in work is over by then; 0: none is */
    char who[WHO_BYTES];
    size_t line_size;
    char line[CONTROL_LINE_BYTES_MAX];
    struct buffer answer; /* owns */
    size_t written;       /* bytes of the answer */
};

struct control_socket {
    int fd;
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    struct query *query; /* borrows: until close */
    struct client clients[CONTROL_CLIENTS_MAX];
};

enum status control_socket_open(const char *path, struct query *query,
                                struct control_socket **ret_socket, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        return error_set(err, STATUS_CONFIG,
                         "[state] path: '%s' is too long for a socket, expected at most %zu bytes",
                         path, sizeof address.sun_path - 1);
    }
    enum status status = STATUS_OK;
    struct control_socket *control = memory_take_zeroed(1, sizeof *control);
    if (control == NULL) { return error_set(err, STATUS_NO_MEMORY, "control socket"); }
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        control->clients[i].fd = -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    memcpy(control->path, path, strlen(path) + 1);
    control->query = query;

    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->fd < 0) {
        status = error_errno(err, errno, "control socket");
        goto fail;
    }
    (void)unlink(path); /* a dead daemon's; bind says what else is wrong */
    if (bind(control->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(path, S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP) != 0 ||
        listen(control->fd, CONTROL_CLIENTS_MAX) != 0) {
        status = error_errno(err, errno, "control socket '%s'", path);
        goto fail;
    }
    *ret_socket = control;
    return STATUS_OK;

fail:
    if (control->fd >= 0) { (void)close(control->fd); }
    memory_free(control);
    return status;
}

static void client_close(struct client *client) {
    if (client->fd < 0) { return; }
    (void)close(client->fd);
    buffer_free(&client->answer);
    memset(client, 0, sizeof *client);
    client->fd = -1;
}

void control_socket_close(struct control_socket *control) {
    if (control == NULL) { return; }
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        client_close(&control->clients[i]);
    }
    (void)close(control->fd);
    (void)unlink(control->path); /* the next start removes it otherwise */
    memory_free(control);
}

static bool is_writing(const struct client *client) {
    return client->written < client->answer.size;
}

int control_socket_fds(const struct control_socket *control, struct pollfd *fds) {
    int count = 0;
    bool free_place = false;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct client *client = &control->clients[i];
        if (client->fd < 0) {
            free_place = true;
            continue;
        }
        fds[count++] =
            (struct pollfd){.fd = client->fd, .events = is_writing(client) ? POLLOUT : POLLIN};
    }
    if (free_place) { fds[count++] = (struct pollfd){.fd = control->fd, .events = POLLIN}; }
    assert(count <= CONTROL_FDS_MAX);
    return count;
}

/* ---- one client ---- */

/* False: the client is to be closed. */
static bool client_write(struct client *client) {
    while (is_writing(client)) {
        ssize_t sent = send(client->fd, client->answer.data + client->written,
                            client->answer.size - client->written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) { continue; }
        if (sent < 0) { return errno == EAGAIN; }
        client->written += (size_t)sent;
        client->seen_us = clock_monotonic_us();
    }
    buffer_free(&client->answer);
    client->answer = (struct buffer){.limit = QUERY_ANSWER_BYTES_MAX};
    client->written = 0;
    client->due_us = 0;
    return true;
}

/* Answers the lines that are complete, one after the other, as long as answers can be sent. */
static bool client_answer(struct control_socket *control, struct client *client) {
    while (!is_writing(client)) {
        char *end = memchr(client->line, '\n', client->line_size);
        if (end == NULL) {
            if (client->line_size == 0) {
                client->due_us = 0;
            } else if (client->due_us == 0) {
                client->due_us = clock_monotonic_us() + CONTROL_LINE_US;
            }
            return client->line_size < sizeof client->line;
        }
        size_t size = (size_t)(end - client->line);
        if (control_answer(control->query, span_make(client->line, size), client->who,
                           &client->answer) != STATUS_OK) {
            return false;
        }
        client->due_us = clock_monotonic_us() + CONTROL_ANSWER_US;
        client->line_size -= size + 1;
        memmove(client->line, end + 1, client->line_size);
        if (!client_write(client)) { return false; }
    }
    return true;
}

static bool client_read(struct control_socket *control, struct client *client) {
    size_t room = sizeof client->line - client->line_size;
    if (room == 0) { return false; }
    ssize_t got = recv(client->fd, client->line + client->line_size, room, MSG_DONTWAIT);
    if (got < 0) { return errno == EAGAIN || errno == EINTR; }
    if (got == 0) { return false; }
    client->line_size += (size_t)got;
    client->seen_us = clock_monotonic_us();
    return client_answer(control, client);
}

/* The kernel's word for who connected. */
static void note_who(struct client *client) {
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        (void)snprintf(client->who, sizeof client->who, "an unknown user"); /* fits */
        return;
    }
    (void)snprintf(client->who, sizeof client->who, "user %u, process %d", (unsigned)peer.uid,
                   (int)peer.pid); /* fits */
}

static void accept_client(struct control_socket *control) {
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];
        if (client->fd >= 0) { continue; }
        int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) { return; }
        client->fd = fd;
        client->seen_us = clock_monotonic_us();
        client->answer.limit = QUERY_ANSWER_BYTES_MAX;
        note_who(client);
        return;
    }
}

static struct client *client_of(struct control_socket *control, int fd) {
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd == fd) { return &control->clients[i]; }
    }
    return NULL;
}

void control_socket_run(struct control_socket *control, const struct pollfd *fds, int count) {
    for (int i = 0; i < count; i++) {
        if (fds[i].revents == 0) { continue; }
        if (fds[i].fd == control->fd) {
            accept_client(control);
            continue;
        }
        struct client *client = client_of(control, fds[i].fd);
        if (client == NULL) { continue; }
        bool keep = is_writing(client) ? client_write(client) && client_answer(control, client)
                                       : client_read(control, client);
        if (!keep) { client_close(client); }
    }
    int64_t now = clock_monotonic_us();
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];
        bool idle = now - client->seen_us > CONTROL_IDLE_US;
        bool late = client->due_us > 0 && now > client->due_us;
        if (client->fd >= 0 && (idle || late)) { client_close(client); }
    }
}
