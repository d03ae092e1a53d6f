/* SPDX-License-Identifier: Apache-2.0
 *
 * test_paper_data.c - both kinds of folder become the samples and sequences of the protocol.
 *
 * With ILORA_DATA naming a folder that holds lastfm (LLaRA's and iLoRA's files) and ml-100k, their
 * counts are compared with what the files hold, and with 8 : 1 : 1 of MovieLens' 943 users.
 */
#include "tests/ops/paper_fixture.h"

#include <unistd.h>

#include "tests/support/fault.h"

static struct tmpdir folder;
static struct paper_split split;
static struct error err;

static int setup(void **state) {
    (void)state;
    memset(&split, 0, sizeof split);
    memset(&err, 0, sizeof err);
    tmpdir_init(&folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    paper_split_free(&split);
    tmpdir_free(&folder);
    return 0;
}

static void assert_title(uint32_t item, const char *title) {
    struct span found = split.items[item].title;
    if (!span_equal(found, span_of(title))) {
        fail_msg("title '%.*s', expected '%s'", SPAN_ARG(found), title);
    }
}

/* A sample is these names: history apart by spaces, then its target. */
static void assert_sample(const struct paper_sample *sample, const char *history,
                          const char *target) {
    struct buffer text = {0};
    for (int i = 0; i < sample->count; i++) {
        ASSERT_STATUS(buffer_append_format(&text, "%s%.*s", i > 0 ? " " : "",
                                           SPAN_ARG(split.items[sample->history[i]].name)),
                      STATUS_OK);
    }
    if (!span_equal(buffer_span(&text), span_of(history))) {
        fail_msg("history '%.*s', expected '%s'", SPAN_ARG(buffer_span(&text)), history);
    }
    assert_true(span_equal(split.items[sample->target].name, span_of(target)));
    buffer_free(&text);
}

/* ---- cut files ---- */

static void write_cut(const char *train) {
    paper_write_items(&folder, 16);
    paper_write(&folder, "train.tsv", train);
    paper_write(&folder, "valid.tsv", "history\tnext\ni1 i2 i3\ti4\ni1 i2\ti9\n");
    paper_write(&folder, "test.tsv", "history\tnext\ni5 i6 i7\ti8\n");
}

static void cut_rows_are_samples_from_three_items_on(void **state) {
    (void)state;
    write_cut("history\tnext\n\ti0\ni0\ti1\ni0 i1\ti2\ni0 i1 i2\ti3\n\ti5\ni5\ti6\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_string_equal(split.kind, "split");
    assert_int_equal(split.item_count, 16);
    assert_int_equal(split.train.count, 1);
    assert_sample(&split.train.samples[0], "i0 i1 i2", "i3");
    assert_int_equal(split.valid.count, 1);
    assert_sample(&split.valid.samples[0], "i1 i2 i3", "i4");
    assert_int_equal(split.test.count, 1);
    assert_sample(&split.test.samples[0], "i5 i6 i7", "i8");
    assert_title(7, "Title 7");
}

static void training_rows_are_put_together_to_sequences(void **state) {
    (void)state;
    write_cut("history\tnext\n\ti0\ni0\ti1\ni0 i1\ti2\ni0 i1 i2\ti3\ni0\ti5\ni0 i5\ti6\n"
              "i9 i8 i7\ti0\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_int_equal(split.sequence_count, 3);
    assert_int_equal(split.sequences[0].count, 4);
    assert_int_equal(split.sequences[1].count, 3); /* i0 begins again */
    assert_int_equal(split.sequences[2].count, 4); /* begins in the middle */
    assert_memory_equal(split.sequences[0].items, ((uint32_t[]){0, 1, 2, 3}), 16);
    assert_memory_equal(split.sequences[1].items, ((uint32_t[]){0, 5, 6}), 12);
    assert_memory_equal(split.sequences[2].items, ((uint32_t[]){9, 8, 7, 0}), 16);
}

static void sequences_go_on_beyond_the_ten_items_of_a_row(void **state) {
    (void)state;
    write_cut("history\tnext\ni0 i1 i2 i3 i4 i5 i6 i7 i8 i9\ti10\n"
              "i1 i2 i3 i4 i5 i6 i7 i8 i9 i10\ti11\n"
              "i1 i2 i3 i4 i5 i6 i7 i8 i9 i10 i11\ti12\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_int_equal(split.sequence_count, 1);
    assert_int_equal(split.sequences[0].count, 13);
    assert_int_equal(split.train.samples[2].count, PAPER_HISTORY_MAX);
    assert_sample(&split.train.samples[2], "i2 i3 i4 i5 i6 i7 i8 i9 i10 i11", "i12");
}

/* ---- RecBole ---- */

/* Ten users: user u has n items from item u on, its last at second 1000 * u. */
static void write_recbole(int users, const char *more) {
    struct buffer text = {0};
    ASSERT_STATUS(buffer_append_format(&text, "user_id:token\titem_id:token\ttimestamp:float\n"),
                  STATUS_OK);
    for (int i = 4; i >= 0; i--) { /* newest rows first: order comes from the times */
        for (int u = users - 1; u >= 0; u--) {
            ASSERT_STATUS(
                buffer_append_format(&text, "u%d\ti%d\t%d\n", u, u + i, 1000000 + 1000 * u + i),
                STATUS_OK);
        }
    }
    ASSERT_STATUS(buffer_append(&text, more, strlen(more) + 1), STATUS_OK);
    paper_write(&folder, "x.inter", (const char *)text.data);
    buffer_free(&text);
    struct buffer items = {0};
    ASSERT_STATUS(buffer_append_format(&items, "item_id:token\tmovie_title:token_seq\n"),
                  STATUS_OK);
    for (int i = 0; i < users + 6; i++) {
        ASSERT_STATUS(buffer_append_format(&items, "i%d\tTitle %d\n", i, i), STATUS_OK);
    }
    ASSERT_STATUS(buffer_append(&items, "", 1), STATUS_OK);
    paper_write(&folder, "x.item", (const char *)items.data);
    buffer_free(&items);
}

static void users_are_cut_eight_one_one_by_their_last_time(void **state) {
    (void)state;
    write_recbole(10, "");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_string_equal(split.kind, "RecBole");
    assert_int_equal(split.train.count, 16); /* 8 users, 5 items each */
    assert_int_equal(split.valid.count, 1);
    assert_int_equal(split.test.count, 1);
    assert_int_equal(split.sequence_count, 8);
    assert_sample(&split.train.samples[0], "i0 i1 i2", "i3");
    assert_sample(&split.train.samples[1], "i0 i1 i2 i3", "i4");
    assert_sample(&split.valid.samples[0], "i8 i9 i10 i11", "i12");
    assert_sample(&split.test.samples[0], "i9 i10 i11 i12", "i13");
    assert_memory_equal(split.sequences[7].items, ((uint32_t[]){7, 8, 9, 10, 11}), 20);
}

/* u0 comes back later than everybody: it is now the test user, and its early items are not in
 * training either. */
static void nothing_later_than_a_held_out_target_is_trained_on(void **state) {
    (void)state;
    write_recbole(10, "u0\ti15\t1020000\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_sample(&split.test.samples[0], "i0 i1 i2 i3 i4", "i15");
    assert_sample(&split.valid.samples[0], "i9 i10 i11 i12", "i13");
    for (int i = 0; i < split.sequence_count; i++) {
        assert_int_not_equal(split.sequences[i].items[0], 0);
    }
}

static void an_item_counts_once_a_user_at_its_first_time(void **state) {
    (void)state;
    write_recbole(10, "u9\ti10\t1020000\nu9\ti9\t1000001\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_sample(&split.test.samples[0], "i9 i10 i11 i12", "i13");
}

static void users_without_a_sample_are_not_counted(void **state) {
    (void)state;
    write_recbole(10, "a\ti1\t1\na\ti2\t2\na\ti3\t3\na\ti1\t4\nb\ti1\t2000000\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_int_equal(split.sequence_count, 8);
    assert_sample(&split.train.samples[0], "i0 i1 i2", "i3");
    assert_sample(&split.test.samples[0], "i9 i10 i11 i12", "i13");
}

static void articles_go_to_the_front_and_titles_that_read_alike_are_known(void **state) {
    (void)state;
    write_recbole(10, "");
    paper_write(&folder, "x.item",
                "item_id:token\tmovie_title:token_seq\trelease_year:token\n"
                "i0\tClient, The\t1994\ni1\tChristmas Carol, A\t1938\ni2\tThe  Client \t1990\n"
                "i3\tCity of Lost Children, The (Cite, La)\t1995\ni4\tA, B, Then\t1\ni5\t, The\t1\n"
                "i6\t6\t1\ni7\t7\t1\ni8\t8\t1\ni9\t9\t1\ni10\t10\t1\ni11\t11\t1\ni12\t12\t1\n"
                "i13\t13\t1\ni14\tClient, the\t1\n");

    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);

    assert_title(0, "The Client");
    assert_title(1, "A Christmas Carol");
    assert_title(2, "The Client");
    assert_title(3, "The City of Lost Children (Cite, La)");
    assert_title(4, "A, B, Then");
    assert_title(5, ", The");
    assert_int_equal(split.items[0].alike, 0);
    assert_int_equal(split.items[2].alike, 0);
    assert_int_equal(split.items[14].alike, 14); /* case counts */
    assert_int_equal(split.title_count, 14);
}

/* ---- the same always ---- */

static void the_order_of_rows_changes_nothing(void **state) {
    (void)state;
    struct paper_split other;
    write_recbole(10, "u0\ti15\t1020000\n");
    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);
    struct buffer file = {0};
    struct buffer turned = {0};
    ASSERT_OK(file_read(tmpdir_path(&folder, "x.inter"), 65536, &file, &err), err);
    size_t header = (size_t)((uint8_t *)memchr(file.data, '\n', file.size) - file.data) + 1;
    ASSERT_STATUS(buffer_append(&turned, file.data, header), STATUS_OK);
    size_t end = file.size; /* rows from the last to the first */
    while (end > header) {
        size_t begin = end - 1;
        while (begin > header && file.data[begin - 1] != '\n') {
            begin--;
        }
        ASSERT_STATUS(buffer_append(&turned, file.data + begin, end - begin), STATUS_OK);
        end = begin;
    }
    ASSERT_STATUS(buffer_append(&turned, "", 1), STATUS_OK);
    paper_write(&folder, "x.inter", (const char *)turned.data);

    ASSERT_OK(paper_split_read(folder.path, &other, &err), err);

    assert_int_equal(other.train.count, split.train.count);
    assert_memory_equal(other.train.samples, split.train.samples,
                        (size_t)split.train.count * sizeof *split.train.samples);
    assert_memory_equal(other.test.samples, split.test.samples, sizeof *split.test.samples);
    paper_split_free(&other);
    buffer_free(&file);
    buffer_free(&turned);
}

static void a_sample_is_known_by_what_it_holds(void **state) {
    (void)state;
    write_cut("history\tnext\ni5 i6 i7\ti8\ni5 i6 i7\ti9\ni6 i5 i7\ti8\n");
    ASSERT_OK(paper_split_read(folder.path, &split, &err), err);
    assert_true(split.train.samples[0].id == split.test.samples[0].id);
    assert_true(split.train.samples[0].id != split.train.samples[1].id);
    assert_true(split.train.samples[0].id != split.train.samples[2].id);
}

/* ---- refusals ---- */

static void assert_refused(const char *words) {
    ASSERT_STATUS(paper_split_read(folder.path, &split, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, folder.path);
    ASSERT_CONTAINS(err.text, words);
}

static void cut_files_are_refused_with_file_and_line(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"history\tnext\ni1 i2 i3\ti99\n", "train.tsv' line 2: item 'i99' is not in items.tsv"},
        {"history\tnext\n\ti1\ni1  i2\ti3\n", "line 3: item '' is not"},
        {"history\tnext\ni1 i2 i3\n", "line 2: 1 columns, expected history<TAB>next"},
        {"history\tnext\ni1 i2 i3\ti4\t5\n", "line 2: 3 columns"},
        {"history\tnext\ni1 i2 i3\ti2\n", "line 2: item 'i2' is next and in its own history"},
        {"past\tnext\ni1 i2 i3\ti4\n", "train.tsv' line 1: expected the header history<TAB>next"},
        {"", "train.tsv': no header line"},
        {"history\tnext\ni1 i2\ti3\n", "no sample for train"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_cut(cases[i][0]);
        assert_refused(cases[i][1]);
    }
}

static void items_are_refused_with_file_and_line(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"item_id\tname\ni0\tA\n", "items.tsv': line 1: expected a header with columns 'item_id'"},
        {"item_id\ttitle\ni0\tA\ni0\tB\n", "items.tsv' line 3: item 'i0' is there twice"},
        {"item_id\ttitle\ni0\t \n", "line 2: item 'i0' has no title"},
        {"item_id\ttitle\n\tA\n", "line 2: expected an item id"},
        {"item_id\ttitle\ni0\n", "line 2: 1 columns, expected 2"},
    };
    write_cut("history\tnext\ni1 i2 i3\ti4\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        paper_write(&folder, "items.tsv", cases[i][0]);
        assert_refused(cases[i][1]);
    }
}

static void titles_beyond_the_limit_are_refused(void **state) {
    (void)state;
    char text[PAPER_TITLE_BYTES + 64];
    write_cut("history\tnext\ni1 i2 i3\ti4\n");
    size_t begin = (size_t)snprintf(text, sizeof text, "item_id\ttitle\ni0\t");
    memset(text + begin, 'x', PAPER_TITLE_BYTES + 1);
    memcpy(text + begin + PAPER_TITLE_BYTES + 1, "\n", 2);
    paper_write(&folder, "items.tsv", text);
    assert_refused("line 2: title of 513 bytes, expected at most 512");
}

static void recbole_files_are_refused_with_file_and_line(void **state) {
    (void)state;
    write_recbole(10, "u1\tnone\t5\n");
    assert_refused("x.inter' line 52: item 'none' is not in the *.item file");
    write_recbole(10, "u1\ti1\tsoon\n");
    assert_refused("line 52: 'soon' is no time");
    write_recbole(4, "");
    assert_refused("no sample for valid");
    paper_write(&folder, "x.inter", "user_id:token\titem_id:token\nu\ti1\n");
    assert_refused("no column 'timestamp'");
    paper_write(&folder, "y.inter", "");
    assert_refused("2 files *.inter and 1 *.item, expected one of each");
}

static void folders_of_no_kind_or_of_both_are_refused(void **state) {
    (void)state;
    assert_refused("neither items.tsv nor *.inter, expected either");
    write_recbole(10, "");
    paper_write_items(&folder, 3);
    assert_refused("items.tsv and *.inter, expected either");
    struct error other;
    ASSERT_STATUS(paper_split_read("/does/not/exist", &split, &other), STATUS_CONFIG);
    ASSERT_CONTAINS(other.text, "/does/not/exist");
}

static void a_missing_part_is_named(void **state) {
    (void)state;
    paper_write_items(&folder, 16);
    paper_write(&folder, "train.tsv", "history\tnext\ni1 i2 i3\ti4\n");
    assert_refused("valid.tsv");
}

static enum status read_once(void *context) {
    (void)context;
    struct paper_split read;
    struct error error;
    enum status status = paper_split_read(folder.path, &read, &error);
    if (status == STATUS_OK) { paper_split_free(&read); }
    return status;
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    write_recbole(10, "");
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, read_once, NULL) > 10);
    assert_int_equal(unlink(tmpdir_path(&folder, "x.inter")), 0);
    write_cut("history\tnext\ni1 i2 i3\ti4\n");
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, read_once, NULL) > 10);
}

