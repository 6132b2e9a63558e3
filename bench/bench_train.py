"""Training steps of PyTorch on the CPU, the baseline of `mirrorer train`: time and peak memory.

    python bench/bench_train.py [--steps N] [--warmup N] [--list] [PATTERN ...]

Needs torch, transformers and, for the head "trl", trl; measured with torch 2.15.0, transformers
5.23.0, trl 1.16.0 from PyPI. PATTERNs choose among the standard configurations (--list prints them)
as a shell does; a name that is not in the list is run as well. Each configuration has a process of
its own, so that its peak memory is its own, and prints one JSON line.

The model is a Llama of 135 M parameters (30 layers, 576 wide, 9 heads on 3, MLP 1,536, vocabulary
49,152, tied) with random weights. A sequence is 768 tokens of prompt and 256 trained tokens of
completion. An optimizer step is 4 sequences (sft) or 4 pairs, so 8 sequences (dpo), in
micro-batches, then clipping to norm 1 and AdamW (fused).

A name is WORK.PRECISION.GRAPH.HEAD.bN.tN[.OPTION...], or gemm.tN for products of 2,048 cubed.
  WORK       sft, dpo. dpo does what TRL's DPOTrainer does over 2 epochs: chosen and rejected,
             prompts included, as one batch through the policy; the reference once a pair before
             training (precompute_ref_log_probs), of which a step pays half. "each_step_s" is with
             the reference in every step.
  PRECISION  fp32; medium (fp32 tensors, products in bf16); autocast (fp32 weights and optimizer,
             bf16 products and activations); bf16 (all of it, optimizer included)
  GRAPH      eager; layers (torch.compile of each layer and of the head)
  HEAD       all (logits of all positions, as transformers does); completion (of trained
             positions); trl (TRL's own, in chunks, of all positions on a CPU)
  bN, tN     sequences or pairs in a micro-batch; threads
  OPTION     ckpt (gradient checkpointing, TRL's default); keep (glibc told not to give memory
             back, so that big tensors do not fault their pages in anew each time); noflash
             (attention as plain products)

step_s is the fastest step, since other work on the machine only takes time away; median_s the
median one; cores the processor seconds a second of all measured steps. tokens_s counts the tokens
of the policy's sequences, trained_s those of completions. first_s is the first step, compiling
included unless an earlier run left it in the compiler's cache.
"""

import argparse
import fnmatch
import json
import os
import resource
import statistics
import subprocess
import sys
import time

PROMPT, COMPLETION, PER_STEP, EPOCHS, BETA = 768, 256, 4, 2, 0.1
LENGTH = PROMPT + COMPLETION
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
        "MALLOC_TOP_PAD_": str(1 << 26)}

STANDARD = ["gemm.t1", "gemm.t2"] + [
    f"{work}.{rest}" for work in ("sft", "dpo") for rest in (
        "fp32.eager.completion.b1.t2.keep", "fp32.layers.completion.b4.t2.keep",
        "medium.layers.completion.b4.t2.keep",
        "autocast.eager.trl.b1.t2.keep", "autocast.eager.all.b1.t2.keep",
        "autocast.eager.completion.b1.t2.keep", "autocast.layers.completion.b1.t2.keep",
        "autocast.layers.completion.b4.t2", "autocast.layers.completion.b4.t2.keep",
        "bf16.eager.trl.b1.t2.keep", "bf16.eager.completion.b1.t1.keep",
        "bf16.eager.completion.b1.t2.keep", "bf16.eager.completion.b4.t2.keep",
        "bf16.layers.completion.b1.t2.keep", "bf16.layers.completion.b4.t2.keep",
        "bf16.eager.completion.b1.t2.ckpt")]


def gemm(threads):
    import torch

    torch.set_num_threads(threads)
    result = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        seconds = min(timed(lambda: torch.matmul(a, b)) for _ in range(20))
        result[f"{str(dtype)[6:]}_gflops"] = round(2 * 2048**3 / seconds / 1e9)
    return result


