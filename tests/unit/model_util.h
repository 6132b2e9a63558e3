/* model_util.h - a small random model with its own tokenizer, for tests of engine and files. */
#ifndef UM_MODEL_UTIL_H
#define UM_MODEL_UTIL_H

#include "test_util.h"

#include "mirrorer/model.h"
#include "model/kv.h"

/* A byte-level vocabulary of `vocab` ids learnt from made-up sentences, with ChatML markers. */
static inline um_tokenizer *small_tokenizer(int vocab)
{
    static const char *const words[] = {"the",   "film", "user", "likes", "a",    "quiet",
                                        "story", "and",  "old",  "songs", "from", "Lisbon"};
    const char *special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    um_tokenizer_trainer *trainer;
    um_tokenizer *tok;
    um_error err;
    char text[256];
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "%s %s %s %s.\nBehavior: [%c]\n", words[i % 12],
                 words[i * 7 % 12], words[i * 5 % 11], words[i * 3 % 12], 'A' + (int)(i % 26));
        assert_ok(um_tokenizer_trainer_add(trainer, text, strlen(text), &err), err);
    }
    assert_ok(um_tokenizer_train(&tok, trainer, vocab, special, 3, NULL, &err), err);
    um_tokenizer_trainer_free(trainer);
    return tok;
}

static inline um_model_config small_config(const um_tokenizer *tok)
{
    return (um_model_config){.arch = UM_ARCH_LLAMA,
                             .vocab = um_tokenizer_size(tok),
                             .hidden = 32,
                             .layers = 2,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 8,
                             .ffn = 48,
                             .max_positions = 1024,
                             .rms_eps = 1e-5f,
                             .rope_theta = 10000.0,
                             .tied = true,
                             .bos = -1,
                             .eos = um_tokenizer_find(tok, "<|endoftext|>")};
}

static inline um_model *small_model(const um_model_config *config, uint64_t seed)
{
    um_model *model;
    um_error err;
    assert_ok(um_model_init(&model, config, 0.2f, 0.2f, seed, &err), err);
    return model;
}

/* Bytes of a page of its keys and values. */
static inline uint64_t page_bytes(const um_model *model)
{
    um_backend *backend;
    um_kv kv;
    um_error err;
    assert_ok(um_backend_open(&backend, NULL, NULL, &err), err);
    assert_ok(um_kv_init(&kv, backend, um_model_get_config(model), UM_F32, 0, &err), err);
    uint64_t bytes = (uint64_t)kv.cache.page_bytes * (uint64_t)kv.cache.layers;
    um_kv_dispose(&kv);
    um_backend_close(backend);
    return bytes;
}

#endif
