"""Crops for numba, the twin of ``triton_kernels.crop``: Pillow's crop, resize and flips of each record in one step."""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import inner, kernel
from fdsl_gpu.cpu_kernels.resample import resize_rectangle
from fdsl_gpu.records import PRESENTATION, word

_TOP, _LEFT, _HEIGHT, _WIDTH, _BICUBIC, _FLIPS = (
    word(PRESENTATION, name) for name in ("top", "left", "height", "width", "bicubic", "flips")
)


@inner
def _axis(coefficients, bicubic, size):
    """One axis of ``resize_rectangle`` for a side of ``size`` pixels."""
    first, spans, weights = coefficients
    begin, taps = spans[bicubic, size]
    return first[bicubic, size], weights[begin:], taps


@kernel
def crop(planes, words, coefficients, scratch, pictures):
    """Planes uint8 [B, P, S, S] to the first of two pictures of each image.

    Args:
        planes: uint8 [B, P, S, S].
        words: int32 [B, 76], the records.
        coefficients: (first, spans, weights) of ``fdsl_gpu.resample.coefficient_tables``.
        scratch: from ``resample.buffers``.
        pictures: uint8 [>= B, 2, 3, W, W].
    """
    for b in range(planes.shape[0]):
        record = words[b]
        rectangle = (
            np.int64(record[_TOP]),
            np.int64(record[_LEFT]),
            np.int64(record[_HEIGHT]),
            np.int64(record[_WIDTH]),
        )
        horizontal = _axis(coefficients, record[_BICUBIC], rectangle[3])
        vertical = _axis(coefficients, record[_BICUBIC], rectangle[2])
        for p in range(planes.shape[1]):
            resize_rectangle(planes[b, p], rectangle, horizontal, vertical, record[_FLIPS], scratch, pictures[b, 0, p])
