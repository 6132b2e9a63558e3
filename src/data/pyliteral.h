/*
 * pyliteral.h - a Python literal, as repr() prints it, to JSON text.
 *
 * Older logs were published as one printed dict a line. Understood: dicts, lists, tuples (they
 * become arrays), strings in single or double quotes with the prefixes u and r, numbers (also with
 * Python 2's L), True, False, None, and a comma before a closing bracket. Keys are strings; a
 * number as a key becomes a string. Escapes are those of Python 3: \x and octal ones are code
 * points, an unknown one stands for itself. A pair of surrogates becomes one character.
 *
 * Refused: everything else an expression may hold (names, operators, strings side by side, bytes,
 * \N{...}, nan and inf), lone surrogates, and text after the value.
 */
#ifndef UM_DATA_PYLITERAL_H
#define UM_DATA_PYLITERAL_H

#include "base/str.h"

#define UM_PYLITERAL_MAX_DEPTH 64

/* Appends the JSON of text[0..len). UM_ERR_INPUT names the byte, from 0. Bytes above 127 are
 * copied: whether they are UTF-8 is for the reader of the JSON to check. */
um_status um_pyliteral_to_json(um_str *out, const char *text, size_t len, um_error *err) UM_CHECKED;

#endif
