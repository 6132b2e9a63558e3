/*
 * export_recipes.c - files beside exported pairs: training recipes for torchtune and LLaMA-Factory,
 * and the card of a Hugging Face data set.
 *
 * The hyper-parameters are the published ones, which are the defaults of the options table.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/exchange.h"
#include "stage/version.h"

#define BASE_MODEL "Llama-3.2-3B-Instruct"

static um_status write_text(const char *dir, const char *name, um_str *text, um_error *err)
{
    char *path = NULL;
    um_status status = um_str_status(text, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, name, err);
    if (status == UM_OK)
        status = um_file_write(path, text->data, text->len, err);
    free(path);
    um_str_clear(text);
    return status;
}

/* YAML 1.1 reads "1e-05" as a text: an exponent needs a point before it. */
static void append_option(um_str *s, const char *key, double value)
{
    um_str number = UM_STR_INIT;
    um_str_append_number(&number, value);
    const char *text = um_str_text(&number), *exponent = strchr(text, 'e');
    if (exponent != NULL && strchr(text, '.') == NULL)
        um_str_appendf(s, "%s: %.*s.0%s\n", key, (int)(exponent - text), text, exponent);
    else
        um_str_appendf(s, "%s: %s\n", key, text);
    um_str_dispose(&number);
}

/* torchtune ------------------------------------------------------------------------------------ */

static void torchtune_model(um_str *s, const char *key, const char *dir, const char *output)
{
    um_str_appendf(s,
                   "%s:\n"
                   "  _component_: torchtune.training.FullModelHFCheckpointer\n"
                   "  checkpoint_dir: %s\n"
                   "  checkpoint_files: [model-00001-of-00002.safetensors, "
                   "model-00002-of-00002.safetensors]\n"
                   "  recipe_checkpoint: null\n"
                   "  output_dir: %s\n"
                   "  model_type: LLAMA3_2\n",
                   key, dir, output);
}

/* What both recipes share; prompts and chosen answers are tokenised by the model's own template. */
static void torchtune_common(um_str *s, const um_train_config *t, const char *output)
{
    um_str_appendf(s,
                   "output_dir: %s\n"
                   "model:\n"
                   "  _component_: torchtune.models.llama3_2.llama3_2_3b\n"
                   "tokenizer:\n"
                   "  _component_: torchtune.models.llama3.llama3_tokenizer\n"
                   "  path: " BASE_MODEL "/original/tokenizer.model\n"
                   "  max_seq_len: %lld\n",
                   output, (long long)t->max_tokens);
    um_str_append(s, "optimizer:\n  _component_: torch.optim.AdamW\n  fused: true\n");
    append_option(s, "  lr", t->lr);
    append_option(s, "  weight_decay", t->weight_decay);
    um_str_appendf(s,
                   "lr_scheduler:\n"
                   "  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup"
                   "\n"
                   "  num_warmup_steps: %lld\n"
                   "epochs: %lld\nbatch_size: 1\ngradient_accumulation_steps: %lld\n"
                   "max_steps_per_epoch: null\nseed: 1\nshuffle: true\n"
                   "device: cuda\ndtype: bf16\n"
                   "enable_activation_checkpointing: true\nenable_activation_offloading: false\n"
                   "compile: false\nresume_from_checkpoint: false\n"
                   "metric_logger:\n"
                   "  _component_: torchtune.training.metric_logging.DiskLogger\n"
                   "  log_dir: ${output_dir}/logs\n"
                   "log_every_n_steps: 1\nlog_peak_memory_stats: true\n",
                   (long long)t->warmup_steps, (long long)t->epochs, (long long)t->batch_rows);
}

