/* SPDX-License-Identifier: Apache-2.0
 *
 * commit.c - one epoch, one transaction.
 *
 * Why it exists: the order of begin, outputs, ledger record, offsets and token is the protocol; it
 * stands in one place.
 * Failure: any error that the stream does not solve itself ends the process's work (exit 75); the
 * restart is the tested path.
 * Thread: core. */
#include "daemon/commit.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "daemon/ledger.h"

#define ROOM_WAIT_US 200000

static enum status publish_all(const struct commit_doors *doors, const struct epoch *epoch,
                               struct error *err) {
    struct stream *stream = doors->stream;
    for (int i = 0; i < epoch->output_count; i++) {
        struct stream_header headers[STREAM_HEADERS_MAX];
        struct stream_output output;
        epoch_output_get(epoch, i, headers, &output);
        int32_t count = doors->partitions[output.topic];
        if (output.partition >= 0 && count > 0) { output.partition %= count; }
        bool last = i + 1 == epoch->output_count; /* the ledger record */
        enum status status = last ? failpoint_pass(FAILPOINT_outputs_published, err) : STATUS_OK;
        if (status == STATUS_OK) { status = stream->ops->publish(stream, &output, err); }
        if (status == STATUS_OK) {
            status =
                failpoint_pass(last ? FAILPOINT_ledger_published : FAILPOINT_output_published, err);
        }
        if (status != STATUS_OK) {
            return error_wrap(err, "publishing to %s", stream_topic_name(output.topic));
        }
    }
    return STATUS_OK;
}

/* AGAIN from a commit: nothing was written and the outputs are kept (a full disk); the same call
 * may be made again until there is room. */
static enum status commit_until_room(const struct commit_doors *doors,
                                     const struct core_state *state, const char *token,
                                     struct error *err) {
    struct stream *stream = doors->stream;
    for (;;) {
        enum status status = stream->ops->commit(stream, state->positions, state->position_count,
                                                 token, doors->wait, doors->wait_context, err);
        if (status != STATUS_AGAIN || !doors->wait(doors->wait_context)) { return status; }
        if (doors->tell_full != NULL) { doors->tell_full(doors->wait_context, err->text); }
        clock_sleep_us(ROOM_WAIT_US);
    }
}

enum status commit_publish(const struct commit_doors *doors, const struct engine *engine,
                           struct error *err) {
    struct stream *stream = doors->stream;
    const struct core_state *state = engine_state(engine);
    enum status status = stream->ops->begin(stream, err);
    if (status != STATUS_OK) { return error_wrap(err, "epoch %" PRIu64, state->epoch); }
    status = failpoint_pass(FAILPOINT_commit_begun, err);
    if (status == STATUS_OK) { status = publish_all(doors, engine_epoch(engine), err); }
    if (status == STATUS_OK) {
        char token[STREAM_TOKEN_BYTES_MAX];
        ledger_token_write(token, doors->shard, state->epoch, state->chain);
        status = commit_until_room(doors, state, token, err);
        /* From here on a failure is no longer the transaction's: nothing is aborted. */
        if (status == STATUS_OK) { return failpoint_pass(FAILPOINT_commit_done, err); }
    }
    failpoint_mark(FAILPOINT_commit_failed);
    struct error ignored;
    (void)stream->ops->abort(stream, &ignored); /* the first failure is the one to tell */
    failpoint_mark(FAILPOINT_commit_aborted);
    return error_wrap(err, "epoch %" PRIu64, state->epoch);
}

enum status commit_refence(const struct commit_doors *doors, uint64_t epoch,
                           const uint8_t chain[SHA256_BYTES], struct error *err) {
    struct stream *stream = doors->stream;
    enum status status = stream->ops->fence(stream, doors->wait, doors->wait_context, err);
    if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_refenced, err); }
    if (status != STATUS_OK) { return status; }
    struct ledger_tail tail;
    status = ledger_read_tail(stream, doors->shard, &tail, err);
    if (status != STATUS_OK) { return status; }
    if (tail.empty || memcmp(tail.owner, doors->owner, OWNER_BYTES) != 0) {
        char owner[2 * OWNER_BYTES + 1];
        hex_encode(tail.owner, OWNER_BYTES, owner);
        return error_set(err, STATUS_FENCED, "the ledger's last owner is %s now",
                         tail.empty ? "nobody" : owner);
    }
    if (tail.epoch != epoch || memcmp(tail.chain, chain, SHA256_BYTES) != 0) {
        return error_set(err, STATUS_IO,
                         "the ledger is at epoch %" PRIu64 ", this process at %" PRIu64
                         ": starting over",
                         tail.epoch, epoch);
    }
    return failpoint_pass(FAILPOINT_refence_checked, err);
}
