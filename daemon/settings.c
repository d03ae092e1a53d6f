/* SPDX-License-Identifier: Apache-2.0
 *
 * settings.c - the table of settings from its X-macro, what spans several of them, and secrets.
 *
 * Why it exists: base/config knows types and ranges, not what a daemon makes of them. Here stands
 * what one value says about another, which foreign keys pass through, and where secrets come from:
 * systemd's credentials (a file each in $CREDENTIALS_DIRECTORY), never the command line.
 * Thread: any; nothing here is kept. */
#include "daemon/settings.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "proto/stream_kafka.h"

#define FILE_OF_SECRET_BYTES_MAX 4096u
#define LISTEN_ADDRESS_BYTES     64u

#define SETTING_ROW(kind, section_, key_, unit_, def, min, max, choices_, flags, sentence_) \
    {.section = #section_,                                                                  \
     .key = #key_,                                                                          \
     .type = SETTING_##kind,                                                                \
     .unit = (unit_),                                                                       \
     .default_value = (def),                                                                \
     .minimum = (double)(min),                                                              \
     .maximum = (double)(max),                                                              \
     .choices = (choices_),                                                                 \
     .reloadable = ((flags)&SETTING_FLAG_R) != 0,                                           \
     .affects_output = ((flags)&SETTING_FLAG_O) != 0,                                       \
     .secret = ((flags)&SETTING_FLAG_S) != 0,                                               \
     .sentence = (sentence_),                                                               \
     .field = offsetof(struct settings, section_##_##key_)},

static const struct setting table[] = {ILORA_SETTINGS(SETTING_ROW)};

#define TABLE_COUNT ((int)(sizeof table / sizeof table[0]))

/* librdkafka properties that are secrets: read from credentials, never printed. */
static const char *const kafka_secrets[] = {"sasl.username", "sasl.password", "ssl.key.password",
                                            "ssl.keystore.password"};

const struct setting *settings_table(int *ret_count) {
    *ret_count = TABLE_COUNT;
    return table;
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_number(const char *text) {
    char *end = NULL;
    (void)strtod(text, &end); /* only how far it reads matters */
    return end != text && *end == '\0';
}

/* Keys that are not in the table: librdkafka's own, weights of event types, names of fields. */
static enum status accept_extra(const char *section, const char *key, const char *value,
                                struct error *err) {
    if (strcmp(section, "kafka") == 0) { return stream_kafka_property_check(key, value, err); }
    if (strcmp(section, "events") == 0 && starts_with(key, "weight.")) {
        if (key[strlen("weight.")] != '\0' && is_number(value)) { return STATUS_OK; }
        return error_set(err, STATUS_CONFIG,
                         "[events] %s = %s: expected weight.<event type> = a number", key, value);
    }
    if (strcmp(section, "events") == 0 && starts_with(key, "field.")) {
        static const char *const fields[] = {"title", "user", "item", "time"};
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            if (strcmp(key + strlen("field."), fields[i]) == 0) { return STATUS_OK; }
        }
        return error_set(err, STATUS_CONFIG,
                         "[events] %s: expected field.title, field.user, field.item or field.time",
                         key);
    }
    return STATUS_CONFIG; /* in the usual words */
}

/* ---- where to listen ---- */

enum status settings_listen(const char *text, struct listen_address *ret_address,
                            struct error *err) {
    struct listen_address address = {0};
    if (text[0] == '\0' || strcmp(text, "none") == 0) {
        address.kind = LISTEN_NONE;
        *ret_address = address;
        return STATUS_OK;
    }
    if (text[0] == '/') {
        if (strlen(text) >= sizeof address.path) {
            return error_set(err, STATUS_CONFIG,
                             "[http] listen = %s: a socket's path has at most %zu bytes", text,
                             sizeof address.path - 1);
        }
        address.kind = LISTEN_UNIX;
        memcpy(address.path, text, strlen(text) + 1);
        *ret_address = address;
        return STATUS_OK;
    }

    const char *colon = strrchr(text, ':');
    char host[LISTEN_ADDRESS_BYTES];
    int64_t port = 0;
    size_t size = colon == NULL ? 0 : (size_t)(colon - text);
    if (colon == NULL || size == 0 || size >= sizeof host ||
        !span_integer(span_of(colon + 1), &port) || port < 0 || port > 65535) {
        return error_set(err, STATUS_CONFIG,
                         "[http] listen = %s: expected address:port, a path or none", text);
    }
    memcpy(host, text, size);
    host[size] = '\0';
    if (host[0] == '[' && host[size - 1] == ']') {
        memmove(host, host + 1, size - 2);
        host[size - 2] = '\0';
    }
    address.port = (uint16_t)port;
    if (inet_pton(AF_INET, host, &address.ipv4) == 1) {
        address.kind = LISTEN_IPV4;
        address.loopback = (ntohl(address.ipv4.s_addr) >> 24) == 127;
        address.wildcard = address.ipv4.s_addr == 0;
    } else if (inet_pton(AF_INET6, host, &address.ipv6) == 1) {
        address.kind = LISTEN_IPV6;
        address.loopback = IN6_IS_ADDR_LOOPBACK(&address.ipv6);
        address.wildcard = IN6_IS_ADDR_UNSPECIFIED(&address.ipv6);
    } else {
        return error_set(err, STATUS_CONFIG, "[http] listen = %s: expected a numeric address",
                         text);
    }
    *ret_address = address;
    return STATUS_OK;
}

/* ---- what spans several settings ---- */

static enum status check_strict(const struct settings *s, struct error *err) {
    if (!s->engine_strict) { return STATUS_OK; }
    if (s->publish_lag_events % s->predict_group_events != 0) {
        return error_set(err, STATUS_CONFIG,
                         "[publish] lag_events = %lld: strict mode expects a multiple of "
                         "[predict] group_events = %lld",
                         (long long)s->publish_lag_events, (long long)s->predict_group_events);
    }
    if (s->stream_kind == STREAM_KIND_LOCAL && s->stream_partitions != 1) {
        return error_set(err, STATUS_CONFIG,
                         "[stream] partitions = %lld: strict mode expects 1 partition",
                         (long long)s->stream_partitions);
    }
    return STATUS_OK;
}

static enum status check_http(const struct settings *s, struct error *err) {
    struct listen_address address;
    enum status status = settings_listen(s->http_listen, &address, err);
    if (status != STATUS_OK) { return status; }
    bool remote = address.kind != LISTEN_NONE && address.kind != LISTEN_UNIX && !address.loopback;
    if (remote && s->http_token[0] == '\0') {
        return error_set(err, STATUS_CONFIG,
                         "[http] listen = %s: an address that others reach needs [http] token "
                         "(or: 127.0.0.1, a path of a UNIX socket)",
                         s->http_listen);
    }
    return STATUS_OK;
}

enum status settings_check(const struct settings *s, struct error *err) {
    if (s->train_batch_events % s->predict_group_events != 0) {
        return error_set(err, STATUS_CONFIG,
                         "[train] batch_events = %lld: expected a multiple of [predict] "
                         "group_events = %lld",
                         (long long)s->train_batch_events, (long long)s->predict_group_events);
    }
    if (s->ilora_rank % s->ilora_experts != 0) {
        return error_set(err, STATUS_CONFIG,
                         "[ilora] experts = %lld: expected a divisor of [ilora] rank = %lld",
                         (long long)s->ilora_experts, (long long)s->ilora_rank);
    }
    if (s->predict_list > s->predict_candidates) {
        return error_set(err, STATUS_CONFIG,
                         "[predict] list = %lld: expected at most [predict] candidates = %lld",
                         (long long)s->predict_list, (long long)s->predict_candidates);
    }
    if (s->predict_lm_users > s->predict_group_events) {
        return error_set(err, STATUS_CONFIG,
                         "[predict] lm_users = %lld: expected at most [predict] group_events = "
                         "%lld",
                         (long long)s->predict_lm_users, (long long)s->predict_group_events);
    }
    if (s->ilora_history > s->state_history || s->sasrec_history > s->state_history) {
        return error_set(err, STATUS_CONFIG,
                         "[state] history = %lld: expected at least [ilora] history = %lld and "
                         "[sasrec] history = %lld",
                         (long long)s->state_history, (long long)s->ilora_history,
                         (long long)s->sasrec_history);
    }
    if (s->state_path[0] != '/' && strstr(s->state_path, "..") != NULL) {
        return error_set(err, STATUS_CONFIG, "[state] path = %s: expected a path without '..'",
                         s->state_path);
    }
    enum status status = check_strict(s, err);
    if (status != STATUS_OK) { return status; }
    return check_http(s, err);
}

/* ---- secrets ---- */

/* Reads one credential into text, without the newline at its end; absent: *ret_found false. */
static enum status credential_read(const char *folder, const char *name,
                                   char text[CONFIG_TEXT_BYTES], bool *ret_found,
                                   struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, folder, name, err);
    if (status != STATUS_OK) { return status; }
    struct buffer bytes = {.limit = FILE_OF_SECRET_BYTES_MAX};
    status = file_read(path, FILE_OF_SECRET_BYTES_MAX, &bytes, err);
    if (status == STATUS_NOT_FOUND) {
        *ret_found = false;
        status = STATUS_OK;
        goto done;
    }
    if (status != STATUS_OK) { goto done; }
    size_t size = bytes.size;
    while (size > 0 && (bytes.data[size - 1] == '\n' || bytes.data[size - 1] == '\r')) {
        size--;
    }
    if (size == 0 || size >= CONFIG_TEXT_BYTES || memchr(bytes.data, '\0', size) != NULL) {
        status = error_set(err, STATUS_CONFIG, "credential '%s': expected 1 to %u bytes of text",
                           name, CONFIG_TEXT_BYTES - 1);
        goto done;
    }
    memcpy(text, bytes.data, size);
    text[size] = '\0';
    *ret_found = true;
done:
    if (bytes.data != NULL) { memset(bytes.data, 0, bytes.size); }
    buffer_free(&bytes);
    return status;
}

/* Sets or adds [kafka] name = value. */
static enum status extra_set(struct config_extras *extras, const char *name, const char *value,
                             struct error *err) {
    struct config_extra *extra = NULL;
    for (int i = 0; i < extras->count && extra == NULL; i++) {
        struct config_extra *at = &extras->items[i];
        if (strcmp(at->section, "kafka") == 0 && strcmp(at->key, name) == 0) { extra = at; }
    }
    if (extra == NULL) {
        if (extras->count == CONFIG_EXTRA_MAX) {
            return error_set(err, STATUS_CONFIG, "more than %d pass-through settings",
                             CONFIG_EXTRA_MAX);
        }
        extra = &extras->items[extras->count++];
    }
    (void)snprintf(extra->section, sizeof extra->section, "kafka"); /* fits */
    (void)snprintf(extra->key, sizeof extra->key, "%s", name);      /* names above fit */
    memcpy(extra->value, value, strlen(value) + 1);
    return STATUS_OK;
}

static enum status credentials_load(struct settings *settings, struct error *err) {
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder == NULL || folder[0] == '\0') { return STATUS_OK; }
    char text[CONFIG_TEXT_BYTES];
    bool found = false;
    enum status status = credential_read(folder, "http.token", text, &found, err);
    if (status != STATUS_OK) { return status; }
    if (found) { memcpy(settings->http_token, text, strlen(text) + 1); }

    for (size_t i = 0; i < sizeof kafka_secrets / sizeof kafka_secrets[0]; i++) {
        status = credential_read(folder, kafka_secrets[i], text, &found, err);
        if (status != STATUS_OK) { return status; }
        if (!found) { continue; }
        status = extra_set(&settings->extras, kafka_secrets[i], text, err);
        if (status != STATUS_OK) { return status; }
    }
    memset(text, 0, sizeof text);
    return STATUS_OK;
}

