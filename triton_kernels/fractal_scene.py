"""Fractals drawn by density on a diamond-square background: uint8 [B, P, S, S], P = 1 or 3.

The law, which the CPU twin ``fdsl_gpu/cpu_kernels/fractal_scene.py`` follows operation for operation. Before it come
``density.py``, whose counts are coloured here, and ``background.py``, whose heights and whose colours are used here.

1. A fractal's pixels with count > 0 have hue = trunc(255 (count / peak) + hue) mod 256, in float32 with IEEE division,
   peak being the largest count, and the record's saturation and value. The others are black.
2. Composition, in order. A fractal whose side is its canvas F is placed as it is; any other is resized to side x side:
   pixel d shows position ((2 d + 1) F - side) / (2 side), at least 0, whose whole part is the first source pixel and
   whose rest, in 2048ths rounded as floor(rest 2048 + 1/2), the weight of the next one; from F - 1 on it is the last
   pixel alone. A channel is (sum of four weighted bytes + 2**21) >> 22. As in OpenCV's bilinear resize of bytes: 11
   bits an axis, no antialiasing. It is placed at (left, top), and only its pixels that are not black are.
3. Blur, with w = trunc(256 side weight + 1/2), at most 85: along each axis (256 - 2 w, w) / 256 of a pixel and of its
   neighbours, reflected at the border without repeating it; (sum of nine weighted bytes + 2**15) >> 16.

P = 1 draws grey: the value of a fractal wherever its count > 0, on black. Where saturations, factors and offsets are 0,
that is each of the three planes; hues, saturations and backgrounds are not read.

Source: Anderson and Farrell, "Improving Fractal Pre-training", WACV 2022, and their released generator.
"""

import triton
import triton.language as tl

from triton_kernels.background import rgb_of
from triton_kernels.launch import kernel

# Word offsets in a scene of 403 words, and in each of its fractals.
SCENE_WORDS = tl.constexpr(403)
NUM_FRACTALS = tl.constexpr(0)
FACTORS = tl.constexpr(20)
OFFSETS = tl.constexpr(23)
BLUR = tl.constexpr(26)
FRACTALS = tl.constexpr(28)
FRACTAL_WORDS = tl.constexpr(75)
HUE = tl.constexpr(68)
SATURATION = tl.constexpr(69)
VALUE = tl.constexpr(70)
SIDE = tl.constexpr(71)
LEFT = tl.constexpr(72)
TOP = tl.constexpr(73)


@triton.jit
def _background(reals_ptr, height):
    """Colours of heights."""
    hue = height * tl.load(reals_ptr + FACTORS) + tl.load(reals_ptr + OFFSETS)
    saturation = height * tl.load(reals_ptr + FACTORS + 1) + tl.load(reals_ptr + OFFSETS + 1)
    value = height * tl.load(reals_ptr + FACTORS + 2) + tl.load(reals_ptr + OFFSETS + 2)
    saturation = tl.where(saturation < 255.0, saturation, 255.0)
    value = tl.where(value < 255.0, value, 255.0)
    return rgb_of(hue.to(tl.int32) & 255, saturation.to(tl.int32) & 255, value.to(tl.int32) & 255)


@triton.jit
def _texel(counts_ptr, pixel, live, peak, ints_ptr, reals_ptr, PLANES: tl.constexpr):
    """Colours of pixels of a fractal, or their grey; 0 where nothing was hit."""
    count = tl.load(counts_ptr + pixel, mask=live, other=0)
    colour = tl.load(ints_ptr + VALUE) & 255
    if PLANES == 3:
        ratio = tl.div_rn(count.to(tl.float32), peak)
        hue = (255.0 * ratio + tl.load(reals_ptr + HUE)).to(tl.int32) & 255
        colour = rgb_of(hue, tl.load(ints_ptr + SATURATION) & 255, colour)
    return tl.where(count > 0, colour, 0)


