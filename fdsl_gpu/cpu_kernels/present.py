"""Presentations for numba: planes and records to a training batch, one picture at a time.

The twin of ``triton_kernels.crop``, ``augment`` and ``erase`` together: a picture stays in the cache from its crop to
its last write.
"""

import numpy as np
from numba import njit

from fdsl_gpu.cpu_kernels.augment import augment, flush
from fdsl_gpu.cpu_kernels.erase import erase
from fdsl_gpu.cpu_kernels.resample import fives, resize_rectangle
from fdsl_gpu.cpu_kernels.write_out import luma, write_picture
from fdsl_gpu.records import PRESENTATION

_TOP, _LEFT, _HEIGHT, _WIDTH, _BICUBIC, _FLIPS = (
    PRESENTATION.fields[name][1] // 4 for name in ("top", "left", "height", "width", "bicubic", "flips")
)


@njit(nogil=True, cache=True)
def _axis(coefficients, bicubic, size, padded):
    """One axis of ``resize_rectangle`` for a side of ``size`` pixels."""
    first, spans, weights = coefficients
    begin, taps = spans[bicubic, size]
    return first[bicubic, size], padded, taps, fives(weights[begin:], taps, padded)


@njit(nogil=True, cache=True)
def _crop(words, planes, coefficients, padded, scratch, picture):
    """The crop, resize and flips of a record: planes uint8 [P, S, S] to ``picture`` uint8 [>= P, W, W]."""
    rectangle = (np.int64(words[_TOP]), np.int64(words[_LEFT]), np.int64(words[_HEIGHT]), np.int64(words[_WIDTH]))
    bicubic = words[_BICUBIC]
    horizontal = _axis(coefficients, bicubic, rectangle[3], padded[0])
    vertical = _axis(coefficients, bicubic, rectangle[2], padded[1])
    for p in range(planes.shape[0]):
        resize_rectangle(planes[p], rectangle, horizontal, vertical, words[_FLIPS], scratch, picture[p])


@njit(nogil=True, cache=True)
def _write(picture, planes, size, table, tables, written, grey, out, start, stride_c, stride_h, stride_w, channels, row):
    """Look a picture up in its pending tables and the table of the batch, which ``written`` takes together."""
    flat = picture.reshape(3, size * size)
    if out.itemsize == 1 or planes > channels:
        # Bytes are written as they are, and luma needs those of all planes.
        for c in range(planes):
            flush(flat[c], tables[c])
    if planes > channels:
        luma(flat, grey)
        write_picture(
            grey.reshape(1, size, size), size, table, out, start, stride_c, stride_h, stride_w, channels, row
        )
        return
    for c in range(channels):
        pending = tables[c if planes > 1 else 0]
        for v in range(256):
            written[c, v] = table[c, pending[v]]
    write_picture(picture[:planes], size, written, out, start, stride_c, stride_h, stride_w, channels, row)


@njit(nogil=True, cache=True)
def present(
    planes,
    words,
    reals,
    coefficients,
    slots,
    fill,
    quotients,
    table,
    noise,
    mode,
    stream,
    k0,
    k1,
    scratch,
    pictures,
    padded,
    packed,
    out,
    stride_b,
    stride_c,
    stride_h,
    stride_w,
    channels,
):
    """Planes uint8 [B, P, S, S] to the words ``out`` of a batch [B, channels, W, W] with the given strides.

    Args:
        planes: uint8 [B, P, S, S].
        words: int32 [B, 76], the records.
        reals: float32 [B, 76], the same memory.
        coefficients: (first, spans, weights) of ``fdsl_gpu.resample.coefficient_tables``.
        slots: operations of a record that may be set.
        fill: uint8 [3].
        quotients: float64 [256], 255 / n.
        table: [channels, 256], what a byte becomes; the identity for 8-bit batches.
        noise: [1 or channels, .], what ``erase`` fills with.
        mode: of ``erase``.
        stream: of the noise.
        k0: key, low word.
        k1: key, high word.
        scratch: from ``resample.buffers``.
        pictures: uint8 [2, 3, W, W], scratch.
        padded: int32 [2, >= taps, W], scratch.
        packed: uint32 [(W + 4) * (W + 1)], scratch.
        out: flat words of the batch.
        stride_b: words between images; likewise the others.
        stride_c: between channels.
        stride_h: between rows.
        stride_w: between pixels.
        channels: 1 or 3.
    """
    size = pictures.shape[2]
    flat = pictures.reshape(2, 3, size * size)
    tables = np.empty((3, 256), np.uint8)
    written = np.empty_like(table)
    grey = np.empty(size * size, np.uint8)
    row = np.empty((size + 7) >> 3, np.uint64)
    random = np.empty(size // 2 + 8, np.uint32)
    for b in range(planes.shape[0]):
        record, start = words[b], b * stride_b
        _crop(record, planes[b], coefficients, padded, scratch, pictures[0])
        side, count = augment(
            record, reals[b], slots, flat, size, planes.shape[1], tables, grey, packed, fill, quotients
        )
        picture = pictures[side]
        _write(
            picture, count, size, table, tables, written, grey, out, start, stride_c, stride_h, stride_w, channels, row
        )
        erase(record, size, noise, mode, stream, k0, k1, random, out, start, stride_c, stride_h, stride_w, channels)
