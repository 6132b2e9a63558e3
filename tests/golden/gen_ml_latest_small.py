#!/usr/bin/env python3
"""Figures of MovieLens latest-small that test_data_movielens.c compares with.

usage: gen_ml_latest_small.py <folder of ml-latest-small>
Written with pandas, apart from the program's own reader.
"""
import sys

import pandas as pd

folder = sys.argv[1]
ratings = pd.read_csv(f"{folder}/ratings.csv", dtype={"userId": str, "movieId": str})
movies = pd.read_csv(f"{folder}/movies.csv", dtype={"movieId": str})
ratings["row"] = range(len(ratings))
year = movies.title.str.extract(r"\((\d{4})[-\u2013]?(?:\d{4})?\)\s*$")[0]
row_of_movie = {m: i for i, m in enumerate(movies.movieId)}

print("users", ratings.userId.nunique())
print("items", len(movies))
print("interactions", len(ratings))
print("sum of 2 x rating", int((2 * ratings.rating).sum()))
print("with a year", int(year.notna().sum()), "sum", int(year.dropna().astype(int).sum()))
print("with genres", int((movies.genres != "(no genres listed)").sum()))
print("never rated", int((~movies.movieId.isin(ratings.movieId)).sum()))
print("sum of times mod 2^32", int(ratings.timestamp.sum() % 2**32))
checksum = 0
users = {u: i for i, u in enumerate(dict.fromkeys(ratings.userId))}
ratings["u"] = ratings.userId.map(users)
ordered = ratings.sort_values(["u", "timestamp", "row"])
for m in ordered.movieId:
    checksum = (checksum * 31 + row_of_movie[m]) % 2**32
print("checksum of item order", checksum)
