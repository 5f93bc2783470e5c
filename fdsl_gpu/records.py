"""The records that travel from a formula to a kernel: one fixed-size row of 32-bit words for each image.

A formula fills an array of one of these dtypes on the host. The launcher copies it to the device in one piece and the
kernels read it as a table of words, ``int32[B, W]`` and, over the same memory, ``float32[B, W]``. The Triton kernels
state the word offsets they use; a test holds them against these dtypes.
"""

from __future__ import annotations

import numpy as np

MAX_MAPS = 8
"""Most affine maps in one iterated function system."""

CONTOURS = np.dtype(
    [
        ("vertices", "<i4"),  # V, vertices of a polygon
        ("lines", "<i4"),  # K, nested polygons, drawn in order
        ("sequence_low", "<u4"),  # 56-bit id of the random sequence
        ("sequence_high", "<u4"),
        ("grey_levels", "<i4"),  # a line's grey is min(255, uniform integer in [0, grey_levels))
        ("wave_1", "<i4"),  # angular frequencies of the wave, 0 for none
        ("wave_2", "<i4"),
        ("wave", "<f4"),  # amplitude a line of each of the two waves, pixels
        ("radius_x", "<f4"),  # start polygon, pixels
        ("radius_y", "<f4"),
        ("center_x", "<f4"),  # pixels
        ("center_y", "<f4"),
        ("step", "<f4"),  # radial growth a line, pixels
        ("noise", "<f4"),  # factor of the Perlin noise subtracted from the growth, pixels
        ("category", "<i4"),  # what a label mask holds where these lines go, 1 .. 254; 0 without masks
        ("magnify_x", "<f4"),  # magnification of the growth along x, less 1: 0 unless a crop is folded in
        ("magnify_y", "<f4"),
        ("reserved", "<f4", 3),
    ]
)
"""Nested noisy polygons. Vertex v of line k is at

    X_v(k) = X_v(k-1) + cos(theta_v) * (1 + magnify_x) * growth
    growth = step - noise * N + wave * (sin(wave_1 theta_v) + sin(wave_2 theta_v))

with theta_v = 2 pi v / V, X_v(0) = center_x + radius_x cos(theta_v), N fresh Perlin noise for every vertex, line and
axis, and Y likewise with sin(theta_v).
"""

POINTS_3D = np.dtype(
    [
        ("num_maps", "<i4"),  # n, 1 .. MAX_MAPS
        ("sequence_low", "<u4"),  # 56-bit id of the random sequence
        ("sequence_high", "<u4"),
        ("shift_right", "<f4"),  # added to focal * right: 0 unless a crop shifts the lens
        ("select", "<i4", MAX_MAPS),  # Walker alias table: threshold (0 .. 65536) << 8 | alias
        ("maps", "<f4", (MAX_MAPS, 12)),  # a b c d e f g h i j k l (x' = a x + b y + c z + j, ...)
        ("camera", "<f4", (3, 3)),  # rows: right, up, depth; eye = camera @ point
        ("focal", "<f4"),  # f of the projection f * right / depth
        ("distance", "<f4"),  # added to depth
        ("shift_up", "<f4"),  # added to focal * up
    ]
)
"""A 3-D iterated function system and the camera that looks at it."""

CONTOURS_A_SCENE = 32

CONTOUR_SCENE = np.dtype([("contours", CONTOURS, CONTOURS_A_SCENE)])
"""Several contours on one canvas, drawn in order, each of one category."""

POINTS_2D = np.dtype(
    [
        ("num_maps", "<i4"),  # n, 1 .. MAX_MAPS
        ("pattern_low", "<u4"),  # 56-bit id of the random pattern of patches
        ("pattern_high", "<u4"),
        ("view", "<u4"),  # which view of the instance; another view has another pattern
        ("mirror", "<i4"),  # bit 0: left and right, bit 1: top and bottom, of the raster as the points fall
        ("reserved", "<i4", 3),
        ("select", "<i4", MAX_MAPS),  # Walker alias table: threshold (0 .. 65536) << 8 | alias
        ("maps", "<f4", (MAX_MAPS, 6)),  # a b c d e f: x' = a x + b y + e, y' = c x + d y + f
        ("low", "<f4", 2),  # least x and y of the points
        ("scale", "<f4", 2),  # pixels a unit, so that column = trunc((x - low) * scale + padding)
    ]
)
"""A 2-D iterated function system and the box that normalises it."""

