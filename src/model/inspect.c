/*
 * inspect.c - what a model folder is, and everything that keeps it from being loaded.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/config.h"
#include "model/params.h"
#include "model/weights.h"

/* What config.json calls itself, whatever it is. */
static void read_names(um_model_report *out, const char *text, size_t len, const char *where)
{
    json_t *root = NULL;
    um_error ignored;
    if (um_json_parse(&root, text, len, where, &ignored) != UM_OK)
        return; /* the problem is listed by um_model_config_inspect */
    const char *name = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    const char *type = json_string_value(json_object_get(root, "model_type"));
    snprintf(out->architecture, sizeof out->architecture, "%s", name != NULL ? name : "");
    snprintf(out->model_type, sizeof out->model_type, "%s", type != NULL ? type : "");
    json_decref(root);
}

static um_status inspect_config(um_model_report *out, const char *dir, um_str *problems,
                                um_error *err)
{
    char *path = NULL, *text = NULL;
    size_t len = 0;
    um_status status = um_path_join(&path, dir, "config.json", err);
    if (status != UM_OK)
        return status;
    if (um_file_read(&text, &len, path, UM_CONFIG_MAX_BYTES, err) == UM_OK) {
        read_names(out, text, len, path);
        status =
            um_model_config_inspect(&out->config, &out->has_shape, text, len, path, problems, err);
    } else {
        um_str_appendf(problems, "%s\n", err->text);
    }
    free(text);
    free(path);
    return status;
}

/* Parameters of a shape; 0 when they cannot be counted. */
static uint64_t count(const um_model_config *config)
{
    um_params params = {0};
    um_error ignored;
    if (um_params_layout(&params, config, &ignored) != UM_OK)
        return 0;
    uint64_t n = params.n;
    um_params_dispose(&params);
    return n;
}

um_status um_model_inspect(um_model_report *out, const char *dir, um_error *err)
{
    um_str problems = UM_STR_INIT;
    um_weights_info info;
    um_model_report report = {0};
    um_status status =
        um_path_is_dir(dir) ? UM_OK : um_fail(err, UM_ERR_NOT_FOUND, "%s: no such folder", dir);
    if (status == UM_OK)
        status = inspect_config(&report, dir, &problems, err);
    if (status != UM_OK)
        goto done;
    /* The tensors of another architecture are not compared with those of this one. */
    report.sound = report.has_shape && problems.len == 0;
    um_status weights = um_weights_inspect(&info, report.sound ? &report.config : NULL, dir, err);
    if (weights == UM_ERR_MEMORY) {
        status = weights;
        goto done;
    }
    if (weights != UM_OK)
        um_str_appendf(&problems, "%s\n", err->text);
    report.files = info.files;
    report.file_bytes = info.bytes;
    memcpy(report.dtypes, info.dtypes, sizeof report.dtypes);
    report.parameters = report.sound || info.elements == 0
                            ? (report.has_shape ? count(&report.config) : 0)
                            : info.elements;
    status = um_str_take(&problems, &report.problems, err);
done:
    um_str_dispose(&problems);
    if (status == UM_OK)
        *out = report;
    return status;
}

void um_model_report_dispose(um_model_report *report)
{
    free(report->problems);
    *report = (um_model_report){0};
}
