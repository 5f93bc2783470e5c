"""Streams with augmentation: content by instance, presentation by position, both functions of the position alone."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import fdsl_gpu
from fdsl_gpu.augment import RandomErasing, Recipe, recipe
from fdsl_gpu.stream import MAX_POSITION, repeated

SMALL = {"image_size": 48, "device": "cpu", "dtype": torch.uint8}
FEW = recipe("fdsl").without("repeats")


def take(dataset: fdsl_gpu.FDSLDataset, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = [batch for batch, _ in zip(dataset, range(count), strict=False)]
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k", "anderson-farrell-1k"])
@pytest.mark.parametrize("augment", ["fdsl", "ofdb"])
def test_augmented_bytes_do_not_depend_on_batches_or_ranks(name: str, augment: str) -> None:
    whole = take(fdsl_gpu.FDSLDataset(name, 24, augment=augment, **SMALL), 1)
    parts = take(fdsl_gpu.FDSLDataset(name, 4, augment=augment, **SMALL), 6)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))
    ranks = [
        take(fdsl_gpu.FDSLDataset(name, 6, augment=augment, rank=rank, world_size=2, **SMALL), 2)[0]
        for rank in range(2)
    ]
    order = torch.stack([part.view(2, 6, *part.shape[1:]) for part in ranks], dim=1).flatten(0, 2)
    assert torch.equal(order, whole[0])


def test_locate_tells_the_presentation_and_render_repeats_it() -> None:
    dataset = fdsl_gpu.FDSLDataset("rcdb-1k", 8, augment=FEW, **SMALL)
    images, labels = next(iter(dataset))
    content = dataset.locate(np.arange(8))
    assert content[0].tolist() == labels.tolist()
    assert content[2].tolist() == list(range(8))
    assert torch.equal(dataset.render(*content), images)
    plain = fdsl_gpu.FDSLDataset("rcdb-1k", 8, **SMALL)
    assert torch.equal(dataset.render(*content[:2]), next(iter(plain))[0])


def test_validation_has_presentations_of_its_own() -> None:
    train, val = (fdsl_gpu.FDSLDataset("rcdb-1k", 8, augment=FEW, split=split, **SMALL) for split in ("train", "val"))
    assert val.locate(0)[2] > train.locate(MAX_POSITION - 1)[2]


def test_finite_sets_are_presented_afresh_each_epoch() -> None:
    settings = {"num_classes": 4, "instances_per_class": 2, "return_ids": True, **SMALL}
    stream = iter(fdsl_gpu.FDSLDataset("exfractaldb-1k", 8, augment=FEW, **settings))
    (first, _, first_ids), (second, _, second_ids) = next(stream), next(stream)
    assert sorted(first_ids.tolist()) == sorted(second_ids.tolist())
    again = first[first_ids.argsort()] != second[second_ids.argsort()]
    assert again.flatten(1).any(dim=1).sum() >= 7


def test_repeats_stand_a_fixed_distance_apart() -> None:
    three = dataclasses.replace(FEW, repeats=3, repeat_distance=4)
    dataset = fdsl_gpu.FDSLDataset("rcdb-1k", 24, augment=three, return_ids=True, **SMALL)
    images, labels, ids = next(iter(dataset))
    assert ids[:12].tolist() == ids[:4].tolist() * 3
    assert ids[12:].tolist() == ids[12:16].tolist() * 3
    assert len(set(ids.tolist())) == 8
    assert labels[:12].tolist() == labels[:4].tolist() * 3
    assert (images[:4] != images[4:8]).flatten(1).any(dim=1).all()
    plain = fdsl_gpu.FDSLDataset("rcdb-1k", 8, return_ids=True, **SMALL)
    assert sorted(set(ids.tolist())) == sorted(next(iter(plain))[2].tolist())


def test_named_recipe_repeats_as_the_released_runs() -> None:
    labels, instances, _ = fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment="fdsl", **SMALL).locate(np.arange(3 * 64))
    assert np.array_equal(instances, np.tile(instances[:64], 3))
    assert np.array_equal(labels, np.tile(labels[:64], 3))
    assert len(set(instances)) == 64


@pytest.mark.parametrize(("repeats", "distance"), [(1, 1), (3, 1), (3, 64), (2, 7)])
def test_repeated_shows_every_position_equally_often(repeats: int, distance: int) -> None:
    shown = repeated(np.arange(repeats * distance * 5), repeats, distance)
    assert np.array_equal(np.bincount(shown), np.full(distance * 5, repeats))
    places = [np.flatnonzero(shown == position) for position in range(distance)]
    assert all((np.diff(place) == distance).all() for place in places)


def test_views_of_augmented_pictures_are_crops_of_the_same_instance() -> None:
    dataset = fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment=FEW, views=2, **SMALL)
    (first, second), _ = next(iter(dataset))
    assert (first != second).flatten(1).any(dim=1).all()
    alone = fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment=FEW, **SMALL)
    assert torch.equal(first, next(iter(alone))[0])


def test_normalisation_is_the_recipes_unless_given() -> None:
    half = recipe("ofdb").without("erasing", "rand_augment")
    images, _ = next(iter(fdsl_gpu.FDSLDataset("exfractaldb-1k", 4, 32, "cpu", augment=half)))
    assert (images.min(), images.max()) == (-1, 1)
    images, _ = next(iter(fdsl_gpu.FDSLDataset("exfractaldb-1k", 4, 32, "cpu", augment=half, normalize=None)))
    assert (images.min(), images.max()) == (0, 1)


def test_erased_bytes_normalise_to_zero_by_the_recipe() -> None:
    grey = dataclasses.replace(recipe("ofdb"), erasing=RandomErasing(probability=1, mode="const"))
    images, plain = (
        next(iter(fdsl_gpu.FDSLDataset("exfractaldb-1k", 4, augment=augment, **SMALL)))[0]
        for augment in (grey, grey.without("erasing"))
    )
    erased = (images != plain).any(dim=1)
    assert erased.flatten(1).any(dim=1).all()
    assert (images.movedim(1, -1)[erased] == 128).all()


def test_mixing_alone_presents_nothing() -> None:
    only_mixing = Recipe(crop=None, mixing=recipe("fdsl").mixing)
    dataset = fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment=only_mixing, interpolation="bicubic", **SMALL)
    plain = fdsl_gpu.FDSLDataset("rcdb-1k", 4, interpolation="bicubic", **SMALL)
    assert len(dataset.locate([0])) == 2
    assert torch.equal(next(iter(dataset))[0], next(iter(plain))[0])


def test_bytes_without_normalisation_can_be_augmented() -> None:
    raw = recipe("fdsl").without("normalize", "repeats")
    images, _ = next(iter(fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment=raw, **SMALL)))
    assert images.dtype == torch.uint8


def test_resumes_and_refuses_the_state_of_another_recipe() -> None:
    dataset = fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment="fdsl", **SMALL)
    stream = iter(dataset)
    next(stream)
    state = json.loads(json.dumps(dataset.state_dict()))
    resumed = fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment="fdsl", **SMALL)
    resumed.load_state_dict(state)
    assert torch.equal(next(iter(resumed))[0], next(stream)[0])
    with pytest.raises(ValueError, match="augment: saved"):
        fdsl_gpu.FDSLDataset("rcdb-1k", 4, augment="ofdb", **SMALL).load_state_dict(state)


def test_augmentation_by_index_changes_with_the_epoch() -> None:
    dataset = fdsl_gpu.FDSLMapDataset("rcdb-1k", size=8, augment=FEW, **SMALL)
    first = dataset[3][0]
    assert torch.equal(first, fdsl_gpu.FDSLDataset("rcdb-1k", 8, augment=FEW, **SMALL).render(*dataset.locate([3]))[0])
    dataset.set_epoch(1)
    assert not torch.equal(first, dataset[3][0])
    assert dataset[3][1] == dataset.locate([3])[0][0]


def test_own_transform_gets_the_finished_batch() -> None:
    from torchvision.transforms import v2

    dataset = fdsl_gpu.FDSLDataset("rcdb-1k", 4, transform=v2.RandomInvert(p=1.0), **SMALL)
    plain = fdsl_gpu.FDSLDataset("rcdb-1k", 4, **SMALL)
    assert torch.equal(next(iter(dataset))[0], 255 - next(iter(plain))[0])
    assert dataset.state_dict() == plain.state_dict()
    views, _ = next(iter(fdsl_gpu.FDSLDataset("exfractaldb-1k", 4, transform=lambda x: x[:, :1], views=2, **SMALL)))
    assert [view.shape[1] for view in views] == [1, 1]
    with pytest.raises(TypeError, match="transform: received 3"):
        fdsl_gpu.FDSLDataset("rcdb-1k", 4, transform=3, **SMALL)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"augment": "fdls"}, "augment: received 'fdls'.*Did you mean 'fdsl'"),
        ({"augment": 3}, "augment: received 3"),
        ({"augment": "fractaldb-resnet", "canvas_size": 40}, "RandomCrop to image_size=48 of a canvas of 40"),
        ({"repeats": 0}, "repeats: received 0"),
        ({"augment": Recipe(), "repeats": 1.5}, "repeats: received 1.5"),
    ],
)
def test_wrong_recipes_are_refused(keywords: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        fdsl_gpu.FDSLDataset("rcdb-1k", 4, **SMALL, **keywords)


def test_pictures_with_masks_are_not_augmented() -> None:
    with pytest.raises(ValueError, match="augment: received 'fdsl' for segrcdb"):
        fdsl_gpu.FDSLDataset("segrcdb", 4, augment="fdsl", **SMALL)
