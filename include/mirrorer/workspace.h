/*
 * workspace.h - the folder that holds everything one simulator was made from, and its database.
 *
 *     <workspace>/workspace.db     SQLite: users, scenes, decisions, scores, pairs, stages, ...
 *     <workspace>/workspace.lock   held (flock) while a writer has the workspace open
 *     <workspace>/models/          made by the stages that fill it
 *
 * One writer at a time, any number of short-lived readers. A workspace is used by one thread at a
 * time. What um_workspace_commit has confirmed survives kill -9 and, where the disk honours fsync,
 * power loss.
 *
 * Rows are plain structs. Strings and arrays given to a put function are borrowed for the call.
 * Rows given to a callback are borrowed for the callback. Rows from a get function are borrowed
 * until the next call of the same get function or close. A callback may read everything and write
 * every table but the one it is called for; anything it returns but UM_OK ends the iteration and is
 * returned. Iteration is in id order unless said otherwise.
 *
 * Failures all functions share: UM_ERR_IO (a full disk says so), UM_ERR_INPUT (the database is
 * damaged, by name), UM_ERR_STATE (a row that must be unique exists; another process kept the
 * database locked; writing through a reader), UM_ERR_MEMORY. After an input/output error of the
 * database no new transaction begins until the workspace is opened again.
 */
#ifndef MIRRORER_WORKSPACE_H
#define MIRRORER_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UM_WORKSPACE_SCHEMA 3 /* version of the tables this program writes */

typedef struct um_workspace um_workspace;

typedef enum um_workspace_mode {
    UM_WORKSPACE_CREATE, /* makes folder and database when absent, else as WRITE */
    UM_WORKSPACE_WRITE,  /* must exist; takes the lock */
    UM_WORKSPACE_READ    /* must exist; takes no lock, writes nothing */
} um_workspace_mode;

/*
 * An older schema is migrated in one transaction (a reader takes the lock for as long as that
 * needs). UM_ERR_NOT_FOUND: no workspace there. UM_ERR_STATE: another writer, named by process,
 * host and command. UM_ERR_UNSUPPORTED: made by a newer program. UM_ERR_INPUT: workspace.db is not
 * a database, is damaged, or belongs to another program.
 */
um_status um_workspace_open(um_workspace **out, const char *path, um_workspace_mode mode,
                            um_error *err) UM_CHECKED;
/* Rolls back what was not committed. NULL is fine. */
void um_workspace_close(um_workspace *ws);
const char *um_workspace_path(const um_workspace *ws); /* the folder, as given */
/* Reads every page and index of the database; UM_ERR_INPUT names the first damage. */
um_status um_workspace_verify(um_workspace *ws, um_error *err) UM_CHECKED;

/* Without begin every put is a transaction of its own, and costs one sync of the disk. */
um_status um_workspace_begin(um_workspace *ws, um_error *err) UM_CHECKED;
um_status um_workspace_commit(um_workspace *ws, um_error *err) UM_CHECKED;
void um_workspace_rollback(um_workspace *ws); /* does nothing outside a transaction */

/* Key and value -------------------------------------------------------------------------------- */

um_status um_workspace_set_meta(um_workspace *ws, const char *key, const char *value,
                                um_error *err) UM_CHECKED;
/* *value is NULL when the key is absent. */
um_status um_workspace_get_meta(const char **value, um_workspace *ws, const char *key,
                                um_error *err) UM_CHECKED;

/* The log -------------------------------------------------------------------------------------- */

typedef struct um_row_dataset {
    const char *name;
    uint64_t n_users, n_items, n_interactions;
    const char *columns; /* JSON: what the packed histories hold */
    const char *source;  /* where it was read from */
    uint64_t n_skips;    /* lists nobody chose from */
} um_row_dataset;
um_status um_workspace_set_dataset(um_workspace *ws, const um_row_dataset *row,
                                   um_error *err) UM_CHECKED;
/* UM_ERR_NOT_FOUND before the first ingest. */
um_status um_workspace_get_dataset(um_row_dataset *row, um_workspace *ws, um_error *err) UM_CHECKED;

