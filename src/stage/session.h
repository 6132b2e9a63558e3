/*
 * session.h (internal) - what stages share: the workspace, the configuration, and things that are
 * dear to load and used by several stages (log, scenes, prompts, tokenizer, models).
 */
#ifndef UM_STAGE_SESSION_H
#define UM_STAGE_SESSION_H

#include "base/json.h"
#include "mirrorer/choice.h"
#include "mirrorer/model.h"
#include "mirrorer/pipeline.h"
#include "mirrorer/process.h"

struct um_session {
    um_workspace *ws;
    const um_config *config;
    const um_monitor *monitor;
    bool offline; /* endpoints are only written for: nothing is sent, no key is read */
    /* Loaded at first use. */
    um_dataset *dataset;
    um_scene_set *scenes;
    um_prompt_form *form;
    um_tokenizer *tokenizer;
    um_compute *compute;
    um_choice_model *choice;
};

/* The log and scenes of the workspace; borrowed from the session. */
um_status um_session_dataset(um_session *s, const um_dataset **out, um_error *err) UM_CHECKED;
um_status um_session_scenes(um_session *s, const um_scene_set **out, um_error *err) UM_CHECKED;
um_status um_session_form(um_session *s, const um_prompt_form **out, um_error *err) UM_CHECKED;
um_status um_session_tokenizer(um_session *s, const um_tokenizer **out, um_error *err) UM_CHECKED;
/* The same; *out is NULL where the student does not exist yet. */
um_status um_session_tokenizer_if_any(um_session *s, const um_tokenizer **out,
                                      um_error *err) UM_CHECKED;
um_status um_session_compute(um_session *s, um_compute **out, um_error *err) UM_CHECKED;
um_status um_session_choice(um_session *s, const um_choice_model **out, um_error *err) UM_CHECKED;
void um_session_forget(um_session *s); /* after a stage that changes what was loaded */

/* Folder of a model made by the pipeline: "<workspace>/models/<name>"; yours. The student itself
 * ("base") is config.student.path when that is given. */
um_status um_session_model_dir(um_session *s, const char *name, char **dir,
                               um_error *err) UM_CHECKED;

/* Writing and reading rows of the workspace. */
um_status um_log_store(um_workspace *ws, const um_dataset *d, const char *source,
                       const um_ingest_report *report, const um_monitor *monitor,
                       um_error *err) UM_CHECKED;
um_status um_log_load(um_workspace *ws, um_dataset **out, um_error *err) UM_CHECKED;
um_status um_scene_store(um_workspace *ws, const um_dataset *d, const um_scene *scene,
                         um_error *err) UM_CHECKED;
/* "by user", "by user and time, cut 2001-01-01 00:00:00" as an object of the stage's detail: by,
 * time_cut (null without one), text. NULL on out of memory; yours. */
json_t *um_split_json(um_split_by split_by, int64_t time_cut_s);
um_status um_scenes_load(um_workspace *ws, const um_dataset *d, um_scene_set **out,
                         um_error *err) UM_CHECKED;

/* Names, sizes and times of a file or of the files in a folder: what changed is another input. */
uint64_t um_path_hash(const char *path);

/* Adds "distillation", "writers" and "prompt" to a summary. */
um_status um_summarise_distillation(um_session *s, json_t *root, um_error *err) UM_CHECKED;

/* Metrics of a training's held-out rows are those of the stage "<stage>.held_out". */
#define UM_HELD_OUT_PART ".held_out"

#define UM_IMPORTED_MODEL "imported" /* name of the model that imported decisions belong to */
/* Whether a stage's results ("scenes", "distill") were imported, and not made here; if so, says so.
 */
um_status um_session_imported(um_session *s, const char *stage, bool *imported,
                              um_error *err) UM_CHECKED;

/* Stores the configuration in the workspace, so that later commands need not be told again. */
um_status um_session_remember(um_session *s, um_error *err) UM_CHECKED;

/* One run of one stage ------------------------------------------------------------------------- */

