#!/usr/bin/env python3
"""Compares the program's token ids and prompts with those of Hugging Face tokenizers and transformers.

    check_tokenizer.py agree MIRRORER KIND SOURCE N [SEED]
                       N fixed, random and adversarial strings, encoded with and without looking for added tokens, and
                       decoded; KIND and SOURCE as in hf_tokenizers.py (KIND any word where SOURCE has a tokenizer.json)
    check_tokenizer.py chat MIRRORER FOLDER
                       conversations by the template in FOLDER's tokenizer_config.json: texts, and ids
    check_tokenizer.py strings N > strings.jsonl    rows {"text": ..}: fixed cases, then random ones
    check_tokenizer.py compare FOLDER rows.jsonl [--added]
                       rows {"text": .., "ids": [..], "decoded": ..}; FOLDER holds the tokenizer
                       files; --added: added tokens written in the text were parsed

Exit status 1 when anything differs. "decoded" may be left out. For the whole count of issue-sized runs:

    for kind in llama3:tokenizers/llama3 qwen2:tokenizers/qwen2.5 spm:models/tinystories-656k; do
        check_tokenizer.py agree build/release/bin/mirrorer ${kind%%:*} DATA/${kind#*:} 100000
    done
"""
import json
import random
import subprocess
import sys
import tempfile

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


CODE = ["def f(x):\n    return x[0] + 1\n", "for (int i = 0; i < n; ++i) {\n\t", "}\n\n\n", "SELECT * FROM t WHERE id=42;",
        "https://a.b/c?d=e&f=%20", "<div class='x'>", "a_b_c.dE.F", "0xDEADbeef", "// ---- \u2026", "'re'", "\\n", "x!=y||z", "\t\t\t\t"]
EMOJI = ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\U0001f1eb\U0001f1f7", "#\ufe0f\u20e3",
         "\U0001fae0", "\u263a", "\U000e0067\U000e007f"]
MARKS = ["\u0301", "\u0300", "\u0323", "\u0327", "\u0345", "\u0308", "\u05b0", "\u0e48", "\u094d", "\u3099", "\u0f71", "\U0001d165"]
BASES = "aeiouAEIOUcnsz \u00e9\u01b0\u0391\u0430\u05d0\u0e01\u0915\u304b\uac00\u1100"


def adversarial_text(rng):
    kind = rng.randrange(7)
    if kind == 0:
        return "".join(rng.choice(CODE) for _ in range(rng.randrange(1, 12)))
    if kind == 1:
        return "".join(rng.choice(EMOJI + ["a", " ", "\u200d", "\ufe0f"]) for _ in range(rng.randrange(1, 15)))
    if kind == 2:
        return "".join(rng.choice(BASES) + "".join(rng.choice(MARKS) for _ in range(rng.randrange(5)))
                       for _ in range(rng.randrange(1, 15)))
    if kind == 3:
        return "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 40))) + rng.choice(["", ".", ",", " ", "\u0663"])
    if kind == 4:  # anything that is a character
        points = (rng.choice([rng.randrange(0x20, 0xd800), rng.randrange(0xe000, 0x110000), rng.randrange(1, 0x800)])
                  for _ in range(rng.randrange(1, 20)))
        return "".join(map(chr, points))
    if kind == 5:  # one thing over and over: ties between equal ranks
        return rng.choice(["a", "ab", " ", "\n", "\r\n", "\u4e00", "the", "\u2581", "!", "\U0001f600", "\u00a0 "]) * rng.randrange(1, 400)
    return "".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 60)))  # words run together


def random_text(rng):
    kind = rng.randrange(8)
    if kind > 3:
        return adversarial_text(rng)
    if kind == 0:
        return "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randrange(1, 30)))
    if kind == 1:
        low, high = rng.choice(RANGES)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 40)))
    if kind == 2:
        return "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randrange(1, 60)))
    parts = WORDS + SPACES + SPECIAL + ["'", "s", "\u0301", "1", "99", "x", "aaa", "!", "?!", "\u2581", "<0x41>"]
    return "".join(rng.choice(parts) for _ in range(rng.randrange(1, 25)))


def rows_of(n, seed=20240726):
    rng = random.Random(seed)
    return (FIXED + [random_text(rng) for _ in range(max(0, n - len(FIXED)))])[:n]


def strings(n):
    for text in rows_of(n):
        print(json.dumps({"text": text}))
    return 0


