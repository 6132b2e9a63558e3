/*
 * bench_parse.cpp - what nobody can avoid who reads JSON lines with simdjson: cut a block of text
 * into lines and parse each, nothing else. The floor of bench_data.c.
 */
#include <cstring>

#include <simdjson.h>

#include "bench_parse.h"

struct bench_parser {
    simdjson::dom::parser parser;
};

bench_parser *bench_parser_new()
{
    return new bench_parser;
}

void bench_parser_free(bench_parser *p)
{
    delete p;
}

size_t bench_parser_padding()
{
    return simdjson::SIMDJSON_PADDING;
}

bool bench_parse_lines(bench_parser *p, const char *text, size_t len, size_t *used, uint64_t *rows)
{
    const char *at = text, *end = text + len, *newline;
    while ((newline = static_cast<const char *>(std::memchr(at, '\n', size_t(end - at)))) !=
           nullptr) {
        simdjson::dom::element root;
        if (newline > at && p->parser.parse(at, size_t(newline - at), false).get(root) !=
                                simdjson::SUCCESS)
            return false;
        *rows += newline > at;
        at = newline + 1;
    }
    *used = size_t(at - text);
    return true;
}
