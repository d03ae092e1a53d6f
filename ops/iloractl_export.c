/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_export.c - a version as a plain LoRA folder for PEFT, vLLM and converters: with the
 * uniform gate, with one user's gate, or with a mixture given by hand.
 *
 * A version's folder is immutable, so it is read beside a running daemon; the user's sequence is
 * asked for, or read from a stopped daemon's state. The base model is not needed. */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/peft_adapter.h"
#include "model/version_gate.h"
#include "ops/client.h"
#include "ops/command.h"
#include "ops/state_access.h"
#include "storage/sequence.h"

static const char help[] =
    "usage: iloractl export (--version V | --from FOLDER) [--user USER | --gate W,W,...]\n"
    "                       [--base-name NAME] --to FOLDER\n"
    "\n"
    "Writes a version's adapter as a plain LoRA that PeftModel.from_pretrained loads. Its gate is\n"
    "folded into B: every sequence then has the same mixture of experts. FOLDER must not exist;\n"
    "it appears whole or not at all. Versions whose prompts hold item tokens are refused: PEFT\n"
    "cannot carry the vectors that are written over them.\n"
    "\n"
    "  --version V       one of 'iloractl snapshots'\n"
    "  --from FOLDER     a version's folder itself, wherever it was copied to\n"
    "  --user USER       the gate that the version gives the user's sequence of now\n"
    "  --gate W,W,...    these weights, one an expert, of sum 1 (default: all the same)\n"
    "  --base-name NAME  the config's base_model_name_or_path (default: the version's)\n"
    "\n"
    "example: iloractl export --version 12 --user 42 --to user-42\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_export = {"export", "a version as a plain PEFT LoRA", help, run};

struct export {
    const struct command_context *context;
    const char *from; /* the version's folder */
    const char *to;
    const char *user;    /* NULL: none */
    const char *weights; /* NULL: none; "0.5,0.5" */
    const char *base_name;
    struct version_gate *gate;    /* owns */
    struct peft_adapter *adapter; /* owns */
    uint32_t history[HISTORY_MAX];
    int history_count;
    float mixture[VERSION_EXPERTS_MAX]; /* (K) */
};

/* ---- the user's sequence --------------------------------------------------------------------- */

static enum status read_history(struct export *job, const struct state_access *access,
                                struct error *err) {
    struct sequence sequence;

    enum status status = sequence_read(access->reader, span_of(job->user), &sequence, err);
    if (status != STATUS_OK) { return status; }
    job->history_count = (int)sequence_history(&sequence, INT64_MAX, HISTORY_MAX, job->history);
    return STATUS_OK;
}

static enum status ask_history(struct export *job, struct error *err) {
    struct client_answer answer;

    enum status status =
        client_ask_about(job->context->settings, "history", "user", job->user, &answer, err);
    if (status != STATUS_OK) { return status; }
    const struct json_value *events = json_member(answer.content, "events");
    for (size_t i = 0; i < json_size(events) && job->history_count < HISTORY_MAX; i++) {
        int64_t number = client_integer(json_element(events, i), "number", -1);
        if (number < 0 || number > UINT32_MAX) {
            status = error_set(err, STATUS_MALFORMED,
                               "the daemon's history has no item numbers: it is of another build");
            break;
        }
        job->history[job->history_count++] = (uint32_t)number;
    }
    client_answer_free(&answer);
    return status;
}

static enum status find_history(struct export *job, struct error *err) {
    struct state_access access;

    enum status status = state_access_open(job->context->settings, &access, err);
    if (status == STATUS_AGAIN) {
        status = ask_history(job, err);
    } else if (status == STATUS_OK) {
        status = read_history(job, &access, err);
        state_access_close(&access);
    }
    if (status == STATUS_OK && job->history_count == 0) {
        status = error_set(err, STATUS_NOT_FOUND, "user '%s' has no events", job->user);
    }
    return status;
}

/* ---- the mixture ----------------------------------------------------------------------------- */

static enum status read_weights(struct export *job, int K, struct error *err) {
    double weights[VERSION_EXPERTS_MAX];

    if (!options_numbers(job->weights, K, weights)) {
        return error_set(err, STATUS_CONFIG, "--gate '%s': expected %d numbers with commas between",
                         job->weights, K);
    }
    for (int k = 0; k < K; k++) {
        job->mixture[k] = (float)weights[k];
    }
    return STATUS_OK;
}

static enum status make_mixture(struct export *job, struct error *err) {
    int K = version_gate_experts(job->gate);

