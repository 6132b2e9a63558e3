/*
 * weights.c - matching the tensors of a folder with those that a configuration needs.
 */
#include "model/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/safetensors.h"

#define SINGLE_NAME     "model.safetensors"
#define INDEX_NAME      "model.safetensors.index.json"
#define INDEX_MAX_BYTES ((size_t)64 << 20)
#define MAX_SHARDS      4096
#define EMBEDDING_NAME  "model.embed_tokens.weight"
#define LM_HEAD_NAME    "lm_head.weight"

/* One weight file; used[i] tells that tensors[i] was asked for. */
typedef struct shard {
    um_safetensors file;
    bool *used;
} shard;

typedef struct shard_set {
    UM_VEC(shard) shards;
} shard_set;

static void dispose_shards(shard_set *set)
{
    for (size_t i = 0; i < set->shards.len; i++) {
        um_safetensors_close(&set->shards.data[i].file);
        free(set->shards.data[i].used);
    }
    um_vec_dispose(&set->shards);
}

static um_status add_shard(shard_set *set, const char *dir, const char *name, um_error *err)
{
    shard new = {0};
    char *path = NULL;
    um_status status = um_path_join(&path, dir, name, err);
    if (status == UM_OK)
        status = um_safetensors_open(&new.file, path, err);
    free(path);
    if (status != UM_OK)
        return status;
    new.used = um_calloc(new.file.n, sizeof *new.used);
    if (new.used == NULL || !um_vec_push(&set->shards, new)) {
        free(new.used);
        um_safetensors_close(&new.file);
        return um_fail_memory(err, name);
    }
    return UM_OK;
}

/* A shard is a file beside the index: no path may lead out of the folder. */
static um_status check_shard_name(const char *name, const char *index, um_error *err)
{
    if (name == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: weight_map must map names to file names", index);
    if (name[0] == '.' || strchr(name, '/') != NULL || strchr(name, '\\') != NULL ||
        !um_str_ends(name, ".safetensors"))
        return um_fail(err, UM_ERR_INPUT,
                       "%s: \"%s\" is no file name of the form *.safetensors in this folder", index,
                       name);
    return UM_OK;
}

static const shard *find_shard(const shard_set *set, const char *name)
{
    for (size_t i = 0; i < set->shards.len; i++) {
        if (strcmp(um_path_base(set->shards.data[i].file.path), name) == 0)
            return &set->shards.data[i];
    }
    return NULL;
}

/* Every tensor of every shard stands in the index under this shard. */
static um_status check_index_whole(const shard_set *set, const json_t *map, const char *index,
                                   um_error *err)
{
    for (size_t i = 0; i < set->shards.len; i++) {
        const um_safetensors *file = &set->shards.data[i].file;
        for (size_t t = 0; t < file->n; t++) {
            const char *name = file->tensors[t].name;
            const char *shard_name = json_string_value(json_object_get(map, name));
            if (shard_name == NULL || strcmp(shard_name, um_path_base(file->path)) != 0)
                return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" of %s is listed under %s",
                               index, name, um_path_base(file->path),
                               shard_name != NULL ? shard_name : "no file");
        }
    }
    return UM_OK;
}

static um_status read_index(shard_set *set, const char *dir, const char *index, um_error *err)
{
    json_t *root = NULL, *value;
    const char *name;
    um_status status = um_json_read(&root, index, INDEX_MAX_BYTES, err);
    json_t *map = json_object_get(root, "weight_map");
    if (status == UM_OK && !json_is_object(map))
        status = um_fail(err, UM_ERR_INPUT, "%s: no object \"weight_map\"", index);
    if (status != UM_OK)
        goto done;
    json_object_foreach(map, name, value)
    {
        const char *shard_name = json_string_value(value);
        status = check_shard_name(shard_name, index, err);
        if (status != UM_OK)
            goto done;
        const shard *found = find_shard(set, shard_name);
        if (found == NULL) {
            if (set->shards.len == MAX_SHARDS) {
                status = um_fail(err, UM_ERR_LIMIT, "%s: more than %d files", index, MAX_SHARDS);
                goto done;
            }
            status = add_shard(set, dir, shard_name, err);
            if (status != UM_OK)
                goto done;
            found = &set->shards.data[set->shards.len - 1];
        }
        if (um_safetensors_find(&found->file, name) == NULL) {
            status = um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" is not in %s", index, name,
                             shard_name);
            goto done;
        }
    }
    status = check_index_whole(set, map, index, err);
