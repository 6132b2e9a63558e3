/* training.c - SFT, DPO and direct fine-tuning as stages. */
#include "stage/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "train/log.h"

#define SHOW_MS    500
#define NOT_A_USER ((uint64_t)1 << 40) /* before the ids of rows without one; users are below */

void um_row_set_dispose(um_row_set *set)
{
    um_vec_dispose(&set->rows);
    um_arena_dispose(&set->arena);
}

static const int32_t *keep_tokens(um_row_set *set, const um_tokens *tokens)
{
    int32_t *copy = um_arena_alloc(&set->arena, tokens->len * sizeof *copy);
    if (copy != NULL && tokens->len > 0)
        memcpy(copy, tokens->ids, tokens->len * sizeof *copy);
    set->hash = um_hash(tokens->ids, tokens->len * sizeof *tokens->ids, set->hash);
    return copy;
}

/* "<process>\nBehavior: [" as one text, then the letter, then "]", then the end of the turn. */
static um_status encode_answer(const um_tokenizer *tok, const um_answer *answer, um_tokens *out,
                               um_error *err)
{
    um_str text = UM_STR_INIT;
    char letter = (char)('A' + (int)answer->letter);
    int32_t end = um_chat_end_of_turn(tok, um_chat_detect(tok));

    if (answer->process != NULL)
        um_str_appendf(&text, "%s\n", answer->process);
    um_str_append(&text, UM_PROCESS_BEHAVIOR);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_tokenizer_encode(tok, text.data, text.len, false, out, err);
    if (status == UM_OK)
        status = um_tokenizer_encode(tok, &letter, 1, false, out, err);
    if (status == UM_OK)
        status = um_tokenizer_encode(tok, "]", 1, false, out, err);
    if (status == UM_OK && end >= 0)
        status = um_tokens_push(out, end, err);
    um_str_dispose(&text);
    return status;
}

um_status um_row_set_add_messages(um_row_set *set, const um_tokenizer *tok, uint64_t id,
                                  const um_message *messages, size_t n_messages,
                                  const um_answer *answers, int n, bool train_prompt, um_error *err)
{
    um_tokens tokens = {0};
    um_train_row row = {.id = id, .n_completions = n, .train_prompt = train_prompt};
    um_status status =
        um_chat_encode_prompt(tok, um_chat_detect(tok), messages, n_messages, NULL, &tokens, err);
    if (status != UM_OK)
        goto done;
    row.prompt = keep_tokens(set, &tokens);
    row.prompt_len = (int)tokens.len;
    for (int i = 0; i < n && status == UM_OK; i++) {
        tokens.len = 0;
        status = encode_answer(tok, &answers[i], &tokens, err);
        row.completions[i] = status == UM_OK ? keep_tokens(set, &tokens) : NULL;
        row.completion_len[i] = (int)tokens.len;
    }
    if (status == UM_OK && (row.prompt == NULL || row.completions[0] == NULL ||
                            (n > 1 && row.completions[1] == NULL) || !um_vec_push(&set->rows, row)))
        status = um_fail_memory(err, "training rows");
done:
    um_tokens_dispose(&tokens);
    return status;
}

um_status um_row_set_add(um_row_set *set, um_session *s, const um_tokenizer *tok,
                         const um_scene *scene, const um_answer *answers, int n, bool train_prompt,
                         um_error *err)
{
    um_scene_prompts prompts = {0};
    um_status status = um_scene_prompts_make(&prompts, s, &scene->id, 1, NULL, err);
    if (status == UM_OK)
        status =
            um_row_set_add_messages(set, tok, scene->id, prompts.prompts[0].messages,
                                    prompts.prompts[0].n_messages, answers, n, train_prompt, err);
    um_scene_prompts_dispose(&prompts);
    return status;
}

/* The training itself ------------------------------------------------------------------------- */

typedef struct metrics_sink {
    um_run *run;
    bool dpo, open, begun;
    uint64_t begun_ms;
} metrics_sink;

/* Learning curves and the time spent are stored about twice a second. */
static um_status sink_commit(metrics_sink *sink, um_error *err)
{
    if (!sink->open)
        return UM_OK;
    um_status status = um_run_save(sink->run, false, err);
    if (status == UM_OK)
        status = um_workspace_commit(sink->run->session->ws, err);
    if (status != UM_OK)
        um_workspace_rollback(sink->run->session->ws);
    sink->open = false;
    return status;
}

