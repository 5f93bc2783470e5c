"""Presentations by Pillow and timm, one picture at a time; affine maps also in float32; erasing in NumPy."""

from statistics import NormalDist

import numpy as np
from PIL import Image
from timm.data import auto_augment

from fdsl_gpu import philox
from fdsl_gpu.augment import OPERATIONS

BY_LEVEL = {"Posterize": auto_augment.posterize, "Solarize": auto_augment.solarize}
BY_FACTOR = {
    "Color": auto_augment.color,
    "Contrast": auto_augment.contrast,
    "Brightness": auto_augment.brightness,
    "Sharpness": auto_augment.sharpness,
}
PLAIN = {
    "AutoContrast": auto_augment.auto_contrast,
    "Equalize": auto_augment.equalize,
    "Invert": auto_augment.invert,
}
RESAMPLING = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


def picture(planes):
    """An RGB picture of uint8 [1 or 3, H, W]."""
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(planes, (3, *planes.shape[1:])).transpose(1, 2, 0)))


def crop(image, record, size):
    left, top = int(record["left"]), int(record["top"])
    image = image.crop((left, top, left + int(record["width"]), top + int(record["height"])))
    image = image.resize((size, size), RESAMPLING[record["bicubic"]])
    for bit, method in ((1, Image.Transpose.FLIP_LEFT_RIGHT), (2, Image.Transpose.FLIP_TOP_BOTTOM)):
        if record["flips"] & bit:
            image = image.transpose(method)
    return image


def operate(image, operation, fill, pillow_affine=True):
    """One operation of a record on an RGB picture."""
    if operation["kind"] == 0:
        return image
    name = OPERATIONS[operation["kind"] - 1]
    if name in PLAIN:
        return PLAIN[name](image)
    if name == "Posterize" and operation["level"] == 0:
        # Pillow's older versions keep no bit; newer ones refuse.
        return image.point([0] * 768)
    if name in BY_LEVEL:
        return BY_LEVEL[name](image, int(operation["level"]))
    if name == "SolarizeAdd":
        return auto_augment.solarize_add(image, int(operation["level"]))
    if name in BY_FACTOR:
        return BY_FACTOR[name](image, float(operation["factor"]))
    if pillow_affine:
        matrix = [float(number) for number in operation["matrix"]]
        resampling = RESAMPLING[operation["bicubic"]]
        return image.transform(image.size, Image.Transform.AFFINE, matrix, resampling, fillcolor=tuple(fill))
    return affine(image, operation, fill)


def _cubic(v1, v2, v3, v4, d):
    p2 = v3 - v1
    p3 = np.float32(2) * (v1 - v2) + v3 - v4
    p4 = v2 - v1 - v3 + v4
    return v2 + d * (p2 + d * (p3 + d * p4))


def affine(image, operation, fill):
    """Pillow's bilinear or bicubic ``transform``, in float32."""
    pixels = np.asarray(image).astype(np.float32)
    size = pixels.shape[0]
    a, b, c, d, e, f = operation["matrix"]
    center = np.arange(size, dtype=np.float32) + np.float32(0.5)
    x, y = center[None, :], center[:, None]
    u, v = a * x + b * y + c, d * x + e * y + f
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size)
    u, v = u - np.float32(0.5), v - np.float32(0.5)
    left, top = np.floor(u), np.floor(v)
    dx, dy = (u - left)[..., None], (v - top)[..., None]

    def tap(row, column):
        rows = (top + row).clip(0, size - 1).astype(int)
        columns = (left + column).clip(0, size - 1).astype(int)
        return pixels[rows, columns]

    if operation["bicubic"]:
        lines = [_cubic(*(tap(row, column) for column in (-1, 0, 1, 2)), dx) for row in (-1, 0, 1, 2)]
        value = _cubic(*lines, dy).clip(0, 255)
    else:
        above, below = (tap(row, 0) + (tap(row, 1) - tap(row, 0)) * dx for row in (0, 1))
        value = above + (below - above) * dy
    with np.errstate(invalid="ignore"):
        return Image.fromarray(np.where(inside[..., None], value.astype(np.uint8), np.uint8(fill)))


def present(planes, record, size, fill, pillow_affine=True):
    """uint8 [3, size, size]: crop, flips and operations of planes [1 or 3, S, S]."""
    image = crop(picture(planes), record, size)
    for operation in record["operations"]:
        image = operate(image, operation, fill, pillow_affine)
    return np.asarray(image).transpose(2, 0, 1)


def normal(half):
    """The normal number of 16 random bits."""
    return np.float32(NormalDist().inv_cdf((half + 0.5) / 65536))


def noise(record, key, channel, number):
    """The normal number of a pixel, or of a rectangle, in a channel."""
    c1 = channel + (int(record["view"]) << 8)
    c3 = philox.ERASE << 24 | int(record["noise_high"])
    words = philox.philox4x32((number >> 3, c1, int(record["noise_low"]), c3), key)
    word = int(words[(number & 7) >> 1])
    return normal(word >> 16 if number & 1 else word & 0xFFFF)


def erase(image, record, key, mode):
    """Erase rectangles of a float image [C, W, W] in place."""
    size = image.shape[1]
    for e in range(record["num_erasures"]):
        top, left, height, width = (int(number) for number in record["erasures"][e])
        for c in range(image.shape[0]):
            color = noise(record, key, c, e)
            for y in range(top, top + height):
                for x in range(left, left + width):
                    image[c, y, x] = {"const": 0.0, "rand": color}.get(mode)
                    if mode == "pixel":
                        image[c, y, x] = noise(record, key, c, y * size + x)
