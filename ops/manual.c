/* SPDX-License-Identifier: Apache-2.0
 *
 * manual.c - one paragraph a setting: sentence, type, range, default, and when it takes effect. */
#include "ops/manual.h"

#include <string.h>

static const char head[] =
    ".TH ILORAD.CONF 5 \"\" \"ilorad " ILORA_VERSION "\" \"File Formats\"\n"
    ".SH NAME\n"
    "ilorad.conf \\- settings of ilorad\n"
    ".SH SYNOPSIS\n"
    "/etc/ilorad/ilorad.conf\n"
    ".SH DESCRIPTION\n"
    "An INI file: sections in brackets, key = value, comments after # or ;. A later source wins:\n"
    "defaults, the file, the environment (ILORAD_SECTION_KEY), \\-\\-set section.key=value. An\n"
    "unknown key, a wrong type or a value out of range ends the start with exit 78 and one line\n"
    "that names file, line, key and what is allowed.\n"
    ".PP\n"
    "Durations are written with their unit (200 ms, 30 s, 5 min, 1 h), sizes likewise (64 MiB,\n"
    "1 GB). Secrets (http.token, and sasl.username, sasl.password, ssl.key.password,\n"
    "ssl.keystore.password of the broker) are files of these names in $CREDENTIALS_DIRECTORY; see\n"
    "LoadCredential= in\n"
    ".BR systemd.exec (5).\n"
    ".PP\n"
    "In [kafka], other properties of librdkafka pass through, except those that load code, run\n"
    "commands or would break the protocol. In [events], weight.TYPE = x weights an event type and\n"
    "field.user, field.item, field.time, field.title name further JSON fields.\n";

static const char tail[] = ".SH SEE ALSO\n"
                           ".BR ilorad (8),\n"
                           ".BR iloractl (1)\n";

/* Text with the characters roff would act on escaped. */
static enum status roff_text(struct buffer *out, const char *text) {
    enum status status = STATUS_OK;
    for (const char *c = text; *c != '\0' && status == STATUS_OK; c++) {
        const char *written = *c == '\\' ? "\\e" : *c == '-' ? "\\-" : NULL;
        if (written != NULL) {
            status = buffer_append(out, written, 2);
        } else {
            status = buffer_append(out, c, 1);
        }
    }
    return status;
}

static enum status range_text(struct buffer *out, const struct setting *setting) {
    switch (setting->type) {
    case SETTING_BOOL: return buffer_append_format(out, "yes or no");
    case SETTING_CHOICE: {
        enum status status = STATUS_OK;
        for (const char *c = setting->choices; *c != '\0' && status == STATUS_OK; c++) {
            status = *c == '|' ? buffer_append(out, ", ", 2) : buffer_append(out, c, 1);
        }
        return status;
    }
    case SETTING_INTEGER:
        return buffer_append_format(out, "%.0f to %.0f %s", setting->minimum, setting->maximum,
                                    setting->unit);
    case SETTING_REAL:
        return buffer_append_format(out, "%g to %g %s", setting->minimum, setting->maximum,
                                    setting->unit);
    case SETTING_DURATION:
        return buffer_append_format(out, "%g s to %g s; a bare number is in %s",
                                    setting->minimum / 1e6, setting->maximum / 1e6, setting->unit);
    case SETTING_BYTES:
        return buffer_append_format(out, "%.0f to %.0f bytes", setting->minimum, setting->maximum);
    case SETTING_TEXT: return buffer_append_format(out, "at most %.0f bytes", setting->maximum);
    }
    return STATUS_OK;
}

static enum status setting_text(struct buffer *out, const struct setting *setting) {
    enum status status = buffer_append_format(out, ".TP\n.B %s\n", setting->key);
    if (status == STATUS_OK) { status = roff_text(out, setting->sentence); }
    if (status == STATUS_OK) { status = buffer_append_format(out, ".\nAllowed: "); }
    if (status == STATUS_OK) { status = range_text(out, setting); }
    if (status == STATUS_OK) { status = buffer_append_format(out, ".\nDefault: "); }
    if (status == STATUS_OK) {
        status =
            roff_text(out, setting->default_value[0] == '\0' ? "empty" : setting->default_value);
    }
    if (status == STATUS_OK) { status = buffer_append_format(out, ".\n"); }
    if (status == STATUS_OK && setting->reloadable) {
        status = buffer_append_format(out, "Read again on reload.\n");
    }
    if (status == STATUS_OK && setting->affects_output) {
        status = buffer_append_format(out, "Recorded in the ledger.\n");
    }
    if (status == STATUS_OK && setting->secret) {
        status = buffer_append_format(out, "Better given as a credential.\n");
    }
    return status;
}

enum status manual_settings(const struct setting *table, int count, struct buffer *out) {
    enum status status = buffer_append(out, head, sizeof head - 1);
    const char *section = "";
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        if (strcmp(section, table[i].section) != 0) {
            section = table[i].section;
            status = buffer_append_format(out, ".SH [%s]\n", section);
        }
        if (status == STATUS_OK) { status = setting_text(out, &table[i]); }
    }
    return status == STATUS_OK ? buffer_append(out, tail, sizeof tail - 1) : status;
}
