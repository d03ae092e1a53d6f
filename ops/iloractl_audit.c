/* SPDX-License-Identifier: Apache-2.0
 *
 * iloractl_audit.c - proves from the topics alone what the daemon promises: reads, never writes,
 * and needs no daemon. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/memory.h"
#include "ops/audit.h"
#include "ops/command.h"

#define ARENA_BLOCK_BYTES (256u * 1024u)

static const char help[] =
    "usage: iloractl audit\n"
    "\n"
    "Reads the topics and checks: the ledger's hash chain holds; its runs tile the input,\n"
    "each record in exactly one, with the content that was consumed; sequence numbers have no\n"
    "gap; every output is there once; counts agree; every prediction names a version that\n"
    "exists. Exit 0: all of it holds. Exit 1: it says what does not. May run while ilorad\n"
    "runs.\n"
    "\n"
    "example: iloractl audit\n";

static int run(const struct command_context *context, int argc, char **argv);
const struct command command_audit = {"audit", "prove from the topics that nothing was lost", help,
                                      run};

void audit_problem(struct audit *audit, const char *format, ...) {
    audit->problems++;
    if (audit->problems > AUDIT_PROBLEMS_SHOWN) { return; }
    va_list arguments;
    (void)fputs("audit: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    if (audit->problems == AUDIT_PROBLEMS_SHOWN) { (void)fputs("audit: ...\n", stderr); }
}

static void print_json(const struct audit *audit, const char *chain) {
    (void)printf(
        "{\"holds\":%s,\"problems\":%" PRIu64 ",\"epochs\":%" PRIu64 ",\"first_epoch\":%" PRIu64
        ",\"last_epoch\":%" PRIu64 ",\"chain\":\"%s\""
        ",\"seq\":%" PRIu64 ",\"runs\":%zu,\"input_records\":%" PRIu64 ",\"input_trimmed\":%" PRIu64
        ",\"input_waiting\":%" PRIu64 ",\"applied\":%" PRIu64 ",\"duplicate\":%" PRIu64
        ",\"dead\":%" PRIu64 ",\"filtered\":%" PRIu64 ",\"other\":%" PRIu64
        ",\"predictions\":%" PRIu64 ",\"predictions_counted\":%" PRIu64 ",\"dead_letters\":%" PRIu64
        ",\"metrics_records\":%" PRIu64 ",\"versions\":%zu,\"owners\":%" PRIu64 "}\n",
        audit->problems == 0 ? "true" : "false", audit->problems, audit->epochs, audit->first_epoch,
        audit->last_epoch, chain, audit->seq, audit->run_count, audit->input_records,
        audit->input_trimmed, audit->input_waiting, audit->applied, audit->duplicate, audit->dead,
        audit->filtered, audit->other, audit->predictions_seen, audit->predictions,
        audit->dead_letters_seen, audit->metrics_seen, audit->version_count, audit->takeovers + 1);
}

static void print_text(const struct audit *audit, const char *chain) {
    (void)printf("ledger   %" PRIu64 " epochs (%" PRIu64 "..%" PRIu64 "), chain ends in %.16s\n",
                 audit->epochs, audit->first_epoch, audit->last_epoch, chain);
    (void)printf("input    %" PRIu64 " records in %zu runs: %" PRIu64 " applied, %" PRIu64
                 " duplicate, %" PRIu64 " dead, %" PRIu64 " filtered, %" PRIu64 " other\n",
                 audit->input_records, audit->run_count, audit->applied, audit->duplicate,
                 audit->dead, audit->filtered, audit->other);
    if (audit->input_trimmed > 0) {
        (void)printf("         %" PRIu64 " more were trimmed by retention: not checked\n",
                     audit->input_trimmed);
    }
    if (audit->input_waiting > 0) {
        (void)printf("         %" PRIu64 " wait to be consumed\n", audit->input_waiting);
    }
    (void)printf("output   %" PRIu64 " predictions, %" PRIu64 " dead letters, %" PRIu64
                 " metrics records, %" PRIu64 " manifests of %zu versions\n",
                 audit->predictions_seen, audit->dead_letters_seen, audit->metrics_seen,
                 audit->manifests_seen, audit->version_count);
    if (audit->takeovers > 0) {
        (void)printf("owners   %" PRIu64 " (states taken over or rebuilt)\n", audit->takeovers + 1);
    }
    if (audit->problems == 0) {
        (void)puts("holds: every input record once, every output once, chain and counts agree");
    } else {
        (void)printf("DOES NOT HOLD: %" PRIu64 " contradictions\n", audit->problems);
    }
}

static enum status audit_all(struct audit *audit, struct error *err) {
    enum status status = arena_init_chained(&audit->arena, ARENA_BLOCK_BYTES, err);
    if (status != STATUS_OK) { return status; }
    status = audit_ledger(audit, err);
    if (status == STATUS_NOT_FOUND) { return error_wrap(err, "no ledger yet"); }
    if (status == STATUS_OK && audit->epochs == 0) {
        return error_set(err, STATUS_NOT_FOUND, "the ledger is empty: ilorad has not run yet");
    }
    if (status == STATUS_OK) { status = audit_input(audit, err); }
    if (status == STATUS_OK) { status = audit_outputs(audit, err); }
    return status;
}

static void audit_free(struct audit *audit) {
    for (int i = 0; i < audit->start_count; i++) {
        memory_free((void *)(uintptr_t)audit->start[i].topic.data);
    }
    memory_free(audit->start);
    memory_free(audit->runs);
    memory_free(audit->versions);
    memory_free(audit->ids.slots);
    buffer_free(&audit->text);
    arena_free(&audit->arena);
    memory_free(audit);
}

static int run(const struct command_context *context, int argc, char **argv) {
    struct options options = options_of(argc, argv);
    if (!options_end(&options, &command_audit, 0, 0)) { return COMMAND_USAGE; }
    struct error err = {0};
    struct stream_access access = {0};
    struct audit *audit = memory_take_zeroed(1, sizeof *audit);
    if (audit == NULL) { return COMMAND_FAILED; }
    audit->settings = context->settings;
    enum status status = stream_access_open(context->settings, &access, &err);
    if (status == STATUS_OK) {
        int32_t partitions = 0;
        audit->stream = access.stream;
        status = stream_access_partitions(&access, STREAM_LEDGER, &partitions, &err);
    }
    if (status == STATUS_OK) { status = audit_all(audit, &err); }
    int code = COMMAND_FAILED;
    if (status != STATUS_OK) {
        code = command_failed(&command_audit, &err);
    } else {
        char chain[SHA256_BYTES * 2 + 1];
        hex_encode(audit->chain, SHA256_BYTES, chain);
        if (context->json) {
            print_json(audit, chain);
        } else {
            print_text(audit, chain);
        }
        code = audit->problems == 0 ? COMMAND_DONE : COMMAND_FAILED;
    }
    audit_free(audit);
    stream_access_close(&access);
    return code;
}