/* ---- doors ---- */

enum status settings_load(const char *path, const char *const *overrides, int override_count,
                          struct settings *settings, struct error *err) {
    memset(settings, 0, sizeof *settings);
    enum status status = config_load(table, TABLE_COUNT, path, overrides, override_count,
                                     accept_extra, settings, &settings->extras, err);
    if (status != STATUS_OK) { return status; }
    status = credentials_load(settings, err);
    if (status != STATUS_OK) { return status; }
    status = settings_check(settings, err);
    if (status != STATUS_OK && path != NULL) { return error_wrap(err, "%s", path); }
    return status;
}

float settings_type_weight(const struct settings *settings, struct span type) {
    for (int i = 0; i < settings->extras.count; i++) {
        const struct config_extra *extra = &settings->extras.items[i];
        if (strcmp(extra->section, "events") != 0 || !starts_with(extra->key, "weight.")) {
            continue;
        }
        if (span_equal(span_of(extra->key + strlen("weight.")), type)) {
            return strtof(extra->value, NULL); /* accept_extra saw that it is a number */
        }
    }
    return 1.0f;
}

const char *settings_field_name(const struct settings *settings, const char *field) {
    for (int i = 0; i < settings->extras.count; i++) {
        const struct config_extra *extra = &settings->extras.items[i];
        if (strcmp(extra->section, "events") == 0 && starts_with(extra->key, "field.") &&
            strcmp(extra->key + strlen("field."), field) == 0) {
            return extra->value;
        }
    }
    return "";
}

enum status settings_print(const struct settings *settings, struct buffer *out) {
    return config_print(table, TABLE_COUNT, settings, &settings->extras, out);
}
