"""Feed efficiency: training img/s with images drawn as it trains, over training img/s with one cached batch.

python -m bench.train --device cuda --models vit_base_patch16_224 vit_tiny_patch16_224
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import timm
import torch
from torch.nn.functional import cross_entropy

from bench.common import parser, print_table, save, summary, synchronise
from fdsl_gpu import FDSLDataset, FDSLLoader, list_datasets

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def make_step(model_name: str, num_classes: int, device: str) -> Callable[[Batches], None]:
    """One training step (forward, backward, AdamW) on the next batch; bf16 autocast on CUDA."""
    model = timm.create_model(model_name, num_classes=num_classes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device == "cuda")

    def step(batches: Batches) -> None:
        images, labels = next(batches)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def rate(step: Callable[[Batches], None], batches: Batches, batch: int, steps: int, device: str) -> float:
    """Images per second over ``steps`` steps."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        step(batches)
    synchronise(device)
    return batch * steps / (time.perf_counter() - start)


def measure(models: list[str], datasets: list[str], batch: int, device: str, seconds: float) -> dict[str, Any]:
    """Rates with a cached batch and with each feed, in turns; ``seconds`` bounds the whole."""
    results: dict[str, Any] = {}
    share = seconds / len(models)
    for model in models:
        step = make_step(model, 1000, device)
        first = next(iter(FDSLDataset(datasets[0], batch, device=device)))
        feeds: dict[str, Batches] = {"cached batch": iter(lambda first=first: first, None)}
        for name in datasets:
            feeds[name] = iter(FDSLLoader(FDSLDataset(name, batch, device=device)))
            feeds[f"{name}, augmented"] = iter(FDSLLoader(FDSLDataset(name, batch, device=device, augment="fdsl")))
        for feed in feeds.values():
            rate(step, feed, batch, 2, device)
        start = time.perf_counter()
        rate(step, feeds["cached batch"], batch, 2, device)
        steps = max(1, min(30, int(share / 8 / len(feeds) / (time.perf_counter() - start) * 2)))
        rates: dict[str, list[float]] = {name: [] for name in feeds}
        deadline = time.perf_counter() + share * 0.8
        while not rates["cached batch"] or (time.perf_counter() < deadline and len(rates["cached batch"]) < 9):
            for name, feed in feeds.items():
                rates[name].append(rate(step, feed, batch, steps, device))
        results[model] = {name: summary(values) for name, values in rates.items()}
        print(model)
        print_table(results[model], "cached batch")
    return results


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--models", nargs="*", default=["vit_tiny_patch16_224"])
    options.add_argument("--datasets", nargs="*", default=["rcdb-1k", "exfractaldb-1k"], choices=list_datasets())
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--seconds", type=float, default=120, help="bound on the whole (default: %(default)s)")
    arguments = options.parse_args()
    results = measure(arguments.models, arguments.datasets, arguments.batch, arguments.device, arguments.seconds)
    save(arguments, results)


if __name__ == "__main__":
    main()
