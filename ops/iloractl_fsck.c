/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_fsck.c - looks through a stopped daemon's state, and explains why a start was refused.
 *
 * Everything is read, nothing is repaired: state is a function of the input, so what is broken is
 * thrown away and folded again, never patched. */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "daemon/ledger.h"
#include "ops/client.h"
#include "ops/command.h"
#include "ops/state_access.h"
#include "ops/stream_access.h"
#include "storage/store.h"
#include "storage/training_log.h"

#define MANIFEST_BYTES_MAX (1024u * 1024u)

static const char help[] =
    "usage: iloractl fsck [--explain]\n"
    "\n"
    "Reads the whole state of a stopped daemon: every value's checksum, the counters, the\n"
    "training log, every file of every version against its digest, and where the ledger\n"
    "stands. Exit 0: all of it is sound. A running daemon is not disturbed: it is asked\n"
    "instead.\n"
    "\n"
    "  --explain  what each reason for exit 78 means and what to do\n"
    "\n"
    "example: iloractl fsck\n";

static const char explanation[] =
    "exit 78 means that a start would contradict what was published; systemd does not try\n"
    "again.\n"
    "\n"
    "setting refused\n"
    "  The line names file, line, key and what is allowed. Correct it; 'ilorad --check-config'.\n"
    "shard belongs to owner X\n"
    "  Another state directory wrote the ledger last. If that one is gone for good (a lost disk),\n"
    "  start with '--take-over X --rebuild'. If it lives, this one must not start.\n"
    "state is empty, ledger is not\n"
    "  The state was lost. '--rebuild' folds the whole input again, if it is still retained.\n"
    "offsets were removed upstream before they were consumed\n"
    "  Retention of the input was shorter than the daemon's downtime: those events are lost.\n"
    "  Raise retention; then start over with an empty state and new output topics, or accept the\n"
    "  loss by giving the deployment a new name ([stream] deployment) and a new ledger.\n"
    "a record is not the one that was consumed, or a topic ends before the position\n"
    "  An input topic was deleted and made again, or an unclean election lost records. As above.\n"
    "state ahead of the ledger, or they disagree\n"
    "  The ledger topic was made again or a state was restored from another deployment.\n"
    "epochs of another fold version wait\n"
    "  Start the old program once: it drains what was committed, then update.\n"
    "more partitions than epoch 0 says\n"
    "  A shard owns a fixed set of partitions. Give new ones to a new shard.\n"
    "base model refused\n"
    "  The line names file and field. 'iloractl base info PATH' says the same without a daemon. A\n"
    "  base model of another digest than the ledger's belongs into a new deployment.\n"
    "value with a wrong checksum\n"
    "  The disk changed data. Replace it, empty the state folder (keep 'owner'), start: it folds\n"
    "  the input again.\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_fsck = {"fsck", "check a stopped daemon's state; explain exit 78",
                                     help, run};

struct check {
    const struct command_context *context;
    uint64_t problems;
    uint64_t entries; /* of the table being read */
    const char *folder;
};

static void sound(struct check *check, const char *what, const char *words) {
    if (check->context->json) {
        (void)printf("{\"check\":\"%s\",\"sound\":true,\"found\":\"%s\"}\n", what, words);
    } else {
        (void)printf("ok   %-16s %s\n", what, words);
    }
}

static void broken(struct check *check, const char *what, const char *words) {
    check->problems++;
    if (check->context->json) {
        (void)printf("{\"check\":\"%s\",\"sound\":false,\"found\":\"%s\"}\n", what, words);
    } else {
        (void)printf("BAD  %-16s %s\n", what, words);
    }
}

/* ---- tables ---- */

static bool count_entry(void *context, struct span key, struct span value) {
    struct check *check = context;
    (void)key; /* store_scan has checked the value's sum */
    (void)value;
    check->entries++;
    return true;
}

