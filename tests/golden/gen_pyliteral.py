"""Python literals, as repr() prints them, and the JSON they stand for: tests/golden/pyliteral.txt.

Two lines a case. The values come from Python itself: repr() writes what is read, json.dumps() of
ast.literal_eval() says what must come out. Run: python3 gen_pyliteral.py > pyliteral.txt
"""

import ast
import json
import random

rng = random.Random(7)
TEXTS = ["", "plain", "it's", 'say "hi"', "both ' and \"", "back\\slash", "tab\tline\nend\r", "é",
         "弹炸人", "\U0001f600!", "\x01\x1f\x7f", "\u2028", "Design & Illustration", "a" * 70]
WRITTEN = [
    r"{u'publisher': u'Kotoshiro', u'tags': [u'Action', u'2D'], u'price': 4.99, u'id': u'761140'}",
    r"{'a': True, 'b': False, 'c': None}", r"{'tuple': (1, 2), 'one': (1,), 'no': (1), 'empty': ()}",
    r"{'trailing': [1, 2,], 'dict': {'x': 1,},}", r"{'raw': r'c:\new\'s', 'R': R'\d+\\'}",
    r"{'esc': '\a\b\f\v\101\60\\\'\"\q', 'x': '\xe9\x41'}", r"{'u': u'\u5f7c\U0001f600'}",
    r"{'n': [0, -0, 1., .5, -1.5e+3, 1e-2, 2E5, 10]}", r"{1: 'one', 2.5: 'x', -3: 'y'}",
    r"""{"double": "it's", 'single': 'say "hi"'}""", r"  { 'spaces' :  [ 1 , 2 ] }  ", r"{}",
    r"{'deep': [[[[[[{'x': [(), [], {}]}]]]]]]}"]


def value(depth):
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind < 2:
        return rng.choice(TEXTS) + rng.choice(TEXTS)
    if kind == 2:
        return rng.randrange(-10**12, 10**12)
    if kind == 3:
        return rng.choice([0.1, -2.5, 1e30, 1.5e-7, 3.0, rng.random() * 1000])
    if kind == 4:
        return rng.choice([True, False, None])
    if kind == 5:
        return rng.randrange(10)
    if kind == 6:
        return [value(depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return tuple(value(depth + 1) for _ in range(rng.randrange(4)))
    return {rng.choice(TEXTS) + str(i): value(depth + 1) for i in range(rng.randrange(4))}


def main():
    for text in WRITTEN + [repr({"v": value(0), "w": value(0)}) for _ in range(120)]:
        assert "\n" not in text
        print(text)
        print(json.dumps(ast.literal_eval(text.strip()), ensure_ascii=False))


main()
