#!/usr/bin/env python3
"""Writes a large random log for measuring ingest: rows in no order, popular items, repeated words.

  gen_log.py DIR --form ml-latest --rows 25000000    movies.csv, ratings.csv
  gen_log.py DIR --form canonical --rows 25000000    three JSONL files, a review text a row
"""
import argparse
import json
import os
import random

WORDS = ("good bad long short film story never again would watch with friends slow fast music actor "
         "ending start boring great fine plot twist night rain road house river").split()


def entities(path, form, n_users, n_items):
    if form == "ml-latest":
        with open(os.path.join(path, "movies.csv"), "w") as f:
            f.write("movieId,title,genres\n")
            for i in range(n_items):
                f.write(f"{i},Film {i} ({1950 + i % 70}),Drama|Comedy\n")
        return
    with open(os.path.join(path, "big_user_feature.jsonl"), "w") as f:
        for u in range(n_users):
            f.write(json.dumps({"user_id": f"user-{u}", "user_description": {},
                                "user_features": {}}) + "\n")
    with open(os.path.join(path, "big_item_feature.jsonl"), "w") as f:
        for i in range(n_items):
            f.write(json.dumps({"item_id": f"item-{i}", "item_description": {"title": f"Film {i}"},
                                "item_features": {}}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--form", choices=["ml-latest", "canonical"], required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--users", type=int, default=160000)
    parser.add_argument("--items", type=int, default=60000)
    parser.add_argument("--words", type=int, default=25, help="of a review, on average")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    rng = random.Random(1)
    entities(args.dir, args.form, args.users, args.items)
    reviews = [" ".join(rng.choices(WORDS, k=rng.randint(1, 2 * args.words)))
               for _ in range(5000)]
    ratings = args.form == "ml-latest"
    name = "ratings.csv" if ratings else "big_interaction.jsonl"
    with open(os.path.join(args.dir, name), "w", buffering=1 << 20) as f:
        if ratings:
            f.write("userId,movieId,rating,timestamp\n")
        draw = rng.random
        for k in range(args.rows):
            user, item = int(args.users * draw()), int(args.items * draw() ** 3)
            stars, time = 1 + int(draw() * 9) / 2, 1000000000 + int(draw() * 6e8)
            if ratings:
                f.write(f"{user},{item},{stars},{time}\n")
                continue
            rest, second = divmod(time, 60)
            rest, minute = divmod(rest, 60)
            day, hour = divmod(rest, 24)
            f.write(f'{{"user_id":"user-{user}","item_id":"item-{item}","timestamp":'
                    f'"{2001 + day % 20}-{1 + day % 12:02}-{1 + day % 28:02} '
                    f'{hour:02}:{minute:02}:{second:02}",'
                    f'"behavior_features":{{"rating":{stars},"review":"{reviews[k % 5000]}"}}}}\n')


if __name__ == "__main__":
    main()