static void check_tables(struct check *check, struct store_reader *reader) {
    char words[96];
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        struct error err = {0};
        enum store_table table = (enum store_table)t;
        check->entries = 0;
        enum status status =
            store_scan(reader, table, (struct span){NULL, 0}, count_entry, check, &err);
        if (status != STATUS_OK) {
            broken(check, store_table_name(table), err.text);
            continue;
        }
        (void)snprintf(words, sizeof words, "%" PRIu64 " entries", check->entries); /* fits */
        sound(check, store_table_name(table), words);
    }
}

static void check_log(struct check *check, struct store_reader *reader) {
    struct error err = {0};
    char words[96];
    uint64_t first = 0, last = 0;
    enum status status = training_log_bounds(reader, &first, &last, &err);
    if (status == STATUS_NOT_FOUND) {
        sound(check, "rows", "no row yet");
        return;
    }
    if (status == STATUS_OK) {
        static const uint64_t step = 256;
        struct training_row rows[256];
        for (uint64_t seq = first; seq <= last && status == STATUS_OK; seq += step) {
            int count = 0;
            uint64_t to = seq + step - 1 > last ? last : seq + step - 1;
            status = training_log_read(reader, seq, to, rows, (int)step, &count, &err);
        }
    }
    if (status != STATUS_OK) {
        broken(check, "rows", err.text);
        return;
    }
    (void)snprintf(words, sizeof words, "seq %" PRIu64 " to %" PRIu64 " without gap", first, last);
    sound(check, "rows", words);
}

/* ---- versions ---- */

/* The files of one version, as the manifest's object {"name": "sha256 in hex"} names them. */
struct file_check {
    const char *folder;
    size_t files;
    enum status status;
    struct error err;
};

static enum status check_file(const char *folder, struct span name_text, struct span digest_text,
                              struct error *err) {
    char path[FILE_PATH_BYTES_MAX], name[128], stated[2 * SHA256_BYTES + 1];
    uint8_t digest[SHA256_BYTES], wanted[SHA256_BYTES];
    if (name_text.size == 0 || name_text.size >= sizeof name ||
        memchr(name_text.data, '/', name_text.size) != NULL ||
        digest_text.size != 2 * SHA256_BYTES) {
        return error_set(err, STATUS_CORRUPT, "a file of the manifest without name or digest");
    }
    memcpy(name, name_text.data, name_text.size);
    name[name_text.size] = '\0';
    memcpy(stated, digest_text.data, digest_text.size);
    stated[digest_text.size] = '\0';
    enum status status = path_join(path, folder, name, err);
    if (status != STATUS_OK) { return status; }
    status = sha256_of_file(path, digest, err);
    if (status != STATUS_OK) { return status; }
    if (!hex_decode(stated, wanted, sizeof wanted) || memcmp(digest, wanted, sizeof digest) != 0) {
        return error_set(err, STATUS_CORRUPT, "'%s' is not the file of the manifest", name);
    }
    return STATUS_OK;
}

static bool visit_file(void *context, struct span name, const struct json_value *value) {
    struct file_check *check = context;
    struct span digest = {NULL, 0};
    (void)json_string(value, &digest); /* another kind: refused below */
    check->files++;
    check->status = check_file(check->folder, name, digest, &check->err);
    return check->status == STATUS_OK;
}

static enum status check_version(const char *folder, size_t *ret_files, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct buffer bytes = {.limit = MANIFEST_BYTES_MAX};
    struct json_value *manifest = NULL;
    struct file_check check = {.folder = folder, .status = STATUS_OK};
    enum status status = path_join(path, folder, "manifest.json", err);
    if (status == STATUS_OK) { status = file_read(path, MANIFEST_BYTES_MAX, &bytes, err); }
    if (status == STATUS_OK) { status = json_parse(buffer_span(&bytes), &manifest, err); }
    if (status == STATUS_OK) {
        const struct json_value *files = json_member(manifest, "files");
        if (json_size(files) == 0) {
            status = error_set(err, STATUS_CORRUPT, "the manifest names no files");
        } else {
            json_members(files, visit_file, &check);
            status = check.status;
            if (status != STATUS_OK) { *err = check.err; }
        }
    }
    *ret_files = check.files;
    json_free(manifest);
    buffer_free(&bytes);
    return status;
}

