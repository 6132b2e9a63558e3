/*
 * tokenizer.h - text <-> token ids, and chat templates.
 *
 * A um_tokenizer is immutable after load or train (um_chat_choose apart), and may be used from
 * several threads.
 * Files are Hugging Face `tokenizer.json` (model BPE). What this build does not implement of that
 * format is named and refused, never ignored; the one exception is the post_processor, which is
 * read for the token it opens a text with and never applied: encoding adds no token by itself.
 */
#ifndef MIRRORER_TOKENIZER_H
#define MIRRORER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/message.h"
#include "mirrorer/monitor.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_tokenizer um_tokenizer;

/* Growable list of ids; zero-initialise, release with um_tokens_dispose. */
typedef struct um_tokens {
    int32_t *ids;
    size_t len, cap;
} um_tokens;
void um_tokens_dispose(um_tokens *tokens);
um_status um_tokens_push(um_tokens *tokens, int32_t id, um_error *err) UM_CHECKED;

/*
 * Reads `<dir>/tokenizer.json`, and tokenizer_config.json where it is there (end-of-text token,
 * chat template). Without a tokenizer.json: vocab.json + merges.txt of GPT-2 or Qwen2 tokenizers,
 * or the tokenizer.model of Llama 3. Understood: BPE, byte-level (GPT-2's or any PCRE2 split
 * pattern) or SentencePiece-like with byte fallback; normalizers NFC, Prepend, Replace.
 * UM_ERR_UNSUPPORTED names anything else; UM_ERR_INPUT and UM_ERR_LIMIT a file that breaks its own
 * rules.
 */
um_status um_tokenizer_load(um_tokenizer **out, const char *dir, um_error *err) UM_CHECKED;
void um_tokenizer_free(um_tokenizer *tok);

/*
 * Trains byte-level BPE (Sennrich et al. 2016; byte alphabet and split pattern of GPT-2): merges
 * the most frequent adjacent pair, ties by smaller ids, until vocab_size entries exist or no pair
 * occurs twice. Special tokens (chat markers) take the first ids, in the order given; no merge ever
 * spells one. Deterministic, whatever the order of the texts. The trainer may be used again.
 */
typedef struct um_tokenizer_trainer um_tokenizer_trainer;
um_status um_tokenizer_trainer_new(um_tokenizer_trainer **out, um_error *err) UM_CHECKED;
um_status um_tokenizer_trainer_add(um_tokenizer_trainer *trainer, const char *text, size_t len,
                                   um_error *err) UM_CHECKED;
um_status um_tokenizer_train(um_tokenizer **out, um_tokenizer_trainer *trainer, int vocab_size,
                             const char *const *special, size_t n_special,
                             const um_monitor *monitor, um_error *err) UM_CHECKED;
void um_tokenizer_trainer_free(um_tokenizer_trainer *trainer);

/* Writes tokenizer.json, tokenizer_config.json (chat_template included) and
 * special_tokens_map.json so that transformers.AutoTokenizer gives the same ids. */
um_status um_tokenizer_save(const um_tokenizer *tok, const char *dir, um_error *err) UM_CHECKED;

/*
 * Appends the ids of text (at most 256 MiB); on failure out is as before. parse_special: added
 * tokens written in the text, special or not, become their ids (templates need it; text of users
 * must not). Bytes that are not UTF-8 are encoded as bytes. UM_ERR_INPUT when the vocabulary has no
 * token for a byte and no unk token; UM_ERR_LIMIT when the file's split pattern runs away.
 */
um_status um_tokenizer_encode(const um_tokenizer *tok, const char *text, size_t len,
                              bool parse_special, um_tokens *out, um_error *err) UM_CHECKED;
/* Text of ids (yours, NUL-terminated; may hold partial UTF-8 at its ends; len may be NULL).
 * skip_special leaves special tokens out. */
um_status um_tokenizer_decode(const um_tokenizer *tok, const int32_t *ids, size_t n,
                              bool skip_special, char **text, size_t *len,
                              um_error *err) UM_CHECKED;
/* The bytes of one token, borrowed; NULL for an unused id. */
const char *um_tokenizer_piece(const um_tokenizer *tok, int32_t id, size_t *len);
bool um_tokenizer_is_special(const um_tokenizer *tok, int32_t id);
/* The id whose bytes are `token`, an added token before a model one; -1 when absent. */
int32_t um_tokenizer_find(const um_tokenizer *tok, const char *token);
int32_t um_tokenizer_size(const um_tokenizer *tok);     /* highest id + 1 */
const char *um_tokenizer_kind(const um_tokenizer *tok); /* "byte-level BPE"; static */
/* Hash of everything that decides ids; part of the fingerprint of results. */
uint64_t um_tokenizer_hash(const um_tokenizer *tok);
/* The token that opens a text (named by the post_processor's template), and the one that ends one
 * (eos_token of tokenizer_config.json); -1 when there is none. */
