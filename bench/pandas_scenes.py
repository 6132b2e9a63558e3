"""The same work as `mirrorer ingest` + `mirrorer scenes`, as a data scientist would script it.

    python bench/pandas_scenes.py ML_1M_FOLDER OUT.jsonl [--train N] [--eval N] [--seed S]

Reads MovieLens-1M files with pandas, splits users, draws targets round robin over users, factorises
(spectral filter GF-CF and TF-IDF with scikit-learn's randomized SVD), draws each exposure from
random, popularity, spectral and content rankings, renders texts and writes JSON Lines. Rules are
those of docs/FORMATS.md; random numbers differ. Prints seconds a step. Needs pandas, scikit-learn.
"""

import argparse
import json
import time

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

OCCUPATIONS = ["other", "academic", "artist", "clerical", "student", "customer service", "doctor",
               "executive", "farmer", "homemaker", "pupil", "lawyer", "programmer", "retired",
               "sales", "scientist", "self-employed", "engineer", "tradesman", "unemployed", "writer"]
RANK, MIN_ORDER, MIN_CUT = 64, 3, 32


class Clock:
    def __init__(self):
        self.begun = self.last = time.perf_counter()

    def lap(self, what):
        now = time.perf_counter()
        print(f"{what:32s} {now - self.last:9.2f} s", flush=True)
        self.last = now


def read(folder):
    def table(name, columns):
        return pd.read_csv(f"{folder}/{name}", sep="::", engine="python", names=columns,
                           encoding="latin-1", dtype=str)
    ratings = table("ratings.dat", ["user_id", "item_id", "rating", "timestamp"])
    users = table("users.dat", ["user_id", "gender", "age", "occupation", "zip"])
    items = table("movies.dat", ["item_id", "title", "genres"])
    ratings["rating"] = ratings["rating"].astype(float)
    ratings["timestamp"] = ratings["timestamp"].astype(np.int64)
    users["occupation"] = users["occupation"].astype(int).map(lambda i: OCCUPATIONS[i])
    items["year"] = items["title"].str.extract(r"\((\d{4})\)\s*$")[0]
    items["title"] = items["title"].str.replace(r"\s*\(\d{4}\)\s*$", "", regex=True)
    items["genres"] = items["genres"].str.replace("|", ", ", regex=False)
    ratings = ratings.drop_duplicates(["user_id", "item_id", "timestamp"])
    ratings["user"] = ratings["user_id"].map(pd.Series(np.arange(len(users)), users["user_id"]))
    ratings["item"] = ratings["item_id"].map(pd.Series(np.arange(len(items)), items["item_id"]))
    ratings = ratings.sort_values(["user", "timestamp"], kind="stable").reset_index(drop=True)
    return users, items, ratings


def ago(then, now):
    passed = now - then
    for seconds, name in [(365 * 86400, "year"), (30 * 86400, "month"), (86400, "day"),
                          (3600, "hour"), (60, "minute")]:
        n = passed // seconds
        if n > 0:
            return f"{n} {name}{'s' if n > 1 else ''} ago"
    return "just now"


def targets(ratings, rng, want_train, want_eval):
    """Row numbers of targets: users shuffled, a fifth held out, round robin over users."""
    first_same = ratings.groupby(["user", "timestamp"]).cumcount()
    order = ratings.groupby("user").cumcount() - first_same  # strictly earlier ones
    possible = ratings.index[order >= MIN_ORDER]
    by_user = ratings.loc[possible].groupby("user").indices
    rows = {u: possible[i].to_numpy() for u, i in by_user.items()}
    users = np.array(sorted(rows))
    rng.shuffle(users)
    held_out = users[: round(0.2 * len(users))]
    train = users[len(held_out):]

    def take(group, want):
        left = {u: list(rng.permutation(rows[u])) for u in group}
        out = []
        while len(out) < want and left:
            for u in list(left):
                out.append(left[u].pop())
                if not left[u]:
                    del left[u]
                if len(out) == want:
                    break
        return out
    return take(train, want_train), take(held_out, want_eval), set(train.tolist()), order.to_numpy()


def spectral(ratings, train_users, left_out, n_users, n_items, seed):
    keep = ratings["user"].isin(train_users)
    keep.loc[left_out] = False
    pairs = ratings.loc[keep, ["user", "item"]].drop_duplicates()
    r = sp.csr_matrix((np.ones(len(pairs)), (pairs["user"], pairs["item"])), (n_users, n_items))
    d_u = np.asarray(r.sum(1)).ravel()
    d_i = np.asarray(r.sum(0)).ravel()
    inv = lambda d: np.divide(1, np.sqrt(d), out=np.zeros_like(d), where=d > 0)
    norm = sp.diags(inv(d_u)) @ r @ sp.diags(inv(d_i))
    _, _, vt = randomized_svd(norm, RANK, random_state=seed)
    v = vt.T
    return inv(d_i)[:, None] * v, np.sqrt(d_i)[:, None] * v


