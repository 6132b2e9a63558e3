/*
 * difficulty.c - how much a prompt helps the untuned student to write the chosen answer.
 *
 * An answer is the decision process with its behaviour and end of turn, tokenised as training sees
 * it. Without its prompt means: the same conversation with no system message and an empty user
 * message, so that the chat's own marks stand on both sides and the same tokens are scored. Scores
 * are stored in portions: what was interrupted goes on where it stopped.
 */
#include "stage/difficulty.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/training.h"

#define PORTION 32 /* scenes a transaction */

struct um_difficulty_reader {
    UM_VEC(um_row_difficulty) rows; /* by scene */
    size_t at;
};

static um_status add_row(void *context, const um_row_difficulty *row, um_error *err)
{
    um_difficulty_reader *r = context;
    return um_vec_push(&r->rows, *row) ? UM_OK : um_fail_memory(err, "difficulties");
}

um_status um_difficulty_reader_open(um_difficulty_reader **out, um_workspace *ws, um_error *err)
{
    um_difficulty_reader *r = um_calloc(1, sizeof *r);
    if (r == NULL)
        return um_fail_memory(err, "difficulties");
    um_status status = um_workspace_difficulties(ws, add_row, r, err);
    if (status == UM_OK)
        *out = r;
    else
        um_difficulty_reader_free(r);
    return status;
}

void um_difficulty_reader_free(um_difficulty_reader *r)
{
    if (r == NULL)
        return;
    um_vec_dispose(&r->rows);
    free(r);
}

static const um_row_difficulty *find(um_difficulty_reader *r, uint64_t scene_id)
{
    while (r->at < r->rows.len && r->rows.data[r->at].scene_id < scene_id)
        r->at++;
    bool found = r->at < r->rows.len && r->rows.data[r->at].scene_id == scene_id;
    return found ? &r->rows.data[r->at] : NULL;
}

double um_difficulty_of(um_difficulty_reader *r, uint64_t scene_id)
{
    const um_row_difficulty *row = find(r, scene_id);
    return row == NULL ? NAN
                       : um_instruction_difficulty(row->logp_with, row->logp_without, row->tokens);
}

/* A scene whose answer is to be scored. */
typedef struct wanted {
    uint64_t scene, decision;
    uint32_t letter;
} wanted;

typedef struct scoring {
    um_session *s;
    const um_tokenizer *tok;
    um_compute *compute;
    um_model *model;
    UM_VEC(wanted) wanted;
    um_row_set set;       /* of a portion: two rows a scene, with and without its prompt */
    UM_VEC(size_t) which; /* [set.rows.len / 2] index in wanted */
    double logp[2 * PORTION];
    uint64_t too_long;
} scoring;

/* The scenes that can give a pair and whose chosen answer has no score. */
static um_status find_wanted(scoring *t, const um_distill_rules *rules, uint64_t predictor,
                             um_error *err)
{
    um_difficulty_reader *stored = NULL;
    um_scored_cursor *cursor = NULL;
    um_scene_candidates c = {0};
    const um_scored_scene *scene = NULL;
    um_status status = um_difficulty_reader_open(&stored, t->s->ws, err);

    if (status == UM_OK)
        status = um_workspace_scored(&cursor, t->s->ws, "train", 0, predictor, err);
    while (status == UM_OK && (status = um_scored_next(cursor, &scene, err)) == UM_OK &&
           scene != NULL) {
        status = um_scene_candidates_fill(&c, scene, rules, err);
        const um_row_difficulty *row = find(stored, scene->id);
        const wanted one = {scene->id, c.decisions[0], c.letters[0]};
        if (status == UM_OK && c.has_pair && (row == NULL || row->decision_id != one.decision) &&
            !um_vec_push(&t->wanted, one))
            status = um_fail_memory(err, "difficulties");
    }
    um_scored_close(cursor);
    um_scene_candidates_dispose(&c);
    um_difficulty_reader_free(stored);
    return status;
}