static void put_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

/* Learning curves are kept for the report; the step is what a resumed run overwrites. */
static um_status on_metrics(void *context, const um_train_metrics *m, um_error *err)
{
    metrics_sink *sink = context;
    json_t *values = json_object();
    um_str text = UM_STR_INIT;
    um_tb_scalar figures[UM_TRAIN_FIGURES];
    size_t n = um_train_figures(figures, m, sink->dpo);
    char detail[240], stage[64];

    um_train_describe(detail, sizeof detail, m, sink->dpo);
    snprintf(stage, sizeof stage, "%s%s", sink->run->info->name,
             m->held_out ? UM_HELD_OUT_PART : "");
    sink->run->total = (uint64_t)m->steps_total;
    if (!sink->begun) /* an evaluation comes first where one was stopped */
        sink->run->resumed = (uint64_t)m->step - (m->held_out ? 0 : 1);
    sink->begun = true;
    if (!m->held_out)
        um_run_progress(sink->run, (uint64_t)m->step, detail);
    for (size_t i = 0; i < n; i++)
        put_real(values, figures[i].tag, figures[i].value);
    json_object_set_new(values, "tokens", json_integer((json_int_t)m->tokens_processed));
    um_json_dump(&text, values);
    json_decref(values);
    um_status status = um_str_status(&text, err);
    um_row_metric row = {stage, (uint64_t)m->step, text.data};
    if (status == UM_OK && !sink->open) {
        status = um_workspace_begin(sink->run->session->ws, err);
        sink->open = status == UM_OK;
        sink->begun_ms = um_clock_ms();
    }
    if (status == UM_OK)
        status = um_workspace_put_metric(sink->run->session->ws, &row, err);
    um_str_dispose(&text);
    if (status == UM_OK && um_clock_ms() - sink->begun_ms >= 500)
        status = sink_commit(sink, err);
    return status;
}

static void fill_options(um_train_options *o, const um_training *what, const um_config *c)
{
    const um_train_config *t = what->config;
    if (what->dpo)
        um_train_defaults_dpo(o);
    else
        um_train_defaults_sft(o);
    o->seed = c->seed * 16 + what->seed_salt;
    o->lr = t->lr;
    o->weight_decay = t->weight_decay;
    o->max_grad_norm = t->max_grad_norm;
    o->epochs = (int)t->epochs;
    o->warmup_steps = (int)t->warmup_steps;
    o->batch_rows = (int)t->batch_rows;
    o->max_tokens = (int)t->max_tokens;
    o->pack_tokens = (int)t->pack_tokens;
    o->checkpoint_every = (int)t->checkpoint_every;
    o->token_budget = what->token_budget;
    o->bf16 = strcmp(t->precision, "bfloat16") == 0;
    o->memory_bytes = (uint64_t)(c->run.memory_gib * (double)(1 << 30));
    o->eval_every = (int)t->eval_every;
    o->patience = (int)t->patience;
    o->keep_best = strcmp(t->keep, "best") == 0;
    if (what->dpo) {
        o->dpo_beta = c->dpo_more.beta;
        o->label_smoothing = c->dpo_more.label_smoothing;
        o->dpo_loss = strcmp(c->dpo_more.loss, "robust") == 0  ? UM_DPO_ROBUST
                      : strcmp(c->dpo_more.loss, "hinge") == 0 ? UM_DPO_HINGE
                      : strcmp(c->dpo_more.loss, "ipo") == 0   ? UM_DPO_IPO
                                                               : UM_DPO_SIGMOID;
    }
}

um_status um_training_check(const char *section, const um_train_config *t, um_error *err)
{
    bool best = strcmp(t->keep, "best") == 0;
    if (t->holdout_share > 0 || (t->patience == 0 && !best))
        return UM_OK;
    return um_fail(err, UM_ERR_INPUT,
                   "%s.%s goes by held-out rows, and %s.holdout_share is 0; set it, to 0.1 say",
                   section, best ? "keep best" : "patience", section);
}

