"""Contours on a GPU: nested noisy polygons, the twin of ``fdsl_gpu.cpu_kernels.contour``.

Three stages. ``vertices`` turns records into vertex words, int32 [B, K, V] holding x & 0xffff | y << 16, and a grey
level a line, uint8 [B, K]. ``raster`` draws the sides of the closed polygons into an int32 canvas [B, S, S], where the
larger of (line + 1) << 8 | grey wins, so that the order of execution does not matter; lines count on from contour to
contour where several share a canvas. ``resolve`` turns the canvas into uint8 planes [B, 1, S, S] and clears it for the
next images; ``resolve_scene`` makes label masks uint8 [B, S, S] as well.

float32 in the stated order, no fused operations (launch with enable_fp_fusion=False); the raster is integers only.
"""

import triton
import triton.language as tl

from triton_kernels.launch import kernel
from triton_kernels.philox import philox4x32

# Word offsets in a record (``fdsl_gpu.records.CONTOURS``).
WORDS = tl.constexpr(20)
VERTICES = tl.constexpr(0)
LINES = tl.constexpr(1)
SEQUENCE_LOW = tl.constexpr(2)
SEQUENCE_HIGH = tl.constexpr(3)
GREY_LEVELS = tl.constexpr(4)
WAVE_1 = tl.constexpr(5)
WAVE_2 = tl.constexpr(6)
WAVE = tl.constexpr(7)
RADIUS_X = tl.constexpr(8)
RADIUS_Y = tl.constexpr(9)
CENTER_X = tl.constexpr(10)
CENTER_Y = tl.constexpr(11)
STEP = tl.constexpr(12)
NOISE = tl.constexpr(13)
CATEGORY = tl.constexpr(14)
MAGNIFY_X = tl.constexpr(15)
MAGNIFY_Y = tl.constexpr(16)


