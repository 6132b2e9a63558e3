#include "train/checkpoint.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/identity.h"

#define CHECKPOINT_MAGIC "UMTRAIN2" /* the last byte is the version of the format */
#define REFERENCE_MAGIC  "UMREFER1"
#define REFERENCE_NAME   "reference.bin"
#define BEST_MAGIC       "UMBEST01"
#define BEST_NAME        "best.bin"
#define STEP_DIGITS      12
#define STEPS_KEPT       2

typedef struct checkpoint_header {
    char magic[8];
    uint64_t identity_len, n;
    um_train_state state;
} checkpoint_header;
_Static_assert(sizeof(checkpoint_header) == 120, "the file format has no padding");

typedef struct reference_header {
    char magic[8];
    uint64_t identity_hash, n_values, n_done;
} reference_header;

typedef struct best_header {
    char magic[8];
    uint64_t identity_hash;
    int64_t step;
    double loss;
    uint64_t n;
} best_header;

/* A file being written, with the running hash of its parts. */
typedef struct hashed_file {
    um_outfile file;
    uint64_t hash;
    um_status status;
} hashed_file;

static void put(hashed_file *out, const void *data, size_t bytes, um_error *err)
{
    if (out->status != UM_OK)
        return;
    out->hash = um_hash(data, bytes, out->hash);
    if (bytes > 0 && fwrite(data, 1, bytes, out->file.stream) != bytes)
        out->status = um_fail_errno(err, "write", out->file.temporary);
}

/* Appends the hash and commits, or gives the first failure. */
static um_status finish(hashed_file *out, um_error *err)
{
    uint64_t hash = out->hash;
    put(out, &hash, sizeof hash, err);
    if (out->status != UM_OK) {
        um_outfile_dispose(&out->file);
        return out->status;
    }
    return um_outfile_commit(&out->file, err);
}

/* Step of a checkpoint's file name; -1 for any other name. */
static int64_t step_of(const char *name)
{
    int64_t step = 0;
    if (!um_str_starts(name, "step-"))
        return -1;
    const char *digit = name + strlen("step-");
    for (int i = 0; i < STEP_DIGITS; i++, digit++) {
        if (!isdigit((unsigned char)*digit))
            return -1;
        step = step * 10 + (*digit - '0');
    }
    return strcmp(digit, ".ckpt") == 0 ? step : -1;
}

static um_status step_path(char **out, const char *dir, int64_t step, um_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "step-%0*" PRId64 ".ckpt", STEP_DIGITS, step);
    return um_path_join(out, dir, name, err);
}

static um_status remove_file(const char *dir, const char *name, um_error *err)
{
    char *path;
    um_status status = um_path_join(&path, dir, name, err);
    if (status != UM_OK)
        return status;
    if (unlink(path) != 0 && errno != ENOENT)
        status = um_fail_errno(err, "remove", path);
    free(path);
    return status;
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* Left by a process that was killed while writing. */
static bool is_temporary(const char *name)
{
    return um_str_ends(name, ".tmp") &&
           (um_str_starts(name, "step-") || um_str_starts(name, REFERENCE_NAME) ||
            um_str_starts(name, BEST_NAME));
}

/* A checkpoint that another version of this program wrote: no damage, and not ours to remove. */
static bool is_other_version(const um_filemap *map)
{
    const size_t n = sizeof CHECKPOINT_MAGIC - 2; /* without version and NUL */
    return map->len > n && memcmp(map->data, CHECKPOINT_MAGIC, n) == 0 && isdigit(map->data[n]) &&
           map->data[n] != CHECKPOINT_MAGIC[n];
}

/* What is wrong with the mapped bytes, or NULL and the parts in out. */
static const char *examine(um_checkpoint *out, const um_filemap *map, size_t n,
                           const char **identity)
{
    checkpoint_header header;
    if (map->len < sizeof header + sizeof(uint64_t))
        return "it is too short";
    memcpy(&header, map->data, sizeof header);
    if (memcmp(header.magic, CHECKPOINT_MAGIC, sizeof header.magic) != 0)
        return "it does not begin as a checkpoint";
    size_t rest = map->len - sizeof header - sizeof(uint64_t), bytes = 0;
    if (header.identity_len == 0 || header.identity_len % 8 != 0 || header.identity_len > rest)
        return "its length does not fit its header";
    rest -= (size_t)header.identity_len;
    if (header.n > SIZE_MAX / (3 * sizeof(float)) ||
        (bytes = (size_t)header.n * sizeof(float)) * 3 != rest)
        return "its length does not fit its header";

    const unsigned char *at = map->data;
    const unsigned char *text = at + sizeof header, *weights = text + header.identity_len;
    uint64_t hash = um_hash(at, sizeof header, 0), stored;
    hash = um_hash(text, (size_t)header.identity_len, hash);
    for (int part = 0; part < 3; part++)
        hash = um_hash(weights + (size_t)part * bytes, bytes, hash);
    memcpy(&stored, weights + 3 * bytes, sizeof stored);
    if (hash != stored || text[header.identity_len - 1] != '\0')
        return "its contents do not match their hash";
    *identity = (const char *)text;
    out->state = header.state;
    if (header.n == n) { /* otherwise the identities differ, and that is the better message */
        out->weights = (const float *)(const void *)weights;
        out->m = out->weights + n;
        out->v = out->m + n;
    }
    return NULL;
}

/* Tries one file. Damage: UM_OK, out->map.data NULL, after a message. */
static um_status open_one(um_checkpoint *out, const char *path, const char *identity, size_t n,
                          const um_monitor *monitor, um_error *err)
{
    um_filemap map;
    const char *theirs = NULL;
    um_status status = um_filemap_open(&map, path, err);
    if (status != UM_OK)
        return status;
    bool other = is_other_version(&map);
    const char *damage = other ? NULL : examine(out, &map, n, &theirs);
    if (other) {
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "%s: a checkpoint of format %c, this program reads format %c; go on with "
                         "the version that wrote it, or move it away to start over",
                         path, map.data[sizeof CHECKPOINT_MAGIC - 2],
                         CHECKPOINT_MAGIC[sizeof CHECKPOINT_MAGIC - 2]);
    } else if (damage != NULL) {
        um_monitor_message(monitor, "checkpoint %s is damaged (%s); using the one before it", path,
                           damage);
    } else {
        status = um_identity_compare(identity, theirs, path, err);
        if (status == UM_OK && out->weights == NULL)
            status = um_fail(err, UM_ERR_STATE,
                             "%s: the checkpoint holds another number of weights", path);
        if (status == UM_OK) {
            out->map = map;
            return UM_OK;
        }
    }
    um_filemap_close(&map);
    *out = (um_checkpoint){0};
    return status;
}