def timed(work):
    """Seconds of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Trainer:
    """One configuration: its model, its optimizer and the two kinds of work."""

    def __init__(self, work, precision, graph, head, micro, options):
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        self.torch, self.head, self.micro = torch, head, micro
        torch.manual_seed(1)
        if precision == "medium":
            torch.set_float32_matmul_precision("medium")
        config = LlamaConfig(
            vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
            num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048,
            tie_word_embeddings=True, use_cache=False,
            attn_implementation="eager" if "noflash" in options else "sdpa")
        self.model = LlamaForCausalLM(config).train()
        if precision == "bf16":
            self.model.to(torch.bfloat16)
        mixed = precision == "autocast"
        self.autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=mixed)
        if "ckpt" in options:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        if head == "trl":
            from trl.trainer.utils import add_fused_lm_head

            outputs = ("log_probs", "entropy", "is_top1")
            add_fused_lm_head(self.model, outputs=outputs + ("mean_logits",) * (work == "dpo"))
        if graph == "layers":
            for layer in self.model.model.layers:
                layer.compile()
            self.logp = torch.compile(self.logp)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)

        count = PER_STEP * (2 if work == "dpo" else 1)
        self.rows = torch.randint(0, 49152, (count, LENGTH))
        if work == "dpo":  # row i and row i + 4 are a pair
            self.rows[PER_STEP:, :PROMPT] = self.rows[:PER_STEP, :PROMPT]

    def logp(self, hidden, labels):
        """Log-probability of each label; 0 where it is -100."""
        logits = self.model.lm_head(hidden).float().flatten(0, 1)
        loss = self.torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="none")
        return -loss.view(labels.shape)

    def sums(self, rows):
        """Log-probability of each row's completion."""
        labels = rows.clone()
        labels[:, :PROMPT] = -100
        if self.head == "trl":
            return self.model(input_ids=rows, labels=labels, fused_lm_head=True).log_probs.sum(1)
        hidden = self.model.model(input_ids=rows).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        if self.head == "completion":
            hidden, labels = hidden[:, PROMPT - 1:], labels[:, PROMPT - 1:]
        return self.logp(hidden, labels).sum(1)

    def update(self):
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def sft(self):
        for first in range(0, PER_STEP, self.micro):
            with self.autocast():
                loss = -self.sums(self.rows[first:first + self.micro]).sum()
            (loss / (PER_STEP * COMPLETION)).backward()
        self.update()

    def pairs(self):
        """Micro-batches of chosen and rejected, as TRL's collator lays them."""
        for first in range(0, PER_STEP, self.micro):
            part = slice(first, first + self.micro)
            yield part, self.torch.cat((self.rows[:PER_STEP][part], self.rows[PER_STEP:][part]))

    def reference(self):
        with self.torch.no_grad(), self.autocast():
            known = [self.sums(rows).view(2, -1) for _, rows in self.pairs()]
            self.known = self.torch.cat(known, 1)

    def dpo(self):
        for part, rows in self.pairs():
            with self.autocast():
                now = self.sums(rows).view(2, -1)
            ratio = now - self.known[:, part]
            loss = -self.torch.nn.functional.logsigmoid(BETA * (ratio[0] - ratio[1])).sum()
            (loss / PER_STEP).backward()
        self.update()


def peak_mib():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(work, warmup, steps):
    """Seconds: first call, fastest and median of the measured ones; their share of processors."""
    first = timed(work)
    for _ in range(warmup - 1):
        work()
    begun, used = time.perf_counter(), time.process_time()
    times = [timed(work) for _ in range(steps)]
    cores = (time.process_time() - used) / (time.perf_counter() - begun)
    return first, min(times), statistics.median(times), cores


def train(name, warmup, steps):
    import torch

    work, precision, graph, head, micro, threads, *options = name.split(".")
    torch.set_num_threads(int(threads[1:]))
    trainer = Trainer(work, precision, graph, head, int(micro[1:]), options)
    result, tokens = {"model_mib": peak_mib()}, PER_STEP * LENGTH
    if work == "sft":
        first, best, median, cores = measured(trainer.sft, warmup, steps)
    else:
        tokens *= 2
        _, reference, reference_median, _ = measured(trainer.reference, warmup, steps)
        first, best, median, cores = measured(trainer.dpo, warmup, steps)
        result.update(reference_s=round(reference, 3), policy_s=round(best, 3),
                      each_step_s=round(best + reference, 3))
        best, median = best + reference / EPOCHS, median + reference_median / EPOCHS
    result.update(first_s=round(first, 2), step_s=round(best, 3), median_s=round(median, 3),
                  tokens_s=round(tokens / best),
                  trained_s=round(tokens / best * COMPLETION / LENGTH), cores=round(cores, 2), peak_mib=peak_mib())
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--steps", type=int, default=3, help="measured optimizer steps (3)")
    parser.add_argument("--warmup", type=int, default=1, help="steps before these (1 or more)")
    parser.add_argument("--list", action="store_true", help="print the standard configurations")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        threads = args.child.split(".")[1]
        result = (gemm(int(threads[1:])) if args.child.startswith("gemm.")
                  else train(args.child, max(args.warmup, 1), args.steps))
        print(json.dumps({"name": args.child, **result}))
        return
    names = []
    for pattern in args.patterns or ["*"]:
        names += fnmatch.filter(STANDARD, pattern) or [pattern]
    failed = False
    for name in names:
        if args.list:
            print(name)
            continue
        command = [sys.executable, os.path.abspath(__file__), "--child", name, "--steps",
                   str(args.steps), "--warmup", str(args.warmup)]
        done = subprocess.run(command, env={**os.environ, **(KEEP if ".keep" in name else {})})
        failed = failed or done.returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