typedef struct um_row_entity { /* a user or an item */
    uint64_t id;
    const char *external_id; /* unique */
    const char *description; /* JSON object {column: text} */
    const char *features;    /* JSON object {column: any} */
} um_row_entity;
typedef um_status (*um_on_entity)(void *context, const um_row_entity *row, um_error *err);
um_status um_workspace_put_user(um_workspace *ws, const um_row_entity *row,
                                um_error *err) UM_CHECKED;
um_status um_workspace_put_item(um_workspace *ws, const um_row_entity *row,
                                um_error *err) UM_CHECKED;
um_status um_workspace_users(um_workspace *ws, um_on_entity on_row, void *context,
                             um_error *err) UM_CHECKED;
um_status um_workspace_items(um_workspace *ws, um_on_entity on_row, void *context,
                             um_error *err) UM_CHECKED;

typedef struct um_row_history { /* all interactions of one user, packed by the caller */
    uint64_t user_id;
    uint64_t n;
    const void *data;
    size_t bytes;
} um_row_history;
typedef um_status (*um_on_history)(void *context, const um_row_history *row, um_error *err);
um_status um_workspace_put_history(um_workspace *ws, const um_row_history *row,
                                   um_error *err) UM_CHECKED;
um_status um_workspace_histories(um_workspace *ws, um_on_history on_row, void *context,
                                 um_error *err) UM_CHECKED;

/* The lists one user chose nothing from, in the same form. */
um_status um_workspace_put_skips(um_workspace *ws, const um_row_history *row,
                                 um_error *err) UM_CHECKED;
um_status um_workspace_skips(um_workspace *ws, um_on_history on_row, void *context,
                             um_error *err) UM_CHECKED;
/* Bytes of all packed histories and of all packed skips. */
um_status um_workspace_log_bytes(uint64_t *histories, uint64_t *skips, um_workspace *ws,
                                 um_error *err) UM_CHECKED;

typedef struct um_row_file { /* one input file: read = kept + rejected */
    const char *file;        /* unique */
    uint64_t rows_read, rows_kept, rows_rejected, bytes;
} um_row_file;
typedef um_status (*um_on_file)(void *context, const um_row_file *row, um_error *err);
um_status um_workspace_put_file(um_workspace *ws, const um_row_file *row, um_error *err) UM_CHECKED;
um_status um_workspace_files(um_workspace *ws, um_on_file on_row, void *context,
                             um_error *err) UM_CHECKED; /* in the order they were put */

typedef struct um_row_rejection { /* the caller caps how many are stored; files hold the counts */
    const char *file;
    uint64_t line;
    const char *reason;
} um_row_rejection;
typedef um_status (*um_on_rejection)(void *context, const um_row_rejection *row, um_error *err);
um_status um_workspace_put_rejection(um_workspace *ws, const um_row_rejection *row,
                                     um_error *err) UM_CHECKED;
um_status um_workspace_rejections(um_workspace *ws, um_on_rejection on_row, void *context,
                                  um_error *err) UM_CHECKED; /* in the order they were put */

/* Scenes --------------------------------------------------------------------------------------- */

/* The logged choice was an accidental click (synthetic worlds). */
#define UM_SCENE_FLAG_ACCIDENT 1u
/* Nobody chose: the true action is "none of these", item_id is "". */
#define UM_SCENE_FLAG_NO_CLICK 2u

typedef struct um_row_scene {
    uint64_t id;
    const char *split; /* "base", "train" or "eval" */
    const char *dataset;
    uint64_t user;                 /* id in users */
    const char *user_id, *item_id; /* external ids */
    uint64_t order_id;
    int64_t timestamp_s;
    uint32_t item_pos, choice_cnt;
    const char *impression_list; /* JSON array of external item ids; a last null is the action "none
                                    of these" */
    const char *text;            /* JSON object: profile, history, action_list */
    const double *truth;         /* [choice_cnt] real choice probabilities, or NULL */
    uint32_t flags;
    const void
        *data; /* whatever else the caller needs to rebuild its scene, packed by it; or NULL */
    size_t data_bytes;
} um_row_scene;
typedef um_status (*um_on_scene)(void *context, const um_row_scene *row, um_error *err);

/* Zero-initialised: all scenes. The set conditions hold together. */
typedef struct um_scene_filter {
    const char *split;          /* NULL = any */
    const char *without_row;    /* scenes with no evaluation under this row name */
    uint64_t without_direct_by; /* scenes with no direct distribution of this predictor; 0 = any */
    uint64_t first_id;          /* scenes with id >= first_id */
} um_scene_filter;

