/* SPDX-License-Identifier: Apache-2.0
 *
 * settings.h - every setting of the daemon, once: name, type, default, range, what it is.
 *
 * The table is an X-macro: it makes the struct, the table that base/config reads, the sample file
 * and the manual page. A field's name is section_key. Durations are microseconds, sizes bytes.
 *
 *   X(type, section, key, unit, default, minimum, maximum, choices, flags, sentence)
 *   flags: R reloadable by SIGHUP, O affects what is published (recorded in the ledger), S secret
 */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/status.h"

#define SETTING_FLAG_R 1
#define SETTING_FLAG_O 2
#define SETTING_FLAG_S 4

/* clang-format off */
#define ILORA_SETTINGS(X) \
    X(CHOICE, stream, kind, "", "local", 0, 0, "local|kafka", 0, \
      "where events come from: the embedded stream or Apache Kafka") \
    X(TEXT, stream, deployment, "", "default", 1, 64, "", 0, \
      "name of this deployment; part of the transactional id ilora.<deployment>.<shard>") \
    X(INTEGER, stream, shard, "", "0", 0, 65535, "", 0, \
      "number of this shard") \
    X(INTEGER, stream, partitions, "partitions", "1", 1, 4096, "", 0, \
      "partitions of the embedded stream's input topics when it is made") \
    X(BYTES, stream, retention, "bytes", "4 GiB", 1048576, 1e15, "", 0, \
      "size at which the embedded stream trims consumed input and old output") \
    X(TEXT, kafka, bootstrap_servers, "", "127.0.0.1:9092", 1, 511, "", 0, \
      "host:port list of brokers") \
    X(CHOICE, kafka, start, "", "earliest", 0, 0, "earliest|latest", 0, \
      "where a shard without a ledger begins to consume") \
    X(DURATION, kafka, transaction_timeout, "ms", "20 s", 1e6, 9e8, "", 0, \
      "transaction.timeout.ms; half of WatchdogSec or less") \
    X(TEXT, topics, events, "", "ilorad.events", 1, 249, "", 0, \
      "interactions") \
    X(TEXT, topics, items, "", "ilorad.items", 1, 249, "", 0, \
      "item records") \
    X(TEXT, topics, control, "", "ilorad.control", 1, 249, "", 0, \
      "control records") \
    X(TEXT, topics, predictions, "", "ilorad.predictions", 1, 249, "", 0, \
      "predictions") \
    X(TEXT, topics, snapshots, "", "ilorad.snapshots", 1, 249, "", 0, \
      "adapter snapshots") \
    X(TEXT, topics, ledger, "", "ilorad.ledger", 1, 249, "", 0, \
      "epoch records") \
    X(TEXT, topics, metrics, "", "ilorad.metrics", 1, 249, "", 0, \
      "prequential figures") \
    X(TEXT, topics, dlq, "", "ilorad.dlq", 1, 249, "", 0, \
      "records that could not be used") \
    X(CHOICE, events, format, "", "auto", 0, 0, "auto|json|protobuf|framed", SETTING_FLAG_O, \
      "format of input records") \
    X(CHOICE, events, timestamp_unit, "", "auto", 0, 0, "auto|s|ms|us", SETTING_FLAG_O, \
      "unit of numeric timestamps") \
    X(TEXT, events, train_types, "", "", 0, 511, "", SETTING_FLAG_O, \
      "comma-separated event types that count; empty = all") \
    X(REAL, events, min_strength, "", "-1e30", -1e30, 1e30, "", SETTING_FLAG_O, \
      "events with a smaller strength are filtered") \
    X(BOOL, events, strength_weights_loss, "", "no", 0, 1, "", SETTING_FLAG_O, \
      "multiply a row's loss by its strength") \
    X(REAL, events, dead_share_max, "", "0.05", 0, 1, "", SETTING_FLAG_R, \
      "share of the last 10,000 records that may be bad before the daemon stops") \
    X(TEXT, state, path, "", "/var/lib/ilorad", 1, 511, "", 0, \
      "folder of the state") \
    X(INTEGER, state, history, "items", "120", 1, 128, "", SETTING_FLAG_O, \
      "items kept of a user's sequence") \
    X(INTEGER, state, seen, "items", "1024", 0, 4096, "", SETTING_FLAG_O, \
      "consumed items remembered to leave them out") \
    X(INTEGER, state, dedup, "ids", "32", 0, 64, "", SETTING_FLAG_O, \
      "event ids remembered a user") \
    X(INTEGER, state, items_max, "items", "100000", 16, 4000000, "", SETTING_FLAG_O, \
      "largest catalogue") \
    X(BYTES, state, map_max, "bytes", "64 GiB", 16777216, 1e15, "", 0, \
      "largest LMDB map (address space)") \
    X(BYTES, state, free_min, "bytes", "64 MiB", 0, 1e15, "", SETTING_FLAG_R, \
      "free disk space below which consuming stops") \
    X(BOOL, engine, strict, "", "no", 0, 1, "", SETTING_FLAG_O, \
      "every output is a function of input and settings") \
    X(DURATION, epoch, interval, "ms", "200 ms", 1000, 6e7, "", SETTING_FLAG_R, \
      "an epoch is committed this often") \
    X(INTEGER, epoch, events_max, "records", "10000", 1, 1000000, "", SETTING_FLAG_R, \
      "or after so many records") \
    X(DURATION, epoch, heartbeat, "s", "1 h", 1e6, 8.64e10, "", SETTING_FLAG_R, \
      "an idle daemon commits its offsets this often") \
    X(INTEGER, predict, group_events, "events", "64", 1, 4096, "", SETTING_FLAG_O, \
      "events scored together") \
    X(INTEGER, predict, list, "items", "10", 1, 100, "", SETTING_FLAG_O, \
      "items of a prediction") \
    X(INTEGER, predict, candidates, "items", "100", 10, 400, "", SETTING_FLAG_O, \
      "candidates that are stacked") \
    X(REAL, predict, new_share, "", "0.1", 0, 0.5, "", SETTING_FLAG_O, \
      "share of candidates reserved for new items") \
    X(BOOL, predict, repeats, "", "no", 0, 1, "", SETTING_FLAG_O, \
      "predict items the user has already consumed") \
    X(INTEGER, predict, lm_users, "users", "4", 0, 4096, "", SETTING_FLAG_O, \
      "users of a group the language model scores at most (strict mode: exactly)") \
    X(DURATION, predict, lm_budget, "ms", "100 ms", 0, 6e7, "", SETTING_FLAG_R, \
      "time a group may spend in the language model (recorded mode)") \
    X(REAL, predict, fast_share, "", "1", 0, 1, "", SETTING_FLAG_O, \
      "largest share of users scored by SASRec; adapts to load in recorded mode") \
    X(TEXT, base_model, path, "", "", 0, 511, "", SETTING_FLAG_O, \
      "HF directory, GGUF file or builtin:tiny; empty = no language model") \
    X(TEXT, base_model, prompts, "", "", 0, 511, "", SETTING_FLAG_O, \
      "prompt template file; empty = the built-in one") \
    X(TEXT, ilora, adapter, "", "", 0, 511, "", SETTING_FLAG_O, \
      "PEFT LoRA directory to start from; empty = a fresh adapter") \
    X(INTEGER, ilora, rank, "", "8", 1, 256, "", SETTING_FLAG_O, \
      "total LoRA rank of all experts") \
    X(INTEGER, ilora, experts, "", "4", 1, 16, "", SETTING_FLAG_O, \
      "experts; divides the rank") \
    X(REAL, ilora, alpha, "", "32", 0.001, 4096, "", SETTING_FLAG_O, \
      "LoRA alpha") \
    X(REAL, ilora, gate_floor, "", "0.05", 0, 0.99, "", SETTING_FLAG_O, \
      "part of the gate that is uniform") \
    X(INTEGER, ilora, history, "items", "10", 1, 50, "", SETTING_FLAG_O, \
      "items in a prompt") \
    X(CHOICE, ilora, head, "", "item", 0, 0, "item|title|both", SETTING_FLAG_O, \
      "what the language model predicts with") \
    X(INTEGER, ilora, projector_width, "", "256", 8, 8192, "", SETTING_FLAG_O, \
      "hidden width of the projector") \
    X(INTEGER, sasrec, width, "", "64", 8, 512, "", SETTING_FLAG_O, \
      "width of item vectors") \
    X(INTEGER, sasrec, blocks, "", "2", 1, 8, "", SETTING_FLAG_O, \
      "attention blocks") \
    X(INTEGER, sasrec, history, "items", "50", 2, 100, "", SETTING_FLAG_O, \
      "items a sequence is cut to") \
    X(REAL, sasrec, learning_rate, "", "2e-3", 0, 1, "", SETTING_FLAG_O, \
      "Adam's learning rate") \
    X(REAL, sasrec, dropout, "", "0.2", 0, 0.9, "", SETTING_FLAG_O, \
      "dropout while SASRec learns; 0 is a third faster") \
    X(REAL, sasrec, replay_users, "", "1", 0, 16, "", SETTING_FLAG_O, \
      "replayed users; 1 = one for each four rows of the batch") \
    X(BOOL, sasrec, title_vectors, "", "yes", 0, 1, "", SETTING_FLAG_O, \
      "start items from their titles (needs a base model)") \
    X(INTEGER, counters, neighbours, "", "1024", 8, 4096, "", SETTING_FLAG_O, \
      "co-visitation neighbours kept an item") \
    X(INTEGER, counters, span, "items", "20", 1, 100, "", SETTING_FLAG_O, \
      "items of the history paired with a new one") \
    X(INTEGER, counters, history_span, "items", "10", 1, 100, "", SETTING_FLAG_O, \
      "newest items that co-visitation scores from") \
    X(REAL, counters, half_life, "events", "2000", 1, 1e12, "", SETTING_FLAG_O, \
      "events after which decayed popularity is halved") \
    X(INTEGER, train, batch_events, "events", "256", 1, 4096, "", SETTING_FLAG_O, \
      "events learned from at once; a multiple of group_events") \
    X(DURATION, train, batch_interval, "s", "5 s", 10000, 3.6e9, "", SETTING_FLAG_R, \
      "a smaller batch is cut after this time (recorded mode)") \
    X(INTEGER, train, micro_batch_tokens, "tokens", "512", 64, 65536, "", SETTING_FLAG_O, \
      "tokens of one packed forward; about 0.75 MB each with SmolLM2-135M") \
    X(REAL, train, lm_rate_max, "", "1", 0, 1, "", SETTING_FLAG_O, \
      "largest share of events the language model trains on (strict mode: exactly)") \
    X(INTEGER, train, backlog_max, "events", "8192", 256, 1000000, "", SETTING_FLAG_R, \
      "events the learner may be behind before consuming waits") \
    X(REAL, train, replay, "", "0.25", 0, 0.9, "", SETTING_FLAG_O, \
      "replayed share of a language-model batch") \
    X(INTEGER, train, replay_rows_max, "rows", "20000", 0, 1000000, "", SETTING_FLAG_O, \
      "rows kept for replay") \
    X(REAL, train, learning_rate, "", "3e-4", 0, 1, "", SETTING_FLAG_O, \
      "AdamW's learning rate of the adapter") \
    X(REAL, train, head_multiplier, "", "7", 0, 1000, "", SETTING_FLAG_O, \
      "learning rate of heads and projector as a multiple") \
    X(REAL, train, gate_multiplier, "", "1", 0, 1000, "", SETTING_FLAG_O, \
      "learning rate of the gate as a multiple") \
    X(REAL, train, weight_decay, "", "0.01", 0, 1, "", SETTING_FLAG_O, \
      "AdamW's weight decay") \
    X(REAL, train, clip_norm, "", "1", 0, 1e6, "", SETTING_FLAG_O, \
      "global gradient norm; 0 = no clipping") \
    X(REAL, train, ema_decay, "", "0.9", 0, 0.99999, "", SETTING_FLAG_O, \
      "decay of the served average, a step") \
    X(REAL, train, proximal, "", "2", 0, 1000, "", SETTING_FLAG_O, \
      "pull towards the last version (PESO's lambda)") \
    X(INTEGER, train, seed, "", "1", 0, 9e15, "", SETTING_FLAG_O, \
      "seed of everything random") \
    X(DURATION, publish, interval, "s", "30 s", 10000, 8.64e10, "", SETTING_FLAG_R, \
      "a version is made this often (recorded mode)") \
    X(INTEGER, publish, version_batches, "batches", "8", 1, 1000000, "", SETTING_FLAG_O, \
      "batches of a version (strict mode)") \
    X(INTEGER, publish, lag_events, "events", "2048", 1, 1e9, "", SETTING_FLAG_O, \
      "events after which a version is in force (strict mode); a multiple of group_events") \
    X(INTEGER, publish, checkpoint_every, "versions", "4", 1, 1000000, "", SETTING_FLAG_R, \
      "versions between checkpoints") \
    X(INTEGER, publish, keep, "versions", "3", 2, 1000, "", SETTING_FLAG_R, \
      "versions kept on disk besides those needed") \
    X(BOOL, publish, weights, "", "yes", 0, 1, "", SETTING_FLAG_O, \
      "send the files of each version to the snapshots topic in chunks") \
    X(CHOICE, output, format, "", "protobuf", 0, 0, "protobuf|json", SETTING_FLAG_O, \
      "format of predictions, manifests and metrics") \
    X(INTEGER, metrics, every, "events", "1000", 1, 1e9, "", SETTING_FLAG_O, \
      "events between two records on the metrics topic") \
    X(REAL, eval, rate, "", "0.1", 0, 1, "", SETTING_FLAG_O, \
      "share of events evaluated by the learner") \
    X(REAL, eval, lm_rate, "", "0.01", 0, 1, "", SETTING_FLAG_O, \
      "share of events evaluated with language models") \
    X(INTEGER, eval, candidates, "items", "20", 2, 100, "", SETTING_FLAG_O, \
      "the target and this many others, one less") \
    X(INTEGER, eval, warmup_events, "events", "0", 0, 1e12, "", SETTING_FLAG_O, \
      "events before evaluation begins") \
    X(INTEGER, eval, min_history, "items", "1", 0, 100, "", SETTING_FLAG_O, \
      "shorter histories are not evaluated") \
    X(TEXT, http, listen, "", "127.0.0.1:8040", 0, 255, "", 0, \
      "address:port, a path of a UNIX socket, or none") \
    X(TEXT, http, token, "", "", 0, 255, "", SETTING_FLAG_S, \
      "bearer token that requests carry; needed where listen is not loopback or a UNIX socket") \
    X(CHOICE, device, backend, "", "auto", 0, 0, "auto|cuda|cpu", 0, \
      "where the language model runs; auto: a CUDA card where there is one") \
    X(INTEGER, device, index, "", "0", 0, 63, "", 0, \
      "number of the CUDA card") \
    X(INTEGER, device, golden_every, "steps", "1000", 0, 1e9, "", 0, \
      "optimiser steps between two checks of the device by the golden batch; 0 = none") \
    X(INTEGER, device, threads, "threads", "0", 0, 1024, "", SETTING_FLAG_O, \
      "CPU threads of the learner; 0 = all cores") \
    X(CHOICE, device, precision, "", "auto", 0, 0, "auto|f32|bf16", SETTING_FLAG_O, \
      "products with the frozen base; auto: bf16 where the device has it") \
    X(CHOICE, log, level, "", "info", 0, 0, "error|warning|notice|info|debug", SETTING_FLAG_R, \
      "what is logged")
