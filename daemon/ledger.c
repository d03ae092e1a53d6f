/* SPDX-License-Identifier: Apache-2.0
 *
 * ledger.c - reads the chain back.
 *
 * Why it exists: after a restart the ledger says which epoch the world has seen; LMDB follows it.
 * Offsets of a Kafka partition are sparse (a commit marker takes one), so an epoch's offset is
 * found by reading from an estimate and stepping back until the record before the first one is
 * seen. Thread: core. */
#include "daemon/ledger.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_ARENA_BYTES (256u * 1024u)
#define OFFSETS_AN_EPOCH   2 /* the record and Kafka's commit marker */
#define OFFSETS_MARGIN     64

static enum status tail_sink(void *context, const struct stream_record *record, struct error *err) {
    struct ledger_tail *tail = context;
    struct arena arena;
    enum status status = arena_init_chained(&arena, RECORD_ARENA_BYTES, err);
    if (status != STATUS_OK) { return status; }
    struct epoch_record er;
    status = outbound_epoch_read(record->value, &arena, &er, err);
    if (status != STATUS_OK) {
        arena_free(&arena);
        err->code = STATUS_CORRUPT;
        return error_wrap(err, "ledger record at offset %" PRId64, record->offset);
    }
    tail->empty = false;
    tail->epoch = er.epoch;
    tail->offset = record->offset;
    tail->fold_version = er.fold_version;
    memcpy(tail->owner, er.owner, OWNER_BYTES);
    memcpy(tail->chain, er.previous, SHA256_BYTES);
    status = ledger_chain_advance(tail->chain, record->value, err);
    arena_free(&arena);
    return status;
}

enum status ledger_read_tail(struct stream *stream, int32_t shard, struct ledger_tail *ret_tail,
                             struct error *err) {
    struct ledger_tail tail;
    memset(&tail, 0, sizeof(tail));
    tail.empty = true;
    enum status status = stream->ops->tail(stream, STREAM_LEDGER, shard, tail_sink, &tail, err);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return error_wrap(err, "reading the ledger's tail");
    }
    *ret_tail = tail;
    return STATUS_OK;
}

enum status ledger_chain_advance(uint8_t chain[SHA256_BYTES], struct span record,
                                 struct error *err) {
    struct sha256 *hash;
    enum status status = sha256_init(&hash, err);
    if (status != STATUS_OK) { return status; }
    sha256_update(hash, chain, SHA256_BYTES);
    sha256_update(hash, record.data, record.size);
    sha256_finish(hash, chain);
    sha256_free(hash);
    return STATUS_OK;
}

void ledger_token_write(char token[STREAM_TOKEN_BYTES_MAX], int32_t shard, uint64_t epoch,
                        const uint8_t chain[SHA256_BYTES]) {
    char prefix[17];
    hex_encode(chain, 8, prefix);
    int size = snprintf(token, STREAM_TOKEN_BYTES_MAX, "v1:%" PRId32 ":%" PRIu64 ":%s", shard,
                        epoch, prefix);
    assert(size > 0 && size < (int)STREAM_TOKEN_BYTES_MAX);
}

/* The bytes up to the next ':' of *rest, which moves behind it. */
static struct span token_field(struct span *rest) {
    size_t size = 0;
    while (size < rest->size && rest->data[size] != ':') {
        size++;
    }
    struct span field = span_make(rest->data, size);
    size_t used = size < rest->size ? size + 1 : size;
    *rest = span_make(rest->data + used, rest->size - used);
    return field;
}

bool ledger_token_read(const char *token, int32_t shard, uint64_t *ret_epoch,
                       uint8_t ret_prefix[8]) {
    struct span rest = span_of(token);
    int64_t token_shard = -1, epoch = -1;
    char prefix[17];
    if (!span_equal(token_field(&rest), span_of("v1"))) { return false; }
    if (!span_integer(token_field(&rest), &token_shard) || token_shard != shard) { return false; }
    if (!span_integer(token_field(&rest), &epoch) || epoch < 0) { return false; }
    if (rest.size != sizeof(prefix) - 1) { return false; }
    memcpy(prefix, rest.data, sizeof(prefix) - 1);
    prefix[sizeof(prefix) - 1] = '\0';
    if (!hex_decode(prefix, ret_prefix, 8)) { return false; }
    *ret_epoch = (uint64_t)epoch;
    return true;
}

/* ---- reading a range ---- */

/* Records are collected by a read and visited after it: a visit reads other topics of the same
 * stream, and a read inside a read would lose its place. */
#define EACH_RECORDS 64

struct each {
    uint64_t next, last;
    uint8_t chain[SHA256_BYTES];
    ledger_visit visit;
    void *context;
    struct arena arena;
    uint64_t wanted;           /* next epoch to collect */
    struct buffer bytes;       /* of the records collected */
    size_t ends[EACH_RECORDS]; /* where each ends in bytes */
    int count;
    int64_t from; /* where the next read goes on */
    bool enough;  /* the read was ended because a batch is full */
};

