#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: three small tokenizers made by Hugging Face tokenizers, the corpus
they were trained on, and the ids that library gives for a list of texts.

    bytelevel/  GPT-2's pattern, ChatML markers; what um_tokenizer_train must reproduce from corpus.txt
    split/      NFC, Split(Regex) + Digits + ByteLevel, ignore_merges, added tokens of every kind,
                merges as lists
    spm/        Prepend + Replace, byte fallback, no pre-tokenizer, as converted SentencePiece models
    cases.json  {folder: [{"text", "plain": ids, "added": ids, "decoded"}], "chat": [{"messages", "ids"}]};
                "added" is left out where it equals "plain", "decoded" where it equals "text"

Run from anywhere; needs the Python packages tokenizers and transformers.
"""
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from check_tokenizer import FIXED, random_text  # noqa: E402

OUT = pathlib.Path(__file__).parent / "tokenizer"
MARKERS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
NOUNS = "movie book game song story album user friend series night city river train garden café naïveté".split()
VERBS = "watched played read liked rated skipped finished bought shared forgot".split()
OTHER = "the a my this that really never always quickly 2 10 1995 3.5 don't we'll [A] [B] Behavior: Thought:".split()


def corpus():
    rng = random.Random(7)
    lines = []
    for _ in range(150):
        words = [rng.choice(rng.choice([NOUNS, VERBS, OTHER, OTHER])) for _ in range(rng.randrange(4, 16))]
        lines.append(" ".join(words).capitalize() + rng.choice([".", "!", "?", "...", "\n"]))
    return "\n".join(lines) + "\n"


def byte_level(text):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=400, min_frequency=2, special_tokens=MARKERS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(tok.to_str())


def split(text):
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=380, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens([AddedToken("<|eot_id|>", normalized=False), AddedToken("<|a|>", lstrip=True, normalized=False),
                            AddedToken("<|b|>", rstrip=True, normalized=False), AddedToken("<|a|>b", normalized=False)])
    tok.add_tokens([AddedToken("cafe\u0301 noir", normalized=True), AddedToken("    ", normalized=False)])
    data = json.loads(tok.to_str())
    # A word the merges alone cannot reach, so that ignore_merges shows.
    vocab = data["model"]["vocab"]
    shift = len(vocab)
    vocab["Ġxyzzy"] = shift
    for token in data["added_tokens"]:
        token["id"] += 1
    return data


def spm(text):
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.train_from_iterator(text.split("\n"), trainers.BpeTrainer(vocab_size=300, show_progress=False))
    data = json.loads(tok.to_str())
    learned = [t for t, _ in sorted(data["model"]["vocab"].items(), key=lambda kv: kv[1])]
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + learned
    data["model"]["vocab"] = {t: i for i, t in enumerate(texts)}
    data["model"]["byte_fallback"] = True
    data["added_tokens"] = [{"id": i, "content": texts[i], "single_word": False, "lstrip": False, "rstrip": False,
                             "normalized": False, "special": True} for i in range(3)]
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return data


EXTRA = ["word <|a|> word", "\u3000 <|a|>x", "<|b|>  \n x", "<|a|>b<|a|>", "a    b     c", "le cafe\u0301 noir, caf\u00e9 noir",
         " xyzzy xyzzyx", "<s>a</s> b<s>", "</s>\u2581", "1234 12 1", "x!\u180e! \u180e\u180e 1 \u180e.", "<|im_start|>a<|im_end|>\n"]


def cases(data):
    tok = Tokenizer.from_str(json.dumps(data))
    bare = Tokenizer.from_str(json.dumps({**data, "added_tokens": []}))
    rng = random.Random(11)
    rows = []
    for text in FIXED + EXTRA + [random_text(rng) for _ in range(40)]:
        ids = bare.encode(text, add_special_tokens=False).ids
        row = {"text": text, "plain": ids}
        added, decoded = tok.encode(text, add_special_tokens=False).ids, bare.decode(ids, skip_special_tokens=False)
        if added != ids:
            row["added"] = added
        if decoded != text:
            row["decoded"] = decoded
        rows.append(row)
    return rows


def chat_cases(data):
    tok = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)))
    rows = []
    for contents in (["Be brief.", "I watched the movie."], ["s", "\n\nleading", "answer", " trailing \n"], ["", ""],
                     ["caf\u00e9", "[A] one\n[B] two\n"]):
        roles = ["system", "user", "assistant", "user"]
        messages = [{"role": r, "content": c} for r, c in zip(roles, contents)]
        text = tok.apply_chat_template(messages, chat_template=TEMPLATE, add_generation_prompt=True, tokenize=False)
        rows.append({"messages": messages, "ids": tok(text, add_special_tokens=False)["input_ids"]})
    return rows


def main():
    text = corpus()
    OUT.mkdir(exist_ok=True)
    (OUT / "corpus.txt").write_text(text, encoding="utf-8")
    out = {}
    for name, make in (("bytelevel", byte_level), ("split", split), ("spm", spm)):
        data = make(text)
        (OUT / name).mkdir(exist_ok=True)
        (OUT / name / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n",
                                                   encoding="utf-8")
        out[name] = cases(data)
        if name == "bytelevel":
            out["chat"] = chat_cases(data)
    rows = json.dumps(out, separators=(",", ":")).replace('},{"text"', '},\n{"text"')
    (OUT / "cases.json").write_text(rows + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
