/* config.c - the table of options, and what reads and prints it. */
#include "mirrorer/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/error.h"
#include "base/str.h"
#include "base/yaml.h"

UM_EMBEDDED_DECLARE(profile_embedded);

#define AT(field) offsetof(um_config, field), sizeof(((um_config *)0)->field)
#define INT(key, field, fallback, lo, hi, help)                                                    \
    {                                                                                              \
        key, UM_OPTION_INT, AT(field), fallback, lo, hi, NULL, help                                \
    }
#define REAL(key, field, fallback, lo, hi, help)                                                   \
    {                                                                                              \
        key, UM_OPTION_REAL, AT(field), fallback, lo, hi, NULL, help                               \
    }
#define FLAG(key, field, fallback, help)                                                           \
    {                                                                                              \
        key, UM_OPTION_BOOL, AT(field), fallback, 0, 1, NULL, help                                 \
    }
#define TEXT(key, field, fallback, choices, help)                                                  \
    {                                                                                              \
        key, UM_OPTION_TEXT, AT(field), fallback, 0, 0, choices, help                              \
    }

/* The rows a training has in common with the others. */
#define TRAIN(section, field, lr_, decay, epochs_, warmup, batch)                                  \
    REAL(section ".lr", field.lr, lr_, 0, 10, "peak learning rate (AdamW)"),                       \
        REAL(section ".weight_decay", field.weight_decay, decay, 0, 10, "decoupled weight decay"), \
        REAL(section ".max_grad_norm", field.max_grad_norm, "1.0", 0, 1e9,                         \
             "gradient norm above which gradients are scaled down; 0 = off"),                      \
        INT(section ".epochs", field.epochs, epochs_, 0, 10000, "passes over the rows"),           \
        INT(section ".warmup_steps", field.warmup_steps, warmup, 0, 1e9,                           \
            "updates over which the rate rises; then cosine to 0"),                                \
        INT(section ".batch_rows", field.batch_rows, batch, 1, 1e6, "rows an update"),             \
        INT(section ".max_tokens", field.max_tokens, "8192", 8, 1e6,                               \
            "longer rows are dropped, counted and listed"),                                        \
        INT(section ".pack_tokens", field.pack_tokens, "8192", 8, 1e6,                             \
            "tokens of one forward pass; memory grows with it"),                                   \
        INT(section ".checkpoint_every", field.checkpoint_every, "50", 1, 1e9,                     \
            "updates between checkpoints"),                                                        \
        REAL(section ".holdout_share", field.holdout_share, "0", 0, 0.9,                           \
             "of the rows, by whole users: never trained on, only evaluated"),                     \
        INT(section ".eval_every", field.eval_every, "50", 0, 1e9,                                 \
            "updates between evaluations of held-out rows; 0 = only at the end"),                  \
        TEXT(section ".keep", field.keep, "last", "last|best",                                     \
             "weights the model ends with: the last, or those of the lowest held-out loss"),       \
        INT(section ".patience", field.patience, "0", 0, 1e9,                                      \
            "evaluations without a new lowest loss that end the training; 0 = off"),               \
        TEXT(section ".precision", field.precision, "float32", "float32|bfloat16",                 \
             "of weights and activations as computed with; weights are kept in float32"),          \
        INT(section ".lora_rank", field.lora_rank, "0", 0, 4096,                                   \
            "train a low-rank adapter (LoRA) of this rank; 0 = all weights"),                      \
        REAL(section ".lora_alpha", field.lora_alpha, "16", 0, 1e6,                                \
             "the adapter counts alpha / rank times"),                                             \
        TEXT(section ".lora_targets", field.lora_targets, "all", NULL,                             \
             "adapted matrices: all, or some of q,k,v,o,gate,up,down")

