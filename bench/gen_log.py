#!/usr/bin/env python3
"""Writes a large random log for measuring ingest: rows in no order, popular items, repeated words.

  gen_log.py DIR --form ml-latest --rows 25000000    movies.csv, ratings.csv
  gen_log.py DIR --form canonical --rows 25000000    three JSONL files, a review text a row
  gen_log.py DIR --form ratings --rows 1000000       the same, a rating a row and no text
  gen_log.py DIR --form lists --rows 400000          the same with the five items that were shown
  gen_log.py DIR --form amazon-2023 --rows 400000    Bench.jsonl, meta_Bench.jsonl
  gen_log.py DIR --form goodreads --rows 400000      interactions, books and reviews of one genre
  gen_log.py DIR --form steam --rows 400000          games and reviews, printed Python

The last three have the members and about the lengths of the published files (Amazon 450 bytes a
review and 1,500 an item, gzip to a third) with words that mean nothing.
"""
import argparse
import itertools
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


def sentences(rng, n):
    """Sentences of words drawn as a language draws them, here and there with markup or a quote."""
    letters = "eeeeeetttttaaaaoooiiinnnsssrrhhldcumwfgypbvk"
    vocabulary = ["".join(rng.choices(letters, k=min(2 + i // 40, rng.randint(3, 10))))
                  for i in range(8000)]
    weights = list(itertools.accumulate(1 / (i + 3) for i in range(len(vocabulary))))
    made = []
    for _ in range(n):
        words = rng.choices(vocabulary, cum_weights=weights, k=rng.randint(4, 22))
        if rng.random() < 0.05:
            words.insert(rng.randrange(len(words)), rng.choice(['5"', "I'm", "&amp;", "don\u2019t"]))
        made.append(" ".join(words).capitalize() + rng.choice(["."] * 8 + ["!", "?", ".<br />"]))
    return made


def amazon(args, rng):
    said = sentences(rng, 40000)
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    user_ids = ["A" + "".join(rng.choices(digits, k=27)) for _ in range(args.users)]
    item_ids = ["B0" + "".join(rng.choices(digits, k=8)) for _ in range(args.items)]

    def text(most):
        return " ".join(rng.choices(said, k=1 + int(most * rng.random() ** 2)))

    def image():
        name = "".join(rng.choices(digits, k=9))
        return {f"{k}": f"https://m.media-amazon.com/images/I/{name}.{size}_.jpg"
                for k, size in (("thumb", "_SS40"), ("large", "_AC"), ("hi_res", "_AC_SL1500"))}

    with open(os.path.join(args.dir, "meta_Bench.jsonl"), "w", buffering=1 << 20) as f:
        for item in item_ids:
            f.write(json.dumps({
                "main_category": "Bench", "title": rng.choice(said)[:80],
                "average_rating": rng.randint(10, 50) / 10,
                "rating_number": 10 + int(5000 * rng.random() ** 6),
                "features": [rng.choice(said) for _ in range(rng.randint(0, 5))],
                "description": [text(6)] if rng.random() < 0.5 else [],
                "price": rng.choice([None, f"{rng.randint(199, 9999) / 100}"]),
                "images": [image() for _ in range(rng.randint(1, 6))], "videos": [],
                "store": rng.choice(said)[:12], "categories": ["Bench", rng.choice(WORDS)],
                "details": {"Brand": rng.choice(said)[:12], "Date First Available":
                            f"June {rng.randint(1, 28)}, {rng.randint(2005, 2015)}",
                            "Item model number": item[2:7]},
                "parent_asin": item, "bought_together": None}) + "\n")
    with open(os.path.join(args.dir, "Bench.jsonl"), "w", buffering=1 << 20) as f:
        for _ in range(args.rows):
            item = item_ids[int(args.items * rng.random() ** 2)]
            f.write(json.dumps({
                "rating": float(rng.randint(1, 5)), "title": rng.choice(said)[:30],
                "text": text(6), "images": [image()] if rng.random() < 0.05 else [],
                "asin": item, "parent_asin": item,
                "user_id": user_ids[int(args.users * rng.random() ** 1.5)],
                "timestamp": 1400000000000 + int(rng.random() * 2.8e11),
                "helpful_vote": int(8 * rng.random() ** 4),
                "verified_purchase": rng.random() < 0.9}) + "\n")


def goodreads(args, rng):
    said = sentences(rng, 40000)
    hexes = "0123456789abcdef"
    user_ids = ["".join(rng.choices(hexes, k=32)) for _ in range(args.users)]
    days, months = "Mon Tue Wed Thu Fri Sat Sun".split(), "Jan Feb Mar Apr May Jun Jul Aug".split()

    def date():
        return (f"{rng.choice(days)} {rng.choice(months)} {rng.randint(1, 28):02} "
                f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02} -0700 "
                f"{rng.randint(2008, 2017)}")

    def name(kind):
        return os.path.join(args.dir, f"goodreads_{kind}_bench.json")

    with open(name("books"), "w", buffering=1 << 20) as f:
        for book in range(args.items):
            link = f"https://www.goodreads.com/book/show/{book + 1000}-{rng.choice(WORDS)}"
            f.write(json.dumps({
                "isbn": f"{rng.randrange(10**9):010}", "text_reviews_count": str(rng.randint(1, 50)),
                "series": [], "country_code": "US", "language_code": "eng",
                "popular_shelves": [{"count": str(rng.randint(1, 999)), "name": rng.choice(WORDS)}
                                    for _ in range(rng.randint(5, 20))],
                "asin": "", "is_ebook": "false", "average_rating": f"{rng.randint(100, 500) / 100}",
                "kindle_asin": "", "similar_books": [str(rng.randrange(10**6)) for _ in range(6)],
                "description": " ".join(rng.choices(said, k=rng.randint(0, 12))),
                "format": "Paperback", "link": link,
                "authors": [{"author_id": str(rng.randrange(10**5)), "role": ""}],
                "publisher": rng.choice(said)[:16], "num_pages": str(rng.randint(20, 900)),
                "publication_day": str(rng.randint(1, 28)), "isbn13": f"{rng.randrange(10**12):013}",
                "publication_month": str(rng.randint(1, 12)), "edition_information": "",
                "publication_year": str(rng.randint(1950, 2016)), "url": link,
                "image_url": "https://images.gr-assets.com/books/1493114742m/34883016.jpg",
                "book_id": str(book + 1000), "ratings_count": str(rng.randint(1, 9999)),
                "work_id": str(rng.randrange(10**7)), "title": rng.choice(said)[:40],
                "title_without_series": rng.choice(said)[:40]}) + "\n")
    with open(name("interactions"), "w", buffering=1 << 20) as f, \
            open(name("reviews"), "w", buffering=1 << 20) as texts:
        for _ in range(args.rows):
            text = " ".join(rng.choices(said, k=rng.randint(1, 8))) if rng.random() < 0.15 else ""
            row = {"user_id": user_ids[int(args.users * rng.random() ** 1.5)],
                   "book_id": str(1000 + int(args.items * rng.random() ** 2)),
                   "review_id": "".join(rng.choices(hexes, k=32)), "is_read": rng.random() < 0.5,
                   "rating": rng.randint(0, 5), "review_text_incomplete": text[:250],
                   "date_added": date(), "date_updated": date(), "read_at": "", "started_at": ""}
            f.write(json.dumps(row) + "\n")
            if text:
                row.pop("is_read"), row.pop("review_text_incomplete")
                texts.write(json.dumps(row | {"review_text": text, "n_votes": 0, "n_comments": 0}) +
                            "\n")


def steam(args, rng):
    said = sentences(rng, 40000)

    def python(pairs):
        return "{" + ", ".join(f"u'{k}': {'u' if isinstance(v, str) else ''}{v!r}"
                               for k, v in pairs) + "}\n"

    with open(os.path.join(args.dir, "steam_games.json"), "w", buffering=1 << 20) as f:
        for game in range(args.items):
            f.write(python([("publisher", rng.choice(said)[:16]), ("app_name", said[game][:30]),
                            ("url", f"http://store.steampowered.com/app/{game}/"),
                            ("release_date", f"{rng.randint(2005, 2017)}-01-{rng.randint(1, 28):02}"),
                            ("tags", rng.sample(WORDS, 8)), ("price", rng.randint(99, 9999) / 100),
                            ("early_access", False), ("id", str(game)),
                            ("developer", rng.choice(said)[:16])]))
    with open(os.path.join(args.dir, "steam_reviews.json"), "w", buffering=1 << 20) as f:
        for _ in range(args.rows):
            f.write(python([("username", f"player {int(args.users * rng.random() ** 1.5)}"),
                            ("hours", rng.randint(1, 9999) / 10), ("products", rng.randint(1, 99)),
                            ("product_id", str(int(args.items * rng.random() ** 2))),
                            ("page_order", rng.randint(0, 9)),
                            ("date", f"{rng.randint(2012, 2017)}-{rng.randint(1, 12):02}-"
                                     f"{rng.randint(1, 28):02}"),
                            ("text", " ".join(rng.choices(said, k=rng.randint(1, 6)))),
                            ("early_access", False), ("page", rng.randint(1, 99))]))


OTHERS = {"amazon-2023": amazon, "goodreads": goodreads, "steam": steam}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--form", required=True,
                        choices=["ml-latest", "canonical", "ratings", "lists", *OTHERS])
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--users", type=int, default=160000)
    parser.add_argument("--items", type=int, default=60000)
    parser.add_argument("--words", type=int, default=25, help="of a review, on average")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    rng = random.Random(1)
    if args.form in OTHERS:
        OTHERS[args.form](args, rng)
        return
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
                    f'"behavior_features":{{"rating":{stars}')
            if args.form == "canonical":
                f.write(f',"review":"{reviews[k % 5000]}"')
            elif args.form == "lists":
                shown = rng.sample(range(args.items), 5)
                if item not in shown:
                    shown[k % 5] = item
                listed = ",".join(f'"item-{i}"' for i in shown)
                f.write(f',"impression_list":[{listed}],"item_pos":{shown.index(item)}')
            f.write("}}\n")


if __name__ == "__main__":
    main()
