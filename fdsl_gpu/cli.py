"""The command line: ``python -m fdsl_gpu list | preview | gallery | search | bench``."""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdsl_gpu import registry
from fdsl_gpu.class_tables.table import EXFRACTALDB, FRACTALDB

_SEARCHED = {"exfractaldb": EXFRACTALDB, "fractaldb": FRACTALDB}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors are one line on standard error."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"fdsl_gpu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fdsl_gpu: stopped; no file was left half-written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fdsl_gpu", description="Labelled images drawn by formula.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the datasets, with classes, canvas and source")
    listing.add_argument("filter", nargs="?", default="", help="part of a name, or a pattern such as '*-1k'")
    listing.set_defaults(run=_list)

    preview = commands.add_parser("preview", help="draw a contact sheet: rows are classes, columns instances")
    preview.add_argument("dataset")
    preview.add_argument("--out", default="sheet.png", help="PNG file to write (default: %(default)s)")
    for name, default in {"rows": 8, "columns": 8, "first-class": 0, "first-instance": 0}.items():
        preview.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    preview.add_argument("--image-size", type=int, default=128, help="pixels a picture (default: %(default)s)")
    preview.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    preview.add_argument("--device", default="cpu", help="default: %(default)s")
    preview.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="formula option, e.g. background=black, weight_step=0.1, jitter=none",
    )
    preview.add_argument("--augment", metavar="RECIPE", help="show presentations of one instance: fdsl, ofdb, ...")
    preview.set_defaults(run=_preview)

    gallery = commands.add_parser("gallery", help="draw a row of pictures of each dataset")
    gallery.add_argument("datasets", nargs="*", help="default: one of each formula")
    gallery.add_argument("--out", default="gallery.png", help="PNG file to write (default: %(default)s)")
    gallery.add_argument("--columns", type=int, default=6, help="default: %(default)s")
    gallery.add_argument("--image-size", type=int, default=128, help="pixels a picture (default: %(default)s)")
    gallery.add_argument("--device", default="cpu", help="default: %(default)s")
    gallery.set_defaults(run=_gallery)

    search = commands.add_parser("search", help="search the classes of a fractal dataset and write them to a table")
    search.add_argument("formula", choices=sorted(_SEARCHED))
    search.add_argument("--num-classes", type=int, required=True)
    search.add_argument("--out", required=True, help="class table to write (.safetensors); continues if interrupted")
    search.add_argument("--threads", type=int, default=None, help="default: all cores")
    search.add_argument("--device", default="cpu", help="a GPU finds the same classes (default: %(default)s)")
    search.set_defaults(run=_search)

    bench = commands.add_parser("bench", help="measure this machine in about a minute, beside stored images")
    bench.add_argument("--device", default="cpu", help="default: %(default)s")
    bench.add_argument("--json", help="file to write the results to")
    bench.set_defaults(run=_bench)
    return parser


def _list(parsed: argparse.Namespace) -> None:
    for name in registry.list_datasets(parsed.filter):
        preset = registry.PRESETS[name]
        canvas = f"{preset.formula.canvas_size} px"
        print(f"{name:26} {preset.formula.num_classes:>6} classes  {canvas:>7}  {preset.provenance}")


def _preview(parsed: argparse.Namespace) -> None:
    from fdsl_gpu.preview import contact_sheet, save

    options = dict(_option(text) for text in parsed.option)
    names = ("rows", "columns", "first_class", "first_instance", "image_size", "seed", "device", "augment")
    sheet = contact_sheet(parsed.dataset, **{name: getattr(parsed, name) for name in names}, **options)
    save(sheet, parsed.out)
    print(f"wrote {parsed.out} ({sheet.width} x {sheet.height})")


def _gallery(parsed: argparse.Namespace) -> None:
    from fdsl_gpu.preview import gallery, save

    settings = {name: getattr(parsed, name) for name in ("columns", "image_size", "device")}
    sheet = gallery(parsed.datasets or None, **settings)
    save(sheet, parsed.out)
    print(f"wrote {parsed.out} ({sheet.width} x {sheet.height})")


def _search(parsed: argparse.Namespace) -> None:
    from fdsl_gpu.search import search_to_file

    formula = _SEARCHED[parsed.formula]
    search_to_file(parsed.out, parsed.num_classes, formula, num_threads=parsed.threads, device=parsed.device)
    print(f"wrote {parsed.out}")


def _bench(parsed: argparse.Namespace) -> None:
    root = Path(__file__).resolve().parent.parent
    if not (root / "bench" / "short.py").is_file():
        raise ImportError(
            f"bench: not found beside {root / 'fdsl_gpu'}; benchmarks are no part of the installed package. "
            "Clone the repository and run `python -m fdsl_gpu bench` in its folder."
        )
    # Before any other package of that name.
    sys.path.insert(0, str(root))
    importlib.import_module("bench.short").run(parsed.device, parsed.json)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option: received {text!r}; allowed: NAME=VALUE, such as background=black")
    return name.replace("-", "_"), _value(value)


def _value(text: str) -> Any:
    """The Python literal that a text writes, with true, false and none in any case; else the text."""
    plain = {"true": True, "false": False, "none": None}
    if text.lower() in plain:
        return plain[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