#define PAIR_RULES     "lowest-entropy|highest-entropy|highest-truth|lowest-truth|random"
#define MANY           4e9
#define COMMENT_COLUMN 32 /* of --print-config */
static const um_option options[] = {
    INT("seed", seed, "1", 0, 9e15, "one seed gives one result"),
    INT("threads", threads, "0", 0, 4096, "0 = all CPUs; never changes a result"),
    TEXT("backend", backend, "auto", NULL,
         "numeric kernels: auto or one by name; a wrong name lists them"),

    TEXT("ingest.adapter", ingest.adapter, "auto", NULL,
         "reader of the log; auto recognises the files"),
    TEXT("ingest.name", ingest.name, "", NULL, "name of the data set; empty = the adapter's"),
    INT("ingest.max_bad", ingest.max_bad, "-1", -1, MANY,
        "stop after this many rejected rows; -1 = never"),
    TEXT("ingest.mapping", ingest.mapping, "", NULL,
         "YAML file that maps the columns of any log: adapter mapped"),
    REAL("ingest.newest_share", ingest.filters.newest_share, "-1", -1, 1,
         "keep only this share of the interactions, the newest; this and all below: -1 = as the "
         "adapter publishes, 0 = off"),
    INT("ingest.min_user_interactions", ingest.filters.min_user_interactions, "-1", -1, 1e6,
        "leave out users with fewer"),
    INT("ingest.max_user_interactions", ingest.filters.max_user_interactions, "-1", -1, MANY,
        "leave out users with more"),
    INT("ingest.min_item_interactions", ingest.filters.min_item_interactions, "-1", -1, 1e6,
        "leave out items with fewer"),
    INT("ingest.min_rating_count", ingest.filters.min_rating_count, "-1", -1, MANY,
        "leave out products with fewer ratings on the site, or without details"),
    INT("ingest.min_history", ingest.filters.min_history, "-1", -1, 1e6,
        "leave out impressions with fewer earlier clicks"),
    INT("ingest.max_list", ingest.filters.max_list, "-1", -1, 1e6,
        "leave out impressions with more items"),

    INT("world.users", world.users, "1000", 2, 1e8, "users of the synthetic world"),
    INT("world.items", world.items, "480", 30, 1e7, "items"),
    INT("world.interactions", world.interactions, "14000", 10, 1e10, "choices in all"),
    INT("world.list_len", world.list_len, "5", 2, 26, "items shown at each choice"),
    REAL("world.accident_share", world.accident_share, "0.1", 0, 1, "clicks that ignore taste"),
    REAL("world.taste_genre", world.taste_genre, "7", 0, 100, "scale of the taste for genres"),
    REAL("world.taste_era", world.taste_era, "1", 0, 100, "scale of the taste for eras"),
    REAL("world.taste_mood", world.taste_mood, "3", 0, 100, "scale of the taste for moods"),
    REAL("world.taste_quality", world.taste_quality, "0.5", 0, 100, "weight of an item's quality"),
    REAL("world.taste_new", world.taste_new, "0.5", -100, 100, "extra utility of new releases"),
    REAL("world.popular_share", world.popular_share, "0.2", 0, 1, "of a list: drawn by popularity"),
    REAL("world.matching_share", world.matching_share, "0.2", 0, 1,
         "of a list: drawn near the taste"),
    TEXT("world.format", world.format, "canonical", "canonical|ml-1m", "files to write"),

    TEXT("scenes.split_by", scenes.split_by, "user", "user|time|both",
         "what keeps evaluation apart from training"),
    TEXT("scenes.time_cut", scenes.time_cut, "", NULL,
         "split_by time, both: YYYY-MM-DD[ HH:MM:SS]; empty = by eval_time_share"),
    REAL("scenes.eval_time_share", scenes.eval_time_share, "0.2", 0, 1,
         "of possible scenes: at or after the time cut"),
    REAL("scenes.eval_user_share", scenes.eval_user_share, "0.2", 0, 1,
         "users held out for evaluation"),
    INT("scenes.base", scenes.base, "0", 0, 1e8,
        "scenes for the embedded student's first training"),
    INT("scenes.train", scenes.train, "1024", 0, 1e8, "candidate scenes for distillation"),
    INT("scenes.eval", scenes.eval, "256", 0, 1e8, "evaluation scenes, of held-out users"),
    INT("scenes.min_order", scenes.min_order, "3", 1, 1e6, "earlier interactions a target needs"),
    INT("scenes.min_history", scenes.min_history, "2", 0, 1000, "shortest history shown"),
    INT("scenes.max_history", scenes.max_history, "10", 0, 1000, "longest history shown"),
    FLAG("scenes.eval_last_history", scenes.eval_last_history, "false",
         "evaluation always shows the last max_history interactions"),
    INT("scenes.train_min_len", scenes.train_min_len, "2", 2, 26,
        "shortest sampled list, training"),
    INT("scenes.train_max_len", scenes.train_max_len, "12", 2, 26,
        "longest sampled list, training"),
    INT("scenes.eval_min_len", scenes.eval_min_len, "5", 2, 26,
        "shortest sampled list, evaluation"),
    INT("scenes.eval_max_len", scenes.eval_max_len, "5", 2, 26, "longest sampled list, evaluation"),
    FLAG("scenes.use_impressions", scenes.use_impressions, "true",
         "take the logged impressions where the log has them"),
    TEXT("scenes.multi_click", scenes.multi_click, "skip", "skip|each",
         "impressions with several clicks: left out, or one scene a click"),
    FLAG("scenes.no_click", scenes.no_click, "false",
         "one more action, none of these; lists nobody chose from become scenes"),
    FLAG("scenes.random", scenes.random, "true", "distractors: uniform over the catalogue"),
    FLAG("scenes.popularity", scenes.popularity, "false", "distractors: most chosen so far"),
    FLAG("scenes.spectral", scenes.spectral, "true", "distractors: collaborative (GF-CF)"),
    FLAG("scenes.content", scenes.content, "true", "distractors: text similar to the target"),
    FLAG("scenes.social", scenes.social, "true",
         "distractors: of most friends, where users have any"),
    REAL("scenes.weight_random", scenes.weight_random, "1", 0, 1e6,
         "pull of the source in the merge"),
    REAL("scenes.weight_popularity", scenes.weight_popularity, "1", 0, 1e6, "the same"),
    REAL("scenes.weight_spectral", scenes.weight_spectral, "1", 0, 1e6, "the same"),
    REAL("scenes.weight_content", scenes.weight_content, "1", 0, 1e6, "the same"),
    REAL("scenes.weight_social", scenes.weight_social, "1", 0, 1e6, "the same"),
    FLAG("scenes.spectral_compat", scenes.spectral_compat, "false",
         "scale GF-CF as the published UserMirrorer code does"),
    INT("scenes.spectral_rank", scenes.spectral_rank, "64", 1, 1024,
        "singular vectors kept (GF-CF)"),
    INT("scenes.content_rank", scenes.content_rank, "64", 1, 1024,
        "singular vectors kept (TF-IDF)"),
    INT("scenes.max_prompt_tokens", scenes.max_prompt_tokens, "6144", 0, 1e9,
        "leave out scenes with longer prompts, as student.path counts; 0 = off"),
    TEXT("scenes.embeddings", scenes.embeddings, "", NULL,
         "item vectors of the content source: a .safetensors file, a model folder, or endpoint "
         "URLs; empty = TF-IDF"),
    TEXT("scenes.embeddings_model", scenes.embeddings_model, "", NULL,
         "name of the embedding model at its endpoints"),
    TEXT("scenes.embeddings_pooling", scenes.embeddings_pooling, "mean", "mean|last",
         "of a model folder's states: over all tokens, or the last one's"),
    INT("scenes.embeddings_tokens", scenes.embeddings_tokens, "512", 1, 1e6,
        "tokens of an item's text that count"),
    TEXT("scenes.template", scenes.template_file, "", NULL,
         "YAML file of text templates; empty = built in for the data set"),

    TEXT("prompt.form", prompt.form, "ekb", NULL, "ekb, ekb-short, or a YAML file"),

    TEXT("chat.template", chat.template_name, "", NULL,
         "chat form of the model: plain, chatml, qwen2.5, llama3, llama3.1, or a jinja file of one "
         "of them; empty = as its folder says"),
    TEXT("chat.date", chat.date, "", NULL,
         "date that templates of Llama 3.1 and later print; empty = 26 Jul 2024"),

    TEXT("student.path", student.path, "", NULL,
         "folder of the student (Hugging Face layout); empty = make a small one"),
    TEXT("student.endpoint", student.endpoint, "", NULL,
         "URLs that serve the student for decide and predict; empty = compute here"),
    TEXT("student.endpoint_model", student.endpoint_model, "", NULL,
         "name of the student at its endpoints"),
    INT("student.vocab", student.vocab, "1024", 300, 1e6, "tokens of its vocabulary"),
    INT("student.hidden", student.hidden, "96", 8, 65536, "width"),
    INT("student.layers", student.layers, "4", 1, 1000, "layers"),
    INT("student.heads", student.heads, "4", 1, 1024, "attention heads"),
    INT("student.kv_heads", student.kv_heads, "2", 1, 1024, "key/value heads"),
    INT("student.ffn", student.ffn, "256", 8, 1e6, "feed-forward width"),
    INT("student.max_positions", student.max_positions, "2048", 64, 1e6, "longest context"),
    REAL("student.init_std", student.init_std, "0.02", 0, 10,
         "standard deviation of first weights"),
    REAL("student.embedding_std", student.embedding_std, "0.02", 0, 10, "the same, embeddings"),
    REAL("student.rope_theta", student.rope_theta, "10000", 1, 1e9, "base of the rotary angles"),
    TRAIN("base", base, "3e-3", "0.01", "1", "20", "16"),
    INT("base.practice", base_practice, "0", 0, 1e8,
        "rows of reading practice: short lists gone through for random tastes"),
    INT("base.processes", base_processes, "1", 1, 100, "untutored decision processes a base scene"),

    TEXT("decide.teacher", decide.teacher, "choice", NULL,
         "choice = the fitted choice model; else the folder of a model"),
    TEXT("decide.teacher_template", decide.teacher_template, "", NULL,
         "chat form of the teacher's folder, as chat.template; empty = as the folder says"),
    TEXT("decide.teacher_model", decide.teacher_model, "", NULL,
         "name of the model at the teacher's endpoints"),
    TEXT("decide.weights", decide.weights, "f32", "f32|bf16|f16|int8",
         "of local models as they write and choose; all but f32 are packed once, beside the model"),
    INT("decide.samples", decide.samples, "10", 1, 1000, "decision processes a scene and model"),
    INT("decide.max_tokens", decide.max_tokens, "1024", 1, 1e6, "of each"),
    INT("decide.max_rows", decide.max_rows, "0", 0, 1e6,
        "sequences written together; 0 = automatic"),
    INT("decide.kv_memory", decide.kv_memory, "0", 0, 1 << 24,
        "MiB for keys and values of local models; 0 = 1024, or for 16,384 tokens if more"),
    REAL("decide.temperature", decide.temperature, "1.0", 0, 100, "0 = greedy"),
    REAL("decide.top_p", decide.top_p, "0.9", 0, 1, "nucleus"),
    REAL("decide.ridge", decide.ridge, "1.0", 0, 1e9, "L2 penalty of the choice model"),

    FLAG("predict.frequencies", predict.frequencies, "false",
         "endpoints without log-probabilities: estimate by counting sampled letters"),
    INT("predict.frequency_samples", predict.frequency_samples, "64", 1, 1024,
        "letters sampled for such an estimate"),
    REAL("predict.max_letter_error", predict.max_letter_error, "0.05", 0, 1,
         "distributions that endpoints leave more uncertain than this fail"),

    TEXT("remote.key_env", remote.key_env, "", NULL,
         "environment variable that holds the API key; the key itself is never stored"),
    TEXT("remote.key_file", remote.key_file, "", NULL, "file whose first line is the API key"),
    INT("remote.concurrency", remote.concurrency, "256", 1, 65536,
        "requests in flight at most; adapts below it"),
    INT("remote.choices", remote.choices, "16", 1, 64,
        "samples asked of one request where an endpoint can"),
    REAL("remote.deadline_s", remote.deadline_s, "600", 0.1, 86400, "of one request, seconds"),
    INT("remote.retries", remote.retries, "6", 0, 100, "of one request"),
    INT("remote.backoff_ms", remote.backoff_ms, "500", 1, 60000, "first wait before a retry"),
    REAL("remote.outage_limit_s", remote.outage_limit_s, "3600", 1, 1e6,
         "seconds without any answer that end a run"),
    REAL("remote.prompt_price", remote.prompt_price, "0", 0, 1e9,
         "money per million prompt tokens"),
    REAL("remote.completion_price", remote.completion_price, "0", 0, 1e9,
         "money per million generated tokens"),
    REAL("remote.max_cost", remote.max_cost, "0", 0, 1e12,
         "money that the workspace may cost in all; 0 = no limit"),
    REAL("remote.max_hours", remote.max_hours, "0", 0, 1e6, "hours of one run; 0 = no limit"),
    REAL("remote.max_failed", remote.max_failed, "0.02", 0, 1,
         "share of answers that may fail for good before a stage counts as not done"),
    TEXT("remote.ca_file", remote.ca_file, "", NULL,
         "certificates to trust instead of the system's"),
    FLAG("remote.plain_http", remote.plain_http, "false",
         "allow a key over http:// to public addresses"),
    TEXT("remote.profile", remote.profile, "probe", "probe|vllm|openai",
         "what endpoints can do: ask them, or take it for granted"),
    INT("remote.batch_requests", remote.batch_requests, "50000", 1, 1e9,
        "requests of one batch file"),
    INT("remote.batch_bytes", remote.batch_bytes, "200000000", 1024, 1e12,
        "bytes of one batch file"),

    TEXT("run.shard", run.shard, "", NULL,
         "i/n: only every n-th scene, from the i-th; empty = all (see merge)"),
    INT("run.limit", run.limit, "0", 0, 1e12, "scenes at most in this run; 0 = all"),
    REAL("run.memory_gib", run.memory_gib, "0", 0, 1e6,
         "of a training in all; layers are computed again until it fits; 0 = the machine's"),

    INT("distill.pairs", distill.pairs, "10000", 1, 1e9, "preference pairs kept"),
    TEXT("distill.strategy", distill.strategy, "gap",
         "gap|total-gap|data-gap|high-accuracy|low-accuracy|accuracy-difference|log-loss|ifd|"
         "random|random-direct",
         "what makes a scene worth keeping"),
    TEXT("distill.chosen", distill.chosen, "lowest-entropy", PAIR_RULES,
         "which of the teacher's processes that reached the true action is chosen"),
    TEXT("distill.rejected", distill.rejected, "lowest-entropy", PAIR_RULES,
         "which of the processes that reached another action is rejected"),
    FLAG("distill.keep_malformed", distill.keep_malformed, "false",
         "texts that break the form, or name another letter than was drawn, may train"),
    FLAG("distill.keep_contradicting", distill.keep_contradicting, "false",
         "of these, those that name another letter may train"),

    TRAIN("sft", sft, "2e-4", "0.0", "1", "10", "4"),
    TRAIN("dpo", dpo, "1e-5", "0.05", "2", "10", "4"),
    REAL("dpo.beta", dpo_more.beta, "0.1", 0, 100, "strength of the tie to the reference"),
    REAL("dpo.label_smoothing", dpo_more.label_smoothing, "0", 0, 0.5, "cDPO"),
    TEXT("dpo.loss", dpo_more.loss, "sigmoid", "sigmoid|robust|hinge|ipo", "form of the loss"),
    TRAIN("direct", direct, "2e-4", "0.0", "1", "10", "4"),
    TEXT("direct.budget", direct_more.budget, "sft+dpo", "sft|sft+dpo",
         "whose processed tokens the baseline direct fine-tuning may use"),

    INT("eval.repeats", eval.repeats, "3", 1, 1000, "decision processes averaged a scene"),
    INT("eval.max_tokens", eval.max_tokens, "1024", 1, 1e6, "of each"),
    REAL("eval.temperature", eval.temperature, "1.0", 0, 100, "0 = greedy"),
    REAL("eval.top_p", eval.top_p, "0.8", 0, 1, "nucleus"),
    INT("eval.resamples", eval.resamples, "2000", 1, 1e7, "of the bootstrap by user"),
};

