/* SPDX-License-Identifier: Apache-2.0
 *
 * doors.c - the operators' thread: waits for the state, opens both doors, polls them.
 *
 * Why they open late: the store is set once the pipeline holds the state's lock, so nothing of a
 * daemon that runs already is touched. From then on (also while a broker is absent or a refold
 * runs) operators get answers.
 * Thread: doors. */
#include "daemon/doors.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "daemon/control_socket.h"
#include "daemon/http.h"
#include "daemon/query.h"

#define STORE_WAIT_US   20000
#define POLL_TIMEOUT_MS 500 /* the thread beats at least this often */

struct doors {
    struct shared *shared; /* borrows: until doors_stop */
    pthread_t thread;
    int wake_fd;
    _Atomic bool ended;
    /* thread: doors */
    struct query *query;
    struct control_socket *control;
    struct http *http; /* NULL: [http] listen = none */
};

static enum status open_doors(struct doors *doors, struct error *err) {
    const struct settings *settings = shared_settings(doors->shared);
    char path[FILE_PATH_BYTES_MAX];
    struct listen_address listen;
    enum status status = query_new(doors->shared, &doors->query, err);
    if (status != STATUS_OK) { return status; }
    status = path_join(path, settings->state_path, "control.sock", err);
    if (status != STATUS_OK) { return status; }
    status = control_socket_open(path, doors->query, &doors->control, err);
    if (status != STATUS_OK) { return status; }
    status = settings_listen(settings->http_listen, &listen, err);
    if (status != STATUS_OK || listen.kind == LISTEN_NONE) { return status; }
    status = http_open(doors->shared, doors->query, &listen, &doors->http, err);
    if (status != STATUS_OK) { return status; }
    LOG_INFO("http: listening on %s", settings->http_listen);
    return STATUS_OK;
}

static void poll_doors(struct doors *doors) {
    struct pollfd fds[CONTROL_FDS_MAX + 2];
    int control_count = control_socket_fds(doors->control, fds);
    int count = control_count;
    int timeout_ms = POLL_TIMEOUT_MS;
    fds[count++] = (struct pollfd){.fd = doors->wake_fd, .events = POLLIN};
    if (doors->http != NULL) {
        int due_ms = http_timeout_ms(doors->http);
        if (due_ms >= 0 && due_ms < timeout_ms) { timeout_ms = due_ms; }
        fds[count++] = (struct pollfd){.fd = http_fd(doors->http), .events = POLLIN};
    }
    int ready = poll(fds, (nfds_t)count, timeout_ms);
    if (ready < 0) { return; } /* interrupted */
    control_socket_run(doors->control, fds, control_count);
    if (doors->http != NULL) { http_run(doors->http); }
}

static void *doors_main(void *context) {
    struct doors *doors = context;
    struct error err = {0};
    while (!atomic_load(&doors->ended) && shared_store(doors->shared) == NULL) {
        clock_sleep_us(STORE_WAIT_US);
    }
    if (atomic_load(&doors->ended)) { return NULL; }
    enum status status = open_doors(doors, &err);
    if (status != STATUS_OK) { shared_stop(doors->shared, status, &err); }
    shared_watch(doors->shared, THREAD_HTTP, true);
    while (status == STATUS_OK && !atomic_load(&doors->ended)) {
        shared_beat(doors->shared, THREAD_HTTP);
        poll_doors(doors);
    }
    shared_watch(doors->shared, THREAD_HTTP, false);
    http_close(doors->http);
    control_socket_close(doors->control);
    query_free(doors->query);
    return NULL;
}

enum status doors_start(struct shared *shared, struct doors **ret_doors, struct error *err) {
    struct doors *doors = memory_take_zeroed(1, sizeof *doors);
    if (doors == NULL) { return error_set(err, STATUS_NO_MEMORY, "doors"); }
    doors->shared = shared;
    doors->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (doors->wake_fd < 0) {
        enum status status = error_errno(err, errno, "eventfd");
        memory_free(doors);
        return status;
    }
    int reason = pthread_create(&doors->thread, NULL, doors_main, doors);
    if (reason != 0) {
        (void)close(doors->wake_fd);
        memory_free(doors);
        return error_errno(err, reason, "starting the doors thread");
    }
    *ret_doors = doors;
    return STATUS_OK;
}

void doors_stop(struct doors *doors) {
    if (doors == NULL) { return; }
    uint64_t one = 1;
    atomic_store(&doors->ended, true);
    (void)!write(doors->wake_fd, &one, sizeof one); /* a full counter wakes as well */
    (void)pthread_join(doors->thread, NULL);        /* the thread is ours and runs */
    (void)close(doors->wake_fd);
    memory_free(doors);
}
