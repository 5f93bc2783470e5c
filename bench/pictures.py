"""Statistics of pictures beside those of the released generators: ``python -m bench.pictures --json FILE``.

For each generator of which a sample was measured: the share of pixels that differ from the background, its spread and
quantiles, the mean grey and the share of the picture that the drawing's bounding box covers. Both sides are samples, so
a difference is judged in standard errors: ours and theirs, from our spread and the number of independent pictures of
each. ``tests/test_statistics.py`` asserts that none differs by more than three, except where ``remark`` says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fdsl_gpu
from bench.common import parser, save
from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.anderson_farrell import AndersonFarrell
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.fractaldb import FractalDB
from fdsl_gpu.formulas.ofdb import OFDB2D
from fdsl_gpu.formulas.one_parameter import OneParameterFrac
from fdsl_gpu.formulas.rcdb import RCDB
from fdsl_gpu.formulas.segrcdb import SegRCDB
from fdsl_gpu.formulas.visualatom import VisualAtom

_HEADING = """# Statistics of the pictures

Ours / the released generator's own (difference in standard errors of both samples), from up to {pictures} pictures of
ours. Made by `python -m bench.pictures`, which says what is counted; the tests assert differences below three
standard errors on samples of 600, except for those that a remark explains.
"""

Contents = tuple[NDArray[np.int64], NDArray[np.int64]]
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Generator:
    """A released generator whose pictures were measured, and ours.

    Attributes:
        published: means of fill, intensity and box; ``sd`` and three ``quantiles`` of the fill.
        draw: labels and instances of so many pictures of ours.
        count: pictures of the published sample.
        group: pictures in a row that are alike, and count as one where errors are estimated.
        foreground: what to change in the formula so that it shows what is filled and nothing else.
        background: grey of what is not filled.
        vary: an option that takes the number of the group, for samples over several configurations.
        expected: statistics that are expected to differ, and are not asserted.
        remark: why.
    """

    name: str
    formula: Formula
    published: dict[str, Any]
    count: int
    draw: Callable[[int], Contents]
    group: int = 1
    foreground: dict[str, Any] | None = None
    background: int = 0
    vary: str | None = None
    expected: tuple[str, ...] = ()
    remark: str = ""


def _classes(count: int) -> Contents:
    """One picture of each of so many classes."""
    return np.arange(count), np.ones(count, np.int64)


def _thousand_classes(count: int) -> Contents:
    """Pictures of each of 1,000 classes in turn."""
    return np.arange(count) % 1000, np.arange(count) // 1000 + 1


def _only_pictures(count: int) -> Contents:
    """The one picture of each of 1,000 classes."""
    return np.arange(min(count, 1000)), np.zeros(min(count, 1000), np.int64)


def _four_classes(count: int) -> Contents:
    return np.arange(count) % 4, np.zeros(count, np.int64)


def _scenes(count: int) -> Contents:
    """Pictures without a label."""
    return np.zeros(count, np.int64), np.arange(count)


def _published_weights(count: int) -> Contents:
    """Classes of the 1k set under each of the 25 weight rows in turn."""
    number = np.arange(count)
    return number % 1000, (number * 7 % 25) * 40


def _ring(count: int) -> Contents:
    """Twelve views of one cloud of each class in turn, each class under a weight row of its own."""
    clouds, view = np.divmod(np.arange(count), 12)
    return clouds % 1000, (clouds * 11 % 145) * 12 + view


def _row(
    fill: float, sd: float, quantiles: tuple[float, float, float], intensity: float | None, box: float
) -> dict[str, Any]:
    return {"fill": fill, "sd": sd, "quantiles": quantiles, "intensity": intensity, "box": box}


# Of the 3x3 cells of a patch.
_CENTER = 0b000010000


class _WholeFractals(AndersonFarrell):
    """Systems as they are, in the box of their points and without patches: the released renderer by itself."""

    def draw(self, *content: Any) -> np.ndarray:
        records = super().draw(*content)
        records["fractals"]["shift"], records["fractals"]["stretch"] = 0.0, 1.0
        records["fractals"]["patch"] = _CENTER
        return records


GENERATORS = [
    Generator(
        "RCDB 512, white background",
        RCDB(num_classes=21_000),
        _row(0.205, 0.133, (0.027, 0.206, 0.388), 0.898, 0.609),
        400,
        _classes,
        background=255,
    ),
    Generator(
        "VisualAtom 512, script values",
        VisualAtom(num_classes=21_000),
        _row(0.341, 0.239, (0.038, 0.318, 0.677), 0.173, 0.660),
        130,
        _classes,
        remark="the published sample drew 12 % more segments than its law says",
    ),
    Generator(
        "VisualAtom 512, argparse defaults",
        VisualAtom(num_classes=21_000, parameters="argparse"),
        _row(0.466, 0.218, (0.122, 0.496, 0.722), 0.237, 0.825),
        130,
        _classes,
    ),
    Generator(
        "FractalDB point 362, 200k",
        FractalDB(rendering="point"),
        _row(0.233, 0.161, (0.009, 0.246, 0.430), 0.116, 0.932),
        120,
        _published_weights,
        expected=("box", "sd", "p10"),
        remark="the published sample shows divergent weight rows, which are replaced here",
    ),
    Generator(
        "FractalDB patch 362, 200k",
        FractalDB(),
        _row(0.159, 0.100, (0.014, 0.169, 0.277), 0.079, 0.942),
        120,
        _published_weights,
        expected=("box", "sd", "p10"),
        remark="the published sample shows divergent weight rows, which are replaced here",
    ),
    Generator(
        "ExFractalDB released settings, 224, 12 views",
        ExFractalDB(viewpoint="ring"),
        _row(0.028, 0.021, (0.005, 0.023, 0.063), 0.028, 0.252),
        492,
        _ring,
        group=12,
        expected=("fill", "intensity"),
        remark="another published figure for the fill, of unweighted systems, is .042, and ours of those is .041",
    ),
    Generator(
        "OFDB patch 512, 100k (weights 1)",
        OFDB2D(weight_row="identity", canvas_size=512, points=100_000),
        _row(0.220, 0.035, (0.183, 0.213, 0.279), 0.110, 0.964),
        120,
        _only_pictures,
    ),
    Generator(
        "1p-frac 512, sigma 4.0, delta 0.1",
        OneParameterFrac(sigma=4.0, num_classes=4),
        _row(0.153, 0.075, (0.065, 0.143, 0.266), 0.076, 0.964),
        120,
        _four_classes,
        group=4,
        vary="base",
    ),
    Generator(
        "SegRCDB M1 512, labelled pixels",
        SegRCDB(),
        {"fill": 0.70},
        100,
        _scenes,
        expected=("fill",),
        remark="254 classes are drawn once; ours have 85.4k segments a picture, the published ones 80.6k",
    ),
    Generator(
        "Anderson-Farrell gray 256",
        _WholeFractals(color=False, background=False, blur=False, jitter=None, canvas_size=256),
        _row(0.194, 0.125, (0.069, 0.157, 0.396), None, 0.999),
        400,
        _thousand_classes,
    ),
    Generator(
        "Anderson-Farrell single instance 224",
        AndersonFarrell(),
        _row(0.173, 0.116, (0.063, 0.137, 0.331), 0.490, 0.576),
        400,
        _thousand_classes,
        foreground={"background": False, "blur": False},
    ),
]


def boxes(foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each picture [B, S, S] that its foreground's bounding box covers; 0 for an empty one."""
    size = foreground.shape[1]
    shares = []
    for picture in foreground:
        rows, columns = (np.flatnonzero(picture.any(axis=axis)) for axis in (1, 0))
        empty = not rows.size
        shares.append(0 if empty else (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / size**2)
    return np.array(shares)


def measure(generator: Generator, count: int, chunk: int = 48) -> dict[str, NDArray[np.float64]]:
    """Fill, intensity and box of so many pictures, each float64 [count]."""
    columns: dict[str, list[NDArray[np.float64]]] = {"fill": [], "intensity": [], "box": []}
    labels, instances = generator.draw(count)
    chunk = generator.group if generator.vary else chunk
    for start in range(0, len(labels), chunk):
        content = labels[start : start + chunk], instances[start : start + chunk]
        formula = generator.formula
        if generator.vary:
            formula = dataclasses.replace(formula, **{generator.vary: start // chunk})
        pictures = shapes = _pictures(formula, content)
        if generator.foreground is not None:
            shapes = _pictures(dataclasses.replace(formula, **generator.foreground), content)
        foreground = (shapes != generator.background).any(axis=1)
        columns["fill"].append(foreground.mean(axis=(1, 2)))
        columns["intensity"].append(pictures.mean(axis=(1, 2, 3)) / 255)
        columns["box"].append(boxes(foreground))
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _pictures(formula: Formula, content: Contents) -> NDArray[np.uint8]:
    """Pictures uint8 [B, P, S, S] on their native canvas."""
    size, channels = formula.canvas_size, formula.planes
    drawn = fdsl_gpu.render(formula, *content, image_size=size, channels=channels, device="cpu")
    # Of pictures with label masks, the mask.
    return drawn[1][:, None].numpy() if isinstance(drawn, tuple) else drawn.numpy()


def compare(generator: Generator, values: dict[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Ours, theirs, and the difference in standard errors, of each statistic."""
    groups = {name: column.reshape(-1, generator.group).mean(axis=1) for name, column in values.items()}
    both = np.sqrt(generator.group / generator.count + 1 / len(groups["fill"]))
    rows = {}
    for name in ("fill", "intensity", "box"):
        if generator.published.get(name) is None:
            continue
        rows[name] = _row_of(values[name].mean(), generator.published[name], groups[name].std() * both)
    if "sd" not in generator.published:
        return rows
    fill = values["fill"]
    # The error of a standard deviation, from the fourth moment.
    kurtosis = ((fill - fill.mean()) ** 4).mean() / fill.var() ** 2
    rows["sd"] = _row_of(fill.std(), generator.published["sd"], fill.std() * np.sqrt((kurtosis - 1) / 4) * both)
    for quantile, theirs in zip(QUANTILES, generator.published["quantiles"], strict=True):
        # Judged by the share of ours below theirs.
        error = np.sqrt(quantile * (1 - quantile)) * both
        ours = float(np.quantile(fill, quantile))
        rows[f"p{100 * quantile:.0f}"] = {
            "ours": ours,
            "released": theirs,
            "errors": float(((fill < theirs).mean() - quantile) / error),
        }
    return rows


def _row_of(ours: float, theirs: float, error: float) -> dict[str, float]:
    # Published figures have three digits.
    error = float(np.hypot(error, 0.0005 / np.sqrt(3)))
    return {"ours": float(ours), "released": theirs, "errors": float((ours - theirs) / error)}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: ours / released (difference in standard errors)."""
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    lines = ["| generator | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for generator, rows in results.items():
        cells = [_cell(rows[name]) if name in rows else "" for name in names]
        lines.append("| " + " | ".join([generator, *cells]) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, float]) -> str:
    return f"{row['ours']:.3f} / {row['released']:.3f} ({row['errors']:+.1f})"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pictures", type=int, default=3000, help="of each generator (default: %(default)s)")
    arguments = options.parse_args()
    results = {one.name: compare(one, measure(one, arguments.pictures)) for one in GENERATORS}
    remarks = [f"* {one.name}: {one.remark}." for one in GENERATORS if one.remark]
    text = "\n".join([_HEADING.format(pictures=arguments.pictures), table(results), "", *remarks, ""])
    print(text)
    if arguments.json:
        with replacing(Path(arguments.json).with_suffix(".md")) as temporary:
            temporary.write_text(text)
        save(arguments, results)


if __name__ == "__main__":
    main()