/*
 * Whether the checkpoint at `path`, later than the one in use or not, may be removed. Of those that
 * are not later the first STEPS_KEPT asked about stay, *n_kept counts them; the others are
 * superseded. A later one goes only when it is proven damaged, one of another version never.
 */
static um_status may_remove(bool *out, const char *path, bool later, size_t *n_kept, um_error *err)
{
    um_filemap map;
    um_checkpoint found = {0};
    const char *identity;
    *out = false;
    um_status status = um_filemap_open(&map, path, err);
    if (status != UM_OK)
        return status;
    if (!is_other_version(&map)) {
        if (later)
            *out = examine(&found, &map, 0, &identity) != NULL;
        else
            *out = ++*n_kept > STEPS_KEPT;
    }
    um_filemap_close(&map);
    return UM_OK;
}

/* Keeps the file of `step` and the newest before it. Later ones are damaged, or the run would have
 * gone on from them; more than one before it is left when a run is killed before it gets here. */
static um_status prune(const char *dir, int64_t step, um_error *err)
{
    char **names;
    size_t n, kept = 0;
    um_status status = um_path_list(&names, &n, dir, err);
    if (status != UM_OK)
        return status;
    for (size_t i = n; i-- > 0 && status == UM_OK;) {
        int64_t at = step_of(names[i]);
        bool removable = false;
        char *path;
        if (at < 0)
            continue;
        status = um_path_join(&path, dir, names[i], err);
        if (status != UM_OK)
            break;
        status = may_remove(&removable, path, at > step, &kept, err);
        free(path);
        if (status == UM_OK && removable)
            status = remove_file(dir, names[i], err);
    }
    free_names(names, n);
    return status;
}

um_status um_checkpoint_open(um_checkpoint *out, const char *dir, const char *identity, size_t n,
                             const um_monitor *monitor, um_error *err)
{
    char **names;
    size_t n_names;
    *out = (um_checkpoint){0};
    um_status status = um_path_make_dirs(dir, err);
    if (status == UM_OK)
        status = um_path_list(&names, &n_names, dir, err);
    if (status != UM_OK)
        return status;
    for (size_t i = n_names; i-- > 0 && status == UM_OK && out->map.data == NULL;) {
        char *path;
        if (step_of(names[i]) < 0)
            continue;
        status = um_path_join(&path, dir, names[i], err);
        if (status == UM_OK) {
            status = open_one(out, path, identity, n, monitor, err);
            free(path);
        }
    }
    for (size_t i = 0; i < n_names && status == UM_OK; i++) {
        if (is_temporary(names[i]))
            status = remove_file(dir, names[i], err);
    }
    free_names(names, n_names);
    if (status == UM_OK && out->map.data != NULL)
        status = prune(dir, out->state.step, err);
    if (status != UM_OK)
        um_checkpoint_close(out);
    return status;
}

void um_checkpoint_close(um_checkpoint *checkpoint)
{
    if (checkpoint->map.data != NULL)
        um_filemap_close(&checkpoint->map);
    *checkpoint = (um_checkpoint){0};
}

