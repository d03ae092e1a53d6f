/* SPDX-License-Identifier: Apache-2.0
 *
 * result.h - what one method answered with one seed, and the figures that follow from it.
 *
 * An answer is a place in the sample's list of 20 candidates, -1 for none of them. Everything that
 * is printed is counted from these places, so the file of a finished method says it all; only the
 * times differ when a run is repeated, and they stand apart.
 */
#ifndef OPS_PAPER_RESULT_H
#define OPS_PAPER_RESULT_H

#include "base/json.h"
#include "ops/paper/stats.h"

enum paper_method { PAPER_BASE, PAPER_SASREC, PAPER_LORA, PAPER_ILORA, PAPER_METHOD_COUNT };

const char *paper_method_name(enum paper_method method); /* "ilora", as on the command line */
/* The method of a name; false: there is none. */
bool paper_method_find(struct span name, enum paper_method *ret_method);
/* Whether it depends on the seed. */
bool paper_method_has_seeds(enum paper_method method);

struct paper_timing {
    double train_seconds;    /* over all processes of a resumed run */
    double evaluate_seconds; /* decoding and scoring */
};

/* Zeroed is empty. */
struct paper_result {
    int samples;
    int *target;   /* owns: (samples) place of the right answer */
    int *answered; /* owns: (samples) the answer as written; SASRec: its best candidate */
    /* owns: (samples) by the released code's rule: the one candidate whose title stands in the
     * answer, letters' case apart */
    int *lenient;
    int *scored;     /* owns: (samples) the most likely candidate */
    int64_t steps;   /* of the optimiser (SASRec: epochs of the model kept) */
    int64_t trained; /* samples seen in training, repeats counted */
    int64_t tokens;  /* of training */
    double first_loss, last_loss;
    int discarded; /* steps */
    struct paper_timing timing;
};

enum paper_figure {
    PAPER_HIT_VALID,     /* HR@1 over valid answers: the paper's; NaN without any */
    PAPER_HIT_ALL,       /* HR@1 over all samples */
    PAPER_VALID,         /* ValidRatio */
    PAPER_HIT_SCORED,    /* HR@1 of the most likely candidate */
    PAPER_LENIENT_HIT,   /* the first three by the released code's rule */
    PAPER_LENIENT_ALL,   /* */
    PAPER_LENIENT_VALID, /* */
    PAPER_FIGURE_COUNT,
};

const char *paper_figure_name(enum paper_figure figure);

/* NO_MEMORY. */
MUST_CHECK enum status paper_result_init(struct paper_result *result, int samples,
                                         struct error *err);
void paper_result_free(struct paper_result *result);
/* hits of how many: both for one figure. */
void paper_result_count(const struct paper_result *result, enum paper_figure figure,
                        int64_t *ret_hits, int64_t *ret_of);
double paper_result_figure(const struct paper_result *result, enum paper_figure figure);

/* One object with all of it and the figures. */
void paper_result_json(struct json_writer *w, const char *name, const struct paper_result *result);
/* The same from parsed text. CORRUPT names the member. paper_result_free afterwards. */
MUST_CHECK enum status paper_result_parse(const struct json_value *json,
                                          struct paper_result *ret_result, struct error *err);

#endif
