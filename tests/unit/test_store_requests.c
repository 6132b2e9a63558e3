/* test_store_requests.c - the journal of remote requests. */
#include "base/str.h"
#include "mirrorer/workspace.h"
#include "test_util.h"

static char dir[256];
static um_error err;
static um_workspace *ws;

static int set_up(void **state)
{
    (void)state;
    return make_dir(dir, sizeof dir) != NULL &&
                   um_workspace_open(&ws, dir, UM_WORKSPACE_CREATE, &err) == UM_OK
               ? 0
               : 1;
}

static int tear_down(void **state)
{
    (void)state;
    um_workspace_close(ws);
    remove_dir(dir);
    return 0;
}

static um_row_request request(unsigned char key, const char *stage, uint64_t prompt,
                              uint32_t sample, const char *status)
{
    um_row_request row = {.stage = stage, .prompt = prompt, .sample = sample, .status = status};
    memset(row.key, key, sizeof row.key);
    return row;
}

static void put(const um_row_request *row)
{
    assert_ok(um_workspace_put_request(ws, row, &err), err);
}

static const char *answer_of(unsigned char key)
{
    unsigned char bytes[16];
    const char *answer;
    memset(bytes, key, sizeof bytes);
    assert_ok(um_workspace_get_answer(&answer, ws, bytes, &err), err);
    return answer;
}

static void test_life_of_a_request(void **state)
{
    (void)state;
    um_request_totals t;
    um_row_request row = request(1, "decide.teacher", 7, 3, "intended");
    put(&row);
    assert_null(answer_of(1));
    put(&row); /* after a crash: asked again */
    row.status = "answered";
    row.answer = "{\"text\":\"a\"}";
    row.prompt_tokens = 10;
    row.completion_tokens = 20;
    row.cost = 0.5;
    put(&row);
    assert_string_equal(answer_of(1), "{\"text\":\"a\"}");
    assert_ok(um_workspace_request_totals(&t, ws, NULL, &err), err);
    assert_int_equal(t.answered, 1);
    assert_int_equal(t.open, 0);
    assert_int_equal(t.twice, 1);
    assert_int_equal(t.prompt_tokens, 10);
    assert_int_equal(t.completion_tokens, 20);
    assert_true(t.cost == 0.5);
    /* Asked and paid again: what was spent adds up, the last answer counts. */
    row.answer = "{\"text\":\"b\"}";
    put(&row);
    assert_string_equal(answer_of(1), "{\"text\":\"b\"}");
    assert_ok(um_workspace_request_totals(&t, ws, "decide.teacher", &err), err);
    assert_true(t.cost == 1.0);
    assert_int_equal(t.completion_tokens, 40);
    assert_ok(um_workspace_request_totals(&t, ws, "predict", &err), err);
    assert_int_equal(t.answered, 0);
}

static void test_settled_answers_are_gone(void **state)
{
    (void)state;
    um_request_totals t;
    for (unsigned char i = 0; i < 6; i++) {
        um_row_request row = request(i, i < 4 ? "decide.teacher" : "predict", i % 2, i, "answered");
        row.answer = "x";
        row.cost = 1;
        put(&row);
    }
    assert_ok(um_workspace_settle_requests(ws, "decide.teacher", 1, &err), err);
    for (unsigned char i = 0; i < 6; i++) {
        if (i == 1 || i == 3)
            assert_null(answer_of(i));
        else
            assert_string_equal(answer_of(i), "x");
    }
    assert_ok(um_workspace_request_totals(&t, ws, NULL, &err), err);
    assert_int_equal(t.answered, 6);
    assert_true(t.cost == 6);
}

static um_str seen = UM_STR_INIT;

static um_status see(void *context, const um_row_request *row, um_error *e)
{
    (void)context;
    (void)e;
    um_str_appendf(&seen, "%02x %s %llu/%u %s %d %s x%u\n", row->key[15], row->stage,
                   (unsigned long long)row->prompt, row->sample, row->status, row->http_status,
                   row->reason != NULL ? row->reason : "-", row->times);
    return UM_OK;
}