const um_option *um_config_options(size_t *n)
{
    *n = sizeof options / sizeof options[0];
    return options;
}

const um_option *um_config_find(const char *key)
{
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(options[i].key, key) == 0)
            return &options[i];
    }
    return NULL;
}

static um_status unknown_key(const char *key, const char *where, um_error *err)
{
    const char *keys[sizeof options / sizeof options[0]];
    size_t n = sizeof options / sizeof options[0];
    for (size_t i = 0; i < n; i++)
        keys[i] = options[i].key;
    const char *near = um_nearest(key, keys, n);
    return um_fail(err, UM_ERR_INPUT,
                   "%s: unknown option '%s'%s%s%s; `mirrorer run --print-config` "
                   "lists all",
                   where, key, near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                   near != NULL ? "'" : "");
}

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; p != NULL && *p != '\0'; p += strcspn(p, "|"), p += *p == '|') {
        if (strcspn(p, "|") == n && strncmp(p, value, n) == 0)
            return true;
    }
    return false;
}

static um_status set_text(um_config *config, const um_option *o, const char *value,
                          const char *where, um_error *err)
{
    char *field = (char *)config + o->offset;
    if (o->choices != NULL && !is_choice(o->choices, value))
        return um_fail(err, UM_ERR_INPUT, "%s: %s: found '%s'; one of %s", where, o->key, value,
                       o->choices);
    if (!um_utf8_valid(value, strlen(value)))
        return um_fail(err, UM_ERR_INPUT, "%s: %s: is not UTF-8", where, o->key);
    if (strlen(value) >= o->size)
        return um_fail(err, UM_ERR_LIMIT, "%s: %s: longer than %zu bytes", where, o->key,
                       o->size - 1);
    memset(field, 0, o->size);
    memcpy(field, value, strlen(value));
    return UM_OK;
}

