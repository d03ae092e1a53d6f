/* SPDX-License-Identifier: Apache-2.0
 *
 * shared.c - one lock around what the daemon's threads share.
 *
 * Why one lock: every section below copies a few kilobytes at most; the busiest caller is the core,
 * once an epoch. Heartbeats and the stop flag are atomics, because loops read them often and the
 * watchdog must not wait for anybody. */
#include "daemon/shared.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

#define OPERATOR_REQUESTS_MAX 8

struct shared {
    const struct settings *settings; /* borrows: until shared_free */
    struct metrics *metrics;         /* borrows: until shared_free */
    pthread_mutex_t lock;            /* guards what follows, up to the atomics */
    struct store *store;             /* borrows: from the pipeline; NULL before it is open */
    int store_users;                 /* requests that have it now */
    pthread_cond_t store_free;       /* store_users fell to 0 */
    struct version *version;         /* owns: one reference */
    struct shared_picture picture;
    struct operator_request requests[OPERATOR_REQUESTS_MAX]; /* a ring */
    int request_first, request_count;
    struct error failure; /* of the first shared_stop with a failure */
    _Atomic bool stopping;
    _Atomic bool reload;
    _Atomic int64_t beats_us[SHARED_THREAD_COUNT]; /* monotonic; 0 = not watched */
};

static void lock(struct shared *shared) {
    int reason = pthread_mutex_lock(&shared->lock);
    assert(reason == 0);
    (void)reason; /* used by the assert alone */
}

static void unlock(struct shared *shared) {
    int reason = pthread_mutex_unlock(&shared->lock);
    assert(reason == 0);
    (void)reason; /* used by the assert alone */
}

enum status shared_new(const struct settings *settings, struct metrics *metrics,
                       struct shared **ret_shared, struct error *err) {
    struct shared *shared = memory_take_zeroed(1, sizeof *shared);
    if (shared == NULL) { return error_set(err, STATUS_NO_MEMORY, "what the threads share"); }
    int reason = pthread_mutex_init(&shared->lock, NULL);
    if (reason != 0) {
        memory_free(shared);
        return error_errno(err, reason, "lock of what the threads share");
    }
    reason = pthread_cond_init(&shared->store_free, NULL);
    if (reason != 0) {
        (void)pthread_mutex_destroy(&shared->lock); /* nobody holds it */
        memory_free(shared);
        return error_errno(err, reason, "condition of what the threads share");
    }
    shared->settings = settings;
    shared->metrics = metrics;
    shared->picture.lag = -1;
    memcpy(shared->picture.state, "starting", sizeof "starting");
    *ret_shared = shared;
    return STATUS_OK;
}

void shared_free(struct shared *shared) {
    if (shared == NULL) { return; }
    if (shared->version != NULL) { version_give(shared->version); }
    (void)pthread_cond_destroy(&shared->store_free); /* nobody waits any more */
    (void)pthread_mutex_destroy(&shared->lock);      /* nobody holds it any more */
    memory_free(shared);
}

const struct settings *shared_settings(const struct shared *shared) {
    return shared->settings;
}

struct metrics *shared_metrics(const struct shared *shared) {
    return shared->metrics;
}

void shared_set_store(struct shared *shared, struct store *store) {
    lock(shared);
    shared->store = NULL; /* nobody new */
    while (shared->store_users > 0) {
        int reason = pthread_cond_wait(&shared->store_free, &shared->lock);
        assert(reason == 0);
        (void)reason; /* used by the assert alone */
    }
    shared->store = store;
    unlock(shared);
}

struct store *shared_store_use(struct shared *shared) {
    lock(shared);
    struct store *store = shared->store;
    if (store != NULL) { shared->store_users++; }
    unlock(shared);
    return store;
}

void shared_store_done(struct shared *shared) {
    lock(shared);
    assert(shared->store_users > 0);
    shared->store_users--;
    if (shared->store_users == 0) { (void)pthread_cond_broadcast(&shared->store_free); }
    unlock(shared);
}

struct store *shared_store(const struct shared *shared) {
    struct shared *mutable_shared = (struct shared *)(uintptr_t)shared; /* the lock changes */
    lock(mutable_shared);
    struct store *store = shared->store;
    unlock(mutable_shared);
    return store;
}

void shared_set_version(struct shared *shared, struct version *version) {
    if (version != NULL) { version_take(version); }
    lock(shared);
    struct version *old = shared->version;
    shared->version = version;
    unlock(shared);
    if (old != NULL) { version_give(old); }
}

