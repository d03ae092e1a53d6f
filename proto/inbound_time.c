/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound_time.c - event times, in whatever unit or spelling they come.
 *
 * A number is recognised by its magnitude, which leaves no overlap for times between 1970 and 2200
 * except in the first hours of 1970:
 *
 *   below 1e11   seconds        (1e11 s is the year 5138)
 *   below 1e14   milliseconds   (1e11 ms is 1973)
 *   below 1e17   microseconds   (1e14 us is 1973)
 */
#include "proto/inbound_decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_BELOW      1e11
#define MILLISECONDS_BELOW 1e14
#define MICROSECONDS_BELOW 1e17
#define NUMBER_TEXT_MAX    48u

static enum timestamp_unit unit_of(double number, enum timestamp_unit unit) {
    if (unit != TIMESTAMP_AUTO) { return unit; }
    if (number < SECONDS_BELOW) { return TIMESTAMP_S; }
    return number < MILLISECONDS_BELOW ? TIMESTAMP_MS : TIMESTAMP_US;
}

bool inbound_time_number(double number, enum timestamp_unit unit, int64_t *ret_ms) {
    if (!isfinite(number) || number < 0.0 || number >= MICROSECONDS_BELOW) { return false; }

    double ms = number;
    unit = unit_of(number, unit);
    if (unit == TIMESTAMP_S) { ms = number * 1e3; }
    if (unit == TIMESTAMP_US) { ms = number / 1e3; }
    if (ms >= (double)TIME_MS_MAX) { return false; }
    *ret_ms = (int64_t)ms;
    return true;
}

bool inbound_time_integer(int64_t number, enum timestamp_unit unit, int64_t *ret_ms) {
    if (number < 0 || (double)number >= MICROSECONDS_BELOW) { return false; }

    int64_t ms = number;
    unit = unit_of((double)number, unit);
    if (unit == TIMESTAMP_S) {
        if (number >= TIME_MS_MAX / 1000) { return false; }
        ms = number * 1000;
    }
    if (unit == TIMESTAMP_US) { ms = number / 1000; }
    if (ms >= TIME_MS_MAX) { return false; }
    *ret_ms = ms;
    return true;
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

bool inbound_number_text(struct span text, double *ret_number) {
    if (text.size == 0 || text.size >= NUMBER_TEXT_MAX) { return false; }

    /* strtod reads "inf", "nan" and hexadecimal, too: only these characters may pass. */
    char copy[NUMBER_TEXT_MAX];
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!is_digit(c) && memchr("+-.eE", c, 5) == NULL) { return false; }
        copy[i] = (char)c;
    }
    copy[text.size] = '\0';

    char *end = NULL;
    double number = strtod(copy, &end);
    if (end != copy + text.size || !isfinite(number)) { return false; }
    *ret_number = number;
    return true;
}

/* ---- ISO-8601 ---- */

/* Takes exactly `count` digits off the front. */
static bool take_digits(struct span *text, int count, int *ret_number) {
    if (text->size < (size_t)count) { return false; }
    int number = 0;
    for (int i = 0; i < count; i++) {
        if (!is_digit(text->data[i])) { return false; }
        number = 10 * number + (text->data[i] - '0');
    }
    text->data += count;
    text->size -= (size_t)count;
    *ret_number = number;
    return true;
}

static bool take_character(struct span *text, char c) {
    if (text->size == 0 || text->data[0] != (uint8_t)c) { return false; }
    text->data++;
    text->size--;
    return true;
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar, counted in eras of 400 years
 * that begin in March, so that the leap day is the last one of its year. */
static int64_t days_from_date(int year, int month, int day) {
    int y = month <= 2 ? year - 1 : year;
    int era = y / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

static bool take_date(struct span *text, int64_t *ret_days) {
    static const int month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = 0;
    int month = 0;
    int day = 0;
    bool whole = take_digits(text, 4, &year) && take_character(text, '-') &&
                 take_digits(text, 2, &month) && take_character(text, '-') &&
                 take_digits(text, 2, &day);
    if (!whole || month < 1 || month > 12 || day < 1) { return false; }

    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int days = month_days[month - 1] + (month == 2 && leap ? 1 : 0);
    if (day > days) { return false; }
    *ret_days = days_from_date(year, month, day);
    return true;
}

/* "12:30", "12:30:59", "12:30:59.123456"; a fraction beyond milliseconds is cut. */
static bool take_clock(struct span *text, int64_t *ret_ms) {
    int hour = 0;
    int minute = 0;
    int second = 0;
    bool whole =
        take_digits(text, 2, &hour) && take_character(text, ':') && take_digits(text, 2, &minute);
    if (whole && take_character(text, ':')) { whole = take_digits(text, 2, &second); }
    if (!whole || hour > 24 || minute > 59 || second > 60) { return false; }

    int64_t ms = ((int64_t)hour * 60 + minute) * 60000 + (int64_t)second * 1000;
    if (take_character(text, '.') || take_character(text, ',')) {
        int scale = 100;
        if (text->size == 0 || !is_digit(text->data[0])) { return false; }
        while (text->size > 0 && is_digit(text->data[0])) {
            ms += (int64_t)(text->data[0] - '0') * scale;
            scale /= 10;
            text->data++;
            text->size--;
        }
    }
    *ret_ms = ms;
    return true;
}

/* "", "Z", "+01:00", "-0330", "+01": what must be subtracted. Nothing means UTC. */
static bool take_zone(struct span *text, int64_t *ret_ms) {
    *ret_ms = 0;
    if (text->size == 0) { return true; }
    if (take_character(text, 'Z') || take_character(text, 'z')) { return text->size == 0; }

    bool west = text->data[0] == '-';
    if (!take_character(text, '+') && !take_character(text, '-')) { return false; }
    int hours = 0;
    int minutes = 0;
    if (!take_digits(text, 2, &hours)) { return false; }
    if (text->size > 0) {
        (void)take_character(text, ':'); /* may be left out */
        if (!take_digits(text, 2, &minutes)) { return false; }
    }
    if (hours > 18 || minutes > 59 || text->size > 0) { return false; }
    int64_t ms = ((int64_t)hours * 60 + minutes) * 60000;
    *ret_ms = west ? -ms : ms;
    return true;
}

static bool iso_time(struct span text, int64_t *ret_ms) {
    int64_t days = 0;
    int64_t clock_ms = 0;
    int64_t zone_ms = 0;
    if (!take_date(&text, &days)) { return false; }
    if (text.size > 0) {
        bool parted =
            take_character(&text, 'T') || take_character(&text, 't') || take_character(&text, ' ');
        if (!parted || !take_clock(&text, &clock_ms)) { return false; }
        (void)take_character(&text, ' '); /* "12:30:00 +0100" */
        if (!take_zone(&text, &zone_ms)) { return false; }
    }
    int64_t ms = days * 86400000 + clock_ms - zone_ms;
    if (ms < 0 || ms >= TIME_MS_MAX) { return false; }
    *ret_ms = ms;
    return true;
}

bool inbound_time_text(struct span text, enum timestamp_unit unit, int64_t *ret_ms) {
    bool plain = text.size > 0 && text.size < 19; /* every such number fits 63 bits */
    int64_t integer = 0;
    for (size_t i = 0; plain && i < text.size; i++) {
        plain = is_digit(text.data[i]);
        integer = plain ? 10 * integer + (text.data[i] - '0') : 0;
    }
    if (plain) { return inbound_time_integer(integer, unit, ret_ms); }

    double number = 0.0;
    if (inbound_number_text(text, &number)) { return inbound_time_number(number, unit, ret_ms); }
    return iso_time(text, ret_ms);
}