um_status um_workspace_put_scene(um_workspace *ws, const um_row_scene *row,
                                 um_error *err) UM_CHECKED;
um_status um_workspace_get_scene(um_row_scene *row, um_workspace *ws, uint64_t id,
                                 um_error *err) UM_CHECKED; /* UM_ERR_NOT_FOUND */
/* filter NULL = all. */
um_status um_workspace_scenes(um_workspace *ws, const um_scene_filter *filter, um_on_scene on_row,
                              void *context, um_error *err) UM_CHECKED;

/* Scenes of a split. */
um_status um_workspace_count_scenes(uint64_t *n, um_workspace *ws, const char *split,
                                    um_error *err) UM_CHECKED;

/* Models and decisions ------------------------------------------------------------------------- */

typedef struct um_row_model {
    uint64_t id;      /* from 1, in the order they were first named */
    const char *name; /* unique */
    const char *path; /* may be "" */
    const char *hash; /* of what decides its answers */
    const char *kind; /* "local", "remote", "choice", ... */
} um_row_model;
typedef um_status (*um_on_model)(void *context, const um_row_model *row, um_error *err);

/*
 * The id of a model, made when the name is new. A known name with another hash: UM_ERR_STATE while
 * decisions or distributions of it are stored, else the new hash, path and kind are taken over.
 * row->id is ignored.
 */
um_status um_workspace_model_id(uint64_t *id, um_workspace *ws, const um_row_model *row,
                                um_error *err) UM_CHECKED;
um_status um_workspace_get_model(um_row_model *row, um_workspace *ws, uint64_t id,
                                 um_error *err) UM_CHECKED; /* UM_ERR_NOT_FOUND */
um_status um_workspace_models(um_workspace *ws, um_on_model on_row, void *context,
                              um_error *err) UM_CHECKED;

/* Who asked for a decision process. Other roles are refused. */
#define UM_ROLE_TEACHER "teacher"
#define UM_ROLE_STUDENT "student"
#define UM_ROLE_EVAL    "eval" /* asked for by the evaluation, and cleared with it */

#define UM_WORKSPACE_MAX_SAMPLES 1024
#define UM_WORKSPACE_MAX_MODELS  2048

typedef struct um_row_decision {
    uint64_t id; /* see um_workspace_decision_id; ignored by put */
    uint64_t scene_id, model_id;
    const char *role;
    uint32_t sample;
    const char *text;
    const char *finish; /* "stop", "length", ... */
    uint32_t tokens;
    const char *form_error; /* NULL when well formed */
    uint32_t said;          /* the letter it named by itself: 1 = A, ...; 0: none */
} um_row_decision;
typedef um_status (*um_on_decision)(void *context, const um_row_decision *row, um_error *err);

/*
 * The id of a decision is a function of what it is, not of when it was stored, so that runs that
 * finish their work in different order end with the same rows: scene (39 bits), model (11), role
 * (3), sample (10), from the highest bit down. Id order is thus scene, model, role, sample.
 * UM_ERR_LIMIT when a part does not fit, UM_ERR_INPUT for an unknown role.
 */
um_status um_workspace_decision_id(uint64_t *id, uint64_t scene_id, uint64_t model_id,
                                   const char *role, uint32_t sample, um_error *err) UM_CHECKED;

/* The parts of an id; *role is NULL for an id no role has. */
void um_workspace_decision_parts(uint64_t id, uint64_t *scene_id, uint64_t *model_id,
                                 const char **role, uint32_t *sample);

/* Zero-initialised but for any_scene = true: all decisions. The set conditions hold together. */
typedef struct um_decision_filter {
    bool any_scene; /* else only those of scene_id */
    uint64_t scene_id;
    uint64_t last_scene;  /* above scene_id: those of scene_id to last_scene */
    const char *split;    /* NULL = any */
    uint64_t model_id;    /* 0 = any */
    const char *role;     /* NULL = any */
    uint64_t unscored_by; /* decisions with no distribution of this predictor; 0 = no condition */
    bool well_formed_only;
} um_decision_filter;

