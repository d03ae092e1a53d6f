/* SPDX-License-Identifier: Apache-2.0
 *
 * check_protocol.c - breadth first through every state of the protocol's model.
 *
 *   check_protocol [--long] [--schedules]
 *
 * Two searches: two daemons without a learner (moves, take-overs, zombies), and one daemon with it.
 * The protocol itself must have no violation in any state and must be able to finish; each broken
 * variant must have one in the search that is about it; --schedules prints the shortest. States are
 * remembered by 64-bit fingerprints with the step that led there (a collision could hide a state:
 * with 10^7 states the chance of any is 3 in 10^6).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/protocol/protocol_model.h"

struct seen_state {
    uint64_t print; /* 0 = empty */
    uint64_t parent;
    const char *word;
};

struct search {
    struct seen_state *seen;
    size_t capacity, count;
    struct model_state *now, *next; /* two layers of the search */
    size_t now_count, next_count, now_room, next_room;
    uint64_t done; /* states that are finished */
};

static uint64_t fingerprint(const struct model_state *state) {
    const unsigned char *bytes = (const unsigned char *)state;
    uint64_t print = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof *state; i++) {
        print = (print ^ bytes[i]) * UINT64_C(0x100000001b3);
        print ^= print >> 29;
    }
    print *= UINT64_C(0x9e3779b97f4a7c15);
    print ^= print >> 32;
    return print == 0 ? 1 : print;
}

static void *take(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        (void)fprintf(stderr, "check_protocol: no memory for %zu bytes\n", bytes);
        exit(2);
    }
    return memory;
}

static struct seen_state *seen_at(const struct search *search, uint64_t print) {
    size_t at = (size_t)print & (search->capacity - 1);
    while (search->seen[at].print != 0 && search->seen[at].print != print) {
        at = (at + 1) & (search->capacity - 1);
    }
    return &search->seen[at];
}

static void seen_grow(struct search *search) {
    struct seen_state *old = search->seen;
    size_t old_capacity = search->capacity;
    search->capacity *= 2;
    search->seen = take(search->capacity * sizeof *search->seen);
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].print != 0) { *seen_at(search, old[i].print) = old[i]; }
    }
    free(old);
}

static void push(struct search *search, const struct model_state *state) {
    if (search->next_count == search->next_room) {
        search->next_room *= 2;
        struct model_state *more = realloc(search->next, search->next_room * sizeof *search->next);
        if (more == NULL) {
            (void)fprintf(stderr, "check_protocol: no memory for a layer\n");
            exit(2);
        }
        search->next = more;
    }
    search->next[search->next_count++] = *state;
}

/* True when the state is new. */
static bool visit(struct search *search, const struct model_state *state, uint64_t parent,
                  const char *word) {
    uint64_t print = fingerprint(state);
    struct seen_state *seen = seen_at(search, print);
    if (seen->print != 0) { return false; }
    *seen = (struct seen_state){print, parent, word};
    search->count++;
    if (search->count * 2 > search->capacity) { seen_grow(search); }
    push(search, state);
    search->done += model_done(state);
    return true;
}

/* The steps from the first state to this one. */
static void print_schedule(const struct search *search, uint64_t print) {
    const char *words[512];
    int count = 0;
    while (count < 512) {
        const struct seen_state *seen = seen_at(search, print);
        if (seen->word == NULL) { break; }
        words[count++] = seen->word;
        print = seen->parent;
    }
    for (int i = count - 1; i >= 0; i--) {
        (void)printf("      %2d %s\n", count - i, words[i]);
    }
}

static void swap_layers(struct search *search) {
    struct model_state *layer = search->now;
    size_t room = search->now_room;
    search->now = search->next;
    search->now_room = search->next_room;
    search->now_count = search->next_count;
    search->next = layer;
    search->next_room = room;
    search->next_count = 0;
}

