/* SPDX-License-Identifier: Apache-2.0
 *
 * test_arena.c - alignment, limits, marks, growth and high-water marks of arenas.
 */
#include "base/arena.h"

#include "tests/support/fault.h"
#include "tests/support/unit.h"

static void pieces_are_aligned_and_do_not_overlap(void **state) {
    (void)state;
    struct arena arena;
    struct error err;
    ASSERT_OK(arena_init(&arena, 4096, &err), err);

    uint8_t *a = arena_take(&arena, 1);
    uint8_t *b = arena_take(&arena, 65);
    uint8_t *c = arena_take(&arena, 0);
    float *d = ARENA_TAKE_ARRAY(&arena, float, 16);

    assert_int_equal((uintptr_t)a % 64, 0);
    assert_ptr_equal(b, a + 64);
    assert_ptr_equal(c, b + 128);
    assert_ptr_equal((uint8_t *)(void *)d, c);
    assert_int_equal(a[0], 0);
    arena_free(&arena);
}

static void a_fixed_arena_never_grows(void **state) {
    (void)state;
    struct arena arena;
    struct error err;
    ASSERT_OK(arena_init(&arena, 100, &err), err);

    assert_null(arena_take(&arena, 101));
    assert_null(arena_take_array(&arena, SIZE_MAX / 2, 4));
    assert_null(arena_take(&arena, SIZE_MAX));
    assert_non_null(arena_take(&arena, 100));
    assert_int_equal(arena.used, 100);
    assert_null(arena_take(&arena, 1));
    assert_non_null(arena_take(&arena, 0));

    arena_reset(&arena);
    assert_non_null(arena_take(&arena, 100));
    assert_int_equal(arena.used_max, 100);
    arena_free(&arena);
}

static void release_gives_back_everything_since_the_mark(void **state) {
    (void)state;
    struct arena arena;
    struct error err;
    ASSERT_OK(arena_init(&arena, 1024, &err), err);

    (void)arena_take(&arena, 64);
    arena_mark_t mark = arena_mark(&arena);
    void *first = arena_take(&arena, 128);
    (void)arena_take(&arena, 128);
    arena_release(&arena, mark);

    assert_int_equal(arena.used, 64);
    assert_ptr_equal(arena_take(&arena, 128), first);
    assert_int_equal(arena.used_max, 320);
    arena_free(&arena);
}

static void an_arena_over_foreign_memory_never_touches_it(void **state) {
    (void)state;
    struct arena arena;

    /* An address like a device pointer: reading or writing it would crash. */
    arena_init_over(&arena, (void *)(uintptr_t)0x700000000000, 1024, 256);
    uint8_t *a = arena_take(&arena, 10);
    uint8_t *b = arena_take(&arena, 10);

    assert_int_equal((uintptr_t)a, 0x700000000000);
    assert_ptr_equal(b, a + 256);
    arena_reset(&arena);
    arena_free(&arena);
}

static void a_chained_arena_grows_and_keeps_old_pieces(void **state) {
    (void)state;
    struct arena arena;
    struct error err;
    ASSERT_OK(arena_init_chained(&arena, 128, &err), err);

    char *first = arena_take_copy(&arena, "first", 5);
    for (int i = 0; i < 100; i++) {
        char *text = arena_take_copy(&arena, "another", 7);
        assert_non_null(text);
        assert_int_equal((uintptr_t)text % 64, 0);
    }
    char *big = arena_take_zeroed(&arena, 10000);
    assert_string_equal(first, "first");
    assert_int_equal(big[9999], 0);
    assert_int_equal(arena.full_used + arena.used, 101 * 64 + 10048);
    assert_int_equal(arena.used_max, 101 * 64 + 10048);

    arena_reset(&arena);
    assert_int_equal(arena.full_used + arena.used, 0);
    assert_ptr_equal(arena_take(&arena, 10000), big);
    arena_free(&arena);
    arena_free(&arena);
}

static enum status grow_once(void *context) {
    (void)context;
    struct arena arena;
    struct error err;
    enum status status = arena_init_chained(&arena, 128, &err);
    if (status != STATUS_OK) {
        assert_string_equal(err.text, "arena block of 128 bytes");
        return status;
    }
    assert_non_null(arena_take(&arena, 128));
    void *more = arena_take(&arena, 128);
    assert_int_equal(arena.used, 128);
    arena_free(&arena);
    return more != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static void a_failed_growth_leaves_the_arena_whole(void **state) {
    (void)state;
    assert_int_equal(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, grow_once, NULL), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(a_fixed_arena_never_grows),
        cmocka_unit_test(release_gives_back_everything_since_the_mark),
        cmocka_unit_test(an_arena_over_foreign_memory_never_touches_it),
        cmocka_unit_test(a_chained_arena_grows_and_keeps_old_pieces),
        cmocka_unit_test(a_failed_growth_leaves_the_arena_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