um_status um_workspace_put_decision(um_workspace *ws, const um_row_decision *row,
                                    um_error *err) UM_CHECKED;
um_status um_workspace_get_decision(um_row_decision *row, um_workspace *ws, uint64_t id,
                                    um_error *err) UM_CHECKED; /* UM_ERR_NOT_FOUND */
um_status um_workspace_decisions(um_workspace *ws, const um_decision_filter *filter,
                                 um_on_decision on_row, void *context, um_error *err) UM_CHECKED;

/*
 * The scenes of a split (NULL = any) that lack some of the samples 0..n-1 of (model, role), for
 * resume: have[s] tells which exist, n_have counts them (< n). Decisions may be put meanwhile.
 * n <= UM_WORKSPACE_MAX_SAMPLES.
 */
typedef um_status (*um_on_missing)(void *context, uint64_t scene_id, const bool *have,
                                   uint32_t n_have, um_error *err);
um_status um_workspace_missing_decisions(um_workspace *ws, const char *split, uint64_t model_id,
                                         const char *role, uint32_t n, um_on_missing on_scene,
                                         void *context, um_error *err) UM_CHECKED;

/* Distributions -------------------------------------------------------------------------------- */

typedef struct um_row_distribution { /* over the letters, after a decision process */
    uint64_t decision_id, predictor_id;
    uint32_t k;
    const double *p; /* [k] */
    /* Of the decision; filled on reading, ignored by put. */
    uint64_t scene_id, model_id;
    const char *role;
    uint32_t sample;
    bool well_formed;
} um_row_distribution;
typedef um_status (*um_on_distribution)(void *context, const um_row_distribution *row,
                                        um_error *err);
um_status um_workspace_put_distribution(um_workspace *ws, const um_row_distribution *row,
                                        um_error *err) UM_CHECKED;
/* Those of the decisions that pass the filter (unscored_by is not looked at), in id order. */
um_status um_workspace_distributions(um_workspace *ws, const um_decision_filter *filter,
                                     uint64_t predictor_id, um_on_distribution on_row,
                                     void *context, um_error *err) UM_CHECKED;

typedef struct um_row_direct { /* over the letters, without a decision process */
    uint64_t scene_id, predictor_id;
    uint32_t k;
    const double *p; /* [k] */
} um_row_direct;
typedef um_status (*um_on_direct)(void *context, const um_row_direct *row, um_error *err);
um_status um_workspace_put_direct(um_workspace *ws, const um_row_direct *row,
                                  um_error *err) UM_CHECKED;
/* In scene order. */
um_status um_workspace_directs(um_workspace *ws, uint64_t predictor_id, um_on_direct on_row,
                               void *context, um_error *err) UM_CHECKED;

/* Scores, pairs, evaluations ------------------------------------------------------------------- */

typedef struct um_row_measure { /* NaN where not measured */
    double total, model, data;  /* bits */
    double log_loss, hit_rate;
} um_row_measure;

/* What one decision process came to. */
typedef struct um_row_decision_score {
    uint64_t decision_id;
    double entropy, log_loss; /* bits */
    uint32_t behavior;        /* letter drawn, 0 = A */
    bool preferred;           /* it is the true action */
    const char *fault;        /* why it may not train; NULL when it may */
} um_row_decision_score;
typedef um_status (*um_on_decision_score)(void *context, const um_row_decision_score *row,
                                          um_error *err);
/* Replaces the row of the decision. */
um_status um_workspace_put_decision_score(um_workspace *ws, const um_row_decision_score *row,
                                          um_error *err) UM_CHECKED;
/* Those of a scene, by id. */
um_status um_workspace_decision_scores(um_workspace *ws, uint64_t scene_id,
                                       um_on_decision_score on_row, void *context,
                                       um_error *err) UM_CHECKED;

typedef struct um_row_score {
    uint64_t scene_id;
    um_row_measure teacher, student;
    double gap, total_gap, data_gap; /* student - teacher; NaN where not measured */
    double score;                    /* of the strategy; NaN where the scene cannot give a pair */
    bool kept;
    const char *reason; /* why (not) kept; may be NULL */
} um_row_score;
typedef um_status (*um_on_score)(void *context, const um_row_score *row, um_error *err);
/* Replaces the row of the scene. */
um_status um_workspace_put_score(um_workspace *ws, const um_row_score *row,
                                 um_error *err) UM_CHECKED;
