/*
 * test_train_log.c - what a run writes down: TensorBoard's records against its own code
 * (tests/golden/gen_tensorboard.py), the lines, and what is cut when a run goes on.
 */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "train/log.h"

#include "test_util.h"

static void crc_values(void **state)
{
    (void)state;
    unsigned char bytes[32]; /* RFC 3720, B.4 */
    assert_true(um_crc32c("123456789", 9) == 0xE3069283u);
    assert_true(um_crc32c("", 0) == 0);
    memset(bytes, 0, sizeof bytes);
    assert_true(um_crc32c(bytes, 32) == 0x8A9136AAu);
    memset(bytes, 0xFF, sizeof bytes);
    assert_true(um_crc32c(bytes, 32) == 0x62A8AB43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_true(um_crc32c(bytes, 32) == 0x46DD794Eu);
}

static void golden_events(um_str *out)
{
    char tag[200] = "eval/";
    for (int i = 0; i < 40; i++)
        strcat(tag, "long");
    const um_tb_scalar first[] = {{"train/loss", 0.6931471805599453}, {"train/lr", 0.0}};
    const um_tb_scalar second[] = {{"train/rewards/margins", -1.5e-7}};
    const um_tb_scalar third[] = {{"eval/loss", 1e30}, {tag, 0.1}};
    const um_tb_scalar fourth[] = {{"train/loss", NAN}};
    um_tb_append_version(out, 1700000000.5);
    um_tb_append_scalars(out, 1700000001.25, 1, first, 2);
    um_tb_append_scalars(out, 1700000002.0, 127, second, 1);
    um_tb_append_scalars(out, 1700000003.0, 128, third, 2);
    um_tb_append_scalars(out, 1700000004.0, (int64_t)1 << 40, fourth, 1);
}

static void events_as_tensorboard_writes_them(void **state)
{
    (void)state;
    um_error err;
    um_str out = UM_STR_INIT;
    char *golden;
    size_t n;
    golden_events(&out);
    assert_ok(um_str_status(&out, &err), err);
    assert_ok(
        um_file_read(&golden, &n, UM_SOURCE_DIR "/tests/golden/events.tfevents", 1 << 20, &err),
        err);
    assert_int_equal(out.len, n);
    assert_memory_equal(out.data, golden, n);
    free(golden);
    um_str_dispose(&out);
}

static void records_are_walked(void **state)
{
    (void)state;
    static const int64_t steps[] = {0, 1, 127, 128, (int64_t)1 << 40};
    static const char *const tags[] = {NULL, "train/loss", "train/rewards/margins", "eval/loss",
                                       "train/loss"};
    um_str out = UM_STR_INIT;
    um_tb_record record;
    size_t at = 0, ends[5];
    golden_events(&out);
    const unsigned char *data = (const unsigned char *)out.data;
    for (int i = 0; i < 5; i++) {
        assert_true(um_tb_next(&record, data, out.len, &at));
        assert_int_equal(record.step, steps[i]);
        assert_int_equal(record.tag_len, tags[i] != NULL ? strlen(tags[i]) : 0);
        if (tags[i] != NULL)
            assert_memory_equal(record.tag, tags[i], record.tag_len);
        ends[i] = at;
    }
    assert_int_equal(at, out.len);
    assert_false(um_tb_next(&record, data, out.len, &at));
    /* Cut anywhere, or with a flipped bit anywhere, no unsound record is taken. */
    for (size_t len = 0; len < out.len; len++) {
        size_t whole = 0;
        for (at = 0; um_tb_next(&record, data, len, &at);)
            assert_int_equal(at, ends[whole++]);
        assert_true(whole == 5 || ends[whole] > len);
    }
    for (size_t i = 0; i < out.len; i++) {
        size_t whole = 0;
        out.data[i] = (char)(out.data[i] ^ 4);
        for (at = 0; um_tb_next(&record, data, out.len, &at);)
            whole++;
        assert_true(whole < 5 && (whole == 0 || ends[whole - 1] <= i) && i < ends[whole]);
        out.data[i] = (char)(out.data[i] ^ 4);
    }
    um_str_dispose(&out);
}

static um_train_metrics made(int64_t step, bool held_out)
{
    return (um_train_metrics){.held_out = held_out,
                              .step = step,
                              .epoch = (int)step / 4,
                              .loss = 1.0 / (double)step,
                              .grad_norm = 2.5,
                              .lr = 1e-5,
                              .tokens_processed = 100 * (uint64_t)step,
                              .tokens_trained = 10 * (uint64_t)step,
                              .reward_margin = 0.25,
                              .reward_accuracy = 0.75,
                              .seconds = 0.125,
                              .tokens_per_s = 800,
                              .trained_per_s = 80,
                              .best_step = 2,
                              .best_loss = 0.5};
}

/* Steps 1 to 6, held-out rows after 2, 4 and 6. */
static void write_all(um_train_log *log, bool dpo, int64_t from)
{
    um_error err;
    for (int64_t step = from; step <= 6; step++) {
        um_train_metrics m = made(step, false);
        assert_ok(um_train_log_write(log, &m, dpo, &err), err);
        m = made(step, true);
        if (step % 2 == 0)
            assert_ok(um_train_log_write(log, &m, dpo, &err), err);
    }
    assert_ok(um_train_log_sync(log, &err), err);
}

static char *read_log(const char *dir, const char *name, size_t *n)
{
    um_error err;
    char path[400], *text;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_file_read(&text, n, path, 1 << 20, &err), err);
    return text;
}

