/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_produce.c - standard input, a line a record, into a topic.
 *
 * The key is the user (or the item, for item records) so that a user's events stay in one
 * partition, in order: what a producer of events has to do as well. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "ops/batch.h"
#include "ops/command.h"
#include "ops/lines.h"

#define IDLE_FLUSH_MS 50

static const char help[] =
    "usage: iloractl produce TOPIC [--raw] [--key KEY] [--rate N]\n"
    "\n"
    "Sends each line of standard input as one record. Lines are JSON (INTERFACES: events,\n"
    "items, control); the key is their user or item.\n"
    "\n"
    "  --raw      send lines as they are, JSON or not\n"
    "  --key KEY  one key for all records\n"
    "  --rate N   at most N records a second\n"
    "\n"
    "example: echo '{\"user\":\"42\",\"item\":\"50\"}' | iloractl produce events\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_produce = {"produce", "send lines of standard input to a topic", help,
                                        run};

/* The first of the names that is there: a string, or an integer written in decimal into number. */
static struct span member_text(const struct json_value *value, const char *const *names,
                               char number[24]) {
    for (int i = 0; names[i] != NULL; i++) {
        const struct json_value *member = json_member(value, names[i]);
        struct span text;
        int64_t integer = 0;
        if (member == NULL) { continue; }
        if (json_string(member, &text)) { return text; }
        if (json_integer(member, &integer)) {
            (void)snprintf(number, 24, "%" PRId64, integer); /* fits */
            return span_of(number);
        }
    }
    return (struct span){NULL, 0};
}

static enum status add_json(struct batch *batch, enum stream_topic topic, struct span line,
                            struct error *err) {
    static const char *const users[] = {"user", "user_id", "userId", "UserId", "USER_ID", NULL};
    static const char *const items[] = {"item", "item_id", "itemId", "ItemId", "ITEM_ID", NULL};
    struct json_value *value = NULL;
    char number[24];
    enum status status = json_parse(line, &value, err);
    if (status != STATUS_OK) { return status; }
    struct span key = {NULL, 0};
    if (topic != STREAM_ITEMS) { key = member_text(value, users, number); }
    if (key.data == NULL) { key = member_text(value, items, number); }
    status = batch_add(batch, topic, key, line, -1, err);
    json_free(value);
    return status;
}

static enum status produce_lines(struct batch *batch, enum stream_topic topic, bool raw,
                                 const char *key, struct error *err) {
    struct lines lines;
    enum status status = STATUS_OK;
    lines_init(&lines, STDIN_FILENO);
    for (;;) {
        struct span line;
        status = lines_next(&lines, batch->count > 0 ? IDLE_FLUSH_MS : -1, &line, err);
        if (status == STATUS_AGAIN) { /* nobody types: send what there is */
            status = batch_send(batch, err);
            if (status != STATUS_OK) { break; }
            continue;
        }
        if (status == STATUS_NOT_FOUND) {
            status = STATUS_OK;
            break;
        }
        if (status != STATUS_OK) { break; }
        if (line.size == 0 && !raw) { continue; }
        if (raw || key != NULL) {
            struct span key_span = key == NULL ? (struct span){NULL, 0} : span_of(key);
            status = batch_add(batch, topic, key_span, line, -1, err);
        } else {
            status = add_json(batch, topic, line, err);
        }
        if (status != STATUS_OK) {
            (void)error_wrap(err, "line %" PRIu64, lines.number); /* returns its code */
            break;
        }
    }
    lines_free(&lines);
    return status;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    bool raw = options_flag(&options, "--raw");
    const char *key = options_text(&options, "--key", NULL);
    double rate = options_real(&options, "--rate", 0.0, 0.001, 1e9);
    if (!options_end(&options, &command_produce, 1, 1)) { return COMMAND_USAGE; }

    struct error err = {0};
    struct stream_access access = {0};
    struct batch *batch = NULL;
    enum stream_topic topic;
    enum status status = stream_access_topic(context->settings, options.words[0], &topic, &err);
    if (status != STATUS_OK) {
        (void)command_failed(&command_produce, &err);
        return COMMAND_USAGE;
    }
    status = stream_access_open(context->settings, &access, &err);
    if (status != STATUS_OK) { return command_failed(&command_produce, &err); }
    batch = memory_take_zeroed(1, sizeof *batch);
    if (batch == NULL) {
        status = error_set(&err, STATUS_NO_MEMORY, "records to send");
        goto done;
    }
    status = batch_init(batch, &access, rate, false, &err);
    if (status == STATUS_OK) { status = produce_lines(batch, topic, raw, key, &err); }
    if (status == STATUS_OK) { status = batch_finish(batch, &err); }
    if (status == STATUS_OK) {
        if (context->json) {
            (void)printf("{\"sent\":%" PRIu64 "}\n", batch->sent);
        } else if (context->terminal) {
            (void)printf("%" PRIu64 " records sent to %s\n", batch->sent, options.words[0]);
        }
    }
    batch_free(batch);
done:
    memory_free(batch);
    stream_access_close(&access);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_produce, &err);
}
