/*
 * embeddings.c - vectors of items for the content source: given in a safetensors file, or made of
 * the items' descriptions by a model folder or an endpoint. What was made is kept in the workspace
 * under a name that says what it depends on.
 */
#include "stage/embeddings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/safetensors.h"
#include "stage/remote.h"

#define TENSOR          "embeddings"
#define NO_TEXT         UINT32_MAX
#define TEXTS_A_REQUEST 64 /* embed_batch of um_remote_options */

/* Text of an item: its descriptions, a line each. */
static um_status item_text(char **out, const um_table *items, uint32_t item, um_error *err)
{
    um_str text = UM_STR_INIT;
    for (uint32_t c = 0; c < items->n_columns; c++) {
        const char *cell = um_table_cell(items, item, (int)c);
        if (items->kinds[c] == UM_COLUMN_DESCRIPTION && cell != NULL && cell[0] != '\0')
            um_str_appendf(&text, "%s%s: %s", text.len > 0 ? "\n" : "", items->columns[c], cell);
    }
    return um_str_take(&text, out, err);
}

static void free_texts(char **texts, uint32_t n)
{
    for (uint32_t i = 0; texts != NULL && i < n; i++)
        free(texts[i]);
    free(texts);
}

static um_status item_texts(char ***out, const um_dataset *d, um_error *err)
{
    uint32_t n = d->items.n_rows;
    char **texts = um_calloc(n, sizeof *texts);
    um_status status = texts != NULL ? UM_OK : um_fail_memory(err, "texts of items");
    for (uint32_t i = 0; i < n && status == UM_OK; i++)
        status = item_text(&texts[i], &d->items, i, err);
    if (status == UM_OK)
        *out = texts;
    else
        free_texts(texts, n);
    return status;
}

/* Reads the tensor as [rows, dim]; *rows_n = 0 on entry: any number of rows. */
static um_status read_matrix(um_item_embeddings *out, float **rows, const um_safetensors *file,
                             um_error *err)
{
    const um_safetensor *t = um_safetensors_find(file, TENSOR);
    size_t n;
    if (t == NULL && file->n == 1)
        t = &file->tensors[0];
    if (t == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: %zu tensors, none of them named \"" TENSOR "\"",
                       file->path, file->n);
    if (t->n_dims != 2 || t->shape[0] > UINT32_MAX || t->shape[1] < 1 || t->shape[1] > 65536)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: \"%s\" must be a matrix [items, dimension], at most 65536 wide",
                       file->path, t->name);
    if (um_mul_overflows((size_t)t->shape[0], (size_t)t->shape[1], &n))
        return um_fail_memory(err, file->path);
    *rows = um_calloc(n, sizeof **rows);
    if (*rows == NULL)
        return um_fail_memory(err, file->path);
    *out = (um_item_embeddings){(uint32_t)t->shape[0], (uint32_t)t->shape[1], *rows};
    return um_safetensors_floats(file, t, *rows, err);
}

/* Puts the file's rows in the order of the log's items, by the ids in the metadata. */
static um_status order_rows(um_item_embeddings *e, float **rows, const um_dataset *d,
                            const char *ids_json, const char *path, const um_monitor *monitor,
                            um_error *err)
{
    json_t *ids = NULL;
    um_map index = {0};
    uint32_t n = d->items.n_rows, missing = 0, row;
    float *ordered = NULL;
    um_status status = um_json_parse(&ids, ids_json, strlen(ids_json), path, err);

    if (status == UM_OK && (!json_is_array(ids) || json_array_size(ids) != e->n_items))
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: metadata \"item_ids\" must be a list of %u ids, one a row", path,
                         e->n_items);
    for (uint32_t i = 0; i < e->n_items && status == UM_OK; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (id == NULL)
            status = um_fail(err, UM_ERR_INPUT, "%s: item_ids[%u] is not a text", path, i);
        else if (um_map_get(&index, id, &row))
            status = um_fail(err, UM_ERR_INPUT, "%s: item '%s' has two rows, %u and %u", path, id,
                             row, i);
        else if (!um_map_put(&index, id, i, NULL))
            status = um_fail_memory(err, path);
    }
    if (status == UM_OK && (ordered = um_calloc(n, e->dim * sizeof *ordered)) == NULL)
        status = um_fail_memory(err, path);
    for (uint32_t i = 0; i < n && status == UM_OK; i++) {
        if (um_map_get(&index, d->items.ids[i], &row))
            memcpy(ordered + (size_t)i * e->dim, *rows + (size_t)row * e->dim,
                   e->dim * sizeof *ordered);
        else
            missing++;
    }
    if (status == UM_OK && missing == n)
        status = um_fail(err, UM_ERR_INPUT, "%s: names none of the log's %u items", path, n);
    if (status == UM_OK && missing > 0)
        um_monitor_message(monitor,
                           "%s: %u of the log's %u items have no row: they are like no other", path,
                           missing, n);
    if (status == UM_OK) {
        free(*rows);
        *rows = ordered;
        *e = (um_item_embeddings){n, e->dim, ordered};
        ordered = NULL;
    }
    free(ordered);
    um_map_dispose(&index);
    json_decref(ids);
    return status;
}

