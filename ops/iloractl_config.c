/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_config.c - settings: effective ones, the commented sample, and the manual page. All
 * three come from the one table in daemon/settings.h. */
#include <string.h>

#include "ops/client.h"
#include "ops/command.h"
#include "ops/manual.h"

#define TEXT_BYTES_MAX (1024u * 1024u)

static const char help[] =
    "usage: iloractl config [--file | --sample | --man]\n"
    "\n"
    "The effective settings of the running daemon; without one, those it would start with.\n"
    "Secrets are never shown.\n"
    "\n"
    "  --file    of file, environment and --set, even while a daemon runs\n"
    "  --sample  a commented sample file with every setting, its range and default\n"
    "  --man     ilorad.conf(5) as roff\n"
    "\n"
    "example: iloractl config --sample > ilorad.conf\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_config = {"config", "settings: effective, a sample, the manual", help,
                                       run};

static const char sample_head[] =
    "# SPDX-License-Identifier: Apache-2.0\n"
    "# ilorad.conf - every setting: what it is, what is allowed, its default. ilorad.conf(5)\n\n";

static int print_text(const struct command_context *context, struct span text) {
    if (!context->json) {
        print_bytes(text);
        return COMMAND_DONE;
    }
    struct buffer out = {0};
    struct json_writer w;
    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_string(&w, "text", text);
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status == STATUS_OK) { print_bytes(buffer_span(&out)); }
    buffer_free(&out);
    return status == STATUS_OK ? COMMAND_DONE : COMMAND_FAILED;
}

static int print_own(const struct command_context *context, bool sample, bool man) {
    int count = 0;
    const struct setting *table = settings_table(&count);
    struct buffer out = {.limit = TEXT_BYTES_MAX};
    enum status status = STATUS_OK;
    if (sample) {
        status = buffer_append(&out, sample_head, sizeof sample_head - 1);
        if (status == STATUS_OK) { status = config_sample(table, count, &out); }
    } else {
        status =
            man ? manual_settings(table, count, &out) : settings_print(context->settings, &out);
    }
    int code = COMMAND_FAILED;
    if (status == STATUS_OK) { code = print_text(context, buffer_span(&out)); }
    buffer_free(&out);
    return code;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    bool file = options_flag(&options, "--file");
    bool sample = options_flag(&options, "--sample");
    bool man = options_flag(&options, "--man");
    if (!options_end(&options, &command_config, 0, 0)) { return COMMAND_USAGE; }
    if (file || sample || man) { return print_own(context, sample, man); }

    struct error err = {0};
    struct client_answer answer;
    enum status status = client_ask_about(context->settings, "config", NULL, NULL, &answer, &err);
    if (status == STATUS_NOT_FOUND) { return print_own(context, false, false); }
    if (status != STATUS_OK) { return command_failed(&command_config, &err); }
    int code = print_text(context, client_text(answer.content, "text"));
    client_answer_free(&answer);
    return code;
}
