"""Records in words of the papers: what is about to be drawn, as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fdsl_gpu import philox
from fdsl_gpu.alias import selection_probabilities
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.records import as_words
from fdsl_gpu.render.contours import Contours


def describe(formula: Formula, key: philox.Key, records: np.ndarray) -> list[dict[str, Any]]:
    """One dictionary a record; :func:`fdsl_gpu.geometry` says what is in it."""
    if formula.PRIMITIVE == "contours":
        pictures = _contours(formula, key, records)
    elif formula.PRIMITIVE == "contour_scenes":
        pictures = [{"contours": _contours(formula, key, record["contours"])} for record in records]
    elif formula.PRIMITIVE == "fractal_scenes":
        pictures = [
            {"fractals": [_system(fractal) for fractal in record["fractals"][: record["num_fractals"]]]}
            for record in records
        ]
    else:
        pictures = [_system(record) for record in records]
    settings = {name: value for name, value in formula.drawing().items() if name in ("background", "points")}
    return [{**picture, **settings, "canvas_size": formula.canvas_size} for picture in pictures]


def _contours(formula: Formula, key: philox.Key, records: np.ndarray) -> list[dict[str, Any]]:
    limits = {name: formula.drawing()[name] for name in ("max_vertices", "max_lines", "background")}
    contours = Contours(canvas_size=formula.canvas_size, device=torch.device("cpu"), backend="numba", **limits)
    vertices, greys = contours.vertices(torch.from_numpy(as_words(np.ascontiguousarray(records))), key)
    return [
        {
            "vertices": vertices[i, : record["lines"], : record["vertices"]].numpy().astype(np.int32),
            "grays": greys[i, : record["lines"]].numpy().copy(),
            "category": int(record["category"]),
        }
        for i, record in enumerate(records)
    ]


def _system(record: np.void) -> dict[str, Any]:
    """An iterated function system, and the camera if it is in space."""
    count = int(record["num_maps"])
    system = {
        "maps": record["maps"][:count].copy(),
        "probabilities": selection_probabilities(record["select"][:count]),
    }
    names = record.dtype.names or ()
    return {**system, "camera": record["camera"].copy()} if "camera" in names else system