/* Searches until nothing is new or a violation is found; its words, NULL: none. */
static const char *explore(struct search *search, enum model_variant variant,
                           const struct model_bounds *bounds, uint64_t *ret_print) {
    static struct model_state states[MODEL_STEPS_MAX];
    const char *words[MODEL_STEPS_MAX];
    struct model_state first;
    model_first(bounds, &first);
    (void)visit(search, &first, 0, NULL);
    while (search->next_count > 0) {
        swap_layers(search);
        for (size_t i = 0; i < search->now_count; i++) {
            uint64_t parent = fingerprint(&search->now[i]);
            int count = model_next(&search->now[i], variant, states, words);
            for (int n = 0; n < count; n++) {
                if (!visit(search, &states[n], parent, words[n])) { continue; }
                const char *violation = model_violation(&states[n]);
                if (violation != NULL) {
                    *ret_print = fingerprint(&states[n]);
                    return violation;
                }
            }
        }
    }
    return NULL;
}

static bool is_about_learner(enum model_variant variant) {
    return variant == VARIANT_LEARN_EARLY || variant == VARIANT_ANNOUNCE_EARLY ||
           variant == VARIANT_TRIM_EARLY;
}

/* True when the variant came out as it must. */
static bool check(enum model_variant variant, const struct model_bounds *bounds, bool schedules) {
    struct search search = {.capacity = 1u << 16, .now_room = 1024, .next_room = 1024};
    search.seen = take(search.capacity * sizeof *search.seen);
    search.now = take(search.now_room * sizeof *search.now);
    search.next = take(search.next_room * sizeof *search.next);
    uint64_t print = 0;
    const char *violation = explore(&search, variant, bounds, &print);
    bool right = (violation == NULL) == (variant == VARIANT_NONE);
    if (variant == VARIANT_NONE && search.done == 0) { right = false; }
    (void)printf("%s %-48s %9zu states: %s\n", right ? "ok   " : "WRONG",
                 model_variant_name(variant), search.count,
                 violation != NULL ? violation : "no violation");
    if (variant == VARIANT_NONE) {
        (void)printf("      %" PRIu64 " of them have consumed and announced everything\n",
                     search.done);
    }
    if (violation != NULL && (schedules || !right)) { print_schedule(&search, print); }
    free(search.seen);
    free(search.now);
    free(search.next);
    return right;
}

/* One search of the protocol, then the variants it is about. */
static bool check_all(const struct model_bounds *bounds, bool schedules) {
    (void)printf("%s: kills %d, power losses %d, moves and take-overs %d, disturbances %d\n",
                 bounds->learner ? "one daemon with its learner" : "two daemons", bounds->kills,
                 bounds->losses, bounds->moves, bounds->disturbances);
    bool right = check(VARIANT_NONE, bounds, schedules);
    for (int variant = VARIANT_NONE + 1; variant < VARIANT_COUNT; variant++) {
        if (is_about_learner((enum model_variant)variant) != bounds->learner) { continue; }
        right &= check((enum model_variant)variant, bounds, schedules);
    }
    return right;
}

int main(int argc, char **argv) {
    bool schedules = false, longer = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--schedules") == 0) {
            schedules = true;
        } else if (strcmp(argv[i], "--long") == 0) {
            longer = true;
        } else {
            (void)fprintf(stderr, "usage: check_protocol [--long] [--schedules]\n");
            return 64;
        }
    }
    struct model_bounds commit = {.kills = 1, .losses = 1, .moves = 1, .disturbances = 1};
    struct model_bounds learner = {.kills = 2, .losses = 1, .disturbances = 1, .learner = true};
    if (longer) {
        commit = (struct model_bounds){.kills = 2, .losses = 1, .moves = 2, .disturbances = 1};
        learner.kills = 4;
        learner.losses = 2;
        learner.disturbances = 2;
    }
    bool right = check_all(&commit, schedules);
    right &= check_all(&learner, schedules);
    return right ? 0 : 1;
}
