/* markup.h - web page text, as shops and review sites store it, to plain text. */
#ifndef UM_DATA_MARKUP_H
#define UM_DATA_MARKUP_H

#include "base/str.h"

/*
 * Appends text[0..len) without tags, comments and the contents of <script> and <style>, with
 * character references (&amp; &#39; &#x2019; and the usual names) as characters, and with every run
 * of white space, control characters and tags (those like <b> and <a> aside) as one space, none at
 * the ends. A '<' that opens no tag
 * ("<3") stays; a tag cut short within its attributes takes the rest. True when anything was
 * appended.
 */
bool um_markup_clean(um_str *out, const char *text, size_t len);
/* False where um_markup_clean may change the text, where it is empty, and where it has characters
 * that a JSON string must escape: most texts have none of that. */
bool um_markup_is_plain(const char *text, size_t len);

#endif
