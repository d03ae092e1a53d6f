/* SPDX-License-Identifier: Apache-2.0
 *
 * test_terminal.c - the live view's charts and tables, options, and lines. */
#include "ops/terminal.h"

#include <math.h>
#include <unistd.h>

#include "ops/command.h"
#include "ops/lines.h"
#include "tests/support/unit.h"

static const struct command some_command = {"some", "summary", "help\n", NULL};

static void assert_buffer(struct buffer *buffer, const char *text) {
    assert_int_equal(buffer_append(buffer, "", 1), STATUS_OK);
    assert_string_equal((char *)buffer->data, text);
    buffer_free(buffer);
}

static void a_chart_grows_from_the_right(void **state) {
    (void)state;
    struct chart chart = {0};
    struct buffer out = {0};
    chart_add(&chart, 0.0);
    chart_add(&chart, 7.0);

    assert_int_equal(chart_draw(&chart, 4, &out), STATUS_OK);

    assert_buffer(&out, "  ▁█");
}

static void many_points_share_a_column_and_gaps_are_blank(void **state) {
    (void)state;
    struct chart chart = {0};
    struct buffer out = {0};
    const double points[] = {0.0, 0.0, (double)NAN, (double)NAN, 8.0, 8.0};
    for (int i = 0; i < 6; i++) {
        chart_add(&chart, points[i]);
    }

    assert_int_equal(chart_draw(&chart, 3, &out), STATUS_OK);

    assert_buffer(&out, "▁ █");
}

static void a_full_chart_drops_the_oldest(void **state) {
    (void)state;
    struct chart chart = {0};
    for (int i = 0; i < CHART_POINTS_MAX + 5; i++) {
        chart_add(&chart, (double)i);
    }

    assert_int_equal(chart.count, CHART_POINTS_MAX);
    assert_true(chart.points[0] == 5.0);
}

static void the_table_shows_models_that_have_figures(void **state) {
    (void)state;
    static const char text[] =
        "{\"state\":\"running\",\"applied\":1234,\"seq\":1234,\"learner_seq\":1200,"
        "\"learning\":{\"lm_rate\":0.5,\"expert_weight\":[0.25,0.75]},\"figures\":["
        "{\"model\":\"fast\",\"kind\":\"candidates\",\"slice\":\"all\",\"count\":90,\"hit_1\":0.43}"
        ","
        "{\"model\":\"fast\",\"kind\":\"catalogue\",\"slice\":\"all\",\"count\":90,"
        "\"hit_10\":0.1472}]}";
    struct json_value *status = NULL;
    struct buffer out = {0};
    struct error err = {0};
    ASSERT_OK(json_parse(span_of(text), &status, &err), err);

    assert_int_equal(terminal_status(status, false, &out), STATUS_OK);

    assert_int_equal(buffer_append(&out, "", 1), STATUS_OK);
    ASSERT_CONTAINS((char *)out.data, "running");
    ASSERT_CONTAINS((char *)out.data, "fast stack");
    ASSERT_CONTAINS((char *)out.data, "0.4300    0.1472");
    ASSERT_CONTAINS((char *)out.data, "34 events behind");
    ASSERT_CONTAINS((char *)out.data, "gate: 0.25 0.75");
    assert_null(strstr((char *)out.data, "SASRec alone"));
    buffer_free(&out);
    json_free(status);
}

static void options_are_taken_wherever_they_stand(void **state) {
    (void)state;
    char word[] = "word", max[] = "--max", five[] = "5", rate[] = "--rate=2.5", raw[] = "--raw";
    char *argv[] = {word, max, five, rate, raw};
    struct options options = options_of(5, argv);

    assert_int_equal(options_integer(&options, "--max", 1, 1, 10), 5);
    assert_true(options_real(&options, "--rate", 0.0, 0.0, 10.0) == 2.5);
    assert_true(options_flag(&options, "--raw"));
    assert_false(options_flag(&options, "--raw"));
    assert_true(options_end(&options, &some_command, 1, 1));
    assert_string_equal(options.words[0], "word");
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    char max[] = "--max", many[] = "many", other[] = "--other";
    char *bad_value[] = {max, many};
    char *unknown[] = {other};
    struct options options = options_of(2, bad_value);

    assert_int_equal(options_integer(&options, "--max", 7, 1, 10), 7);
    assert_false(options_end(&options, &some_command, 0, 0));
    options = options_of(1, unknown);
    assert_false(options_end(&options, &some_command, 0, 1));
    options = options_of(1, bad_value); /* the value is missing */
    assert_null(options_text(&options, "--max", NULL));
    assert_false(options_end(&options, &some_command, 0, 0));
}

static void lines_come_whole_and_the_last_needs_no_newline(void **state) {
    (void)state;
    int ends[2];
    struct lines lines;
    struct span line;
    struct error err = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "one\r\ntw", 7), 7);
    lines_init(&lines, ends[0]);

    ASSERT_OK(lines_next(&lines, 1000, &line, &err), err);
    assert_true(span_equal(line, span_of("one")));
    ASSERT_STATUS(lines_next(&lines, 10, &line, &err), STATUS_AGAIN);
    assert_int_equal(write(ends[1], "o", 1), 1);
    assert_int_equal(close(ends[1]), 0);
    ASSERT_OK(lines_next(&lines, -1, &line, &err), err);
    assert_true(span_equal(line, span_of("two")));
    ASSERT_STATUS(lines_next(&lines, -1, &line, &err), STATUS_NOT_FOUND);
    assert_int_equal(lines.number, 2);

    lines_free(&lines);
    assert_int_equal(close(ends[0]), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chart_grows_from_the_right),
        cmocka_unit_test(many_points_share_a_column_and_gaps_are_blank),
        cmocka_unit_test(a_full_chart_drops_the_oldest),
        cmocka_unit_test(the_table_shows_models_that_have_figures),
        cmocka_unit_test(options_are_taken_wherever_they_stand),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(lines_come_whole_and_the_last_needs_no_newline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
