/* SPDX-License-Identifier: Apache-2.0
 *
 * replay.c - runs a fuzz target over its corpus without a fuzzer: each file as it is, then with
 * seeded mutations. The same inputs every time, so a failure can be repeated.
 *
 * Argument: the folder of the corpus. Each input has its own heap piece, so that a sanitizer sees a
 * read past its end.
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"

#define INPUT_BYTES_MAX (64u * 1024u)
#define MUTATIONS       2000 /* a file; some seconds in all */
#define EDITS_MAX       6    /* a mutation */

struct replay {
    const char *folder;
    int files;
};

static enum status run(const uint8_t *bytes, size_t size, struct error *err) {
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) { return error_set(err, STATUS_NO_MEMORY, "an input of %zu bytes", size); }
    if (size > 0) { memcpy(exact, bytes, size); }
    (void)LLVMFuzzerTestOneInput(exact, size); /* always 0 */
    free(exact);
    return STATUS_OK;
}

/* One edit in place: a flipped bit, an interesting byte, a cut, or a stretch copied elsewhere. */
static size_t edit(uint8_t *bytes, size_t size, struct rng *rng) {
    static const uint8_t interesting[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '\\', '-', '9'};
    size_t at = (size_t)rng_below(rng, size);
    switch (rng_below(rng, 4)) {
    case 0: bytes[at] ^= (uint8_t)(1u << rng_below(rng, 8)); return size;
    case 1: bytes[at] = interesting[rng_below(rng, sizeof interesting)]; return size;
    case 2: return rng_below(rng, 8) == 0 ? at + 1 : size;
    default: {
        size_t from = (size_t)rng_below(rng, size);
        size_t longest = size - (at > from ? at : from);
        size_t count = (size_t)rng_below(rng, longest < 16 ? longest : 16);
        memmove(bytes + at, bytes + from, count);
        return size;
    }
    }
}

static enum status replay_file(void *context, const char *name, bool is_dir, struct error *err) {
    struct replay *replay = context;
    char path[FILE_PATH_BYTES_MAX];
    struct buffer original = {0};
    static uint8_t bytes[INPUT_BYTES_MAX];
    if (is_dir) { return STATUS_OK; }
    enum status status = path_join(path, replay->folder, name, err);
    if (status != STATUS_OK) { return status; }
    status = file_read(path, INPUT_BYTES_MAX, &original, err);
    if (status != STATUS_OK) { return status; }

    status = run(original.data, original.size, err);
    for (uint64_t i = 0; status == STATUS_OK && original.size > 0 && i < MUTATIONS; i++) {
        struct rng rng = rng_make((uint64_t)replay->files, i);
        size_t size = original.size;
        memcpy(bytes, original.data, size);
        for (uint64_t n = 1 + rng_below(&rng, EDITS_MAX); n > 0; n--) {
            size = edit(bytes, size, &rng);
        }
        status = run(bytes, size, err);
    }
    replay->files++;
    buffer_free(&original);
    return status;
}

int main(int argc, char **argv) {
    struct error err = {.text = ""};
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 64;
    }
    struct replay replay = {argv[1], 0};
    enum status status = dir_list(argv[1], replay_file, &replay, &err);
    if (status != STATUS_OK || replay.files == 0) {
        (void)fprintf(stderr, "%d files of '%s': %s\n", replay.files, argv[1], err.text);
        return 1;
    }
    (void)printf("%d files, %d mutations each\n", replay.files, MUTATIONS);
    return 0;
}
