"""FDSLDataset, FDSLMapDataset and FDSLLoader: positions, ranks, workers, state and errors."""

import itertools
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import fdsl_gpu
from fdsl_gpu import FDSLDataset, FDSLLoader, FDSLMapDataset

DATASETS = ["rcdb-1k", "exfractaldb-1k"]
SMALL: dict[str, Any] = {"image_size": 32, "device": "cpu", "dtype": torch.uint8, "num_classes": 10, "canvas_size": 64}


def make(name: str = "exfractaldb-1k", batch_size: int | None = 4, **keywords: Any) -> FDSLDataset:
    return FDSLDataset(name, batch_size, **{**SMALL, **keywords})


def take(loader: Any, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first ``count`` batches, concatenated."""
    batches = list(itertools.islice(loader, count))
    return tuple(torch.cat(part) for part in zip(*batches, strict=True))  # type: ignore[return-value]


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_position_is_the_same_for_any_batch_size(name: str, batch_size: int) -> None:
    images, labels = take(make(name, batch_size), -(-64 // batch_size))
    expected = take(make(name, 32), 2)
    assert same((images[:64], labels[:64]), expected)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_position_is_the_same_for_any_world_size(name: str, world_size: int) -> None:
    ranks = [iter(make(name, 4, rank=rank, world_size=world_size)) for rank in range(world_size)]
    batches = [next(rank) for _ in range(2) for rank in ranks]
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    assert same((images, labels), take(make(name, 8 * world_size), 1))


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_position_is_the_same_for_any_number_of_workers(name: str, num_workers: int) -> None:
    loader = DataLoader(make(name, 4), batch_size=None, num_workers=num_workers)
    assert same(take(loader, 6), take(make(name, 24), 1))


def test_single_sample_is_an_image_and_an_int() -> None:
    image, label = next(iter(make(batch_size=None)))
    assert image.shape == (3, 32, 32)
    assert isinstance(label, int)


@pytest.mark.parametrize("name", DATASETS)
def test_render_of_locate_is_what_the_stream_delivers(name: str) -> None:
    dataset = make(name, 8, dtype=torch.float32, normalize="imagenet", start=1000)
    images, labels = next(iter(dataset))
    located = dataset.locate(np.arange(1000, 1008))
    assert torch.equal(labels, torch.from_numpy(located[0]))
    assert torch.equal(images, dataset.render(*located))


@pytest.mark.parametrize("name", DATASETS)
def test_native_render_is_what_a_uint8_stream_delivers(name: str) -> None:
    dataset = make(name, 3, image_size=64)
    images, _ = next(iter(dataset))
    located = dataset.locate(np.arange(3))
    assert torch.equal(images, fdsl_gpu.render(name, *located, image_size=64, canvas_size=64, device="cpu"))


def test_map_dataset_holds_the_positions_of_the_stream() -> None:
    dataset = FDSLMapDataset("rcdb-1k", size=12, **SMALL)
    images, labels = next(iter(make("rcdb-1k", 12)))
    assert torch.equal(dataset[5][0], images[5])
    assert dataset[-1][1] == int(labels[11])
    loaded = next(iter(DataLoader(dataset, batch_size=12)))
    assert same(tuple(loaded), (images, labels))
    with pytest.raises(IndexError, match="index: received 12"):
        dataset[12]


def test_seed_decides_instances_and_order_but_not_classes() -> None:
    first, second = make(seed=0), make(seed=1)
    assert not torch.equal(next(iter(first))[0], next(iter(second))[0])
    assert np.array_equal(first.class_parameters(3)["maps"], second.class_parameters(3)["maps"])


def test_return_ids_are_label_and_instance() -> None:
    dataset = make(return_ids=True)
    _, labels, ids = next(iter(dataset))
    expected_labels, instances = dataset.locate(np.arange(4))
    assert torch.equal(ids // 2**40, labels)
    assert np.array_equal(ids.numpy() % 2**40, instances)
    assert np.array_equal(labels.numpy(), expected_labels)


def test_formats() -> None:
    images, labels = next(iter(make(dtype=torch.bfloat16, memory_format=torch.channels_last, channels=3)))
    assert images.dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert next(iter(make(channels=1)))[0].shape == (4, 1, 32, 32)


def test_epochs_have_a_length_and_start_where_set() -> None:
    dataset = make(epoch_size=19)
    assert len(dataset) == 4
    first = take(dataset, 100)
    assert len(first[1]) == 16
    assert same(take(dataset, 100), first)
    dataset.set_epoch(2)
    assert same(take(dataset, 1), take(make(start=38), 1))
    with pytest.raises(TypeError, match="epoch_size"):
        len(make())


def test_state_resumes_exactly_and_once() -> None:
    whole = take(make(), 6)
    dataset = make()
    parts = [take(dataset, 2)]
    for _ in range(2):
        state = dataset.state_dict()
        dataset = make()
        dataset.load_state_dict(state)
        parts.append(take(dataset, 2))
    assert same(tuple(torch.cat(part) for part in zip(*parts, strict=True)), whole)
    assert same(take(dataset, 1), take(make(), 1))


def test_state_continues_on_another_world_and_batch_size() -> None:
    dataset = make(batch_size=6)
    take(dataset, 2)
    state = dataset.state_dict()
    ranks = [make(batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    resumed = [next(iter(rank)) for rank in ranks]
    images, labels = (torch.cat(part) for part in zip(*resumed, strict=True))
    assert same((images, labels), take(make(start=12), 1))


def test_state_in_mid_epoch_finishes_the_epoch_and_then_has_full_ones() -> None:
    dataset = make(epoch_size=16)
    dataset.set_epoch(1)
    take(dataset, 1)
    resumed = make(epoch_size=16)
    resumed.load_state_dict(dataset.state_dict())
    assert len(take(resumed, 100)[1]) == 12
    resumed.set_epoch(2)
    assert len(take(resumed, 100)[1]) == 16


def test_set_epoch_keeps_a_state_inside_that_epoch() -> None:
    dataset = make(epoch_size=16)
    dataset.set_epoch(1)
    take(dataset, 1)
    resumed = make(epoch_size=16)
    resumed.load_state_dict(dataset.state_dict())
    resumed.set_epoch(1)
    assert len(take(resumed, 100)[1]) == 12
    resumed.load_state_dict(dataset.state_dict())
    resumed.set_epoch(3)
    assert same(take(resumed, 1), take(make(start=48), 1))


def test_state_at_the_end_of_an_uneven_epoch_starts_the_next() -> None:
    dataset = make(epoch_size=18)
    take(dataset, 100)
    resumed = make(epoch_size=18)
    resumed.load_state_dict(dataset.state_dict())
    assert same(take(resumed, 100), take(make(start=18), 4))


def test_state_goes_by_what_normalises_however_it_is_said() -> None:
    named = make(dtype=torch.float32, normalize="half")
    for value in (0.5, (0.5, 0.5, 0.5)):
        make(dtype=torch.float32, normalize=(value, value)).load_state_dict(named.state_dict())
    with pytest.raises(ValueError, match="normalize: saved"):
        make(dtype=torch.float32, normalize=None).load_state_dict(named.state_dict())


@pytest.mark.parametrize("epoch_size", [16, 18])
def test_state_at_the_end_of_an_epoch_leaves_nothing_of_that_epoch(epoch_size: int) -> None:
    """As a loop resumes that saves at step numbers: from the epoch in which it saved."""
    dataset = make(epoch_size=epoch_size)
    dataset.set_epoch(1)
    take(dataset, 4)
    resumed = make(epoch_size=epoch_size)
    resumed.load_state_dict(dataset.state_dict())
    resumed.set_epoch(1)
    assert list(resumed) == []
    resumed.set_epoch(2)
    assert same(take(resumed, 100), take(make(start=2 * epoch_size), 4))


def test_ranks_that_come_up_later_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    early = make(batch_size=4, epoch_size=18)
    small = make(batch_size=4, epoch_size=4)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    late = make(batch_size=4, epoch_size=18)
    state = {**late.state_dict(), "position": 12}
    for dataset in (early, late):
        dataset.load_state_dict(state)
        assert (dataset.epoch, len(dataset), len(list(dataset))) == (1, 2, 2)
    with pytest.raises(ValueError, match="One global batch is 8 samples"):
        next(iter(small))


@pytest.mark.parametrize("normalize", ["half", ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)), (np.full(3, 0.5), np.full(3, 0.2))])
def test_state_survives_json(normalize: Any) -> None:
    keywords = {"dtype": torch.float32, "normalize": normalize, "instances_per_class": np.int64(5)}
    state = json.loads(json.dumps(make(**keywords).state_dict()))
    make(**keywords).load_state_dict(state)


@pytest.mark.parametrize("state", [None, {}, {"version": 1}])
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="state: received"):
        make().load_state_dict(state)


def test_spawned_workers_know_the_rank_of_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make()
    monkeypatch.setattr("fdsl_gpu.stream._detect_ranks", lambda: (1, 2))
    pickled = pickle.dumps(dataset)
    monkeypatch.undo()
    assert same(take(pickle.loads(pickled), 1), take(make(rank=1, world_size=2), 1))


def test_empty_requests_are_empty() -> None:
    dataset = make()
    assert dataset.render(np.empty(0, np.int64), np.empty(0, np.int64)).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("setting", "here", "saved"),
    [
        ("seed", 1, "0"),
        ("split", "val", "'train'"),
        ("instances_per_class", 5, "None"),
        ("views", 2, "1"),
        ("mode", "vector", "'canvas'"),
        ("num_classes", 9, "10"),
        ("image_size", 16, "32"),
        ("channels", 1, "3"),
        ("interpolation", "bicubic", "'bilinear'"),
        ("viewpoint", "ring", "'uniform'"),
    ],
)
def test_state_of_another_dataset_is_refused_showing_both(setting: str, here: Any, saved: str) -> None:
    # In vector mode the canvas is the image.
    state = make(canvas_size=32).state_dict()
    with pytest.raises(ValueError, match=f"another dataset: {setting}: saved {saved}, here {here!r}. Build"):
        make(canvas_size=32, **{setting: here}).load_state_dict(state)


def test_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 99"):
        make().load_state_dict({**make().state_dict(), "version": 99})


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_loader_delivers_the_stream_and_counts_what_it_delivered(prefetch: int) -> None:
    loader = FDSLLoader(make(), prefetch=prefetch)
    assert same(take(loader, 5), take(make(), 5))
    assert loader.state_dict()["position"] == 20
    state = loader.state_dict()
    resumed = FDSLLoader(make(), prefetch=prefetch)
    resumed.load_state_dict(state)
    assert same(take(resumed, 1), take(make(start=state["position"]), 1))


def test_dataset_pickles_after_use() -> None:
    dataset = make()
    expected = take(dataset, 1)
    assert same(take(pickle.loads(pickle.dumps(dataset)), 1), expected)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"dataset": "rcdb1k"}, "dataset: received 'rcdb1k'.*Did you mean 'rcdb-1k'"),
    ({"dataset": 3}, "dataset: received 3"),
    ({"batch_size": 0}, "batch_size: received 0"),
    ({"batch_size": 2.5}, "batch_size: received 2.5"),
    ({"image_size": 7}, "image_size: received 7"),
    ({"image_size": 4097}, "image_size: received 4097"),
    ({"canvas_size": 4}, "canvas_size: received 4"),
    ({"device": "tpu"}, "device: received 'tpu'"),
    ({"device": "cuda:99"}, "device: received 'cuda:99'"),
    ({"seed": -1}, "seed: received -1"),
    ({"num_classes": 0}, "num_classes: received 0"),
    ({"num_classes": 1001}, "num_classes: received 1001"),
    ({"instances_per_class": 0}, "instances_per_class: received 0"),
    ({"split": "test"}, "split: received 'test'"),
    ({"epoch_size": 3}, "epoch_size: received 3"),
    ({"dtype": torch.int32}, "dtype: received"),
    ({"dtype": torch.float32, "normalize": "imagnet"}, "normalize: received 'imagnet'"),
    ({"normalize": "half"}, "normalize"),
    ({"channels": 2}, "channels: received 2"),
    ({"memory_format": "nhwc"}, "memory_format: received 'nhwc'"),
    ({"interpolation": "nearest"}, "interpolation: received 'nearest'"),
    ({"start": -1}, "start: received -1"),
    ({"rank": 1}, "rank, world_size"),
    ({"viewpoint": "rings"}, "viewpoint: received 'rings'.*Did you mean 'ring'"),
    ({"backgrond": "black"}, "backgrond: not an option of exfractaldb"),
    ({"class_table": "/nowhere/table.safetensors"}, "class_table"),
]


@pytest.mark.parametrize(
    ("keywords", "message"), BAD, ids=[f"{k}={v}" for d, _ in BAD for k, v in list(d.items())[-1:]]
)
def test_bad_arguments_say_what_is_wrong(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        next(iter(FDSLDataset(**{"dataset": "exfractaldb-1k", "batch_size": 4, **SMALL, **keywords})))


@pytest.mark.parametrize(
    ("labels", "instances", "message"),
    [
        ([1000], [0], "labels: received 1000"),
        ([-1], [0], "labels: received -1"),
        ([0], [2**40], "instances: received"),
        ([0], [-1], "instances: received -1"),
        ([0, 1], [0, 1, 2], "instances: received 3 for 2 labels"),
        ([0.5], [0], "labels: received float"),
        ([[0]], [0], "labels: received an array of shape"),
    ],
)
def test_render_refuses_bad_labels_and_instances(labels: Any, instances: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fdsl_gpu.render("rcdb-1k", labels, instances, image_size=32, device="cpu")


def test_cuda_inside_a_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make()
    dataset.source.device = torch.device("cuda", 0)
    monkeypatch.setattr("fdsl_gpu.dataset.get_worker_info", lambda: object())
    with pytest.raises(RuntimeError, match="num_workers=0"):
        iter(dataset)
