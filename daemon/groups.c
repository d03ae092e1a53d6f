/* SPDX-License-Identifier: Apache-2.0
 *
 * groups.c - cuts the numbered events into groups that are scored together.
 *
 * Why it exists: scoring each event alone wastes the device; waiting long makes predictions stale.
 * Rule: a group is G consecutive sequence numbers; in recorded mode the end of an epoch cuts it
 * earlier, and the cut is recorded. Distinct users get one prediction each, in order of first
 * appearance, on their sequences at the group's end. The first fast_users of them are scored by
 * SASRec, the first lm_users also by the language model; both numbers stand in the epoch record.
 * Failure: none of its own; without its version a group is folded and not scored.
 * Thread: core. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/memory.h"
#include "daemon/engine_parts.h"

#define GROUP_ID_BYTES 512u /* arena room a user: the id and its alignment */

static int group_size(const struct engine *engine) {
    return (int)engine->doors.settings->predict_group_events;
}

enum status group_init(struct engine *engine, struct error *err) {
    const struct settings *s = engine->doors.settings;
    struct group_scratch *scratch = &engine->scratch;
    size_t G = (size_t)group_size(engine);
    size_t lm = s->base_model_path[0] != '\0' ? (size_t)s->predict_lm_users : 0;
    if (lm > G) { lm = G; }
    enum status status = arena_init(&engine->group.arena, G * GROUP_ID_BYTES, err);
    if (status != STATUS_OK) { return status; }
    engine->group.users = MEMORY_TAKE_ARRAY(struct group_user, G);
    scratch->sequences = MEMORY_TAKE_ARRAY(struct sequence, G);
    scratch->exclude = MEMORY_TAKE_ARRAY(uint32_t, G * (size_t)(s->state_seen + 1));
    scratch->requests = MEMORY_TAKE_ARRAY(struct rank_request, G);
    scratch->lists = MEMORY_TAKE_ARRAY(struct rank_list, G);
    scratch->states = MEMORY_TAKE_ARRAY(float, G *(size_t)s->sasrec_width);
    scratch->titles = MEMORY_TAKE_ARRAY(struct span, (lm + 1) * (size_t)s->ilora_history);
    scratch->score_requests = MEMORY_TAKE_ARRAY(struct score_request, lm + 1);
    scratch->logprobs = MEMORY_TAKE_ARRAY(float, (lm + 1) * (size_t)s->state_items_max);
    if (engine->group.users == NULL || scratch->sequences == NULL || scratch->exclude == NULL ||
        scratch->requests == NULL || scratch->lists == NULL || scratch->states == NULL ||
        scratch->titles == NULL || scratch->score_requests == NULL || scratch->logprobs == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "scratch of a group of %zu events", G);
    }
    return STATUS_OK;
}

void group_free(struct engine *engine) {
    struct group_scratch *scratch = &engine->scratch;
    arena_free(&engine->group.arena);
    memory_free(engine->group.users);
    memory_free(scratch->sequences);
    memory_free(scratch->exclude);
    memory_free(scratch->requests);
    memory_free(scratch->lists);
    memory_free(scratch->states);
    memory_free(scratch->titles);
    memory_free(scratch->score_requests);
    memory_free(scratch->logprobs);
}

static void group_reset(struct group *group) {
    group->user_count = 0;
    group->events = 0;
    arena_reset(&group->arena);
}

static bool group_is_complete(const struct engine *engine) {
    if (engine->group.events == 0) { return false; }
    if (engine->follow != NULL) {
        return engine->follow_group < engine->follow->group_count &&
               engine->follow->groups[engine->follow_group].seq_hi == engine->state.seq;
    }
    return engine->group.events == group_size(engine);
}

enum status group_note(struct engine *engine, struct span user, const struct training_row *row,
                       struct error *err) {
    struct group *group = &engine->group;
    assert(group->events < group_size(engine));
    int index = 0;
    while (index < group->user_count && (group->users[index].user_key != row->user_key ||
                                         !span_equal(group->users[index].user, user))) {
        index++;
    }
    struct group_user *entry = &group->users[index];
    if (index == group->user_count) {
        char *copy = arena_take_copy(&group->arena, user.data, user.size);
        assert(copy != NULL); /* GROUP_ID_BYTES holds any id */
        entry->user = span_make(copy, user.size);
        entry->user_key = row->user_key;
        group->user_count++;
    }
    entry->seq = row->seq;
    entry->topic = row->topic;
    entry->partition = row->partition;
    entry->offset = row->offset;
    entry->time_ms = row->time_ms;
    group->events++;
    if (!group_is_complete(engine)) { return STATUS_OK; }
    return group_close(engine, err);
}