um_status um_workspace_scores(um_workspace *ws, um_on_score on_row, void *context,
                              um_error *err) UM_CHECKED;
um_status um_workspace_get_score(um_row_score *row, um_workspace *ws, uint64_t scene_id,
                                 um_error *err) UM_CHECKED; /* UM_ERR_NOT_FOUND */
/* Marks a scored scene as kept. */
um_status um_workspace_keep_score(um_workspace *ws, uint64_t scene_id, const char *reason,
                                  um_error *err) UM_CHECKED;

/* Where a scored scene stands among those of its data set and list length. */
typedef struct um_row_stratum {
    uint64_t candidates;     /* scenes with a score */
    uint64_t kept;           /* of them: the quota */
    uint64_t rank;           /* of this scene by score, 0 = best; ties by id */
    double last_kept;        /* the lowest score kept; NaN when none was */
    uint64_t all_candidates; /* of all strata */
    uint64_t all_kept;
} um_row_stratum;
/* UM_ERR_NOT_FOUND when the scene has no score. */
um_status um_workspace_get_stratum(um_row_stratum *row, um_workspace *ws, uint64_t scene_id,
                                   um_error *err) UM_CHECKED;

/* Log-likelihood of a scene's chosen answer under the student, for instruction-following
 * difficulty. Sums over the answer's tokens, in nats. */
typedef struct um_row_difficulty {
    uint64_t scene_id, decision_id;
    uint32_t tokens;
    double logp_with, logp_without; /* with its prompt, and without */
} um_row_difficulty;
typedef um_status (*um_on_difficulty)(void *context, const um_row_difficulty *row, um_error *err);
um_status um_workspace_put_difficulty(um_workspace *ws, const um_row_difficulty *row,
                                      um_error *err) UM_CHECKED;
um_status um_workspace_difficulties(um_workspace *ws, um_on_difficulty on_row, void *context,
                                    um_error *err) UM_CHECKED; /* by scene */

/*
 * Scenes with the decision processes of teacher and student that a predictor has scored, one scene
 * after the other by id, whatever their number: no table is held in memory, and no text is read.
 */
typedef struct um_scored_decision {
    uint64_t id, model_id;
    bool student; /* else the teacher's */
    uint32_t sample;
    const double *p;        /* [k] of the scene */
    const char *form_error; /* NULL when well formed */
    uint32_t said;          /* see um_row_decision */
} um_scored_decision;
typedef struct um_scored_scene {
    uint64_t id;
    const char *dataset;
    uint32_t k, target, flags;
    const um_scored_decision *decisions; /* [n] by id */
    size_t n;
    const double *direct; /* [k] without a decision process; NULL when there is none */
} um_scored_scene;
typedef struct um_scored_cursor um_scored_cursor;
/* split NULL: the one scene `scene_id`, of any split. Close it before a transaction ends. */
um_status um_workspace_scored(um_scored_cursor **out, um_workspace *ws, const char *split,
                              uint64_t scene_id, uint64_t predictor_id, um_error *err) UM_CHECKED;
/* *scene is NULL at the end, else lent until the next call. */
um_status um_scored_next(um_scored_cursor *cursor, const um_scored_scene **scene,
                         um_error *err) UM_CHECKED;
void um_scored_close(um_scored_cursor *cursor);

typedef struct um_row_pair {
    uint64_t id; /* given by the caller: the order of training data */
    uint64_t scene_id;
    uint64_t chosen_decision, rejected_decision; /* 0 (no decision's id): the bare behaviour */
    uint32_t chosen_letter, rejected_letter;     /* 0 = A */
    uint32_t rank;                               /* of the scene in the selection, 0 = best */
} um_row_pair;
typedef um_status (*um_on_pair)(void *context, const um_row_pair *row, um_error *err);
um_status um_workspace_put_pair(um_workspace *ws, const um_row_pair *row, um_error *err) UM_CHECKED;
um_status um_workspace_pairs(um_workspace *ws, um_on_pair on_row, void *context,
                             um_error *err) UM_CHECKED;
um_status um_workspace_get_pair(um_row_pair *row, um_workspace *ws, uint64_t scene_id,
                                um_error *err) UM_CHECKED; /* of a scene; UM_ERR_NOT_FOUND */