FRACTAL = np.dtype(
    [
        ("num_maps", "<i4"),  # n, 1 .. MAX_MAPS
        ("sequence_low", "<u4"),  # 56-bit id of the random sequence
        ("sequence_high", "<u4"),
        ("view", "<u4"),  # which view of the instance; another view has another sequence
        ("select", "<i4", MAX_MAPS),  # as in POINTS_2D
        ("maps", "<f4", (MAX_MAPS, 6)),  # as in POINTS_2D
        ("start", "<f4", 2),  # where all trajectories start: the fixed point of map 0
        ("shift", "<f4", 2),  # centre of the window less that of the box, in extents of the box
        ("stretch", "<f4", 2),  # side of the window, in extents of the box
        ("flips", "<i4"),  # bit 0: transpose, then bit 1: top and bottom, then bit 2: left and right
        ("patch", "<i4"),  # 9 bits, most significant first and row by row: the cells around a point that it counts in
        ("hue", "<f4"),  # 0 .. 256, added to 255 x density
        ("saturation", "<i4"),  # 0 .. 255
        ("value", "<i4"),  # 0 .. 255
        ("side", "<i4"),  # pixels to which the fractal is resized; equal to its canvas, it is not
        ("left", "<i4"),  # column of its top left corner, may lie outside of the picture
        ("top", "<i4"),
        ("reserved", "<i4"),
    ]
)
"""A 2-D iterated function system drawn by density, coloured, and placed on a picture."""

MAX_FRACTALS = 5
BACKGROUND_LEVELS = 12

FRACTAL_SCENE = np.dtype(
    [
        ("num_fractals", "<i4"),  # 0 .. MAX_FRACTALS
        ("background_low", "<u4"),  # 56-bit id of the random numbers of the background
        ("background_high", "<u4"),
        ("view", "<u4"),
        ("corners", "<f4", 4),  # top left, top right, bottom left, bottom right, 0 .. 1
        ("amplitudes", "<f4", BACKGROUND_LEVELS),  # of level 1, 2, ...: half the range of what is added
        ("factors", "<f4", 3),  # hue, saturation and value of the background are factor x height + offset
        ("offsets", "<f4", 3),
        ("blur", "<f4", 2),  # weights of the 3x3 blur along one axis: centre, side; side 0 for none
        ("fractals", FRACTAL, MAX_FRACTALS),
    ]
)
"""Fractals on a diamond-square background."""

MAX_OPERATIONS = 4
MAX_ERASURES = 4

OPERATION = np.dtype(
    [
        ("kind", "<i4"),  # of fdsl_gpu.augment.OPERATIONS, 0 for none
        ("level", "<i4"),  # bits kept (posterize), threshold (solarize), what is added (solarize add)
        ("factor", "<f4"),  # of color, contrast, brightness, sharpness; 1 changes nothing
        ("bicubic", "<i4"),  # interpolation of an affine map: 0 bilinear, 1 bicubic
        ("planes", "<i4"),  # planes of the picture after the operation, 1 or 3
        ("matrix", "<f4", 6),  # a b c d e f: output pixel (x, y) shows input (a x + b y + c, d x + e y + f), as in PIL
        ("reserved", "<i4"),
    ]
)

PRESENTATION = np.dtype(
    [
        ("top", "<i4"),  # the crop, pixels of the canvas
        ("left", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("bicubic", "<i4"),  # interpolation of the resize: 0 bilinear, 1 bicubic
        ("flips", "<i4"),  # after the resize; bit 0: left and right, bit 1: top and bottom
        ("planes", "<i4"),  # planes of the picture after all operations, 1 or 3
        ("num_erasures", "<i4"),
        ("noise_low", "<u4"),  # 56-bit id of the noise of erased pixels
        ("noise_high", "<u4"),
        ("view", "<u4"),
        ("reserved", "<i4"),
        ("operations", OPERATION, MAX_OPERATIONS),  # in order; kind 0 for none
        ("erasures", "<i4", (MAX_ERASURES, 4)),  # top, left, height, width, pixels of the image
    ]
)
"""How one picture is presented: crop, flips, operations on its bytes, erased rectangles."""


def word(dtype: np.dtype, name: str) -> int:
    """Where a field stands in a record, in 32-bit words."""
    fields = dtype.fields
    return fields[name][1] // 4 if fields else 0


def as_words(records: np.ndarray) -> np.ndarray:
    """The same memory as int32 [B, W], as the launchers take it."""
    return records.view(np.int32).reshape(len(records), records.dtype.itemsize // 4)


def split_id(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """56-bit ids as (low 32 bits, high 24 bits), both uint32; they may share the memory of ``ids``."""
    halves = np.ascontiguousarray(ids, "<u8").view("<u4").reshape(*ids.shape, 2)
    return halves[..., 0], halves[..., 1]
