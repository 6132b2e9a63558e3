#!/usr/bin/env python3
"""Golden values for the trainer, from transformers and torch.optim.AdamW in float32 on the CPU.

Two tiny random models: a Llama (tied embeddings, grouped heads, "llama3" rope, head width unlike
hidden / heads) and a Qwen2 (q/k/v biases, own LM head). Every sequence runs alone and whole: no
packing, no shared prompts, so the C code's packing is checked against its absence.

Writes train_llama.bin and train_qwen2.bin beside this file. Format: the magic "UMGOLD1\\n", then
records until the end of file, each
    u32 name length, name bytes, u32 kind (0 float32, 1 int32), u32 count, count x 4 bytes
all little-endian. Records:
    config       int32: arch (0 llama, 1 qwen2), V, C, L, H, G, D, F, positions, tied, bias, rope
                 scaling (0 none, 2 llama3)
    config_real  float32: rms eps, rope theta, factor, low, high, original
    w.<tensor>   the starting weights, by Hugging Face name
    rows         int32, for each row: prompt length, train_prompt, number of completions, their
                 lengths, then the tokens of all of these
    logp         float32: of every trained token, rows in order; within a row the prompt's (when
                 trained), then each completion's
    loss         float32: their negative mean
    g.<tensor>   gradient of loss
    sft_options  float32: lr, weight decay, max grad norm, warm-up steps, steps
    sft_loss, sft_norm   float32 [steps]: one update sees all rows
    sft.<tensor> weights after the last step, for a few tensors
    dpo_options  float32: lr, weight decay, max grad norm, warm-up steps, steps, beta, smoothing
    dpo_loss, dpo_margin, dpo_norm  float32 [steps]; pairs are the rows with two completions
    dpo.<tensor> weights after the last step, for a few tensors

Written with torch 2.15.0 and transformers 5.23.0.
"""

import math
import os
import struct

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))


class Writer:
    def __init__(self, path):
        self.file = open(path, "wb")
        self.file.write(b"UMGOLD1\n")

    def put(self, name, values, kind=0):
        data = np.ascontiguousarray(np.asarray(values), dtype="<i4" if kind else "<f4").ravel()
        text = name.encode()
        self.file.write(struct.pack("<I", len(text)) + text)
        self.file.write(struct.pack("<II", kind, data.size) + data.tobytes())


def make_llama():
    config = LlamaConfig(
        vocab_size=37, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, intermediate_size=24, max_position_embeddings=128,
        rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=False,
        rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64},
        attn_implementation="eager")
    return LlamaForCausalLM(config), [0, 37, 16, 2, 4, 2, 8, 24, 128, 1, 0, 2], \
        [1e-5, 10000.0, 8.0, 1.0, 4.0, 64.0]


def make_qwen2():
    config = Qwen2Config(
        vocab_size=41, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, intermediate_size=28, max_position_embeddings=128,
        rms_norm_eps=1e-6, tie_word_embeddings=False, use_sliding_window=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        attn_implementation="eager")
    return Qwen2ForCausalLM(config), [1, 41, 24, 2, 3, 1, 8, 28, 128, 0, 1, 0], \
        [1e-6, 1000000.0, 1.0, 1.0, 1.0, 64.0]


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                p.copy_(1.0 + 0.2 * noise)
            else:
                p.copy_((0.3 if p.dim() == 2 else 0.2) * noise)


def make_rows(vocab, seed):
    """(prompt, train_prompt, completions): pairs, single completions, pure language modelling."""
    rng = np.random.default_rng(seed)

    def tokens(n):
        return rng.integers(0, vocab, n).tolist()

    return [
        (tokens(9), False, [tokens(5), tokens(7)]),
        (tokens(12), False, [tokens(1), tokens(4)]),
        (tokens(6), False, [tokens(6)]),
        (tokens(21), True, [tokens(3), tokens(2)]),
        (tokens(17), True, []),
        (tokens(30), False, [tokens(8), tokens(1)]),
    ]


