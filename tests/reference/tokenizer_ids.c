/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer_ids.c - token ids of many texts, for tokenizer_compare.py.
 *
 * Argument: a base model, a tokenizer.json or a GGUF file of a vocabulary alone. Standard input:
 * records of u32 size and text.
 * Standard output: for each u32 count and the ids as i32; count 0xffffffff = refused. Native byte
 * order.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/tokenizer_parts.h"

static enum status open_json(const char *path, struct tokenizer **ret_tokenizer,
                             struct error *err) {
    struct buffer text = {0};
    struct tokenizer_parts parts = {0};
    enum status status = file_read(path, TOKENIZER_JSON_BYTES_MAX, &text, err);
    if (status == STATUS_OK) { status = tokenizer_parts_of_json(buffer_span(&text), &parts, err); }
    if (status == STATUS_OK) { status = tokenizer_of_parts(&parts, ret_tokenizer, err); }
    tokenizer_parts_free(&parts);
    buffer_free(&text);
    return status;
}

/* A file with a vocabulary and no weights, too. */
static enum status open_gguf(const char *path, struct tokenizer **ret_tokenizer,
                             struct error *err) {
    struct gguf *file = NULL;
    struct tokenizer_parts parts = {0};
    enum status status = gguf_open(path, &file, err);
    if (status == STATUS_OK) { status = tokenizer_parts_of_gguf(file, &parts, err); }
    if (status == STATUS_OK) { status = tokenizer_of_parts(&parts, ret_tokenizer, err); }
    tokenizer_parts_free(&parts);
    gguf_close(file);
    return status;
}

static enum status open_model(const char *path, struct tokenizer **ret_tokenizer,
                              struct error *err) {
    struct checkpoint *checkpoint = NULL;
    enum status status = checkpoint_open(path, &checkpoint, err);
    if (status == STATUS_OK) { status = tokenizer_open(checkpoint, ret_tokenizer, err); }
    checkpoint_close(checkpoint);
    return status;
}

static double seconds_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Encodes every record; returns false when the input or output breaks. */
static bool encode_all(const struct tokenizer *tokenizer, uint8_t *text, int32_t *ids, int max) {
    struct error err;
    double seconds = 0.0;
    size_t bytes = 0;
    uint32_t size = 0;
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        int count = 0;
        if (size > TOKENIZER_TEXT_BYTES_MAX || fread(text, 1, size, stdin) != size) {
            return false;
        }
        double began = seconds_now();
        enum status status =
            tokenizer_encode(tokenizer, span_make(text, size), ids, max, &count, &err);
        seconds += seconds_now() - began;
        bytes += size;
        uint32_t shown = status == STATUS_OK ? (uint32_t)count : UINT32_MAX;
        if (fwrite(&shown, sizeof shown, 1, stdout) != 1) { return false; }
        size_t written = status == STATUS_OK ? (size_t)count : 0;
        if (fwrite(ids, sizeof *ids, written, stdout) != written) { return false; }
    }
    (void)fprintf(stderr, "%s: %zu bytes in %.3f s, %.1f MB/s on one thread\n",
                  tokenizer_kind(tokenizer), bytes, seconds, (double)bytes / seconds / 1e6);
    return true;
}

int main(int argc, char **argv) {
    struct error err = {.text = ""};
    struct tokenizer *tokenizer = NULL;
    const int max = (int)TOKENIZER_TEXT_BYTES_MAX;
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s MODEL|FILE.json|FILE.gguf < records > ids\n", argv[0]);
        return 64;
    }
    enum status status = text_ends_with(argv[1], ".json")   ? open_json(argv[1], &tokenizer, &err)
                         : text_ends_with(argv[1], ".gguf") ? open_gguf(argv[1], &tokenizer, &err)
                                                            : open_model(argv[1], &tokenizer, &err);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uint8_t *text = memory_take(TOKENIZER_TEXT_BYTES_MAX);
    int32_t *ids = memory_take((size_t)max * sizeof *ids);
    bool good = text != NULL && ids != NULL && encode_all(tokenizer, text, ids, max);
    memory_free(text);
    memory_free(ids);
    tokenizer_close(tokenizer);
    return good ? 0 : 1;
}
