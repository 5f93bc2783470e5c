"""Images per second of drawing, on one CPU core or a GPU, beside a loader of stored JPEG files in the same run.

    python -m bench.generate                      # one CPU core, 224 px
    python -m bench.generate --image-sizes 112 224 448 --batches 64 256 --modes canvas vector augmented
    python -m bench.generate --device cuda --json bench/results/generate.json

``bench.stages`` says where the time goes, ``bench.scaling`` how it grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bench.common import FORMATS, parser, print_table, save, side_by_side, synchronise
from fdsl_gpu import FDSLDataset, list_datasets, registry
from fdsl_gpu.vector import PRIMITIVES as VECTOR_PRIMITIVES

DATASETS = [
    "rcdb-1k",
    "visualatom-1k",
    "segrcdb",
    "exfractaldb-1k",
    "fractaldb-1k",
    "2d-ofdb-1k",
    "1p-frac",
    "anderson-farrell-1k",
    "anderson-farrell-multi-1k",
]
"""One of each formula; the sets that only number these pictures in another way are left out."""

MODES: dict[str, dict[str, Any]] = {"canvas": {}, "vector": {"mode": "vector"}, "augmented": {"augment": "fdsl"}}
"""Options of a dataset: as published; drawn at the image size; with the recipe of the CVPR 2022 paper."""

STORED = "stored JPEG float32"


def stream_call(
    dataset: Any, batch: int, image_size: int, device: str, dtype: str = "float32", **options: Any
) -> Callable[[], None]:
    """A call that takes the next batch of a stream and waits until it is drawn."""
    stream = iter(FDSLDataset(dataset, batch, image_size, device, **FORMATS[dtype], **options))

    def call() -> None:
        next(stream)
        synchronise(device)

    return call


def allows(name: str, mode: str) -> bool:
    """Whether a dataset can be drawn in a mode: backgrounds have no vectors, and masks would have to move along."""
    formula = registry.formula(name)
    if mode == "vector":
        return formula.PRIMITIVE in VECTOR_PRIMITIVES
    return mode == "canvas" or formula.TARGET != "mask"


def measure(
    names: Sequence[str],
    dtypes: Sequence[str],
    batch: int,
    image_size: int,
    device: str,
    rounds: int,
    modes: Sequence[str] = ("canvas",),
) -> dict[str, Any]:
    """Rates of every dataset, dtype and mode; on the CPU also of the stored-JPEG loader, in the same rounds."""
    contenders: dict[str, tuple[int, Callable[[], Any]]] = {}
    for name, dtype, mode in itertools.product(names, dtypes, modes):
        label = f"{name} {dtype}" if mode == "canvas" else f"{name} {dtype}, {mode}"
        if allows(name, mode):
            contenders[label] = (batch, stream_call(name, batch, image_size, device, dtype, **MODES[mode]))
    if "fractaldb-1k" in names and "canvas" in modes:
        fewer = stream_call("fractaldb-1k", batch, image_size, device, dtypes[0], points=100_000)
        contenders[f"fractaldb-1k {dtypes[0]}, 100k points"] = (batch, fewer)
    if device != "cpu":
        return side_by_side(contenders, rounds)
    from bench.stored_images import StoredImages

    with StoredImages() as stored:
        print(f"stored JPEG files of {stored.mean_bytes / 1000:.1f} kB on average")
        contenders[STORED] = (stored.count, stored.reader(image_size))
        return side_by_side(contenders, rounds)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=DATASETS, choices=list_datasets())
    options.add_argument("--dtypes", nargs="*", default=["uint8", "float32"], choices=list(FORMATS))
    options.add_argument("--modes", nargs="*", default=["canvas"], choices=list(MODES))
    options.add_argument("--batches", nargs="*", type=int, default=[256])
    options.add_argument("--image-sizes", nargs="*", type=int, default=[224])
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=9)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    shapes = list(itertools.product(arguments.image_sizes, arguments.batches))
    results: dict[str, Any] = {}
    for size, batch in shapes:
        rows = measure(
            arguments.datasets,
            arguments.dtypes,
            batch,
            size,
            arguments.device,
            arguments.rounds,
            arguments.modes,
        )
        if len(shapes) > 1:
            print(f"{size} px, batches of {batch}")
        print_table(rows, STORED if arguments.device == "cpu" else None)
        suffix = f", {size} px, batch {batch}" if len(shapes) > 1 else ""
        results |= {f"{name}{suffix}": {**row, "image_size": size, "batch": batch} for name, row in rows.items()}
    save(arguments, results)


if __name__ == "__main__":
    main()
