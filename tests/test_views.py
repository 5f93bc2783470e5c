"""Views, masks and multi-hot targets: what a stream yields besides one image and one label."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import fdsl_gpu
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.registry import PRESETS

SMALL = {"image_size": 32, "device": "cpu", "dtype": torch.uint8}
WITH_VIEWS = sorted(
    name
    for name, preset in PRESETS.items()
    if preset.formula.views and preset.formula.TARGET == "label" and preset.formula.num_classes <= 1000
)


@pytest.mark.parametrize("name", WITH_VIEWS)
def test_views_are_different_pictures_of_the_same_instances(name: str) -> None:
    dataset = fdsl_gpu.FDSLDataset(name, 4, views=3, **SMALL)
    views, labels = next(iter(dataset))
    assert isinstance(views, list)
    assert [view.shape for view in views] == [(4, 3, 32, 32)] * 3
    single = fdsl_gpu.FDSLDataset(name, 4, **SMALL)
    images, own_labels = next(iter(single))
    assert torch.equal(views[0], images)
    assert torch.equal(labels, own_labels)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert (views[first] != views[second]).flatten(1).any(dim=1).all()
    again = dataset.render(*dataset.locate(np.arange(4)))
    assert all(torch.equal(one, other) for one, other in zip(views, again, strict=True))


def test_views_of_a_space_fractal_show_one_cloud() -> None:
    formula = PRESETS["exfractaldb-1k"].formula
    key = (1, 2)
    first, second = (formula.draw(key, np.arange(3), np.full(3, 2**32), view) for view in (0, 1))
    for name in ("maps", "select", "sequence_low", "sequence_high"):
        assert np.array_equal(first[name], second[name])
    assert not np.array_equal(first["camera"], second["camera"])


def test_views_go_through_a_plain_data_loader() -> None:
    dataset = fdsl_gpu.FDSLDataset("exfractaldb-1k", views=2, **SMALL)
    views, labels = next(iter(DataLoader(dataset, batch_size=4)))
    batch, batch_labels = next(iter(fdsl_gpu.FDSLDataset("exfractaldb-1k", 4, views=2, **SMALL)))
    assert torch.equal(labels, batch_labels)
    assert all(torch.equal(one, other) for one, other in zip(views, batch, strict=True))
    views, label = fdsl_gpu.FDSLMapDataset("exfractaldb-1k", size=10, views=2, **SMALL)[3]
    assert torch.equal(views[1], batch[1][3])
    assert label == batch_labels[3]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fractaldb-1k", {"rendering": "point"}),
        ("2d-ofdb-1k", {"rendering": "point"}),
        ("1p-frac", {"rendering": "fill"}),
    ],
)
def test_views_and_validation_are_refused_where_a_class_has_few_pictures(name: str, options: dict) -> None:
    with pytest.raises(ValueError, match="views: received 2"):
        fdsl_gpu.FDSLDataset(name, 4, views=2, **SMALL, **options)
    with pytest.raises(ValueError, match="split: received 'val'"):
        fdsl_gpu.FDSLDataset(name, 4, split="val", **SMALL, **options)


def test_views_are_refused_where_nothing_differs() -> None:
    with pytest.raises(ValueError, match="views: received 2 for rcdb"):
        fdsl_gpu.FDSLDataset("rcdb-1k", 4, views=2, **SMALL)
    with pytest.raises(ValueError, match="views: received 2 for segrcdb"):
        fdsl_gpu.FDSLDataset("segrcdb", 4, views=2, **SMALL)
    with pytest.raises(ValueError, match="views: received 0"):
        fdsl_gpu.FDSLDataset("exfractaldb-1k", 4, views=0, **SMALL)


@pytest.mark.parametrize("mask_dtype", [torch.int64, torch.uint8])
def test_masks_come_in_place_of_labels(mask_dtype: torch.dtype) -> None:
    dataset = fdsl_gpu.FDSLDataset("segrcdb", 2, mask_dtype=mask_dtype, return_ids=True, **SMALL)
    assert dataset.num_classes == 255
    images, masks, ids = next(iter(dataset))
    assert images.shape == (2, 3, 32, 32)
    assert masks.shape == (2, 32, 32)
    assert masks.dtype == mask_dtype
    assert masks.max() <= 254
    assert 0.3 < (masks > 0).float().mean() < 0.99
    (instances,) = dataset.locate([0, 1])
    assert ids.tolist() == instances.tolist()
    again, again_masks = dataset.render(instances)
    assert torch.equal(again, images)
    assert torch.equal(again_masks, masks)


def test_masks_are_resized_by_nearest_neighbour() -> None:
    from PIL import Image

    full = fdsl_gpu.render("segrcdb", instances=[3], image_size=512, device="cpu")[1][0].numpy().astype(np.uint8)
    for size in (224, 100, 700):
        small = fdsl_gpu.render("segrcdb", instances=[3], image_size=size, device="cpu")[1][0].numpy()
        assert np.array_equal(small, np.asarray(Image.fromarray(full).resize((size, size), Image.Resampling.NEAREST)))


def test_masks_may_be_left_out() -> None:
    (images,) = next(iter(fdsl_gpu.FDSLDataset("segrcdb", 2, return_masks=False, **SMALL)))
    assert torch.equal(images, next(iter(fdsl_gpu.FDSLDataset("segrcdb", 2, **SMALL)))[0])
    with pytest.raises(ValueError, match="return_masks: received True for rcdb"):
        fdsl_gpu.FDSLDataset("rcdb-1k", 2, return_masks=True, **SMALL)


def test_several_objects_have_multi_hot_targets() -> None:
    dataset = fdsl_gpu.FDSLDataset("anderson-farrell-multi-1k", 8, **SMALL)
    images, targets = next(iter(dataset))
    assert images.shape == (8, 3, 32, 32)
    assert targets.shape == (8, dataset.num_classes)
    assert targets.dtype == torch.float32
    assert set(targets.unique().tolist()) == {0.0, 1.0}
    present = targets.sum(dim=1)
    assert present.min() >= 1
    assert present.max() <= 5
    again, again_targets = dataset.render(*dataset.locate(np.arange(8)))
    assert torch.equal(again, images)
    assert torch.equal(again_targets, targets)


@pytest.mark.parametrize("name", ["segrcdb", "anderson-farrell-multi-1k"])
def test_pictures_without_a_label_are_drawn_by_instance(name: str) -> None:
    images, _ = fdsl_gpu.render(name, [5, 6], image_size=32, device="cpu")
    again, _ = fdsl_gpu.render(name, 0, [5, 6], image_size=32, device="cpu")
    assert torch.equal(images, again)
    with pytest.raises(ValueError, match="labels: received 1"):
        fdsl_gpu.render(name, 1, [5, 6], device="cpu")
    with pytest.raises(TypeError, match="instances: received None"):
        fdsl_gpu.render(name, device="cpu")
    with pytest.raises(TypeError, match="instances: received None"):
        fdsl_gpu.render("rcdb-1k", 3, device="cpu")


def test_other_views_of_a_ring_are_elsewhere_on_it() -> None:
    formula = ExFractalDB(viewpoint="ring")
    first, second = (formula.draw((1, 2), np.zeros(12, np.int64), np.arange(12), view)["camera"] for view in (0, 1))
    # Jitter moves a camera by 3 degrees, 0.06; the next place is 30 degrees away.
    assert (np.abs(first - second).max(axis=(1, 2)) > 0.2).mean() > 0.5
