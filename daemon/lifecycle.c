/* SPDX-License-Identifier: Apache-2.0
 *
 * lifecycle.c - one thread between the daemon and its service manager.
 *
 * Why a thread of its own: the core may sit in a commit and the learner in a step for seconds, yet
 * signals must be answered and the watchdog fed by somebody who can see that both still live.
 * sd_notify(3), systemd.service(5): Type=notify of systemd 252, so a reload is RELOADING=1 with
 * MONOTONIC_USEC and then READY=1.
 * Thread: lifecycle. */
#include "daemon/lifecycle.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define TICK_MS             250
#define STATUS_EVERY_US     1000000
#define EXTEND_EVERY_US     5000000
#define EXTEND_BY_US        30000000 /* asked for again long before it is over */
#define STOP_BUDGET_US      85000000 /* TimeoutStopSec of the unit is 90 s */
#define BEAT_AGE_DEFAULT_US 60000000 /* a thread is late after this without WatchdogSec */
#define STATUS_TEXT_BYTES   512u

struct lifecycle {
    struct shared *shared; /* borrows: until lifecycle_stop */
    pthread_t thread;
    int signal_fd, wake_fd;
    _Atomic bool ready; /* lifecycle_ready was called */
    _Atomic bool ended;
    /* thread: lifecycle */
    bool ready_sent, stopping_sent, reloading, late_logged;
    int64_t watchdog_us; /* 0: systemd does not watch */
    int64_t watchdog_sent_us, status_sent_us, extend_sent_us, stopping_since_us;
    char status_text[STATUS_TEXT_BYTES]; /* last sent */
};

static void handled_signals(sigset_t *set) {
    (void)sigemptyset(set); /* cannot fail for these */
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
}

enum status lifecycle_block_signals(struct error *err) {
    sigset_t set;
    handled_signals(&set);
    int reason = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (reason != 0) { return error_errno(err, reason, "blocking signals"); }
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) != 0) {
        return error_errno(err, errno, "ignoring SIGPIPE");
    }
    return STATUS_OK;
}

/* One notification; a failure is no reason to stop. */
static void notify(const char *text) {
    int result = sd_notify(0, text);
    if (result < 0) { LOG_WARNING("sd_notify: %s, going on", strerror(-result)); }
}

/* ---- signals ---- */

static void begin_reload(struct lifecycle *lifecycle) {
    if (!lifecycle->ready_sent || lifecycle->stopping_sent) {
        LOG_NOTICE("SIGHUP before the start is done or while stopping, ignored");
        return;
    }
    char text[64];
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, /* fits */
                   clock_monotonic_us());
    notify(text);
    lifecycle->reloading = true;
    shared_reload_request(lifecycle->shared);
}

