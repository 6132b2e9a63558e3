"""Compares an adapter that mirrorer wrote, and the model it merged it into, with what PEFT makes of it.

    python tests/golden/check_adapter.py BASE ADAPTER MERGED

Exit status 0 when base and adapter give the logits of the merged folder, and the adapter changes
them, else 1. Needs torch, transformers and peft.
"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main():
    base, adapter, merged = sys.argv[1:]
    ids = torch.arange(1, 60)[None]
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        before = plain(ids).logits
        adapted = PeftModel.from_pretrained(plain, adapter).eval()(ids).logits
        found = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()(ids).logits
    change = (adapted - before).abs().max().item()
    difference = (adapted - found).abs().max().item()
    print(f"the adapter changes logits by up to {change:.3g}; merged and unmerged differ by up to "
          f"{difference:.3g}")
    sys.exit(0 if difference <= 1e-4 and change > 1e-2 else 1)


main()
