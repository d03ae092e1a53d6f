/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_ask.c - commands that ask a running daemon and print what it says: recommend, history,
 * snapshots; and those that want something of it: rollback, publish, forget. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ops/client.h"
#include "ops/command.h"

static const char recommend_help[] =
    "usage: iloractl recommend USER [--n N]\n"
    "\n"
    "What the version in force would recommend now, and the list published last.\n"
    "\n"
    "example: iloractl recommend 42 --n 5\n";
static const char history_help[] = "usage: iloractl history USER\n"
                                   "\n"
                                   "The user's sequence as the daemon holds it, oldest first.\n"
                                   "\n"
                                   "example: iloractl history 42\n";
static const char snapshots_help[] = "usage: iloractl snapshots\n"
                                     "\n"
                                     "The versions on disk, what they cover and how they scored.\n"
                                     "\n"
                                     "example: iloractl snapshots\n";
static const char rollback_help[] =
    "usage: iloractl rollback VERSION\n"
    "\n"
    "Goes back to a version: a new version with its weights is made at the current batch end.\n"
    "\n"
    "example: iloractl rollback 41\n";
static const char publish_help[] = "usage: iloractl publish\n"
                                   "\n"
                                   "Makes a version at the next batch end (not in strict mode).\n"
                                   "\n"
                                   "example: iloractl publish\n";
static const char forget_help[] =
    "usage: iloractl forget USER [--receipt]\n"
    "\n"
    "Removes the user's sequence, seen set and published list at once. Rows of the training log "
    "and\n"
    "checkpoints that hold the user are erased when two later checkpoints are written.\n"
    "--receipt asks for nothing new: it says what is removed, what still waits, and which "
    "versions\n"
    "learned from the user.\n"
    "\n"
    "example: iloractl forget 42\n"
    "         iloractl forget 42 --receipt\n";

static int run_recommend(const struct command_context *context, int argc, char **argv);
static int run_history(const struct command_context *context, int argc, char **argv);
static int run_snapshots(const struct command_context *context, int argc, char **argv);
static int run_rollback(const struct command_context *context, int argc, char **argv);
static int run_publish(const struct command_context *context, int argc, char **argv);
static int run_forget(const struct command_context *context, int argc, char **argv);

const struct command command_recommend = {"recommend", "recommendations for a user, now",
                                          recommend_help, run_recommend};
const struct command command_history = {"history", "a user's sequence", history_help, run_history};
const struct command command_snapshots = {"snapshots", "model versions on disk", snapshots_help,
                                          run_snapshots};
const struct command command_rollback = {"rollback", "go back to a version", rollback_help,
                                         run_rollback};
const struct command command_publish = {"publish", "make a version now", publish_help, run_publish};
const struct command command_forget = {"forget", "remove a user, or say what is left of one",
                                       forget_help, run_forget};

/* ---- printing ---- */

/* Words of a producer: control characters (C0, DEL, C1) could give orders to the terminal. */
static void print_words(struct span words) {
    const uint8_t *bytes = (const uint8_t *)words.data;
    for (size_t i = 0; i < words.size; i++) {
        bool c1 = bytes[i] == 0xC2 && i + 1 < words.size && bytes[i + 1] < 0xA0;
        bool plain = bytes[i] >= 0x20 && bytes[i] != 0x7F && !c1;
        (void)putchar(plain ? bytes[i] : '?');
        i += c1;
    }
}

/* Title, or the id of an item without one. */
static struct span item_words(const struct json_value *item) {
    struct span title = client_text(item, "title");
    return title.size > 0 ? title : client_text(item, "item");
}

