"""Tokenizers of Hugging Face, made by that library's own converters from the files a model came with.

    hf_tokenizers.py KIND SOURCE TARGET

KIND "llama3": SOURCE holds tokenizer.model (tiktoken ranks). KIND "qwen2": SOURCE holds vocab.json,
merges.txt and tokenizer_config.json. Writes TARGET/tokenizer.json (and copies tokenizer_config.json).
Needs the packages tokenizers and transformers.
"""
import base64
import pathlib
import shutil
import sys

from tokenizers import Tokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter

# The special tokens of Llama 3.1 and later; they are in no file beside tokenizer.model.
LLAMA3_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
                  "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
                  "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
LLAMA3_SPECIAL += [f"<|reserved_special_token_{i}|>" for i in range(3, 248)]


class RankConverter(TikTokenConverter):
    """The converter, reading the file itself instead of through the package tiktoken."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url):
        rows = (line.split() for line in pathlib.Path(tiktoken_url).read_bytes().splitlines())
        return {base64.b64decode(token): int(rank) for token, rank in rows}


def llama3(source):
    return RankConverter(str(pathlib.Path(source) / "tokenizer.model"), extra_special_tokens=LLAMA3_SPECIAL).converted()


def qwen2(source):
    from transformers import Qwen2Tokenizer

    return getattr(Qwen2Tokenizer.from_pretrained(str(source)), "_tokenizer")


def folder(kind, source, target):
    """TARGET as a folder both programs read; a SOURCE with a tokenizer.json is taken as it is."""
    source, target = pathlib.Path(source), pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    if (source / "tokenizer.json").exists():
        shutil.copy(source / "tokenizer.json", target / "tokenizer.json")
    else:
        {"llama3": llama3, "qwen2": qwen2}[kind](source).save(str(target / "tokenizer.json"))
    if (source / "tokenizer_config.json").exists():
        shutil.copy(source / "tokenizer_config.json", target / "tokenizer_config.json")
    return Tokenizer.from_file(str(target / "tokenizer.json"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    made = folder(*sys.argv[1:])
    print(f"{sys.argv[3]}: {made.get_vocab_size()} tokens")
