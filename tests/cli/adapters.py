"""adapters.py MIRRORER - random logs in the layouts of their publishers, read by mirrorer and, straight
from docs/FORMATS.md, by a few lines here: the exported log must hold the same. Then export, ingest and
export again must give equal bytes. Run by adapters.sh in an empty folder; the standard library only."""
import ast
import collections
import datetime
import gzip
import json
import os
import random
import shutil
import subprocess
import sys

MIRRORER = sys.argv[1]
UTC = datetime.timezone.utc


def run(*arguments):
    done = subprocess.run([MIRRORER, *arguments, "-q"], capture_output=True, text=True)
    return done.returncode, done.stderr


def text(t):
    return datetime.datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S")


def put(path, content, encoding="utf-8"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with (gzip.open if path.endswith(".gz") else open)(path, "wt", encoding=encoding, newline="") as f:
        f.write(content)


def lines(path, parse=json.loads):
    with gzip.open(path, "rt") as f:
        return [parse(line) for line in f]


def export(log, *options):
    """users, items, interactions as mirrorer exports them; None where the filters leave nothing."""
    for name in ("ws", "ws2", "out", "out2"):
        shutil.rmtree(name, ignore_errors=True)
    code, message = run("ingest", log, "-w", "ws", *options)
    if code == 3 and ("no interaction is left" in message or "none of its" in message):
        return None
    assert code == 0, message
    for step in (("export", "log", "out", "-w", "ws"), ("ingest", "out", "-w", "ws2"),
                 ("export", "log", "out2", "-w", "ws2")):
        code, message = run(*step)
        assert code == 0, message
    parts = []
    for part in ("user_feature", "item_feature", "interaction"):
        name = next(n for n in os.listdir("out") if n.endswith(part + ".jsonl"))
        first, second = (open(os.path.join(d, name), "rb").read() for d in ("out", "out2"))
        assert first == second, name + " is not written alike again"
        parts.append([json.loads(line) for line in first.splitlines()])
    return parts


def same(what, got, want):
    got, want = collections.Counter(got), collections.Counter(want)
    assert got == want, (what, "too much", list((got - want).items())[:3],
                         "missing", list((want - got).items())[:3])


def key(row, *names):
    b = row["behavior_features"]
    return (row["user_id"], row["item_id"], row["timestamp"], *(b.get(n) for n in names))


def amazon(r):
    n_items, n_users = r.randint(5, 40), r.randint(5, 40)
    put("amazon/meta_X.jsonl.gz", "".join(json.dumps({
        "parent_asin": "B%d" % i, "title": "t", "rating_number": r.randint(5, 40),
        "details": r.choice([{}, {"a": "b"}, {"a": "b"}])}) + "\n" for i in range(n_items)))
    span = r.choice([50, 10**6])
    put("amazon/X.jsonl.gz", "".join(json.dumps({
        "rating": 5.0, "parent_asin": "B%d" % r.randint(0, n_items),
        "user_id": "U%d" % int(n_users * r.random() ** 2),
        "timestamp": 10**12 + 1000 * r.randint(0, span)}) + "\n" for _ in range(r.randint(50, 800))))
    for share, min_user, min_item in ((0.3, 5, 5), (0.57, 2, 3), (0, 0, 5)):
        items = {m["parent_asin"] for m in lines("amazon/meta_X.jsonl.gz")
                 if m["rating_number"] >= 10 and m["details"]}
        rows = [(x["user_id"], x["parent_asin"], x["timestamp"] // 1000)
                for x in lines("amazon/X.jsonl.gz") if x["parent_asin"] in items]
        rows = list(dict.fromkeys(rows))
        if share > 0:
            newest = sorted(range(len(rows)), key=lambda i: (rows[i][2], i))
            rows = [rows[i] for i in newest[len(rows) - max(1, int(share * len(rows) + 0.5)):]]
        for column, least in ((1, min_item), (0, min_user)):
            count = collections.Counter(x[column] for x in rows)
            rows = [x for x in rows if count[x[column]] >= least]
        parts = export("amazon", "--newest-share", str(share), "--min-user-interactions",
                       str(min_user), "--min-item-interactions", str(min_item))
        same("amazon", [key(x) for x in parts[2]] if parts else [],
             [(u, i, text(t)) for u, i, t in rows])


def steam(r):
    put("steam/steam_games.json.gz", "".join(str({
        "id": str(i), "app_name": "It's %d" % i, "genres": ["Action"]}) + "\n" for i in range(24)))
    rows = [{"username": "\u00dcn%d" % u, "product_id": str(r.randint(0, 24)), "hours": r.randint(1, 99) / 2,
             "date": "2017-%02d-%02d" % (r.randint(1, 12), r.randint(1, 28)), "text": "it's \u2764",
             "early_access": r.random() < 0.5} for u in range(15) for _ in range(r.choice([3, 4, 5, 20, 21, 22]))]
    r.shuffle(rows)
    put("steam/steam_reviews.json.gz", "".join(ascii(x).replace("{'", "{u'") + "\n" for x in rows))
    kept = {}
    for x in lines("steam/steam_reviews.json.gz", ast.literal_eval):
        if x["product_id"] != "24":
            kept.setdefault((x["username"], x["product_id"], x["date"] + " 00:00:00"), x)
    count = collections.Counter(k[0] for k in kept)
    same("steam", [key(x, "hours", "early_access", "review") for x in export("steam")[2]],
         [(*k, x["hours"], int(x["early_access"]), x["text"]) for k, x in kept.items()
          if 5 <= count[k[0]] <= 20])


def mind(r):
    history, first, want, taken = {}, {}, [], set()
    for part in ("train", "dev"):
        put("mind/%s/news.tsv" % part, "".join("N%d\ts\tg\tTitle \"%d\t\t\t[]\t[]\n" % (i, i) for i in range(60)))
        rows = []
        for k in range(60):
            user = "U%d" % r.randint(0, 11)
            clicks = history.setdefault(user, ["N%d" % r.randint(0, 59) for _ in range(r.randint(2, 9))])
            shown = ["N%d" % i for i in r.sample(range(60), r.randint(1, 12))]
            chosen = r.sample(shown, min(len(shown), r.choice([0, 1, 1, 2])))
            when = datetime.datetime(2019, 11, 11 if part == "train" else 15, r.randint(0, 23), r.randint(0, 59), k,
                                     tzinfo=UTC)
            rows.append("%d\t%s\t%s\t%s\t%s\n" % (
                k, user, when.strftime("%m/%d/%Y %I:%M:%S %p"), " ".join(clicks),
                " ".join("%s-%d" % (n, n in chosen) for n in shown)))
            for n in clicks + shown:
                first[n] = min(first.get(n, when), when)
            if len(clicks) < 5 or len(shown) > 10:
                continue
            taken.add(user)
            want += [(user, n, text(when.timestamp()), tuple(shown), shown.index(n)) for n in chosen]
            if not chosen:
                want.append((user, None, text(when.timestamp()), tuple(shown), -1))
        put("mind/%s/behaviors.tsv" % part, "".join(rows))
    want += [(u, n, text(0), (), None) for u in taken for n in set(history[u])]
    users, items, log = export("mind")
    same("mind", [(*k[:3], tuple(k[3] or ()), k[4]) for k in
                  (key(x, "impression_list", "item_pos") for x in log)], want)
    for item in items:
        assert item["item_features"].get("release_time") == (
            text(first[item["item_id"]].timestamp()) if item["item_id"] in first else None), item


def kuairec(r):
    head = ["user_id", "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num",
            "fans_user_num", "friend_user_num", "register_days"]
    put("kuairec/data/user_features.csv", ",".join(head) + "\n" +
        "".join("%d,full_active,0,1,3,4,5,6\n" % u for u in range(15)))
    put("kuairec/data/item_categories.csv", "video_id,feat\n" + "".join('%d,"[%d, 7]"\n' % (i, i) for i in range(25)))
    friends = {u: r.sample(range(15), 3) for u in range(0, 15, 2)}
    put("kuairec/data/social_network.csv", "user_id,friend_list\n" +
        "".join('%d,"%s"\n' % x for x in friends.items()))
    rows = [[r.randint(0, 14), r.randint(0, 24), play, length, 1593878903.438 + r.randint(0, 10**6),
             r.choice([play / length, 1.5])]
            for play, length in ((r.choice([0, 500, 2999, 3000, 9000]), r.choice([1000, 2500, 5966]))
                                 for _ in range(150))]
    put("kuairec/data/big_matrix.csv", "user_id,video_id,play_duration,video_duration,timestamp,watch_ratio\n" +
        "".join(",".join(map(repr, x)) + "\n" for x in rows) + "1,1,100,200,,0.5\n")
    want = []
    for user, video, play, length, when, ratio in rows:
        skipped = play < min(3000, length) or ratio < 1
        want.append((str(user), str(video), text(int(when)), play / 1000 if skipped else None,
                     None if skipped else play / 1000, ratio))
    users, items, log = export("kuairec")
    same("kuairec", [key(x, "skipped_s", "completed_s", "watch_ratio") for x in log], want)
    for user in users:
        assert (user["user_features"].get("friends") or []) == [
            str(f) for f in friends.get(int(user["user_id"]), [])], user
    for item in items:
        assert item["item_features"]["category_ids"] == [int(item["item_id"]), 7], item


def lastfm(r):
    put("lastfm/artists.dat", "id\tname\turl\tpictureURL\n" + "".join('%d\t"A%d\tu\tp\n' % (i, i) for i in range(30)))
    put("lastfm/tags.dat", "tagID\ttagValue\n" + "".join("%d\tt\u00e4g %d\n" % (i, i) for i in range(12)), "latin-1")
    heard = {(u, a): r.randint(1, 999) for u in range(15) for a in r.sample(range(30), 8)}
    put("lastfm/user_artists.dat", "userID\tartistID\tweight\n" +
        "".join("%d\t%d\t%d\n" % (*k, w) for k, w in heard.items()))
    friends = {u: r.sample([v for v in range(15) if v != u], 3) for u in range(15)}
    put("lastfm/user_friends.dat", "userID\tfriendID\n" +
        "".join("%d\t%d\n" % (u, v) for u in friends for v in friends[u]))
    rows = [(u, a, t, r.choice([1238536800000 + r.randint(0, 10**9)] * 20 + [0, -62135596800000]))
            for u in range(15) for a in r.sample(range(30), 8) for t in r.sample(range(12), r.randint(1, 4))]
    r.shuffle(rows)
    put("lastfm/user_taggedartists-timestamps.dat", "userID\tartistID\ttagID\ttimestamp\n" +
        "".join("%d\t%d\t%d\t%d\n" % x for x in rows))
    given, by_tag = collections.defaultdict(list), collections.defaultdict(set)
    for n, (u, a, t, ms) in enumerate(rows):
        if ms > 0:
            given[u, a].append((ms // 1000, n, t))
            by_tag[a, t].add(u)
    want = [(str(u), str(a), text(min(g)[0]), tuple("t\u00e4g %d" % t for _, _, t in sorted(g)), heard.get((u, a)))
            for (u, a), g in given.items()]
    users, items, log = export("lastfm")
    same("lastfm", [(*k[:3], tuple(k[3]), k[4]) for k in (key(x, "tagged", "listens") for x in log)], want)
    for item in items:
        top = sorted((-len(who), t) for (a, t), who in by_tag.items() if str(a) == item["item_id"])[:5]
        assert (item["item_description"].get("tags") or "") == ", ".join("t\u00e4g %d" % t for _, t in top), item
    for user in users:
        assert set(user["user_features"]["friends"]) == {str(v) for v in friends[int(user["user_id"])]}, user


def goodreads(r):
    put("books/goodreads_books_comics.json.gz", "".join(json.dumps({
        "book_id": str(i), "title": "Book %d" % i, "description": "<b>De</b>sc\n&amp;", "publication_year": "2005",
        "authors": [{"author_id": str(i % 5), "role": "Illustrator" if i % 2 else ""}]}) + "\n" for i in range(30)))
    put("books/goodreads_book_authors.json.gz", "".join(json.dumps(
        {"author_id": str(i), "name": "\u00c1uthor %d" % i}) + "\n" for i in range(5)))
    genres = {str(i): {"a": r.randint(1, 9), "b, c": r.randint(1, 9)} for i in range(40)}
    put("books/goodreads_book_genres_initial.json.gz", "".join(json.dumps(
        {"book_id": i, "genres": g}) + "\n" for i, g in genres.items()))
    rows = [{"user_id": "u%d" % r.randint(0, 19), "book_id": str(r.randint(0, 30)), "review_id": "r%d" % k,
             "is_read": r.random() < 0.5, "rating": r.randint(0, 5), "review_text_incomplete": r.choice(["", "start"]),
             "date_added": "Fri Nov %02d %02d:37:%02d -0800 2012" % (r.randint(1, 28), r.randint(0, 23), k % 60)}
            for k in range(200)]
    put("books/goodreads_interactions_comics.json.gz", "".join(json.dumps(x) + "\n" for x in rows))
    whole = {x["review_id"]: 'whole "%s"' % x["review_id"] for x in rows if r.random() < 0.4}
    put("books/goodreads_reviews_comics.json.gz", "".join(json.dumps(
        {"review_id": k, "review_text": v}) + "\n" for k, v in whole.items()))
    want = {}
    for x in rows:
        when = datetime.datetime.strptime(x["date_added"], "%a %b %d %H:%M:%S %z %Y").timestamp()
        if x["book_id"] != "30":
            want.setdefault((x["user_id"], x["book_id"], text(when)), (
                x["rating"] or None, int(x["is_read"]),
                whole.get(x["review_id"], x["review_text_incomplete"]) or None))
    users, items, log = export("books")
    same("goodreads", [key(x, "rating", "is_read", "review") for x in log], [k + v for k, v in want.items()])
    for item in items:
        i, d = int(item["item_id"]), item["item_description"]
        assert d["authors"] == "\u00c1uthor %d%s" % (i % 5, " (Illustrator)" if i % 2 else ""), item
        assert d["genres"] == ", ".join(sorted(genres[str(i)], key=lambda g: -genres[str(i)][g])), item
        assert d["description"] == "Desc &", item


for seed in range(4):
    amazon(random.Random(seed))
for domain in (steam, mind, kuairec, lastfm, goodreads):
    domain(random.Random(7))
