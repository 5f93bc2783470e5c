"""The benchmarks of feeding, training and augmenting: what they return on tiny sizes, never a time."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

pytest.importorskip("torchvision")

from bench import augment, feed, report, train
from bench.feed import CACHED, STORED, Feed, compare, take_turn
from bench.stored_images import StoredImages
from fdsl_gpu import FDSLDataset

RATES = {"images_per_second", "q1", "q3", "us_per_image", "rounds"}
FED = RATES | {"waiting_share", "efficiency"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> Iterator[StoredImages]:
    with StoredImages(8) as made:
        yield made


@pytest.mark.parametrize("workers", [0, 1])
def test_stored_batches_never_end(images: StoredImages, workers: int) -> None:
    batches = images.batches(3, workers, "cpu")
    for pictures, labels in itertools.islice(batches, 5):
        assert pictures.shape == (3, 3, 224, 224)
        assert pictures.dtype == torch.float32
        assert labels.shape == (3,)
    batches.close()


def test_drawn_feed_delivers_the_dataset() -> None:
    expected = next(iter(FDSLDataset("exfractaldb-1k", 2, device="cpu", dtype=torch.uint8)))
    for prefetch in (0, 2):
        with feed.drawn("exfractaldb-1k", 2, "cpu", "uint8", prefetch).open() as batches:
            assert all(map(torch.equal, next(batches), expected))


def test_a_turn_counts_warm_up_and_bursts() -> None:
    taken, closed = [], []

    @contextmanager
    def open_feed() -> Iterator[Any]:
        yield ((torch.empty(0), torch.tensor(i)) for i in itertools.count())
        closed.append(True)

    turn = take_turn(Feed(open_feed, warm_up=3, burst=4), lambda _, labels: taken.append(int(labels)), 2, 5, "cpu")
    assert taken == list(range(3 + 8))
    assert closed == [True]
    assert turn.rate > 0
    assert 0 <= turn.waiting_share <= 1
    assert (turn.allocated, turn.reserved) == (0, 0)


def test_compare_keeps_a_whole_round_when_time_is_over() -> None:
    feeds = {name: feed.cached("exfractaldb-1k", 1, "cpu") for name in (CACHED, "other")}
    rows = compare(feeds, lambda *_: None, 1, 1, "cpu", rounds=5, seconds=0.0)
    assert {name: row["rounds"] for name, row in rows.items()} == {CACHED: 1, "other": 1}


def test_ratios_are_medians_over_the_same_rounds() -> None:
    ours, theirs = (
        [feed.Turn(rate, 0.0, 0, 0) for rate in rates] for rates in ([30.0, 80.0, 500.0], [10.0, 20.0, 100.0, 1e9])
    )
    assert feed._ratio(ours, theirs) == 4


@contextmanager
def failing_feed() -> Iterator[Any]:
    raise OSError("no shared memory")
    yield


def test_stored_pictures_that_cannot_be_read_are_a_row_and_the_rest_goes_on(
    images: StoredImages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def batches(*arguments: Any) -> Iterator[Any]:
        yield torch.empty(0), torch.empty(0)
        raise OSError("no shared memory")

    monkeypatch.setattr(images, "batches", batches)
    feeds = {name: feed.cached("exfractaldb-1k", 1, "cpu") for name in (CACHED, "other")}
    feeds = {STORED: feed.stored(images, 1, "cpu", 1), **feeds}
    rows = compare(feeds, lambda *_: None, 1, 1, "cpu", rounds=2)
    assert rows[STORED] == {"failed": "OSError: no shared memory"}
    assert rows[CACHED].keys() == rows["other"].keys() == FED
    assert rows["other"]["rounds"] == 2
    feed.print_rows(rows)
    assert "failed: OSError: no shared memory" in capsys.readouterr().out
    assert f"| {STORED} | not measured: OSError: no shared memory |  |  |  |" in report.feed_table(rows)
    with pytest.raises(OSError, match="shared memory"):
        compare({**feeds, "ours": Feed(failing_feed)}, lambda *_: None, 1, 1, "cpu", rounds=1)


def test_memory_is_counted_over_a_batch_of_the_same_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "compare", lambda feeds, *_: feeds)
    settings: dict[str, Any] = {"batch": 1, "device": "cpu", "step_ms": 1, "steps": 1, "rounds": 1, "workers": 1}
    feeds: Any = feed.measure(["exfractaldb-1k"], ["bfloat16"], [0], with_stored=False, **settings)
    for one in feeds.values():
        with one.open() as batches:
            assert next(batches)[0].dtype == torch.bfloat16


def test_augmentation_is_compared_on_one_plane_and_on_three(monkeypatch: pytest.MonkeyPatch) -> None:
    presented = []

    class Noting(augment.Presenter):
        def __call__(self, planes: torch.Tensor, *arguments: Any) -> Any:
            presented.append(planes.shape[1])
            return super().__call__(planes, *arguments)

    monkeypatch.setattr(augment, "Presenter", Noting)
    contenders = augment.contenders_on("exfractaldb-1k", 2)
    names = ["ours", "ours, three planes", "timm on PIL images", "torchvision v2 on tensors"]
    assert list(contenders) == [f"exfractaldb-1k: {name}" for name in names]
    drawn = [call() for _, call in contenders.values()]
    assert presented == [1, 3]
    assert all(batch.shape == (2, 3, 224, 224) and batch.dtype == torch.float32 for batch in drawn[2:])


def test_feed_has_a_row_for_each_dataset_dtype_and_depth() -> None:
    settings: dict[str, Any] = {"batch": 2, "device": "cpu", "step_ms": 1, "steps": 2, "rounds": 2, "workers": 1}
    rows = feed.measure(["exfractaldb-1k"], ["uint8", "float32"], [0, 2], with_stored=False, **settings)
    drawn = {f"exfractaldb-1k {dtype}, prefetch {n}" for dtype in ("uint8", "float32") for n in (0, 2)}
    assert rows.keys() == {CACHED, *drawn}
    assert all(row.keys() == FED for row in rows.values())
    assert rows[CACHED]["efficiency"] == 1


@pytest.mark.parametrize("workers", [1])
def test_feed_compares_with_stored_images(workers: int, images: StoredImages) -> None:
    feeds = {CACHED: feed.cached("exfractaldb-1k", 2, "cpu"), STORED: feed.stored(images, 2, "cpu", workers)}
    rows = compare(feeds, feed.consumer("cpu", 1), 2, 2, "cpu", rounds=1)
    assert all(row.keys() == FED | {"over_stored"} for row in rows.values())
    assert rows[STORED]["over_stored"] == 1


def test_train_has_a_row_for_each_feed() -> None:
    few = {"with_stored": False, "augmented": False}
    rows = train.measure(["test_resnet"], ["exfractaldb-1k"], ["float32"], 2, "cpu", 0, 1, **few)
    assert list(rows) == [f"test_resnet: {name}" for name in (CACHED, "exfractaldb-1k float32")]
    assert all(row.keys() == FED for row in rows.values())


def test_train_feeds_name_stored_pictures(images: StoredImages) -> None:
    feeds = train.make_feeds(["rcdb-1k"], ["uint8"], 2, "cpu", 1, images)
    names = [CACHED, STORED, "stored JPEG, augmented by timm", "rcdb-1k uint8", "rcdb-1k uint8, augmented"]
    assert list(feeds) == names
