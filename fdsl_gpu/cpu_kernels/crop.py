"""Crops for numba, the twin of ``triton_kernels.crop``: Pillow's crop, resize and flips of each record in one step."""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.cpu_kernels.resample import resize_rectangle
from fdsl_gpu.records import PRESENTATION, word

_TOP, _LEFT, _HEIGHT, _WIDTH, _BICUBIC, _FLIPS = (
    word(PRESENTATION, name) for name in ("top", "left", "height", "width", "bicubic", "flips")
)


def crop(planes, words, coefficients, memory, pictures):
    """Planes uint8 [B, P, S, S] to the first of two pictures of each image.

    Args:
        planes: uint8 [B, P, S, S].
        words: int32 [B, 76], the records.
        coefficients: (first, spans, weights) of ``fdsl_gpu.resample.coefficient_tables``.
        memory: from ``resample.buffer``.
        pictures: uint8 [>= B, 2, 3, W, W].
    """
    first, spans, weights = coefficients
    sizes = planes.shape[1], planes.shape[2], pictures.shape[3]
    _crop(planes.reshape(-1), words, (first.reshape(-1), weights), spans, memory, pictures.reshape(-1), sizes)


@kernel
def _crop(pixels, words, coefficients, spans, memory, pictures, sizes):
    planes, in_size, size = sizes
    for b in range(words.shape[0]):
        top, left = np.int64(words[b, _TOP]), np.int64(words[b, _LEFT])
        height, width = np.int64(words[b, _HEIGHT]), np.int64(words[b, _WIDTH])
        bicubic, flips = np.int64(words[b, _BICUBIC]), np.int64(words[b, _FLIPS])
        # Where the coefficients of the two sizes begin, and taps.
        row = bicubic * (in_size + 1)
        across = (row + width) * size, np.int64(spans[bicubic, width, 0]), np.int64(spans[bicubic, width, 1])
        down = (row + height) * size, np.int64(spans[bicubic, height, 0]), np.int64(spans[bicubic, height, 1])
        for p in range(planes):
            begin, at = ((b * planes + p) * in_size + top) * in_size + left, (b * 6 + p) * size * size
            resize_rectangle(
                pixels, begin, in_size, height, width, coefficients, across, down, flips, memory, pictures, at, size
            )