static void test_listing_dropping_clearing(void **state)
{
    (void)state;
    um_row_request row = request(9, "predict", 2, 0, "intended");
    put(&row);
    row = request(8, "decide.student", 5, 1, "intended");
    put(&row);
    row = request(7, "decide.student", 4, 1, "intended");
    put(&row);
    row.status = "failed";
    row.http_status = 413;
    row.reason = "too long";
    put(&row);
    assert_ok(um_workspace_requests(ws, NULL, NULL, see, NULL, &err), err);
    assert_string_equal(um_str_text(&seen), "07 decide.student 4/1 failed 413 too long x1\n"
                                            "08 decide.student 5/1 intended 0 - x1\n"
                                            "09 predict 2/0 intended 0 - x1\n");
    um_str_clear(&seen);
    assert_ok(um_workspace_requests(ws, "decide.student", "intended", see, NULL, &err), err);
    assert_string_equal(um_str_text(&seen), "08 decide.student 5/1 intended 0 - x1\n");
    um_str_clear(&seen);
    unsigned char key[16];
    memset(key, 8, sizeof key);
    assert_ok(um_workspace_drop_request(ws, key, &err), err);
    row = request(7, "decide.student", 4, 1, "answered");
    row.prompt_tokens = 100;
    row.cost = 0.25;
    put(&row);
    assert_ok(um_workspace_clear_stage(ws, "predict", &err), err);
    assert_ok(um_workspace_requests(ws, "decide.student", NULL, see, NULL, &err), err);
    assert_string_equal(um_str_text(&seen), "07 decide.student 4/1 answered 0 - x1\n");
    um_str_clear(&seen);
    /* What was cleared, even twice, was paid. */
    um_request_totals t;
    assert_ok(um_workspace_forget_requests(ws, "decide.student", &err), err);
    put(&row);
    assert_ok(um_workspace_clear_stage(ws, "scenes", &err), err);
    assert_ok(um_workspace_requests(ws, "decide.student", NULL, see, NULL, &err), err);
    assert_string_equal(um_str_text(&seen), "74 decide.student 0/0 dropped 0 - x0\n");
    assert_ok(um_workspace_request_totals(&t, ws, NULL, &err), err);
    assert_int_equal(t.answered + t.failed + t.open, 0);
    assert_int_equal(t.prompt_tokens, 200);
    assert_true(t.cost == 0.5);
    um_str_dispose(&seen);
}

/* Only an intent of which nothing came to be known counts as one that may have been paid. */
static void test_paid_twice(void **state)
{
    (void)state;
    um_request_totals t;
    unsigned char key[16];
    um_row_request row = request(1, "predict", 2, 0, "intended"), failed = row, other = row;
    put(&row);
    failed.status = "failed";
    put(&failed);
    put(&row); /* failed, asked again: paid once at most */
    assert_ok(um_workspace_request_totals(&t, ws, NULL, &err), err);
    assert_int_equal(t.twice, 0);
    memset(other.key, 2, sizeof other.key);
    put(&other);
    put(&other); /* after a crash */
    assert_ok(um_workspace_requests(ws, NULL, "twice", see, NULL, &err), err);
    assert_string_equal(um_str_text(&seen), "02 predict 2/0 intended 0 - x2\n");
    /* Taking the second intent back leaves the first, which may have been paid. */
    memset(key, 2, sizeof key);
    assert_ok(um_workspace_drop_request(ws, key, &err), err);
    assert_ok(um_workspace_request_totals(&t, ws, NULL, &err), err);
    assert_int_equal(t.twice, 0);
    assert_int_equal(t.open, 2);
    um_str_dispose(&seen);
}

static void test_merging(void **state)
{
    (void)state;
    um_request_totals t;
    bool answered;
    um_row_request open = request(1, "predict", 2, 0, "intended"), there = open, here = open;
    put(&open);
    there.status = "answered";
    there.answer = "theirs";
    there.cost = 2;
    there.times = 1;
    assert_ok(um_workspace_merge_request(ws, &there, &err), err);
    assert_string_equal(answer_of(1), "theirs");
    memset(here.key, 3, sizeof here.key);
    here.status = "answered";
    here.answer = "ours";
    here.cost = 1;
    put(&here);
    memcpy(there.key, here.key, sizeof here.key);
    there.status = "failed";
    there.answer = NULL;
    for (int i = 0; i < 2; i++) /* twice is as once */
        assert_ok(um_workspace_merge_request(ws, &there, &err), err);
    assert_string_equal(answer_of(3), "ours");
    assert_ok(um_workspace_request_totals(&t, ws, NULL, &err), err);
    assert_int_equal(t.answered, 2);
    assert_true(t.cost == 4);
    assert_ok(um_workspace_is_answered(&answered, ws, here.key, &err), err);
    assert_true(answered);
    assert_ok(um_workspace_settle_requests(ws, "predict", 2, &err), err);
    assert_ok(um_workspace_is_answered(&answered, ws, here.key, &err), err);
    assert_true(answered);
    here.key[0]++;
    assert_ok(um_workspace_is_answered(&answered, ws, here.key, &err), err);
    assert_false(answered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life_of_a_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settled_answers_are_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_listing_dropping_clearing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paid_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merging, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
