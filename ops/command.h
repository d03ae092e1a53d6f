/* SPDX-License-Identifier: Apache-2.0
 *
 * command.h - what a command of iloractl is, and what it is given.
 *
 * A command parses its own arguments with base options below, prints results on stdout (JSON lines
 * with --json), errors on stderr, progress only on a terminal. Exit: 0 done, 1 failed, 64 usage.
 */
#ifndef OPS_COMMAND_H
#define OPS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/status.h"
#include "daemon/settings.h"

#define COMMAND_DONE   0
#define COMMAND_FAILED 1
#define COMMAND_USAGE  64

struct command_context {
    const struct settings *settings; /* of --config, --set and environment */
    const char *config_path;         /* NULL: defaults */
    bool json;
    bool terminal; /* stdout is one */
};

struct command {
    const char *name;
    const char *summary; /* one line for the list */
    const char *help;    /* usage, options, an example; what --help prints */
    int (*run)(const struct command_context *context, int argc, char **argv);
};

extern const struct command command_audit, command_base, command_config, command_consume,
    command_export, command_forget, command_fsck, command_generate, command_history, command_import,
    command_paper, command_produce, command_publish, command_recommend, command_rollback,
    command_score, command_snapshots, command_status, command_tokenize, command_topics;

/* ---- arguments ---- */

/* argv without what was taken; what is left are the words. Options may stand anywhere; after "--"
 * all are words. */
struct options {
    int count;
    char **words; /* borrows: argv, reordered */
    bool bad;     /* a value was missing or malformed: said on stderr */
};

struct options options_of(int argc, char **argv);
/* Takes `--name`; true when it was there. */
bool options_flag(struct options *options, const char *name);
/* Takes `--name VALUE` or `--name=VALUE`; fallback when absent. */
const char *options_text(struct options *options, const char *name, const char *fallback);
/* The same as a number within [minimum, maximum]. */
int64_t options_integer(struct options *options, const char *name, int64_t fallback,
                        int64_t minimum, int64_t maximum);
double options_real(struct options *options, const char *name, double fallback, double minimum,
                    double maximum);
/* The numbers of "x,y,..."; false: not exactly count of them. */
bool options_numbers(const char *text, int count, double *ret_numbers);
/* False, with words on stderr, when an option is left, a value was bad or the number of words is
 * not within [minimum, maximum]. Call last. */
bool options_end(struct options *options, const struct command *command, int minimum, int maximum);

/* ---- words ---- */

/* "iloractl NAME: text" on stderr; returns COMMAND_FAILED. */
int command_failed(const struct command *command, const struct error *err);

/* Prints a finished JSON text as one line, or `text` when JSON was not asked for. */
void print_bytes(struct span bytes);

#endif
