"""Ingest and scene building against floors and against a pandas script, in one run.

    python bench/bench_scenes.py BINARY [--work DIR] [--rows N] [--big N] [--no-pandas]

BINARY is a release build of mirrorer, which also writes the logs (`mirrorer world --format ml-1m`,
the shape of MovieLens-1M). Floors: reading the file (cat) and counting its lines (wc -l). --big adds
a log of N ratings in the shape of MovieLens-25M, and one of N / 5 with review texts of 500 bytes,
for memory; pandas is not run on them. Prints wall seconds, peak resident memory and ratios.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time


def run(args, quiet=True):
    """Wall seconds and peak MiB of a command that must succeed."""
    begun = time.perf_counter()
    with open(os.devnull, "w") as null:
        child = subprocess.Popen(args, stdout=null if quiet else None, stderr=null if quiet else None)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(args)}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def best(times, args, before=lambda: None):
    results = []
    for _ in range(times):
        before()
        results.append(run(args))
    return min(results)


def line(what, seconds, mib=None, rows=None, note=""):
    print(f"{what:44s} {seconds:9.2f} s" + (f" {mib:8.0f} MiB" if mib else " " * 13) +
          (f" {rows / seconds / 1e6:7.2f} M rows/s" if rows else "") + (f"  {note}" if note else ""),
          flush=True)


def write_log(binary, folder, rows, users, items):
    if not os.path.exists(folder):
        run([binary, "world", folder, "--format", "ml-1m", "--users", str(users), "--items",
             str(items), "--interactions", str(rows)])


def write_reviews(folder, ratings, limit):
    """The first ratings of a log as JSON Lines with a text of 500 bytes, in canonical files."""
    if os.path.exists(folder):
        return
    os.makedirs(folder)
    words = ("good", "bad", "slow", "fine", "plot", "cast", "music", "light", "again", "never")
    seen_users, seen_items = set(), set()
    with open(f"{folder}/reviews_interaction.jsonl", "w") as out, open(ratings) as log:
        for n, row in enumerate(log):
            if n == limit:
                break
            user, item, rating, when = row.rstrip().split("::")
            seen_users.add(user)
            seen_items.add(item)
            text = " ".join(words[(n * 7 + i * i) % 10] for i in range(100))
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(when)))
            out.write(f'{{"user_id":"{user}","item_id":"{item}","timestamp":"{stamp}",'
                      f'"behavior_features":{{"rating":{rating},"review":"{text}"}}}}\n')
    with open(f"{folder}/reviews_user_feature.jsonl", "w") as out:
        for user in sorted(seen_users):
            out.write(f'{{"user_id":"{user}","user_description":{{}},"user_features":{{}}}}\n')
    with open(f"{folder}/reviews_item_feature.jsonl", "w") as out:
        for item in sorted(seen_items):
            out.write(f'{{"item_id":"{item}","item_description":{{"title":"Item {item}",'
                      f'"genre":"{words[int(item) % 10]}"}},"item_features":{{}}}}\n')


def product(binary, log, rows, work, repeats, all_sources=True):
    """Ingest and 10,000 scenes; returns their seconds together."""
    ws = f"{work}/ws"
    fresh = lambda: shutil.rmtree(ws, ignore_errors=True)
    seconds, mib = best(repeats, [binary, "ingest", log, "-w", ws, "-q"], fresh)
    line("mirrorer ingest (to a committed workspace)", seconds, mib, rows)
    scenes = [binary, "scenes", "-w", ws, "-q", "--redo", "--set", "scenes.base=0", "--set",
              "scenes.train=8000", "--set", "scenes.eval=2000", "--set", "scenes.popularity=true"]
    s_seconds, s_mib = best(repeats, scenes)
    line("mirrorer scenes (10,000, all sources)", s_seconds, s_mib, None,
         "loading, factorisations and commit included")
    size = os.path.getsize(f"{ws}/workspace.db")
    print(f"{'workspace':44s} {size / 1e6:9.1f} MB")
    return seconds + s_seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--work")
    parser.add_argument("--rows", type=int, default=1_000_209)
    parser.add_argument("--big", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-pandas", action="store_true")
    args = parser.parse_args()
    work = args.work or tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    binary = os.path.abspath(args.binary)

    log = f"{work}/log"
    write_log(binary, log, args.rows, 6040, 3706)
    ratings = f"{log}/ratings.dat"
    print(f"== {args.rows} ratings, {os.path.getsize(ratings) / 1e6:.1f} MB")
    line("floor: read the file (cat)", *best(args.repeats, ["cat", ratings]))
    line("floor: count its lines (wc -l)", *best(args.repeats, ["wc", "-l", ratings]))
    ours = product(binary, log, args.rows, work, args.repeats)
    if not args.no_pandas:
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pandas_scenes.py")
        theirs, mib = best(1, [sys.executable, script, log, f"{work}/pandas.jsonl"])
        line("pandas, the same work", theirs, mib)
        print(f"{'ratio, ingest + scenes':44s} {theirs / ours:9.1f} x")
    if args.big > 0:
        big = f"{work}/big"
        write_log(binary, big, args.big, 162_541, 59_047)
        print(f"\n== {args.big} ratings, {os.path.getsize(f'{big}/ratings.dat') / 1e6:.0f} MB")
        product(binary, big, args.big, work, 1)
        reviews = f"{work}/reviews"
        write_reviews(reviews, f"{big}/ratings.dat", args.big // 5)
        size = sum(os.path.getsize(f"{reviews}/{f}") for f in os.listdir(reviews))
        print(f"\n== {args.big // 5} reviews with texts, {size / 1e6:.0f} MB of JSON")
        line("floor: read the files (cat)",
             *run(["cat"] + [f"{reviews}/{f}" for f in sorted(os.listdir(reviews))]))
        product(binary, reviews, args.big // 5, work, 1)
    shutil.rmtree(f"{work}/ws", ignore_errors=True)
    if not args.work:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
