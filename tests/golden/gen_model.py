"""Writes tests/golden/model: tiny random models of transformers and the logits it computes.

Run from the repository's root: python tests/golden/gen_model.py
Needs torch, transformers and safetensors. Each folder is a model as save_pretrained writes it, and
expected.safetensors with `ids` [n], `logits` [n, vocab], and the final hidden states pooled to length
1: their `mean` and the `last` [hidden]; all float32.
"""

import json
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model")
VOCAB = 64
TOKENS = 40

SMALL = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=2)

LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=16)

# name, class, configuration, stored type, greatest size of a file
CASES = [
    ("llama-tied", LlamaForCausalLM,
     LlamaConfig(**SMALL, tie_word_embeddings=True, rms_norm_eps=1e-6), torch.float32, "1GB"),
    ("llama3-shards", LlamaForCausalLM,
     LlamaConfig(**SMALL, head_dim=8, tie_word_embeddings=False, rms_norm_eps=1e-5,
                 rope_parameters=dict(rope_theta=500.0, **LLAMA3_ROPE)),
     torch.bfloat16, "6KB"),
    ("llama-linear", LlamaForCausalLM,
     LlamaConfig(**SMALL, tie_word_embeddings=False, rms_norm_eps=1e-5,
                 rope_parameters=dict(rope_theta=10000.0, rope_type="linear", factor=4.0)),
     torch.float16, "1GB"),
    ("qwen2", Qwen2ForCausalLM,
     Qwen2Config(**SMALL, tie_word_embeddings=True, rms_norm_eps=1e-6,
                 rope_parameters=dict(rope_theta=1000000.0, rope_type="default")),
     torch.float32, "1GB"),
]


def randomize(model, generator):
    """Weights large enough that attention and biases matter; norms near one."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1.0 + 0.1 * noise if "norm" in name else 0.3 * noise)


def main():
    for index, (name, cls, config, dtype, shard) in enumerate(CASES):
        folder = os.path.join(ROOT, name)
        shutil.rmtree(folder, ignore_errors=True)
        generator = torch.Generator().manual_seed(1000 + index)
        model = cls(config)
        randomize(model, generator)
        model.to(dtype).save_pretrained(folder, max_shard_size=shard)
        model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
        with torch.no_grad():
            result = model(ids[None], output_hidden_states=True)
            logits, hidden = result.logits[0], result.hidden_states[-1][0]
        unit = torch.nn.functional.normalize
        save_file({"ids": ids.float(), "logits": logits.float().contiguous(),
                   "mean": unit(hidden.mean(0), dim=0), "last": unit(hidden[-1], dim=0)},
                  os.path.join(folder, "expected.safetensors"))
        sizes = {f: os.path.getsize(os.path.join(folder, f)) for f in sorted(os.listdir(folder))}
        print(name, json.dumps(sizes))


if __name__ == "__main__":
    main()