int32_t um_tokenizer_bos(const um_tokenizer *tok);
int32_t um_tokenizer_eos(const um_tokenizer *tok);

/* Chat ---------------------------------------------------------------------------------------- */

typedef enum um_chat_format {
    UM_CHAT_PLAIN,    /* opening token if the file names one, a blank line after each content */
    UM_CHAT_CHATML,   /* <|im_start|>role\ncontent<|im_end|>\n : the embedded student */
    UM_CHAT_LLAMA3,   /* <|begin_of_text|>,
                         <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>;  contents
                         trimmed: Llama 3.0 */
    UM_CHAT_QWEN2_5,  /* ChatML; a conversation that opens with no system message gets the one that
                         the template holds */
    UM_CHAT_LLAMA3_1, /* Llama 3.1, 3.2, 3.3: as UM_CHAT_LLAMA3 with a system turn that begins with
                         "Cutting Knowledge Date: December 2023\nToday Date: <date>\n\n" */
    UM_CHAT_UNKNOWN   /* the folder's template is none of these; nothing is rendered with it */
} um_chat_format;

#define UM_CHAT_DATE "26 Jul 2024" /* what the templates of Llama 3.1 print by themselves */

/* "plain", "chatml", "llama3", "qwen2.5", "llama3.1", "unknown"; static. */
const char *um_chat_name(um_chat_format format);
/*
 * The form of this tokenizer: what um_chat_choose chose, else what the chat template of its folder
 * is recognised as (by its distinctive parts; tools and functions, which are never given here, are
 * not looked at). A tokenizer_config.json without a template is a base model's: UM_CHAT_PLAIN.
 * Without that file the special tokens of the vocabulary decide.
 */
um_chat_format um_chat_detect(const um_tokenizer *tok);
/*
 * Sets the form by name ("llama3.2" and "llama3.3" are "llama3.1") or by a template file (Jinja),
 * and the date that UM_CHAT_LLAMA3_1 prints. NULL or "": as the folder has it, and UM_CHAT_DATE.
 * The template that um_tokenizer_save writes is then of this form and date. Not while another
 * thread uses tok. UM_ERR_UNSUPPORTED: the file is none of the forms; UM_ERR_INPUT: neither name
 * nor file, a date of more than 40 bytes or with control characters or markers, or a vocabulary
 * without the form's special tokens.
 */
um_status um_chat_choose(um_tokenizer *tok, const char *template_name, const char *date,
                         um_error *err) UM_CHECKED;
/* Of all that a form adds to the messages; part of the fingerprint of results. */
uint64_t um_chat_hash(const um_tokenizer *tok, um_chat_format format);
/*
 * Appends the ids of a prompt: the messages, then the header of the assistant's turn. The contents
 * are encoded without special parsing; markers are added as ids, so no text of a user can forge
 * one. Nothing else (no second BOS). `prefix` (may be NULL) opens the assistant's turn, which is
 * then continued, no end-of-turn between; its ids follow those of the prompt without it. The forms
 * that trim contents trim it too. UM_ERR_STATE when the vocabulary lacks a marker of the format,
 * UM_ERR_UNSUPPORTED for UM_CHAT_UNKNOWN.
 */
um_status um_chat_encode_prompt(const um_tokenizer *tok, um_chat_format format,
                                const um_message *messages, size_t n, const char *prefix,
                                um_tokens *out, um_error *err) UM_CHECKED;
/* The same prompt as text, markers spelled out: what transformers' apply_chat_template gives with
 * add_generation_prompt, or continue_final_message where there is a prefix. Yours. */
um_status um_chat_render(const um_tokenizer *tok, um_chat_format format, const um_message *messages,
                         size_t n, const char *prefix, char **text, um_error *err) UM_CHECKED;
/* The id that ends an assistant's turn (trained, and stops generation); -1 when there is none.
 * UM_CHAT_PLAIN, UM_CHAT_UNKNOWN: um_tokenizer_eos. */
int32_t um_chat_end_of_turn(const um_tokenizer *tok, um_chat_format format);

#ifdef __cplusplus
}
#endif
#endif
