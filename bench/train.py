"""Feed efficiency: training img/s with images drawn as it trains, over training img/s with one cached batch.

    python -m bench.train --models vit_tiny_patch16_224
    python -m bench.train --device cuda --models vit_base_patch16_224 vit_small_patch16_224 vit_tiny_patch16_224

Beside it, in the same rounds, the loader of stored JPEG files with as many workers as cores, plain and augmented by
timm; ``over_stored`` is the rate over that of the plain one. On CUDA also the peak memory of a turn, and how much of it
comes on top of the cached batch's.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import nullcontext
from typing import Any

import timm
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench import feed
from bench.common import FORMATS, parser, save, synchronise
from bench.feed import CACHED, STORED, Consumer, Feed
from bench.stored_images import StoredImages
from fdsl_gpu import FDSLDataset, list_datasets

MODELS = ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"]
TRAINED = ["rcdb-1k", "exfractaldb-1k"]

_ROUNDS = 9
_MIN_ROUNDS = 3


def make_step(model_name: str, num_classes: int, device: str, compiled: bool = False) -> Consumer:
    """One training step (forward, backward, AdamW); bf16 autocast on CUDA."""
    model = timm.create_model(model_name, num_classes=num_classes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device == "cuda")
    forward = torch.compile(model) if compiled else model

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = cross_entropy(forward(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def make_feeds(
    datasets: list[str],
    dtypes: list[str],
    batch: int,
    device: str,
    workers: int,
    images: StoredImages | None,
    augmented: bool = True,
) -> dict[str, Feed]:
    """The cached batch, the stored pictures, and every dataset, plain and presented by the recipe "fdsl"."""
    feeds = {CACHED: feed.cached(datasets[0], batch, device, dtypes[0])}
    if images is not None:
        feeds[STORED] = feed.stored(images, batch, device, workers)
        if augmented:
            # Here, because it needs timm's transforms, which not every user of this module does.
            from bench.augment import timm_transform

            feeds["stored JPEG, augmented by timm"] = feed.stored(images, batch, device, workers, timm_transform())
    for name in datasets:
        feeds |= {f"{name} {dtype}": feed.drawn(name, batch, device, dtype) for dtype in dtypes}
        if augmented:
            feeds[f"{name} {dtypes[0]}, augmented"] = feed.drawn(name, batch, device, dtypes[0], augment="fdsl")
    return feeds


def step_seconds(step: Consumer, dataset: str, batch: int, device: str, dtype: str) -> float:
    """How long a step takes with a batch at hand, once everything is compiled."""
    sample = next(iter(FDSLDataset(dataset, batch, device=device, **FORMATS[dtype])))
    for _ in range(2):
        step(*sample)
    synchronise(device)
    start = time.perf_counter()
    for _ in range(2):
        step(*sample)
    synchronise(device)
    return (time.perf_counter() - start) / 2


def measure(
    models: list[str],
    datasets: list[str],
    dtypes: list[str],
    batch: int,
    device: str,
    seconds: float,
    workers: int,
    compiled: bool = False,
    with_stored: bool = True,
    augmented: bool = True,
) -> dict[str, dict[str, Any]]:
    """Rows "MODEL: FEED" of each feed of :func:`make_feeds`, in turns; ``seconds`` bounds the whole but a first round.

    Args:
        models: names of timm's.
        datasets: names.
        dtypes: names of ``FORMATS``; the cached batch and the augmented feeds are of the first.
        batch: images a batch.
        device: where it draws and trains.
        seconds: shared by the models.
        workers: processes of the loader of stored pictures.
        compiled: train ``torch.compile(model)``.
        with_stored: measure the loader of stored pictures.
        augmented: measure augmented feeds too.
    """
    results: dict[str, dict[str, Any]] = {}
    with StoredImages() if with_stored else nullcontext() as images:
        feeds = make_feeds(datasets, dtypes, batch, device, workers, images, augmented)
        for model in models:
            started = time.perf_counter()
            step = make_step(model, 1000, device, compiled)
            a_step = step_seconds(step, datasets[0], batch, device, dtypes[0])
            share = seconds / len(models) - (time.perf_counter() - started)
            warm_up = sum(one.warm_up for one in feeds.values()) / len(feeds)
            steps = max(3, min(30, int(share / _MIN_ROUNDS / len(feeds) / a_step - warm_up)))
            rows = feed.compare(feeds, step, batch, steps, device, _ROUNDS, share)
            print(f"{model}, {steps} steps a turn")
            feed.print_rows(rows)
            results |= {f"{model}: {name}": row for name, row in rows.items()}
    return results


def main() -> None:
    on_cuda = torch.cuda.is_available()
    options = parser(__doc__)
    options.add_argument("--models", nargs="*", default=MODELS[:1])
    options.add_argument("--datasets", nargs="*", default=TRAINED, choices=list_datasets())
    options.add_argument("--dtypes", nargs="*", default=["bfloat16" if on_cuda else "float32"], choices=list(FORMATS))
    options.add_argument("--batch", type=int, default=256 if on_cuda else 8)
    options.add_argument("--device", default="cuda" if on_cuda else "cpu")
    options.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="that draw and train, and workers that read"
    )
    options.add_argument("--seconds", type=float, default=120, help="bound on the whole (default: %(default)s)")
    options.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=False, help="train torch.compile(model)"
    )
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    results = measure(
        arguments.models,
        arguments.datasets,
        arguments.dtypes,
        arguments.batch,
        arguments.device,
        arguments.seconds,
        arguments.threads,
        arguments.compile,
    )
    save(arguments, results)


if __name__ == "__main__":
    main()
