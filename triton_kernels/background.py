"""Diamond-square heights: float32 [B, side, side] with side = 2**n + 1, n = ceil(log2 S), and colours of 8-bit HSV.

The law, which the CPU twin ``fdsl_gpu/cpu_kernels/background.py`` follows operation for operation (every float
operation is one IEEE float32 operation, in the written order, never fused):

1. Corners come from the record. Level k = 1 .. n has half = 2**(n - k) and m = amplitudes[k - 1], and two half-steps.
   Diamonds: centres (odd multiples of half in both axes) become mean + m (2 u - 1),
   mean = ((up left + up right) + (down left + down right)) 0.25, of the four cells at distance half.
   Squares: cells at multiples of half of which one is odd and one even become the same of
   mean = ((up + down) + (left + right)) 0.25; a neighbour outside of the square is taken 2**n further on, on a torus.
2. u = (word >> 8) 2**-24 of the cell's own word: word ``cell & 3`` of the Philox block with counter
   (cell >> 2, view, id low, stream << 24 | id high), cell = row side + column.
3. A background's bytes are hue = x factor + offset, and saturation and value the same but at most 255, of the height x,
   each truncated toward zero, negative ones wrapping modulo 256.
4. Colours: OpenCV's 8-bit HSV, hue in units of 2 degrees, so that 256 hues are 1.42 turns with a jump at the end. In
   integers: sector = (hue // 30) mod 6, f = hue mod 30; low = value (255 - saturation) 30 / 7650 and
   middle = value (7650 - saturation g) / 7650 with g = f in odd sectors and 30 - f in even ones, both rounded as
   floor(quotient + 1/2); (red, green, blue) is (value, middle, low), (middle, value, low), (low, value, middle),
   (low, middle, value), (middle, low, value), (value, low, middle) in sectors 0 .. 5.

Source: Fournier, Fussell and Carpenter, "Computer rendering of stochastic models", CACM 1982; the numbers are those of
Anderson and Farrell, "Improving Fractal Pre-training", WACV 2022, and their released generator.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

BLOCK = 1024
NUM_WARPS = 16

# Word offsets in a scene of 403 words.
SCENE_WORDS = tl.constexpr(403)
BACKGROUND_LOW = tl.constexpr(1)
BACKGROUND_HIGH = tl.constexpr(2)
VIEW = tl.constexpr(3)
CORNERS = tl.constexpr(4)
AMPLITUDES = tl.constexpr(8)


@triton.jit
def _noise(ints_ptr, reals_ptr, cell, level, k0, k1, STREAM: tl.constexpr):
    """What each cell adds to its mean."""
    low = tl.load(ints_ptr + BACKGROUND_LOW) + cell * 0
    high = (tl.load(ints_ptr + BACKGROUND_HIGH) | (STREAM << 24)) + cell * 0
    view = tl.load(ints_ptr + VIEW) + cell * 0
    word_0, word_1, word_2, word_3 = philox4x32(cell >> 2, view, low, high, k0, k1)
    even = tl.where((cell & 2) == 0, word_0, word_2)
    odd = tl.where((cell & 2) == 0, word_1, word_3)
    word = tl.where((cell & 1) == 0, even, odd)
    u = (word >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
    return tl.load(reals_ptr + AMPLITUDES + level - 1) * (2.0 * u - 1.0)


@triton.jit
def _diamond(heights_ptr, number, level, half, side):
    """Cell, mean and whether there is one, of the numbered centres of squares of a level."""
    row = (number >> (level - 1)) * 2 + 1
    column = (number & ((1 << (level - 1)) - 1)) * 2 + 1
    live = row < (1 << level)
    cell = row * half * side + column * half
    down, right = half * side, half
    up_left = tl.load(heights_ptr + cell - down - right, mask=live, other=0.0)
    up_right = tl.load(heights_ptr + cell - down + right, mask=live, other=0.0)
    down_left = tl.load(heights_ptr + cell + down - right, mask=live, other=0.0)
    down_right = tl.load(heights_ptr + cell + down + right, mask=live, other=0.0)
    return cell, ((up_left + up_right) + (down_left + down_right)) * 0.25, live


@triton.jit
def _square(heights_ptr, number, level, half, side):
    """The same of the numbered middles of sides."""
    slots = (1 << (level - 1)) + 1
    row = number // slots
    # Odd columns in even rows, even columns in odd rows.
    column = (number % slots) * 2 + 1 - (row & 1)
    last = 1 << level
    live = (row <= last) & (column <= last)
    cell = row * half * side + column * half
    up = tl.where(row > 0, row - 1, last - 1) * half * side + column * half
    down = tl.where(row < last, row + 1, 1) * half * side + column * half
    left = row * half * side + tl.where(column > 0, column - 1, last - 1) * half
    right = row * half * side + tl.where(column < last, column + 1, 1) * half
    vertical = tl.load(heights_ptr + up, mask=live, other=0.0) + tl.load(heights_ptr + down, mask=live, other=0.0)
    horizontal = tl.load(heights_ptr + left, mask=live, other=0.0) + tl.load(heights_ptr + right, mask=live, other=0.0)
    return cell, (vertical + horizontal) * 0.25, live


@kernel(do_not_specialize=["k0", "k1"])
def fill_heights(
    ints_ptr, reals_ptr, heights_ptr, k0, k1, LEVELS: tl.constexpr, STREAM: tl.constexpr, BLOCK: tl.constexpr
):
    """All levels of one background a program, grid (B,).

    One program, because a half-step reads what the one before it wrote, which a barrier can order within a program
    only; the alternative is two launches a level.

    Args:
        ints_ptr: scenes as int32 [B, 403].
        reals_ptr: the same memory as float32 [B, 403].
        heights_ptr: float32 [B, side, side], overwritten.
        k0: key of the dataset, low word.
        k1: key of the dataset, high word.
        LEVELS: n.
        STREAM: Philox stream of backgrounds.
        BLOCK: cells at a time.
    """
    image = tl.program_id(0).to(tl.int64)
    side = (1 << LEVELS) + 1
    ints_ptr += image * SCENE_WORDS
    reals_ptr += image * SCENE_WORDS
    heights_ptr += image * side * side
    corner = tl.arange(0, 4)
    height = tl.load(reals_ptr + CORNERS + corner)
    tl.store(heights_ptr + (corner >> 1) * (side - 1) * side + (corner & 1) * (side - 1), height)
    for level in range(1, LEVELS + 1):
        half = 1 << (LEVELS - level)
        tl.debug_barrier()
        first = 0
        while first < 1 << (2 * level - 2):
            cell, mean, live = _diamond(heights_ptr, first + tl.arange(0, BLOCK), level, half, side)
            noise = _noise(ints_ptr, reals_ptr, cell, level, k0, k1, STREAM)
            tl.store(heights_ptr + cell, mean + noise, mask=live)
            first += BLOCK
        tl.debug_barrier()
        first = 0
        while first < ((1 << level) + 1) * ((1 << (level - 1)) + 1):
            cell, mean, live = _square(heights_ptr, first + tl.arange(0, BLOCK), level, half, side)
            noise = _noise(ints_ptr, reals_ptr, cell, level, k0, k1, STREAM)
            tl.store(heights_ptr + cell, mean + noise, mask=live)
            first += BLOCK


@triton.jit
def rgb_of(hue, saturation, value):
    """Red | green << 8 | blue << 16 of int32 bytes."""
    turn = hue // 30
    rest = hue - turn * 30
    sector = tl.where(turn >= 6, turn - 6, turn)
    lost = tl.where((sector & 1) != 0, rest, 30 - rest)
    # Unsigned: a division by a constant is a multiplication then.
    low = (2 * value * 30 * (255 - saturation) + 7650).to(tl.uint32) // 15300
    middle = (2 * value * (7650 - saturation * lost) + 7650).to(tl.uint32) // 15300
    low, middle = low.to(tl.int32), middle.to(tl.int32)
    red = tl.where((sector == 0) | (sector == 5), value, tl.where((sector == 1) | (sector == 4), middle, low))
    green = tl.where((sector == 1) | (sector == 2), value, tl.where((sector == 0) | (sector == 3), middle, low))
    blue = tl.where((sector == 3) | (sector == 4), value, tl.where((sector == 2) | (sector == 5), middle, low))
    return red | (green << 8) | (blue << 16)


SIGNATURES = {
    "fill_heights": (
        {"ints_ptr": "*i32", "reals_ptr": "*fp32", "heights_ptr": "*fp32", "k0": "i32", "k1": "i32"},
        {"LEVELS": 8, "STREAM": 8, "BLOCK": BLOCK},
    ),
}
"""Argument types and constants of each kernel at its published settings, for compiling offline."""
