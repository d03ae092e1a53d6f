/* SPDX-License-Identifier: Apache-2.0
 *
 * failpoint.c - what an armed place does, and how often each was passed.
 *
 * The plan is written once before there are threads and only read after that; the pass counters are
 * atomic. A kill is SIGKILL to ourselves: no handler runs, no buffer is flushed, as when power or
 * the kernel takes the process.
 */
#include "base/failpoint.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fault.h"

#define FAILPOINT_PLANS_MAX 8
#define FAILPOINT_PATH_MAX  512

enum failpoint_action {
    FAILPOINT_KILL,
    FAILPOINT_ERROR,
    FAILPOINT_DELAY,
    FAILPOINT_STOP,
    FAILPOINT_CRASH
};
#define FAILPOINT_ACTION_COUNT 5

struct failpoint_plan {
    enum failpoint point;
    enum failpoint_action action;
    long nth;
    long argument; /* milliseconds of a delay, value of a crash */
};

atomic_bool failpoint_armed;

static struct failpoint_plan failpoint_plans[FAILPOINT_PLANS_MAX];
static int failpoint_plan_count;
static atomic_long failpoint_passes[FAILPOINT_COUNT];
static char failpoint_count_path[FAILPOINT_PATH_MAX]; /* "" = counts are not written */

static const char *const failpoint_names[FAILPOINT_COUNT] = {
#define FAILPOINT_NAME(name, what) [FAILPOINT_##name] = #name,
    FAILPOINTS(FAILPOINT_NAME)
#undef FAILPOINT_NAME
};

/* ---- counts ---- */

/* Async-signal-safe enough for a process about to kill itself: one open, plain writes. */
static void failpoint_write_counts(void) {
    if (failpoint_count_path[0] == '\0') { return; }
    int fd = open(failpoint_count_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) { return; } /* a test without counts says so itself */
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        char line[96];
        int size = snprintf(line, sizeof line, "%s %ld\n", failpoint_names[i],
                            atomic_load(&failpoint_passes[i]));
        if (write(fd, line, (size_t)size) != size) { break; }
    }
    (void)close(fd); /* a lost line is a missing name for the test */
}

/* ---- arming ---- */

static bool failpoint_find(const char *name, size_t size, enum failpoint *ret_point) {
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        if (strlen(failpoint_names[i]) == size && memcmp(failpoint_names[i], name, size) == 0) {
            *ret_point = (enum failpoint)i;
            return true;
        }
    }
    return false;
}

/* Reads a whole number that ends at '@' or the end; false when there is none. */
static bool failpoint_number(const char **at, long *ret_number) {
    size_t size = strcspn(*at, "@");
    int64_t number = 0;
    if (!span_integer(span_make(*at, size), &number) || number < 1) { return false; }
    *at += size;
    *ret_number = (long)number;
    return true;
}

/* "kill", "error@3", "delay:200@2". */
static bool failpoint_read_action(const char *text, struct failpoint_plan *plan) {
    static const char *const words[] = {"kill", "error", "delay", "stop", "crash"};
    int action = 0;
    size_t size = strcspn(text, ":@");
    while (action < FAILPOINT_ACTION_COUNT &&
           (strlen(words[action]) != size || strncmp(words[action], text, size))) {
        action++;
    }
    if (action == FAILPOINT_ACTION_COUNT) { return false; }
    plan->action = (enum failpoint_action)action;
    plan->nth = 1;
    const char *at = text + size;
    if (plan->action == FAILPOINT_DELAY || plan->action == FAILPOINT_CRASH) {
        if (*at != ':') { return false; }
        at++;
        if (!failpoint_number(&at, &plan->argument)) { return false; }
    }
    if (*at == '@') {
        at++;
        if (!failpoint_number(&at, &plan->nth)) { return false; }
    }
    return *at == '\0';
}

/* One part of the list: name=action. */
static bool failpoint_arm_one(const char *part) {
    static const char *const kinds[] = {"memory", "file", "store"};
    const char *equals = strchr(part, '=');
    if (equals == NULL) { return false; }
    size_t size = (size_t)(equals - part);
    if (size == 5 && memcmp(part, "count", 5) == 0) {
        int length = snprintf(failpoint_count_path, sizeof failpoint_count_path, "%s", equals + 1);
        return length > 0 && (size_t)length < sizeof failpoint_count_path;
    }
    struct failpoint_plan plan = {0};
    if (!failpoint_read_action(equals + 1, &plan)) { return false; }
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        if (strlen(kinds[kind]) != size || memcmp(kinds[kind], part, size) != 0) { continue; }
        if (plan.action != FAILPOINT_ERROR) { return false; }
        fault_arm((enum fault_kind)kind, plan.nth);
        return true;
    }
    if (!failpoint_find(part, size, &plan.point)) { return false; }
    if (failpoint_plan_count == FAILPOINT_PLANS_MAX) { return false; }
    failpoint_plans[failpoint_plan_count++] = plan;
    return true;
}

enum status failpoint_arm(const char *list, struct error *err) {
    failpoint_disarm();
    if (list == NULL || list[0] == '\0') { return STATUS_OK; }
    while (*list != '\0') {
        char part[FAILPOINT_PATH_MAX + 16];
        size_t size = strcspn(list, ";");
        int length = snprintf(part, sizeof part, "%.*s", (int)size, list);
        if (length < 0 || (size_t)length >= sizeof part || !failpoint_arm_one(part)) {
            failpoint_disarm();
            return error_set(err, STATUS_CONFIG,
                             "ILORA_FAILPOINTS: '%.100s' is not NAME=kill|error|delay:MS|stop[@N] "
                             "or NAME=crash:VALUE",
                             part);
        }
        list += size + (list[size] == ';');
    }
    if (failpoint_count_path[0] != '\0' && atexit(failpoint_write_counts) != 0) {
        return error_set(err, STATUS_NO_MEMORY, "counts of failpoints");
    }
    atomic_store(&failpoint_armed, true);
    return STATUS_OK;
}

void failpoint_disarm(void) {
    atomic_store(&failpoint_armed, false);
    failpoint_plan_count = 0;
    failpoint_count_path[0] = '\0';
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        fault_arm((enum fault_kind)kind, 0);
    }
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        atomic_store(&failpoint_passes[i], 0);
    }
}

/* ---- passing ---- */

static void failpoint_kill(void) {
    failpoint_write_counts();
    (void)kill(getpid(), SIGKILL);
    for (;;) {
        (void)pause(); /* the signal is on its way */
    }
}

enum status failpoint_reach(enum failpoint point, int64_t value, struct error *err) {
    assert((int)point >= 0 && point < FAILPOINT_COUNT);
    long pass = atomic_fetch_add(&failpoint_passes[point], 1) + 1;
    for (int i = 0; i < failpoint_plan_count; i++) {
        const struct failpoint_plan *plan = &failpoint_plans[i];
        if (plan->point != point) { continue; }
        bool due = plan->action == FAILPOINT_CRASH ? plan->argument == value : plan->nth == pass;
        if (!due) { continue; }
        switch (plan->action) {
        case FAILPOINT_KILL: failpoint_kill(); break;
        case FAILPOINT_DELAY: clock_sleep_us(plan->argument * 1000); break;
        case FAILPOINT_STOP: (void)kill(getpid(), SIGSTOP); break;
        case FAILPOINT_CRASH: (void)raise(SIGSEGV); break;
        case FAILPOINT_ERROR:
            if (err == NULL) { failpoint_kill(); }
            return error_set(err, STATUS_IO, "failpoint %s", failpoint_names[point]);
        }
    }
    return STATUS_OK;
}
