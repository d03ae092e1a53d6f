/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c - the command line of ilorad, and the exit code that tells systemd what to do.
 *
 *   0 stopped · 64 usage · 75 restart me · 78 a human is needed (RestartPreventExitStatus=78)
 *
 * Nothing below this file is global: main makes the settings, the metrics and what the threads
 * share, and hands them down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "daemon/crash.h"
#include "daemon/doors.h"
#include "daemon/lifecycle.h"
#include "daemon/pipeline.h"
#include "daemon/settings.h"
#include "daemon/shared.h"

#define EXIT_USAGE     64
#define EXIT_RESTART   75
#define EXIT_HUMAN     78
#define OVERRIDES_MAX  256
#define CONFIG_DEFAULT "/etc/ilorad/ilorad.conf"

struct arguments {
    const char *config; /* NULL: the default one where it exists */
    const char *overrides[OVERRIDES_MAX];
    int override_count;
    const char *take_over; /* owner id or NULL */
    bool rebuild, check_config, help, version;
};

static const char usage[] =
    "usage: ilorad [--config FILE] [--set SECTION.KEY=VALUE]... [--check-config]\n"
    "              [--take-over OWNER] [--rebuild] [--version] [--help]\n"
    "\n"
    "Learns next-item recommendation from a stream of events, and publishes predictions.\n"
    "\n"
    "  --config FILE      settings (default " CONFIG_DEFAULT " where it exists)\n"
    "  --set S.K=V        one setting, over file and environment; may be repeated\n"
    "  --check-config     check the settings and exit\n"
    "  --take-over OWNER  continue a ledger whose last owner was OWNER (32 hex digits)\n"
    "  --rebuild          fold an empty state again from the whole input\n"
    "\n"
    "exit: 0 stopped, 64 usage, 75 restart me, 78 a human is needed\n"
    "example: ilorad --config ilorad.conf --set state.path=/var/lib/ilorad\n";

/* Value of an option written `--name value` or `--name=value`; NULL when argv[*at] is another one
 * or the value is missing. */
static const char *option_value(int argc, char **argv, int *at, const char *name) {
    size_t size = strlen(name);
    const char *argument = argv[*at];
    if (strncmp(argument, name, size) != 0) { return NULL; }
    if (argument[size] == '=') { return argument + size + 1; }
    if (argument[size] != '\0' || *at + 1 >= argc) { return NULL; }
    *at += 1;
    return argv[*at];
}

static bool is_owner(const char *text) {
    uint8_t owner[16];
    return hex_decode(text, owner, sizeof owner);
}

/* False: the words on stderr say why. */
static bool arguments_read(int argc, char **argv, struct arguments *args) {
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        const char *argument = argv[i];
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            args->help = true;
        } else if (strcmp(argument, "--version") == 0) {
            args->version = true;
        } else if (strcmp(argument, "--check-config") == 0) {
            args->check_config = true;
        } else if (strcmp(argument, "--rebuild") == 0) {
            args->rebuild = true;
        } else if ((value = option_value(argc, argv, &i, "--config")) != NULL) {
            args->config = value;
        } else if ((value = option_value(argc, argv, &i, "--take-over")) != NULL) {
            if (!is_owner(value)) {
                (void)fprintf(stderr, "ilorad: --take-over %s: expected 32 hex digits\n", value);
                return false;
            }
            args->take_over = value;
        } else if ((value = option_value(argc, argv, &i, "--set")) != NULL) {
            if (args->override_count == OVERRIDES_MAX) {
                (void)fprintf(stderr, "ilorad: more than %d --set\n", OVERRIDES_MAX);
                return false;
            }
            args->overrides[args->override_count++] = value;
        } else {
            (void)fprintf(stderr, "ilorad: '%s' is no option or lacks its value; see --help\n",
                          argument);
            return false;
        }
    }
    return true;
}

static int exit_code(enum status status) {
    switch (status_class(status)) {
    case STATUS_CLASS_OK: return EXIT_SUCCESS;
    case STATUS_CLASS_STOP: return EXIT_HUMAN;
    case STATUS_CLASS_RETRY:
    case STATUS_CLASS_SKIP:
    case STATUS_CLASS_RESTART: return EXIT_RESTART;
    }
    return EXIT_RESTART;
}

/* The choices of [log] level stand in this order. */
static void set_log_level(const struct settings *settings) {
    static const enum log_level levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE,
                                            LOG_LEVEL_INFO, LOG_LEVEL_DEBUG};
    log_set_level(levels[settings->log_level]);
}

static enum status run(const struct arguments *args, struct settings *settings, struct error *err) {
    struct metrics *metrics = NULL;
    struct shared *shared = NULL;
    struct lifecycle *lifecycle = NULL;
    struct doors *doors = NULL;
    struct pipeline_options options = {.config_path = args->config,
                                       .overrides = args->overrides,
                                       .override_count = args->override_count,
                                       .take_over = args->take_over,
                                       .rebuild = args->rebuild,
                                       .on_ready = lifecycle_ready};
    enum status status = metrics_init(&metrics, err);
    if (status != STATUS_OK) { goto done; }
    status = shared_new(settings, metrics, &shared, err);
    if (status != STATUS_OK) { goto done; }
    status = lifecycle_start(shared, &lifecycle, err);
    if (status != STATUS_OK) { goto done; }
    status = doors_start(shared, &doors, err);
    if (status != STATUS_OK) { goto done; }

    options.context = lifecycle;
    status = pipeline_run(shared, &options, err);

done:
    if (shared != NULL) { shared_stop(shared, status, status == STATUS_OK ? NULL : err); }
    doors_stop(doors);
    lifecycle_stop(lifecycle, status == STATUS_OK ? NULL : err->text);
    shared_free(shared);
    metrics_free(metrics);
    return status;
}

/* Threads of the matrix library spin between products by default; on a machine that others use too
 * that costs most of its speed (a training step ran 3 times slower beside 6 busy processes). The
 * library reads the variable when it is loaded, so the program starts itself once more. */
static void wait_passively(char **argv) {
    if (getenv("OMP_WAIT_POLICY") != NULL) { return; }
    if (setenv("OMP_WAIT_POLICY", "passive", 1) != 0) { return; }
    /* without /proc the waits are busy, all else is the same */
    (void)execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    struct arguments args = {0};
    wait_passively(argv);
    if (!arguments_read(argc, argv, &args)) { return EXIT_USAGE; }
    if (args.help) { return fputs(usage, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS; }
    if (args.version) {
        return printf("ilorad %s\n", ILORA_VERSION) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (args.config == NULL && access(CONFIG_DEFAULT, F_OK) == 0) { args.config = CONFIG_DEFAULT; }

    struct error err = {0};
    enum status status = STATUS_OK;
    struct settings *settings = memory_take_zeroed(1, sizeof *settings);
    if (settings == NULL) { return EXIT_RESTART; }
    status = settings_load(args.config, args.overrides, args.override_count, settings, &err);
    if (status == STATUS_OK) { set_log_level(settings); }
    if (status == STATUS_OK && !args.check_config) {
        status = failpoint_arm(getenv("ILORA_FAILPOINTS"), &err); /* tests only */
        if (status == STATUS_OK) { status = crash_handler_install(&err); }
        if (status == STATUS_OK) { status = lifecycle_block_signals(&err); }
        if (status == STATUS_OK) { status = run(&args, settings, &err); }
    }
    if (status != STATUS_OK) { LOG_ERROR("%s", err.text); }
    memory_free(settings);
    return exit_code(status);
}