/* clang-format on */

#define SETTING_FIELD_BOOL(name)     bool name;
#define SETTING_FIELD_INTEGER(name)  int64_t name;
#define SETTING_FIELD_REAL(name)     double name;
#define SETTING_FIELD_DURATION(name) int64_t name;
#define SETTING_FIELD_BYTES(name)    int64_t name;
#define SETTING_FIELD_TEXT(name)     char name[CONFIG_TEXT_BYTES];
#define SETTING_FIELD_CHOICE(name)   int name;
#define SETTING_FIELD(type, section, key, unit, def, min, max, choices, flags, sentence) \
    SETTING_FIELD_##type(section##_##key)

struct settings {
    ILORA_SETTINGS(SETTING_FIELD)
    struct config_extras extras; /* [kafka] pass-through, [events] weight.TYPE and field.NAME */
};

enum { STREAM_KIND_LOCAL, STREAM_KIND_KAFKA };
enum { KAFKA_START_EARLIEST, KAFKA_START_LATEST };
enum { DEVICE_CHOICE_AUTO, DEVICE_CHOICE_CUDA, DEVICE_CHOICE_CPU };
enum { PRECISION_CHOICE_AUTO, PRECISION_CHOICE_F32, PRECISION_CHOICE_BF16 };

/* The table for base/config; *ret_count entries; static storage. */
const struct setting *settings_table(int *ret_count);