um_status um_config_set(um_config *config, const char *key, const char *value, const char *where,
                        um_error *err)
{
    const um_option *o = um_config_find(key);
    double real;
    int64_t whole;

    if (o == NULL)
        return unknown_key(key, where, err);
    void *field = (char *)config + o->offset;
    switch (o->type) {
    case UM_OPTION_TEXT:
        return set_text(config, o, value, where, err);
    case UM_OPTION_BOOL:
        if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
            return um_fail(err, UM_ERR_INPUT, "%s: %s: found '%s'; true or false", where, key,
                           value);
        *(bool *)field = value[0] == 't';
        return UM_OK;
    case UM_OPTION_INT:
        if (!um_parse_i64(value, &whole) || (double)whole < o->min || (double)whole > o->max)
            break;
        *(int64_t *)field = whole;
        return UM_OK;
    case UM_OPTION_REAL:
        if (!um_parse_f64(value, &real) || real < o->min || real > o->max)
            break;
        *(double *)field = real;
        return UM_OK;
    }
    return um_fail(err, UM_ERR_INPUT, "%s: %s: found '%s'; a%s number from %g to %g", where, key,
                   value, o->type == UM_OPTION_INT ? " whole" : "", o->min, o->max);
}

static bool is_section(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strncmp(options[i].key, name, len) == 0 && options[i].key[len] == '.')
            return true;
    }
    return false;
}

