"""Mixtures: several datasets in one stream."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import fdsl_gpu
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.rcdb import RCDB

PARTS = [RCDB(num_classes=30), ExFractalDB(num_classes=10)]
SMALL = {"image_size": 32, "device": "cpu", "dtype": torch.uint8}


def test_mixture_concatenates_labels() -> None:
    mixed = fdsl_gpu.FDSLDataset(PARTS, 8, **SMALL)
    assert mixed.num_classes == 40
    labels, _ = mixed.locate(np.arange(4000))
    assert set(labels.tolist()) == set(range(40))
    assert mixed.class_parameters(29) == fdsl_gpu.FDSLDataset(PARTS[0], device="cpu").class_parameters(29)
    assert np.array_equal(
        mixed.class_parameters(30)["maps"], fdsl_gpu.FDSLDataset(PARTS[1], device="cpu").class_parameters(0)["maps"]
    )


@pytest.mark.parametrize("weights", [None, (1, 3), (0.999, 0.001)], ids=["by classes", "1:3", "rare"])
def test_mixture_shows_datasets_by_weight(weights: tuple[float, float] | None) -> None:
    labels, _ = fdsl_gpu.FDSLDataset(PARTS, 8, weights=weights, **SMALL).locate(np.arange(40_000))
    share = 0.75 if weights is None else weights[0] / sum(weights)
    assert abs((labels < 30).mean() - share) < 5 * np.sqrt(share * (1 - share) / 40_000)
    # Within a dataset classes stay balanced.
    counts = np.bincount(labels[labels < 30], minlength=30)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 29 + 5 * np.sqrt(2 * 29)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"augment": "fdsl"},
        {"dtype": torch.bfloat16, "memory_format": torch.channels_last},
        {"augment": "fdsl", "dtype": torch.float32},
        {"mode": "vector", "augment": "fdsl"},
    ],
    ids=str,
)
def test_mixture_shows_what_its_datasets_show(
    options: dict[str, Any], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    settings = {**SMALL, **options, "seed": 3}
    mixed = fdsl_gpu.FDSLDataset(PARTS, 16, **settings)
    positions = np.arange(16)
    images, labels = next(iter(mixed))
    assert torch.equal(images, mixed.render(*mixed.locate(positions)))
    for part, first in zip(PARTS, (0, 30), strict=True):
        alone = fdsl_gpu.FDSLDataset(part, 16, **settings)
        own_images, own_labels = next(iter(alone))
        shown = (labels >= first) & (labels < first + part.num_classes)
        assert shown.any()
        assert torch.equal(labels[shown] - first, own_labels[shown])
        assert torch.equal(images[shown], own_images[shown])


def test_views_of_a_mixture_are_those_of_its_datasets() -> None:
    names = ["exfractaldb-1k", "fractaldb-1k"]
    mixed, *parts = (fdsl_gpu.FDSLDataset(name, 16, views=2, seed=3, **SMALL) for name in (names, *names))
    views, labels = next(iter(mixed))
    for number, part in enumerate(parts):
        shown = labels // 1000 == number
        for view, own in zip(views, next(iter(part))[0], strict=True):
            assert torch.equal(view[shown], own[shown])


def test_mixture_of_one_is_the_dataset_itself() -> None:
    one = fdsl_gpu.FDSLDataset(["rcdb-1k"], 4, **SMALL)
    alone = fdsl_gpu.FDSLDataset("rcdb-1k", 4, **SMALL)
    assert torch.equal(next(iter(one))[0], next(iter(alone))[0])
    assert one.state_dict() == alone.state_dict()


def test_mixture_resumes_and_pickles() -> None:
    mixed = fdsl_gpu.FDSLDataset(PARTS, 4, weights=[1, 1], **SMALL)
    stream = iter(mixed)
    next(stream)
    state = json.loads(json.dumps(mixed.state_dict()))
    expected = next(stream)
    resumed = pickle.loads(pickle.dumps(mixed))
    resumed.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(next(iter(resumed)), expected, strict=True))
    with pytest.raises(ValueError, match="weights: saved"):
        fdsl_gpu.FDSLDataset(PARTS, 4, weights=[1, 2], **SMALL).load_state_dict(state)


@pytest.mark.parametrize(
    ("dataset", "keywords", "message"),
    [
        ([], {}, "dataset: received an empty list"),
        (["rcdb-1k", "rcdb-2k"], {}, "dataset: received 'rcdb-2k'"),
        (["rcdb-1k", 7], {}, "dataset: received 7"),
        (PARTS, {"weights": [1]}, "weights: received"),
        (PARTS, {"weights": [1, 0]}, "weights: received"),
        (PARTS, {"weights": [1, float("nan")]}, "weights: received"),
        (PARTS, {"weights": "ab"}, "weights: received"),
        (PARTS, {"num_classes": 5}, "num_classes: not an option of a mixture"),
        (PARTS, {"background": "black"}, "background: not an option of a mixture"),
        (PARTS, {"instances_per_class": 10}, "instances_per_class: received 10 for a mixture"),
        (["rcdb-50k", "rcdb-21k"], {}, "num_classes: received 71000"),
        (["rcdb-1k", "segrcdb"], {}, "mixture with segrcdb"),
    ],
)
def test_wrong_mixtures_are_refused(dataset: object, keywords: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fdsl_gpu.FDSLDataset(dataset, 4, **SMALL, **keywords)