/* Marks the rows to hold out, *out NULL for none; yours. A row is of its scene's user, or of nobody
 * but itself. The seed is that of the run, so that SFT and DPO hold out the same users. */
static um_status hold_out(bool **out, const um_training *what, const um_row_set *set, um_session *s,
                          um_error *err)
{
    const um_config *c = s->config;
    const um_scene_set *scenes;
    const um_train_config *t = what->config;
    *out = NULL;
    if (t->holdout_share <= 0)
        return UM_OK;
    um_status status = um_session_scenes(s, &scenes, err);
    if (status != UM_OK)
        return status;
    uint64_t *groups = um_calloc(set->rows.len, sizeof *groups);
    *out = um_calloc(set->rows.len, sizeof **out);
    for (size_t i = 0; groups != NULL && i < set->rows.len; i++) {
        uint64_t id = set->rows.data[i].id;
        groups[i] = id < scenes->n ? scenes->scenes[id].user : NOT_A_USER + id;
    }
    if (*out == NULL || groups == NULL)
        status = um_fail_memory(err, "rows held out");
    else
        status = um_train_hold_out(*out, groups, set->rows.len, t->holdout_share, c->seed, err);
    free(groups);
    return status;
}

/* Steps are shown through the metrics; what else the trainer does for long (reference scores,
 * held-out rows) shows itself. */
typedef struct passed_on {
    const um_monitor *monitor;
    const metrics_sink *sink;
    uint64_t shown_ms;
} passed_on;

static void pass_on_progress(void *context, const um_progress *p)
{
    passed_on *to = context;
    uint64_t now = um_clock_ms();
    um_run *run = to->sink->run;
    char detail[96];
    if (strcmp(p->unit, "steps") == 0 || now - to->shown_ms < SHOW_MS)
        return;
    to->shown_ms = now;
    if (!to->sink->begun) {
        um_monitor_progress(to->monitor, p);
    } else if (run->done < run->total) { /* within the steps, which go on being counted */
        snprintf(detail, sizeof detail, "%s: %llu/%llu", p->stage, (unsigned long long)p->done,
                 (unsigned long long)p->total);
        um_run_progress(run, run->done, detail);
    }
}

static void pass_on_message(void *context, const char *text)
{
    const passed_on *to = context;
    um_monitor_message(to->monitor, "%s", text);
}

static void put_figures(json_t *detail, const um_train_result *result)
{
    json_object_set_new(detail, "rows", json_integer((json_int_t)result->rows_used));
    json_object_set_new(detail, "rows_dropped", json_integer((json_int_t)result->rows_dropped));
    json_object_set_new(detail, "tokens_processed",
                        json_integer((json_int_t)result->tokens_processed));
    json_object_set_new(detail, "tokens_trained", json_integer((json_int_t)result->tokens_trained));
    put_real(detail, "first_loss", result->first_loss);
    put_real(detail, "last_loss", result->last_loss);
    if (result->rows_held_out == 0)
        return;
    json_object_set_new(detail, "rows_held_out", json_integer((json_int_t)result->rows_held_out));
    put_real(detail, "held_out_loss", result->held_out_loss);
    json_object_set_new(detail, "best_step", json_integer((json_int_t)result->best_step));
    put_real(detail, "best_loss", result->best_loss);
    json_object_set_new(detail, "stopped_early", json_boolean(result->stopped_early));
}

/* A fresh adapter where the configuration asks for one; *out stays NULL where not. */
static um_status make_adapter(um_lora **out, const um_training *what, const um_config *c,
                              const um_model *model, um_error *err)
{
    const um_train_config *t = what->config;
    um_lora_options o = {
        .rank = (int)t->lora_rank, .alpha = t->lora_alpha, .seed = c->seed * 16 + what->seed_salt};
    if (t->lora_rank == 0)
        return UM_OK;
    um_status status = um_lora_parse_targets(&o.targets, t->lora_targets, err);
    if (status == UM_OK)
        status = um_lora_new(out, um_model_get_config(model), &o, err);
    return status;
}

