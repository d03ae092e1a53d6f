/* SPDX-License-Identifier: Apache-2.0
 *
 * command.c - arguments of a command, taken one option at a time. */
#include "ops/command.h"

#include <string.h>

struct options options_of(int argc, char **argv) {
    return (struct options){.count = argc, .words = argv};
}

static void take(struct options *options, int at, int how_many) {
    for (int i = at; i + how_many < options->count; i++) {
        options->words[i] = options->words[i + how_many];
    }
    options->count -= how_many;
}

/* Index of the first word that is, or begins with, the option's name; -1. */
static int find(const struct options *options, const char *name, bool *ret_has_value) {
    size_t size = strlen(name);
    for (int i = 0; i < options->count; i++) {
        const char *word = options->words[i];
        if (strcmp(word, "--") == 0) { return -1; }
        if (strncmp(word, name, size) != 0) { continue; }
        if (word[size] != '\0' && word[size] != '=') { continue; }
        *ret_has_value = word[size] == '=';
        return i;
    }
    return -1;
}

bool options_flag(struct options *options, const char *name) {
    bool has_value = false;
    int at = find(options, name, &has_value);
    if (at < 0) { return false; }
    if (has_value) {
        (void)fprintf(stderr, "iloractl: %s takes no value\n", name);
        options->bad = true;
    }
    take(options, at, 1);
    return true;
}

const char *options_text(struct options *options, const char *name, const char *fallback) {
    bool has_value = false;
    int at = find(options, name, &has_value);
    if (at < 0) { return fallback; }
    const char *word = options->words[at];
    if (has_value) {
        take(options, at, 1);
        return word + strlen(name) + 1;
    }
    if (at + 1 >= options->count) {
        (void)fprintf(stderr, "iloractl: %s expects a value\n", name);
        options->bad = true;
        take(options, at, 1);
        return fallback;
    }
    const char *value = options->words[at + 1];
    take(options, at, 2);
    return value;
}

int64_t options_integer(struct options *options, const char *name, int64_t fallback,
                        int64_t minimum, int64_t maximum) {
    const char *text = options_text(options, name, NULL);
    if (text == NULL) { return fallback; }
    int64_t value = 0;
    if (!span_integer(span_of(text), &value) || value < minimum || value > maximum) {
        (void)fprintf(stderr, "iloractl: %s %s: expected an integer from %lld to %lld\n", name,
                      text, (long long)minimum, (long long)maximum);
        options->bad = true;
        return fallback;
    }
    return value;
}

double options_real(struct options *options, const char *name, double fallback, double minimum,
                    double maximum) {
    const char *text = options_text(options, name, NULL);
    if (text == NULL) { return fallback; }
    double value = 0.0;
    if (!span_real(span_of(text), &value) || value < minimum || value > maximum) {
        (void)fprintf(stderr, "iloractl: %s %s: expected a number from %g to %g\n", name, text,
                      minimum, maximum);
        options->bad = true;
        return fallback;
    }
    return value;
}

bool options_numbers(const char *text, int count, double *ret_numbers) {
    for (int i = 0; i < count; i++) {
        size_t size = strcspn(text, ",");
        bool last = text[size] == '\0';
        if (last != (i == count - 1)) { return false; }
        if (!span_real(span_make(text, size), &ret_numbers[i])) { return false; }
        text += size + 1;
    }
    return true;
}

bool options_end(struct options *options, const struct command *command, int minimum, int maximum) {
    bool words_only = false;
    for (int i = 0; i < options->count && !words_only; i++) {
        const char *word = options->words[i];
        if (strcmp(word, "--") == 0) {
            take(options, i, 1);
            words_only = true;
        } else if (word[0] == '-' && word[1] != '\0') {
            (void)fprintf(stderr, "iloractl %s: no option '%s'; see iloractl %s --help\n",
                          command->name, word, command->name);
            return false;
        }
    }
    if (options->bad) { return false; }
    if (options->count < minimum || options->count > maximum) {
        (void)fputs(command->help, stderr);
        return false;
    }
    return true;
}

int command_failed(const struct command *command, const struct error *err) {
    (void)fprintf(stderr, "iloractl %s: %s\n", command->name, err->text);
    return COMMAND_FAILED;
}

void print_bytes(struct span bytes) {
    (void)fwrite(bytes.data, 1, bytes.size, stdout); /* main's last flush says whether it failed */
    if (bytes.size == 0 || bytes.data[bytes.size - 1] != '\n') { (void)fputc('\n', stdout); }
}
