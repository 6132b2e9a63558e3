"""Golden values of LoRA training: PEFT on a tiny random Qwen2 (biases, own LM head).

Writes lora_qwen2.bin beside this file, in the format of gen_train.py, and lora/ (a PEFT folder: the
starting adapter, A and B random, on all seven matrices). Records besides config, w.* and rows:
    logp         of every trained token with the adapter
    merged_logp  the same after merge_and_unload
    loss         negative mean of logp
    g.<tensor>   gradient of loss, by PEFT's tensor names
    sft_options, sft_loss, sft_norm, sft.<tensor>    training the adapter alone; one update sees all rows
    dpo_options, dpo_loss, dpo_norm, dpo_margin      the reference is base and starting adapter

Written with torch 2.15.0, transformers 5.23.0 and peft 0.21.2.
"""

import os
import shutil
import tempfile

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

import gen_train as base

HERE = os.path.dirname(os.path.abspath(__file__))


def adapter(model):
    return dict(sorted(get_peft_model_state_dict(model).items()))


def parameters(model):
    """The adapter's parameters under the names of the file."""
    found = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            found[name.replace(".default", "")] = p
    return found


def save(model):
    folder = tempfile.mkdtemp()
    model.save_pretrained(folder)
    os.makedirs(os.path.join(HERE, "lora"), exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(os.path.join(folder, name), os.path.join(HERE, "lora", name))
    shutil.rmtree(folder)


def generate(path):
    plain, config, real = base.make_qwen2()
    plain.eval()
    base.randomise(plain, 5)
    rows = base.make_rows(config[1], 6)
    out = base.Writer(path)
    out.put("config", config, 1)
    out.put("config_real", real)
    for name, p in plain.named_parameters():
        out.put("w." + name, p.detach().numpy())
    flat = []
    for prompt, train_prompt, completions in rows:
        flat += [len(prompt), int(train_prompt), len(completions)] + [len(c) for c in completions]
        flat += prompt + sum(completions, [])
    out.put("rows", flat, 1)

    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(plain, LoraConfig(r=3, lora_alpha=5, lora_dropout=0.0,
                                             target_modules=names, task_type="CAUSAL_LM"))
    model.eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in parameters(model).values():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    assert sorted(parameters(model)) == list(adapter(model))
    save(model)
    start = {k: p.detach().clone() for k, p in parameters(model).items()}

    def restart():
        with torch.no_grad():
            for k, p in parameters(model).items():
                p.copy_(start[k])

    lp = base.trained_logps(model, rows)
    loss = -lp.mean()
    loss.backward()
    out.put("logp", lp.detach().numpy())
    out.put("loss", [loss.item()])
    for name, p in parameters(model).items():
        out.put("g." + name, p.grad.numpy())

    steps, warmup, options = 20, 3, (1e-2, 0.05, 1.0)
    losses, norms, _ = base.run_steps(
        model, lambda: (-base.trained_logps(model, rows).mean(), 0.0), options, steps, warmup)
    out.put("sft_options", list(options) + [warmup, steps])
    out.put("sft_loss", losses)
    out.put("sft_norm", norms)
    for name, p in parameters(model).items():
        out.put("sft." + name, p.detach().numpy())

    restart()
    steps, warmup, options, beta = 10, 2, (5e-3, 0.05, 1.0), 0.1
    with torch.no_grad():
        reference = base.pair_logps(model, rows)

    def dpo():
        lp = base.pair_logps(model, rows)
        x = beta * ((lp[:, 0] - lp[:, 1]) - (reference[:, 0] - reference[:, 1]))
        return -torch.nn.functional.logsigmoid(x).mean(), x.mean().item()

    losses, norms, margins = base.run_steps(model, dpo, options, steps, warmup)
    out.put("dpo_options", list(options) + [warmup, steps, beta, 0.0])
    out.put("dpo_loss", losses)
    out.put("dpo_norm", norms)
    out.put("dpo_margin", margins)

    restart()
    merged = model.merge_and_unload()
    with torch.no_grad():
        out.put("merged_logp", base.trained_logps(merged, rows).numpy())
    out.file.close()


generate(os.path.join(HERE, "lora_qwen2.bin"))
