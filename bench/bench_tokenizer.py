#!/usr/bin/env python3
"""Encode speed of this program and of Hugging Face tokenizers, one thread each, in one run.

    bench_tokenizer.py BINARY DATA [ROUNDS]

BINARY is build/release/bench/bench_tokenizer; DATA a folder with tokenizers/llama3, tokenizers/qwen2.5 and
models/tinystories-656k, each measured when it is there, and amazon-2018 (texts of people). Prints a line per tokenizer and
kind of kind of text: MB/s of both, the ratio, and whether the ids are the same. The two programs take turns, ROUNDS (5) times; the
best of each counts, and of the library the faster one of encode and encode_batch_fast. Exit status 1 when ids differ.

Each kind is 1 MB in texts of 2,000 characters, about a prompt each. "a" is a single text, of 10^6 letters and of 10^5.
"""
import gzip
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
from hf_tokenizers import folder  # noqa: E402

MEGABYTE = 10**6
SETS = (("llama3", "tokenizers/llama3"), ("qwen2", "tokenizers/qwen2.5"), ("spm", "models/tinystories-656k"))


def hash_ids(ids):
    h = 0xcbf29ce484222325
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return f"{h:016x}"


def people(data):
    """Review texts, one a paragraph; the documentation where there are none."""
    lines = []
    for name in ("AMAZON_FASHION_5.jsonl", "meta_Magazine_Subscriptions.json.gz"):
        path = data / "amazon-2018" / name
        if path.exists():
            opened = gzip.open(path, "rt", encoding="utf-8") if name.endswith("gz") else open(path, encoding="utf-8")
            for line in opened:
                row = json.loads(line)
                lines.append(row.get("reviewText") or " ".join([row.get("title", "")] + list(row.get("description", []))))
    lines += [p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("docs/*.md"))]
    return "\n".join(lines)


def filled(rng, pieces, size=MEGABYTE):
    out, total = [], 0
    while total < size:
        piece = pieces(rng)
        out.append(piece)
        total += len(piece.encode("utf-8"))
    return "".join(out)


def texts(data):
    rng = random.Random(5)
    prose, titles = people(data), data / "ml-latest-small" / "movies.csv"
    words = sorted(set(prose.split()))
    names = titles.read_text(encoding="utf-8").splitlines() if titles.exists() else words
    code = "\n".join(p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("src/*/*.c")))
    ranges = lambda *r: (lambda g: "".join(chr(g.randint(*g.choice(r))) for _ in range(40)) + " ")  # noqa: E731
    history = lambda g: (f"- {g.choice(names)} | rated {g.randint(1, 10) / 2} | "  # noqa: E731
                         f"{g.randint(1995, 2020)}-{g.randint(1, 12):02d}-{g.randint(1, 28):02d}\n")
    return {
        "reviews": prose[:MEGABYTE],
        "histories": filled(rng, history),
        "code": code[:MEGABYTE],
        "json": filled(rng, lambda g: json.dumps({"id": g.randrange(10**6), "t": g.choice(words), "p": g.random()}) + "\n"),
        "word salad": filled(rng, lambda g: g.choice(words) + " "),
        "digits": filled(rng, lambda g: str(g.randrange(10**g.randint(1, 18))) + " "),
        "letters at random": filled(rng, lambda g: "".join(g.choice("etaoinshrdlu") for _ in range(g.randint(1, 12))) + " "),
        "Chinese": filled(rng, lambda g: "".join(chr(0x4e00 + int(2500 * g.random()**2)) for _ in range(12)) + "\uff0c"),
        "Japanese, Korean": filled(rng, ranges((0x3041, 0x3096), (0xac00, 0xb000))),
        "Cyrillic, Arabic": filled(rng, ranges((0x430, 0x44f), (0x627, 0x64a))),
        "emoji": filled(rng, ranges((0x1f300, 0x1f64f), (0x20, 0x7e))),
        "combining marks": filled(rng, lambda g: g.choice("aeiou") + chr(g.randint(0x300, 0x345)) + g.choice(["", " ", "n"])),
        "line breaks": filled(rng, lambda g: "x" + g.choice([" ", "\n", "\r\n", "\t"]) * g.randint(1, 20)),
        "a x 10^6": "a" * MEGABYTE,
        "a x 10^5": "a" * (MEGABYTE // 10),
    }


def ours(process, path):
    process.stdin.write(path + "\n")
    process.stdin.flush()
    seconds, _, ids = process.stdout.readline().split()
    return float(seconds), ids


def pieces(kind, text, size=2000):
    return [text] if kind.startswith("a x") else [text[i:i + size] for i in range(0, len(text), size)]


def measured(encode):
    begun = time.perf_counter()
    out = encode()
    return time.perf_counter() - begun, out


def compare(binary, name, source, data, rounds):
    same = True
    with tempfile.TemporaryDirectory() as work:
        their = folder(name, source, work)
        process = subprocess.Popen([binary, str(source)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for kind, text in texts(data).items():
            rows, path = pieces(kind, text), f"{work}/text"
            pathlib.Path(path).write_text("\0".join(rows), encoding="utf-8", newline="")
            mine = theirs = 1e300
            for _ in range(rounds):
                seconds, ids = ours(process, path)
                single, encoded = measured(lambda: [their.encode(r, add_special_tokens=False) for r in rows])
                batch, _ = measured(lambda: their.encode_batch_fast(rows, add_special_tokens=False))
                mine, theirs = min(mine, seconds), min(theirs, single, batch)
            size, equal = len(text.encode("utf-8")) / 1e6, ids == hash_ids(i for e in encoded for i in e.ids)
            same = same and equal
            print(f"{name:7} {kind:18} {size / mine:8.2f} {size / theirs:8.2f} {theirs / mine:7.2f}x  "
                  f"{'same ids' if equal else 'IDS DIFFER'}", flush=True)
        process.stdin.close()
        process.wait()
    return same


def main(argv):
    if len(argv) not in (3, 4):
        sys.exit(__doc__)
    data, rounds, same = pathlib.Path(argv[2]), int(argv[3]) if len(argv) == 4 else 5, True
    print(f"{'':7} {'text':18} {'MB/s':>8} {'HF MB/s':>8} {'ratio':>8}")
    for name, source in SETS:
        if (data / source).is_dir():
            same = compare(argv[1], name, data / source, data, rounds) and same
        else:
            print(f"{name}: SKIPPED, no folder {source}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
