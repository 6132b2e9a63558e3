/*
 * scenes.c - the stage that builds scenes from the log, and leaves out those whose prompt is longer
 * than the student may read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/str.h"
#include "stage/embeddings.h"
#include "stage/remote.h"

/* Options ------------------------------------------------------------------------------------- */

/* "YYYY-MM-DD" or "YYYY-MM-DD HH:MM:SS"; empty is 0, which lets the cut be placed by its share. */
static um_status parse_time_cut(int64_t *time_s, const char *text, um_error *err)
{
    char whole[UM_CONFIG_TEXT];
    *time_s = 0;
    if (text[0] == '\0')
        return UM_OK;
    snprintf(whole, sizeof whole, "%s%s", text, strlen(text) == 10 ? " 00:00:00" : "");
    if (!um_time_parse(whole, time_s))
        return um_fail(err, UM_ERR_INPUT,
                       "scenes.time_cut: found '%s'; YYYY-MM-DD or YYYY-MM-DD HH:MM:SS", text);
    *time_s += *time_s == 0; /* what has time 0 lies before the log, and so before any cut */
    return UM_OK;
}

static um_split_by split_by_of(const char *name)
{
    int by = UM_SPLIT_BY_USER;
    while (by < UM_SPLIT_BY_BOTH && strcmp(name, um_split_by_name((um_split_by)by)) != 0)
        by++;
    return (um_split_by)by;
}

static um_status fill_options(um_scene_options *o, const um_config *c, um_error *err)
{
    um_scene_defaults(o);
    o->seed = c->seed;
    o->split_by = split_by_of(c->scenes.split_by);
    o->eval_time_share = c->scenes.eval_time_share;
    o->eval_user_share = c->scenes.eval_user_share;
    o->base_scenes = (uint32_t)c->scenes.base;
    o->train_scenes = (uint32_t)c->scenes.train;
    o->eval_scenes = (uint32_t)c->scenes.eval;
    o->min_order = (uint32_t)c->scenes.min_order;
    o->min_history = (uint32_t)c->scenes.min_history;
    o->max_history = (uint32_t)c->scenes.max_history;
    o->eval_last_history = c->scenes.eval_last_history;
    o->train_min_len = (uint32_t)c->scenes.train_min_len;
    o->train_max_len = (uint32_t)c->scenes.train_max_len;
    o->eval_min_len = (uint32_t)c->scenes.eval_min_len;
    o->eval_max_len = (uint32_t)c->scenes.eval_max_len;
    o->use_impressions = c->scenes.use_impressions;
    o->multi_click =
        strcmp(c->scenes.multi_click, "each") == 0 ? UM_MULTI_CLICK_EACH : UM_MULTI_CLICK_SKIP;
    o->no_click = c->scenes.no_click;
    o->source_on[UM_SOURCE_RANDOM] = c->scenes.random;
    o->source_on[UM_SOURCE_POPULARITY] = c->scenes.popularity;
    o->source_on[UM_SOURCE_SPECTRAL] = c->scenes.spectral;
    o->source_on[UM_SOURCE_CONTENT] = c->scenes.content;
    o->source_on[UM_SOURCE_SOCIAL] = c->scenes.social;
    o->source_weight[UM_SOURCE_RANDOM] = c->scenes.weight_random;
    o->source_weight[UM_SOURCE_POPULARITY] = c->scenes.weight_popularity;
    o->source_weight[UM_SOURCE_SPECTRAL] = c->scenes.weight_spectral;
    o->source_weight[UM_SOURCE_CONTENT] = c->scenes.weight_content;
    o->source_weight[UM_SOURCE_SOCIAL] = c->scenes.weight_social;
    o->spectral_rank = (uint32_t)c->scenes.spectral_rank;
    o->spectral_compat = c->scenes.spectral_compat;
    o->content_rank = (uint32_t)c->scenes.content_rank;
    return parse_time_cut(&o->time_cut_s, c->scenes.time_cut, err);
}

/* Prompt lengths ------------------------------------------------------------------------------ */

typedef struct measuring {
    const um_scene_set *set;
    const um_prompt_form *form;
    const um_tokenizer *tok;
    um_chat_format format;
    uint64_t limit;
    bool *too_long;   /* [set->n] */
    um_error *errors; /* [threads] */
} measuring;

/* The tokens of the prompt that decide gives to a model. */
static um_status measure_prompt(const measuring *m, const um_scene *scene, size_t *tokens,
                                um_error *err)
{
    char *user = NULL;
    um_tokens ids = {0};
    um_status status = um_prompt_form_user(m->form, scene, &user, err);
    const um_message messages[] = {{"system", um_prompt_form_system(m->form)}, {"user", user}};
    if (status == UM_OK)
        status =
            um_chat_encode_prompt(m->tok, m->format, messages, 2, UM_PROCESS_OPENING, &ids, err);
    *tokens = ids.len;
    um_tokens_dispose(&ids);
    free(user);
    return status;
}