typedef struct um_row_evaluation { /* final distribution of an evaluated row for a scene */
    uint64_t scene_id;
    const char *row_name;
    uint32_t k;
    const double *p; /* [k] */
    uint32_t repeats;
} um_row_evaluation;
typedef um_status (*um_on_evaluation)(void *context, const um_row_evaluation *row, um_error *err);
um_status um_workspace_put_evaluation(um_workspace *ws, const um_row_evaluation *row,
                                      um_error *err) UM_CHECKED;
/* Those of one row (NULL = all), by row name, then scene. */
um_status um_workspace_evaluations(um_workspace *ws, const char *row_name, um_on_evaluation on_row,
                                   void *context, um_error *err) UM_CHECKED;

/* Stages --------------------------------------------------------------------------------------- */

typedef struct um_row_stage {
    const char *name;        /* "ingest", or with a part: "decide.teacher" */
    const char *parameters;  /* JSON */
    const char *fingerprint; /* of parameters and inputs: what must not change on resume */
    const char *status;      /* "running" or "done" */
    uint64_t items_done, items_total;
    double seconds; /* spent, over all runs */
    uint64_t peak_rss_kb;
    const char *detail; /* JSON */
    int64_t updated_s;  /* seconds since 1970 UTC */
} um_row_stage;
typedef um_status (*um_on_stage)(void *context, const um_row_stage *row, um_error *err);
/* Inserts or replaces by name; a replaced stage keeps its place. */
um_status um_workspace_put_stage(um_workspace *ws, const um_row_stage *row,
                                 um_error *err) UM_CHECKED;
um_status um_workspace_get_stage(um_row_stage *row, um_workspace *ws, const char *name,
                                 um_error *err) UM_CHECKED; /* UM_ERR_NOT_FOUND */
um_status um_workspace_stages(um_workspace *ws, um_on_stage on_row, void *context,
                              um_error *err) UM_CHECKED; /* in the order they first began */

typedef struct um_row_metric {
    const char *stage;
    uint64_t step;
    const char *values; /* JSON object */
} um_row_metric;
typedef um_status (*um_on_metric)(void *context, const um_row_metric *row, um_error *err);
/* Inserts or replaces by (stage, step). */
um_status um_workspace_put_metric(um_workspace *ws, const um_row_metric *row,
                                  um_error *err) UM_CHECKED;
um_status um_workspace_metrics(um_workspace *ws, const char *stage, um_on_metric on_row,
                               void *context, um_error *err) UM_CHECKED; /* by step */
/* Removes the metrics of a stage from a step on: those after the checkpoint it goes on from. */
um_status um_workspace_drop_metrics(um_workspace *ws, const char *stage, uint64_t first_step,
                                    um_error *err) UM_CHECKED;

/* Requests to remote endpoints -------------------------------------------------------------------
 */

/* One answer that was asked for (mirrorer/remote.h, "Journal"). Statuses: "intended" (recorded
 * before it was sent; after a crash it may have been paid), "answered", "failed"; "dropped": one
 * row that sums up the requests of a stage that was cleared. */
typedef struct um_row_request {
    unsigned char key[16];
    const char *stage; /* "decide.teacher", ... */
    uint64_t prompt;   /* scene */
    uint32_t sample;
    const char *status;
    const char *answer; /* NULL until answered, and once what it became is stored elsewhere */
    uint64_t prompt_tokens, completion_tokens;
    double cost;
    int http_status;
    const char *reason; /* why it failed; may be NULL */
    uint32_t times;     /* intended so often while nothing was known of the time before: above 1 it
                         * may have been paid twice; ignored by put */
} um_row_request;
typedef um_status (*um_on_request)(void *context, const um_row_request *row, um_error *err);
/* Inserts, or takes over status and answer and adds tokens and cost to those of the key's row. */
um_status um_workspace_put_request(um_workspace *ws, const um_row_request *row,
                                   um_error *err) UM_CHECKED;
/* Takes an intent back, which was not paid; one that an earlier run left open stays open. */
um_status um_workspace_drop_request(um_workspace *ws, const unsigned char key[16],
                                    um_error *err) UM_CHECKED;