done:
    json_decref(root);
    return status;
}

static um_status open_shards(shard_set *set, const char *dir, um_error *err)
{
    char *single = NULL, *index = NULL;
    um_status status = um_path_join(&single, dir, SINGLE_NAME, err);
    if (status == UM_OK)
        status = um_path_join(&index, dir, INDEX_NAME, err);
    if (status == UM_OK) {
        if (um_path_exists(single))
            status = add_shard(set, dir, SINGLE_NAME, err);
        else if (um_path_exists(index))
            status = read_index(set, dir, index, err);
        else
            status = um_fail(err, UM_ERR_NOT_FOUND, "%s: neither %s nor %s", dir, SINGLE_NAME,
                             INDEX_NAME);
    }
    free(single);
    free(index);
    return status;
}

/* Finds and marks a tensor; NULL when absent. */
static const um_safetensor *use_tensor(shard_set *set, const char *name,
                                       const um_safetensors **file)
{
    for (size_t i = 0; i < set->shards.len; i++) {
        shard *s = &set->shards.data[i];
        const um_safetensor *tensor = um_safetensors_find(&s->file, name);
        if (tensor != NULL) {
            s->used[tensor - s->file.tensors] = true;
            *file = &s->file;
            return tensor;
        }
    }
    return NULL;
}

static um_status check_shape(const um_safetensor *tensor, const um_tensor_ref *ref,
                             const char *path, um_error *err)
{
    int dims = ref->cols > 0 ? 2 : 1;
    if (tensor->n_dims == dims && tensor->shape[0] == (uint64_t)ref->rows &&
        (dims == 1 || tensor->shape[1] == (uint64_t)ref->cols))
        return UM_OK;
    um_str found = UM_STR_INIT;
    for (int i = 0; i < tensor->n_dims; i++)
        um_str_appendf(&found, "%s%" PRIu64, i > 0 ? ", " : "", tensor->shape[i]);
    um_status status =
        dims == 2 ? um_fail(err, UM_ERR_INPUT,
                            "%s: tensor \"%s\" has shape [%s], the configuration needs [%d, %d]",
                            path, tensor->name, um_str_text(&found), ref->rows, ref->cols)
                  : um_fail(err, UM_ERR_INPUT,
                            "%s: tensor \"%s\" has shape [%s], the configuration needs [%d]", path,
                            tensor->name, um_str_text(&found), ref->rows);
    um_str_dispose(&found);
    return status;
}

/* Where a tensor of the configuration lies; tensor NULL when it is absent. */
typedef struct match {
    const um_safetensors *file;
    const um_safetensor *tensor;
} match;

static um_status find_match(match *out, shard_set *set, const um_tensor_ref *ref, const char *name,
                            um_error *err)
{
    out->tensor = use_tensor(set, name, &out->file);
    return out->tensor == NULL ? UM_OK : check_shape(out->tensor, ref, out->file->path, err);
}

