/* candidates.c - see candidates.h. */
#include "stage/candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mirrorer/process.h"

um_status um_distill_rules_read(um_distill_rules *out, const um_config *config, um_error *err)
{
    *out = (um_distill_rules){.keep_malformed = config->distill.keep_malformed,
                              .keep_contradicting = config->distill.keep_contradicting,
                              .seed = config->seed};
    if (!um_strategy_parse(config->distill.strategy, &out->strategy))
        return um_fail(err, UM_ERR_INPUT, "distill.strategy '%s' is unknown",
                       config->distill.strategy);
    if (!um_pair_rule_parse(config->distill.chosen, &out->chosen))
        return um_fail(err, UM_ERR_INPUT, "distill.chosen '%s' is unknown", config->distill.chosen);
    if (!um_pair_rule_parse(config->distill.rejected, &out->rejected))
        return um_fail(err, UM_ERR_INPUT, "distill.rejected '%s' is unknown",
                       config->distill.rejected);
    return UM_OK;
}

static um_status add_candidate(um_scene_candidates *c, const um_scored_scene *scene,
                               const um_scored_decision *d, const um_distill_rules *rules,
                               um_error *err)
{
    um_decision_measure m;
    const char *fault = d->form_error;
    um_status status = um_decision_measure_row(&m, d->p, scene->k, scene->target, err);

    if (status != UM_OK)
        return um_error_prefix(err, status, "scene %llu, %s's sample %u",
                               (unsigned long long)scene->id, d->student ? "student" : "teacher",
                               d->sample);
    um_candidate one = {
        .decision = d->id,
        .entropy = m.entropy,
        .log_loss = m.log_loss,
        .behavior = um_behavior_draw(d->p, scene->k, rules->seed, scene->id, d->student, d->sample),
        .from_teacher = !d->student};
    bool contradicts = fault == NULL && d->said != 0 && d->said != one.behavior + 1u;
    if (contradicts)
        fault = um_process_fault_name(UM_PROCESS_CONTRADICTION);
    one.may_train =
        fault == NULL || rules->keep_malformed || (contradicts && rules->keep_contradicting);
    bool ok = um_vec_push(&c->all, one) && um_vec_push(&c->faults, fault) &&
              um_vec_push(&c->behaviors[d->student], one.behavior);
    for (uint32_t j = 0; j < scene->k && ok; j++)
        ok = um_vec_push(&c->p[d->student], d->p[j]);
    return ok ? UM_OK : um_fail_memory(err, "decision processes");
}

/* Without decision processes: the true action, and a wrong one drawn from the direct distribution.
 */
static void choose_direct(um_scene_candidates *c, const um_scored_scene *scene,
                          const um_distill_rules *rules)
{
    c->has_pair = scene->direct != NULL;
    c->reason = c->has_pair ? NULL : "no direct distribution";
    if (!c->has_pair)
        return;
    c->letters[0] = scene->target;
    c->letters[1] =
        um_wrong_behavior_draw(scene->direct, scene->k, scene->target, rules->seed, scene->id);
}

static void choose(um_scene_candidates *c, const um_scored_scene *scene,
                   const um_distill_rules *rules)
{
    const um_pair_rules pair = {rules->chosen, rules->rejected, rules->seed, scene->id};

    if (!c->measured) {
        c->reason = "no decision processes";
        return;
    }
    c->has_pair =
        um_pair_choose(c->all.data, c->all.len, scene->target, &pair, &c->chosen, &c->rejected);
    if (c->has_pair) {
        c->decisions[0] = c->all.data[c->chosen].decision;
        c->decisions[1] = c->all.data[c->rejected].decision;
        c->letters[0] = c->all.data[c->chosen].behavior;
        c->letters[1] = c->all.data[c->rejected].behavior;
    } else if (c->chosen == SIZE_MAX) {
        c->reason = "no well-formed teacher process reached the true action";
    } else {
        c->reason = "no well-formed process reached another action";
    }
}

um_status um_scene_candidates_fill(um_scene_candidates *c, const um_scored_scene *scene,
                                   const um_distill_rules *rules, um_error *err)
{
    um_uncertainty *const measures[] = {&c->measures.teacher, &c->measures.student};
    const um_uncertainty unknown = {NAN, NAN, NAN, NAN, NAN};
    um_status status = UM_OK;

    c->all.len = c->faults.len = 0;
    c->measures = (um_scene_measures){unknown, unknown, NAN};
    c->has_pair = false;
    c->reason = NULL;
    c->chosen = c->rejected = SIZE_MAX;
    for (int r = 0; r < 2; r++)
        c->p[r].len = c->behaviors[r].len = c->decisions[r] = c->letters[r] = 0;
    for (size_t i = 0; i < scene->n && status == UM_OK; i++)
        status = add_candidate(c, scene, &scene->decisions[i], rules, err);
    c->measured = c->behaviors[0].len > 0 && c->behaviors[1].len > 0;
    for (int r = 0; r < 2 && status == UM_OK; r++) {
        if (c->behaviors[r].len > 0)
            status = um_uncertainty_measure(measures[r], c->p[r].data, c->behaviors[r].len,
                                            scene->k, c->behaviors[r].data, scene->target, err);
    }
    if (status != UM_OK)
        return status;
    if (rules->strategy == UM_STRATEGY_RANDOM_DIRECT)
        choose_direct(c, scene, rules);
    else
        choose(c, scene, rules);
    return UM_OK;
}

void um_scene_candidates_dispose(um_scene_candidates *c)
{
    um_vec_dispose(&c->all);
    um_vec_dispose(&c->faults);
    for (int r = 0; r < 2; r++) {
        um_vec_dispose(&c->p[r]);
        um_vec_dispose(&c->behaviors[r]);
    }
}

static um_status find_base(void *context, const um_row_model *row, um_error *err)
{
    (void)err;
    if (strcmp(row->name, "base") == 0)
        *(uint64_t *)context = row->id;
    return UM_OK;
}

um_status um_predictor_id(um_workspace *ws, uint64_t *id, um_error *err)
{
    *id = 0;
    return um_workspace_models(ws, find_base, id, err);
}