static void measure_range(void *context, size_t begin, size_t end, int thread)
{
    const measuring *m = context;
    um_error *err = &m->errors[thread];
    for (size_t i = begin; i < end && err->status == UM_OK; i++) {
        size_t tokens;
        err->status = measure_prompt(m, &m->set->scenes[i], &tokens, err);
        m->too_long[i] = tokens > m->limit;
    }
}

/* Takes the marked scenes out of the set; ids stay consecutive. */
static void leave_out(um_scene_set *set, const bool *marked)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        um_scene *scene = &set->scenes[i];
        if (marked[i]) {
            set->n_split[scene->split]--;
            set->dropped[UM_DROP_LONG_PROMPT]++;
            continue;
        }
        scene->id = kept;
        set->scenes[kept++] = *scene;
    }
    set->n = kept;
}

static um_status leave_out_long(um_session *s, um_scene_set *set, um_error *err)
{
    measuring m = {.set = set, .limit = (uint64_t)s->config->scenes.max_prompt_tokens};
    um_pool *pool = NULL;
    um_status status = um_session_form(s, &m.form, err);
    if (status == UM_OK)
        status = um_session_tokenizer(s, &m.tok, err);
    if (status == UM_OK)
        status = um_pool_new(&pool, (int)s->config->threads, err);
    if (status != UM_OK)
        return status;
    int threads = um_pool_threads(pool);
    m.format = um_chat_detect(m.tok);
    m.too_long = um_calloc(set->n, sizeof *m.too_long);
    m.errors = um_calloc((size_t)threads, sizeof *m.errors);
    if (m.too_long == NULL || m.errors == NULL) {
        status = um_fail_memory(err, "prompt lengths");
        goto done;
    }
    um_pool_run(pool, set->n, 1, measure_range, &m);
    for (int i = 0; i < threads && status == UM_OK; i++) {
        if (m.errors[i].status != UM_OK)
            status = um_fail(err, m.errors[i].status, "%s", m.errors[i].text);
    }
    if (status == UM_OK)
        leave_out(set, m.too_long);
done:
    free(m.too_long);
    free(m.errors);
    um_pool_free(pool);
    return status;
}

/* The stage ----------------------------------------------------------------------------------- */

/* Whether prompts can be measured here: with a student that is given. */
static bool measures(const um_config *c)
{
    return c->scenes.max_prompt_tokens > 0 && c->student.path[0] != '\0';
}

/* Says which splits are smaller than was asked for. */
static void report_shortage(const um_run *run, const um_scene_set *set)
{
    const um_config *c = run->session->config;
    const int64_t wanted[] = {c->scenes.base, c->scenes.train, c->scenes.eval};
    um_str text = UM_STR_INIT;
    for (int i = 0; i < 3; i++)
        if (set->n_split[i] < (uint64_t)wanted[i])
            um_str_appendf(&text, "%s%s %zu of %lld", text.len > 0 ? ", " : "",
                           um_split_name((um_split)i), set->n_split[i], (long long)wanted[i]);
    if (text.len > 0)
        um_monitor_message(run->session->monitor, "%s: fewer scenes than asked for: %s",
                           run->info->title, um_str_text(&text));
    um_str_dispose(&text);
}

/* Says what was left out, and puts it and the split into the stage's detail. */
static void report(um_run *run, const um_scene_set *set)
{
    const um_session *s = run->session;
    json_t *dropped = json_object();
    um_str text = UM_STR_INIT;
    for (int i = 0; i < UM_DROP_COUNT; i++) {
        unsigned long long n = set->dropped[i];
        json_object_set_new(dropped, um_drop_name((um_drop)i), json_integer((json_int_t)n));
        if (n > 0)
            um_str_appendf(&text, "%s%llu %s", text.len > 0 ? ", " : "", n,
                           um_drop_name((um_drop)i));
    }
    json_t *split = um_split_json(set->split_by, set->time_cut_s);
    um_monitor_message(s->monitor, "%s: split %s%s%s", run->info->title,
                       json_string_value(json_object_get(split, "text")),
                       text.len > 0 ? "; left out: " : "", um_str_text(&text));
    report_shortage(run, set);
    if (s->dataset->n_skips > 0 && s->config->scenes.use_impressions && !s->config->scenes.no_click)
        um_monitor_message(s->monitor,
                           "%s: the log's %llu lists nobody chose from are not used; "
                           "--no-click true makes scenes of them",
                           run->info->title, (unsigned long long)s->dataset->n_skips);
    if (s->config->scenes.max_prompt_tokens > 0 && !measures(s->config))
        um_monitor_message(s->monitor,
                           "%s: the student is made later, so lengths of prompts are checked when "
                           "decisions are made",
                           run->info->title);
    json_object_set_new(run->detail, "dropped", dropped);
    json_object_set_new(run->detail, "split", split);
    um_str_dispose(&text);
}

