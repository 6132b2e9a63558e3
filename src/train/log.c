#include "train/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

enum { METRICS, SPEED, EVENTS };
static const char *const names[] = {"metrics.jsonl", "speed.jsonl", "events.out.tfevents.mirrorer"};

#define EVAL_KEY "\"eval_loss\":" /* only lines of held-out rows have it */
#define EVAL_TAG "eval/"

size_t um_train_figures(um_tb_scalar out[UM_TRAIN_FIGURES], const um_train_metrics *m, bool dpo)
{
    size_t n = 0;
    out[n++] = (um_tb_scalar){"loss", m->loss};
    if (!m->held_out) {
        out[n++] = (um_tb_scalar){"grad_norm", m->grad_norm};
        out[n++] = (um_tb_scalar){"lr", m->lr};
    }
    if (dpo) {
        out[n++] = (um_tb_scalar){"rewards/chosen", m->reward_chosen};
        out[n++] = (um_tb_scalar){"rewards/rejected", m->reward_rejected};
        out[n++] = (um_tb_scalar){"rewards/margins", m->reward_margin};
        out[n++] = (um_tb_scalar){"rewards/accuracies", m->reward_accuracy};
        out[n++] = (um_tb_scalar){"logps/chosen", m->logp_chosen};
        out[n++] = (um_tb_scalar){"logps/rejected", m->logp_rejected};
    }
    return n;
}

void um_train_describe(char *out, size_t size, const um_train_metrics *m, bool dpo)
{
    um_str s = UM_STR_INIT;
    um_str_appendf(&s, "loss %.4f", m->loss);
    if (dpo)
        um_str_appendf(&s, "  margin %.3f  acc %.2f", m->reward_margin, m->reward_accuracy);
    if (m->best_step > 0)
        um_str_appendf(&s, "  held-out %.4f", m->held_out_loss);
    if (m->best_step > 0 && m->held_out_loss > m->best_loss)
        um_str_appendf(&s, " (best %.4f, step %" PRId64 ")", m->best_loss, m->best_step);
    um_str_appendf(&s, "  lr %.2g  norm %.2g  %.0f tok/s, %.0f trained", m->lr, m->grad_norm,
                   m->tokens_per_s, m->trained_per_s);
    snprintf(out, size, "%s", um_str_text(&s));
    um_str_dispose(&s);
}

/* Opening ------------------------------------------------------------------------------------- */

/* Whether what was written at a step, of held-out rows or not, belongs to the run so far. */
static bool is_past(int64_t at, bool eval, int64_t step, int64_t evaluated)
{
    return at <= (eval ? evaluated : step);
}

/* Bytes of whole lines from the start that belong to the run so far. */
static um_status keep_lines(off_t *kept, FILE *file, const char *path, int64_t step,
                            int64_t evaluated, um_error *err)
{
    static const char begin[] = "{\"step\":";
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    *kept = 0;
    while ((len = getline(&line, &size, file)) > 0) {
        if (line[len - 1] != '\n' || strncmp(line, begin, sizeof begin - 1) != 0 ||
            !is_past(strtoll(line + sizeof begin - 1, NULL, 10), strstr(line, EVAL_KEY) != NULL,
                     step, evaluated))
            break;
        *kept += len;
    }
    um_status status = ferror(file) ? um_fail_errno(err, "read", path) : UM_OK;
    free(line);
    return status;
}

static um_status keep_events(off_t *kept, const char *path, int64_t step, int64_t evaluated,
                             um_error *err)
{
    um_filemap map;
    um_tb_record record;
    size_t at = 0;
    *kept = 0;
    um_status status = um_filemap_open(&map, path, err);
    if (status != UM_OK)
        return status;
    while (um_tb_next(&record, map.data, map.len, &at)) {
        bool eval = record.tag_len > strlen(EVAL_TAG) &&
                    memcmp(record.tag, EVAL_TAG, strlen(EVAL_TAG)) == 0;
        if (!is_past(record.step, eval, step, evaluated))
            break;
        *kept = (off_t)at;
    }
    um_filemap_close(&map);
    return UM_OK;
}

