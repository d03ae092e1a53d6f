/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cuda_flow.c - the whole daemon with its language model on the CUDA backend, run by the
 * executor, against the same daemon on the CPU backend.
 *
 * usage: test_cuda_flow ILORAD ILORACTL
 *
 * ILORAD is the daemon's own main.c and libraries with the executor in the place of a card. In
 * strict mode one stream makes the same versions on both: every tensor of each is compared.
 * (alpha is large so that gradients are: AdamW divides them by their own size, and where that is
 * near its epsilon, rounding would be magnified.)
 * Then a run moves from one device to the other, a card fails, and a golden batch does not fit. */
#include "tests/support/unit.h"

#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "model/checkpoint.h"
#include "tests/support/tmpdir.h"

extern char **environ;

#define EVENTS      384
#define VERSIONS    2 /* of the first stream */
#define LIMIT_US    150000000
#define TOLERANCE   1e-3
#define WORDS_MAX   80
#define EXIT_AGAIN  75
#define EXIT_HUMAN  78
#define PATH_BYTES  512
#define NUMBER_TEXT 24

static const char *daemon_path, *control_path;

static const char *const settings[] = {
    "http.listen=none",
    "base_model.path=builtin:tiny",
    "device.precision=f32",
    "device.threads=1",
    "state.items_max=200",
    "state.history=20",
    "predict.group_events=16",
    "predict.candidates=20",
    "predict.lm_users=1",
    "ilora.rank=4",
    "ilora.experts=2",
    "ilora.history=3",
    "ilora.projector_width=16",
    "sasrec.width=16",
    "sasrec.blocks=1",
    "sasrec.history=10",
    "train.batch_events=64",
    "train.micro_batch_tokens=256",
    "train.lm_rate_max=0.15",
    "ilora.alpha=512",
    "eval.rate=0.1",
    "eval.lm_rate=0.02",
    "publish.version_batches=2",
    "publish.lag_events=256",
    "publish.keep=20",
    "publish.weights=no",
    "epoch.interval=50 ms",
    "train.batch_interval=100 ms",
    "publish.interval=100 ms",
    "device.golden_every=2",
};

struct shard {
    struct tmpdir folder;
    char state[PATH_BYTES];
};

static void shard_open(struct shard *shard) {
    tmpdir_init(&shard->folder);
    (void)snprintf(shard->state, sizeof shard->state, "state.path=%s",
                   tmpdir_path(&shard->folder, "state"));
}

/* Starts a program of ours on the shard; words: before and after the settings. */
static pid_t start(const struct shard *shard, const char *program, const char *const *more,
                   const char *const *words, const char *input) {
    const char *argv[WORDS_MAX * 2];
    char *unchanged[WORDS_MAX * 2]; /* the same: posix_spawn does not write, and wants to be able */
    int n = 0;
    argv[n++] = program;
    argv[n++] = "--set";
    argv[n++] = shard->state;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        argv[n++] = "--set";
        argv[n++] = settings[i];
    }
    for (; more != NULL && *more != NULL; more++) {
        argv[n++] = "--set";
        argv[n++] = *more;
    }
    for (; words != NULL && *words != NULL; words++) {
        argv[n++] = *words;
    }
    argv[n] = NULL;
    memcpy(unchanged, argv, sizeof unchanged);
    posix_spawn_file_actions_t files;
    pid_t pid = 0;
    assert_int_equal(posix_spawn_file_actions_init(&files), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&files, 0, input != NULL ? input : "/dev/null", 0, 0), 0);
    assert_int_equal(posix_spawn(&pid, program, &files, NULL, unchanged, environ), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&files), 0);
    return pid;
}

