#!/usr/bin/env python3
"""Writes tests/golden/chat.json: prompts as transformers' apply_chat_template renders them.

    gen_chat.py TEMPLATES

TEMPLATES is a folder with meta-llama-Llama-3.1-8B-Instruct.jinja, meta-llama-Llama-3.2-3B-Instruct.jinja and
Qwen-Qwen2.5-7B-Instruct.jinja. The template of Llama 3.0 is in no such folder; it has three outputs (contents trimmed,
bos_token first, no system block) and is written out below. Rows: {"form", "template", "date", "messages", "prefix", "text"};
"template" is the file (absent for Llama 3.0), "date" is given to transformers as date_string, "prefix" is a last message of
the assistant that continue_final_message continues; without one add_generation_prompt is set. Needs transformers.
"""
import json
import pathlib
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

LLAMA3_0 = ("{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
            "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\\n\\n' ~ (m.content | trim) ~ '<|eot_id|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")
FORMS = (("llama3.1", "meta-llama-Llama-3.1-8B-Instruct.jinja"), ("llama3.1", "meta-llama-Llama-3.2-3B-Instruct.jinja"),
         ("qwen2.5", "Qwen-Qwen2.5-7B-Instruct.jinja"), ("llama3", None))
TALKS = (
    ["system:You simulate a user.", "user:Which film next?"],
    ["user:Which film next?"],
    ["user:One?", "assistant:Two.", "user:Three?"],
    ["system:Be brief.", "user:One?", "assistant:Two.", "user:Three?", "assistant:Four.", "user:Five?"],
    ["system: \n padded\t", "user:\n\nleading and trailing  \n"],
    ["system:", "user:"],
    ["user:a", "system:late", "user:b"],
    ["user:caf\u00e9 \u4f60\u597d \U0001f44d\u200d 'quoted' \"twice\" {{ braces }} {% raw %} \\n", "assistant:ok", "user: \u3000x\u2003"],
)
PREFIXES = (None, "Thought:\nStimulus:", "Sure, ", "\n\n  [A]\n", "\u00e9")


def main(folder):
    tok = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<|begin_of_text|>")
    rows = []
    for form, name in FORMS:
        template = (pathlib.Path(folder) / name).read_text(encoding="utf-8") if name else LLAMA3_0
        for k, talk in enumerate(TALKS):
            messages = [dict(zip(("role", "content"), t.split(":", 1))) for t in talk]
            for date in ("26 Jul 2024", "05 Jan 2031") if form == "llama3.1" and k < 2 else ("26 Jul 2024",):
                for prefix in PREFIXES if k < 3 else PREFIXES[:2]:
                    last = [] if prefix is None else [{"role": "assistant", "content": prefix}]
                    text = tok.apply_chat_template(
                        messages + last, chat_template=template, tokenize=False, date_string=date,
                        add_generation_prompt=prefix is None, continue_final_message=prefix is not None)
                    row = {"form": form, "messages": messages, "text": text}
                    row.update({"template": name} if name else {}, **({"date": date} if form == "llama3.1" else {}),
                               **({"prefix": prefix} if prefix is not None else {}))
                    rows.append(row)
    out = "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n"
    (pathlib.Path(__file__).parent / "chat.json").write_text(out, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else __doc__)
