"""The category searches of iterated function systems, slow and obvious: the published laws, step by step.

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


def candidate(key, category, attempt, columns=12):
    """A candidate's maps: list of n lists a .. l, or a .. f."""
    words = stream_words(key, philox.CLASS, category, attempt, 1 + 7 * columns)
    count = 2 + (words[0] * 6 >> 32)
    values = [2 * (word >> 8) * 2.0**-24 - 1 + 2.0**-24 for word in words[1:]]
    return [values[columns * j : columns * j + columns] for j in range(count)]


def probabilities(maps):
    """Each map's share of the sum of |det|; None if all are zero."""
    volumes = []
    for a, b, c, d, e, f, g, h, i, *_ in maps:
        volumes.append(abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)))
    return shares_of(volumes)


def shares_of(volumes):
    """Volumes over their sum in order; None if all are zero."""
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
    """identity once, and a factor 0.4 .. 1.6 (step 0.1, not 1) for each column; row 108 has the typo."""
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


PLANE_POINTS = 100_000


def choices_2d(key, category, attempt, shares):
    """which map each of the 99,999 steps applies, [99,999]; 0 .. n - 1."""
    cumulative, total = [], 0.0
    for share in shares:
        total += share
        cumulative.append(total)
    uniforms = np.array(stream_words(key, philox.CHAIN, category, attempt, PLANE_POINTS - 1)) * 2.0**-32
    return np.minimum(np.searchsorted(cumulative, uniforms, side="left"), len(shares) - 1).tolist()


def chain_2d(maps, chosen):
    """points [T, 2] of a chain of which the origin is point 0; as many as came before it was not finite."""
    x = y = 0.0
    points = [(x, y)]
    for j in chosen:
        a, b, c, d, e, f = maps[j]
        x, y = (a * x + b * y) + e, (c * x + d * y) + f
        if not (math.isfinite(x) and math.isfinite(y)):
            break
        points.append((x, y))
    return np.array(points)


def fill_rate(points):
    """share of 512 x 512 pixels that the points hit."""
    low, high = points.min(axis=0), points.max(axis=0)
    columns, rows = np.trunc((points - low) / (high - low) * 500 + 6).astype(int).T
    return len(set(zip(columns.tolist(), rows.tolist(), strict=True))) / 512**2


def accepted_2d(maps, chosen):
    """The published law: nothing is dropped early; an overflow leaves too few pixels and so rejects."""
    points = chain_2d(maps, chosen)
    return len(points) == PLANE_POINTS and fill_rate(points) >= 0.2


def find_class_2d(key, category):
    """Maps and attempt of a class in the plane: the first accepted candidate."""
    attempt = 0
    while True:
        maps = candidate(key, category, attempt, 6)
        shares = shares_of([abs(a * d - b * c) for a, b, c, d, _, _ in maps])
        if accepted_2d(maps, choices_2d(key, category, attempt, shares)):
            return maps, attempt
        attempt += 1


def weights_2d(step):
    """rows 0 .. 4 multiply a, then four rows for each of b .. f; row 2 is the identity."""
    factors = [1 - 2 * step or 0.01, 1 - step, 1 + step, 1 + 2 * step]
    rows = []
    for column in range(6):
        for factor in [*factors[:2], 1.0, *factors[2:]] if column == 0 else factors:
            row = [1.0] * 6
            row[column] = factor
            rows.append(row)
    return np.array(rows, np.float32)


def select_2d(probabilities, halves):
    """Which maps half words select: the alias table's own law, one at a time."""
    from fdsl_gpu.alias import alias_table

    table, n = alias_table(probabilities, len(probabilities)).tolist(), len(probabilities)
    chosen = []
    for half in halves.reshape(-1).tolist():
        column, rest = divmod(half * n, 65536)
        chosen.append(column if rest < table[column] >> 8 else table[column] & 255)
    return np.array(chosen).reshape(halves.shape)


def row_is_drawable(maps, weight, chosen):
    """Whether the long chain with every map multiplied by a weight row and rounded to float32 stays within 2^100."""
    weighted = [[float(np.float32(v * w)) for v, w in zip(row, weight, strict=True)] for row in maps]
    points = chain_2d(weighted, chosen)
    return len(points) == len(chosen) + 1 and np.abs(points).max() <= 2.0**100


def box_2d(maps, weight, chosen, points, warmup):
    """Least x and y, greatest x and y in float32 of the points of all lanes, ``chosen`` [steps, lanes].

    The origin is point 0; lane 0 alone draws while lanes warm up; the last step draws with as many lanes as are needed.
    """
    weighted = maps * weight
    x = y = np.zeros(chosen.shape[1], np.float32)
    seen, missing = [(x[:1], y[:1])], points - 1
    for step, j in enumerate(chosen):
        a, b, c, d, e, f = weighted[j].T
        x, y = (a * x + b * y) + e, (c * x + d * y) + f
        drawn = min(1 if step < warmup else chosen.shape[1], missing)
        seen.append((x[:drawn], y[:drawn]))
        missing -= drawn
    xs, ys = (np.concatenate(values) for values in zip(*seen, strict=True))
    return [xs.min(), ys.min(), xs.max(), ys.max()]
