/* SPDX-License-Identifier: Apache-2.0
 *
 * test_counters.c - counts, decay, co-visitation and their file. */
#include <math.h>
#include <stdio.h>

#include "base/rng.h"
#include "model/counters.h"
#include "tests/model/learner_fixture.h"
#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"
#include "tests/support/unit.h"

static const struct counters_settings small = {
    .items_max = 100, .neighbours_max = 3, .span = 2, .half_life = 10};

static struct counters *make(const struct counters_settings *settings) {
    struct counters *counters = NULL;
    struct error err;

    ASSERT_OK(counters_new(settings, &counters, &err), err);
    return counters;
}

static void add(struct counters *counters, const uint32_t *window, int count, uint32_t item,
                uint64_t seq) {
    struct error err;

    ASSERT_OK(counters_add(counters, window, count, item, seq, &err), err);
}

/* Random walks, so that rows overflow. */
static void fill(struct counters *counters, uint64_t seed) {
    struct rng rng = rng_make(seed, 1);
    uint32_t window[200];

    for (int n = 0; n < 200; n++) {
        window[n] = (uint32_t)rng_below(&rng, 40);
        add(counters, window, n, window[n], (uint64_t)n + 1);
    }
}

static void cosine_is_pairs_over_root_of_events(void **state) {
    struct counters *counters = make(&small);
    const uint32_t window[] = {7, 1, 2};
    float scores[4], some[2];
    const uint32_t candidates[2] = {3, 0};

    (void)state;
    add(counters, NULL, 0, 1, 1);
    add(counters, window + 1, 1, 2, 2);
    add(counters, window, 3, 3, 3); /* span 2: pairs with 1 and 2, not with 7 */
    add(counters, NULL, 0, 3, 4);
    counters_covisitation(counters, window + 1, 2, 5, scores, 4);
    counters_covisitation_at(counters, window + 1, 2, 5, candidates, 2, some);

    assert_true(fabsf(scores[3] - 2 / sqrtf(2)) < 1e-6F);
    assert_true(scores[0] == 0.0F);
    assert_true(fabsf(scores[2] - 1) < 1e-6F);
    assert_true(some[0] == scores[3] && some[1] == 0.0F);
    assert_int_equal(counters_popularity(counters, 3), 2);
    assert_int_equal(counters_popularity(counters, 99), 0);
    assert_int_equal(counters_items(counters), 4);
    counters_free(counters);
}

static void history_span_takes_the_newest(void **state) {
    struct counters *counters = make(&small);
    const uint32_t window[] = {1}, history[] = {1, 9};
    float scores[10];

    (void)state;
    add(counters, NULL, 0, 1, 1);
    add(counters, window, 1, 2, 2);
    add(counters, NULL, 0, 9, 3);
    counters_covisitation(counters, history, 2, 1, scores, 10);
    assert_true(scores[2] == 0.0F);
    counters_covisitation(counters, history, 2, 2, scores, 10);
    assert_true(scores[2] > 0.9F);
    counters_free(counters);
}

static void a_full_row_replaces_the_smallest_count_and_inherits_it(void **state) {
    struct counters *counters = make(&small);
    const uint32_t zero[] = {0};
    float scores[6];

    (void)state;
    add(counters, NULL, 0, 0, 1);
    for (uint64_t n = 0; n < 2; n++) {
        add(counters, zero, 1, 1, 2 + 3 * n);
        add(counters, zero, 1, 2, 3 + 3 * n);
        add(counters, zero, 1, 3, 4 + 3 * n);
    }
    add(counters, zero, 1, 3, 9);
    add(counters, zero, 1, 5, 10); /* 1 and 2 have 2 each: 1 goes, 5 stands at 3 */
    counters_covisitation(counters, zero, 1, 5, scores, 6);

    assert_true(scores[1] == 0.0F);
    assert_true(fabsf(scores[2] - 2 / sqrtf(2)) < 1e-6F);
    assert_true(fabsf(scores[5] - 3) < 1e-6F);
    counters_free(counters);
}

static void decayed_popularity_halves_every_half_life(void **state) {
    struct counters *counters = make(&small);

    (void)state;
    add(counters, NULL, 0, 4, 100);
    add(counters, NULL, 0, 4, 110);

    assert_true(fabs(counters_decayed(counters, 4, 110) - 1.5) < 1e-9);
    assert_true(fabs(counters_decayed(counters, 4, 120) - 0.75) < 1e-9);
    assert_true(fabs((double)counters_decayed_log(counters, 4, 120) - log(0.75)) < 1e-6);
    assert_true((double)counters_decayed_log(counters, 3, 120) == DECAYED_LOG_FLOOR);
    assert_true(counters_decayed(counters, 50, 120) == 0);
    counters_free(counters);
}

