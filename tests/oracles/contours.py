"""Contours in float64 and pure Python, word for word from the specification; slow and obvious.

Records are single elements of ``fdsl_gpu.records.CONTOURS``.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

from fdsl_gpu import philox

PERLIN_HASHES = [
    int(nibble, 16)
    for nibble in "709baf3d9f052971c47e5e83505a7e6478ab0a5eecbb53b09118d587e4d8b84f"
    "a576b0b6d2e73f5ac356c9c97e5846f619f118091c4b092984724cf644d6da30"
    "492acb5a636ef254feb3f0a16dcaf7a57882ca36d95b7bc9167d32cef1082908"
    "a614b221e20cf321131b9efb106f57ad84c0392df46eacdde23d883d03e27dc4"
]


def gradient(cell: int) -> float:
    h = PERLIN_HASHES[cell & 255]
    return -1.0 if h & 8 else float((h & 7) + 1)


def perlin(cell: int, t: float) -> float:
    s = t**3 * (6 * t**2 - 15 * t + 10)
    return 0.4 * ((1 - s) * gradient(cell) * t + s * gradient(cell + 1) * (t - 1))


def noise(word: int) -> float:
    """Perlin noise at word / 2**32 * 10000, its fraction cut to 24 bits."""
    u = word * 10000
    return perlin(u >> 32, ((u & 0xFFFFFFFF) >> 8) / 2**24)


def noise_words(record, key, line: int, vertex: int) -> tuple[int, int]:
    """Words of (x, y) for a line counted from 0."""
    high = philox.NOISE << 24 | int(record["sequence_high"])
    words = philox.philox4x32((line >> 1, vertex, int(record["sequence_low"]), high), key)
    first = 2 * (line & 1)
    return int(words[first]), int(words[first + 1])


def coordinates(record, key) -> np.ndarray:
    """Vertices before truncation: float64 [K, V, 2], (x, y)."""
    V, K = int(record["vertices"]), int(record["lines"])
    step, factor, wave = float(record["step"]), float(record["noise"]), float(record["wave"])
    out = np.zeros((K, V, 2))
    for v in range(V):
        theta = 2 * math.pi * v / V
        growth = step + wave * (math.sin(int(record["wave_1"]) * theta) + math.sin(int(record["wave_2"]) * theta))
        x = float(record["center_x"]) + float(record["radius_x"]) * math.cos(theta)
        y = float(record["center_y"]) + float(record["radius_y"]) * math.sin(theta)
        for k in range(K):
            word_x, word_y = noise_words(record, key, k, v)
            x += math.cos(theta) * (growth - factor * noise(word_x))
            y += math.sin(theta) * (growth - factor * noise(word_y))
            out[k, v] = x, y
    return out


def truncate(coordinates: np.ndarray) -> np.ndarray:
    """Drawn vertices: toward zero, held in int16."""
    return np.clip(np.trunc(coordinates), -32768, 32767).astype(np.int16)


def greys(record, key) -> list[int]:
    high = philox.GREY << 24 | int(record["sequence_high"])
    out = []
    for k in range(int(record["lines"])):
        words = philox.philox4x32((k >> 2, 0, int(record["sequence_low"]), high), key)
        out.append(min(255, int(words[k & 3]) * int(record["grey_levels"]) >> 32))
    return out


def draw(vertices: np.ndarray, greys, canvas_size: int, background: int) -> np.ndarray:
    """Closed polygons [K, V, 2] with Pillow, in order: uint8 [S, S]."""
    image = Image.new("L", (canvas_size, canvas_size), background)
    pen = ImageDraw.Draw(image)
    for polygon, grey in zip(vertices.tolist(), greys, strict=True):
        pen.line([tuple(point) for point in [*polygon, polygon[0]]], fill=int(grey))
    return np.asarray(image)


def line_pixels(x0: int, y0: int, x1: int, y1: int) -> list[tuple[int, int]]:
    """Pillow's line rule as the specification words it, without a canvas."""
    dx, dy = abs(x1 - x0), abs(y1 - y0)
    sx, sy = (1 if x1 > x0 else -1), (1 if y1 > y0 else -1)
    x, y, pixels = x0, y0, []
    e = 2 * dy - dx if dx > dy else 2 * dx - dy
    for _ in range(max(dx, dy)):
        pixels.append((x, y))
        if dx > dy:
            if e >= 0:
                y, e = y + sy, e - 2 * dx
            x, e = x + sx, e + 2 * dy
        else:
            if e >= 0:
                x, e = x + sx, e - 2 * dy
            y, e = y + sy, e + 2 * dx
    return [*pixels, (x1, y1)]
