/* bench_parse.h - simdjson behind a C face, without any of the checks of base/jsonl.h. */
#ifndef BENCH_PARSE_H
#define BENCH_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_parser bench_parser;
bench_parser *bench_parser_new(void);
void bench_parser_free(bench_parser *parser);
/* Bytes past a text that must be readable. */
size_t bench_parser_padding(void);
/* Parses each whole line of text[0..len), of which *used bytes are behind it; false: not JSON. */
bool bench_parse_lines(bench_parser *parser, const char *text, size_t len, size_t *used,
                       uint64_t *rows);

#ifdef __cplusplus
}
#endif
#endif