/* Opens one file and cuts what lies in the future. */
static um_status open_one(um_train_log *log, int which, int64_t step, int64_t evaluated,
                          um_error *err)
{
    const char *path = log->paths[which];
    off_t kept = 0;
    um_status status = UM_OK;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r+b");
    if (file == NULL) {
        status = um_fail_errno(err, "open", path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    log->files[which] = file;
    if (step > 0 && which == EVENTS)
        status = keep_events(&kept, path, step, evaluated, err);
    else if (step > 0)
        status = keep_lines(&kept, file, path, step, evaluated, err);
    if (status == UM_OK && (ftruncate(fd, kept) != 0 || fseeko(file, kept, SEEK_SET) != 0))
        status = um_fail_errno(err, "cut", path);
    return status;
}

static um_status put(um_train_log *log, int which, um_error *err)
{
    um_status status = um_str_status(&log->text, err);
    FILE *file = log->files[which];
    if (status == UM_OK &&
        (fwrite(um_str_text(&log->text), 1, log->text.len, file) != log->text.len ||
         fflush(file) != 0))
        status = um_fail_errno(err, "write", log->paths[which]);
    um_str_clear(&log->text);
    return status;
}

static double wall_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

um_status um_train_log_open(um_train_log *log, const char *dir, int64_t step, int64_t evaluated,
                            um_error *err)
{
    *log = (um_train_log){0};
    um_status status = um_path_make_dirs(dir, err);
    for (int i = METRICS; i <= EVENTS && status == UM_OK; i++) {
        status = um_path_join(&log->paths[i], dir, names[i], err);
        if (status == UM_OK)
            status = open_one(log, i, step, evaluated, err);
    }
    if (status == UM_OK && ftello(log->files[EVENTS]) == 0) {
        um_tb_append_version(&log->text, wall_time());
        status = put(log, EVENTS, err);
    }
    int fd = status == UM_OK ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (status == UM_OK && (fd < 0 || fsync(fd) != 0)) /* the names */
        status = um_fail_errno(err, "sync", dir);
    if (fd >= 0)
        close(fd);
    if (status != UM_OK)
        um_train_log_dispose(log);
    return status;
}

void um_train_log_dispose(um_train_log *log)
{
    for (int i = METRICS; i <= EVENTS; i++) {
        if (log->files[i] != NULL)
            fclose(log->files[i]);
        free(log->paths[i]);
    }
    um_str_dispose(&log->text);
    *log = (um_train_log){0};
}

/* Writing ------------------------------------------------------------------------------------- */

static void put_number(um_str *s, const char *prefix, const char *key, double value)
{
    um_str_appendf(s, ",\"%s%s\":", prefix, key);
    um_str_append_number(s, value);
}

static um_status put_metrics(um_train_log *log, const um_train_metrics *m,
                             const um_tb_scalar *figures, size_t n, um_error *err)
{
    um_str *s = &log->text;
    const char *prefix = m->held_out ? "eval_" : "";
    um_str_appendf(s, "{\"step\":%" PRId64 ",\"epoch\":%d", m->step, m->epoch);
    for (size_t i = 0; i < n; i++)
        put_number(s, prefix, figures[i].tag, figures[i].value);
    if (m->held_out) {
        um_str_appendf(s, ",\"best_step\":%" PRId64, m->best_step);
        put_number(s, "", "best_loss", m->best_loss);
    }
    um_str_appendf(s, ",\"tokens_processed\":%" PRIu64 ",\"tokens_trained\":%" PRIu64 "}\n",
                   m->tokens_processed, m->tokens_trained);
    return put(log, METRICS, err);
}

static um_status put_speed(um_train_log *log, const um_train_metrics *m, um_error *err)
{
    um_str *s = &log->text;
    um_str_appendf(s, "{\"step\":%" PRId64, m->step);
    um_str_appendf(s, ",\"seconds\":%.6g,\"tokens_per_s\":%.6g,\"trained_per_s\":%.6g}\n",
                   m->seconds, m->tokens_per_s, m->trained_per_s);
    return put(log, SPEED, err);
}

static um_status put_event(um_train_log *log, const um_train_metrics *m,
                           const um_tb_scalar *figures, size_t n, um_error *err)
{
    char tags[UM_TRAIN_FIGURES + 2][40];
    um_tb_scalar scalars[UM_TRAIN_FIGURES + 2];
    memcpy(scalars, figures, n * sizeof *figures);
    if (!m->held_out) {
        scalars[n++] = (um_tb_scalar){"tokens_per_s", m->tokens_per_s};
        scalars[n++] = (um_tb_scalar){"trained_per_s", m->trained_per_s};
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(tags[i], sizeof tags[i], "%s%s", m->held_out ? EVAL_TAG : "train/",
                 scalars[i].tag);
        scalars[i].tag = tags[i];
    }
    um_tb_append_scalars(&log->text, wall_time(), m->step, scalars, n);
    return put(log, EVENTS, err);
}

um_status um_train_log_write(um_train_log *log, const um_train_metrics *m, bool dpo, um_error *err)
{
    um_tb_scalar figures[UM_TRAIN_FIGURES];
    if (log->files[METRICS] == NULL)
        return UM_OK;
    size_t n = um_train_figures(figures, m, dpo);
    um_status status = put_metrics(log, m, figures, n, err);
    if (status == UM_OK && !m->held_out)
        status = put_speed(log, m, err);
    return status == UM_OK ? put_event(log, m, figures, n, err) : status;
}

um_status um_train_log_sync(um_train_log *log, um_error *err)
{
    for (int i = METRICS; i <= EVENTS; i++) {
        if (log->files[i] != NULL && fsync(fileno(log->files[i])) != 0)
            return um_fail_errno(err, "sync", log->paths[i]);
    }
    return UM_OK;
}