void group_forget(struct engine *engine, struct span user) {
    struct group *group = &engine->group;
    for (int i = 0; i < group->user_count; i++) {
        if (!span_equal(group->users[i].user, user)) { continue; }
        group->user_count--;
        memmove(&group->users[i], &group->users[i + 1],
                (size_t)(group->user_count - i) * sizeof(group->users[0]));
        return;
    }
}

/* Sequences and exclusions of the group's users, and what the ranker is asked. */
static enum status prepare_requests(struct engine *engine, struct error *err) {
    const struct settings *s = engine->doors.settings;
    struct group_scratch *scratch = &engine->scratch;
    size_t seen_max = (size_t)s->state_seen + 1;
    for (int i = 0; i < engine->group.user_count; i++) {
        const struct group_user *user = &engine->group.users[i];
        struct sequence *sequence = &scratch->sequences[i];
        uint32_t *exclude = scratch->exclude + (size_t)i * seen_max;
        uint32_t exclude_count = 0;
        enum status status = sequence_load(engine->doors.stage, user->user, sequence, err);
        if (status != STATUS_OK) { return status; }
        if (!s->predict_repeats && s->state_seen > 0) {
            status = seen_load(engine->doors.stage, user->user, exclude, (uint32_t)s->state_seen,
                               &exclude_count, err);
            if (status != STATUS_OK) { return status; }
        }
        uint32_t skip = sequence->count > (uint32_t)s->sasrec_history
                            ? sequence->count - (uint32_t)s->sasrec_history
                            : 0;
        scratch->requests[i] = (struct rank_request){
            .history = sequence->items + skip,
            .history_count = (int)(sequence->count - skip),
            .exclude = exclude,
            .exclude_count = (int)exclude_count,
            .hidden = engine->hidden,
            .seq = engine->state.seq,
            .use_sasrec = false,
            .list = (int)s->predict_list,
        };
    }
    return STATUS_OK;
}

/* How many users which model scores: recorded, or decided now. */
static void decide_users(const struct engine *engine, struct epoch_group *cut) {
    int users = engine->group.user_count;
    if (engine->follow != NULL) {
        *cut = engine->follow->groups[engine->follow_group];
        return;
    }
    const struct settings *s = engine->doors.settings;
    int fast = (int)ceil(engine->state.rates.fast_share * users);
    int lm = s->engine_strict ? (int)s->predict_lm_users : engine->lm_users;
    if (engine->version == NULL || engine->version->params == NULL || engine->doors.score == NULL) {
        lm = 0;
    }
    if (lm > s->predict_lm_users) { lm = (int)s->predict_lm_users; }
    if (fast > users) { fast = users; }
    if (lm > fast) { lm = fast; } /* the gate sees SASRec's state */
    *cut = (struct epoch_group){.seq_hi = engine->state.seq,
                                .users = (uint32_t)users,
                                .lm_users = (uint32_t)lm,
                                .fast_users = (uint32_t)fast};
}

/* Item-head log-probabilities of the first `count` users. */
static enum status score_with_language_model(struct engine *engine, int count, struct error *err) {
    const struct settings *s = engine->doors.settings;
    struct group_scratch *scratch = &engine->scratch;
    size_t E = (size_t)s->sasrec_width, S = (size_t)s->ilora_history;
    for (int i = 0; i < count; i++) {
        const struct sequence *sequence = &scratch->sequences[i];
        uint32_t kept = sequence->count < S ? sequence->count : (uint32_t)S;
        const uint32_t *history = sequence->items + (sequence->count - kept);
        struct span *titles = scratch->titles + (size_t)i * S;
        for (uint32_t j = 0; j < kept; j++) {
            struct catalogue_item item;
            enum status status = catalogue_get(engine->doors.catalogue, history[j], &item, err);
            if (status != STATUS_OK) { return status; }
            titles[j] = item.title;
        }
        scratch->score_requests[i] =
            (struct score_request){.history = history,
                                   .history_count = (int)kept,
                                   .titles = titles,
                                   .state = scratch->states + (size_t)i * E};
    }
    enum status status =
        engine->doors.score(engine->doors.context, engine->version, scratch->score_requests, count,
                            scratch->logprobs, err);
    if (status != STATUS_OK) { return status; }
    size_t M = (size_t)engine->version->fast->items;
    for (int i = 0; i < count; i++) {
        scratch->requests[i].item_head = scratch->logprobs + (size_t)i * M;
    }
    return STATUS_OK;
}