um_status um_write_torchtune(const char *dir, um_error *err)
{
    um_config published;
    um_str s = UM_STR_INIT;
    um_status status = um_config_apply_profile(&published, "published", err);
    if (status != UM_OK)
        return status;
    um_str_append(
        &s,
        "# Step 1, supervised fine-tuning on the chosen answers. In this folder:\n"
        "#   tune download meta-llama/" BASE_MODEL " --output-dir " BASE_MODEL " \\\n"
        "#     --ignore-patterns \"original/consolidated.00.pth\"\n"
        "#   tune run full_finetune_single_device --config sft.yaml\n"
        "# Keys of torchtune 0.6. More processes (full_finetune_distributed) multiply the\n"
        "# rows of an update. Rows longer than max_seq_len are cut there, where mirrorer leaves\n"
        "# them out.\n");
    torchtune_common(&s, &published.sft, "sft");
    torchtune_model(&s, "checkpointer", BASE_MODEL, "sft");
    um_str_append(&s, "dataset:\n"
                      "  _component_: torchtune.datasets.chat_dataset\n"
                      "  source: json\n"
                      "  data_files: " UM_SFT_FILE "\n"
                      "  split: train\n"
                      "  conversation_column: messages\n"
                      "  conversation_style: openai\n"
                      "  train_on_input: false\n"
                      "  packed: false\n"
                      "loss:\n"
                      "  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss\n"
                      "optimizer_in_bwd: false\n");
    status = write_text(dir, "sft.yaml", &s, err);
    um_str_append(
        &s, "# Step 2, direct preference optimisation from the model of step 1, which is its\n"
            "# frozen reference too. In this folder, after step 1:\n"
            "#   tune run --nproc_per_node 1 full_dpo_distributed --config dpo.yaml\n");
    torchtune_common(&s, &published.dpo, "dpo");
    torchtune_model(&s, "checkpointer", "sft/epoch_0", "dpo");
    torchtune_model(&s, "ref_checkpointer", "sft/epoch_0", "dpo");
    um_str_append(&s, "dataset:\n"
                      "  _component_: torchtune.datasets.preference_dataset\n"
                      "  source: json\n"
                      "  data_files: " UM_PAIRS_FILE "\n"
                      "  split: train\n"
                      "  train_on_input: false\n"
                      "loss:\n"
                      "  _component_: torchtune.rlhf.loss.DPOLoss\n");
    append_option(&s, "  beta", published.dpo_more.beta);
    append_option(&s, "  label_smoothing", published.dpo_more.label_smoothing);
    if (status == UM_OK)
        status = write_text(dir, "dpo.yaml", &s, err);
    um_str_dispose(&s);
    return status;
}

/* LLaMA-Factory -------------------------------------------------------------------------------- */

static void llamafactory_common(um_str *s, const um_train_config *t, const char *stage,
                                const char *model, const char *dataset, const char *output)
{
    um_str_appendf(s,
                   "model_name_or_path: %s\n"
                   "stage: %s\n"
                   "do_train: true\n"
                   "finetuning_type: full\n"
                   "dataset_dir: .\n"
                   "dataset: %s\n"
                   "template: llama3\n"
                   "cutoff_len: %lld\n"
                   "packing: false\n"
                   "per_device_train_batch_size: 1\n"
                   "gradient_accumulation_steps: %lld\n"
                   "optim: adamw_torch\n",
                   model, stage, dataset, (long long)t->max_tokens, (long long)t->batch_rows);
    append_option(s, "learning_rate", t->lr);
    append_option(s, "weight_decay", t->weight_decay);
    um_str_appendf(s,
                   "num_train_epochs: %lld\n"
                   "lr_scheduler_type: cosine\n"
                   "warmup_steps: %lld\n"
                   "bf16: true\n"
                   "disable_gradient_checkpointing: false\n"
                   "seed: 1\n"
                   "output_dir: %s\n"
                   "save_strategy: epoch\n"
                   "logging_steps: 1\n",
                   (long long)t->epochs, (long long)t->warmup_steps, output);
}

um_status um_write_llamafactory(const char *dir, um_error *err)
{
    um_config published;
    um_str s = UM_STR_INIT;
    um_status status = um_config_apply_profile(&published, "published", err);
    if (status != UM_OK)
        return status;
    um_str_append(&s, "{\n"
                      "  \"mirrorer_sft\": {\n"
                      "    \"file_name\": \"" UM_SFT_FILE "\",\n"
                      "    \"formatting\": \"sharegpt\",\n"
                      "    \"columns\": {\"messages\": \"conversations\", \"system\": \"system\"}\n"
                      "  },\n"
                      "  \"mirrorer_pairs\": {\n"
                      "    \"file_name\": \"" UM_PAIRS_FILE "\",\n"
                      "    \"formatting\": \"sharegpt\",\n"
                      "    \"ranking\": true,\n"
                      "    \"columns\": {\"messages\": \"conversations\", \"system\": \"system\",\n"
                      "                \"chosen\": \"chosen\", \"rejected\": \"rejected\"}\n"
                      "  }\n"
                      "}\n");
    status = write_text(dir, "dataset_info.json", &s, err);
    um_str_append(&s,
                  "# Step 1, supervised fine-tuning on the chosen answers. In this folder:\n"
                  "#   llamafactory-cli train sft.yaml\n"
                  "# Rows longer than cutoff_len are cut there, where mirrorer leaves them out.\n");
    llamafactory_common(&s, &published.sft, "sft", "meta-llama/" BASE_MODEL, "mirrorer_sft", "sft");
    if (status == UM_OK)
        status = write_text(dir, "sft.yaml", &s, err);
    um_str_append(&s,
                  "# Step 2, direct preference optimisation from the model of step 1, which is\n"
                  "# its frozen reference too. In this folder, after step 1:\n"
                  "#   llamafactory-cli train dpo.yaml\n");
    llamafactory_common(&s, &published.dpo, "dpo", "sft", "mirrorer_pairs", "dpo");
    um_str_append(&s, "ref_model: sft\npref_loss: sigmoid\n");
    append_option(&s, "pref_beta", published.dpo_more.beta);
    append_option(&s, "dpo_label_smoothing", published.dpo_more.label_smoothing);
    if (status == UM_OK)
        status = write_text(dir, "dpo.yaml", &s, err);
    um_str_dispose(&s);
    return status;
}