static void read_signals(struct lifecycle *lifecycle) {
    struct signalfd_siginfo info;
    while (read(lifecycle->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            begin_reload(lifecycle);
            continue;
        }
        if (shared_stopping(lifecycle->shared)) {
            LOG_NOTICE("stopping already");
            continue;
        }
        LOG_NOTICE("%s: stopping", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
        shared_stop(lifecycle->shared, STATUS_OK, NULL);
    }
}

/* ---- what is told every tick ---- */

static void status_words(const struct shared_picture *p, char text[STATUS_TEXT_BYTES]) {
    if (!p->ready) {
        (void)snprintf(text, STATUS_TEXT_BYTES, "STATUS=%s", p->state); /* cut is fine */
        return;
    }
    int used =
        snprintf(text, STATUS_TEXT_BYTES,
                 "STATUS=%s: epoch %" PRIu64 ", %" PRIu64 " events (%.0f/s), version %" PRIu64,
                 p->state, p->epoch, p->applied, p->events_per_second, p->version_in_force);
    if (used > 0 && (size_t)used < STATUS_TEXT_BYTES && p->lag >= 0) {
        (void)snprintf(text + used, STATUS_TEXT_BYTES - (size_t)used, ", lag %" PRId64, p->lag);
    }
}

static void tell_status(struct lifecycle *lifecycle, int64_t now) {
    if (now - lifecycle->status_sent_us < STATUS_EVERY_US) { return; }
    struct shared_picture picture;
    char text[STATUS_TEXT_BYTES];
    shared_picture_copy(lifecycle->shared, &picture);
    status_words(&picture, text);
    lifecycle->status_sent_us = now;
    if (strcmp(text, lifecycle->status_text) == 0) { return; }
    memcpy(lifecycle->status_text, text, sizeof text);
    notify(text);
}

/* True while every watched thread beat within half the watchdog's time: the other half is for the
 * message to arrive. */
static bool all_fresh(struct lifecycle *lifecycle) {
    int64_t limit = lifecycle->watchdog_us > 0 ? lifecycle->watchdog_us / 2 : BEAT_AGE_DEFAULT_US;
    int64_t age = shared_oldest_beat_us(lifecycle->shared);
    bool fresh = age < limit;
    if (!fresh && !lifecycle->late_logged) {
        LOG_WARNING("a thread has not moved for %.1f s, the watchdog is not fed until it does",
                    (double)age / 1e6);
    }
    lifecycle->late_logged = !fresh;
    return fresh;
}

static void tell_watchdog(struct lifecycle *lifecycle, int64_t now) {
    bool fresh = all_fresh(lifecycle);
    if (lifecycle->watchdog_us <= 0 || !fresh) { return; }
    if (now - lifecycle->watchdog_sent_us < lifecycle->watchdog_us / 4) { return; }
    lifecycle->watchdog_sent_us = now;
    notify("WATCHDOG=1");
}

/* Start and stop may take longer than the unit's time-outs; they are extended while threads
 * live. */
static void extend_timeout(struct lifecycle *lifecycle, int64_t now) {
    if (lifecycle->ready_sent && !lifecycle->stopping_sent) { return; }
    if (now - lifecycle->extend_sent_us < EXTEND_EVERY_US || !all_fresh(lifecycle)) { return; }
    if (lifecycle->stopping_sent && now - lifecycle->stopping_since_us > STOP_BUDGET_US) { return; }
    lifecycle->extend_sent_us = now;
    char text[64];
    (void)snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%d", EXTEND_BY_US); /* fits */
    notify(text);
}

static void tick(struct lifecycle *lifecycle) {
    int64_t now = clock_monotonic_us();
    if (shared_stopping(lifecycle->shared) && !lifecycle->stopping_sent) {
        lifecycle->stopping_sent = true;
        lifecycle->stopping_since_us = now;
        lifecycle->extend_sent_us = 0;
        notify("STOPPING=1\nSTATUS=stopping");
    }
    if (!lifecycle->stopping_sent) {
        if (!lifecycle->ready_sent && atomic_load(&lifecycle->ready)) {
            lifecycle->ready_sent = true;
            lifecycle->status_sent_us = 0;
            notify("READY=1");
        }
        if (lifecycle->reloading && !shared_reload_pending(lifecycle->shared)) {
            lifecycle->reloading = false;
            notify("READY=1");
        }
        tell_status(lifecycle, now);
    }
    tell_watchdog(lifecycle, now);
    extend_timeout(lifecycle, now);
}

static void *lifecycle_main(void *context) {
    struct lifecycle *lifecycle = context;
    struct pollfd fds[2] = {{.fd = lifecycle->signal_fd, .events = POLLIN},
                            {.fd = lifecycle->wake_fd, .events = POLLIN}};
    while (!atomic_load(&lifecycle->ended)) {
        tick(lifecycle);
        int count = poll(fds, 2, TICK_MS);
        if (count <= 0) { continue; }
        if ((fds[1].revents & POLLIN) != 0) {
            uint64_t value;
            (void)!read(lifecycle->wake_fd, &value, sizeof value); /* only to empty it */
        }
        read_signals(lifecycle);
    }
    return NULL;
}

/* ---- start and stop ---- */

static void wake(struct lifecycle *lifecycle) {
    uint64_t one = 1;
    (void)!write(lifecycle->wake_fd, &one, sizeof one); /* a full counter wakes as well */
}

enum status lifecycle_start(struct shared *shared, struct lifecycle **ret_lifecycle,
                            struct error *err) {
    enum status status = STATUS_OK;
    struct lifecycle *lifecycle = memory_take_zeroed(1, sizeof *lifecycle);
    if (lifecycle == NULL) { return error_set(err, STATUS_NO_MEMORY, "lifecycle"); }
    lifecycle->shared = shared;
    lifecycle->signal_fd = -1;
    lifecycle->wake_fd = -1;
    uint64_t watchdog_us = 0;
    if (sd_watchdog_enabled(0, &watchdog_us) > 0) { lifecycle->watchdog_us = (int64_t)watchdog_us; }

    sigset_t set;
    handled_signals(&set);
    lifecycle->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (lifecycle->signal_fd < 0) {
        status = error_errno(err, errno, "signalfd");
        goto fail;
    }
    lifecycle->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lifecycle->wake_fd < 0) {
        status = error_errno(err, errno, "eventfd");
        goto fail;
    }
    int reason = pthread_create(&lifecycle->thread, NULL, lifecycle_main, lifecycle);
    if (reason != 0) {
        status = error_errno(err, reason, "starting the lifecycle thread");
        goto fail;
    }
    *ret_lifecycle = lifecycle;
    return STATUS_OK;

fail:
    if (lifecycle->signal_fd >= 0) { (void)close(lifecycle->signal_fd); }
    if (lifecycle->wake_fd >= 0) { (void)close(lifecycle->wake_fd); }
    memory_free(lifecycle);
    return status;
}

void lifecycle_ready(void *context) {
    struct lifecycle *lifecycle = context;
    atomic_store(&lifecycle->ready, true);
    wake(lifecycle);
}

void lifecycle_stop(struct lifecycle *lifecycle, const char *last_words) {
    if (lifecycle == NULL) { return; }
    atomic_store(&lifecycle->ended, true);
    wake(lifecycle);
    (void)pthread_join(lifecycle->thread, NULL); /* the thread is ours and runs */
    if (!lifecycle->stopping_sent) { notify("STOPPING=1"); }
    if (last_words != NULL) {
        char text[STATUS_TEXT_BYTES];
        (void)snprintf(text, sizeof text, "STATUS=%s", last_words); /* cut is fine */
        notify(text);
    }
    (void)close(lifecycle->signal_fd);
    (void)close(lifecycle->wake_fd);
    memory_free(lifecycle);
}