static enum status each_sink(void *context, const struct stream_record *record, struct error *err) {
    struct each *each = context;
    struct epoch_record er;
    arena_reset(&each->arena);
    enum status status = outbound_epoch_read(record->value, &each->arena, &er, err);
    if (status != STATUS_OK) {
        err->code = STATUS_CORRUPT;
        return error_wrap(err, "ledger record at offset %" PRId64, record->offset);
    }
    if (er.epoch < each->wanted || each->wanted > each->last) { return STATUS_OK; }
    if (er.epoch != each->wanted) {
        return error_set(err, STATUS_NOT_FOUND,
                         "epoch %" PRIu64 " comes where %" PRIu64 " was expected", er.epoch,
                         each->wanted);
    }
    status = buffer_append(&each->bytes, record->value.data, record->value.size);
    if (status != STATUS_OK) { return error_set(err, status, "ledger records of an epoch"); }
    each->ends[each->count++] = each->bytes.size;
    each->wanted++;
    each->from = record->offset + 1;
    each->enough = each->count == EACH_RECORDS;
    if (!each->enough) { return STATUS_OK; }
    return error_set(err, STATUS_AGAIN, "%d ledger records are enough for now", EACH_RECORDS);
}

static enum status each_visit(struct each *each, struct error *err) {
    for (int i = 0; i < each->count; i++) {
        size_t begin = i > 0 ? each->ends[i - 1] : 0;
        struct span bytes = span_make(each->bytes.data + begin, each->ends[i] - begin);
        struct epoch_record er;
        arena_reset(&each->arena);
        enum status status = outbound_epoch_read(bytes, &each->arena, &er, err);
        if (status != STATUS_OK) { return status; } /* it was read before */
        if (memcmp(er.previous, each->chain, SHA256_BYTES) != 0) {
            return error_set(err, STATUS_CORRUPT,
                             "ledger record %" PRIu64
                             " does not continue the chain of the one before",
                             er.epoch);
        }
        status = ledger_chain_advance(each->chain, bytes, err);
        if (status != STATUS_OK) { return status; }
        status = each->visit(each->context, &er, each->chain, err);
        if (status != STATUS_OK) { return status; }
        each->next++;
    }
    return STATUS_OK;
}

/* One read and the visits of what it brought. NOT_FOUND: it began too late, or an epoch is gone. */
static enum status each_batch(struct stream *stream, int32_t shard, struct each *each,
                              int64_t first, int64_t tail_offset, struct error *err) {
    each->wanted = each->next;
    each->count = 0;
    each->enough = false;
    each->from = first;
    buffer_reset(&each->bytes);
    struct error read_err = {0};
    enum status read = stream->ops->read(stream, STREAM_LEDGER, shard, first, tail_offset,
                                         each_sink, each, &read_err);
    enum status status = each_visit(each, err);
    if (status != STATUS_OK || read == STATUS_OK || each->enough) { return status; }
    *err = read_err;
    return read;
}

static enum status each_read(struct stream *stream, int32_t shard, struct each *each,
                             int64_t held_first, int64_t tail_offset, struct error *err) {
    int64_t back = OFFSETS_AN_EPOCH * (int64_t)(each->last - each->next + 1) + OFFSETS_MARGIN;
    int64_t first = tail_offset - back;
    for (;;) {
        if (first < held_first) { first = held_first; }
        enum status status = each_batch(stream, shard, each, first, tail_offset, err);
        if (status == STATUS_OK && each->enough && each->next <= each->last) {
            first = each->from;
            continue;
        }
        if (status != STATUS_NOT_FOUND) { return status; }
        if (first == held_first) {
            err->code = STATUS_CORRUPT;
            return error_wrap(err, "the ledger no longer holds what the state needs");
        }
        back *= 4; /* too late a start: step further back */
        first = tail_offset - back;
    }
}

enum status ledger_each(struct stream *stream, int32_t shard, uint64_t first, uint64_t last,
                        int64_t tail_offset, const uint8_t chain[SHA256_BYTES], ledger_visit visit,
                        void *context, struct error *err) {
    if (first > last) { return STATUS_OK; }
    int64_t held_first, end;
    enum status status = stream->ops->bounds(stream, STREAM_LEDGER, shard, &held_first, &end, err);
    if (status != STATUS_OK) { return error_wrap(err, "reading the ledger"); }
    struct each each = {.next = first, .last = last, .visit = visit, .context = context};
    memcpy(each.chain, chain, SHA256_BYTES);
    status = arena_init_chained(&each.arena, RECORD_ARENA_BYTES, err);
    if (status != STATUS_OK) { return status; }
    status = each_read(stream, shard, &each, held_first, tail_offset, err);
    arena_free(&each.arena);
    buffer_free(&each.bytes);
    if (status != STATUS_OK) { return status; }
    if (each.next != last + 1) {
        return error_set(err, STATUS_CORRUPT,
                         "the ledger ends at epoch %" PRIu64 ", epoch %" PRIu64 " was expected",
                         each.next - 1, last);
    }
    return STATUS_OK;
}