def report(bad, checked):
    for line in bad[:10]:
        print(line)
    print(f"{checked} rows, {len(bad)} differ")
    return 1 if bad or checked == 0 else 0


def differences(tokenizer, rows, added):
    """What differs between rows of the program and a tokenizer, as texts."""
    plain = json.loads(tokenizer.to_str())
    added_tokens, plain["added_tokens"] = plain["added_tokens"], []
    # The library writes an added token that is looked for after normalization in its normalized form.
    as_written = not (added and any(t["normalized"] for t in added_tokens))
    if not added:
        tokenizer = Tokenizer.from_str(json.dumps(plain))
    bad, checked = [], 0
    for row in rows:
        want = tokenizer.encode(row["text"], add_special_tokens=False).ids
        checked += 1
        if row["ids"] != want:
            bad.append(f"text {row['text']!r}\n  ours {row['ids']}\n  want {want}")
            continue
        decoded = row.get("decoded") if as_written else None
        if decoded is not None and decoded != tokenizer.decode(want, skip_special_tokens=False):
            bad.append(f"text {row['text']!r}: decoded {row['decoded']!r}")
    return bad, checked


def compare(folder, path, added):
    rows = (json.loads(line) for line in open(path, encoding="utf-8"))
    return report(*differences(Tokenizer.from_file(f"{folder}/tokenizer.json"), rows, added))


def ask(mirrorer, *args, rows):
    """Rows through `mirrorer tokenizer`."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)
        f.flush()
        out = subprocess.run([mirrorer, "tokenizer", *args, "--rows", f.name], capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(f"mirrorer tokenizer {' '.join(args)}: {out.stderr}")
    return [json.loads(line) for line in out.stdout.split("\n") if line]


def agree(mirrorer, kind, source, n, seed):
    from hf_tokenizers import folder

    with tempfile.TemporaryDirectory() as work:
        tokenizer, status = folder(kind, source, work), 0
        for added in (False, True):
            rows = ask(mirrorer, "encode", source, *([] if added else ["--plain"]), rows=({"text": t} for t in rows_of(n, seed)))
            print(f"{kind}, added tokens {'parsed' if added else 'as text'}:", end=" ", flush=True)
            status |= report(*differences(tokenizer, rows, added))
    return status


CONTENTS = ["Be brief.", "", " padded \n", "\n\nleading", "caf\u00e9 \u4f60\u597d \U0001f44d", "[A] one\n[B] two\n",
            "<|im_end|> is text", "{{ braces }}", "I'm 24 years old\u2026"]


def chat(mirrorer, folder):
    from transformers import AutoTokenizer

    tokenizer, rng, rows = AutoTokenizer.from_pretrained(folder), random.Random(3), []
    for _ in range(200):
        roles = rng.choice([["user"], ["system", "user"], ["user", "assistant", "user"], ["system", "user", "assistant", "user"]])
        row = {"messages": [{"role": r, "content": rng.choice(CONTENTS)} for r in roles]}
        if rng.random() < 0.5:
            row["prefix"] = rng.choice(["Thought:\nStimulus:", "Sure, ", "x"])
        rows.append(row)
    bad = []
    for row in ask(mirrorer, "chat", folder, rows=rows):
        prefix = [{"role": "assistant", "content": row["prefix"]}] if "prefix" in row else []
        text = tokenizer.apply_chat_template(row["messages"] + prefix, add_generation_prompt=not prefix,
                                             continue_final_message=bool(prefix), tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        forged = any("<|" in m["content"] for m in row["messages"])  # they parse it, this program does not
        if row["text"] != text or (row["ids"] != ids and not forged and not prefix):
            bad.append(f"{row['messages']!r} {prefix}\n  ours {row['text']!r} {row['ids']}\n  want {text!r} {ids}")
    return report(bad, len(rows))


def main(argv):
    if len(argv) in (6, 7) and argv[1] == "agree":
        return agree(argv[2], argv[3], argv[4], int(argv[5]), int(argv[6]) if len(argv) == 7 else 20240726)
    if len(argv) == 4 and argv[1] == "chat":
        return chat(argv[2], argv[3])
    if len(argv) == 3 and argv[1] == "strings":
        return strings(int(argv[2]))
    if len(argv) in (4, 5) and argv[1] == "compare":
        return compare(argv[2], argv[3], "--added" in argv)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
