"""The stream: which positions belong to whom, and what each position is. Integers only.

The order of a dataset is one endless line of positions 0, 1, 2, ... A position never changes its meaning. Step s of a
run that starts at position p0 with batch size B on W ranks covers positions p0 + s W B .. p0 + (s+1) W B - 1; rank r
takes the r-th run of B of them, and of n DataLoader workers, worker w takes the steps w, w + n, w + 2n, ...

Labels come from keyed permutations: every ``num_classes`` positions visit every class once (endless instances), or
every ``num_classes * instances_per_class`` positions visit every (class, instance) pair once (finite instances).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu import checks, philox
from fdsl_gpu.philox import Key

Int64 = NDArray[np.int64]

ENDLESS_TRAIN = 2**32
"""Endless training instances are ENDLESS_TRAIN + position; below lie the published ones."""
VALIDATION = 2**39
"""Validation instances are VALIDATION + number, disjoint from all of training."""
MAX_POSITION = VALIDATION - ENDLESS_TRAIN
"""Positions lie in [0, MAX_POSITION), about 5e11."""


@dataclass(frozen=True)
class World:
    """Who asks: rank of world_size processes, worker of num_workers inside this process."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    num_workers: int = 1

    @classmethod
    def detect(cls, rank: int | None = None, world_size: int | None = None) -> World:
        """Explicit arguments win, then torch.distributed, then RANK and WORLD_SIZE; workers from the DataLoader."""
        if (rank is None) != (world_size is None):
            raise ValueError(
                f"rank, world_size: received rank={rank}, world_size={world_size}; allowed: both or neither. "
                "Pass both, or leave both out to have them detected."
            )
        if rank is None or world_size is None:
            rank, world_size = _detect_ranks()
        world_size = checks.integer("world_size", world_size, 1)
        rank = checks.integer("rank", rank, 0, world_size - 1)
        from torch.utils.data import get_worker_info

        info = get_worker_info()
        return cls(rank, world_size, info.id, info.num_workers) if info else cls(rank, world_size)


def _detect_ranks() -> tuple[int, int]:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    said = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")}
    if not any(said.values()):
        return 0, 1
    try:
        rank, world_size = map(int, said.values())
    except ValueError:
        rank = world_size = -1
    if not 0 <= rank < world_size:
        raise ValueError(
            f"rank, world_size: received {said} in the environment; allowed: two integers, RANK below WORLD_SIZE, or "
            "neither. Set both, as torchrun does, unset both, or pass rank= and world_size=."
        )
    return rank, world_size


def batches(world: World, batch_size: int, start: int, stop: int | None = None) -> Iterator[tuple[Int64, int]]:
    """Positions of this rank's and worker's batches.

    Args:
        world: who asks.
        batch_size: B, positions a batch.
        start: p0, the position at which the run starts.
        stop: global batches must end at or before this position; None for an endless stream.

    Yields:
        (positions int64 [B], the position at which this worker would have to start to continue after them: without
        workers, the one after this global batch; with n of them, the one after n global batches from its turn on).
    """
    stride = world.world_size * batch_size
    own = np.arange(batch_size, dtype=np.int64) + world.rank * batch_size
    step = world.worker
    while stop is None or start + (step + 1) * stride <= stop:
        first = start + step * stride
        if first + stride > MAX_POSITION:
            raise ValueError(
                f"start: position {first + stride} received; allowed: below {MAX_POSITION}. Use a new seed."
            )
        step += world.num_workers
        yield first + own, start + (step - world.worker) * stride


@dataclass(frozen=True)
class Order:
    """What a position is: the label and instance drawn there.

    Attributes:
        key: decides the permutations.
        num_classes: C.
        instances_per_class: N, the finite set of instances 0 .. N-1; None for a fresh instance at every position.
        validation: draw from the validation range of instances instead.
    """

    key: Key
    num_classes: int
    instances_per_class: int | None = None
    validation: bool = False

    def locate(self, positions: Int64) -> tuple[Int64, Int64]:
        """(labels, instances), both int64 [B], of positions int64 [B]."""
        base = VALIDATION if self.validation else 0
        if self.instances_per_class is None:
            return permute(positions, self.num_classes, self.key), positions + (base or ENDLESS_TRAIN)
        instances, labels = np.divmod(
            permute(positions, self.num_classes * self.instances_per_class, self.key), self.num_classes
        )
        return labels, instances + base


def repeated(positions: Int64, repeats: int, distance: int) -> Int64:
    """Positions of a stream in which each instance is presented several times, as positions of one without repeats.

    Runs of ``distance`` positions are shown ``repeats`` times, one after another, before the next run begins.

    Args:
        positions: int64 [B].
        repeats: presentations of an instance.
        distance: positions between two of them.
    """
    return positions // (repeats * distance) * distance + positions % distance


@dataclass(frozen=True)
class MixedOrder:
    """The order of a mixture: each position shows one of several datasets, with label ranges one after another.

    A position shows what the chosen dataset has at the same position, so a mixture of one is that dataset.

    Attributes:
        key: decides which dataset a position shows.
        orders: of the datasets.
        weights: their shares, positive, in any unit.
    """

    key: Key
    orders: tuple[Order, ...]
    weights: tuple[float, ...]

    def locate(self, positions: Int64) -> tuple[Int64, Int64]:
        """(labels, instances), both int64 [B], of positions int64 [B]."""
        shown = self._choose(positions)
        labels, instances = np.empty_like(positions), np.empty_like(positions)
        first = 0
        for number, order in enumerate(self.orders):
            places = np.flatnonzero(shown == number)
            labels[places], instances[places] = order.locate(positions[places])
            labels[places] += first
            first += order.num_classes
        return labels, instances

    def _choose(self, positions: Int64) -> Int64:
        """Which dataset each position shows, int64 [B]."""
        cumulative = np.add.accumulate(np.asarray(self.weights, np.float64))
        bounds = np.floor(cumulative[:-1] / cumulative[-1] * 2.0**32).astype(np.uint64)
        words = philox.words(self.key, philox.MIXTURE, positions, 1)[:, 0]
        return np.searchsorted(bounds, words, side="right")


def permute(positions: Int64, size: int, key: Key) -> Int64:
    """Keyed permutations of [0, size), one after another without end, at some positions of that line.

    A Feistel network on Z_a x Z_b with a = ceil(sqrt(size)) and b = ceil(size / a), so that fewer than one place in
    sqrt(size) lies outside and the cost is O(1) for any size.

    Args:
        positions: int64 [B]; position p is place p % size of permutation p // size.
        size: 1 .. 2**60.
        key: two 32-bit words.

    Returns:
        int64 [B] in [0, size).
    """
    from fdsl_gpu.cpu_kernels import permutation

    a = math.isqrt(size - 1) + 1
    out = np.empty(positions.size, np.int64)
    permutation.permute(positions, size, a, -(-size // a), np.uint64(key[0] << 32 | key[1]), out)
    return out