typedef struct um_run {
    um_session *session;
    const um_stage_info *info;
    uint64_t begun_ms, shown_ms;
    double seconds_before; /* of earlier runs of this stage */
    uint64_t done, total, resumed;
    bool finished_before; /* nothing to do */
    bool fresh;           /* no earlier run of this stage */
    json_t *detail;       /* figures for the report; ours */
} um_run;

/*
 * Compares the stage's options and inputs with those of an earlier run and records the start.
 * sections: space-separated prefixes of the options the stage depends on ("seed scenes."); after:
 * the stage that must be done before (NULL for none), whose fingerprint is part of this one's.
 * extra: hash of other inputs (files).
 */
um_status um_run_begin(um_run *run, um_session *s, const char *stage, const char *sections,
                       const char *after, uint64_t extra, um_error *err) UM_CHECKED;
/* Shows progress at most five times a second (always at the end). */
void um_run_progress(um_run *run, uint64_t done, const char *detail);
/* Records progress and time in the workspace; call it inside the transaction of a portion. */
um_status um_run_save(um_run *run, bool finished, um_error *err) UM_CHECKED;
/* Takes the start of a first run back, which came to nothing: a model that could not be opened may
 * be named anew. */
void um_run_withdraw(um_run *run);
void um_run_dispose(um_run *run);
/* Hash of the fingerprint of `after`, which must be done before `stage`: for stages that need two.
 */
um_status um_stage_fingerprint(um_session *s, const char *stage, const char *after, uint64_t *hash,
                               um_error *err) UM_CHECKED;

const um_stage_info *um_stage_find(const char *name); /* NULL when unknown */

/* The stages. */
um_status um_stage_scenes(um_session *s, um_error *err) UM_CHECKED;
um_status um_stage_base(um_session *s, um_error *err) UM_CHECKED;
um_status um_stage_decide(um_session *s, const char *role, um_error *err) UM_CHECKED;
um_status um_stage_predict(um_session *s, um_error *err) UM_CHECKED;
um_status um_stage_distill(um_session *s, um_error *err) UM_CHECKED;
um_status um_stage_train(um_session *s, const char *what, um_error *err) UM_CHECKED;
um_status um_stage_eval(um_session *s, um_error *err) UM_CHECKED;

/* The audit of docs/FORMATS.md, "audit"; *out is yours. split: "base", "train", "eval" or NULL. */
um_status um_audit_json(um_session *s, const char *split, json_t **out, um_error *err) UM_CHECKED;

/* Prompts of scenes, owned by the arena of the caller -------------------------------------------
 */

typedef struct um_scene_prompts {
    um_prompt *prompts; /* [n], keys are scene ids */
    size_t n;
    struct um_prompt_memory *memory;
} um_scene_prompts;
/* ids: [n] scene ids. opening may be NULL. */
um_status um_scene_prompts_make(um_scene_prompts *out, um_session *s, const uint64_t *ids, size_t n,
                                const char *opening, um_error *err) UM_CHECKED;
void um_scene_prompts_dispose(um_scene_prompts *p);

/* Opens a model folder as a responder and gives its id in the workspace. name: "student", ...  */
typedef struct um_actor {
    um_responder *responder;
    um_model *model;          /* local models: ours */
    struct um_remote *remote; /* endpoints: ours */
    um_tokenizer *tokenizer;  /* ours when the folder is not one of the pipeline's */
    uint64_t id;
} um_actor;
um_status um_actor_open(um_actor *out, um_session *s, const char *name, um_error *err) UM_CHECKED;
/* Any model folder, with its own tokenizer, under a name. */
um_status um_actor_open_folder(um_actor *out, um_session *s, const char *name, const char *dir,
                               um_error *err) UM_CHECKED;
void um_actor_close(um_actor *a);

#define UM_BEHAVIOR_TOKENS                                                                         \
    16 /* room kept for "\nBehavior: [X]" and what re-tokenising a text may add */
/* Whether the prompt with text (NULL: its opening alone) and `more` further tokens fits the model.
 */
um_status um_actor_fits(um_responder *responder, const um_prompt *prompt, const char *text,
                        uint32_t more, bool *fits, um_error *err) UM_CHECKED;

#endif
