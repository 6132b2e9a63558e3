#include "train/identity.h"

#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "model/params.h"

static uint64_t hash_rows(const um_train_row *rows, size_t n)
{
    uint64_t hash = um_hash(&n, sizeof n, 0);
    for (size_t i = 0; i < n; i++) {
        const um_train_row *row = &rows[i];
        uint64_t head[] = {row->id, (uint64_t)row->prompt_len, (uint64_t)row->n_completions,
                           row->train_prompt};
        hash = um_hash(head, sizeof head, hash);
        hash = um_hash(row->prompt, (size_t)row->prompt_len * sizeof(int32_t), hash);
        for (int c = 0; c < row->n_completions; c++) {
            uint64_t length = (uint64_t)row->completion_len[c];
            hash = um_hash(&length, sizeof length, hash);
            hash = um_hash(row->completions[c], (size_t)length * sizeof(int32_t), hash);
        }
    }
    return hash;
}

static void put_hash(um_str *out, const char *name, uint64_t hash)
{
    char hex[17];
    um_hash_hex(hash, hex);
    um_str_appendf(out, "%s=%s\n", name, hex);
}

static void put_real(um_str *out, const char *name, double value)
{
    um_str_appendf(out, "%s=", name);
    um_str_append_number(out, value);
    um_str_append_char(out, '\n');
}

static void put_int(um_str *out, const char *name, uint64_t value)
{
    um_str_appendf(out, "%s=%llu\n", name, (unsigned long long)value);
}

void um_identity_build(um_str *out, const char *kind, const um_model *model,
                       const um_compute *compute, const um_train_row *rows, size_t n,
                       const um_train_options *o)
{
    um_str_appendf(out, "kind=%s\n", kind);
    put_hash(out, "starting weights", um_model_hash(model));
    put_hash(out, "rows", hash_rows(rows, n));
    /* Text of the caller's: hashed, because it may hold line ends. */
    put_hash(out, "fingerprint", um_hash_str(o->fingerprint != NULL ? o->fingerprint : "", 0));
    um_str_appendf(out, "kernels=%s\n", compute->backend->name);
    put_int(out, "seed", o->seed);
    put_real(out, "lr", o->lr);
    put_real(out, "weight_decay", o->weight_decay);
    put_real(out, "beta1", o->beta1);
    put_real(out, "beta2", o->beta2);
    put_real(out, "eps", o->eps);
    put_real(out, "max_grad_norm", o->max_grad_norm);
    put_int(out, "epochs", (uint64_t)o->epochs);
    put_int(out, "warmup_steps", (uint64_t)o->warmup_steps);
    put_int(out, "batch_rows", (uint64_t)o->batch_rows);
    put_int(out, "max_tokens", (uint64_t)o->max_tokens);
    put_int(out, "pack_tokens", (uint64_t)o->pack_tokens);
    put_int(out, "token_budget", o->token_budget);
    if (o->held_out != NULL) {
        put_hash(out, "held_out", um_hash(o->held_out, n * sizeof *o->held_out, 0));
        put_int(out, "eval_every", (uint64_t)o->eval_every);
        put_int(out, "patience", (uint64_t)o->patience);
        put_int(out, "keep_best", o->keep_best);
    }
    if (o->bf16)
        um_str_append(out, "precision=bfloat16\n");
    if (o->adapter != NULL)
        put_hash(out, "adapter", um_lora_hash(o->adapter));
    if (strcmp(kind, "dpo") == 0) {
        put_int(out, "dpo_loss", (uint64_t)o->dpo_loss);
        put_real(out, "dpo_beta", o->dpo_beta);
        put_real(out, "label_smoothing", o->label_smoothing);
    }
}

static size_t line_length(const char *text)
{
    return strcspn(text, "\n");
}

um_status um_identity_compare(const char *ours, const char *theirs, const char *where,
                              um_error *err)
{
    while (*ours != '\0' || *theirs != '\0') {
        size_t a = line_length(ours), b = line_length(theirs);
        if (a != b || memcmp(ours, theirs, a) != 0)
            return um_fail(err, UM_ERR_STATE,
                           "%s: the checkpoint is of another run, found %.*s there, %.*s here; go "
                           "on with the same model, rows and options, or give another folder",
                           where, (int)b, theirs, (int)a, ours);
        ours += a + (ours[a] == '\n');
        theirs += b + (theirs[b] == '\n');
    }
    return UM_OK;
}
