/* Damaged or unsupported tokenizer files: each is refused with its own status and words. */
#include <unistd.h>

#include "tok_util.h"

#define PRE                 "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define DEC                 "\"decoder\":{\"type\":\"ByteLevel\"}"
#define VOCAB               "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define MODEL               "\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\"]}"
#define WITH_MODEL(model)   "{" PRE "," DEC ",\"model\":{" model "}}"
#define WITH_MERGES(merges) WITH_MODEL(VOCAB ",\"merges\":" merges)
#define WITH_VOCAB(vocab)   WITH_MODEL("\"vocab\":" vocab ",\"merges\":[]")
#define WITH_ADDED(added)   "{\"added_tokens\":[" added "]," PRE "," DEC "," MODEL "}"
#define WITH_PRE(pre)       "{\"pre_tokenizer\":" pre "," DEC "," MODEL "}"
#define WITH_SPLIT(split)                                                                          \
    WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\"," split                \
             "},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}")
#define WITH_NORM(norm) "{\"normalizer\":" norm "," PRE "," DEC "," MODEL "}"
#define WITH_DEC(dec)   "{\"decoder\":" dec "," MODEL "}"
#define WITH(extra)     "{" extra "," PRE "," DEC "," MODEL "}"

static const struct {
    const char *json;
    um_status status;
    const char *says;
} bad[] = {
    {"", UM_ERR_INPUT, "tokenizer.json"},
    {"[1]", UM_ERR_INPUT, "not a JSON object"},
    {"{\"model\":{}", UM_ERR_INPUT, "tokenizer.json"},
    {"{}", UM_ERR_INPUT, "model is not an object"},
    /* Ids. */
    {WITH_VOCAB("{\"a\":0,\"b\":2}"), UM_ERR_INPUT, "id 2 of token \"b\" leaves a gap"},
    {WITH_VOCAB("{\"a\":0,\"b\":0}"), UM_ERR_INPUT, "id 0 is given to both \"a\" and \"b\""},
    {WITH_VOCAB("{\"a\":0,\"b\":2147483648}"), UM_ERR_INPUT,
     "id 2147483648 of token \"b\" is not in"},
    {WITH_VOCAB("{\"a\":0,\"b\":-1}"), UM_ERR_INPUT, "id -1 of token \"b\" is not in"},
    {WITH_VOCAB("{\"a\":0,\"b\":1.0}"), UM_ERR_INPUT, "id of \"b\" is not an integer"},
    {WITH_VOCAB("{\"a\":0,\"b\":\"1\"}"), UM_ERR_INPUT, "id of \"b\" is not an integer"},
    {WITH_VOCAB("{\"a\":0,\"\":1}"), UM_ERR_INPUT, "token of id 1 is empty"},
    {WITH_VOCAB("{\"a\":0,\"a\":1}"), UM_ERR_INPUT, "duplicate"},
    {WITH_VOCAB("{}"), UM_ERR_LIMIT, "0 tokens"},
    {WITH_VOCAB("[]"), UM_ERR_INPUT, "vocab is missing or not an object"},
    /* Merges. */
    {WITH_MERGES("[\"a c\"]"), UM_ERR_INPUT, "merge 0 names \"c\", which is not in the vocabulary"},
    {WITH_MERGES("[\"a b\",\"b a\"]"), UM_ERR_INPUT, "merge 1 gives \"ba\", which is not in"},
    {WITH_MERGES("[\"ab\"]"), UM_ERR_INPUT, "merge 0 (\"ab\") has 1 parts, need 2"},
    {WITH_MERGES("[\"a b a\"]"), UM_ERR_INPUT, "has 3 parts, need 2"},
    {WITH_MERGES("[[\"a\",\"b\",\"a\"]]"), UM_ERR_INPUT, "merge 0 has 3 parts, need 2"},
    {WITH_MERGES("[[\"a\",1]]"), UM_ERR_INPUT, "merge 0 holds something that is not a string"},
    {WITH_MERGES("[7]"), UM_ERR_INPUT, "merge 0 is neither a string nor a list"},
    {WITH_MERGES("{}"), UM_ERR_INPUT, "merges is not a list"},
    /* Model. */
    {"{\"model\":{\"type\":\"Unigram\"}}", UM_ERR_UNSUPPORTED, "type \"Unigram\" is not supported"},
    {WITH_MODEL(VOCAB ",\"merges\":[],\"shape\":1"), UM_ERR_UNSUPPORTED, "unknown key \"shape\""},
    {WITH_MODEL(VOCAB ",\"merges\":[],\"dropout\":0.1"), UM_ERR_UNSUPPORTED, "dropout 0.1"},
    {WITH_MODEL(VOCAB ",\"merges\":[],\"end_of_word_suffix\":\"</w>\""), UM_ERR_UNSUPPORTED,
     "end_of_word_suffix"},
    {WITH_MODEL(VOCAB ",\"merges\":[],\"continuing_subword_prefix\":\"##\""), UM_ERR_UNSUPPORTED,
     "continuing_subword_prefix"},
    {WITH_MODEL(VOCAB ",\"merges\":[],\"unk_token\":\"<unk>\""), UM_ERR_INPUT,
     "unk_token \"<unk>\" is not in the vocabulary"},
    {WITH_MODEL(VOCAB ",\"merges\":[],\"fuse_unk\":\"no\""), UM_ERR_INPUT, "fuse_unk"},
    /* Added tokens. */
    {WITH_ADDED("{\"id\":5,\"content\":\"<s>\"}"), UM_ERR_INPUT,
     "id 5 of token \"<s>\" leaves a gap"},
    {WITH_ADDED("{\"id\":1,\"content\":\"<s>\"}"), UM_ERR_INPUT, "given to both \"b\" and \"<s>\""},
    {WITH_ADDED("{\"id\":1,\"content\":\"a\"}"), UM_ERR_INPUT, "\"a\" has id 1, but id 0"},
    {WITH_ADDED("{\"id\":3,\"content\":\"<s>\"},{\"id\":3,\"content\":\"<s>\"}"), UM_ERR_INPUT,
     "added_tokens[1]"},
    {WITH_ADDED("{\"id\":0,\"content\":\"a\"},{\"id\":0,\"content\":\"a\"}"), UM_ERR_INPUT,
     "listed twice"},
    {WITH_ADDED("{\"id\":3,\"content\":\"<s>\",\"single_word\":true}"), UM_ERR_UNSUPPORTED,
     "single_word"},
    {WITH_ADDED("{\"content\":\"<s>\"}"), UM_ERR_INPUT, "id"},
    {WITH_ADDED("{\"id\":3}"), UM_ERR_INPUT, "content"},
    {WITH_ADDED("{\"id\":3,\"content\":\"<s>\",\"color\":1}"), UM_ERR_UNSUPPORTED, "color"},
    {WITH_ADDED("3"), UM_ERR_INPUT, "added_tokens[0]: not an object"},
    {WITH("\"added_tokens\":{}"), UM_ERR_INPUT, "added_tokens is not a list"},
    /* Steps. */
    {WITH("\"truncation\":{\"max_length\":5}"), UM_ERR_UNSUPPORTED, "truncation is not supported"},
    {WITH("\"padding\":{}"), UM_ERR_UNSUPPORTED, "padding is not supported"},
    {WITH("\"plugins\":[]"), UM_ERR_UNSUPPORTED, "unknown key \"plugins\""},
    {WITH_NORM("{\"type\":\"Lowercase\"}"), UM_ERR_UNSUPPORTED, "normalizer: type \"Lowercase\""},
    {WITH_NORM("{\"type\":\"NFC\",\"level\":2}"), UM_ERR_UNSUPPORTED, "unknown key \"level\""},
    {WITH_NORM("{\"type\":\"Prepend\"}"), UM_ERR_INPUT, "prepend"},
    {WITH_NORM("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"\"}"),
     UM_ERR_UNSUPPORTED, "Replace of a Regex"},
    {WITH_NORM("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"),
     UM_ERR_INPUT, "pattern must be"},
    {WITH_NORM("{\"type\":\"Sequence\"}"), UM_ERR_INPUT, "normalizers is missing"},
    {WITH_NORM("{\"type\":\"Sequence\",\"normalizers\":[null]}"), UM_ERR_INPUT, "step 0 is null"},
    {WITH_NORM("5"), UM_ERR_INPUT, "neither null nor an object"},
    {WITH_PRE("{\"type\":\"Metaspace\"}"), UM_ERR_UNSUPPORTED, "pre_tokenizer: type \"Metaspace\""},
    {WITH_PRE("{\"type\":\"ByteLevel\"}"), UM_ERR_UNSUPPORTED, "add_prefix_space = true"},
    {WITH_PRE("null"), UM_ERR_UNSUPPORTED, "must be both pre_tokenizer and decoder"},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\""), UM_ERR_UNSUPPORTED,
     "behavior \"Removed\""},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\""), UM_ERR_INPUT,
     "does not compile"},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"a*\"},\"behavior\":\"Isolated\""), UM_ERR_UNSUPPORTED,
     "can match nothing"},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"[a[bc]]\"},\"behavior\":\"Isolated\""),
     UM_ERR_UNSUPPORTED, "a set inside a set"},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"[a-z&&b]\"},\"behavior\":\"Isolated\""),
     UM_ERR_UNSUPPORTED, "&& in a set"},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"a{1,3}+\"},\"behavior\":\"Isolated\""),
     UM_ERR_UNSUPPORTED, "{n,m}+"},
    {WITH_SPLIT("\"pattern\":{\"Regex\":\"a\\\\h\"},\"behavior\":\"Isolated\""), UM_ERR_UNSUPPORTED,
     "\\h"},
    {WITH_SPLIT("\"pattern\":\"a\",\"behavior\":\"Isolated\""), UM_ERR_INPUT, "pattern must be"},
    {"{" PRE "," MODEL "}", UM_ERR_UNSUPPORTED, "decoder: null"},
    {WITH_DEC("{\"type\":\"WordPiece\"}"), UM_ERR_UNSUPPORTED, "decoder: type \"WordPiece\""},
    {WITH_DEC("{\"type\":\"Sequence\",\"decoders\":[]}"), UM_ERR_INPUT,
     "decoders is missing, empty"},
    {WITH_DEC(
         "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}"),
     UM_ERR_UNSUPPORTED, "ByteFallback is not supported at this place"},
    {WITH_DEC(
         "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":"
         "\"ab\",\"start\":1,\"stop\":0}]}"),
     UM_ERR_INPUT, "one character"},
    {WITH("\"post_processor\":{\"type\":\"BertProcessing\"}"), UM_ERR_UNSUPPORTED,
     "post_processor: type \"BertProcessing\""},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":"
          "\"<s>\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[77]}}}"),
     UM_ERR_INPUT, "special token \"<s>\", which has no id"},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
          "\"id\":"
          "\"<s>\",\"type_id\":0}}],\"special_tokens\":{}}"),
     UM_ERR_INPUT, "special token \"<s>\", which has no id"},
};

