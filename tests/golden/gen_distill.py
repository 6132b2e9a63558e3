#!/usr/bin/env python3
"""Golden values for the uncertainty of choices (src/distill/uncertainty.c), computed with numpy.

Writes distill.json beside this file: a list of cases
    {"p": n rows of k numbers, "b": n drawn letters, "t": true letter,
     "u": [total, model, data, log loss, hit rate]}
Rows are short decimals and need not sum to 1. The figures follow the definitions of
include/mirrorer/distill.h: rows clamped at 1e-10 and renormalised, entropies in bits.

Written with numpy 2.4.6.
"""

import json
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = 320


def random_rows(rng, n, k):
    kind = rng.integers(5)
    if kind == 0:  # one letter each
        rows = np.eye(k)[rng.integers(k, size=n)]
    elif kind == 1:  # nearly uniform
        rows = rng.dirichlet(np.full(k, 50.0), size=n)
    elif kind == 2:  # spiky
        rows = rng.dirichlet(np.full(k, 0.1), size=n)
    elif kind == 3:  # not normalised
        rows = rng.random((n, k)) * 3
    else:
        rows = rng.dirichlet(np.ones(k), size=n)
    rows = np.round(rows, 3)
    if rng.random() < 0.2:  # below the clamp
        rows[rng.integers(n), rng.integers(k)] = 1e-12
    rows[rows.sum(axis=1) < 0.5, rng.integers(k)] = 0.7
    return rows


def figures(p, behaviors, truth):
    p = np.maximum(p, 1e-10)
    p = p / p.sum(axis=1, keepdims=True)
    mean = p.mean(axis=0)
    total = -(mean * np.log2(mean)).sum()
    model = (-(p * np.log2(p)).sum(axis=1)).mean()
    return [total, model, total - model, -np.log2(mean[truth]), np.mean(behaviors == truth)]


def main():
    rng = np.random.default_rng(20250820)
    cases = []
    for i in range(CASES):
        n = int(rng.integers(1, 7))
        k = 26 if i % 40 == 0 else int(rng.integers(2, 11))
        p = random_rows(rng, n, k)
        behaviors = rng.integers(k, size=n)
        truth = int(rng.integers(k))
        cases.append({
            "p": [[int(x) if x == int(x) else x for x in row] for row in p.tolist()],
            "b": behaviors.tolist(), "t": truth,
            "u": [float(x) for x in figures(p, behaviors, truth)]})
    with open(os.path.join(HERE, "distill.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