@triton.jit
def _noise(word, gradients_ptr):
    """Perlin noise / 0.4 at word / 2**32 * 10000."""
    cell = (tl.umulhi(word, tl.full(word.shape, 10000, tl.uint32)) & 255).to(tl.int32)
    t = ((word * 10000) >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
    s = ((t * t) * t) * (t * (t * 6.0 - 15.0) + 10.0)
    left = tl.load(gradients_ptr + cell)
    right = tl.load(gradients_ptr + ((cell + 1) & 255))
    return (1.0 - s) * (left * t) + s * (right * (t - 1.0))


@triton.jit
def _pack(x, y):
    """Vertex words: truncated toward zero, clamped to int16."""
    x = tl.minimum(tl.maximum(x, -32768.0), 32767.0).to(tl.int32)
    y = tl.minimum(tl.maximum(y, -32768.0), 32767.0).to(tl.int32)
    return (x & 0xFFFF) | (y << 16)


@triton.jit
def _draw_greys(ints_ptr, greys_ptr, num_lines, max_lines, key0, key1, GREY_STREAM: tl.constexpr, BLOCK: tl.constexpr):
    low = tl.load(ints_ptr + SEQUENCE_LOW)
    high = tl.load(ints_ptr + SEQUENCE_HIGH) | (GREY_STREAM << 24)
    levels = tl.load(ints_ptr + GREY_LEVELS).to(tl.uint32)
    first = 0
    while first < num_lines:
        line = first + tl.arange(0, BLOCK)
        word_0, word_1, word_2, word_3 = philox4x32(line >> 2, 0, low, high, key0, key1)
        even = tl.where((line & 2) == 0, word_0, word_2)
        odd = tl.where((line & 2) == 0, word_1, word_3)
        word = tl.where((line & 1) == 0, even, odd)
        grey = tl.minimum(tl.umulhi(word, word * 0 + levels).to(tl.int32), 255)
        tl.store(greys_ptr + line, grey.to(tl.uint8), mask=line < max_lines)
        first += BLOCK


@kernel(do_not_specialize=["key0", "key1"])
def vertices(
    ints_ptr,
    reals_ptr,
    angles_ptr,
    gradients_ptr,
    vertices_ptr,
    greys_ptr,
    key0,
    key1,
    max_lines,
    max_vertices,
    NOISE_STREAM: tl.constexpr,
    GREY_STREAM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Fill vertex words [B, max_lines, max_vertices] and greys; a program is (image, block of vertices)."""
    image = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    ints_ptr += image * WORDS
    reals_ptr += image * WORDS
    num_vertices = tl.minimum(tl.load(ints_ptr + VERTICES), max_vertices)
    num_lines = tl.minimum(tl.load(ints_ptr + LINES), max_lines)
    if block * BLOCK >= num_vertices:
        return
    if block == 0:
        _draw_greys(ints_ptr, greys_ptr + image * max_lines, num_lines, max_lines, key0, key1, GREY_STREAM, BLOCK)

    v = block * BLOCK + tl.arange(0, BLOCK)
    live = v < num_vertices
    angles_ptr += num_vertices * (num_vertices - 1)
    cosine = tl.load(angles_ptr + 2 * v, mask=live, other=0.0)
    sine = tl.load(angles_ptr + 2 * v + 1, mask=live, other=0.0)
    corner_1 = (tl.load(ints_ptr + WAVE_1) % num_vertices) * v % num_vertices
    corner_2 = (tl.load(ints_ptr + WAVE_2) % num_vertices) * v % num_vertices
    wave_1 = tl.load(angles_ptr + 2 * corner_1 + 1, mask=live, other=0.0)
    wave_2 = tl.load(angles_ptr + 2 * corner_2 + 1, mask=live, other=0.0)
    growth = tl.load(reals_ptr + STEP) + tl.load(reals_ptr + WAVE) * (wave_1 + wave_2)
    # The noise is 0.4 * (...); the factor is taken once an image.
    amount = tl.load(reals_ptr + NOISE) * 0.4
    x = tl.load(reals_ptr + CENTER_X) + cosine * tl.load(reals_ptr + RADIUS_X)
    y = tl.load(reals_ptr + CENTER_Y) + sine * tl.load(reals_ptr + RADIUS_Y)
    cosine *= 1.0 + tl.load(reals_ptr + MAGNIFY_X)
    sine *= 1.0 + tl.load(reals_ptr + MAGNIFY_Y)
    low = tl.load(ints_ptr + SEQUENCE_LOW)
    high = tl.load(ints_ptr + SEQUENCE_HIGH) | (NOISE_STREAM << 24)

    row_ptr = vertices_ptr + image * max_lines * max_vertices
    line = 0
    while line < num_lines:
        word_0, word_1, word_2, word_3 = philox4x32(line >> 1, v, low, high, key0, key1)
        x += cosine * (growth - amount * _noise(word_0, gradients_ptr))
        y += sine * (growth - amount * _noise(word_1, gradients_ptr))
        tl.store(row_ptr + v, _pack(x, y), mask=live)
        x += cosine * (growth - amount * _noise(word_2, gradients_ptr))
        y += sine * (growth - amount * _noise(word_3, gradients_ptr))
        # max_lines is even, so a row follows even after an odd last line.
        tl.store(row_ptr + max_vertices + v, _pack(x, y), mask=live)
        row_ptr += 2 * max_vertices
        line += 2


@triton.jit
def draw_polygon(vertices_ptr, num_vertices, canvas_ptr, size, value, BLOCK: tl.constexpr):
    """Draw the sides of a closed polygon into a canvas [size, size] where the larger value wins; a lane one side.

    Pillow's rule: from the start, n pixels along the longer axis (n the difference there, at least 1), the error
    deciding when to step along the other. A side leaves its last pixel to the next one.
    """
    block = 0
    while block < num_vertices:
        v = block + tl.arange(0, BLOCK)
        live = v < num_vertices
        start = tl.load(vertices_ptr + v, mask=live, other=0)
        end = tl.load(vertices_ptr + tl.where(v + 1 < num_vertices, v + 1, 0), mask=live, other=0)
        x0, y0 = (start << 16) >> 16, start >> 16
        x1, y1 = (end << 16) >> 16, end >> 16
        # A bounding box beyond an edge shows in the sign bit.
        beyond = (x0 & x1) | (y0 & y1) | ((size - 1 - x0) & (size - 1 - x1)) | ((size - 1 - y0) & (size - 1 - y1))
        dx, dy = tl.abs(x1 - x0), tl.abs(y1 - y0)
        step_x, step_y = tl.where(x1 > x0, 1, -1), tl.where(y1 > y0, 1, -1)
        steep = dy >= dx
        n, m = tl.where(steep, dy, dx), tl.where(steep, dx, dy)
        length = tl.maximum(n, 1)
        # Distance along the longer axis from the edge where the side comes from: the pixels before it are skipped.
        from_x, from_y = tl.where(x1 > x0, x0, size - 1 - x0), tl.where(y1 > y0, y0, size - 1 - y0)
        distance = tl.where(steep, from_y, from_x)
        first = tl.maximum(-distance, 0)
        stop = tl.minimum(length, size - distance)
        left = tl.where(live & (beyond >= 0), stop - first, 0)
        # After i pixels, floor(i * m / n + 1/2) steps were made across; i * m needs all 32 bits.
        product = m.to(tl.uint32) * first.to(tl.uint32)
        quotient = product // length.to(tl.uint32)
        remainder = (product - quotient * length.to(tl.uint32)).to(tl.int32)
        up = (2 * remainder >= length).to(tl.int32)
        risen = quotient.to(tl.int32) + up
        error = 2 * (remainder + m - n * up) - n
        x = x0 + tl.where(steep, risen, first) * step_x
        y = y0 + tl.where(steep, first, risen) * step_y
        along_x, along_y = tl.where(steep, 0, step_x), tl.where(steep, step_y, 0)
        across_x, across_y = tl.where(steep, step_x, 0), tl.where(steep, 0, step_y)

        longest = tl.max(left, axis=0)
        while longest > 0:
            inside = (left > 0) & ((x | y | (size - 1 - x) | (size - 1 - y)) >= 0)
            tl.atomic_max(canvas_ptr + y * size + x, value, mask=inside, sem="relaxed")
            crossing = error >= 0
            x += along_x + tl.where(crossing, across_x, 0)
            y += along_y + tl.where(crossing, across_y, 0)
            error += 2 * m - tl.where(crossing, 2 * n, 0)
            left -= 1
            longest -= 1
        block += BLOCK


@kernel
def raster(
    ints_ptr,
    vertices_ptr,
    greys_ptr,
    canvas_ptr,
    max_lines,
    max_vertices,
    size,
    CONTOURS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Draw polygons into the canvas; a program is (record, line), and CONTOURS records in a row share a canvas."""
    record = tl.program_id(0).to(tl.int64)
    line = tl.program_id(1)
    ints_ptr += record * WORDS
    num_vertices = tl.minimum(tl.load(ints_ptr + VERTICES), max_vertices)
    if line >= tl.load(ints_ptr + LINES):
        return
    vertices_ptr += (record * max_lines + line) * max_vertices
    order = (record % CONTOURS).to(tl.int32) * max_lines + line + 1
    value = (order << 8) | tl.load(greys_ptr + record * max_lines + line).to(tl.int32)
    draw_polygon(vertices_ptr, num_vertices, canvas_ptr + record // CONTOURS * size * size, size, value, BLOCK)


@kernel
def resolve(canvas_ptr, planes_ptr, pixels, background, BLOCK: tl.constexpr):
    """Write planes uint8 [pixels] from the canvas int32 [pixels], 0 there meaning background; leave the canvas 0."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = offset < pixels
    value = tl.load(canvas_ptr + offset, mask=live, other=0)
    tl.store(planes_ptr + offset, tl.where(value == 0, background, value & 255).to(tl.uint8), mask=live)
    tl.store(canvas_ptr + offset, tl.zeros_like(value), mask=live)


@kernel
def resolve_scene(
    canvas_ptr,
    ints_ptr,
    planes_ptr,
    masks_ptr,
    pixels,
    max_lines,
    background,
    CONTOURS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """As ``resolve``, for pictures of so many ``pixels``, and masks of the category of the line that a pixel shows."""
    image = tl.program_id(0).to(tl.int64)
    offset = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    live = offset < pixels
    canvas_ptr += image * pixels
    value = tl.load(canvas_ptr + offset, mask=live, other=0)
    drawn = value != 0
    contour = tl.where(drawn, (value >> 8) - 1, 0) // max_lines
    category = tl.load(ints_ptr + (image * CONTOURS + contour) * WORDS + CATEGORY, mask=live & drawn, other=0)
    plane = tl.where(drawn, value & 255, background)
    tl.store(planes_ptr + image * pixels + offset, plane.to(tl.uint8), mask=live)
    tl.store(masks_ptr + image * pixels + offset, category.to(tl.uint8), mask=live)
    tl.store(canvas_ptr + offset, tl.zeros_like(value), mask=live)


_RECORDS = {"ints_ptr": "*i32", "reals_ptr": "*fp32"}

SIGNATURES = {
    "vertices": (
        {
            **_RECORDS,
            "angles_ptr": "*fp32",
            "gradients_ptr": "*fp32",
            "vertices_ptr": "*i32",
            "greys_ptr": "*u8",
            "key0": "i32",
            "key1": "i32",
            "max_lines": "i32",
            "max_vertices": "i32",
            "NOISE_STREAM": "constexpr",
            "GREY_STREAM": "constexpr",
            "BLOCK": "constexpr",
        },
        {"NOISE_STREAM": 3, "GREY_STREAM": 4, "BLOCK": 32},
    ),
    "raster": (
        {
            "ints_ptr": "*i32",
            "vertices_ptr": "*i32",
            "greys_ptr": "*u8",
            "canvas_ptr": "*i32",
            "max_lines": "i32",
            "max_vertices": "i32",
            "size": "i32",
            "CONTOURS": "constexpr",
            "BLOCK": "constexpr",
        },
        {"CONTOURS": 32, "BLOCK": 32},
    ),
    "resolve": (
        {"canvas_ptr": "*i32", "planes_ptr": "*u8", "pixels": "i32", "background": "i32", "BLOCK": "constexpr"},
        {"BLOCK": 1024},
    ),
    "resolve_scene": (
        {
            "canvas_ptr": "*i32",
            "ints_ptr": "*i32",
            "planes_ptr": "*u8",
            "masks_ptr": "*u8",
            "pixels": "i32",
            "max_lines": "i32",
            "background": "i32",
            "CONTOURS": "constexpr",
            "BLOCK": "constexpr",
        },
        {"CONTOURS": 32, "BLOCK": 1024},
    ),
}
"""Kernel name -> (argument types, constexpr values), for compiling without a device."""