def logps(model, sequence):
    """log p(sequence[i] | sequence[:i]) for i >= 1."""
    z = model(torch.tensor([sequence])).logits[0].float()
    return torch.log_softmax(z, -1)[:-1].gather(1, torch.tensor(sequence[1:])[:, None])[:, 0]


def trained_logps(model, rows):
    parts = []
    for prompt, train_prompt, completions in rows:
        if train_prompt:
            parts.append(logps(model, prompt))
        for completion in completions:
            parts.append(logps(model, prompt + completion)[len(prompt) - 1:])
    return torch.cat(parts)


def schedule(step, warmup, total):
    if step < warmup:
        return step / warmup
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup))))


def run_steps(model, loss_of, options, steps, warmup):
    lr, decay, clip = options
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=decay)
    losses, norms, extra = [], [], []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, warmup, steps)
        optimizer.zero_grad()
        loss, more = loss_of()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
        optimizer.step()
        losses.append(loss.item())
        extra.append(more)
    return losses, norms, extra


def pair_logps(model, rows):
    sums = []
    for prompt, _, completions in rows:
        if len(completions) == 2:
            sums.append([logps(model, prompt + c)[len(prompt) - 1:].sum() for c in completions])
    return torch.stack([torch.stack(s) for s in sums])


def put_some(out, prefix, model):
    for name, p in model.named_parameters():
        if "layers.0" not in name or "k_proj" in name or "mlp.up" in name or "norm" in name:
            out.put(prefix + name, p.detach().numpy())


def generate(path, make, seed):
    model, config, real = make()
    model.eval()
    randomise(model, seed)
    start = {k: v.detach().clone() for k, v in model.state_dict().items()}
    rows = make_rows(config[1], seed + 1)
    out = Writer(path)
    out.put("config", config, 1)
    out.put("config_real", real)
    for name, p in model.named_parameters():
        out.put("w." + name, p.detach().numpy())
    flat = []
    for prompt, train_prompt, completions in rows:
        flat += [len(prompt), int(train_prompt), len(completions)] + [len(c) for c in completions]
        flat += prompt + sum(completions, [])
    out.put("rows", flat, 1)

    lp = trained_logps(model, rows)
    loss = -lp.mean()
    loss.backward()
    out.put("logp", lp.detach().numpy())
    out.put("loss", [loss.item()])
    for name, p in model.named_parameters():
        out.put("g." + name, p.grad.numpy())

    steps, warmup, options = 10, 3, (5e-3, 0.05, 1.0)
    losses, norms, _ = run_steps(model, lambda: (-trained_logps(model, rows).mean(), 0.0), options,
                                 steps, warmup)
    out.put("sft_options", list(options) + [warmup, steps])
    out.put("sft_loss", losses)
    out.put("sft_norm", norms)
    put_some(out, "sft.", model)

    model.load_state_dict(start)
    steps, warmup, options, beta, smoothing = 6, 2, (2e-3, 0.05, 1.0), 0.1, 0.1
    with torch.no_grad():
        reference = pair_logps(model, rows)

    def dpo():
        lp = pair_logps(model, rows)
        x = beta * ((lp[:, 0] - lp[:, 1]) - (reference[:, 0] - reference[:, 1]))
        loss = -(1 - smoothing) * torch.nn.functional.logsigmoid(x) \
            - smoothing * torch.nn.functional.logsigmoid(-x)
        return loss.mean(), x.mean().item()

    losses, norms, margins = run_steps(model, dpo, options, steps, warmup)
    out.put("dpo_options", list(options) + [warmup, steps, beta, smoothing])
    out.put("dpo_loss", losses)
    out.put("dpo_margin", margins)
    out.put("dpo_norm", norms)
    put_some(out, "dpo.", model)
    out.file.close()


if __name__ == "__main__":
    generate(os.path.join(HERE, "train_llama.bin"), make_llama, 1)
    generate(os.path.join(HERE, "train_qwen2.bin"), make_qwen2, 2)