static enum status visit_version(void *context, const char *name, bool is_dir, struct error *err) {
    struct check *check = context;
    char path[FILE_PATH_BYTES_MAX], what[48], words[64];
    size_t files = 0;
    size_t size = strlen(name);
    if (!is_dir || (size > 4 && strcmp(name + size - 4, ".tmp") == 0)) { return STATUS_OK; }
    enum status status = path_join(path, check->folder, name, err);
    if (status != STATUS_OK) { return status; }
    struct error found = {0};
    (void)snprintf(what, sizeof what, "version %.30s", name); /* fits */
    status = check_version(path, &files, &found);
    if (status != STATUS_OK) {
        broken(check, what, found.text);
    } else {
        (void)snprintf(words, sizeof words, "%zu files as their digests say", files); /* fits */
        sound(check, what, words);
    }
    return STATUS_OK;
}

static void check_versions(struct check *check, const char *state_path) {
    char folder[FILE_PATH_BYTES_MAX];
    struct error err = {0};
    check->folder = folder;
    enum status status = path_join(folder, state_path, "versions", &err);
    if (status == STATUS_OK && file_exists(folder)) {
        status = dir_list(folder, visit_version, check, &err);
    }
    if (status != STATUS_OK) { broken(check, "versions", err.text); }
}

/* ---- where the ledger stands ---- */

static void check_ledger(struct check *check) {
    struct stream_access access = {0};
    struct ledger_tail tail;
    struct error err = {0};
    char words[160], owner[2 * OWNER_BYTES + 1];
    enum status status = stream_access_open(check->context->settings, &access, &err);
    if (status == STATUS_OK) {
        status = ledger_read_tail(access.stream, (int32_t)check->context->settings->stream_shard,
                                  &tail, &err);
    }
    stream_access_close(&access);
    if (status != STATUS_OK) {
        broken(check, "ledger", err.text);
    } else if (tail.empty) {
        sound(check, "ledger", "empty");
    } else {
        hex_encode(tail.owner, OWNER_BYTES, owner);
        (void)snprintf(words, sizeof words, "epoch %" PRIu64 ", last owner %s", tail.epoch, owner);
        sound(check, "ledger", words);
    }
}

/* ---- the command ---- */

/* Asks a running daemon, which checks itself all the time. */
static int ask_running(const struct command_context *context) {
    struct error err = {0};
    struct client_answer answer;
    enum status status = client_ask_about(context->settings, "status", NULL, NULL, &answer, &err);
    if (status != STATUS_OK) { return command_failed(&command_fsck, &err); }
    struct span state = client_text(answer.content, "state");
    (void)printf("ilorad runs: %.*s (stop it for a whole check)\n", SPAN_ARG(state));
    client_answer_free(&answer);
    return COMMAND_DONE;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    bool explain = options_flag(&options, "--explain");
    if (!options_end(&options, &command_fsck, 0, 0)) { return COMMAND_USAGE; }
    if (explain) {
        (void)fputs(explanation, stdout);
        return COMMAND_DONE;
    }
    struct error err = {0};
    struct check check = {.context = context};
    struct state_access access;
    enum status status = state_access_open(context->settings, &access, &err);
    if (status == STATUS_AGAIN) { return ask_running(context); }
    if (status != STATUS_OK) { return command_failed(&command_fsck, &err); }
    check_tables(&check, access.reader);
    check_log(&check, access.reader);
    check_versions(&check, context->settings->state_path);
    check_ledger(&check);
    state_access_close(&access);
    if (check.problems > 0 && !context->json) {
        (void)printf("%" PRIu64 " problems; 'iloractl fsck --explain' says what to do\n",
                     check.problems);
    }
    return check.problems == 0 ? COMMAND_DONE : COMMAND_FAILED;
}
