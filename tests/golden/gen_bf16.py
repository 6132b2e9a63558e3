"""Golden values of bfloat16 arithmetic with float32 sums: the models of gen_train.py.

Writes bf16_llama.bin and bf16_qwen2.bin beside this file, in the format of gen_train.py, without
weights (they are those of train_llama.bin and train_qwen2.bin). Two independent computations:
an autograd model in float32 that rounds, forward and backward, at the points src/model/graph.h
names; and transformers with the model cast to torch.bfloat16. Records:
    rows        one completion at most: prompts are computed once a sequence here
    logp, loss  of the first
    g.<tensor>  gradient of loss
    torch_logp  of the second, which also rounds inside softmax, rotation and silu

Written with torch 2.15.0 and transformers 5.23.0.
"""

import os

import torch
from torch.nn.functional import embedding, linear, silu

import gen_train as base

HERE = os.path.dirname(os.path.abspath(__file__))


def nearest(x):
    return x.to(torch.bfloat16).float()


class Round(torch.autograd.Function):
    """Rounds the value, and its gradient on the way back."""

    @staticmethod
    def forward(ctx, x):
        return nearest(x)

    @staticmethod
    def backward(ctx, gradient):
        return nearest(gradient)


class RoundWeight(torch.autograd.Function):
    """Rounds the value; the gradient goes to the float32 master as it is."""

    @staticmethod
    def forward(ctx, x):
        return nearest(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class RoundGradient(torch.autograd.Function):
    """The value as it is; its gradient is rounded, as a factor of products."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return nearest(gradient)


class Attention(torch.autograd.Function):
    """Causal attention of [heads, T, D]; backward goes by the rounded output, as in flash attention.

    What multiplies v is exp(score - maximum), rounded; the maximum is the row's, as all keys are in
    one block.
    """

    @staticmethod
    def forward(ctx, q, k, v):
        t, scale = q.shape[1], q.shape[-1] ** -0.5
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(
            torch.ones(t, t).triu(1).bool(), float("-inf"))
        assert t <= 64
        weights = scores.softmax(-1)
        powers = (scores - scores.amax(-1, keepdim=True)).exp()
        out = nearest(nearest(powers) @ v / powers.sum(-1, keepdim=True))
        ctx.save_for_backward(q, k, v, weights, out)
        return out

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, weights, out = ctx.saved_tensors
        gradient, scale = nearest(gradient), q.shape[-1] ** -0.5
        inner = (gradient * out).sum(-1, keepdim=True)
        scores = nearest(weights * (gradient @ v.transpose(1, 2) - inner))
        weights = nearest(weights)
        return (scores @ k * scale, scores.transpose(1, 2) @ q * scale,
                weights.transpose(1, 2) @ gradient)


rnd, weight = Round.apply, RoundWeight.apply


def norm(x, w, eps):
    normed = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    plain = normed * weight(w)
    rounded = nearest(nearest(normed) * nearest(w))
    return rnd(plain + (rounded - plain).detach())


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Emulated:
    """Llama or Qwen2 on one sequence, from the parameters of a transformers model."""

    def __init__(self, model):
        self.model = model
        self.config = model.config
        self.p = dict(model.named_parameters())

    def layer(self, l, x, cos, sin):
        c, p, eps = self.config, self.p, self.config.rms_norm_eps
        at = f"model.layers.{l}."
        heads, groups = c.num_attention_heads, c.num_key_value_heads
        t = x.shape[0]

        def project(name, x):
            bias = p.get(at + name + ".bias")
            y = linear(x, weight(p[at + name + ".weight"]))
            return rnd(y if bias is None else y + weight(bias))

        h = norm(x, p[at + "input_layernorm.weight"], eps)
        q = project("self_attn.q_proj", h).view(t, heads, -1).transpose(0, 1)
        k = project("self_attn.k_proj", h).view(t, groups, -1).transpose(0, 1)
        v = project("self_attn.v_proj", h).view(t, groups, -1).transpose(0, 1)
        q, k = rnd(rotate(q, cos, sin)), rnd(rotate(k, cos, sin))
        k = k.repeat_interleave(heads // groups, 0)
        v = v.repeat_interleave(heads // groups, 0)
        attended = Attention.apply(q, k, v).transpose(0, 1).reshape(t, -1)
        mid = rnd(x + project("self_attn.o_proj", attended))
        h = norm(mid, p[at + "post_attention_layernorm.weight"], eps)
        ffn = rnd(silu(project("mlp.gate_proj", h)) * project("mlp.up_proj", h))
        return rnd(mid + project("mlp.down_proj", ffn))

    def logps(self, sequence):
        ids = torch.tensor(sequence)
        p = self.p
        frequencies = self.model.model.rotary_emb.inv_freq.float()
        angles = torch.arange(len(sequence))[:, None] * frequencies[None]
        cos, sin = torch.cat((angles.cos(),) * 2, -1), torch.cat((angles.sin(),) * 2, -1)
        x = rnd(embedding(ids, p["model.embed_tokens.weight"]))
        for l in range(self.config.num_hidden_layers):
            x = self.layer(l, x, cos, sin)
        x = norm(x, p["model.norm.weight"], self.config.rms_norm_eps)
        head = p.get("lm_head.weight", p["model.embed_tokens.weight"])
        z = RoundGradient.apply(linear(x, weight(head)))
        return torch.log_softmax(z, -1)[:-1].gather(1, ids[1:, None])[:, 0]


def trained(logps, rows):
    parts = []
    for prompt, train_prompt, completions in rows:
        sequence = prompt + sum(completions, [])
        parts.append(logps(sequence)[0 if train_prompt else len(prompt) - 1:])
    return torch.cat(parts)


def generate(path, make, seed):
    model, config, _ = make()
    model.eval()
    base.randomise(model, seed)
    rows = [(p, t, c[:1]) for p, t, c in base.make_rows(config[1], seed + 1)]
    out = base.Writer(path)
    flat = []
    for prompt, train_prompt, completions in rows:
        flat += [len(prompt), int(train_prompt), len(completions)] + [len(c) for c in completions]
        flat += prompt + sum(completions, [])
    out.put("rows", flat, 1)
    lp = trained(Emulated(model).logps, rows)
    loss = -lp.mean()
    loss.backward()
    out.put("logp", lp.detach().numpy())
    out.put("loss", [loss.item()])
    for name, p in model.named_parameters():
        out.put("g." + name, p.grad.numpy())
    model.to(torch.bfloat16)
    with torch.no_grad():
        out.put("torch_logp", trained(lambda s: base.logps(model, s), rows).numpy())
    out.file.close()


if __name__ == "__main__":
    generate(os.path.join(HERE, "bf16_llama.bin"), base.make_llama, 1)
    generate(os.path.join(HERE, "bf16_qwen2.bin"), base.make_qwen2, 2)
