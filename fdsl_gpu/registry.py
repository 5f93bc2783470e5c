"""Preset names and the frozen configurations, with provenance, that they stand for."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fdsl_gpu import checks
from fdsl_gpu.formulas.anderson_farrell import AndersonFarrell, AndersonFarrellMulti
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.fractaldb import FractalDB
from fdsl_gpu.formulas.ofdb import OFDB2D, OFDB3D
from fdsl_gpu.formulas.one_parameter import OneParameterFrac
from fdsl_gpu.formulas.rcdb import RCDB
from fdsl_gpu.formulas.segrcdb import SegRCDB
from fdsl_gpu.formulas.visualatom import VisualAtom

_ACCV_2020 = "Kataoka et al., Pre-training without natural images, ACCV 2020"
_IROS_2021 = (
    "Yamada et al., MV-FractalDB: formula-driven supervised learning for multi-view image recognition, IROS 2021"
)
_CVPR_2022 = "Kataoka et al., Replacing labeled real-image datasets with auto-generated contours, CVPR 2022"
_WACV_2022 = "Anderson and Farrell, Improving fractal pre-training, WACV 2022"
_CVPR_2023 = "Takashima et al., Visual atoms: pre-training vision transformers with sinusoidal waves, CVPR 2023"
_ICCV_2023 = "Nakamura et al., Pre-training vision transformers with very limited synthesized images, ICCV 2023"
_ICCV_2023_SEG = "Shinoda et al., SegRCDB: semantic segmentation via formula-driven supervised learning, ICCV 2023"
_ECCV_2024 = "Nakamura et al., Scaling backwards: minimal synthetic pre-training?, ECCV 2024"


@dataclass(frozen=True)
class Preset:
    """A named configuration and where its settings come from."""

    formula: Formula
    provenance: str


PRESETS: dict[str, Preset] = {
    "1p-frac": Preset(OneParameterFrac(), _ECCV_2024),
    "1p-frac-21k": Preset(OneParameterFrac(num_classes=21_000), _ECCV_2024),
    "2d-ofdb-1k": Preset(OFDB2D(num_classes=1_000), _ICCV_2023),
    "2d-ofdb-21k": Preset(OFDB2D(num_classes=21_000), _ICCV_2023),
    "3d-ofdb-1k": Preset(OFDB3D(num_classes=1_000), _ICCV_2023),
    "3d-ofdb-21k": Preset(OFDB3D(num_classes=21_000), _ICCV_2023),
    "anderson-farrell-1k": Preset(AndersonFarrell(), _WACV_2022),
    "anderson-farrell-multi-1k": Preset(AndersonFarrellMulti(), _WACV_2022),
    "exfractaldb-1k": Preset(ExFractalDB(num_classes=1_000), _CVPR_2022),
    "exfractaldb-21k": Preset(ExFractalDB(num_classes=21_000), _CVPR_2022),
    "fractaldb-1k": Preset(FractalDB(num_classes=1_000), _ACCV_2020),
    "fractaldb-10k": Preset(FractalDB(num_classes=10_000), _ACCV_2020),
    "fractaldb-21k": Preset(FractalDB(num_classes=21_000), _ACCV_2020),
    "mv-fractaldb-1k": Preset(ExFractalDB(num_classes=1_000, viewpoint="ring"), _IROS_2021),
    "rcdb-1k": Preset(RCDB(num_classes=1_000), _CVPR_2022),
    "rcdb-21k": Preset(RCDB(num_classes=21_000), _CVPR_2022),
    "rcdb-50k": Preset(RCDB(num_classes=50_000), _CVPR_2022),
    "segrcdb": Preset(SegRCDB(), _ICCV_2023_SEG),
    "visualatom-1k": Preset(VisualAtom(num_classes=1_000), _CVPR_2023),
    "visualatom-21k": Preset(VisualAtom(num_classes=21_000), _CVPR_2023),
}


PASSED_ON = ("num_classes", "class_table")
"""Keywords of ``FDSLDataset`` that are options of formulas; None means the preset's own."""


def list_datasets(filter: str = "") -> list[str]:
    """Names that ``FDSLDataset`` and ``render`` know.

    Args:
        filter: keep names that contain this text, or match it if it has wildcards (``"*-1k"``).

    Example:
        >>> list_datasets("rcdb")
        ['rcdb-1k', 'rcdb-21k', 'rcdb-50k']
    """
    pattern = filter if any(sign in filter for sign in "*?[") else f"*{filter}*"
    return [name for name in sorted(PRESETS) if fnmatch.fnmatch(name, pattern)]


def formula(dataset: str | Formula, **options: Any) -> Formula:
    """The configuration behind a preset name (or a configuration itself), with options replaced; None keeps one.

    Raises:
        ValueError: unknown name or bad value. TypeError: an option that this formula does not have.
    """
    if isinstance(dataset, str):
        dataset = PRESETS[checks.choice("dataset", dataset.lower(), sorted(PRESETS))].formula
    elif not isinstance(dataset, Formula):
        raise TypeError(
            f"dataset: received {dataset!r} ({type(dataset).__name__}); allowed: a preset name or a Formula. "
            "fdsl_gpu.list_datasets() lists the names."
        )
    options = {name: value for name, value in options.items() if value is not None or name not in PASSED_ON}
    fields = {field.name for field in dataclasses.fields(dataset)}
    for name in options:
        if name not in fields:
            kind = type(dataset)
            raise TypeError(
                f"{name}: not an option of {dataset.NAME}; allowed: {', '.join(sorted(fields))}."
                f"{nearest(name, fields)} See help({kind.__module__}.{kind.__qualname__})."
            )
    limit = dataset.num_classes
    if options.get("num_classes") is not None and options.get("class_table") is None:
        remedy = f"Choose a larger preset, or pass {type(dataset).__name__}(num_classes=...) as the dataset."
        checks.integer("num_classes", options["num_classes"], 1, limit, remedy)
    return dataclasses.replace(dataset, **options)


def nearest(name: str, options: Iterable[str]) -> str:
    """What is probably meant by a name that is no option: a keyword of ``FDSLDataset``, or the nearest of all names."""
    # Not above: it imports this module.
    from fdsl_gpu.dataset import FDSLDataset

    keywords = inspect.signature(FDSLDataset).parameters.keys() - {"dataset", "options", *PASSED_ON}
    if name in keywords:
        return " It is a keyword of FDSLDataset."
    near = difflib.get_close_matches(name, [*options, *keywords], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