static void test_table(void **state)
{
    (void)state;
    um_tokenizer *tok = NULL;
    um_error err;
    assert_ok(load_text(&tok, "{" PRE "," DEC "," MODEL "}", &err), err); /* the good one */
    um_tokenizer_free(tok);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tok = NULL;
        um_status status = load_text(&tok, bad[i].json, &err);
        if (status != bad[i].status || strstr(err.text, bad[i].says) == NULL || tok != NULL)
            fail_msg("%s\n  gave %s \"%s\", want %s with \"%s\"", bad[i].json,
                     um_status_name(status), status == UM_OK ? "" : err.text,
                     um_status_name(bad[i].status), bad[i].says);
    }
}

static void test_size_cap(void **state)
{
    (void)state;
    char dir[256], path[512];
    um_tokenizer *tok = NULL;
    um_error err;
    assert_non_null(make_dir(dir, sizeof dir));
    put_file(dir, "tokenizer.json", "{}");
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    assert_int_equal(truncate(path, (off_t)65 << 20), 0);
    assert_int_equal(um_tokenizer_load(&tok, dir, &err), UM_ERR_LIMIT);
    assert_null(tok);
    remove_dir(dir);
}

typedef struct folder_file {
    const char *name, *text;
} folder_file;

static um_status load_folder(um_tokenizer **out, const folder_file *files, size_t n, um_error *err)
{
    char dir[256];
    assert_non_null(make_dir(dir, sizeof dir));
    for (size_t i = 0; i < n && files[i].name != NULL; i++)
        put_file(dir, files[i].name, files[i].text);
    um_status status = um_tokenizer_load(out, dir, err);
    remove_dir(dir);
    return status;
}

