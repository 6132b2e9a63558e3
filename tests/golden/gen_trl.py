"""Golden values of whole trainings: TRL's SFTTrainer and DPOTrainer on the models of gen_train.py.

Writes trl_llama.bin and trl_qwen2.bin beside this file, in the format of gen_train.py, without
weights (they are those of train_llama.bin and train_qwen2.bin). Every update sees all rows. Records:
    rows          those with two completions are the pairs of DPO, the others the rows of SFT
    options       float32: weight decay, max grad norm, warm-up steps, steps, smoothing of "robust"
    sft_lr, sft_loss, sft_norm                  float32 [1], [steps], [steps]
    <variant>_lr_beta, _loss, _norm, _margin    of DPO: sigmoid, robust, hinge, ipo
TRL has no cDPO (it ignores label_smoothing in "sigmoid"): gen_train.py covers that.

Written with torch 2.15.0, transformers 5.23.0 and trl 1.16.0.
"""

import os
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, TrainerCallback, get_cosine_schedule_with_warmup
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

import gen_train as base

HERE = os.path.dirname(os.path.abspath(__file__))
SFT_LR, DECAY, CLIP, WARMUP, STEPS, SMOOTHING = 5e-3, 0.05, 1.0, 3, 20, 0.1
# lr and beta: such that no loss comes near 0, where a relative error means nothing
VARIANTS = [("sigmoid", 1e-3, 0.1), ("robust", 4e-4, 0.1), ("hinge", 4e-4, 0.1), ("ipo", 5e-4, 0.1)]


def tokenizer(vocab):
    words = {f"t{i}": i for i in range(vocab)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, "t0")),
                                   pad_token="t0", eos_token="t1", unk_token="t0")


class Norms(TrainerCallback):
    """The logged norm is the one before clipping."""

    def __init__(self):
        self.values = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "grad_norm" in logs:
            self.values.append(float(logs["grad_norm"]))


class Exact:
    """Keeps each loss as computed: the log rounds it. Takes data sets of ids as they are."""

    def compute_loss(self, *args, **kwargs):
        result = super().compute_loss(*args, **kwargs)
        self.losses.append((result[0] if isinstance(result, tuple) else result).item())
        return result

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


class ExactSFT(Exact, SFTTrainer):
    pass


class ExactDPO(Exact, DPOTrainer):
    pass


def run(trainer_class, config_class, model, dataset, vocab, lr, options, **more):
    """Loss, norm and margin of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=DECAY)
    norms = Norms()
    with tempfile.TemporaryDirectory() as folder:
        args = config_class(
            output_dir=folder, per_device_train_batch_size=len(dataset), max_steps=STEPS,
            max_grad_norm=CLIP, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True,
            bf16=False, fp16=False, gradient_checkpointing=False, max_length=None,
            dataloader_pin_memory=False, disable_tqdm=True, **options)
        trainer = trainer_class(
            model=model, args=args, train_dataset=dataset, processing_class=tokenizer(vocab),
            callbacks=[norms],
            optimizers=(optimizer, get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS)),
            **more)
        trainer.losses = []
        trainer.train()
    assert len(trainer.losses) == len(norms.values) == STEPS
    margins = [log["rewards/margins"] for log in trainer.state.log_history
               if "rewards/margins" in log]
    return trainer.losses, norms.values, margins


def generate(path, make, seed):
    model, config, _ = make()
    base.randomise(model, seed)
    start = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def fresh():
        model, _, _ = make()
        model.load_state_dict(start)
        return model

    rows = base.make_rows(config[1], seed + 1)
    rows = [(p, t and not c, c) for p, t, c in rows]
    rows += [(p[::-1], False, [c[0]]) for p, _, c in rows[:2]]
    out = base.Writer(path)
    flat = []
    for prompt, train_prompt, completions in rows:
        flat += [len(prompt), int(train_prompt), len(completions)] + [len(c) for c in completions]
        flat += prompt + sum(completions, [])
    out.put("rows", flat, 1)
    out.put("options", [DECAY, CLIP, WARMUP, STEPS, SMOOTHING])

    sequences = [(p, t, sum(c, [])) for p, t, c in rows if len(c) < 2]
    sft = Dataset.from_dict({
        "input_ids": [p + c for p, _, c in sequences],
        "labels": [(p if t else [-100] * len(p)) + c for p, t, c in sequences]})
    losses, norms, _ = run(ExactSFT, SFTConfig, fresh(), sft, config[1], SFT_LR, {})
    out.put("sft_lr", [SFT_LR])
    out.put("sft_loss", losses)
    out.put("sft_norm", norms)

    pairs = [(p, c) for p, _, c in rows if len(c) == 2]
    dpo = Dataset.from_dict({"prompt_ids": [p for p, _ in pairs],
                             "chosen_ids": [c[0] for _, c in pairs],
                             "rejected_ids": [c[1] for _, c in pairs]})
    for variant, lr, beta in VARIANTS:
        options = {"loss_type": [variant], "beta": beta}
        if variant == "robust":
            options["label_smoothing"] = SMOOTHING
        losses, norms, margins = run(ExactDPO, DPOConfig, fresh(), dpo, config[1], lr, options,
                                     ref_model=fresh())
        out.put(variant + "_lr_beta", [lr, beta])
        out.put(variant + "_loss", losses)
        out.put(variant + "_norm", norms)
        out.put(variant + "_margin", margins)
    out.file.close()


if __name__ == "__main__":
    generate(os.path.join(HERE, "trl_llama.bin"), base.make_llama, 1)
    generate(os.path.join(HERE, "trl_qwen2.bin"), base.make_qwen2, 2)
