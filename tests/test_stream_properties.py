"""Properties of the stream for random datasets, seeds, batch sizes, ranks, workers, prefetch depths and positions."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fdsl_gpu import FDSLDataset, FDSLLoader
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.rcdb import RCDB
from fdsl_gpu.stream import MAX_POSITION, Order, World, batches

SMALL: dict[str, Any] = {"image_size": 8, "device": "cpu", "dtype": torch.uint8, "canvas_size": 8, "return_ids": True}
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=300, deadline=None)

names = st.sampled_from(["rcdb-1k", "exfractaldb-1k", "mixture"])
world_sizes = st.sampled_from([1, 2, 3, 4, 6, 8])
prefetches = st.sampled_from([0, 1, 4])
seeds = st.integers(0, 2**64 - 1)
starts = st.integers(0, 2**33)


def make(name: Any, batch_size: int | None, **keywords: Any) -> FDSLDataset:
    """A small dataset; "mixture" is one of two."""
    options = {**SMALL, **keywords}
    if name == "mixture":
        side = options.pop("canvas_size")
        name = [RCDB(canvas_size=side), ExFractalDB(canvas_size=side)]
    return FDSLDataset(name, batch_size, **options)


def joined(parts: list[Any]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def at(dataset: FDSLDataset, start: int, count: int) -> tuple[torch.Tensor, ...]:
    """What stands at positions, drawn in one batch."""
    return dataset.draw(np.arange(start, start + count))


@FEW
@given(name=names, seed=seeds, size=st.integers(1, 5), world=world_sizes, prefetch=prefetches, start=starts)
def test_ranks_together_deliver_the_positions_in_order(
    name: Any, seed: int, size: int, world: int, prefetch: int, start: int
) -> None:
    ranks = [
        iter(FDSLLoader(make(name, size, seed=seed, rank=rank, world_size=world, start=start), prefetch=prefetch))
        for rank in range(world)
    ]
    delivered = joined([next(rank) for _ in range(2) for rank in ranks])
    assert same(delivered, at(make(name, size, seed=seed), start, 2 * world * size))


@MANY
@given(size=st.integers(1, 64), world=world_sizes, workers=st.integers(1, 3), steps=st.integers(1, 9), start=starts)
def test_workers_in_turn_deliver_the_batches_of_their_rank(
    size: int, world: int, workers: int, steps: int, start: int
) -> None:
    rounds = []
    for rank in range(world):
        plans = [batches(World(rank, world, worker, workers), size, start) for worker in range(workers)]
        rounds.append([next(plan)[0] for _, plan in zip(range(steps), itertools.cycle(plans), strict=False)])
    order = np.concatenate([rounds[rank][step] for step in range(steps) for rank in range(world)])
    assert np.array_equal(order, np.arange(start, start + steps * world * size))


@MANY
@given(
    size=st.integers(1, 9),
    world=world_sizes,
    workers=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    start=starts,
)
def test_a_worker_resumes_where_it_stood(size: int, world: int, workers: int, cuts: list[int], start: int) -> None:
    for worker in range(workers):
        who = World(0, world, worker, workers)
        whole = [positions.tolist() for positions, _ in itertools.islice(batches(who, size, start), sum(cuts))]
        resumed, at_position = [], start
        for cut in cuts:
            for positions, after in itertools.islice(batches(who, size, at_position), cut):
                resumed.append(positions.tolist())
                at_position_next = after
            at_position = at_position_next if cut else at_position
        assert resumed == whole


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (3, True)])
def test_single_samples_of_workers_are_the_same_set(num_workers: int, persistent: bool) -> None:
    dataset = make("rcdb-1k", None, epoch_size=13, start=26)
    loader = DataLoader(dataset, batch_size=4, num_workers=num_workers, persistent_workers=persistent)
    assert len(dataset) == 13
    delivered, expected = joined(list(loader)), at(dataset, 26, 13)
    assert same(*(tuple(part[batch[2].argsort()] for part in batch) for batch in (delivered, expected)))


def interrupted(make_loader: Any, cuts: list[int]) -> Iterator[Any]:
    """Batches of a run that stops after each count and goes on, in a new loader, from its state."""
    state = None
    for cut in cuts:
        loader = make_loader()
        if state is not None:
            loader.load_state_dict(state)
        yield from itertools.islice(loader, cut)
        state = loader.state_dict()


@FEW
@given(
    name=names,
    seed=seeds,
    size=st.integers(1, 4),
    prefetch=prefetches,
    start=starts,
    cuts=st.lists(st.integers(1, 3), min_size=2, max_size=4),
)
def test_interrupted_runs_equal_whole_ones(
    name: Any, seed: int, size: int, prefetch: int, start: int, cuts: list[int]
) -> None:
    dataset = make(name, size, seed=seed)
    state = {**dataset.state_dict(), "position": start}

    def loader() -> FDSLLoader:
        again = make(name, size, seed=seed)
        again.load_state_dict(state)
        return FDSLLoader(again, prefetch=prefetch)

    assert same(joined(list(interrupted(loader, cuts))), at(dataset, start, size * sum(cuts)))


@FEW
@given(
    seed=seeds,
    sizes=st.lists(st.tuples(st.integers(1, 4), world_sizes), min_size=2, max_size=3),
    prefetch=prefetches,
    finite=st.booleans(),
)
def test_any_number_of_ranks_continues(seed: int, sizes: list[tuple[int, int]], prefetch: int, finite: bool) -> None:
    keywords = {"seed": seed, "num_classes": 3, "instances_per_class": 5 if finite else None}
    delivered, state = [], None
    for size, world in sizes:
        ranks = [
            FDSLLoader(make("rcdb-1k", size, rank=r, world_size=world, **keywords), prefetch) for r in range(world)
        ]
        for rank in ranks:
            if state is not None:
                rank.load_state_dict(state)
        iterations = [iter(rank) for rank in ranks]
        delivered += [next(rank) for _ in range(2) for rank in iterations]
        states = [rank.state_dict() for rank in ranks]
        state = states[0]
        assert all(other == state for other in states)
    assert state is not None
    assert state["position"] == sum(2 * size * world for size, world in sizes)
    assert same(joined(delivered), at(make("rcdb-1k", 1, **keywords), 0, state["position"]))


@FEW
@given(
    epoch_size=st.integers(8, 30),
    size=st.integers(1, 4),
    world=st.sampled_from([1, 2]),
    epoch=st.integers(0, 5),
    prefetch=prefetches,
    data=st.data(),
)
def test_an_interrupted_epoch_is_finished_and_later_ones_are_whole(
    epoch_size: int, size: int, world: int, epoch: int, prefetch: int, data: st.DataObject
) -> None:
    def loader() -> FDSLLoader:
        keywords = {"num_classes": 4, "instances_per_class": 3, "rank": 0, "world_size": world}
        return FDSLLoader(make("rcdb-1k", size, epoch_size=epoch_size, **keywords), prefetch)

    first = loader()
    length = len(first)
    cut = data.draw(st.integers(1, length - 1)) if length > 1 else 1
    first.set_epoch(epoch)
    head = [ids.tolist() for _, _, ids in itertools.islice(first, cut)]
    resumed = loader()
    resumed.load_state_dict(first.state_dict())
    tail = [ids.tolist() for _, _, ids in resumed] if cut < length else []
    first.set_epoch(epoch)
    assert head + tail == [ids.tolist() for _, _, ids in first]
    for later in range(epoch + 1, epoch + 3):
        resumed.set_epoch(later)
        assert len(list(resumed)) == length


@pytest.mark.parametrize(("classes", "instances"), [(1, 1), (1, 2), (2, 1), (997, 1), (1, 997), (31, 33)])
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_every_pair_comes_once_in_each_epoch(classes: int, instances: int, seed: int) -> None:
    size = classes * instances
    order = make("rcdb-1k", 1, seed=seed, num_classes=classes, instances_per_class=instances).source.order
    labels, numbers = order.locate(np.arange(3 * size))
    pairs = (labels * instances + numbers).reshape(3, size)
    assert np.array_equal(np.sort(pairs, axis=1), np.tile(np.arange(size), (3, 1)))
    if size > 30:
        assert not np.array_equal(pairs[0], pairs[1])


def test_every_pair_of_a_million_comes_once() -> None:
    order = Order((1, 2), 1000, 1000)
    first = 7 * 10**6
    seen = np.zeros(10**6, bool)
    for start in range(first, first + 10**6, 10**5):
        labels, numbers = order.locate(np.arange(start, start + 10**5))
        seen[labels * 1000 + numbers] = True
    assert seen.all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weights", [None, (3.0, 1.0)], ids=["one", "mixture"])
def test_labels_are_balanced(seed: int, weights: tuple[float, float] | None) -> None:
    dataset = make("rcdb-1k" if weights is None else "mixture", 1, seed=seed, weights=weights)
    # A part of an epoch, so that the permutation does not make it exact.
    labels = dataset.source.order.locate(np.arange(123_456, 123_456 + 200_500))[0]
    counts = np.bincount(labels, minlength=dataset.num_classes)
    shares = np.full(1000, 1 / 1000) if weights is None else np.repeat([0.75, 0.25], 1000) / 1000
    expected = shares * counts.sum()
    deviation = ((counts - expected) ** 2 / expected).sum()
    freedom = len(shares) - 1
    assert deviation < freedom + 5 * np.sqrt(2 * freedom)


def test_no_global_random_state_is_touched() -> None:
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    loader = FDSLLoader(make("mixture", 3, epoch_size=30))
    list(itertools.islice(loader, 3))
    loader.load_state_dict(loader.state_dict())
    list(loader)
    assert states == [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_resident_memory_is_flat_over_10000_batches() -> None:
    iteration = iter(FDSLLoader(make("exfractaldb-1k", 1, points=100)))
    for _ in range(1000):
        next(iteration)
    before = resident_bytes()
    for _ in range(9000):
        next(iteration)
    assert resident_bytes() < 1.02 * before


too_low = st.integers(-(2**70), 0)
wrong = st.one_of(st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=2), st.booleans(), st.binary())
BAD: dict[str, st.SearchStrategy[Any]] = {
    "dataset": st.one_of(st.text(max_size=9), st.integers(), st.none(), st.just([]), st.lists(st.text(), max_size=2)),
    "batch_size": st.one_of(too_low, wrong),
    "image_size": st.one_of(st.integers(-9, 7), st.integers(4097, 2**70), wrong, st.none()),
    "seed": st.one_of(st.integers(max_value=-1), st.integers(2**64), wrong, st.none()),
    "num_classes": st.one_of(too_low, st.integers(1001), wrong),
    "instances_per_class": st.one_of(too_low, st.integers(2**32 + 1), wrong),
    "split": st.one_of(st.text(max_size=4), st.integers(), st.none()),
    "epoch_size": st.one_of(st.integers(max_value=3), st.integers(MAX_POSITION + 1), wrong),
    "dtype": st.one_of(st.sampled_from([torch.int32, torch.float64, torch.bool]), st.text(), st.integers(), st.none()),
    "normalize": st.one_of(st.text(max_size=6), st.integers(), st.just((1.0,)), st.just(((0, 0, 0), (0, 0, 0)))),
    "channels": st.one_of(st.just(2), st.integers(4), too_low, wrong, st.none()),
    "memory_format": st.one_of(st.text(max_size=4), st.integers(), st.none(), st.just(torch.preserve_format)),
    "interpolation": st.one_of(st.text(max_size=8), st.integers(), st.none()),
    "views": st.one_of(too_low, st.integers(2, 9), wrong, st.none()),
    "weights": st.one_of(st.just((1.0, 2.0)), st.just((-1.0,)), st.just((float("nan"),)), st.integers(), st.text()),
    "start": st.one_of(st.integers(max_value=-1), st.integers(MAX_POSITION), wrong),
    "rank": st.one_of(st.integers(), wrong),
    "canvas_size": st.one_of(st.integers(-9, 7), st.integers(4097, 2**70), wrong),
    "device": st.one_of(st.text(max_size=5), st.integers(9, 99), st.just("cuda:99"), st.just("mps")),
    "return_ids": st.one_of(st.text(max_size=4), st.integers(2), st.none()),
    "augment": st.one_of(st.text(max_size=6), st.integers()),
    "repeats": st.one_of(too_low, st.integers(1025), wrong),
    "mode": st.one_of(st.text(max_size=6), st.integers(), st.none()),
    "transform": st.one_of(st.text(max_size=4), st.integers()),
    "return_masks": st.one_of(st.just(True), st.text(max_size=4), st.integers(2)),
    "mask_dtype": st.one_of(st.sampled_from([torch.int32, torch.float32]), st.text(max_size=4), st.none()),
    "world_size": st.one_of(st.integers(), wrong),
    "not_an_option": st.integers(),
}
FINE = {
    "split": ("train", "val"),
    "normalize": ("imagenet", "half", "recipe"),
    "interpolation": ("bilinear", "bicubic"),
    "device": ("cpu",),
    "augment": ("fdsl", "ofdb", "fractaldb-resnet", "none"),
    "mode": ("canvas", "vector"),
}


@settings(max_examples=500, deadline=2000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_malformed_configurations_are_refused_naming_the_argument(data: st.DataObject) -> None:
    argument = data.draw(st.sampled_from(sorted(BAD)))
    allowed = FINE.get(argument, ())
    value = data.draw(BAD[argument].filter(lambda value: all(value is not one and value != one for one in allowed)))
    keywords = {"dataset": "rcdb-1k", "batch_size": 4, "dtype": torch.float32, argument: value}
    with pytest.raises((ValueError, TypeError)) as error:
        make(keywords.pop("dataset"), keywords.pop("batch_size"), **keywords)
    assert argument in str(error.value)