um_status um_checkpoint_write(const char *dir, const char *identity, const um_train_state *state,
                              const float *weights, const float *m, const float *v, size_t n,
                              um_error *err)
{
    static const char zeros[8];
    size_t length = strlen(identity), padded = (length + 8) / 8 * 8; /* at least one NUL */
    checkpoint_header header = {
        .magic = CHECKPOINT_MAGIC, .identity_len = padded, .n = n, .state = *state};
    hashed_file out = {0};
    um_str text = UM_STR_INIT;
    char *path = NULL;

    um_str_append_n(&text, identity, length);
    um_str_append_n(&text, zeros, padded - length);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = step_path(&path, dir, state->step, err);
    if (status == UM_OK)
        status = um_outfile_open(&out.file, path, err);
    if (status != UM_OK)
        goto done;
    put(&out, &header, sizeof header, err);
    put(&out, text.data, padded, err);
    put(&out, weights, n * sizeof *weights, err);
    put(&out, m, n * sizeof *m, err);
    put(&out, v, n * sizeof *v, err);
    status = finish(&out, err);
    if (status == UM_OK)
        status = prune(dir, state->step, err);
done:
    um_str_dispose(&text);
    free(path);
    return status;
}

um_status um_best_write(const char *dir, const char *identity, int64_t step, double loss,
                        const float *weights, size_t n, um_error *err)
{
    best_header header = {.magic = BEST_MAGIC,
                          .identity_hash = um_hash_str(identity, 0),
                          .step = step,
                          .loss = loss,
                          .n = n};
    hashed_file out = {0};
    char *path;
    um_status status = um_path_join(&path, dir, BEST_NAME, err);
    if (status != UM_OK)
        return status;
    status = um_outfile_open(&out.file, path, err);
    if (status == UM_OK) {
        put(&out, &header, sizeof header, err);
        put(&out, weights, n * sizeof *weights, err);
        status = finish(&out, err);
    }
    free(path);
    return status;
}

/* Fills the rest of *out from its map; false when the bytes are not sound, or of another run. */
static bool read_best(um_best *out, const char *identity, size_t n)
{
    const unsigned char *data = out->map.data;
    size_t bytes = n * sizeof(float);
    best_header header;
    uint64_t stored;
    if (out->map.len != sizeof header + bytes + sizeof stored)
        return false;
    memcpy(&header, data, sizeof header);
    memcpy(&stored, data + sizeof header + bytes, sizeof stored);
    uint64_t hash = um_hash(data + sizeof header, bytes, um_hash(data, sizeof header, 0));
    out->step = header.step;
    out->loss = header.loss;
    out->weights = (const float *)(const void *)(data + sizeof header);
    return hash == stored && memcmp(header.magic, BEST_MAGIC, sizeof header.magic) == 0 &&
           header.identity_hash == um_hash_str(identity, 0) && header.n == n;
}

um_status um_best_open(um_best *out, const char *dir, const char *identity, size_t n, um_error *err)
{
    char *path;
    *out = (um_best){0};
    um_status status = um_path_join(&path, dir, BEST_NAME, err);
    if (status != UM_OK)
        return status;
    if (um_path_exists(path))
        status = um_filemap_open(&out->map, path, err);
    free(path);
    if (out->map.data != NULL && !read_best(out, identity, n))
        um_best_close(out);
    return status;
}

void um_best_close(um_best *best)
{
    if (best->map.data != NULL)
        um_filemap_close(&best->map);
    *best = (um_best){0};
}

um_status um_reference_write(const char *dir, const char *identity, const double *values,
                             uint64_t n_values, uint64_t n_done, um_error *err)
{
    reference_header header = {.magic = REFERENCE_MAGIC,
                               .identity_hash = um_hash_str(identity, 0),
                               .n_values = n_values,
                               .n_done = n_done};
    hashed_file out = {0};
    char *path;
    um_status status = um_path_join(&path, dir, REFERENCE_NAME, err);
    if (status != UM_OK)
        return status;
    status = um_outfile_open(&out.file, path, err);
    if (status == UM_OK) {
        put(&out, &header, sizeof header, err);
        put(&out, values, (size_t)n_values * sizeof *values, err);
        status = finish(&out, err);
    }
    free(path);
    return status;
}

um_status um_reference_read(const char *dir, const char *identity, double *values,
                            uint64_t n_values, uint64_t *n_done, um_error *err)
{
    reference_header header;
    um_filemap map;
    char *path;
    size_t bytes = (size_t)n_values * sizeof *values;
    *n_done = 0;
    um_status status = um_path_join(&path, dir, REFERENCE_NAME, err);
    if (status != UM_OK)
        return status;
    if (!um_path_exists(path)) {
        free(path);
        return UM_OK;
    }
    status = um_filemap_open(&map, path, err);
    free(path);
    if (status != UM_OK)
        return status;
    if (map.len == sizeof header + bytes + sizeof(uint64_t)) {
        uint64_t stored, hash = um_hash(map.data, sizeof header, 0);
        memcpy(&header, map.data, sizeof header);
        hash = um_hash(map.data + sizeof header, bytes, hash);
        memcpy(&stored, map.data + sizeof header + bytes, sizeof stored);
        if (hash == stored && memcmp(header.magic, REFERENCE_MAGIC, sizeof header.magic) == 0 &&
            header.identity_hash == um_hash_str(identity, 0) && header.n_values == n_values &&
            header.n_done <= n_values) {
            memcpy(values, map.data + sizeof header, bytes);
            *n_done = header.n_done;
        }
    }
    um_filemap_close(&map);
    return status;
}