struct version *shared_version(struct shared *shared) {
    lock(shared);
    struct version *version = shared->version;
    if (version != NULL) { version_take(version); }
    unlock(shared);
    return version;
}

void shared_picture_update(struct shared *shared, void (*update)(void *, struct shared_picture *),
                           void *context) {
    lock(shared);
    update(context, &shared->picture);
    unlock(shared);
}

void shared_picture_copy(struct shared *shared, struct shared_picture *ret_picture) {
    lock(shared);
    *ret_picture = shared->picture;
    unlock(shared);
}

/* ---- operator requests ---- */

enum status shared_request_submit(struct shared *shared, const struct operator_request *request,
                                  struct error *err) {
    enum status status = STATUS_OK;
    lock(shared);
    assert(shared->request_count >= 0);
    if (shared->request_count == OPERATOR_REQUESTS_MAX) {
        status = error_set(err, STATUS_AGAIN, "%d requests of operators wait already",
                           OPERATOR_REQUESTS_MAX);
    } else {
        int at = (shared->request_first + shared->request_count) % OPERATOR_REQUESTS_MAX;
        shared->requests[at] = *request;
        shared->request_count++;
    }
    unlock(shared);
    return status;
}

bool shared_request_take(struct shared *shared, struct operator_request *ret_request) {
    lock(shared);
    bool found = shared->request_count > 0;
    if (found) {
        *ret_request = shared->requests[shared->request_first];
        shared->request_first = (shared->request_first + 1) % OPERATOR_REQUESTS_MAX;
        shared->request_count--;
    }
    unlock(shared);
    return found;
}

/* ---- heartbeats ---- */

void shared_beat(struct shared *shared, enum shared_thread thread) {
    assert((int)thread >= 0 && (int)thread < SHARED_THREAD_COUNT);
    int64_t old = atomic_load_explicit(&shared->beats_us[thread], memory_order_relaxed);
    if (old == 0) { return; } /* not watched */
    /* A compare-and-swap, so that a late beat does not put an unwatched thread under watch
     * again. */
    (void)atomic_compare_exchange_strong_explicit(&shared->beats_us[thread], &old,
                                                  clock_monotonic_us(), memory_order_relaxed,
                                                  memory_order_relaxed);
}

void shared_watch(struct shared *shared, enum shared_thread thread, bool on) {
    assert((int)thread >= 0 && (int)thread < SHARED_THREAD_COUNT);
    atomic_store_explicit(&shared->beats_us[thread], on ? clock_monotonic_us() : 0,
                          memory_order_relaxed);
}

int64_t shared_oldest_beat_us(const struct shared *shared) {
    int64_t now = clock_monotonic_us();
    int64_t oldest = 0;
    for (int i = 0; i < SHARED_THREAD_COUNT; i++) {
        int64_t beat = atomic_load_explicit(&shared->beats_us[i], memory_order_relaxed);
        if (beat != 0 && now - beat > oldest) { oldest = now - beat; }
    }
    return oldest;
}

/* ---- stop and reload ---- */

void shared_stop(struct shared *shared, enum status why, const struct error *err) {
    lock(shared);
    if (why != STATUS_OK && shared->failure.code == STATUS_OK) {
        if (err != NULL) {
            shared->failure = *err;
        } else {
            (void)error_set(&shared->failure, why, "%s", status_name(why)); /* returns its code */
        }
        shared->failure.code = why;
    }
    unlock(shared);
    atomic_store_explicit(&shared->stopping, true, memory_order_release);
}

bool shared_stopping(const struct shared *shared) {
    return atomic_load_explicit(&shared->stopping, memory_order_acquire);
}

enum status shared_stop_reason(struct shared *shared, struct error *ret_err) {
    lock(shared);
    enum status why = shared->failure.code;
    if (why != STATUS_OK && ret_err != NULL) { *ret_err = shared->failure; }
    unlock(shared);
    return why;
}

void shared_reload_request(struct shared *shared) {
    atomic_store_explicit(&shared->reload, true, memory_order_release);
}

bool shared_reload_take(struct shared *shared) {
    return atomic_exchange_explicit(&shared->reload, false, memory_order_acq_rel);
}

bool shared_reload_pending(struct shared *shared) {
    return atomic_load_explicit(&shared->reload, memory_order_acquire);
}
