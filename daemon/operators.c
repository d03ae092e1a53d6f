/* SPDX-License-Identifier: Apache-2.0
 *
 * operators.c - turns an operator's request into a control record of the input.
 *
 * Why it exists: a rollback that only memory knows would be lost by a kill and be missing in a
 * refold. Failure: a setting that may not be set is refused with one line; the daemon goes on.
 * Thread: core. */
#include "daemon/operators.h"

#include <stdio.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/core.h"

#define RECORD_BYTES_MAX 4096u

static void write_request(struct json_writer *w, const struct operator_request *request) {
    static const char *const commands[] = {
        [OPERATOR_ROLLBACK] = "rollback",
        [OPERATOR_FORGET] = "forget_user",
        [OPERATOR_PUBLISH_NOW] = "publish_now",
        [OPERATOR_HIDE] = "hide_item",
        [OPERATOR_SET] = "set",
    };
    json_write_object(w, NULL);
    json_write_string(w, "event", span_of("control"));
    json_write_string(w, "command", span_of(commands[request->command]));
    switch (request->command) {
    case OPERATOR_ROLLBACK: json_write_integer(w, "version", (int64_t)request->version); break;
    case OPERATOR_FORGET: json_write_string(w, "user", span_of(request->user)); break;
    case OPERATOR_HIDE: json_write_string(w, "item", span_of(request->item)); break;
    case OPERATOR_SET:
        json_write_string(w, "key", span_of(request->key));
        json_write_string(w, "value", span_of(request->value));
        break;
    case OPERATOR_PUBLISH_NOW: break;
    }
    json_write_object_end(w);
}

static enum status publish_request(struct core *core, const struct operator_request *request,
                                   struct error *err) {
    struct buffer text = {.limit = RECORD_BYTES_MAX};
    struct json_writer writer;
    json_write_begin(&writer, &text);
    write_request(&writer, request);
    enum status status = json_write_end(&writer);
    if (status == STATUS_OK) {
        status = engine_publish_control(core->engine, buffer_span(&text), err);
    } else {
        (void)error_set(err, status, "an operator's request");
    }
    buffer_free(&text);
    return status;
}

/* SIGHUP: the file is read again; what may change while running does, the rest is named. */
static void reload(struct core *core) {
    struct settings fresh;
    struct error err;
    const struct pipeline_options *o = core->options;
    memset(&fresh, 0, sizeof(fresh));
    if (settings_load(o->config_path, o->overrides, o->override_count, &fresh, &err) != STATUS_OK) {
        LOG_ERROR("reload refused, the old settings stay: %s", err.text);
        return;
    }
    int count;
    const struct setting *table = settings_table(&count);
    for (int i = 0; i < count; i++) {
        char was[CONFIG_TEXT_BYTES], is[CONFIG_TEXT_BYTES], name[128];
        if (config_value_text(&table[i], &core->settings, was, sizeof(was)) != STATUS_OK ||
            config_value_text(&table[i], &fresh, is, sizeof(is)) != STATUS_OK ||
            strcmp(was, is) == 0) {
            continue;
        }
        (void)snprintf(name, sizeof(name), "%s.%s", table[i].section, table[i].key); /* short */
        if (!table[i].reloadable) {
            LOG_WARNING("%s changed in the file and needs a restart", name);
        } else if (config_set(table, count, name, is, &core->settings, &err) == STATUS_OK) {
            LOG_NOTICE("%s = %s (was %s)", name, is, was);
        }
    }
}

/* A `set` record: reloadable settings only. */
static void apply_set(struct core *core, const char *key, const char *value) {
    int count;
    const struct setting *table = settings_table(&count);
    struct error err;
    for (int i = 0; i < count; i++) {
        char name[128];
        (void)snprintf(name, sizeof(name), "%s.%s", table[i].section, table[i].key); /* short */
        if (strcmp(name, key) != 0) { continue; }
        if (!table[i].reloadable) {
            LOG_WARNING("control record: %s cannot be set while running, ignored", key);
        } else if (config_set(table, count, key, value, &core->settings, &err) == STATUS_OK) {
            LOG_NOTICE("control record: %s = %s", key, value);
        } else {
            LOG_WARNING("control record: %s, ignored", err.text);
        }
        return;
    }
    LOG_WARNING("control record: there is no setting '%s', ignored", key);
}

enum status operators_serve(struct core *core, struct error *err) {
    struct operator_request request;
    while (shared_request_take(core->shared, &request)) {
        enum status status = publish_request(core, &request, err);
        if (status == STATUS_OK) { status = failpoint_pass(FAILPOINT_control_published, err); }
        if (status != STATUS_OK) { return status; }
    }
    char key[128], value[CONFIG_TEXT_BYTES];
    if (engine_take_set(core->engine, key, value)) { apply_set(core, key, value); }
    if (shared_reload_take(core->shared)) { reload(core); }
    return STATUS_OK;
}
