/*
 * pipeline.h - the stages from logs to an aligned simulator, over one workspace.
 *
 * A um_session is a workspace opened with a configuration. Every stage reads what earlier stages
 * stored and stores its own results in portions: a stage that was interrupted goes on where it
 * stopped when it is called again, a finished one says so and returns. A stage that finds its own
 * options or its inputs changed since it began refuses (UM_ERR_STATE) and names what changed.
 */
#ifndef MIRRORER_PIPELINE_H
#define MIRRORER_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/config.h"
#include "mirrorer/monitor.h"
#include "mirrorer/status.h"
#include "mirrorer/workspace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_session um_session;

/* config and monitor are borrowed. create: make the workspace when it does not exist. */
um_status um_session_open(um_session **out, const char *workspace, bool create, bool read_only,
                          const um_config *config, const um_monitor *monitor,
                          um_error *err) UM_CHECKED;
void um_session_close(um_session *session);
um_workspace *um_session_workspace(um_session *session);

/* The options a workspace was first used with, applied over config; does nothing for a new one. */
um_status um_session_recall_config(const char *workspace, um_config *config,
                                   um_error *err) UM_CHECKED;

typedef struct um_stage_info {
    const char *name;  /* "decide.teacher" */
    const char *verb;  /* "decide --role teacher" */
    const char *title; /* for people: "Teacher writes decision processes" */
    const char *unit;  /* "scenes" */
} um_stage_info;
/* In the order they run; ends with a NULL name. */
const um_stage_info *um_stages(void);

/* Reads a log into the workspace. */
um_status um_stage_ingest(um_session *session, const char *path, um_error *err) UM_CHECKED;
/* Any stage but ingest and report, by name. */
um_status um_stage_run(um_session *session, const char *name, um_error *err) UM_CHECKED;
/* Writes summary.json, report.html into out_dir (made when absent). */
um_status um_stage_report(um_session *session, const char *out_dir, um_error *err) UM_CHECKED;
/* All of it. path NULL: what was ingested before. */
um_status um_session_run(um_session *session, const char *path, const char *out_dir,
                         um_error *err) UM_CHECKED;
/* Forgets what a stage and all later ones stored. */
um_status um_stage_redo(um_session *session, const char *name, um_error *err) UM_CHECKED;

/* JSON texts (yours): the summary of section "summary.json" in docs/FORMATS.md, and what is done,
 * what it cost and what comes next. */
um_status um_session_summary(um_session *session, char **json, um_error *err) UM_CHECKED;
um_status um_session_status(um_session *session, char **json, um_error *err) UM_CHECKED;

/*
 * JSON texts (yours) of docs/FORMATS.md, "Audit": what the scenes of a split ("base", "train",
 * "eval"; NULL: all) give away, and one scene as the models see it. chat adds the chat as the
 * student's tokenizer writes it, where there is one. UM_ERR_NOT_FOUND: no such scene.
 */
um_status um_session_audit(um_session *session, const char *split, char **json,
                           um_error *err) UM_CHECKED;
um_status um_session_scene(um_session *session, uint64_t id, bool chat, char **json,
                           um_error *err) UM_CHECKED;

/*
 * JSON texts (yours) about one scene, of any split; docs/DISTILL.md has the keys. Shown: its
 * decision processes (of one role, or both: NULL) with their distributions, entropies, drawn
 * behaviours, faults and places in the pair. Explained: why it was kept or dropped, or would be.
 * UM_ERR_NOT_FOUND for a scene that is not there.
 */
um_status um_session_show_decisions(um_session *session, uint64_t scene_id, const char *role,
                                    char **json, um_error *err) UM_CHECKED;
um_status um_session_explain_scene(um_session *session, uint64_t scene_id, char **json,
                                   um_error *err) UM_CHECKED;

/* Exchange with other tools; formats of docs/FORMATS.md. what: "log" (three canonical JSONL files),
 * "scenes", "pairs" or "scores" (one JSONL file each). */
um_status um_session_export(um_session *session, const char *what, const char *path,
                            um_error *err) UM_CHECKED;
/* Pairs and the rows of fine-tuning made of them, as a trainer reads them. format: "usermirrorer"
 * (NULL), "trl", "trl-messages" (a file each), "torchtune", "llamafactory", "hf" (a folder each).
 */
um_status um_session_export_pairs(um_session *session, const char *format, const char *path,
                                  um_error *err) UM_CHECKED;
/* "scenes" or "pairs" into a workspace that has none yet; a log is imported by ingest. Pairs are
 * read in every form that export writes but trl-messages; path is the file or the folder. */
um_status um_session_import(um_session *session, const char *what, const char *path,
                            um_error *err) UM_CHECKED;

/* What batch files were written or read. */
typedef struct um_batch_report {
    uint64_t files, rows;
    uint64_t answers;                       /* asked for; on reading: taken over */
    uint64_t known;                         /* answers that had been taken over before */
    uint64_t failed, foreign;               /* rows that are errors; rows that are not this run's */
    uint64_t missing_rows, missing_answers; /* still to be asked for */
    uint64_t *missing_scenes;               /* [n_missing_scenes] ascending */
    uint64_t n_missing_scenes;
    uint64_t scenes; /* on reading: stored with all their samples */
} um_batch_report;
void um_batch_report_dispose(um_batch_report *report);
/*
 * Decision processes by batch files (one OpenAI Batch request a line, also what `vllm run-batch`
 * reads) instead of by requests. Writing leaves out what is stored already, and needs no endpoint;
 * files are <dir>/<role>-00001.jsonl, ... and must not be there yet. Reading joins rows on their
 * custom_id, in any order, from any number of files, plain or gzip, whole or not; what it took over
 * it keeps, and scenes whose samples are all there become decision processes. An answer counts
 * once, however often it comes; an error does not undo it. Dispose the report whatever the outcome.
 */
um_status um_decide_write_batch(um_session *session, const char *role, const char *dir,
                                um_batch_report *report, um_error *err) UM_CHECKED;
um_status um_decide_read_batch(um_session *session, const char *role, const char *const *files,
                               size_t n, um_batch_report *report, um_error *err) UM_CHECKED;

typedef struct um_merge_report {
    uint64_t decisions, distributions; /* taken over */
    uint64_t known;                    /* decisions that were here already, and are equal */
} um_merge_report;
/*
 * Takes over the decisions and distributions of another workspace with the same log and scenes
 * (UM_ERR_STATE otherwise, and where the two hold different texts for one sample): all of them or
 * none, and what its requests to endpoints cost. The other is only read.
 */
um_status um_session_merge(um_session *session, const char *from, um_merge_report *report,
                           um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
