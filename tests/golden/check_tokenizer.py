#!/usr/bin/env python3
"""Compares the program's token ids with those of Hugging Face tokenizers.

    check_tokenizer.py strings N > strings.jsonl    rows {"text": ..}: fixed cases, then random ones
    check_tokenizer.py compare FOLDER rows.jsonl [--added]
                       rows {"text": .., "ids": [..], "decoded": ..}; FOLDER holds the tokenizer
                       files; --added: added tokens written in the text were parsed
    check_tokenizer.py chat FOLDER rows.jsonl
                       rows {"messages": [..], "ids": [..]}: against the folder's chat template

Exit status 1 when anything differs. "decoded" may be left out.
"""
import json
import random
import sys

from tokenizers import Tokenizer

FIXED = [
    "", " ", "  ", "\n", "\r\n", "\n\n\n", "\t", " \n ", "a", " a", "a ", "Hello world", "  Hello   world  ",
    "I'm you're he'll we'd they've it's don't", "I'M YOU'RE HE'LL WE'D THEY'VE IT'S", "'s'\u017f 'S '\u017f",
    "1234567890 1 12 123 1,234.56", "caf\u00e9 cafe\u0301", "\u212b \u00c5 A\u030a", "\ufb01 \ufb06",
    "\u0130\u0131 \u1e9e \u00df", "\U0001f999 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\u0915\u094d\u0937\u093f \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u4f60\u597d\uff0c\u4e16\u754c \ud55c\uad6d\uc5b4",
    "a\u00a0b\u2003c\u3000d\u180ee\u200bf\u0085g\u2028h\u001ci", "x" * 300, "ab" * 200, " " * 65 + "x", "\n" * 33,
    "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "a<|endoftext|> b", "<|im_start|><|im_start|>",
    "<|im_start", "<|eot_id|>", "<|begin_of_text|>x", "<unk>", "<|start_story|>once", "x <|end_story|>",
    "<0x0A>", "\u2581a\u2581", "\u0120the", "```c\nint main(void) {\n\treturn 0;\n}\n```", "\ufeffBOM",
    "a\u0300\u0316\u0301\u0327b", "\u1100\u1161\u11a8", "\u0958 \u0344 \u2126", "\u00b2\u00bd\u2167\u0663",
]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<unk>", "<|end_story|>", "<tool_call>"]
WORDS = "the of movie Rating: [A] 5.0 1995 don't I'LL user's re-watch na\u00efve \u00dcber Tokyo \u6771\u4eac".split()
SPACES = [" ", " ", " ", "  ", "\n", "\n\n", "\t", " \n", "\r\n", "\u00a0", "\u3000"]
RANGES = [(0x20, 0x7e), (0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x52f), (0x590, 0x6ff),
          (0x900, 0x97f), (0xe00, 0xe7f), (0x1100, 0x11ff), (0x2000, 0x206f), (0x2190, 0x22ff),
          (0x3040, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0x1f300, 0x1f64f), (0x1, 0x1f)]


def random_text(rng):
    kind = rng.randrange(4)
    if kind == 0:
        return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randrange(1, 30)))
    if kind == 1:
        low, high = rng.choice(RANGES)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 40)))
    if kind == 2:
        return "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randrange(1, 60)))
    parts = WORDS + SPACES + SPECIAL + ["'", "s", "\u0301", "1", "99", "x", "aaa", "!", "?!", "\u2581", "<0x41>"]
    return "".join(rng.choice(parts) for _ in range(rng.randrange(1, 25)))


def strings(n):
    rng = random.Random(20240726)
    rows = FIXED + [random_text(rng) for _ in range(max(0, n - len(FIXED)))]
    for text in rows[:n]:
        print(json.dumps({"text": text}))
    return 0


def report(bad, checked):
    for line in bad[:10]:
        print(line)
    print(f"{checked} rows, {len(bad)} differ")
    return 1 if bad or checked == 0 else 0


def compare(folder, path, added):
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    plain = json.loads(tokenizer.to_str())
    added_tokens, plain["added_tokens"] = plain["added_tokens"], []
    # The library writes an added token that is looked for after normalization in its normalized form.
    as_written = not (added and any(t["normalized"] for t in added_tokens))
    if not added:
        tokenizer = Tokenizer.from_str(json.dumps(plain))
    bad, checked = [], 0
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        want = tokenizer.encode(row["text"], add_special_tokens=False).ids
        checked += 1
        if row["ids"] != want:
            bad.append(f"text {row['text']!r}\n  ours {row['ids']}\n  want {want}")
            continue
        decoded = row.get("decoded") if as_written else None
        if decoded is not None and decoded != tokenizer.decode(want, skip_special_tokens=False):
            bad.append(f"text {row['text']!r}: decoded {row['decoded']!r}")
    return report(bad, checked)


def chat(folder, path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    bad, checked = [], 0
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        text = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False)
        want = tokenizer(text, add_special_tokens=False)["input_ids"]
        checked += 1
        if row["ids"] != want:
            bad.append(f"{row['messages']!r}\n  ours {row['ids']}\n  want {want}")
    return report(bad, checked)


def main(argv):
    if len(argv) == 3 and argv[1] == "strings":
        return strings(int(argv[2]))
    if len(argv) in (4, 5) and argv[1] == "compare":
        return compare(argv[2], argv[3], "--added" in argv)
    if len(argv) == 4 and argv[1] == "chat":
        return chat(argv[2], argv[3])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
