/* SPDX-License-Identifier: Apache-2.0
 *
 * test_paper_candidates.c - the pinned lists of 20, their digest, and answers matched to them.
 */
#include "tests/ops/paper_fixture.h"

#include "ops/paper/candidates.h"
#include "tests/support/fault.h"

#define SAMPLES 400
#define ITEMS   40

static struct tmpdir folder;
static struct paper_split split;
static struct error err;

/* 400 training samples over 40 items; items 38 and 39 read alike. */
static void write_folder(int items) {
    struct buffer text = {0};
    paper_write_items(&folder, items);
    ASSERT_STATUS(buffer_append_format(&text, "history\tnext\n"), STATUS_OK);
    for (int i = 0; i < SAMPLES; i++) {
        int step = 1 + i % 3;
        ASSERT_STATUS(buffer_append_format(&text, "i%d i%d i%d\ti%d\n", i % items,
                                           (i + step) % items, (i + 2 * step) % items,
                                           (i + 4 * step + i / items) % items),
                      STATUS_OK);
    }
    ASSERT_STATUS(buffer_append(&text, "", 1), STATUS_OK);
    paper_write(&folder, "train.tsv", (const char *)text.data);
    paper_write(&folder, "valid.tsv", "history\tnext\ni1 i2 i3\ti4\n");
    paper_write(&folder, "test.tsv", "history\tnext\ni5 i6 i7\ti8\n");
    buffer_free(&text);
}

static int group_setup(void **state) {
    (void)state;
    tmpdir_init(&folder);
    write_folder(ITEMS);
    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);
    split.items[39].alike = 38;
    split.title_count = ITEMS - 1;
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    paper_split_free(&split);
    tmpdir_free(&folder);
    return 0;
}

static struct paper_candidates draw(uint64_t seed, const struct paper_sample *sample) {
    struct paper_candidates list;
    ASSERT_OK(paper_candidates_draw(&split, seed, sample, &list, &err), err);
    return list;
}

static void lists_hold_the_target_and_nineteen_unseen_distinct_items(void **state) {
    (void)state;
    for (int s = 0; s < split.train.count; s++) {
        const struct paper_sample *sample = &split.train.samples[s];
        struct paper_candidates list = draw(7, sample);
        assert_int_equal(list.items[list.target_at], sample->target);
        for (int i = 0; i < PAPER_CANDIDATES; i++) {
            uint32_t alike = split.items[list.items[i]].alike;
            assert_true(list.items[i] < (uint32_t)split.item_count);
            for (int j = 0; j < i; j++) {
                assert_int_not_equal(split.items[list.items[j]].alike, alike);
            }
            for (int h = 0; h < sample->count; h++) {
                assert_int_not_equal(split.items[sample->history[h]].alike, alike);
            }
        }
    }
}

static void lists_depend_on_seed_and_sample_alone(void **state) {
    (void)state;
    struct paper_candidates first = draw(7, &split.train.samples[3]);
    struct paper_sample copy = split.train.samples[3];
    (void)draw(7, &split.train.samples[4]);
    struct paper_candidates again = draw(7, &copy);
    struct paper_candidates other_seed = draw(8, &copy);
    struct paper_candidates other_sample = draw(7, &split.train.samples[4]);
    assert_memory_equal(&first, &again, sizeof first);
    assert_memory_not_equal(&first, &other_seed, sizeof first);
    assert_memory_not_equal(&first, &other_sample, sizeof first);
}

/* 8,000 lists of 20 places: each place 400 +- 4 standard deviations (19.5). */
static void the_target_stands_everywhere_alike(void **state) {
    (void)state;
    int counts[PAPER_CANDIDATES] = {0};
    for (uint64_t seed = 0; seed < 8000; seed++) {
        counts[draw(seed, &split.test.samples[0]).target_at]++;
    }
    for (int i = 0; i < PAPER_CANDIDATES; i++) {
        assert_in_range(counts[i], 400 - 78, 400 + 78);
    }
}

/* 2,000 lists take 19 of 35 free items (i39 and i38 share their places): 1,086 +- 4 * 22. */
static void unseen_items_are_drawn_alike(void **state) {
    (void)state;
    int counts[ITEMS] = {0};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct paper_candidates list = draw(seed, &split.test.samples[0]);
        for (int i = 0; i < PAPER_CANDIDATES; i++) {
            counts[list.items[i]]++;
        }
    }
    for (int i = 0; i < 38; i++) {
        if (i >= 5 && i <= 8) { continue; } /* history and target */
        assert_in_range(counts[i], 960, 1180);
    }
}

/* The list of one sample, written down when this was made: lists must not change by release. */
static void lists_stay_as_they_were(void **state) {
    (void)state;
    static const uint32_t expected[PAPER_CANDIDATES] = {23, 13, 21, 2, 20, 34, 14, 33, 1,  4,
                                                        36, 15, 26, 3, 19, 8,  16, 25, 17, 22};
    struct paper_candidates list = draw(1, &split.test.samples[0]);
    assert_memory_equal(list.items, expected, sizeof expected);
}

