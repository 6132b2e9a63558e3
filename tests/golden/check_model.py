"""Compares a model folder that mirrorer wrote with what transformers makes of it.

    python tests/golden/check_model.py FOLDER DUMP.json [--tolerance 1e-4]

DUMP.json is written by mirrorer from the same folder:
    {"text": "...", "ids": [..], "logits": [[..], ..]}
text   what was tokenized (without added special tokens)
ids    its token ids
logits one row for each id, all vocabulary columns
Exit status 0 when ids are equal and logits agree within the tolerance, else 1.
Needs torch and transformers.
"""

import argparse
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def check_ids(folder, dump):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(dump["text"], add_special_tokens=False).input_ids
    if ids == dump["ids"]:
        return True
    at = next((i for i, (a, b) in enumerate(zip(ids, dump["ids"])) if a != b),
              min(len(ids), len(dump["ids"])))
    print(f"token ids differ from position {at}: transformers {ids[at:at + 8]}, "
          f"mirrorer {dump['ids'][at:at + 8]}")
    return False


def check_logits(folder, dump, tolerance):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(torch.tensor([dump["ids"]])).logits[0]
    found = torch.tensor(dump["logits"], dtype=torch.float32)
    if expected.shape != found.shape:
        print(f"logits have shape {list(found.shape)}, transformers gives {list(expected.shape)}")
        return False
    worst = (expected - found).abs().max().item()
    print(f"{type(model).__name__}: {sum(p.numel() for p in model.parameters())} parameters, "
          f"largest difference of logits {worst:.3g}, limit {tolerance:g}")
    return worst <= tolerance


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("dump")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    with open(args.dump, encoding="utf-8") as f:
        dump = json.load(f)
    good = check_ids(args.folder, dump)
    good = check_logits(args.folder, dump, args.tolerance) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
