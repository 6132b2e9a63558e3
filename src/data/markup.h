/* markup.h - web page text, as shops and review sites store it, to plain text. */
#ifndef UM_DATA_MARKUP_H
#define UM_DATA_MARKUP_H

#include "base/str.h"

/*
 * Appends text[0..len) without tags, comments and the contents of <script> and <style>, with
 * character references (&amp; &#39; &#x2019; and the usual names) as characters, and with every run
 * of white space, control characters and tags (those like <b> and <a> aside) as one space, none at
 * the ends. A '<' that opens no tag ("<3") stays; a tag cut short within its attributes takes the
 * rest. True when anything was appended.
 */
bool um_markup_clean(um_str *out, const char *text, size_t len);
/* The same at `out`, which has room for len + UM_MARKUP_SLACK bytes and does not overlap the text;
 * gives the length, which is at most len. */
#define UM_MARKUP_SLACK 16
size_t um_markup_clean_into(char *out, const char *text, size_t len);

#endif