@triton.jit
def _tap(pixel, side, SIZE: tl.constexpr):
    """First source pixel, the next one, and the weight of that in 2048ths."""
    position = tl.maximum((2 * pixel + 1) * SIZE - side, 0)
    first = position // (2 * side)
    rest = position - first * (2 * side)
    inside = first < SIZE - 1
    weight = tl.where(inside, (rest * 2048 + side) // (2 * side), 0)
    return tl.where(inside, first, SIZE - 1), tl.where(inside, first + 1, SIZE - 1), weight


@triton.jit
def _blend(a, b, c, d, right, down, SHIFT: tl.constexpr):
    """One channel of four pixels, weighted and rounded."""
    above = ((a >> SHIFT) & 255) * (2048 - right) + ((b >> SHIFT) & 255) * right
    below = ((c >> SHIFT) & 255) * (2048 - right) + ((d >> SHIFT) & 255) * right
    return ((above * (2048 - down) + below * down + (1 << 21)) >> 22) << SHIFT


@kernel
def compose(
    ints_ptr,
    reals_ptr,
    heights_ptr,
    counts_ptr,
    peaks_ptr,
    scenes_ptr,
    pitch,
    size,
    SIZE: tl.constexpr,
    MAX_FRACTALS: tl.constexpr,
    PLANES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Place the fractals on the background; grid (B, blocks of pixels).

    Args:
        ints_ptr: scenes as int32 [B, 403].
        reals_ptr: the same memory as float32 [B, 403].
        heights_ptr: float32 [B, pitch, pitch]; not read where P is 1.
        counts_ptr: int32 [B, N, F, F].
        peaks_ptr: int32 [B, N].
        scenes_ptr: int32 [B, S, S], red | green << 8 | blue << 16, or grey, overwritten.
        pitch: side of the heights.
        size: side S of the scenes.
        SIZE: side F of the fractals' canvas.
        MAX_FRACTALS: N.
        PLANES: P.
        BLOCK: pixels a program.
    """
    image = tl.program_id(0).to(tl.int64)
    ints_ptr += image * SCENE_WORDS
    reals_ptr += image * SCENE_WORDS
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row, column = pixel // size, pixel % size
    live = row < size
    colour = tl.zeros([BLOCK], tl.int32)
    if PLANES == 3:
        height = tl.load(heights_ptr + image * pitch * pitch + row * pitch + column, mask=live, other=0.0)
        colour = _background(reals_ptr, height)
    num_fractals = tl.load(ints_ptr + NUM_FRACTALS)
    first_row = tl.program_id(1) * BLOCK // size
    last_row = (tl.program_id(1) * BLOCK + BLOCK - 1) // size
    ints_ptr += FRACTALS
    reals_ptr += FRACTALS
    for number in range(MAX_FRACTALS):
        side = tl.maximum(tl.load(ints_ptr + SIDE), 1)
        left, top = tl.load(ints_ptr + LEFT), tl.load(ints_ptr + TOP)
        count = tl.load(peaks_ptr + image * MAX_FRACTALS + number)
        if (number < num_fractals) & (count > 0) & (last_row >= top) & (first_row < top + side):
            peak = count.to(tl.float32)
            fractal_ptr = counts_ptr + (image * MAX_FRACTALS + number) * (SIZE * SIZE)
            inside = live & (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
            y, x = tl.where(inside, row - top, 0), tl.where(inside, column - left, 0)
            if side == SIZE:
                top_colour = _texel(fractal_ptr, y * SIZE + x, inside, peak, ints_ptr, reals_ptr, PLANES)
            else:
                y, below, down = _tap(y, side, SIZE)
                x, beside, right = _tap(x, side, SIZE)
                a = _texel(fractal_ptr, y * SIZE + x, inside, peak, ints_ptr, reals_ptr, PLANES)
                b = _texel(fractal_ptr, y * SIZE + beside, inside, peak, ints_ptr, reals_ptr, PLANES)
                c = _texel(fractal_ptr, below * SIZE + x, inside, peak, ints_ptr, reals_ptr, PLANES)
                d = _texel(fractal_ptr, below * SIZE + beside, inside, peak, ints_ptr, reals_ptr, PLANES)
                top_colour = _blend(a, b, c, d, right, down, 0)
                for channel in tl.static_range(1, PLANES):
                    top_colour |= _blend(a, b, c, d, right, down, 8 * channel)
            colour = tl.where(inside & (top_colour != 0), top_colour, colour)
        ints_ptr += FRACTAL_WORDS
        reals_ptr += FRACTAL_WORDS
    tl.store(scenes_ptr + image * size * size + pixel, colour, mask=live)


@triton.jit
def _weigh(above, here, below, weight, SHIFT: tl.constexpr):
    """Weighted sum of one channel of three pixels, in 256ths."""
    return ((here >> SHIFT) & 255) * (256 - 2 * weight) + (((above >> SHIFT) & 255) + ((below >> SHIFT) & 255)) * weight


@triton.jit
def _weigh_column(above_ptr, here_ptr, below_ptr, column, live, weight, SHIFT: tl.constexpr):
    """Weighted sum of one channel over three rows of a column."""
    above = tl.load(above_ptr + column, mask=live, other=0)
    here = tl.load(here_ptr + column, mask=live, other=0)
    below = tl.load(below_ptr + column, mask=live, other=0)
    return _weigh(above, here, below, weight, SHIFT)


@kernel
def finish(reals_ptr, scenes_ptr, planes_ptr, size, PLANES: tl.constexpr, BLOCK: tl.constexpr):
    """Blur scenes and write them as planes; grid (B, blocks of pixels).

    Args:
        reals_ptr: scenes as float32 [B, 403].
        scenes_ptr: int32 [B, S, S] from :func:`compose`.
        planes_ptr: uint8 [B, P, S, S], overwritten.
        size: side S.
        PLANES: P.
        BLOCK: pixels a program.
    """
    image = tl.program_id(0).to(tl.int64)
    scenes_ptr += image * size * size
    planes_ptr += image * PLANES * size * size
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row, column = pixel // size, pixel % size
    live = row < size
    weight = tl.minimum((tl.load(reals_ptr + image * SCENE_WORDS + BLUR + 1) * 256.0 + 0.5).to(tl.int32), 85)
    colour = tl.load(scenes_ptr + pixel, mask=live, other=0)
    if weight > 0:
        # Reflected at the border: the pixel before the first is the second. A single one is all its neighbours.
        inner = tl.minimum(size - 1, 1)
        above_ptr = scenes_ptr + tl.where(row > 0, row - 1, inner) * size
        here_ptr = scenes_ptr + row * size
        below_ptr = scenes_ptr + tl.where(row < size - 1, row + 1, size - 1 - inner) * size
        before = tl.where(column > 0, column - 1, inner)
        after = tl.where(column < size - 1, column + 1, size - 1 - inner)
        colour = tl.zeros([BLOCK], tl.int32)
        for channel in tl.static_range(PLANES):
            here = _weigh_column(above_ptr, here_ptr, below_ptr, column, live, weight, 8 * channel)
            left = _weigh_column(above_ptr, here_ptr, below_ptr, before, live, weight, 8 * channel)
            right = _weigh_column(above_ptr, here_ptr, below_ptr, after, live, weight, 8 * channel)
            colour |= ((here * (256 - 2 * weight) + (left + right) * weight + 32768) >> 16) << (8 * channel)
    for channel in tl.static_range(PLANES):
        tl.store(planes_ptr + channel * size * size + pixel, ((colour >> (8 * channel)) & 255).to(tl.uint8), mask=live)


SIGNATURES = {
    "compose": (
        {
            "ints_ptr": "*i32",
            "reals_ptr": "*fp32",
            "heights_ptr": "*fp32",
            "counts_ptr": "*i32",
            "peaks_ptr": "*i32",
            "scenes_ptr": "*i32",
            "pitch": "i32",
            "size": "i32",
        },
        {"SIZE": 112, "MAX_FRACTALS": 5, "PLANES": 3, "BLOCK": 512},
    ),
    "finish": (
        {"reals_ptr": "*fp32", "scenes_ptr": "*i32", "planes_ptr": "*u8", "size": "i32"},
        {"PLANES": 3, "BLOCK": 512},
    ),
}
"""Argument types and constants of each kernel at the settings of several instances, for compiling offline."""