static um_status import_file(um_item_embeddings *out, float **rows, const um_dataset *d,
                             const char *path, const um_monitor *monitor, um_error *err)
{
    um_safetensors file = {0};
    um_status status = um_safetensors_open(&file, path, err);
    if (status != UM_OK)
        return status;
    status = read_matrix(out, rows, &file, err);
    const char *ids = um_safetensors_metadata(&file, "item_ids");
    if (status == UM_OK && ids != NULL)
        status = order_rows(out, rows, d, ids, path, monitor, err);
    else if (status == UM_OK && out->n_items != d->items.n_rows)
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: %u rows for the log's %u items; say which item each row is in the "
                         "metadata \"item_ids\" (a JSON list of ids)",
                         path, out->n_items, d->items.n_rows);
    um_safetensors_close(&file);
    return status;
}

/* Making ---------------------------------------------------------------------------------------
 */

static um_status embed_locally(um_item_embeddings *out, float **rows, um_session *s,
                               const char *const *texts, uint32_t n, const char *dir, um_error *err)
{
    um_model *model = NULL;
    um_tokenizer *tok = NULL;
    um_compute *compute;
    um_status status = um_tokenizer_load(&tok, dir, err);

    if (status != UM_OK || (status = um_model_load(&model, dir, err)) != UM_OK ||
        (status = um_session_compute(s, &compute, err)) != UM_OK)
        goto done;
    uint32_t dim = (uint32_t)um_model_get_config(model)->hidden;
    *rows = um_calloc(n, dim * sizeof **rows);
    if (*rows == NULL) {
        status = um_fail_memory(err, "embeddings");
        goto done;
    }
    *out = (um_item_embeddings){n, dim, *rows};
    bool last = strcmp(s->config->scenes.embeddings_pooling, "last") == 0;
    status = um_model_embed(model, tok, compute, texts, n, last ? UM_POOL_LAST : UM_POOL_MEAN,
                            (int)s->config->scenes.embeddings_tokens, *rows, s->monitor, err);
done:
    um_model_free(model);
    um_tokenizer_free(tok);
    return status;
}

static um_status say_forecast(um_session *s, const um_remote *remote, const char *const *texts,
                              uint32_t n, um_error *err)
{
    um_request_totals known;
    uint64_t bytes = 0;
    um_status status = um_workspace_request_totals(&known, s->ws, "scenes", err);
    for (uint32_t i = 0; i < n; i++)
        bytes += strlen(texts[i]);
    um_remote_cost cost = um_stage_remote_short_cost(
        s, remote, n, (n + TEXTS_A_REQUEST - 1) / TEXTS_A_REQUEST, bytes, 0);
    cost.stored = known.answered < n ? known.answered : n;
    return status == UM_OK ? um_stage_remote_forecast(s->monitor, &cost, err) : status;
}

/* Texts as an endpoint is asked for them: equal ones once, empty ones not at all. */
typedef struct asking {
    const char **texts; /* [n] borrowed */
    uint32_t n;
    uint32_t *place; /* [items] of each item's text; NO_TEXT */
} asking;

static um_status asking_init(asking *a, const char *const *texts, uint32_t n, um_error *err)
{
    um_map known = {0};
    um_status status = UM_OK;

    *a = (asking){um_calloc(n, sizeof *a->texts), 0, um_calloc(n, sizeof *a->place)};
    if (a->texts == NULL || a->place == NULL)
        return um_fail_memory(err, "texts of items");
    for (uint32_t i = 0; i < n && status == UM_OK; i++) {
        a->place[i] = NO_TEXT;
        if (texts[i][0] == '\0' || um_map_get(&known, texts[i], &a->place[i]))
            continue;
        if (!um_map_put(&known, texts[i], a->n, NULL))
            status = um_fail_memory(err, "texts of items");
        a->place[i] = a->n;
        a->texts[a->n++] = texts[i];
    }
    um_map_dispose(&known);
    if (status == UM_OK && a->n == 0)
        status = um_fail(err, UM_ERR_INPUT, "embeddings: no item has a description to embed");
    return status;
}

/* Gives each item the row of its text; zeros where it has none. */
static um_status spread(um_item_embeddings *out, float **rows, const asking *a,
                        const um_remote_rows *got, uint32_t n, um_error *err)
{
    *rows = um_calloc(n, got->dim * sizeof **rows);
    if (*rows == NULL)
        return um_fail_memory(err, "embeddings");
    for (uint32_t i = 0; i < n; i++) {
        if (a->place[i] != NO_TEXT)
            memcpy(*rows + (size_t)i * got->dim, got->data + (size_t)a->place[i] * got->dim,
                   got->dim * sizeof **rows);
    }
    *out = (um_item_embeddings){n, got->dim, *rows};
    return UM_OK;
}