/* Finds every tensor before memory is taken for one. *head is the second copy of a tied matrix. */
static um_status find_all(match *out, match *head, shard_set *set, const um_tensor_ref *refs,
                          size_t n, bool tied, const char *dir, um_error *err)
{
    for (size_t i = 0; i < n; i++) {
        um_status status = find_match(&out[i], set, &refs[i], refs[i].name, err);
        if (status == UM_OK && tied && strcmp(refs[i].name, EMBEDDING_NAME) == 0) {
            status = find_match(head, set, &refs[i], LM_HEAD_NAME, err);
            if (out[i].tensor == NULL) {
                out[i] = *head;
                head->tensor = NULL;
            }
        }
        if (status == UM_OK && out[i].tensor == NULL)
            status = um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" is missing", dir, refs[i].name);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* The two copies of a tied matrix of n elements are the same. */
static um_status check_equal(const match *head, const match *embedding, size_t n, const char *dir,
                             um_error *err)
{
    enum { PART = 1 << 16 };
    float *a = um_calloc(PART, sizeof *a), *b = um_calloc(PART, sizeof *b);
    um_status status = a != NULL && b != NULL ? UM_OK : um_fail_memory(err, "output matrix");
    for (size_t at = 0; at < n && status == UM_OK; at += PART) {
        const size_t part = n - at < PART ? n - at : PART;
        status = um_safetensors_range(head->file, head->tensor, at, part, a, err);
        if (status == UM_OK)
            status = um_safetensors_range(embedding->file, embedding->tensor, at, part, b, err);
        if (status == UM_OK && memcmp(a, b, part * sizeof *a) != 0)
            status = um_fail(err, UM_ERR_INPUT,
                             "%s: config.json says tie_word_embeddings, but \"%s\" and \"%s\" "
                             "differ",
                             dir, EMBEDDING_NAME, LM_HEAD_NAME);
    }
    free(a);
    free(b);
    return status;
}

static um_status check_all_used(const shard_set *set, um_error *err)
{
    for (size_t i = 0; i < set->shards.len; i++) {
        const shard *s = &set->shards.data[i];
        for (size_t t = 0; t < s->file.n; t++) {
            /* Old Llama files carry this constant; it follows from the configuration. */
            if (!s->used[t] && !um_str_ends(s->file.tensors[t].name, ".rotary_emb.inv_freq"))
                return um_fail(err, UM_ERR_INPUT,
                               "%s: tensor \"%s\" is not part of this configuration", s->file.path,
                               s->file.tensors[t].name);
        }
    }
    return UM_OK;
}

struct um_weights_source {
    shard_set set;
    um_tensor_ref *refs; /* [n] in order of their offsets */
    match *matches;      /* [n] */
    size_t n;
};

um_status um_weights_open(um_weights_source **out, const um_params *params,
                          const um_model_config *config, const char *dir, um_error *err)
{
    um_weights_source *source = um_calloc(1, sizeof *source);
    match head = {0};
    if (source == NULL)
        return um_fail_memory(err, "tensor list");
    um_status status = um_params_tensors(&source->refs, &source->n, params, config, err);
    if (status == UM_OK) {
        source->matches = um_calloc(source->n, sizeof *source->matches);
        if (source->matches == NULL)
            status = um_fail_memory(err, "tensor list");
    }
    if (status == UM_OK)
        status = open_shards(&source->set, dir, err);
    if (status == UM_OK)
        status = find_all(source->matches, &head, &source->set, source->refs, source->n,
                          config->tied, dir, err);
    if (status == UM_OK)
        status = check_all_used(&source->set, err);
    for (size_t i = 0; i < source->n && status == UM_OK && head.tensor != NULL; i++) {
        if (source->refs[i].offset == params->embedding)
            status = check_equal(&head, &source->matches[i],
                                 (size_t)config->vocab * (size_t)config->hidden, dir, err);
    }
    if (status != UM_OK) {
        um_weights_close(source);
        return status;
    }
    *out = source;
    return UM_OK;
}

void um_weights_close(um_weights_source *source)
{
    if (source == NULL)
        return;
    dispose_shards(&source->set);
    free(source->matches);
    free(source->refs);
    free(source);
}

static size_t elements(const um_tensor_ref *ref)
{
    return (size_t)ref->rows * (size_t)(ref->cols > 0 ? ref->cols : 1);
}

um_status um_weights_floats(const um_weights_source *source, size_t offset, size_t n, float *out,
                            um_error *err)
{
    for (size_t i = 0; i < source->n && n > 0; i++) {
        const um_tensor_ref *ref = &source->refs[i];
        const size_t end = ref->offset + elements(ref);
        if (offset < ref->offset || offset >= end)
            continue;
        const size_t part = end - offset < n ? end - offset : n;
        um_status status =
            um_safetensors_range(source->matches[i].file, source->matches[i].tensor,
                                 offset - ref->offset, part, out, err);
        if (status != UM_OK)
            return status;
        offset += part;
        out += part;
        n -= part;
    }
    return n == 0 ? UM_OK : um_fail(err, UM_ERR_INTERNAL, "weights: no tensor at %zu", offset);
}

um_status um_weights_read(um_model *model, const char *dir, um_error *err)
{
    um_weights_source *source = NULL;
    um_status status = um_weights_open(&source, &model->params, &model->config, dir, err);
    if (status == UM_OK)
        status = um_model_alloc(model, err);
    for (size_t i = 0; status == UM_OK && i < source->n; i++)
        status = um_weights_floats(source, source->refs[i].offset, elements(&source->refs[i]),
                                   model->data + source->refs[i].offset, err);
    um_weights_close(source);
    return status;
}

um_status um_weights_names(um_str *out, const char *dir, um_error *err)
{
    shard_set set = {0};
    um_status status = open_shards(&set, dir, err);
    um_str_append(out, "config.json\n");
    for (size_t i = 0; i < set.shards.len && status == UM_OK; i++)
        um_str_appendf(out, "%s\n", um_path_base(set.shards.data[i].file.path));
    dispose_shards(&set);
    return status == UM_OK ? um_str_status(out, err) : status;
}

static void note_dtype(um_weights_info *info, const char *dtype)
{
    size_t used = strlen(info->dtypes);
    if (strstr(info->dtypes, dtype) == NULL && used + strlen(dtype) + 2 < sizeof info->dtypes)
        snprintf(info->dtypes + used, sizeof info->dtypes - used, "%s%s", used > 0 ? " " : "",
                 dtype);
}

static um_status check_dtypes(const shard_set *set, um_error *err)
{
    for (size_t i = 0; i < set->shards.len; i++) {
        const um_safetensors *file = &set->shards.data[i].file;
        for (size_t t = 0; t < file->n; t++) {
            um_status status = um_safetensors_check_dtype(file, &file->tensors[t], err);
            if (status != UM_OK)
                return status;
        }
    }
    return UM_OK;
}

static void describe(um_weights_info *info, const shard_set *set)
{
    info->files = (int)set->shards.len;
    for (size_t i = 0; i < set->shards.len; i++) {
        const um_safetensors *file = &set->shards.data[i].file;
        info->bytes += file->map.len;
        for (size_t t = 0; t < file->n; t++) {
            uint64_t n = 1;
            for (int d = 0; d < file->tensors[t].n_dims; d++)
                n *= file->tensors[t].shape[d];
            info->elements += n;
            note_dtype(info, file->tensors[t].dtype);
        }
    }
}

um_status um_weights_inspect(um_weights_info *out, const um_model_config *config, const char *dir,
                             um_error *err)
{
    shard_set set = {0};
    um_params params = {0};
    um_tensor_ref *refs = NULL;
    match *matches = NULL, head = {0};
    size_t n = 0;
    *out = (um_weights_info){0};
    um_status status = open_shards(&set, dir, err);
    if (status == UM_OK)
        describe(out, &set);
    if (status != UM_OK || config == NULL)
        goto done;
    status = um_params_layout(&params, config, err);
    if (status == UM_OK)
        status = um_params_tensors(&refs, &n, &params, config, err);
    if (status == UM_OK && (matches = um_calloc(n, sizeof *matches)) == NULL)
        status = um_fail_memory(err, "tensor list");
    if (status == UM_OK)
        status = find_all(matches, &head, &set, refs, n, config->tied, dir, err);
    if (status == UM_OK)
        status = check_all_used(&set, err);
    if (status == UM_OK)
        status = check_dtypes(&set, err);
done:
    dispose_shards(&set);
    um_params_dispose(&params);
    free(matches);
    free(refs);
    return status;
}

um_status um_weights_write(const um_model *model, const char *dir, um_error *err)
{
    um_tensor_ref *refs = NULL;
    um_safetensor_source *sources = NULL;
    char *path = NULL;
    size_t n = 0;
    um_status status = um_params_tensors(&refs, &n, &model->params, &model->config, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, SINGLE_NAME, err);
    if (status != UM_OK)
        goto done;
    sources = um_calloc(n, sizeof *sources);
    if (sources == NULL) {
        status = um_fail_memory(err, path);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        sources[i] = (um_safetensor_source){.name = refs[i].name,
                                            .rows = (uint64_t)refs[i].rows,
                                            .cols = (uint64_t)refs[i].cols,
                                            .data = model->data + refs[i].offset};
    status = um_safetensors_write(path, sources, n, err);
done:
    free(sources);
    free(refs);
    free(path);
    return status;
}
