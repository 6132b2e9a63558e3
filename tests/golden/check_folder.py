"""Does a model folder written by mirrorer load in transformers, with the same tokens and logits?

usage: check_folder.py MIRRORER DIR
Logits are those of `mirrorer model logits`; the limit is 1e-4.
"""
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "Thought:\nStimulus: I keep coming back to fantasy, dark ones from the 1990s.",
    "[A] Silent Harbor (1994), fantasy, dark, rated 5",
    "Behavior: [",
    "emoji \U0001f600, CJK 漢字, accents éàü, tabs\tand  spaces \n\n",
]


def main():
    program, folder = sys.argv[1:3]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    worst = 0.0
    for text in TEXTS:
        ids = [int(x) for x in subprocess.run([program, "tokenizer", "encode", folder, text],
                                              check=True, capture_output=True, text=True).stdout.split()]
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == theirs, f"tokens of {text!r}: {ids} != {theirs}"
        ours = json.loads(subprocess.run([program, "model", "logits", folder, *map(str, ids)],
                                         check=True, capture_output=True, text=True).stdout)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        worst = max(worst, (torch.tensor(ours) - logits).abs().max().item())
    messages = [{"role": "system", "content": "You are this person."}, {"role": "user", "content": "# List\n[A] x"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    expected = ("<|im_start|>system\nYou are this person.<|im_end|>\n<|im_start|>user\n# List\n[A] x<|im_end|>\n"
                "<|im_start|>assistant\n")
    assert text == expected, f"chat template renders {text!r}"
    assert worst < 1e-4, f"logits differ by {worst}"
    print(f"transformers agrees: same tokens, logits within {worst:.2g}")


if __name__ == "__main__":
    main()