/* The adapter's own folder is `adapter` in the model's, whose weights have it merged in. */
static um_status save_model(const um_training *what, const um_config *c, um_model *model,
                            const um_lora *adapter, const um_tokenizer *tok, const char *to,
                            um_error *err)
{
    char *dir = NULL, base[UM_CONFIG_TEXT];
    um_status status = UM_OK;
    if (adapter != NULL) {
        if (strcmp(what->from, "base") == 0 && c->student.path[0] != '\0')
            snprintf(base, sizeof base, "%s", c->student.path);
        else
            snprintf(base, sizeof base, "../../%s", what->from);
        status = um_path_join(&dir, to, "adapter", err);
        if (status == UM_OK)
            status = um_lora_save(adapter, dir, base, err);
        if (status == UM_OK)
            status = um_lora_merge(model, adapter, err);
    }
    if (status == UM_OK)
        status = um_model_save(model, tok, to, err);
    free(dir);
    return status;
}

um_status um_training_run(um_run *run, const um_training *what, um_model *model,
                          const um_row_set *set, um_error *err)
{
    um_session *s = run->session;
    um_train_options options;
    um_train_result result = {0};
    metrics_sink sink = {.run = run, .dpo = what->dpo};
    char checkpoints[64], logs[64], *dir = NULL, *log_dir = NULL, *to = NULL, hash[17];
    bool *held_out = NULL;
    const um_tokenizer *tok;
    um_compute *compute;
    um_lora *adapter = NULL;
    um_status status;

    fill_options(&options, what, s->config);
    options.stage = run->info->title;
    um_hash_hex(set->hash, hash);
    options.fingerprint = hash;
    snprintf(checkpoints, sizeof checkpoints, "%s.checkpoints", what->to);
    snprintf(logs, sizeof logs, "%s.log", what->to);
    if ((status = hold_out(&held_out, what, set, s, err)) != UM_OK ||
        (status = um_session_model_dir(s, checkpoints, &dir, err)) != UM_OK ||
        (status = um_session_model_dir(s, logs, &log_dir, err)) != UM_OK ||
        (status = um_session_model_dir(s, what->to, &to, err)) != UM_OK ||
        (status = um_session_tokenizer(s, &tok, err)) != UM_OK ||
        (status = um_session_compute(s, &compute, err)) != UM_OK ||
        (run->fresh && (status = um_path_remove_tree(dir, err)) != UM_OK) ||
        (status = um_path_make_dirs(dir, err)) != UM_OK ||
        (status = make_adapter(&adapter, what, s->config, model, err)) != UM_OK)
        goto done;
    options.adapter = adapter;
    options.checkpoint_dir = dir;
    options.log_dir = log_dir;
    options.held_out = held_out;
    passed_on to_caller = {s->monitor, &sink, um_clock_ms()};
    um_monitor quiet = {.on_progress = pass_on_progress,
                        .on_message = pass_on_message,
                        .context = &to_caller,
                        .stop = s->monitor != NULL ? s->monitor->stop : NULL};
    status = (what->dpo ? um_train_dpo : um_train_sft)(model, compute, set->rows.data,
                                                       set->rows.len, &options, on_metrics, &sink,
                                                       &result, &quiet, err);
    um_error ignored;
    um_status stored = sink_commit(&sink, status == UM_OK ? err : &ignored);
    status = status == UM_OK ? stored : status;
    if (status == UM_OK)
        status = save_model(what, s->config, model, adapter, tok, to, err);
    if (status != UM_OK)
        goto done;
    run->done = run->total = (uint64_t)result.steps;
    put_figures(run->detail, &result);
    status = um_run_save(run, true, err);
    if (status == UM_OK)
        status = um_path_remove_tree(dir, err);
done:
    free(held_out);
    um_lora_free(adapter);
    free(dir);
    free(log_dir);
    free(to);
    return status;
}

/* Rows of the trainings ----------------------------------------------------------------------- */

typedef struct pair_rows {
    um_session *s;
    um_row_set *set;
    const um_tokenizer *tok;
    bool dpo;
} pair_rows;