/* Loads, then checks what spans several settings (batch_events a multiple of group_events, experts
 * divide rank, ...). CONFIG with one line. */
MUST_CHECK enum status settings_load(const char *path, const char *const *overrides,
                                     int override_count, struct settings *settings,
                                     struct error *err);

/* Weight of an event type ([events] weight.<type> = x); 1 when not set. */
float settings_type_weight(const struct settings *settings, struct span type);

/* Only what spans several settings (after a reload or a control record `set`). CONFIG. */
MUST_CHECK enum status settings_check(const struct settings *settings, struct error *err);

/* The field that stands for user, item, time or title ([events] field.<field> = x); "" when not
 * set. borrows: from settings. */
const char *settings_field_name(const struct settings *settings, const char *field);

/* Appends the effective values as an INI file, secrets (pass-through ones too) as "(secret)". */
MUST_CHECK enum status settings_print(const struct settings *settings, struct buffer *out);

/* [http] listen, taken apart. */
enum listen_kind { LISTEN_NONE, LISTEN_IPV4, LISTEN_IPV6, LISTEN_UNIX };
struct listen_address {
    enum listen_kind kind;
    struct in_addr ipv4;
    struct in6_addr ipv6;
    uint16_t port;  /* 0: the system chooses */
    bool loopback;  /* 127.0.0.0/8 or ::1 */
    bool wildcard;  /* all interfaces */
    char path[108]; /* LISTEN_UNIX; as long as sockaddr_un allows */
};
/* CONFIG: not address:port (numeric), an absolute path or "none". */
MUST_CHECK enum status settings_listen(const char *text, struct listen_address *ret_address,
                                       struct error *err);

#endif
