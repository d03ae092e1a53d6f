/* SPDX-License-Identifier: Apache-2.0
 *
 * test_rng.c - Philox against the known answers of Random123, and the shape of the distributions.
 */
#include "base/rng.h"

#include <math.h>

#include "tests/support/unit.h"

/* kat_vectors of Random123 1.x: "philox4x32 10", counter, key, expected. */
static void philox_gives_the_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t block[4];
        philox4x32(vectors[i].counter, vectors[i].key, block);
        assert_memory_equal(block, vectors[i].expected, sizeof block);
    }
}

static void a_number_is_a_function_of_seed_stream_and_index(void **state) {
    (void)state;
    struct rng a = rng_make(1, 2);
    struct rng b = rng_make(1, 2);
    struct rng other_stream = rng_make(1, 3);
    struct rng other_seed = rng_make(2, 2);

    uint64_t first = rng_u64(&a);
    uint64_t second = rng_u64(&a);
    b.index = 1;
    assert_true(rng_u64(&b) == second);
    assert_true(first != second);
    assert_true(rng_u64(&other_stream) != first);
    assert_true(rng_u64(&other_seed) != first);

    struct rng zero = rng_make(0, 0);
    assert_true(rng_u64(&zero) == UINT64_C(0xe169c58d6627e8d5));
}

/* 7 cells, 70,000 draws: chi-square with 6 degrees of freedom exceeds 22.5 once in a thousand. */
static void below_is_uniform_and_in_range(void **state) {
    (void)state;
    struct rng rng = rng_make(42, 0);
    int cells[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t n = rng_below(&rng, 7);
        assert_true(n < 7);
        cells[n]++;
    }
    double chi_square = 0;
    for (int i = 0; i < 7; i++) {
        chi_square += (cells[i] - 10000.0) * (cells[i] - 10000.0) / 10000.0;
    }
    assert_true(chi_square < 22.5);
    assert_true(rng_below(&rng, 1) == 0);

    /* A bound just above 2^63 is rejected about every second time. */
    uint64_t before = rng.index;
    for (int i = 0; i < 1000; i++) {
        assert_true(rng_below(&rng, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
    assert_true(rng.index - before > 1700);
}

static void unit_and_normal_have_their_moments(void **state) {
    (void)state;
    struct rng rng = rng_make(7, 9);
    double unit_sum = 0;
    double sum = 0;
    double square_sum = 0;
    double fourth_sum = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        double u = rng_unit(&rng);
        assert_true(u >= 0 && u < 1);
        unit_sum += u;

        double x = rng_normal(&rng);
        assert_true(isfinite(x));
        sum += x;
        square_sum += x * x;
        fourth_sum += x * x * x * x;
    }
    assert_true(fabs(unit_sum / n - 0.5) < 0.004);
    assert_true(fabs(sum / n) < 0.013);
    assert_true(fabs(square_sum / n - 1) < 0.02);
    assert_true(fabs(fourth_sum / n - 3) < 0.15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(a_number_is_a_function_of_seed_stream_and_index),
        cmocka_unit_test(below_is_uniform_and_in_range),
        cmocka_unit_test(unit_and_normal_have_their_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