static um_status add_pair(void *context, const um_row_pair *pair, um_error *err)
{
    pair_rows *r = context;
    const um_scene *scene = &r->s->scenes->scenes[pair->scene_id];
    um_row_decision decision;
    char *texts[2] = {NULL, NULL};
    uint64_t ids[2] = {pair->chosen_decision, pair->rejected_decision};
    um_status status = UM_OK;

    for (int i = 0; i < 2 && status == UM_OK && ids[i] != 0; i++) {
        status = um_workspace_get_decision(&decision, r->s->ws, ids[i], err);
        if (status == UM_OK && (texts[i] = um_strdup(decision.text)) == NULL)
            status = um_fail_memory(err, "pair");
    }
    um_answer answers[2] = {{texts[0], pair->chosen_letter}, {texts[1], pair->rejected_letter}};
    if (status == UM_OK)
        status = um_row_set_add(r->set, r->s, r->tok, scene, answers, r->dpo ? 2 : 1, false, err);
    free(texts[0]);
    free(texts[1]);
    return status;
}

static um_status add_direct_rows(um_session *s, um_row_set *set, const um_tokenizer *tok,
                                 um_error *err)
{
    const um_scene_set *scenes = s->scenes;
    for (size_t i = 0; i < scenes->n; i++) {
        const um_scene *scene = &scenes->scenes[i];
        um_answer answer = {NULL, scene->target};
        if (scene->split != UM_SPLIT_TRAIN)
            continue;
        um_status status = um_row_set_add(set, s, tok, scene, &answer, 1, false, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* Processed tokens of a finished training. */
static um_status tokens_of(um_session *s, const char *stage, uint64_t *tokens, um_error *err)
{
    um_row_stage row;
    json_t *detail = NULL;
    um_status status = um_workspace_get_stage(&row, s->ws, stage, err);
    if (status == UM_OK)
        status = um_json_parse(&detail, row.detail, strlen(row.detail), stage, err);
    if (status == UM_OK)
        *tokens += (uint64_t)json_integer_value(json_object_get(detail, "tokens_processed"));
    json_decref(detail);
    return status;
}

um_status um_stage_train(um_session *s, const char *what, um_error *err)
{
    const um_config *c = s->config;
    um_training t = {"train.sft", "base", "sft", &c->sft, false, 0, 1};
    const char *sections = "seed sft. prompt.", *after = "distill";
    um_run run = {0};
    um_row_set set = {0};
    um_model *model = NULL;
    const um_tokenizer *tok;
    const um_scene_set *scenes;
    char *from = NULL;
    um_status status;

    if (strcmp(what, "dpo") == 0) {
        t = (um_training){"train.dpo", "sft", "sft_dpo", &c->dpo, true, 0, 2};
        sections = "seed dpo. prompt.";
        after = "train.sft";
    } else if (strcmp(what, "direct") == 0) {
        t = (um_training){"train.direct", "base", "direct_sft", &c->direct, false, 0, 3};
        sections = "seed direct. prompt.";
        after = strcmp(c->direct_more.budget, "sft") == 0 ? "train.sft" : "train.dpo";
    }
    if ((status = um_training_check(what, t.config, err)) != UM_OK)
        return status;
    /* A student that was given must still be the one the pairs were made with. */
    status = c->student.path[0] != '\0' ? um_stage_base(s, err) : UM_OK;
    if (status == UM_OK)
        status = um_run_begin(&run, s, t.stage, sections, after, 0, err);
    if (status != UM_OK || run.finished_before)
        goto done;
    pair_rows rows = {s, &set, NULL, t.dpo};
    if ((status = um_session_scenes(s, &scenes, err)) != UM_OK ||
        (status = um_session_tokenizer(s, &tok, err)) != UM_OK ||
        (status = um_session_model_dir(s, t.from, &from, err)) != UM_OK ||
        (status = um_model_load(&model, from, err)) != UM_OK)
        goto done;
    rows.tok = tok;
    if (strcmp(what, "direct") == 0) {
        if ((status = add_direct_rows(s, &set, tok, err)) != UM_OK ||
            (status = tokens_of(s, "train.sft", &t.token_budget, err)) != UM_OK)
            goto done;
        if (strcmp(after, "train.dpo") == 0)
            status = tokens_of(s, "train.dpo", &t.token_budget, err);
    } else {
        status = um_workspace_pairs(s->ws, add_pair, &rows, err);
    }
    if (status == UM_OK)
        status = um_training_run(&run, &t, model, &set, err);
done:
    um_row_set_dispose(&set);
    um_model_free(model);
    free(from);
    um_run_dispose(&run);
    return status;
}