/* Hugging Face --------------------------------------------------------------------------------- */

/* Pairs by data set and length of the list. */
typedef struct tally {
    um_session *s;
    json_t *rows; /* {"name, k": pairs}, in the order they are met */
} tally;

static um_status count_pair(void *context, const um_row_pair *pair, um_error *err)
{
    tally *t = context;
    um_row_scene row;
    char key[160];
    um_status status = um_workspace_get_scene(&row, t->s->ws, pair->scene_id, err);
    if (status != UM_OK)
        return status;
    snprintf(key, sizeof key, "| %.100s | %2u |", row.dataset, row.choice_cnt);
    json_int_t n = json_integer_value(json_object_get(t->rows, key));
    json_object_set_new(t->rows, key, json_integer(n + 1));
    return UM_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static um_status append_tally(um_str *s, um_session *session, um_error *err)
{
    tally t = {session, json_object()};
    const char *key, **keys = NULL;
    json_t *value;
    size_t n = 0;
    um_status status = um_workspace_pairs(session->ws, count_pair, &t, err);

    if (status == UM_OK && (keys = um_calloc(json_object_size(t.rows), sizeof *keys)) == NULL)
        status = um_fail_memory(err, "card");
    if (status == UM_OK) {
        json_object_foreach(t.rows, key, value) keys[n++] = key;
        if (n > 0)
            qsort(keys, n, sizeof *keys, by_text);
        for (size_t i = 0; i < n; i++)
            um_str_appendf(s, "%s %lld |\n", keys[i],
                           (long long)json_integer_value(json_object_get(t.rows, keys[i])));
    }
    free(keys);
    json_decref(t.rows);
    return status;
}

static const char card_head[] = "---\n"
                                "configs:\n"
                                "- config_name: pairs\n"
                                "  default: true\n"
                                "  data_files:\n"
                                "  - split: train\n"
                                "    path: " UM_HF_PAIRS_FILE "\n"
                                "- config_name: sft\n"
                                "  data_files:\n"
                                "  - split: train\n"
                                "    path: " UM_HF_SFT_FILE "\n"
                                "task_categories:\n"
                                "- text-generation\n"
                                "tags:\n"
                                "- preference\n"
                                "- user-simulation\n"
                                "- dpo\n";

um_status um_write_card(um_session *s, const char *dir, uint64_t n_pairs, um_error *err)
{
    um_str text = UM_STR_INIT;
    char hash[17];
    um_row_dataset dataset;
    um_status status = um_workspace_get_dataset(&dataset, s->ws, err);

    if (status != UM_OK)
        return status;
    um_hash_hex(um_prompt_form_hash(s->form), hash);
    um_str_append(&text, card_head);
    um_str_appendf(&text,
                   "size_categories:\n- %s\n---\n\n"
                   "# Preference pairs of a user simulator: %s\n\n"
                   "%llu pairs, made by mirrorer %s. In each, one user looks at one list; two "
                   "decision processes\n"
                   "explain a choice: the chosen one leads to what the user did, the rejected one "
                   "to another action.\n\n"
                   "| config | split | rows | columns |\n|---|---|---|---|\n"
                   "| pairs | train | %llu | `prompt`, `chosen`, `rejected` (chat messages), "
                   "`dataset`, `user_id`, `item_id`, `timestamp` |\n"
                   "| sft | train | %llu | `messages` (the chosen answer), `dataset`, `user_id`, "
                   "`item_id`, `timestamp` |\n\n"
                   "Rows are in the order of the selection, the scenes that teach most first. The "
                   "prompt form's hash is\n"
                   "`%s`.\n\n"
                   "| data set | list | pairs |\n|---|---|---|\n",
                   n_pairs < 1000      ? "n<1K"
                   : n_pairs < 10000   ? "1K<n<10K"
                   : n_pairs < 100000  ? "10K<n<100K"
                   : n_pairs < 1000000 ? "100K<n<1M"
                                       : "1M<n<10M",
                   dataset.name, (unsigned long long)n_pairs, UM_VERSION,
                   (unsigned long long)n_pairs, (unsigned long long)n_pairs, hash);
    status = append_tally(&text, s, err);
    um_str_append(&text,
                  "\n    from datasets import load_dataset\n"
                  "    pairs = load_dataset(\"json\", data_files=\"" UM_HF_PAIRS_FILE
                  "\", split=\"train\")\n\n"
                  "## Licence and privacy\n\n"
                  "The texts quote the log they were made from: its licence and its terms of use "
                  "hold for them, and\n"
                  "this card grants nothing beyond. User ids and histories are those of the log. "
                  "Decision processes are\n"
                  "written by models; they are plausible accounts, not what people said or "
                  "thought.\n");
    if (status == UM_OK)
        status = write_text(dir, "README.md", &text, err);
    um_str_dispose(&text);
    return status;
}
