"""The stream: permutations, content of positions, and who draws which."""

import numpy as np
import pytest

from fdsl_gpu.stream import ENDLESS_TRAIN, VALIDATION, Order, World, batches, permute

KEY = (0x12345678, 0x9ABCDEF0)


def take(world: World, batch_size: int, count: int, start: int = 0) -> list[list[int]]:
    plan = batches(world, batch_size, start)
    return [next(plan)[0].tolist() for _ in range(count)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 16, 17, 997, 1000, 1024, 4097])
def test_permute_is_a_bijection(size: int) -> None:
    index = np.arange(size)
    for epoch in (0, 1, 2**40):
        values = permute(index + epoch * size, size, KEY)
        assert np.array_equal(np.sort(values), index)


def test_permute_differs_by_epoch_and_key() -> None:
    index = np.arange(1000)
    first = permute(index, 1000, KEY)
    for other in (permute(index + 1000, 1000, KEY), permute(index, 1000, (1, 2))):
        assert (first == other).mean() < 0.02


@pytest.mark.parametrize("size", [1000 * 1000, 21_000 * 1000 + 1, 50_000 * 2**32])
def test_permute_stays_inside_large_sets_without_collisions(size: int) -> None:
    index = np.linspace(0, size - 1, 50_000).astype(np.int64)
    values = permute(index, size, KEY)
    assert values.min() >= 0
    assert values.max() < size
    assert len(np.unique(values)) == len(np.unique(index))


def test_permute_mixes_neighbours() -> None:
    # Neighbouring indices must land uniformly: mean of |difference| of two uniform numbers is a third of the range.
    values = permute(np.arange(100_000), 100_000, KEY)
    assert abs(np.abs(np.diff(values)).mean() / 100_000 - 1 / 3) < 0.005


def test_order_endless_visits_every_class_once_a_round_with_fresh_instances() -> None:
    positions = np.arange(5 * 30)
    labels, instances = Order(KEY, 30).locate(positions)
    for labels_of_round in labels.reshape(5, 30):
        assert np.array_equal(np.sort(labels_of_round), np.arange(30))
    assert np.array_equal(instances, ENDLESS_TRAIN + positions)
    assert not np.array_equal(labels[:30], labels[30:60])


@pytest.mark.parametrize(("classes", "instances_per_class"), [(1, 1), (3, 7), (10, 100), (997, 2)])
def test_order_finite_visits_every_pair_once_an_epoch(classes: int, instances_per_class: int) -> None:
    size = classes * instances_per_class
    labels, instances = Order(KEY, classes, instances_per_class).locate(np.arange(3 * size))
    pairs = (labels * instances_per_class + instances).reshape(3, size)
    assert np.array_equal(np.sort(pairs, axis=1), np.tile(np.arange(size), (3, 1)))


@pytest.mark.parametrize("instances_per_class", [None, 50])
def test_order_validation_instances_are_disjoint(instances_per_class: int | None) -> None:
    positions = np.arange(500)
    train = Order(KEY, 10, instances_per_class).locate(positions)[1]
    val = Order(KEY, 10, instances_per_class, validation=True).locate(positions)[1]
    assert val.min() >= VALIDATION
    assert train.max() < VALIDATION


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_of_all_ranks_are_consecutive_positions(world_size: int, batch_size: int) -> None:
    ranks = [take(World(rank, world_size), batch_size, 4, start=5) for rank in range(world_size)]
    seen = [position for step in zip(*ranks, strict=True) for batch in step for position in batch]
    assert seen == list(range(5, 5 + 4 * world_size * batch_size))


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_batches_of_workers_interleave(num_workers: int) -> None:
    alone = take(World(1, 2), 3, 6)
    workers = [take(World(1, 2, worker, num_workers), 3, 6 // num_workers) for worker in range(num_workers)]
    assert [batch for turn in zip(*workers, strict=True) for batch in turn] == alone


def test_batches_stop_before_a_partial_global_batch() -> None:
    assert [positions.tolist() for positions, _ in batches(World(0, 2), 3, 0, 13)] == [[0, 1, 2], [6, 7, 8]]


def test_batches_refuse_positions_beyond_the_end() -> None:
    with pytest.raises(ValueError, match="start: position"):
        next(batches(World(), 4, 2**39))


def test_world_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert World.detect() == World(3, 4)
    assert World.detect(rank=1, world_size=2) == World(1, 2)


def test_world_needs_both_or_neither() -> None:
    with pytest.raises(ValueError, match="rank, world_size"):
        World.detect(rank=1)
    with pytest.raises(ValueError, match="rank: received 2"):
        World.detect(rank=2, world_size=2)


def test_world_without_environment_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
    assert World.detect() == World(0, 1)


@pytest.mark.parametrize(("rank", "world_size"), [("3", ""), ("", "4"), ("4", "4"), ("-1", "4"), ("one", "2")])
def test_world_of_a_broken_environment_is_refused(rank: str, world_size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world_size)
    with pytest.raises(ValueError, match=f"'RANK': '{rank}', 'WORLD_SIZE': '{world_size}'.* in the environment"):
        World.detect()
    assert World.detect(0, 1) == World(0, 1)