static enum status score(struct engine *engine, const struct epoch_group *cut, struct error *err) {
    struct group_scratch *scratch = &engine->scratch;
    struct fast_model *fast = engine->version->fast;
    struct ranker *ranker = engine->doors.ranker;
    size_t E = (size_t)engine->doors.settings->sasrec_width;
    int fast_users = (int)cut->fast_users, lm_users = (int)cut->lm_users;
    if (fast_users > 0) {
        enum status status =
            ranker_states(ranker, fast, scratch->requests, fast_users, scratch->states, err);
        if (status != STATUS_OK) { return status; }
    }
    for (int i = 0; i < fast_users; i++) {
        scratch->requests[i].use_sasrec = true;
        scratch->requests[i].state = scratch->states + (size_t)i * E;
    }
    if (lm_users > 0) {
        enum status status = score_with_language_model(engine, lm_users, err);
        if (status != STATUS_OK) { return status; }
    }
    return ranker_rank(ranker, fast, scratch->requests, engine->group.user_count, scratch->lists,
                       err);
}

static enum status publish_user(struct engine *engine, int index, const struct epoch_group *cut,
                                struct error *err) {
    const struct group_user *user = &engine->group.users[index];
    const struct rank_list *list = &engine->scratch.lists[index];
    const struct sequence *sequence = &engine->scratch.sequences[index];
    uint8_t tier = index < (int)cut->lm_users ? 2 : index < (int)cut->fast_users ? 1 : 0;
    static const char *const tiers[] = {"popular", "fast", "ilora"};
    /* a version that knows no item has nothing to say */
    if (list->count == 0) { return STATUS_OK; }

    struct published published = {.version = engine->version->number,
                                  .newest_ms = INT64_MIN,
                                  .count = (uint32_t)list->count,
                                  .tier = tier};
    memcpy(published.items, list->items, (size_t)list->count * sizeof(uint32_t));
    for (uint32_t i = 0; i < sequence->count; i++) {
        if (sequence->times[i] > published.newest_ms) { published.newest_ms = sequence->times[i]; }
    }
    enum status status = published_save(engine->doors.stage, user->user, &published, err);
    if (status != STATUS_OK) { return status; }
    return publish_prediction(engine, user, list, tiers[tier], sequence->count, err);
}

/* Without its version a group's users have no published list: their next event is not evaluated. */
static enum status fold_unscored(struct engine *engine, struct error *err) {
    if (engine->doors.settings->engine_strict) { /* given up while the replay makes it again */
        return error_set(err, STATUS_AGAIN, "version %llu is not held yet",
                         (unsigned long long)engine->state.in_force);
    }
    engine->state.evaluation_carried = true;
    for (int i = 0; i < engine->group.user_count; i++) {
        enum status status =
            stage_delete(engine->doors.stage, STORE_PUBLISHED, engine->group.users[i].user, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status group_close(struct engine *engine, struct error *err) {
    if (engine->group.events == 0) { return STATUS_OK; }
    crash_folded(); /* a crash in here is not the doing of the record that ends the group */
    engine_take_version(engine, engine->state.in_force);
    struct epoch_group cut;
    decide_users(engine, &cut);
    enum status status = STATUS_OK;
    if (engine->version == NULL) {
        assert(engine->follow != NULL); /* live, the version in force is always held */
        status = fold_unscored(engine, err);
    } else {
        status = prepare_requests(engine, err);
        if (status == STATUS_OK && engine->group.user_count > 0) {
            status = score(engine, &cut, err);
        }
        for (int i = 0; i < engine->group.user_count && status == STATUS_OK; i++) {
            status = publish_user(engine, i, &cut, err);
        }
    }
    if (status != STATUS_OK) {
        return error_wrap(err, "scoring the group that ends at %llu",
                          (unsigned long long)engine->state.seq);
    }
    if (engine->follow != NULL) { engine->follow_group++; }
    status = failpoint_pass(FAILPOINT_group_scored, err);
    if (status == STATUS_OK) { status = epoch_group_add(&engine->epoch, &cut, err); }
    if (status != STATUS_OK) { return status; }
    group_reset(&engine->group);

    uint64_t every = (uint64_t)engine->doors.settings->metrics_every;
    if (engine->state.seq / every == engine->state.metrics_seq / every) { return STATUS_OK; }
    engine->state.metrics_seq = engine->state.seq;
    return publish_metrics(engine, err);
}
