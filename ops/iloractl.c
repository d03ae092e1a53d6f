/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl.c - the operator's tool: global options, the list of commands, and the right one run.
 *
 * A running daemon is asked through its control socket; topics are read and written through the
 * stream port. The state of a running daemon is never opened. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "ops/command.h"

#define CONFIG_DEFAULT "/etc/ilorad/ilorad.conf"
#define OVERRIDES_MAX  256

static const struct command *const commands[] = {
    &command_status,  &command_recommend, &command_history,  &command_topics,    &command_produce,
    &command_consume, &command_import,    &command_generate, &command_snapshots, &command_rollback,
    &command_export,  &command_publish,   &command_forget,   &command_config,    &command_audit,
    &command_fsck,    &command_base,      &command_tokenize, &command_score,     &command_paper,
};

static const char usage[] =
    "usage: iloractl [--config FILE] [--set SECTION.KEY=VALUE]... [--json] COMMAND ...\n"
    "\n"
    "  --config FILE   settings (default " CONFIG_DEFAULT " where it exists)\n"
    "  --set S.K=V     one setting, over file and environment; may be repeated\n"
    "  --json          results as JSON lines\n"
    "\n"
    "commands (each has --help with an example):\n";

static void print_usage(FILE *to) {
    (void)fputs(usage, to);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        (void)fprintf(to, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    }
}

struct globals {
    const char *config;
    const char *overrides[OVERRIDES_MAX];
    int override_count;
    bool json, help, version;
    int command_at; /* index in argv */
};

/* Options in front of the command; false: said on stderr. */
static bool globals_read(int argc, char **argv, struct globals *globals) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *word = argv[i];
        bool has_next = i + 1 < argc;
        if (strcmp(word, "--json") == 0) {
            globals->json = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            globals->help = true;
        } else if (strcmp(word, "--version") == 0) {
            globals->version = true;
        } else if (strncmp(word, "--config=", 9) == 0) {
            globals->config = word + 9;
        } else if (strcmp(word, "--config") == 0 && has_next) {
            globals->config = argv[++i];
        } else if (strcmp(word, "--set") == 0 && has_next &&
                   globals->override_count < OVERRIDES_MAX) {
            globals->overrides[globals->override_count++] = argv[++i];
        } else if (strncmp(word, "--set=", 6) == 0 && globals->override_count < OVERRIDES_MAX) {
            globals->overrides[globals->override_count++] = word + 6;
        } else {
            (void)fprintf(stderr, "iloractl: '%s' is no option or lacks its value\n", word);
            return false;
        }
    }
    globals->command_at = i;
    return true;
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i]->name, name) == 0) { return commands[i]; }
    }
    return NULL;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) { return false; }
        if (strcmp(argv[i], "--help") == 0) { return true; }
    }
    return false;
}

static int run(const struct command *command, const struct globals *globals, int argc,
               char **argv) {
    struct error err = {0};
    struct settings *settings = memory_take_zeroed(1, sizeof *settings);
    if (settings == NULL) { return COMMAND_FAILED; }
    struct command_context context = {.settings = settings,
                                      .config_path = globals->config,
                                      .json = globals->json,
                                      .terminal = isatty(STDOUT_FILENO) == 1};
    struct options options = options_of(argc, argv);
    if (options_flag(&options, "--json")) { context.json = true; }
    int code = COMMAND_FAILED;
    enum status status =
        settings_load(globals->config, globals->overrides, globals->override_count, settings, &err);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "iloractl: %s\n", err.text);
    } else {
        code = command->run(&context, options.count, options.words);
    }
    memory_free(settings);
    if (fflush(stdout) != 0 && code == COMMAND_DONE) {
        (void)fputs("iloractl: writing the result failed\n", stderr);
        code = COMMAND_FAILED;
    }
    return code;
}

int main(int argc, char **argv) {
    struct globals globals = {0};
    if (!globals_read(argc, argv, &globals)) { return COMMAND_USAGE; }
    if (globals.version) {
        (void)printf("iloractl %s\n", ILORA_VERSION);
        return COMMAND_DONE;
    }
    if (globals.help) {
        print_usage(stdout);
        return COMMAND_DONE;
    }
    if (globals.command_at >= argc) {
        print_usage(stderr);
        return COMMAND_USAGE;
    }
    const struct command *command = find_command(argv[globals.command_at]);
    if (command == NULL) {
        (void)fprintf(stderr, "iloractl: no command '%s'; see iloractl --help\n",
                      argv[globals.command_at]);
        return COMMAND_USAGE;
    }
    int rest = argc - globals.command_at - 1;
    char **words = argv + globals.command_at + 1;
    if (wants_help(rest, words)) {
        (void)fputs(command->help, stdout);
        return COMMAND_DONE;
    }
    if (globals.config == NULL && access(CONFIG_DEFAULT, R_OK) == 0) {
        globals.config = CONFIG_DEFAULT;
    }
    return run(command, &globals, rest, words);
}