/* Whether the key was ever answered, its answer let go or not. */
um_status um_workspace_is_answered(bool *answered, um_workspace *ws, const unsigned char key[16],
                                   um_error *err) UM_CHECKED;
/* The stored answer, or NULL. */
um_status um_workspace_get_answer(const char **answer, um_workspace *ws,
                                  const unsigned char key[16], um_error *err) UM_CHECKED;
/* Lets go of the answers of a prompt, which are stored as something else now. */
um_status um_workspace_settle_requests(um_workspace *ws, const char *stage, uint64_t prompt,
                                       um_error *err) UM_CHECKED;
/* By stage, prompt, sample; stage and status NULL = any, status "twice": times > 1. */
um_status um_workspace_requests(um_workspace *ws, const char *stage, const char *status,
                                um_on_request on_row, void *context, um_error *err) UM_CHECKED;

typedef struct um_request_totals {
    uint64_t answered, open /* intended */, failed;
    uint64_t twice; /* may have been paid twice */
    uint64_t prompt_tokens, completion_tokens;
    double cost;
} um_request_totals;
/* Tokens and money include those of results that were cleared since: spent is spent. */
um_status um_workspace_request_totals(um_request_totals *totals, um_workspace *ws,
                                      const char *stage, um_error *err) UM_CHECKED;
/* Makes one row of the requests of a stage that keeps what they cost. */
um_status um_workspace_forget_requests(um_workspace *ws, const char *stage,
                                       um_error *err) UM_CHECKED;
/* Takes over the row of another workspace, with its answer: the same key has the same question. A
 * row that is answered here stays; of two costs the higher counts. */
um_status um_workspace_merge_request(um_workspace *ws, const um_row_request *row,
                                     um_error *err) UM_CHECKED;

/*
 * The stages in order; ends with NULL: ingest, scenes, base, decide, predict, distill, train, eval.
 * um_workspace_clear_stage deletes what the stage and all later ones wrote, with their
 * rows in stages and metrics (those of their parts too), in one transaction or in the caller's.
 * meta stays; models go with ingest only. Decisions of role eval, their distributions and the
 * direct distributions of eval scenes are the evaluation's. UM_ERR_INPUT for another name.
 */
extern const char *const um_workspace_stage_names[];
um_status um_workspace_clear_stage(um_workspace *ws, const char *name, um_error *err) UM_CHECKED;
/* Deletes decisions and their distributions: of a role and of a model, by name (NULL = any). Pairs
 * must not refer to them any more. */
um_status um_workspace_drop_decisions(um_workspace *ws, const char *role, const char *model_name,
                                      um_error *err) UM_CHECKED;
/* Deletes only the rows of a stage (or part: "train.dpo") in stages and metrics. */
um_status um_workspace_forget_stage(um_workspace *ws, const char *name, um_error *err) UM_CHECKED;

/* What there is -------------------------------------------------------------------------------- */

typedef struct um_workspace_counts {
    uint64_t users, items, interactions, rejections; /* interactions as the dataset row says */
    uint64_t scenes_base, scenes_train, scenes_eval;
    uint64_t models, decisions, malformed, distributions, directs;
    uint64_t scores, kept, pairs, evaluations;
} um_workspace_counts;
um_status um_workspace_count(um_workspace_counts *counts, um_workspace *ws,
                             um_error *err) UM_CHECKED;

typedef struct um_row_decision_count {
    const char *role, *model_name;
    uint64_t model_id;
    uint64_t scenes, decisions, malformed;
} um_row_decision_count;
typedef um_status (*um_on_decision_count)(void *context, const um_row_decision_count *row,
                                          um_error *err);
/* One row for each (role, model) that has decisions, by role, then model id. */
um_status um_workspace_decision_counts(um_workspace *ws, um_on_decision_count on_row, void *context,
                                       um_error *err) UM_CHECKED;

typedef struct um_row_fault_count {
    const char *role, *model_name;
    const char *fault; /* a form_error of decisions */
    uint64_t n;
} um_row_fault_count;
typedef um_status (*um_on_fault_count)(void *context, const um_row_fault_count *row, um_error *err);
/* How many texts fail in which way, by role, model and fault. */
um_status um_workspace_fault_counts(um_workspace *ws, um_on_fault_count on_row, void *context,
                                    um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