/* A program that does not end in time is ended. */
static int wait_exit(pid_t pid) {
    int how = 0;
    int64_t limit_us = clock_monotonic_us() + LIMIT_US;
    pid_t ended = 0;
    while ((ended = waitpid(pid, &how, WNOHANG)) == 0 && clock_monotonic_us() < limit_us) {
        clock_sleep_us(5000);
    }
    if (ended == 0) {
        (void)kill(pid, SIGKILL);    /* it is ours and runs */
        (void)waitpid(pid, &how, 0); /* it was killed */
        fail_msg("process %d does not end", (int)pid);
    }
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void produce(struct shard *shard, int first, int count) {
    static const char *const words[] = {"produce", "events", "--raw", NULL};
    struct buffer text = {.limit = 1u << 20};
    struct error err = {0};
    for (int i = first; i < first + count; i++) {
        int user = i * 7 % 23, item = (i / 23 + user * 3) % 40;
        assert_int_equal(buffer_append_format(&text,
                                              "{\"id\":\"e%d\",\"user\":\"u%d\",\"item\":\"i%d\","
                                              "\"timestamp\":%d,\"title\":\"Story %d\"}\n",
                                              i, user, item, 1700000000 + i, item),
                         STATUS_OK);
    }
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s", tmpdir_path(&shard->folder, "events"));
    struct span bytes = buffer_span(&text);
    ASSERT_OK(file_write(path, &bytes, 1, &err), err);
    assert_int_equal(wait_exit(start(shard, control_path, NULL, words, path)), 0);
    buffer_free(&text);
}

static void version_path(const struct shard *shard, int version, const char *file,
                         char path[PATH_BYTES]) {
    char name[64];
    (void)snprintf(name, sizeof name, "state/versions/%d/%s", version, file);
    (void)snprintf(path, PATH_BYTES, "%s", tmpdir_path(&shard->folder, name));
}

/* True when a file of the state is there and holds the words. */
static bool state_says(const struct shard *shard, const char *file, const char *words) {
    struct buffer text = {0};
    struct error err = {0};
    char name[64];
    (void)snprintf(name, sizeof name, "state/%s", file);
    if (file_read(tmpdir_path(&shard->folder, name), 65536, &text, &err) != STATUS_OK) {
        return false;
    }
    assert_int_equal(buffer_append(&text, "", 1), STATUS_OK);
    bool says = strstr((const char *)text.data, words) != NULL;
    buffer_free(&text);
    return says;
}

/* True when a version of at least this number was made on the device of these words. */
static bool is_made(const struct shard *shard, int version, const char *device) {
    for (int v = version; v < version + 20; v++) {
        char name[64];
        (void)snprintf(name, sizeof name, "versions/%d/manifest.json", v);
        if (state_says(shard, name, device)) { return true; }
    }
    return false;
}

/* Runs the daemon until such a version is there, then stops it. It must not be there before: a
 * daemon that is stopped while it starts is ended by the signal. */
static void run_until(const struct shard *shard, int version, const char *device,
                      const char *const *more) {
    assert_false(is_made(shard, version, device));
    pid_t pid = start(shard, daemon_path, more, NULL, NULL);
    int64_t limit_us = clock_monotonic_us() + LIMIT_US;
    while (!is_made(shard, version, device) && clock_monotonic_us() < limit_us) {
        int how = 0;
        if (waitpid(pid, &how, WNOHANG) == pid) { fail_msg("the daemon ended: %d", how); }
        clock_sleep_us(20000);
    }
    bool made = is_made(shard, version, device);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(wait_exit(pid), 0);
    if (!made) { fail_msg("no version %d on '%s' in time", version, device); }
}

static double element(const struct safetensors_entry *t, size_t e) {
    if (strcmp(t->dtype, "F64") == 0) { return ((const double *)t->data)[e]; }
    return (double)((const float *)t->data)[e];
}

/* Largest |a-b| as a share of the largest |b|, tensor by tensor; all must be there. */
static double compare_files(const char *a, const char *b, int *ret_tensors) {
    struct safetensors *one = NULL, *two = NULL;
    struct error err = {0};
    double worst = 0.0;
    ASSERT_OK(safetensors_open(a, &one, &err), err);
    ASSERT_OK(safetensors_open(b, &two, &err), err);
    assert_int_equal(safetensors_count(one), safetensors_count(two));
    for (int i = 0; i < safetensors_count(one); i++) {
        const struct safetensors_entry *x = safetensors_at(one, i);
        const struct safetensors_entry *y = safetensors_find(two, x->name);
        assert_non_null(y);
        assert_int_equal(x->bytes, y->bytes);
        size_t size = strcmp(x->dtype, "F64") == 0 ? sizeof(double) : sizeof(float);
        if (size == sizeof(float) && strcmp(x->dtype, "F32") != 0) {
            if (memcmp(x->data, y->data, x->bytes) != 0) {
                fail_msg("%s, %s %s differs", a, x->dtype, x->name);
            }
            continue;
        }
        double most = 0.0, off = 0.0;
        for (size_t e = 0; e < x->bytes / size; e++) {
            double p = element(x, e), q = element(y, e);
            assert_true(isfinite(p) && isfinite(q));
            if (fabs(q) > most) { most = fabs(q); }
            if (fabs(p - q) > off) { off = fabs(p - q); }
        }
        if (off > TOLERANCE * most) {
            print_error("%s, %s: off by %.3g of %.3g\n", a, x->name, off, most);
        }
        if (most > 0.0 && off / most > worst) { worst = off / most; }
        (*ret_tensors)++;
    }
    safetensors_close(one);
    safetensors_close(two);
    return worst;
}

static void snapshots_are_those_of_the_cpu_backend(void **state) {
    static const char *const on[2][4] = {{"engine.strict=yes", "device.backend=cpu", NULL},
                                         {"engine.strict=yes", "device.backend=cuda", NULL}};
    static const char *const files[] = {"adapter_model.safetensors", "ilora.safetensors"};
    struct shard shards[2];
    double worst = 0.0;
    int tensors = 0;
    (void)state;
    for (int s = 0; s < 2; s++) {
        shard_open(&shards[s]);
        produce(&shards[s], 0, EVENTS);
        run_until(&shards[s], VERSIONS, s == 0 ? "cpu " : "cuda sm_80", on[s]);
    }
    for (int v = 0; v <= VERSIONS; v++) {
        for (int f = 0; f < 2; f++) {
            char cpu[PATH_BYTES], cuda[PATH_BYTES];
            version_path(&shards[0], v, files[f], cpu);
            version_path(&shards[1], v, files[f], cuda);
            double share = compare_files(cuda, cpu, &tensors);
            if (share > worst) { worst = share; }
        }
    }
    print_message("%d tensors of %d versions, worst %.3g\n", tensors, VERSIONS + 1, worst);
    assert_true(tensors > 20 * VERSIONS);
    assert_true(worst <= TOLERANCE);
    tmpdir_free(&shards[0].folder);
    tmpdir_free(&shards[1].folder);
}

/* From the CPU to a card: the run goes on, and its profile is another. */
static void a_run_moves_between_devices(void **state) {
    static const char *const cpu[] = {"device.backend=cpu", NULL};
    static const char *const cuda[] = {"device.backend=auto", NULL}; /* there is a card */
    struct shard shard;
    (void)state;
    shard_open(&shard);
    produce(&shard, 0, EVENTS);
    run_until(&shard, 1, "cpu ", cpu);
    assert_true(state_says(&shard, "golden", "cpu "));
    produce(&shard, EVENTS, EVENTS);
    run_until(&shard, 2, "cuda sm_80", cuda);
    assert_true(state_says(&shard, "golden", "cuda sm_80"));
    tmpdir_free(&shard.folder);
}

/* Early: while opening. Later: in the base model, in a step. */
static void a_lost_card_ends_with_75(void **state) {
    static const char *const cuda[] = {"device.backend=cuda", NULL};
    static const char *const when[] = {"20", "120", "600"};
    struct shard shard;
    (void)state;
    shard_open(&shard);
    produce(&shard, 0, EVENTS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(setenv("CUDA_HOST_FAIL", when[i], 1), 0);
        pid_t pid = start(&shard, daemon_path, cuda, NULL, NULL);
        assert_int_equal(unsetenv("CUDA_HOST_FAIL"), 0);
        assert_int_equal(wait_exit(pid), EXIT_AGAIN);
    }
    int next = 1;
    while (is_made(&shard, next, "cuda sm_80")) {
        next++;
    }
    produce(&shard, EVENTS, EVENTS);
    run_until(&shard, next, "cuda sm_80", cuda); /* and nothing is lost */
    tmpdir_free(&shard.folder);
}

/* The figures of another device under this one's name. */
static void a_golden_batch_that_differs_ends_with_75(void **state) {
    static const char *const cuda[] = {"device.backend=cuda", NULL};
    struct shard shard;
    struct buffer text = {0};
    struct error err = {0};
    char path[PATH_BYTES];
    (void)state;
    shard_open(&shard);
    produce(&shard, 0, EVENTS);
    run_until(&shard, 0, "cuda sm_80", cuda);
    (void)snprintf(path, sizeof path, "%s", tmpdir_path(&shard.folder, "state/golden"));
    ASSERT_OK(file_read(path, 65536, &text, &err), err);
    char *digit = memchr(text.data, '\n', text.size);
    assert_non_null(digit);
    assert_int_equal(digit[1], '0'); /* "0.2...": a tenth more of its size */
    digit[3] = digit[3] == '9' ? '8' : (char)(digit[3] + 1);
    ASSERT_OK(file_replace(path, buffer_span(&text), &err), err);
    assert_int_equal(wait_exit(start(&shard, daemon_path, cuda, NULL, NULL)), EXIT_AGAIN);
    buffer_free(&text);
    tmpdir_free(&shard.folder);
}

static void more_than_the_card_has_is_refused_with_78(void **state) {
    static const char *const cuda[] = {"device.backend=cuda",     "train.micro_batch_tokens=65536",
                                       "state.items_max=4000000", "ilora.rank=256",
                                       "sasrec.width=512",        NULL};
    struct shard shard;
    (void)state;
    shard_open(&shard);
    produce(&shard, 0, 1);
    assert_int_equal(wait_exit(start(&shard, daemon_path, cuda, NULL, NULL)), EXIT_HUMAN);
    tmpdir_free(&shard.folder);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_are_those_of_the_cpu_backend),
        cmocka_unit_test(a_run_moves_between_devices),
        cmocka_unit_test(a_lost_card_ends_with_75),
        cmocka_unit_test(a_golden_batch_that_differs_ends_with_75),
        cmocka_unit_test(more_than_the_card_has_is_refused_with_78),
    };
    if (argc != 3) { return 64; }
    daemon_path = argv[1];
    control_path = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