static void decay_does_not_overflow_after_years(void **state) {
    struct counters *counters = make(&small);

    (void)state;
    for (uint64_t n = 0; n < 5; n++) {
        add(counters, NULL, 0, 4, 1000000000000u + n);
    }
    double value = counters_decayed(counters, 4, 1000000000004u);
    assert_true(value > 4 && value < 5);
    counters_free(counters);
}

static void a_saved_file_loads_to_the_same_bytes(void **state) {
    struct counters *a = make(&small), *b = make(&small), *c = make(&small);
    struct tmpdir tmp;
    struct error err;

    (void)state;
    tmpdir_init(&tmp);
    fill(a, 1);
    fill(b, 2);
    ASSERT_OK(counters_save(a, tmpdir_path(&tmp, "a"), &err), err);
    ASSERT_OK(counters_load(b, tmpdir_path(&tmp, "a"), &err), err);
    ASSERT_OK(counters_copy(c, a, &err), err);
    const uint32_t window[] = {3, 5};
    add(b, window, 2, 17, 300);
    add(c, window, 2, 17, 300);
    ASSERT_OK(counters_save(b, tmpdir_path(&tmp, "b"), &err), err);
    ASSERT_OK(counters_save(c, tmpdir_path(&tmp, "c"), &err), err);

    assert_same_file(tmp.path, tmp.path, "a");
    char path[FILE_PATH_BYTES_MAX];
    struct buffer first = {0}, second = {0};
    ASSERT_OK(path_join(path, tmp.path, "b", &err), err);
    ASSERT_OK(file_read(path, 1u << 20, &first, &err), err);
    ASSERT_OK(path_join(path, tmp.path, "c", &err), err);
    ASSERT_OK(file_read(path, 1u << 20, &second, &err), err);
    assert_true(span_equal(buffer_span(&first), buffer_span(&second)));
    buffer_free(&first);
    buffer_free(&second);
    counters_free(a);
    counters_free(b);
    counters_free(c);
    tmpdir_free(&tmp);
}

static void every_changed_byte_is_found(void **state) {
    struct counters *counters = make(&small);
    struct buffer bytes = {0};
    struct tmpdir tmp;
    struct error err;

    (void)state;
    tmpdir_init(&tmp);
    fill(counters, 1);
    ASSERT_OK(counters_save(counters, tmpdir_path(&tmp, "f"), &err), err);
    ASSERT_OK(file_read(tmpdir_path(&tmp, "f"), 1u << 20, &bytes, &err), err);
    for (size_t at = 0; at < bytes.size; at += 37) {
        bytes.data[at] ^= 0x10;
        struct span piece = buffer_span(&bytes);
        ASSERT_OK(file_write(tmpdir_path(&tmp, "g"), &piece, 1, &err), err);
        ASSERT_STATUS(counters_load(counters, tmpdir_path(&tmp, "g"), &err), STATUS_CORRUPT);
        bytes.data[at] ^= 0x10;
    }
    struct span cut = span_make(bytes.data, bytes.size - 9);
    ASSERT_OK(file_write(tmpdir_path(&tmp, "g"), &cut, 1, &err), err);
    ASSERT_STATUS(counters_load(counters, tmpdir_path(&tmp, "g"), &err), STATUS_CORRUPT);

    assert_int_equal(counters_items(counters), 40); /* unchanged by all that */
    buffer_free(&bytes);
    counters_free(counters);
    tmpdir_free(&tmp);
}

static void an_item_beyond_the_limit_is_refused(void **state) {
    struct counters *counters = make(&small);
    struct error err;

    (void)state;
    ASSERT_STATUS(counters_add(counters, NULL, 0, 100, 1, &err), STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, "100");
    counters_free(counters);
}

static enum status count_and_copy(void *context) {
    const uint32_t window[] = {1, 2};
    struct counters *counters = NULL, *copy = NULL;
    struct error err;

    (void)context;
    enum status status = counters_new(&small, &counters, &err);
    if (status == STATUS_OK) { status = counters_add(counters, window, 2, 3, 1, &err); }
    if (status == STATUS_OK) { status = counters_add(counters, window, 2, 2, 2, &err); }
    if (status == STATUS_OK) { status = counters_new(&small, &copy, &err); }
    if (status == STATUS_OK) { status = counters_copy(copy, counters, &err); }
    counters_free(counters);
    counters_free(copy);
    return status;
}

static void every_failed_allocation_is_no_memory(void **state) {
    (void)state;
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, count_and_copy, NULL) > 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosine_is_pairs_over_root_of_events),
        cmocka_unit_test(history_span_takes_the_newest),
        cmocka_unit_test(a_full_row_replaces_the_smallest_count_and_inherits_it),
        cmocka_unit_test(decayed_popularity_halves_every_half_life),
        cmocka_unit_test(decay_does_not_overflow_after_years),
        cmocka_unit_test(a_saved_file_loads_to_the_same_bytes),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(an_item_beyond_the_limit_is_refused),
        cmocka_unit_test(every_failed_allocation_is_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
