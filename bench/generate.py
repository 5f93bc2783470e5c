"""Images per second of drawing, on one CPU core or a GPU, beside a loader of stored JPEG files in the same run.

python -m bench.generate                      # one CPU core, 224 px
python -m bench.generate --device cuda --json bench/results/generate.json
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.common import parser, print_table, save, side_by_side, synchronise
from fdsl_gpu import FDSLDataset, list_datasets

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

FORMATS: dict[str, dict[str, Any]] = {
    "uint8": {"dtype": torch.uint8},
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16},
}


def stream_call(
    name: str, dtype: str, batch: int, image_size: int, device: str, augment: str | None, **options: Any
) -> Callable[[], None]:
    """A call that takes the next batch of a stream and waits until it is drawn."""
    stream = iter(FDSLDataset(name, batch, image_size, device, augment=augment, **FORMATS[dtype], **options))

    def call() -> None:
        next(stream)
        synchronise(device)

    return call


def measure(
    names: list[str],
    dtypes: list[str],
    batch: int,
    image_size: int,
    device: str,
    rounds: int,
    augment: str | None = None,
) -> dict[str, Any]:
    """Rates of every dataset and dtype; on the CPU also of the stored-JPEG loader, in the same rounds."""
    contenders: dict[str, tuple[int, Callable[[], Any]]] = {
        f"{name} {dtype}": (batch, stream_call(name, dtype, batch, image_size, device, augment))
        for name in names
        for dtype in dtypes
    }
    if "fractaldb-1k" in names and augment is None:
        fewer = stream_call("fractaldb-1k", dtypes[0], batch, image_size, device, None, points=100_000)
        contenders[f"fractaldb-1k {dtypes[0]}, 100k points"] = (batch, fewer)
    if device != "cpu":
        return side_by_side(contenders, rounds)
    from bench.stored_images import StoredImages

    with StoredImages() as stored:
        print(f"stored JPEG files of {stored.mean_bytes / 1000:.1f} kB on average")
        contenders["stored JPEG float32"] = (stored.count, stored.reader(image_size))
        return side_by_side(contenders, rounds)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=DATASETS, choices=list_datasets())
    options.add_argument("--dtypes", nargs="*", default=["uint8", "float32"], choices=list(FORMATS))
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--augment", help="recipe, such as fdsl (default: none)")
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=9)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    results = measure(
        arguments.datasets,
        arguments.dtypes,
        arguments.batch,
        arguments.image_size,
        arguments.device,
        arguments.rounds,
        arguments.augment,
    )
    print_table(results, "stored JPEG float32" if arguments.device == "cpu" else None)
    save(arguments, results)


if __name__ == "__main__":
    main()
