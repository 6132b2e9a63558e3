/*
 * A new database runs all steps, so there is one description of the tables. A step that was ever
 * released never changes; what it lacks is the next step's work.
 *
 * Distributions are arrays of IEEE doubles, little-endian, 8 k bytes.
 */
#include "store/migrations.h"

#include <stddef.h>

#include "mirrorer/workspace.h"

/* clang-format off */
static const char to_version_1[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE dataset("
    "  id INTEGER PRIMARY KEY CHECK(id = 1), name TEXT NOT NULL, n_users INTEGER NOT NULL,"
    "  n_items INTEGER NOT NULL, n_interactions INTEGER NOT NULL, columns TEXT NOT NULL,"
    "  source TEXT NOT NULL) STRICT;"
    "CREATE TABLE users("
    "  id INTEGER PRIMARY KEY, external_id TEXT NOT NULL UNIQUE, description TEXT NOT NULL,"
    "  features TEXT NOT NULL) STRICT;"
    "CREATE TABLE items("
    "  id INTEGER PRIMARY KEY, external_id TEXT NOT NULL UNIQUE, description TEXT NOT NULL,"
    "  features TEXT NOT NULL) STRICT;"
    "CREATE TABLE histories(user_id INTEGER PRIMARY KEY, n INTEGER NOT NULL, data BLOB NOT NULL)"
    "  STRICT;"
    "CREATE TABLE files("
    "  id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, rows_read INTEGER NOT NULL,"
    "  rows_kept INTEGER NOT NULL, rows_rejected INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    "  CHECK(rows_read = rows_kept + rows_rejected)) STRICT;"
    "CREATE TABLE rejections("
    "  id INTEGER PRIMARY KEY, file TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL)"
    "  STRICT;"
    "CREATE TABLE scenes("
    "  id INTEGER PRIMARY KEY, split TEXT NOT NULL CHECK(split IN ('base', 'train', 'eval')),"
    "  dataset TEXT NOT NULL, user INTEGER NOT NULL, user_id TEXT NOT NULL,"
    "  item_id TEXT NOT NULL, order_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
    "  item_pos INTEGER NOT NULL, choice_cnt INTEGER NOT NULL, impression_list TEXT NOT NULL,"
    "  text TEXT NOT NULL, truth BLOB, flags INTEGER NOT NULL, data BLOB,"
    "  CHECK(item_pos >= 0 AND item_pos < choice_cnt)) STRICT;"
    "CREATE TABLE models("
    "  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, path TEXT NOT NULL, hash TEXT NOT NULL,"
    "  kind TEXT NOT NULL) STRICT;"
    "CREATE TABLE decisions("
    "  id INTEGER PRIMARY KEY, scene_id INTEGER NOT NULL REFERENCES scenes(id),"
    "  model_id INTEGER NOT NULL REFERENCES models(id), role TEXT NOT NULL,"
    "  sample INTEGER NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,"
    "  tokens INTEGER NOT NULL, form_error TEXT,"
    "  UNIQUE(scene_id, model_id, role, sample)) STRICT;"
    "CREATE TABLE distributions("
    "  decision_id INTEGER NOT NULL REFERENCES decisions(id),"
    "  predictor_id INTEGER NOT NULL REFERENCES models(id), k INTEGER NOT NULL, p BLOB NOT NULL,"
    "  PRIMARY KEY(decision_id, predictor_id)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE direct_distributions("
    "  scene_id INTEGER NOT NULL REFERENCES scenes(id),"
    "  predictor_id INTEGER NOT NULL REFERENCES models(id), k INTEGER NOT NULL, p BLOB NOT NULL,"
    "  PRIMARY KEY(scene_id, predictor_id)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE scene_scores("
    "  scene_id INTEGER PRIMARY KEY REFERENCES scenes(id),"
    "  teacher_total REAL, teacher_model REAL, teacher_data REAL, teacher_log_loss REAL,"
    "  teacher_hit_rate REAL,"
    "  student_total REAL, student_model REAL, student_data REAL, student_log_loss REAL,"
    "  student_hit_rate REAL,"
    "  gap REAL, total_gap REAL, data_gap REAL, kept INTEGER NOT NULL, reason TEXT) STRICT;"
    "CREATE TABLE pairs("
    "  id INTEGER PRIMARY KEY, scene_id INTEGER NOT NULL UNIQUE REFERENCES scenes(id),"
    "  chosen_decision INTEGER NOT NULL, rejected_decision INTEGER NOT NULL,"
    "  chosen_letter INTEGER NOT NULL, rejected_letter INTEGER NOT NULL, rank INTEGER NOT NULL)"
    "  STRICT;"
    "CREATE TABLE evaluations("
    "  row_name TEXT NOT NULL, scene_id INTEGER NOT NULL REFERENCES scenes(id),"
    "  k INTEGER NOT NULL, p BLOB NOT NULL, repeats INTEGER NOT NULL,"
    "  PRIMARY KEY(row_name, scene_id)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE stages("
    "  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, parameters TEXT NOT NULL,"
    "  fingerprint TEXT NOT NULL, status TEXT NOT NULL CHECK(status IN ('running', 'done')),"
    "  items_done INTEGER NOT NULL, items_total INTEGER NOT NULL, seconds REAL NOT NULL,"
    "  detail TEXT NOT NULL, updated INTEGER NOT NULL) STRICT;";

static const char to_version_2[] =
    "ALTER TABLE stages ADD COLUMN peak_rss_kb INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE metrics("
    "  stage TEXT NOT NULL, step INTEGER NOT NULL, \"values\" TEXT NOT NULL,"
    "  PRIMARY KEY(stage, step)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX scenes_by_split ON scenes(split);";

/* Scenes and decisions are wide; what selection asks of all of them stands in indices. A row of
 * decision_scores has no REFERENCES: looking its decision up would read all texts. */
static const char to_version_3[] =
    "ALTER TABLE decisions ADD COLUMN said INTEGER;"
    "CREATE INDEX decisions_noted ON decisions(id, form_error, said)"
    "  WHERE form_error IS NOT NULL OR said IS NOT NULL;"
    "ALTER TABLE scene_scores ADD COLUMN score REAL;"
    "CREATE TABLE decision_scores("
    "  decision_id INTEGER PRIMARY KEY, entropy REAL NOT NULL, log_loss REAL NOT NULL,"
    "  behavior INTEGER NOT NULL, preferred INTEGER NOT NULL, fault TEXT) STRICT;"
    "CREATE TABLE difficulties("
    "  scene_id INTEGER PRIMARY KEY REFERENCES scenes(id), decision_id INTEGER NOT NULL,"
    "  tokens INTEGER NOT NULL, logp_with REAL NOT NULL, logp_without REAL NOT NULL) STRICT;"
    "CREATE TABLE requests("
    "  key BLOB PRIMARY KEY, stage TEXT NOT NULL, prompt INTEGER NOT NULL,"
    "  sample INTEGER NOT NULL,"
    "  status TEXT NOT NULL CHECK(status IN ('intended', 'answered', 'failed', 'dropped')),"
    "  answer TEXT,"
    "  prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL NOT NULL,"
    "  http_status INTEGER NOT NULL, reason TEXT, times INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX requests_by_prompt ON requests(stage, prompt);"
    "DROP INDEX scenes_by_split;"
    "CREATE INDEX scenes_by_split ON scenes(split, id, dataset, choice_cnt, item_pos, flags);"
    "ALTER TABLE dataset ADD COLUMN n_skips INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE skips(user_id INTEGER PRIMARY KEY, n INTEGER NOT NULL, data BLOB NOT NULL) STRICT;";
/* clang-format on */

static const char *const steps[] = {to_version_1, to_version_2, to_version_3};

_Static_assert(sizeof steps / sizeof *steps == UM_WORKSPACE_SCHEMA,
               "one migration leads to each schema version");

const char *um_migration(int from)
{
    return steps[from];
}