static void lines_are_json(void **state)
{
    (void)state;
    um_error err;
    um_train_log log;
    char dir[256];
    size_t n;
    assert_non_null(make_dir(dir, sizeof dir));
    assert_ok(um_train_log_open(&log, dir, 0, 0, &err), err);
    write_all(&log, true, 1);
    um_train_log_dispose(&log);
    char *text = read_log(dir, "metrics.jsonl", &n);
    assert_true(um_str_starts(
        text,
        "{\"step\":1,\"epoch\":0,\"loss\":1,\"grad_norm\":2.5,\"lr\":1e-05,\"rewards/chosen\":0,"
        "\"rewards/rejected\":0,\"rewards/margins\":0.25,\"rewards/accuracies\":0.75,"
        "\"logps/chosen\":0,\"logps/rejected\":0,\"tokens_processed\":100,\"tokens_trained\":10}\n"
        "{\"step\":2,"));
    int lines = 0, held_out = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        json_t *object;
        assert_ok(um_json_parse(&object, line, strlen(line), "line", &err), err);
        if (json_object_get(object, "eval_loss") != NULL) {
            held_out++;
            assert_close(json_number_value(json_object_get(object, "eval_rewards/margins")), 0.25,
                         0);
            assert_int_equal(json_integer_value(json_object_get(object, "best_step")), 2);
            assert_null(json_object_get(object, "loss"));
            assert_null(json_object_get(object, "lr"));
        }
        json_decref(object);
    }
    assert_int_equal(lines, 9);
    assert_int_equal(held_out, 3);
    free(text);
    text = read_log(dir, "speed.jsonl", &n);
    assert_true(um_str_starts(
        text, "{\"step\":1,\"seconds\":0.125,\"tokens_per_s\":800,\"trained_per_s\":80}\n"));
    free(text);
    remove_dir(dir);
}

/* What came after the checkpoint is cut, a torn end too, and nothing else. */
static void future_is_cut(void **state)
{
    (void)state;
    static const struct {
        int64_t step, evaluated;
        int metrics, speed, events;
    } cases[] = {{6, 6, 9, 6, 10}, {6, 4, 8, 6, 9}, {4, 4, 6, 4, 7}, {4, 2, 5, 4, 6},
                 {3, 2, 4, 3, 5},  {1, 0, 1, 1, 2}, {0, 0, 0, 0, 1}, {9, 8, 9, 6, 10}};
    um_error err;
    um_train_log log;
    char dir[256], path[400];
    assert_non_null(make_dir(dir, sizeof dir));
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        static const char *const names[] = {"metrics.jsonl", "speed.jsonl",
                                            "events.out.tfevents.mirrorer"};
        assert_ok(um_train_log_open(&log, dir, 0, 0, &err), err);
        write_all(&log, false, 1);
        um_train_log_dispose(&log);
        for (int i = 0; i < 3; i++) { /* torn */
            snprintf(path, sizeof path, "%s/%s", dir, names[i]);
            FILE *f = fopen(path, "ab");
            assert_non_null(f);
            fputs("{\"step\":1,\"torn", f);
            fclose(f);
        }
        assert_ok(um_train_log_open(&log, dir, cases[c].step, cases[c].evaluated, &err), err);
        um_train_log_dispose(&log);
        for (int i = 0; i < 2; i++) {
            size_t n;
            int lines = 0;
            char *text = read_log(dir, names[i], &n);
            for (size_t k = 0; k < n; k++)
                lines += text[k] == '\n';
            assert_int_equal(lines, i == 0 ? cases[c].metrics : cases[c].speed);
            assert_true(n == 0 || text[n - 1] == '\n');
            free(text);
        }
        size_t n, at = 0;
        int records = 0;
        um_tb_record record;
        char *data = read_log(dir, names[2], &n);
        while (um_tb_next(&record, (const unsigned char *)data, n, &at))
            records++;
        assert_int_equal(at, n);
        assert_int_equal(records, cases[c].events);
        free(data);
    }
    remove_dir(dir);
}

static void log_that_cannot_be_written(void **state)
{
    (void)state;
    um_error err;
    um_train_log log;
    char dir[256], path[300];
    assert_non_null(make_dir(dir, sizeof dir));
    snprintf(path, sizeof path, "%s/file", dir);
    assert_ok(um_file_write(path, "x", 1, &err), err);
    assert_int_equal(um_train_log_open(&log, path, 0, 0, &err), UM_ERR_IO);
    assert_non_null(strstr(err.text, path));
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir); /* a link is not followed */
    assert_int_equal(symlink("file", path), 0);
    assert_int_equal(um_train_log_open(&log, dir, 0, 0, &err), UM_ERR_IO);
    assert_int_equal(unlink(path), 0);
    if (access("/dev/full", W_OK) == 0) {
        assert_ok(um_train_log_open(&log, dir, 0, 0, &err), err);
        fclose(log.files[0]);
        log.files[0] = fopen("/dev/full", "wb");
        um_train_metrics m = made(1, false);
        assert_int_equal(um_train_log_write(&log, &m, false, &err), UM_ERR_IO);
        assert_non_null(strstr(err.text, "metrics.jsonl"));
        um_train_log_dispose(&log);
    }
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_values),         cmocka_unit_test(events_as_tensorboard_writes_them),
        cmocka_unit_test(records_are_walked), cmocka_unit_test(lines_are_json),
        cmocka_unit_test(future_is_cut),      cmocka_unit_test(log_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