/* Vectors of items, before the stage's transaction: what endpoints answer is stored as it comes.
 * files: what the vectors depend on beside the options. */
static um_status embed(um_session *s, um_item_embeddings *out, float **rows, uint64_t *files,
                       um_error *err)
{
    const char *source = s->config->scenes.embeddings;
    const um_dataset *d;
    um_row_stage row;
    um_status status = um_workspace_get_stage(&row, s->ws, "scenes", err);

    if (source[0] != '\0' && !um_source_is_url(source))
        *files ^= um_path_hash(source);
    if (status == UM_OK && strcmp(row.status, "done") == 0)
        return UM_OK;
    if (status != UM_OK && status != UM_ERR_NOT_FOUND)
        return status;
    status = um_session_dataset(s, &d, err);
    return status == UM_OK ? um_embeddings_make(out, rows, s, d, err) : status;
}

static um_status build(um_session *s, um_scene_set **set, const um_item_embeddings *vectors,
                       um_error *err)
{
    const char *file = s->config->scenes.template_file;
    um_scene_options options;
    um_template *t = NULL;
    const um_dataset *d;
    um_status status = fill_options(&options, s->config, err);

    if (status != UM_OK || (status = um_session_dataset(s, &d, err)) != UM_OK)
        return status;
    options.embeddings = vectors->rows != NULL ? vectors : NULL;
    status =
        file[0] != '\0' ? um_template_load(&t, file, err) : um_template_builtin(&t, d->name, err);
    if (status == UM_OK)
        status = um_template_check(t, d, err);
    if (status == UM_OK)
        status = um_scenes_build(set, d, &options, t, (int)s->config->threads, s->monitor, err);
    if (status == UM_OK && measures(s->config))
        status = leave_out_long(s, *set, err);
    um_template_free(t);
    return status;
}

static um_status no_scenes(const um_config *c, const um_scene_set *set, um_error *err)
{
    if (c->scenes.base + c->scenes.train + c->scenes.eval == 0)
        return um_fail(err, UM_ERR_INPUT,
                       "scenes: found scenes.base, scenes.train and scenes.eval 0; ask for some");
    if (set->dropped[UM_DROP_LONG_PROMPT] > 0)
        return um_fail(err, UM_ERR_INPUT,
                       "scenes: all %llu prompts are longer than scenes.max_prompt_tokens, %lld; "
                       "raise it, or show less (scenes.max_history, scenes.template)",
                       (unsigned long long)set->dropped[UM_DROP_LONG_PROMPT],
                       (long long)c->scenes.max_prompt_tokens);
    return um_fail(err, UM_ERR_INPUT,
                   "scenes: no interaction can become a scene; each needs %lld earlier ones of its "
                   "user and enough other items",
                   (long long)c->scenes.min_order);
}

/* Building is quick against storing decisions, so the stage is one transaction: whole or not at
 * all. */
um_status um_stage_scenes(um_session *s, um_error *err)
{
    const um_tokenizer *tok;
    const char *sections = "seed scenes.";
    um_run run = {0};
    um_scene_set *set = NULL;
    um_item_embeddings vectors = {0};
    float *rows = NULL;
    uint64_t extra = 0;
    bool imported = false;
    um_status status = um_session_imported(s, "scenes", &imported, err);

    if (status == UM_OK && !imported && measures(s->config)) {
        /* Then prompt and tokenizer decide which scenes there are. */
        sections = "seed scenes. prompt.";
        status = um_session_tokenizer(s, &tok, err);
        extra = status == UM_OK
                    ? um_tokenizer_hash(tok) ^ um_chat_hash(tok, um_chat_detect(tok)) << 1
                    : 0;
    }
    if (status == UM_OK && !imported)
        status = embed(s, &vectors, &rows, &extra, err);
    if (status != UM_OK || imported || (status = um_workspace_begin(s->ws, err)) != UM_OK) {
        free(rows);
        return status;
    }
    status = um_run_begin(&run, s, "scenes", sections, "ingest", extra, err);
    if (status != UM_OK || run.finished_before)
        goto done;
    if ((status = build(s, &set, &vectors, err)) != UM_OK)
        goto done;
    run.total = set->n;
    for (size_t i = 0; i < set->n && status == UM_OK; i++)
        status = um_scene_store(s->ws, s->dataset, &set->scenes[i], err);
    run.done = set->n;
    report(&run, set);
    if (status == UM_OK && set->n == 0)
        status = no_scenes(s->config, set, err);
    if (status == UM_OK)
        status = um_run_save(&run, true, err);
    if (status == UM_OK)
        status = um_workspace_commit(s->ws, err);
    if (status == UM_OK)
        um_run_progress(&run, run.total, NULL);
done:
    um_workspace_rollback(s->ws);
    free(rows);
    um_scene_set_free(set);
    um_run_dispose(&run);
    return status;
}
