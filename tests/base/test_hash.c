/* SPDX-License-Identifier: Apache-2.0
 *
 * test_hash.c - SHA-256 by FIPS 180-2's examples, XXH3 by its published values, sampling.
 */
#include "base/hash.h"

#include <math.h>

#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

static void assert_digest(const uint8_t digest[SHA256_BYTES], const char *expected) {
    char text[2 * SHA256_BYTES + 1];
    hex_encode(digest, SHA256_BYTES, text);
    assert_string_equal(text, expected);
}

#define DIGEST_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DIGEST_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define DIGEST_LONG  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"

static void known_answers_of_fips_180(void **state) {
    (void)state;
    uint8_t digest[SHA256_BYTES];

    sha256_of(span_of(""), digest);
    assert_digest(digest, DIGEST_EMPTY);
    sha256_of(span_of("abc"), digest);
    assert_digest(digest, DIGEST_ABC);
    sha256_of(span_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), digest);
    assert_digest(digest, DIGEST_LONG);
}

static void a_context_starts_again_after_finish_and_restart(void **state) {
    (void)state;
    struct sha256 *hash = NULL;
    struct error err;
    uint8_t digest[SHA256_BYTES];
    ASSERT_OK(sha256_init(&hash, &err), err);

    sha256_update(hash, "a", 1);
    sha256_update(hash, "bc", 2);
    sha256_finish(hash, digest);
    assert_digest(digest, DIGEST_ABC);
    sha256_update(hash, "abc", 3);
    sha256_finish(hash, digest);
    assert_digest(digest, DIGEST_ABC);
    sha256_update(hash, "forgotten", 9);
    sha256_restart(hash);
    sha256_finish(hash, digest);
    assert_digest(digest, DIGEST_EMPTY);
    sha256_free(hash);
    sha256_free(NULL);
}

static void a_file_hashes_like_its_bytes(void **state) {
    (void)state;
    struct tmpdir tmpdir;
    struct error err;
    uint8_t digest[SHA256_BYTES];
    tmpdir_init(&tmpdir);
    const char *path = tmpdir_path(&tmpdir, "abc");
    ASSERT_OK(file_replace(path, span_of("abc"), &err), err);

    ASSERT_OK(sha256_of_file(path, digest, &err), err);
    assert_digest(digest, DIGEST_ABC);
    ASSERT_STATUS(sha256_of_file(tmpdir_path(&tmpdir, "none"), digest, &err), STATUS_NOT_FOUND);
    ASSERT_CONTAINS(err.text, "none");
    ASSERT_STATUS(sha256_of_file(tmpdir.path, digest, &err), STATUS_IO);
    assert_digest(digest, DIGEST_ABC);
    tmpdir_free(&tmpdir);
}

static enum status hash_a_file(void *context) {
    struct error err;
    uint8_t digest[SHA256_BYTES];
    return sha256_of_file(context, digest, &err);
}

static void every_allocation_of_file_hashing_may_fail(void **state) {
    (void)state;
    struct tmpdir tmpdir;
    struct error err;
    tmpdir_init(&tmpdir);
    char path[FILE_PATH_BYTES_MAX];
    ASSERT_OK(path_join(path, tmpdir.path, "file", &err), err);
    ASSERT_OK(file_replace(path, span_of("abc"), &err), err);

    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, hash_a_file, path), 2);
    tmpdir_free(&tmpdir);
}

/* The empty input of XXH3-64 with seed 0, from xxHash's own sanity table. */
static void xxh3_is_the_published_function(void **state) {
    (void)state;
    assert_true(hash64(span_of(""), 0) == UINT64_C(0x2D06800538D394C2));
    assert_true(hash64(span_of("a"), 0) != hash64(span_of("a"), 1));
    assert_true(hash64_pair(1, 2, 3) != hash64_pair(2, 1, 3));
    uint8_t bytes[16] = {1, 0, 0, 0, 0, 0, 0, 0, 2};
    assert_true(hash64_pair(1, 2, 3) == hash64(span_make(bytes, sizeof bytes), 3));
}

/* 10,000 uniform numbers: the mean's standard deviation is 0.0029, a tenth's 0.003. */
static void sampling_by_sequence_number_is_uniform(void **state) {
    (void)state;
    double sum = 0;
    int below_tenth = 0;
    for (uint64_t seq = 1; seq <= 10000; seq++) {
        double u = hash_unit(seq, 7, 99);
        assert_true(u >= 0 && u < 1);
        sum += u;
        below_tenth += u < 0.1;
    }
    assert_true(fabs(sum / 10000 - 0.5) < 0.012);
    assert_true(below_tenth > 880 && below_tenth < 1120);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers_of_fips_180),
        cmocka_unit_test(a_context_starts_again_after_finish_and_restart),
        cmocka_unit_test(a_file_hashes_like_its_bytes),
        cmocka_unit_test(every_allocation_of_file_hashing_may_fail),
        cmocka_unit_test(xxh3_is_the_published_function),
        cmocka_unit_test(sampling_by_sequence_number_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