static void small_catalogues_are_refused(void **state) {
    (void)state;
    struct paper_candidates list;
    struct paper_split small = split;
    small.title_count = 29;
    ASSERT_STATUS(paper_candidates_draw(&small, 1, &split.test.samples[0], &list, &err),
                  STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "29 distinct titles, expected at least 30");
    small.title_count = 30;
    ASSERT_OK(paper_candidates_draw(&small, 1, &split.test.samples[0], &list, &err), err);
}

/* ---- digest ---- */

static void digest(uint64_t seed, const struct paper_sample *samples, int count,
                   char ret_text[PAPER_DIGEST_BYTES_TEXT]) {
    ASSERT_OK(paper_candidates_digest(&split, seed, samples, count, ret_text, &err), err);
}

static void the_digest_knows_seed_and_samples_but_no_order(void **state) {
    (void)state;
    struct paper_sample turned[SAMPLES];
    char whole[PAPER_DIGEST_BYTES_TEXT];
    char other[PAPER_DIGEST_BYTES_TEXT];
    int count = split.train.count;
    for (int i = 0; i < count; i++) {
        turned[i] = split.train.samples[count - 1 - i];
    }
    digest(7, split.train.samples, count, whole);
    assert_int_equal(strlen(whole), 64);
    digest(7, turned, count, other);
    assert_string_equal(whole, other);
    digest(8, split.train.samples, count, other);
    assert_string_not_equal(whole, other);
    digest(7, split.train.samples, count - 1, other);
    assert_string_not_equal(whole, other);
    digest(7, NULL, 0, other); /* SHA-256 of nothing */
    assert_string_equal(other, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static enum status digest_once(void *context) {
    (void)context;
    char text[PAPER_DIGEST_BYTES_TEXT];
    struct error error;
    return paper_candidates_digest(&split, 7, split.train.samples, 9, text, &error);
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, digest_once, NULL) >= 2);
}

/* ---- answers ---- */

/* The list i0, i1, ..., i19, with titles of our own for the first three. */
static void answers_name_a_candidate_by_either_rule(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int whole, published;
    } cases[] = {
        {"Alien", 0, 0},
        {" Alien \nAnd more", 0, 0},
        {"\n\nAlien", 0, 0},
        {"alien", -1, 0},
        {"The answer is Alien.", -1, 0},
        {"Aliens", 1, -1}, /* holds "Alien" too: invalid as published */
        {"Heat or Alien", -1, -1},
        {"Heat", 2, 2},
        {"heaT!", -1, 2},
        {"Title 5", 5, 5},
        {"Title 12", 12, 12},
        {"", -1, -1},
        {"Ali", -1, -1},
        {"Title 30", -1, -1}, /* not in this list */
    };
    static const char *const names[] = {"Alien", "Aliens", "Heat", "Up"};
    struct paper_item items[ITEMS];
    struct paper_split renamed = split;
    struct paper_candidates list = {.target_at = 0};
    memcpy(items, split.items, sizeof items);
    renamed.items = items;
    for (uint32_t i = 0; i < PAPER_CANDIDATES; i++) {
        list.items[i] = i;
        if (i < 4) { items[i].title = span_of(names[i]); }
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct span text = span_of(cases[i].text);
        assert_int_equal(paper_candidates_named(&renamed, &list, text, PAPER_MATCH_WHOLE),
                         cases[i].whole);
        assert_int_equal(paper_candidates_named(&renamed, &list, text, PAPER_MATCH_PUBLISHED),
                         cases[i].published);
    }
}

/* ---- the real files ---- */

static void real_lists_hold_what_they_must(void **state) {
    (void)state;
    static const char *const names[] = {"lastfm", "ml-100k"};
    for (int n = 0; n < 2; n++) {
        struct paper_split real;
        paper_open_real(names[n], &real);
        for (int s = 0; s < real.test.count; s++) {
            const struct paper_sample *sample = &real.test.samples[s];
            struct paper_candidates list;
            ASSERT_OK(paper_candidates_draw(&real, 1, sample, &list, &err), err);
            assert_int_equal(list.items[list.target_at], sample->target);
            struct span title = real.items[sample->target].title;
            assert_int_equal(paper_candidates_named(&real, &list, title, PAPER_MATCH_WHOLE),
                             list.target_at);
        }
        paper_split_free(&real);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_hold_the_target_and_nineteen_unseen_distinct_items),
        cmocka_unit_test(lists_depend_on_seed_and_sample_alone),
        cmocka_unit_test(the_target_stands_everywhere_alike),
        cmocka_unit_test(unseen_items_are_drawn_alike),
        cmocka_unit_test(lists_stay_as_they_were),
        cmocka_unit_test(small_catalogues_are_refused),
        cmocka_unit_test(the_digest_knows_seed_and_samples_but_no_order),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(answers_name_a_candidate_by_either_rule),
        cmocka_unit_test(real_lists_hold_what_they_must),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
