#!/usr/bin/env python3
"""Golden values for uncertainty, pairs and selection (src/distill/), computed with numpy.

Writes distill.json beside this file. Inputs are not in it: the test and this script make them from
the number of a case with the same 64-bit generator (splitmix64), in whole thousandths, so that both
see the same doubles. Expected values are figures of numpy.

"cases": 1,000 scenes, each
    [[teacher: total, model, data, log loss, hit rate], [student: the same],
     [score of gap, total-gap, data-gap, high-accuracy, low-accuracy, accuracy-difference, log-loss],
     [chosen, rejected by lowest-entropy, then by highest-entropy, highest-truth, lowest-truth],
     sum over decisions of (index + 1) * entropy]
with -1 where a place stays empty. "selections": 60 pools, each the list of the scene ids picked.

The figures follow include/mirrorer/distill.h: rows clamped at 1e-10 and renormalised, bits.
Written with numpy 2.4.6.
"""

import json
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CASES, SELECTIONS = 1000, 60
MASK = (1 << 64) - 1


class Stream:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed * 0x9E3779B97F4A7C15 & MASK

    def next(self):
        self.state = self.state + 0x9E3779B97F4A7C15 & MASK
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31

    def below(self, bound):
        return self.next() % bound


def row(s, k):
    """One distribution in thousandths; kinds: one letter, flat, spiky, any; not normalised."""
    kind = s.below(4)
    if kind == 0:
        values = [0] * k
        values[s.below(k)] = 1000
    elif kind == 1:
        values = [400 + s.below(200) for _ in range(k)]
    elif kind == 2:
        values = [s.below(10) for _ in range(k)]
        values[s.below(k)] += 900
    else:
        values = [s.below(3000) for _ in range(k)]
        values[s.below(k)] += 1
    p = [v / 1000 for v in values]
    if s.below(10) == 0:
        p[s.below(k)] += 1e-12  # below the clamp where nothing else stands
    return p


def scene(case):
    s = Stream(case + 1)
    k = 26 if case % 50 == 0 else 2 + s.below(11)
    truth = s.below(k)
    sides = []
    for _ in range(2):
        n = 1 + s.below(10)
        rows = [row(s, k) for _ in range(n)]
        letters = [truth if s.below(3) == 0 else s.below(k) for _ in range(n)]
        well = [s.below(6) > 0 for _ in range(n)]
        sides.append((rows, letters, well))
    return k, truth, sides


def clamp(p):
    p = np.maximum(np.asarray(p, dtype=np.float64), 1e-10)
    return p / p.sum(axis=-1, keepdims=True)


def entropy(p):
    return -(p * np.log2(p)).sum(axis=-1)


def measure(rows, letters, truth):
    p = clamp(rows)
    mean = p.mean(axis=0)
    total, model = entropy(mean), entropy(p).mean()
    return [total, model, total - model, -np.log2(mean[truth]), np.mean(np.asarray(letters) == truth)]


def pairs(sides, truth):
    """Candidates are numbered teacher first; ties go to the smaller number."""
    candidates = []
    for side, (rows, letters, well) in enumerate(sides):
        p = clamp(rows)
        for i in range(len(rows)):
            candidates.append((side, letters[i], well[i], float(entropy(p[i])), float(-np.log2(p[i][truth]))))
    out = []
    for key in (lambda c: c[3], lambda c: -c[3], lambda c: c[4], lambda c: -c[4]):
        for place in range(2):
            if place == 0:
                open_to = [i for i, c in enumerate(candidates) if c[2] and c[0] == 0 and c[1] == truth]
            else:
                open_to = [i for i, c in enumerate(candidates) if c[2] and c[1] != truth]
            # Rows that are equal but for the order of their entries may differ in the last bits.
            best = [i for i in open_to if key(candidates[i]) <= min(key(candidates[j]) for j in open_to) + 1e-9]
            out.append(-1 if not best else min(best) if len(best) == 1 else -2)
    weighted = sum((i + 1) * c[3] for i, c in enumerate(candidates))
    return out, weighted


def selection(number):
    s = Stream(1000003 + number)
    n = 1 + s.below(60)
    want = s.below(70)
    strata = 1 + s.below(6)
    pool = [(i, s.below(strata), (s.below(2001) - 1000) / 1000) for i in range(n)]
    want = min(want, n)
    sizes = np.array([sum(1 for p in pool if p[1] == t) for t in range(strata)])
    exact = want * sizes / n
    share = np.floor(exact).astype(int)
    # Largest remainders first; ties by the number of the stratum.
    order = sorted(range(strata), key=lambda t: (-round(float(exact[t] - share[t]), 9), t))
    for t in order[:want - int(share.sum())]:
        share[t] += 1
    picked = []
    for t in range(strata):
        best = sorted((p for p in pool if p[1] == t), key=lambda p: (-p[2], p[0]))
        picked += [p[0] for p in best[:share[t]]]
    return sorted(picked)


def short(x):
    return float(f"{x:.12g}")


def main():
    cases = []
    for c in range(CASES):
        _, truth, sides = scene(c)
        t, s = (measure(rows, letters, truth) for rows, letters, _ in sides)
        scores = [s[1] - t[1], s[0] - t[0], s[2] - t[2], s[4], -s[4], t[4] - s[4], s[3]]
        chosen, weighted = pairs(sides, truth)
        cases.append([[short(x) for x in t], [short(x) for x in s], [short(x) for x in scores], chosen,
                      short(weighted)])
    with open(os.path.join(HERE, "distill.json"), "w") as f:
        f.write('{"cases":[\n' + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
        f.write('\n],"selections":[\n')
        f.write(",\n".join(json.dumps(selection(i), separators=(",", ":")) for i in range(SELECTIONS)))
        f.write("\n]}\n")


if __name__ == "__main__":
    main()