#define VOCAB_JSON "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}"

static void test_folders(void **state)
{
    (void)state;
    static const struct {
        folder_file files[3];
        um_status status;
        const char *says;
    } cases[] = {
        {{{NULL, NULL}}, UM_ERR_NOT_FOUND, "no tokenizer.json"},
        {{{"vocab.json", VOCAB_JSON}}, UM_ERR_NOT_FOUND, "merges.txt"},
        {{{"vocab.json", VOCAB_JSON}, {"merges.txt", "a b\na\n"}}, UM_ERR_INPUT, "merge 1"},
        {{{"vocab.json", VOCAB_JSON}, {"merges.txt", "a \xff\n"}},
         UM_ERR_INPUT,
         "merges.txt:1: not UTF-8"},
        {{{"vocab.json", "{\"a\":7}"}, {"merges.txt", ""}}, UM_ERR_INPUT, "leaves a gap"},
        {{{"vocab.json", VOCAB_JSON},
          {"merges.txt", "a b\n"},
          {"tokenizer_config.json", "{\"tokenizer_class\":\"BertTokenizer\"}"}},
         UM_ERR_UNSUPPORTED,
         "BertTokenizer"},
        {{{"vocab.json", VOCAB_JSON},
          {"merges.txt", "a b\n"},
          {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"<s>\"}}}"}},
         UM_ERR_INPUT,
         "added_tokens_decoder: bad entry \"x\""},
        {{{"vocab.json", VOCAB_JSON},
          {"merges.txt", "a b\n"},
          {"tokenizer_config.json", "{\"eos_token\":\"</s>\"}"}},
         UM_ERR_INPUT,
         "eos_token \"</s>\""},
        {{{"vocab.json", VOCAB_JSON}, {"merges.txt", "a b\n"}, {"tokenizer_config.json", "[]"}},
         UM_ERR_INPUT,
         "tokenizer_config.json: not a JSON object"},
        {{{"tokenizer.model", "\n\x0a\x05<unk>"}}, UM_ERR_INPUT, "SentencePiece"},
        {{{"tokenizer.model", "IQ== 0\nIg== 2\n"}}, UM_ERR_INPUT, "rank 2, need 1"},
        {{{"tokenizer.model", "IQ== 0\nIQ== 1\n"}}, UM_ERR_INPUT, "there twice"},
        {{{"tokenizer.model", "I!== 0\n"}}, UM_ERR_INPUT, "tokenizer.model:1"},
        {{{"tokenizer.model", "IQ== 0\n"}}, UM_ERR_UNSUPPORTED, "1 ranks"},
    };
    um_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        um_tokenizer *tok = NULL;
        um_status status = load_folder(&tok, cases[i].files, 3, &err);
        if (status != cases[i].status || strstr(err.text, cases[i].says) == NULL || tok != NULL)
            fail_msg("folder %zu gave %s \"%s\", want %s with \"%s\"", i, um_status_name(status),
                     status == UM_OK ? "" : err.text, um_status_name(cases[i].status),
                     cases[i].says);
    }
}

/* The layout of vocab.json + merges.txt, and a model_max_length no 64-bit integer holds. */
static void test_vocab_files(void **state)
{
    (void)state;
    static const folder_file files[] = {
        {"vocab.json", VOCAB_JSON},
        {"merges.txt", "#version: 0.2\na b\r\n"},
        {"tokenizer_config.json",
         "{\"model_max_length\":1000000000000000019884624838656,"
         "\"eos_token\":{\"content\":\"<|endoftext|>\"},"
         "\"note\":\"9999999999999999999999 \\\" 9999999999999999999999\"}"}};
    static const int32_t want[] = {2, 3, 2, 0};
    um_tokenizer *tok = NULL;
    um_error err;
    assert_ok(load_folder(&tok, files, 3, &err), err);
    assert_encodes(tok, "ab<|endoftext|>aba", 18, true, want, 4);
    assert_true(um_tokenizer_is_special(tok, 3));
    assert_int_equal(um_tokenizer_eos(tok), 3);
    assert_int_equal(um_chat_end_of_turn(tok, UM_CHAT_PLAIN), 3);
    um_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_size_cap),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_vocab_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