static um_status embed_remotely(um_item_embeddings *out, float **rows, um_session *s,
                                const char *const *texts, uint32_t n, const char *urls,
                                um_error *err)
{
    um_stage_journal journal = {s->ws, NULL, "scenes"};
    const um_remote_journal kept = um_stage_journal_of(&journal);
    um_remote *remote = NULL;
    um_remote_rows got = {0};
    asking a;
    uint64_t absent = 0;
    um_status status = asking_init(&a, texts, n, err);

    if (status == UM_OK)
        status = um_stage_remote_open(&remote, s, journal.stage, urls,
                                      s->config->scenes.embeddings_model, err);
    if (status == UM_OK)
        status = say_forecast(s, remote, a.texts, a.n, err);
    if (status == UM_OK)
        status = um_remote_embed(&got, remote, a.texts, a.n, 0, &kept, s->monitor, err);
    for (size_t i = 0; i < got.n && status == UM_OK; i++)
        absent += got.absent[i];
    if (status == UM_OK)
        um_stage_remote_list_failures(s->monitor, remote, "text");
    if (status == UM_OK && (double)absent > s->config->remote.max_failed * a.n)
        status = um_fail(err, UM_ERR_REMOTE,
                         "embeddings: %llu of %u texts failed, remote.max_failed is %g; the others "
                         "are saved, run the same command again",
                         (unsigned long long)absent, a.n, s->config->remote.max_failed);
    if (status == UM_OK)
        status = spread(out, rows, &a, &got, n, err);
    um_remote_rows_dispose(&got);
    um_remote_free(remote);
    free(a.texts);
    free(a.place);
    return status;
}

/* Everything the vectors depend on. */
static uint64_t recipe_hash(const um_session *s, const char *const *texts, uint32_t n)
{
    const char *source = s->config->scenes.embeddings;
    const int64_t tokens = s->config->scenes.embeddings_tokens;
    uint64_t hash = um_source_is_url(source) ? 0 : um_hash_str(source, um_path_hash(source));
    hash = um_hash_str(s->config->scenes.embeddings_model, hash);
    hash = um_hash_str(s->config->scenes.embeddings_pooling, hash);
    hash = um_hash(&tokens, sizeof tokens, hash);
    for (uint32_t i = 0; i < n; i++)
        hash = um_hash_str(texts[i], hash);
    return hash;
}

/* What was made before, where it is there and whole; else *rows stays NULL. */
static um_status read_kept(um_item_embeddings *out, float **rows, um_session *s, const char *path,
                           uint32_t n, um_error *err)
{
    um_safetensors file = {0};
    um_error why = {0};

    if (!um_path_exists(path))
        return UM_OK;
    um_status status = um_safetensors_open(&file, path, &why);
    if (status == UM_OK)
        status = read_matrix(out, rows, &file, &why);
    um_safetensors_close(&file);
    if (status == UM_OK && out->n_items != n)
        status = um_fail(&why, UM_ERR_INPUT, "%s: %u rows for %u items", path, out->n_items, n);
    if (status == UM_OK)
        return UM_OK;
    free(*rows);
    *rows = NULL;
    if (status != UM_ERR_INPUT)
        return um_fail(err, status, "%s", why.text);
    um_monitor_message(s->monitor, "%s; it is made again", why.text);
    return UM_OK;
}

static um_status make_rows(um_item_embeddings *out, float **rows, um_session *s,
                           const um_dataset *d, um_error *err)
{
    const char *source = s->config->scenes.embeddings;
    uint32_t n = d->items.n_rows;
    char **texts = NULL, *path = NULL, name[48];
    um_status status = item_texts(&texts, d, err);

    if (status != UM_OK)
        return status;
    snprintf(name, sizeof name, "embeddings-%016" PRIx64 ".safetensors",
             recipe_hash(s, (const char *const *)texts, n));
    status = um_path_join(&path, um_workspace_path(s->ws), name, err);
    if (status != UM_OK || (status = read_kept(out, rows, s, path, n, err)) != UM_OK ||
        *rows != NULL)
        goto done;
    status = um_source_is_url(source)
                 ? embed_remotely(out, rows, s, (const char *const *)texts, n, source, err)
                 : embed_locally(out, rows, s, (const char *const *)texts, n, source, err);
    if (status == UM_OK) {
        um_safetensor_source tensor = {TENSOR, out->n_items, out->dim, *rows};
        status = um_safetensors_write(path, &tensor, 1, err);
    }
    if (status == UM_OK) /* the file holds what the answers became */
        status = um_workspace_settle_requests(s->ws, "scenes", 0, err);
done:
    free(path);
    free_texts(texts, n);
    return status;
}

um_status um_embeddings_make(um_item_embeddings *out, float **rows, um_session *s,
                             const um_dataset *d, um_error *err)
{
    const char *source = s->config->scenes.embeddings;
    struct stat info;
    um_status status;

    *out = (um_item_embeddings){0};
    *rows = NULL;
    if (source[0] == '\0')
        return UM_OK;
    if (um_source_is_url(source) || (stat(source, &info) == 0 && S_ISDIR(info.st_mode)))
        status = make_rows(out, rows, s, d, err);
    else
        status = import_file(out, rows, d, source, s->monitor, err);
    if (status != UM_OK) {
        free(*rows);
        *rows = NULL;
    }
    return status;
}