static void print_recommendation(const struct json_value *answer) {
    struct span tier = client_text(answer, "tier");
    const struct json_value *items = json_member(answer, "items");
    (void)printf("version %" PRId64 ", tier %.*s, history of %" PRId64 "\n",
                 client_integer(answer, "model_version", 0), SPAN_ARG(tier),
                 client_integer(answer, "history_length", 0));
    for (size_t i = 0; i < json_size(items); i++) {
        const struct json_value *item = json_element(items, i);
        struct span words = item_words(item), id = client_text(item, "item"),
                    source = client_text(item, "source");
        (void)printf("%3" PRId64 ". %6.3f  ", client_integer(item, "rank", 0),
                     client_real(item, "score", 0.0));
        print_words(words);
        (void)printf("  [");
        print_words(id);
        (void)printf(", %.*s]\n", SPAN_ARG(source));
    }
    const struct json_value *published = json_member(answer, "published");
    if (published == NULL) { return; }
    tier = client_text(published, "tier");
    (void)printf("published last, version %" PRId64 ", tier %.*s:",
                 client_integer(published, "model_version", 0), SPAN_ARG(tier));
    items = json_member(published, "items");
    for (size_t i = 0; i < json_size(items); i++) {
        (void)printf(i == 0 ? " " : ", ");
        print_words(item_words(json_element(items, i)));
    }
    (void)putchar('\n');
}

static void print_history(const struct json_value *answer) {
    const struct json_value *events = json_member(answer, "events");
    (void)printf("%" PRId64 " events, the newest %zu:\n", client_integer(answer, "total", 0),
                 json_size(events));
    for (size_t i = 0; i < json_size(events); i++) {
        const struct json_value *event = json_element(events, i);
        struct span words = item_words(event), id = client_text(event, "item");
        time_t seconds = (time_t)(client_integer(event, "timestamp", 0) / 1000);
        struct tm when;
        char text[32] = "";
        if (gmtime_r(&seconds, &when) != NULL) {
            (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &when); /* "" when it fails */
        }
        (void)printf("%s  ", text);
        print_words(words);
        (void)printf("  [");
        print_words(id);
        (void)puts("]");
    }
}

static void print_snapshots(const struct json_value *answer) {
    const struct json_value *versions = json_member(answer, "versions");
    int64_t in_force = client_integer(answer, "in_force", -1);
    (void)printf("%8s %8s %12s %12s  %s\n", "version", "parent", "seq from", "to", "");
    for (size_t i = 0; i < json_size(versions); i++) {
        const struct json_value *entry = json_element(versions, i);
        const struct json_value *manifest = json_member(entry, "manifest");
        int64_t version = client_integer(manifest, "version", -1);
        (void)printf("%8" PRId64 " %8" PRId64 " %12" PRId64 " %12" PRId64 "  %s\n", version,
                     client_integer(manifest, "parent", 0), client_integer(manifest, "seq_lo", 0),
                     client_integer(manifest, "seq_hi", 0), version == in_force ? "in force" : "");
    }
}

static void print_accepted(const struct json_value *answer) {
    (void)answer; /* {"accepted": true} */
    (void)puts("accepted: takes effect with the next epoch");
}

static const char *erased_words(const struct json_value *answer, const char *name) {
    bool erased = false;
    return json_bool(json_member(answer, name), &erased) && erased ? "erased" : "not yet erased";
}

static void print_receipt(const struct json_value *answer) {
    struct span user = client_text(answer, "user"), state = client_text(answer, "state");
    int64_t mark = client_integer(answer, "learner_forgets_at", 0);
    const struct json_value *versions = json_member(answer, "versions");
    int64_t first = client_integer(versions, "first", 0),
            last = client_integer(versions, "last", 0);
    bool returned = false;
    (void)printf("user '");
    print_words(user);
    (void)printf("': %.*s\n", SPAN_ARG(state));
    (void)printf("forgotten    epoch %" PRId64 " of the ledger, after event %" PRId64
                 "; key %.*s; %" PRId64 " events, the first was %" PRId64 "\n",
                 client_integer(answer, "epoch", 0), client_integer(answer, "seq", 0),
                 SPAN_ARG(client_text(answer, "user_key")), client_integer(answer, "events", 0),
                 client_integer(answer, "first_seq", 0));
    (void)puts("removed      sequence, seen set, published list");
    if (mark == 0) {
        (void)puts("learner      forgets at the next batch end");
    } else {
        (void)printf("learner      forgot at event %" PRId64 "\n", mark);
    }
    (void)printf("log rows     %s; the log begins at %" PRId64 "\n",
                 erased_words(answer, "rows_erased"), client_integer(answer, "log_from", 0));
    (void)printf("checkpoints  %s; %" PRId64 " kept, the oldest at %" PRId64 "\n",
                 erased_words(answer, "checkpoints_erased"),
                 client_integer(answer, "checkpoints", 0),
                 client_integer(answer, "checkpoint_oldest", 0));
    if (client_integer(answer, "events", 0) == 0) {
        (void)puts("versions     none learned from the user");
    } else if (last == 0) {
        (void)printf("versions     from %" PRId64 " on learned from the user\n", first);
    } else {
        (void)printf("versions     %" PRId64 " to %" PRId64 " learned from the user; later ones "
                     "descend from them\n",
                     first, last);
    }
    if (json_bool(json_member(answer, "returned"), &returned) && returned) {
        (void)puts("returned     the user has events again; they are not covered");
    }
}