def content(items, seed):
    text = items["title"] + " " + items["year"].fillna("") + " " + items["genres"]
    x = TfidfVectorizer(min_df=2).fit_transform(text)
    u, s, _ = randomized_svd(x, min(RANK, min(x.shape) - 1), random_state=seed)
    e = u * s
    return e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--train", type=int, default=8000)
    parser.add_argument("--eval", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    clock = Clock()
    users, items, ratings = read(args.folder)
    clock.lap("read, clean, sort")
    train, held_out, train_users, order = targets(ratings, rng, args.train, args.eval)
    clock.lap("targets")
    e_in, e_out = spectral(ratings, train_users, train, len(users), len(items), args.seed)
    clock.lap("spectral factors")
    text = content(items, args.seed)
    clock.lap("content factors")

    user = ratings["user"].to_numpy()
    item = ratings["item"].to_numpy()
    when = ratings["timestamp"].to_numpy()
    rating = ratings["rating"].to_numpy()
    start = np.searchsorted(user, np.arange(len(users) + 1))
    released = pd.to_numeric(items["year"]).fillna(0).to_numpy()
    released = (pd.to_datetime(released.astype(int).astype(str), format="%Y", errors="coerce")
                .astype("int64") // 10**9).to_numpy()
    seen_by_train = np.isin(user, list(train_users))
    click_order = np.argsort(when[seen_by_train], kind="stable")
    click_time = when[seen_by_train][click_order]
    click_item = item[seen_by_train][click_order]
    describe = [f"{t}{f' ({y})' if isinstance(y, str) else ''}, {g}"
                for t, y, g in zip(items["title"], items["year"], items["genres"])]
    profile = [f"Gender: {g}. Age: {a}. Occupation: {o}."
               for g, a, o in zip(users["gender"], users["age"], users["occupation"])]
    with open(args.out, "w", encoding="utf-8") as out:
        for split, rows in (("train", train), ("eval", held_out)):
            low, high = (5, 5) if split == "eval" else (2, 12)
            cut = max(MIN_CUT, 3 * high)
            for row in rows:
                u, now = user[row], when[row]
                before = np.arange(start[u], start[u] + order[row])
                allowed = released <= now
                allowed[item[start[u]:start[u + 1]]] = False
                candidates = np.flatnonzero(allowed)
                want = rng.integers(low, high + 1) - 1
                counts = np.bincount(click_item[:np.searchsorted(click_time, now)],
                                     minlength=len(items))
                scores = [counts, e_in[np.unique(item[before])].sum(0) @ e_out.T,
                          text @ text[item[row]]]
                rankings = [list(rng.permutation(candidates)[:cut])]
                for score in scores:
                    s = score[candidates]
                    top = np.argsort(-s, kind="stable")[:cut]
                    rankings.append([candidates[i] for i in top if s[i] > 0])
                picked = []
                while len(picked) < want and any(rankings):
                    sizes = np.array([len(r) for r in rankings], float)
                    r = rankings[rng.choice(len(rankings), p=sizes / sizes.sum())]
                    i = r.pop(0)
                    if i not in picked:
                        picked.append(i)
                position = int(rng.integers(0, len(picked) + 1))
                picked.insert(position, item[row])
                length = 10 if split == "eval" else rng.integers(2, 11)
                history = "\n".join(
                    f"- {ago(when[j], now)}: {describe[item[j]]}. Rated {rating[j]:.0f} of 5."
                    for j in before[-length:])
                json.dump({"split": split, "user_id": users["user_id"].iat[u],
                           "item_id": items["item_id"].iat[item[row]], "timestamp": int(now),
                           "item_pos": position, "choice_cnt": len(picked),
                           "impression_list": [items["item_id"].iat[i] for i in picked],
                           "text": {"profile": profile[u], "history": history,
                                    "action_list": [describe[i] for i in picked]}},
                          out, ensure_ascii=False)
                out.write("\n")
    clock.lap(f"{args.train + args.eval} scenes")
    print(f"{'in all':32s} {time.perf_counter() - clock.begun:9.2f} s")


if __name__ == "__main__":
    main()