    for (int k = 0; k < K; k++) {
        job->mixture[k] = 1.0f / (float)K;
    }
    if (job->weights != NULL) { return read_weights(job, K, err); }
    if (job->user == NULL) { return STATUS_OK; }
    enum status status = find_history(job, err);
    if (status != STATUS_OK) { return status; }
    return version_gate_weights(job->gate, job->history, job->history_count, job->mixture, err);
}

/* ---- the command ----------------------------------------------------------------------------- */

static enum status export_version(struct export *job, struct error *err) {
    enum status status = version_gate_open(job->from, &job->gate, err);
    if (status != STATUS_OK) { return status; }
    if (version_gate_has_item_tokens(job->gate)) {
        return error_set(err, STATUS_CONFIG,
                         "'%s' has item tokens in its prompts (tensor 'projector.0.weight'): PEFT "
                         "cannot carry them, expected a version of a text-only prompt template",
                         job->from);
    }
    status = peft_adapter_open(job->from, &job->adapter, err);
    if (status == STATUS_OK) { status = make_mixture(job, err); }
    if (status != STATUS_OK) { return status; }
    if (job->base_name != NULL) {
        (void)snprintf(job->adapter->base_name, sizeof job->adapter->base_name, "%s",
                       job->base_name); /* its length was checked */
    }
    bool mixed = job->user != NULL || job->weights != NULL;
    return peft_adapter_export(job->adapter, mixed ? job->mixture : NULL,
                               version_gate_experts(job->gate), job->to, err);
}

static enum status print_result(const struct export *job, struct error *err) {
    int K = version_gate_experts(job->gate);
    struct buffer out = {0};
    struct json_writer w;

    if (!job->context->json) {
        (void)printf("rank %d, alpha %g, gate", job->adapter->rank, job->adapter->alpha);
        for (int k = 0; k < K; k++) {
            (void)printf(" %.6f", (double)job->mixture[k]);
        }
        (void)printf(": '%s'\n", job->to);
        return STATUS_OK;
    }
    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_string(&w, "folder", span_of(job->to));
    json_write_integer(&w, "rank", job->adapter->rank);
    json_write_real(&w, "alpha", job->adapter->alpha);
    json_write_array(&w, "gate");
    for (int k = 0; k < K; k++) {
        json_write_real(&w, NULL, (double)job->mixture[k]);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status == STATUS_OK) {
        print_bytes(buffer_span(&out));
    } else {
        status = error_set(err, status, "the result");
    }
    buffer_free(&out);
    return status;
}

/* The options that exclude each other and the folder of --version. */
static bool options_fit(struct export *job, int64_t version, char *from_path) {
    const char *wrong = NULL;
    char name[64];
    struct error err;

    if ((version < 0) == (job->from == NULL)) { wrong = "expected --version or --from"; }
    if (job->to == NULL) { wrong = "expected --to FOLDER"; }
    if (job->user != NULL && job->weights != NULL) {
        wrong = "expected --user or --gate, not both";
    }
    if (job->base_name != NULL && strlen(job->base_name) >= sizeof job->adapter->base_name) {
        wrong = "--base-name is too long";
    }
    if (wrong == NULL && version >= 0) {
        (void)snprintf(name, sizeof name, "versions/%" PRId64, version); /* fits */
        if (path_join(from_path, job->context->settings->state_path, name, &err) != STATUS_OK) {
            wrong = "[state] path is too long";
        }
        job->from = from_path;
    }
    if (wrong != NULL) { (void)fprintf(stderr, "iloractl export: %s; see --help\n", wrong); }
    return wrong == NULL;
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    char from_path[FILE_PATH_BYTES_MAX];
    struct error err = {0};
    struct export job = {.context = context};
    int64_t version = options_integer(&options, "--version", -1, 0, INT64_MAX);
    job.from = options_text(&options, "--from", NULL);
    job.to = options_text(&options, "--to", NULL);
    job.user = options_text(&options, "--user", NULL);
    job.weights = options_text(&options, "--gate", NULL);
    job.base_name = options_text(&options, "--base-name", NULL);
    if (!options_end(&options, &command_export, 0, 0)) { return COMMAND_USAGE; }
    if (!options_fit(&job, version, from_path)) { return COMMAND_USAGE; }

    enum status status = export_version(&job, &err);
    if (status == STATUS_OK) { status = print_result(&job, &err); }
    peft_adapter_close(job.adapter);
    version_gate_close(job.gate);
    return status == STATUS_OK ? COMMAND_DONE : command_failed(&command_export, &err);
}