/* ---- the real files ---- */

static void lastfm_is_cut_as_published(void **state) {
    (void)state;
    paper_open_real("lastfm", &split);
    assert_int_equal(split.item_count, 4606);
    assert_int_equal(split.sequence_count, 976);
    assert_int_equal(split.train.count, 47872);
    assert_int_equal(split.valid.count, 122);
    assert_int_equal(split.test.count, 122);
}

static void movielens_users_are_cut_eight_one_one(void **state) {
    (void)state;
    paper_open_real("ml-100k", &split);
    assert_int_equal(split.item_count, 1682);
    assert_int_equal(split.title_count, 1659);
    assert_int_equal(split.sequence_count, 754);
    assert_int_equal(split.train.count, 70574);
    assert_int_equal(split.valid.count, 94);
    assert_int_equal(split.test.count, 95);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(cut_rows_are_samples_from_three_items_on),
        TEST(training_rows_are_put_together_to_sequences),
        TEST(sequences_go_on_beyond_the_ten_items_of_a_row),
        TEST(users_are_cut_eight_one_one_by_their_last_time),
        TEST(nothing_later_than_a_held_out_target_is_trained_on),
        TEST(an_item_counts_once_a_user_at_its_first_time),
        TEST(users_without_a_sample_are_not_counted),
        TEST(articles_go_to_the_front_and_titles_that_read_alike_are_known),
        TEST(the_order_of_rows_changes_nothing),
        TEST(a_sample_is_known_by_what_it_holds),
        TEST(cut_files_are_refused_with_file_and_line),
        TEST(items_are_refused_with_file_and_line),
        TEST(titles_beyond_the_limit_are_refused),
        TEST(recbole_files_are_refused_with_file_and_line),
        TEST(folders_of_no_kind_or_of_both_are_refused),
        TEST(a_missing_part_is_named),
        TEST(every_failed_allocation_is_reported),
        TEST(lastfm_is_cut_as_published),
        TEST(movielens_users_are_cut_eight_one_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
