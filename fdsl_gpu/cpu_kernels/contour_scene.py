"""Records of pictures of many contours: int32 [B, N, W] with ``fdsl_gpu.records.CONTOURS`` as rows.

In numba because a batch of 256 pictures has 8,192 contours, in every training step.
"""

import numpy as np

from fdsl_gpu.cpu_kernels.jit import kernel
from fdsl_gpu.cpu_kernels.philox import integer
from fdsl_gpu.records import CONTOURS, word

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SEQUENCE, _CENTER_X, _CENTER_Y = (word(CONTOURS, name) for name in ("sequence_low", "center_x", "center_y"))
_LABEL = 1 << 40


@kernel
def fill_scenes(words, instances, classes, canvas, reach, scale, out, reals):
    """Draw category and centre of each contour from three words, and copy what its class fixes.

    Args:
        words: uint64 [3 N, B].
        instances: int64 [B]; contour j takes the random sequence of content id (j, instance).
        classes: int32 [C, W], what a category fixes; category 0 is not drawn.
        canvas: of the laws, pixels; centres are (canvas + uniform integer in [-reach, reach]) / 2.
        reach: see canvas.
        scale: pixels drawn for each of them.
        out: int32 [B, N, W].
        reals: the same memory as float32.
    """
    for i in range(instances.size):
        for j in range(out.shape[1]):
            row = classes[integer(words[3 * j, i], 1, len(classes))]
            for k in range(out.shape[2]):
                out[i, j, k] = row[k]
            y = integer(words[3 * j + 1, i], -reach, reach + 1)
            x = integer(words[3 * j + 2, i], -reach, reach + 1)
            reals[i, j, _CENTER_Y] = (canvas + y) / 2 * scale
            reals[i, j, _CENTER_X] = (canvas + x) / 2 * scale
            sequence = np.uint64(j * _LABEL + instances[i])
            out[i, j, _SEQUENCE] = np.int32(sequence & _LOW)
            out[i, j, _SEQUENCE + 1] = np.int32(sequence >> _HALF)
