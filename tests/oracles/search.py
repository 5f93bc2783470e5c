"""The category search of 3-D iterated function systems, slow and obvious: SPEC 2.1 and 2.2, one step at a time.

Python floats are IEEE float64 and Python never fuses or reorders, so the operations written here are the law.
"""

import math

import numpy as np

from fdsl_gpu import philox

STEPS = 9_999
LIMIT = 2.0**20


def stream_words(key, stream, category, attempt, count):
    """The first ``count`` words of a candidate in a stream, as Python integers."""
    blocks = -(-count // 4)
    counter = (np.arange(blocks), 0, attempt, stream << 24 | category)
    return np.stack(philox.philox4x32(counter, key), axis=-1).ravel()[:count].tolist()


def candidate(key, category, attempt):
    """A candidate's maps: list of n lists a .. l."""
    words = stream_words(key, philox.CLASS, category, attempt, 1 + 7 * 12)
    count = 2 + (words[0] * 6 >> 32)
    values = [2 * (word >> 8) * 2.0**-24 - 1 + 2.0**-24 for word in words[1:]]
    return [values[12 * j : 12 * j + 12] for j in range(count)]


def probabilities(maps):
    """Each map's share of the sum of |det|; None if all are zero."""
    volumes = []
    for a, b, c, d, e, f, g, h, i, *_ in maps:
        volumes.append(abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)))
    total = 0.0
    for volume in volumes:
        total += volume
    return [volume / total for volume in volumes] if total > 0 else None


def choices(key, category, attempt, shares):
    """Which map each of the 9,999 steps applies: first j with u <= cumulative probability, else the last."""
    cumulative, total = [], 0.0
    for share in shares:
        total += share
        cumulative.append(total)
    chosen = []
    for word in stream_words(key, philox.CHAIN, category, attempt, STEPS):
        u = word * 2.0**-32
        chosen.append(next((j for j, bound in enumerate(cumulative) if u <= bound), len(shares) - 1))
    return chosen


def accepted(maps, chosen):
    """The chain from the origin and its two tests: bounded, and spread along every axis."""
    x = y = z = 0.0
    points = []
    for j in chosen:
        a, b, c, d, e, f, g, h, i, jj, k, m = maps[j]
        x, y, z = (a * x + b * y) + (c * z + jj), (d * x + e * y) + (f * z + k), (g * x + h * y) + (i * z + m)
        if max(abs(x), abs(y), abs(z)) > LIMIT:
            return False
        points.append((x, y, z))
    low, high = min(map(min, points)), max(map(max, points))
    return all(variance([2.0 * (p[axis] - low) / (high - low) - 1.0 for p in points]) > 0.05 for axis in range(3))


def variance(values):
    """Population variance, two passes in order."""
    total = 0.0
    for value in values:
        total += value
    mean = total / len(values)
    total = 0.0
    for value in values:
        total += (value - mean) * (value - mean)
    return total / len(values)


def find_class(key, category):
    """Maps, attempt and choices of a class: the first accepted candidate."""
    attempt = 0
    while True:
        maps = candidate(key, category, attempt)
        shares = probabilities(maps)
        if shares is not None:
            chosen = choices(key, category, attempt, shares)
            if accepted(maps, chosen):
                return maps, attempt, chosen
        attempt += 1


def drawable(maps, chosen, weight):
    """Whether the chain stays bounded with every map multiplied by a weight row and rounded to float32."""
    weighted = [[float(np.float32(v * float(w))) for v, w in zip(row, weight, strict=True)] for row in maps]
    x = y = z = 0.0
    for j in chosen:
        a, b, c, d, e, f, g, h, i, jj, k, m = weighted[j]
        x, y, z = (a * x + b * y) + (c * z + jj), (d * x + e * y) + (f * z + k), (g * x + h * y) + (i * z + m)
        if not (math.isfinite(x) and max(abs(x), abs(y), abs(z)) <= LIMIT):
            return False
    return True


def weights():
    """SPEC 2.2: identity once, and a factor 0.4 .. 1.6 (step 0.1, not 1) for each column; row 108 has the typo."""
    rows = []
    for column in range(12):
        for tenths in range(4, 17):
            if tenths == 10 and column > 0:
                continue
            row = [1.0] * 12
            row[column] = tenths / 10
            rows.append(row)
    rows[108][8] = 0.6
    return np.array(rows, np.float32)