/* Both rows of a scene, unless its answer is longer than the student can hold. */
static um_status add_scene(scoring *t, size_t index, um_error *err)
{
    static const um_message nothing = {"user", ""};
    const wanted *w = &t->wanted.data[index];
    const um_scene *scene = &t->s->scenes->scenes[w->scene];
    um_row_decision decision;
    um_status status = um_workspace_get_decision(&decision, t->s->ws, w->decision, err);
    um_answer answer = {decision.text, w->letter};
    size_t before = t->set.rows.len;

    if (status == UM_OK)
        status = um_row_set_add(&t->set, t->s, t->tok, scene, &answer, 1, false, err);
    if (status == UM_OK)
        status = um_row_set_add_messages(&t->set, t->tok, scene->id, &nothing, 1, &answer, 1, false,
                                         err);
    if (status != UM_OK)
        return status;
    const um_train_row *row = &t->set.rows.data[before];
    int64_t limit = um_model_get_config(t->model)->max_positions;
    if (t->s->config->sft.max_tokens < limit)
        limit = t->s->config->sft.max_tokens; /* longer ones are not trained on either */
    if ((int64_t)row->prompt_len + row->completion_len[0] > limit) {
        t->too_long++;
        t->set.rows.len = before;
        return UM_OK;
    }
    return um_vec_push(&t->which, index) ? UM_OK : um_fail_memory(err, "difficulties");
}

static um_status on_score(void *context, size_t row, const double *logp, um_error *err)
{
    scoring *t = context;
    (void)err;
    t->logp[row] = logp[0];
    return UM_OK;
}

static um_status score_portion(scoring *t, size_t first, size_t end, um_error *err)
{
    um_status status = UM_OK;
    um_row_set_dispose(&t->set);
    t->set = (um_row_set){0};
    t->which.len = 0;
    for (size_t i = first; i < end && status == UM_OK; i++)
        status = add_scene(t, i, err);
    if (status == UM_OK)
        status = um_score_rows(t->model, t->compute, t->set.rows.data, t->set.rows.len,
                               (int)t->s->config->sft.pack_tokens, on_score, t, t->s->monitor, err);
    if (status != UM_OK || (status = um_workspace_begin(t->s->ws, err)) != UM_OK)
        return status;
    for (size_t i = 0; i < t->which.len && status == UM_OK; i++) {
        const wanted *w = &t->wanted.data[t->which.data[i]];
        um_row_difficulty row = {.scene_id = w->scene,
                                 .decision_id = w->decision,
                                 .tokens = (uint32_t)t->set.rows.data[2 * i].completion_len[0],
                                 .logp_with = t->logp[2 * i],
                                 .logp_without = t->logp[2 * i + 1]};
        status = um_workspace_put_difficulty(t->s->ws, &row, err);
    }
    if (status == UM_OK)
        status = um_workspace_commit(t->s->ws, err);
    if (status != UM_OK)
        um_workspace_rollback(t->s->ws);
    return status;
}

um_status um_difficulties_measure(um_session *s, const um_distill_rules *rules, uint64_t predictor,
                                  um_error *err)
{
    scoring t = {.s = s};
    const um_scene_set *set;
    char *dir = NULL;
    um_status status = find_wanted(&t, rules, predictor, err);

    if (status != UM_OK || t.wanted.len == 0)
        goto done;
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_session_tokenizer(s, &t.tok, err)) != UM_OK ||
        (status = um_session_compute(s, &t.compute, err)) != UM_OK ||
        (status = um_session_model_dir(s, "base", &dir, err)) != UM_OK ||
        (status = um_model_load(&t.model, dir, err)) != UM_OK)
        goto done;
    for (size_t i = 0; i < t.wanted.len && status == UM_OK; i += PORTION) {
        size_t end = i + PORTION < t.wanted.len ? i + PORTION : t.wanted.len;
        status = score_portion(&t, i, end, err);
        um_progress p = {.stage = "Instruction-following difficulty",
                         .unit = "scenes",
                         .done = end,
                         .total = t.wanted.len};
        if (status == UM_OK)
            um_monitor_progress(s->monitor, &p);
    }
    if (t.too_long > 0)
        um_monitor_message(s->monitor, "  %llu answers are longer than the student's context",
                           (unsigned long long)t.too_long);
done:
    um_row_set_dispose(&t.set);
    um_vec_dispose(&t.wanted);
    um_vec_dispose(&t.which);
    um_model_free(t.model);
    free(dir);
    return status;
}