/* Asks, prints as JSON or with `print`; frees. */
static int ask(const struct command_context *context, const struct command *command,
               struct span request, void (*print)(const struct json_value *)) {
    struct error err = {0};
    struct client_answer answer;
    enum status status = client_ask(context->settings, request, &answer, &err);
    if (status != STATUS_OK) { return command_failed(command, &err); }
    if (context->json) {
        print_bytes(answer.content_text);
    } else {
        print(answer.content);
    }
    client_answer_free(&answer);
    return COMMAND_DONE;
}

/* The request {"command": name, member: text or number}. */
static int ask_with(const struct command_context *context, const struct command *command,
                    const char *name, const char *member, const char *text, int64_t n,
                    void (*print)(const struct json_value *)) {
    struct buffer request = {0};
    struct json_writer w;
    int code = COMMAND_FAILED;
    json_write_begin(&w, &request);
    json_write_object(&w, NULL);
    json_write_string(&w, "command", span_of(name));
    if (text != NULL) { json_write_string(&w, member, span_of(text)); }
    if (n > 0) { json_write_integer(&w, "n", n); }
    json_write_object_end(&w);
    if (json_write_end(&w) == STATUS_OK) {
        code = ask(context, command, buffer_span(&request), print);
    }
    buffer_free(&request);
    return code;
}

/* ---- commands ---- */

static int run_recommend(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    int64_t n = options_integer(&options, "--n", 0, 1, 100);
    if (!options_end(&options, &command_recommend, 1, 1)) { return COMMAND_USAGE; }
    return ask_with(context, &command_recommend, "recommend", "user", options.words[0], n,
                    print_recommendation);
}

static int run_history(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    if (!options_end(&options, &command_history, 1, 1)) { return COMMAND_USAGE; }
    return ask_with(context, &command_history, "history", "user", options.words[0], 0,
                    print_history);
}

static int run_snapshots(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    if (!options_end(&options, &command_snapshots, 0, 0)) { return COMMAND_USAGE; }
    return ask_with(context, &command_snapshots, "snapshots", NULL, NULL, 0, print_snapshots);
}

static int run_rollback(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    if (!options_end(&options, &command_rollback, 1, 1)) { return COMMAND_USAGE; }
    int64_t version = 0;
    if (!span_integer(span_of(options.words[0]), &version) || version < 0) {
        (void)fprintf(stderr, "iloractl rollback: '%s' is no version\n", options.words[0]);
        return COMMAND_USAGE;
    }
    char request[96];
    (void)snprintf(request, sizeof request, "{\"command\":\"rollback\",\"version\":%" PRId64 "}",
                   version);
    return ask(context, &command_rollback, span_of(request), print_accepted);
}

static int run_publish(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    if (!options_end(&options, &command_publish, 0, 0)) { return COMMAND_USAGE; }
    return ask_with(context, &command_publish, "publish_now", NULL, NULL, 0, print_accepted);
}

static int run_forget(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    bool receipt = options_flag(&options, "--receipt");
    if (!options_end(&options, &command_forget, 1, 1)) { return COMMAND_USAGE; }
    if (receipt) {
        return ask_with(context, &command_forget, "receipt", "user", options.words[0], 0,
                        print_receipt);
    }
    return ask_with(context, &command_forget, "forget", "user", options.words[0], 0,
                    print_accepted);
}
