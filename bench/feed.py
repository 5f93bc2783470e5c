"""Does a consumer wait for its batches? The loader in front of a consumer that is busy for a set time: no network.

    python -m bench.feed --step-ms 50
    python -m bench.feed --device cuda --batch 256 --dtypes bfloat16 --step-ms 20

The consumer takes a batch and is busy: on CUDA with matrix products, on a CPU asleep, as if the model were on another
device. Each row has images per second, the share of the time spent inside ``next(loader)`` (on CUDA that is the
host's), and its efficiency: images per second over those of the same consumer with one cached batch, in the same
rounds. ``bench.train`` does the same with vision transformers.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.common import FORMATS, error_text, parser, save, summary, synchronise
from bench.stored_images import StoredImages
from fdsl_gpu import FDSLDataset, FDSLLoader, list_datasets

Batches = Iterator[tuple[Tensor, Tensor]]
Consumer = Callable[[Tensor, Tensor], None]

CACHED, STORED = "cached batch", "stored JPEG"


@dataclass(frozen=True)
class Feed:
    """Where batches come from.

    Attributes:
        open: begins an iteration; leaving it gives everything back, so that no feed works while another is measured.
        warm_up: steps that are not counted, after which as many batches lie ready as in a long run.
        burst: steps are counted in multiples of this, because so many workers deliver at about the same time.
        may_fail: an error becomes its row, and the other feeds are measured all the same.
    """

    open: Callable[[], AbstractContextManager[Batches]]
    warm_up: int = 2
    burst: int = 1
    may_fail: bool = False


@dataclass(frozen=True)
class Turn:
    """What one turn of a feed gave; memory in bytes, 0 on a CPU."""

    rate: float
    waiting_share: float
    allocated: int
    reserved: int


def cached(dataset: str, batch: int, device: str, dtype: str = "float32") -> Feed:
    """One batch, drawn once."""

    @contextmanager
    def open_feed() -> Iterator[Batches]:
        sample = next(iter(FDSLDataset(dataset, batch, device=device, **FORMATS[dtype])))
        yield iter(lambda: sample, None)

    return Feed(open_feed)


def drawn(dataset: str, batch: int, device: str, dtype: str = "float32", prefetch: int = 2, **options: Any) -> Feed:
    """Batches drawn by a dataset and a loader of their own."""

    @contextmanager
    def open_feed() -> Iterator[Batches]:
        made = FDSLDataset(dataset, batch, device=device, **FORMATS[dtype], **options)
        with FDSLLoader(made, prefetch) as loader:
            yield iter(loader)

    return Feed(open_feed, warm_up=prefetch + 2)


def stored(images: StoredImages, batch: int, device: str, workers: int, transform: Any = None) -> Feed:
    """Stored pictures, read by worker processes; they may lack shared memory, of which 16 need gigabytes."""

    @contextmanager
    def open_feed() -> Iterator[Batches]:
        batches = images.batches(batch, workers, device, transform)
        try:
            yield batches
        finally:
            batches.close()  # type: ignore[attr-defined]

    return Feed(open_feed, warm_up=workers + 1, burst=max(workers, 1), may_fail=True)


def consumer(device: str, step_ms: float) -> Consumer:
    """A consumer that is busy for about ``step_ms`` milliseconds a batch."""
    if torch.device(device).type != "cuda":
        return lambda images, labels: time.sleep(step_ms / 1000)
    matrix = torch.ones(4096, 4096, dtype=torch.bfloat16, device=device)
    product = torch.empty_like(matrix)

    def multiply(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(matrix, matrix, out=product)
        synchronise(device)
        return time.perf_counter() - start

    multiply(20)
    times = max(1, round(200 * step_ms / 1000 / multiply(200)))

    def consume(images: Tensor, labels: Tensor) -> None:
        for _ in range(times):
            torch.mm(matrix, matrix, out=product)

    return consume


def take_turn(feed: Feed, consume: Consumer, batch: int, steps: int, device: str) -> Turn:
    """Measure about so many steps of a consumer with a feed that begins here and ends here."""
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        gc.collect()
        torch.cuda.empty_cache()
    steps = -(-steps // feed.burst) * feed.burst
    waited = 0.0
    with feed.open() as batches:
        for _ in range(feed.warm_up):
            consume(*next(batches))
        synchronise(device)
        if on_cuda:
            # What opening a feed took for a moment is no part of feeding.
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            images, labels = next(batches)
            waited += time.perf_counter() - asked
            consume(images, labels)
        synchronise(device)
        seconds = time.perf_counter() - start
    memory = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if on_cuda else (0, 0)
    return Turn(batch * steps / seconds, waited / seconds, *memory)


def compare(
    feeds: dict[str, Feed],
    consume: Consumer,
    batch: int,
    steps: int,
    device: str,
    rounds: int,
    seconds: float = float("inf"),
) -> dict[str, dict[str, Any]]:
    """Rows of feeds that take turns, until ``rounds`` are done or, after the first, ``seconds`` have passed.

    A feed that failed has one entry in its row, "failed", with the error's text.
    """
    deadline = time.perf_counter() + seconds
    turns: dict[str, list[Turn]] = {name: [] for name in feeds}
    failed: dict[str, str] = {}
    for done in range(rounds):
        for name, feed in feeds.items():
            if done and time.perf_counter() > deadline:
                break
            if name in failed:
                continue
            try:
                turns[name].append(take_turn(feed, consume, batch, steps, device))
            except Exception as error:
                if not feed.may_fail:
                    raise
                failed[name] = error_text(error)
    reference = None if STORED in failed else turns.get(STORED)
    return {
        name: {"failed": failed[name]} if name in failed else _row(turns[name], turns[CACHED], reference)
        for name in feeds
    }


def _row(turns: list[Turn], cached_turns: list[Turn], stored_turns: list[Turn] | None) -> dict[str, float]:
    row = summary([turn.rate for turn in turns])
    row["waiting_share"] = round(statistics.median(turn.waiting_share for turn in turns), 4)
    row["efficiency"] = _ratio(turns, cached_turns)
    if stored_turns:
        row["over_stored"] = _ratio(turns, stored_turns)
    if turns[0].allocated:
        peak, cached_peak = (max(turn.allocated for turn in some) for some in (turns, cached_turns))
        reserved, cached_reserved = (max(turn.reserved for turn in some) for some in (turns, cached_turns))
        row |= {"peak_mb": _megabytes(peak), "extra_mb": _megabytes(peak - cached_peak)}
        row |= {"reserved_mb": _megabytes(reserved), "extra_reserved_mb": _megabytes(reserved - cached_reserved)}
    return row


def _ratio(turns: list[Turn], reference: list[Turn]) -> float:
    # Of the same rounds, because the machine's speed drifts.
    return round(statistics.median(ours.rate / theirs.rate for ours, theirs in zip(turns, reference, strict=False)), 4)


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)


def print_rows(rows: dict[str, dict[str, Any]]) -> None:
    """Print rates, waiting shares, efficiencies and memory."""
    width = max(len(name) for name in rows)
    for name, row in rows.items():
        if "failed" in row:
            print(f"{name:{width}}  failed: {row['failed']}")
            continue
        line = f"{name:{width}}  {row['images_per_second']:>9,.0f} img/s  [{row['q1']:,.0f}, {row['q3']:,.0f}]"
        line += f"  waiting {row['waiting_share']:6.1%}  efficiency {row['efficiency']:6.1%}"
        if "extra_mb" in row:
            line += f"  memory +{row['extra_mb']:,.0f} MB (reserved +{row['extra_reserved_mb']:,.0f})"
        print(line)


def measure(
    datasets: list[str],
    dtypes: list[str],
    prefetches: list[int],
    batch: int,
    device: str,
    step_ms: float,
    steps: int,
    rounds: int,
    workers: int,
    seconds: float = float("inf"),
    with_stored: bool = True,
) -> dict[str, dict[str, Any]]:
    """Rows of a cached batch, the stored-JPEG loader, and every dataset, dtype and prefetch depth.

    Args:
        datasets: names.
        dtypes: names of ``FORMATS``; the cached batch, over which memory is counted, is of the first.
        prefetches: batches drawn ahead, 0 for none.
        batch: images a batch.
        device: where batches are drawn and consumed.
        step_ms: how long the consumer is busy with a batch.
        steps: steps a turn.
        rounds: turns of each.
        workers: processes of the stored-JPEG loader.
        seconds: bound on the whole, once each had a turn.
        with_stored: measure the stored-JPEG loader.
    """
    feeds = {CACHED: cached(datasets[0], batch, device, dtypes[0])}
    with StoredImages() if with_stored else nullcontext() as images:
        if images is not None:
            feeds[STORED] = stored(images, batch, device, workers)
        for name in datasets:
            for dtype in dtypes:
                for depth in prefetches:
                    feeds[f"{name} {dtype}, prefetch {depth}"] = drawn(name, batch, device, dtype, depth)
        return compare(feeds, consumer(device, step_ms), batch, steps, device, rounds, seconds)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="*", default=["rcdb-1k", "exfractaldb-1k"], choices=list_datasets())
    options.add_argument("--dtypes", nargs="*", default=["uint8", "float32"], choices=list(FORMATS))
    options.add_argument("--prefetch", nargs="*", type=int, default=[0, 1, 2], help="batches ahead")
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--device", default="cpu")
    options.add_argument("--step-ms", type=float, default=50, help="of the consumer, a batch (default: %(default)s)")
    options.add_argument("--steps", type=int, default=8, help="a turn (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="that draw, and workers that read")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    results = measure(
        arguments.datasets,
        arguments.dtypes,
        arguments.prefetch,
        arguments.batch,
        arguments.device,
        arguments.step_ms,
        arguments.steps,
        arguments.rounds,
        arguments.threads,
    )
    print_rows(results)
    save(arguments, results)


if __name__ == "__main__":
    main()
