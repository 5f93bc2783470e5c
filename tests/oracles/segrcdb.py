"""SegRCDB in Pillow: pictures and label masks from given vertices and grey levels, as the specification words it.

A contour is (vertices [K, V, 2], greys [K], category).
"""

import numpy as np
from PIL import Image, ImageDraw


def closed(polygon) -> list[tuple[int, int]]:
    points = [tuple(point) for point in np.asarray(polygon).tolist()]
    return [*points, points[0]]


def draw(contours, size: int, background: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask, uint8 [S, S] each; mode is "M1", "M2" or "M3"."""
    picture, mask = Image.new("L", (size, size), background), Image.new("L", (size, size), 0)
    pen, label_pen = ImageDraw.Draw(picture), ImageDraw.Draw(mask)
    for vertices, greys, category in contours:
        first, last = vertices[0], vertices[-1]
        for polygon, grey in zip(vertices, greys, strict=True):
            pen.line(closed(polygon), fill=int(grey))
            if mode == "M1":
                label_pen.line(closed(polygon), fill=category)
        if mode == "M2" and len(vertices) > 1:
            fill(label_pen, last, category)
            fill(label_pen, first, 0)
            label_pen.line(closed(last), fill=category)
            label_pen.line(closed(first), fill=category)
        if mode == "M3":
            fill(label_pen, last, category)
    return np.asarray(picture), np.asarray(mask)


def fill(pen: ImageDraw.ImageDraw, polygon, value: int) -> None:
    pen.polygon([tuple(point) for point in np.asarray(polygon).tolist()], fill=value)


def filled(polygon, size: int) -> np.ndarray:
    """One filled polygon [V, 2]: uint8 [S, S], 255 on 0."""
    image = Image.new("L", (size, size), 0)
    fill(ImageDraw.Draw(image), polygon, 255)
    return np.asarray(image)