/* Applies every scalar of the tree; maps nest as sections. A section may be empty. */
static um_status apply_tree(um_config *config, const um_yaml *map, const char *prefix,
                            const char *path, um_error *err)
{
    char key[128], where[UM_CONFIG_TEXT + 32];

    for (size_t i = 0; i < map->n; i++) {
        const um_yaml *node = map->item[i];
        um_status status;
        snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", map->keys[i]);
        snprintf(where, sizeof where, "%.500s:%d", path, node->line);
        if (node->kind == UM_YAML_MAP && prefix[0] == '\0')
            status = apply_tree(config, node, key, path, err);
        else if (node->kind == UM_YAML_SCALAR && node->text[0] == '\0' && is_section(key))
            status = UM_OK;
        else if (node->kind == UM_YAML_SCALAR)
            status = um_config_set(config, key, node->text, where, err);
        else
            status = um_fail(err, UM_ERR_INPUT, "%s: %s: need one value here", where, key);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status apply_yaml(um_config *config, const um_yaml *root, const char *path, um_error *err)
{
    if (root->kind == UM_YAML_SCALAR && root->text[0] == '\0')
        return UM_OK;
    if (root->kind != UM_YAML_MAP)
        return um_fail(err, UM_ERR_INPUT, "%s: a configuration is a mapping of sections", path);
    return apply_tree(config, root, "", path, err);
}

um_status um_config_read(um_config *config, const char *yaml_path, um_error *err)
{
    um_yaml *root = NULL;
    um_status status = um_yaml_read(&root, yaml_path, err);
    if (status == UM_OK)
        status = apply_yaml(config, root, yaml_path, err);
    um_yaml_free(root);
    return status;
}

um_status um_config_apply_profile(um_config *config, const char *name, um_error *err)
{
    const um_embedded_file profiles[] = {UM_EMBEDDED("embedded", profile_embedded)};
    um_status status = UM_OK;

    if (strcmp(name, "published") == 0) {
        for (size_t i = 0; i < sizeof options / sizeof options[0] && status == UM_OK; i++)
            status = um_config_set(config, options[i].key, options[i].fallback, "defaults", err);
        return status;
    }
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        um_yaml *root = NULL;
        if (strcmp(profiles[i].name, name) != 0)
            continue;
        status = um_yaml_parse(&root, (const char *)profiles[i].data, profiles[i].len, name, err);
        if (status == UM_OK)
            status = apply_yaml(config, root, name, err);
        um_yaml_free(root);
        return status;
    }
    return um_fail(err, UM_ERR_NOT_FOUND, "profile '%s' is unknown; published or embedded", name);
}

um_status um_config_init(um_config *config, um_error *err)
{
    memset(config, 0, sizeof *config);
    um_status status = um_config_apply_profile(config, "published", err);
    return status == UM_OK ? um_config_apply_profile(config, "embedded", err) : status;
}

void um_config_get(const um_config *config, const um_option *option, char *out, size_t size)
{
    const void *field = (const char *)config + option->offset;
    switch (option->type) {
    case UM_OPTION_BOOL:
        snprintf(out, size, "%s", *(const bool *)field ? "true" : "false");
        break;
    case UM_OPTION_INT:
        snprintf(out, size, "%lld", (long long)*(const int64_t *)field);
        break;
    case UM_OPTION_REAL: {
        um_str s = UM_STR_INIT;
        um_str_append_number(&s, *(const double *)field);
        snprintf(out, size, "%s", um_str_text(&s));
        um_str_dispose(&s);
        break;
    }
    case UM_OPTION_TEXT:
        snprintf(out, size, "%s", (const char *)field);
        break;
    }
}

/*
 * A double-quoted YAML scalar. What YAML forbids in a file or folds as a line break (controls,
 * U+0085, U+2028, U+2029, the byte order mark, non-characters) is written as an escape.
 */
static void append_quoted(um_str *s, const char *text)
{
    um_str_append_char(s, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0';) {
        size_t len = *p < 0x80 ? 1 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
        uint32_t code = len == 1 ? *p : *p & (0x7Fu >> len);
        for (size_t i = 1; i < len; i++)
            code = code << 6 | (p[i] & 0x3F);
        if (code == '"' || code == '\\')
            um_str_appendf(s, "\\%c", (char)code);
        else if (code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
                 code == 0xFEFF || code == 0xFFFE || code == 0xFFFF)
            um_str_appendf(s, "\\u%04X", code);
        else
            um_str_append_n(s, p, len);
        p += len;
    }
    um_str_append_char(s, '"');
}

void um_config_student_shape(const um_config *config, int vocab, int32_t eos, um_model_config *out)
{
    *out = (um_model_config){.arch = UM_ARCH_LLAMA,
                             .vocab = vocab,
                             .hidden = (int)config->student.hidden,
                             .layers = (int)config->student.layers,
                             .heads = (int)config->student.heads,
                             .kv_heads = (int)config->student.kv_heads,
                             .head_dim = (int)(config->student.hidden / config->student.heads),
                             .ffn = (int)config->student.ffn,
                             .max_positions = (int)config->student.max_positions,
                             .rms_eps = 1e-5f,
                             .rope_theta = config->student.rope_theta,
                             .tied = true,
                             .bos = -1,
                             .eos = eos};
}

um_status um_config_print(const um_config *config, char **yaml, um_error *err)
{
    um_str s = UM_STR_INIT;
    const char *section = "";
    size_t section_len = 0;
    char value[UM_CONFIG_TEXT];

    um_str_append(&s, "# All options of `mirrorer run`, with the values now in force.\n");
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const um_option *o = &options[i];
        const char *dot = strchr(o->key, '.');
        size_t len = dot != NULL ? (size_t)(dot - o->key) : 0;
        if (len != section_len || strncmp(section, o->key, len) != 0) {
            um_str_appendf(&s, "\n%.*s:\n", (int)len, o->key);
            section = o->key;
            section_len = len;
        }
        um_config_get(config, o, value, sizeof value);
        size_t begin = s.len;
        um_str_appendf(&s, "%s%s: ", len > 0 ? "  " : "", dot != NULL ? dot + 1 : o->key);
        if (o->type == UM_OPTION_TEXT)
            append_quoted(&s, value);
        else
            um_str_append(&s, value);
        int pad = s.len < begin + COMMENT_COLUMN ? (int)(begin + COMMENT_COLUMN - s.len) : 0;
        um_str_appendf(&s, "%*s # %s", pad, "", o->help);
        if (o->choices != NULL)
            um_str_appendf(&s, " (%s)", o->choices);
        um_str_append(&s, "\n");
    }
    um_status status = um_str_take(&s, yaml, err);
    um_str_dispose(&s);
    return status;
}
