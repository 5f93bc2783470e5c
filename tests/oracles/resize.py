"""Pillow's 8-bit resize, written out: double weights, rounded to 22 bits, one pixel at a time (slow).

After ``precompute_coeffs``, ``normalize_coeffs_8bpc`` and the two passes of Pillow's ``src/libImaging/Resample.c``.
"""

import numpy as np

BITS = 22


def bilinear(x):
    x = abs(x)
    return 1.0 - x if x < 1.0 else 0.0


def bicubic(x):
    a = -0.5
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def windows(in_size, out_size, interpolation):
    """[(first, [integer weight, ...]), ...], one window an output pixel."""
    kernel, radius = {"bilinear": (bilinear, 1.0), "bicubic": (bicubic, 2.0)}[interpolation]
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    support = radius * stretch
    result = []
    for o in range(out_size):
        center = (o + 0.5) * scale
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), in_size)
        real = [kernel((x + low - center + 0.5) * (1.0 / stretch)) for x in range(high - low)]
        # From left to right, in doubles: sum() of newer Pythons compensates its rounding.
        total = 0.0
        for weight in real:
            total += weight
        real = [weight / total for weight in real]
        result.append((low, [int((-0.5 if w < 0 else 0.5) + w * (1 << BITS)) for w in real]))
    return result


def resize_rows(image, out_size, interpolation):
    """One pass along the last axis: uint8 [H, W] -> uint8 [H, out_size]."""
    if image.shape[1] == out_size:
        return image.copy()
    out = np.empty((image.shape[0], out_size), np.uint8)
    for o, (low, weights) in enumerate(windows(image.shape[1], out_size, interpolation)):
        for row in range(image.shape[0]):
            total = 1 << (BITS - 1)
            for t, weight in enumerate(weights):
                total += int(image[row, low + t]) * weight
            out[row, o] = min(max(total >> BITS, 0), 255)
    return out


def resize(image, out_size, interpolation):
    """Uint8 [H, W] -> uint8 [out_size, out_size], horizontal pass first."""
    horizontal = resize_rows(image, out_size, interpolation)
    return np.ascontiguousarray(resize_rows(np.ascontiguousarray(horizontal.T), out_size, interpolation).T)


def luma(red, green, blue):
    """ITU-R 601-2 luma of three bytes as Pillow's ``convert("L")``."""
    return (int(red) * 19595 + int(green) * 38470 + int(blue) * 7471 + 0x8000) >> 16


def normalised(value, mean, std):
    """The float32 of one byte after ToTensor and Normalize: each step rounded once to float32."""
    value = np.float32(value) / np.float32(255)
    return (value - np.float32(mean)) / np.float32(std)
