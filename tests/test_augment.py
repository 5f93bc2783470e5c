"""Recipes: named settings, checks at construction, variants, fingerprints."""

import dataclasses
import json

import numpy as np
import pytest
from timm.data import auto_augment
from timm.data.transforms_factory import transforms_imagenet_train

from fdsl_gpu.augment import (
    OPERATIONS,
    RAND_AUGMENT,
    RECIPES,
    Mixing,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Recipe,
    WholeCanvas,
    recipe,
)


def test_choices_are_timms_increasing_list_in_its_order() -> None:
    timms = [name.removesuffix("Increasing").removesuffix("Rel") for name in auto_augment._RAND_INCREASING_TRANSFORMS]
    assert list(RAND_AUGMENT) == timms
    affine = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}
    assert set(RAND_AUGMENT) - affine == set(OPERATIONS) - {"Affine"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (
            "fdsl",
            {
                "mean": (0.485, 0.456, 0.406),
                "std": (0.229, 0.224, 0.225),
                "hflip": 0.0,
                "re_prob": 0.25,
                "interpolation": "random",
            },
        ),
        (
            "ofdb",
            {
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
                "hflip": 0.5,
                "vflip": 0.5,
                "re_prob": 0.5,
                "interpolation": "bicubic",
            },
        ),
    ],
)
def test_named_recipes_are_what_timm_makes_of_the_released_arguments(name: str, arguments: dict) -> None:
    transforms = transforms_imagenet_train(
        224, auto_augment="rand-m9-mstd0.5-inc1", re_mode="pixel", re_count=1, **arguments
    ).transforms
    by_name = {type(transform).__name__: transform for transform in transforms}
    mine = recipe(name)
    crop, augment, erasing = mine.crop, mine.rand_augment, mine.erasing
    timms_crop, timms_erasing = by_name["RandomResizedCropAndInterpolation"], by_name["RandomErasing"]
    assert isinstance(crop, RandomResizedCrop)
    assert (crop.scale, crop.ratio) == (timms_crop.scale, timms_crop.ratio)
    assert (crop.interpolation == "random") == isinstance(timms_crop.interpolation, tuple)
    assert mine.horizontal_flip == getattr(by_name.get("RandomHorizontalFlip"), "p", 0.0)
    assert mine.vertical_flip == getattr(by_name.get("RandomVerticalFlip"), "p", 0.0)
    timms = by_name["RandAugment"]
    assert augment is not None
    assert augment.num_operations == timms.num_layers
    for op in timms.ops:
        assert (augment.magnitude, augment.magnitude_std, augment.probability) == (
            op.magnitude,
            op.magnitude_std,
            op.prob,
        )
        assert augment.fill == op.kwargs["fillcolor"]
        resample = op.kwargs["resample"]
        assert augment.interpolation == ("random" if isinstance(resample, tuple) else resample.name.lower())
    assert erasing is not None
    assert erasing.probability == timms_erasing.probability
    assert (erasing.min_area, erasing.max_area) == (timms_erasing.min_area, timms_erasing.max_area)
    assert (erasing.min_count, erasing.max_count) == (timms_erasing.min_count, timms_erasing.max_count)
    assert (erasing.mode == "pixel") == timms_erasing.per_pixel


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_data(name: str) -> None:
    mine = recipe(name)
    assert mine is recipe(mine) is recipe(name.upper())
    assert mine.name == name
    assert hash(mine) == hash(dataclasses.replace(mine))
    assert f"name='{name}'" in repr(mine)
    fingerprint = mine.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert dataclasses.replace(mine, name="another").fingerprint() == fingerprint
    assert dataclasses.replace(mine, horizontal_flip=0.125).fingerprint() != fingerprint


def test_fingerprints_tell_crops_without_settings_apart() -> None:
    assert Recipe(crop=RandomCrop()).fingerprint() != Recipe(crop=WholeCanvas()).fingerprint()


def test_none_and_lists() -> None:
    assert recipe(None) is RECIPES["none"]
    assert Recipe(crop=None).crop == WholeCanvas()
    mine = Recipe(crop=RandomResizedCrop(scale=[0.5, 1]), normalize=[np.array([0.1, 0.2, 0.3]), 0.5])
    assert mine.normalize == ((0.1, 0.2, 0.3), 0.5)
    assert mine.crop == RandomResizedCrop(scale=(0.5, 1.0))
    hash(mine)


def test_without() -> None:
    mine = recipe("ofdb").without("mixing", "erasing", "vertical_flip", "crop")
    assert (mine.mixing, mine.erasing, mine.vertical_flip, mine.crop) == (None, None, 0.0, WholeCanvas())
    assert mine.rand_augment == recipe("ofdb").rand_augment
    assert mine.horizontal_flip == 0.5
    with pytest.raises(ValueError, match="Did you mean 'rand_augment'"):
        mine.without("randaugment")


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"augment: received 'fdls'; allowed: .* Did you mean 'fdsl'\?"):
        recipe("fdls")
    with pytest.raises(TypeError, match="augment: received 3"):
        recipe(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomResizedCrop(scale=(0.5, 0.1)), ValueError, r"scale.*Swap"),
        (lambda: RandomResizedCrop(scale=0.5), ValueError, "scale.*length 2"),
        (lambda: RandomResizedCrop(scale=(0.5, 1.5)), ValueError, "scale: received 1.5"),
        (lambda: RandomResizedCrop(interpolation="nearest"), ValueError, "interpolation"),
        (lambda: WholeCanvas(interpolation="cubic"), ValueError, "Did you mean 'bicubic'"),
        (lambda: RandAugment(magnitude=11), ValueError, r"magnitude: received 11; allowed: a number in \[0, 10\]"),
        (lambda: RandAugment(magnitude="9"), TypeError, "magnitude"),
        (lambda: RandAugment(num_operations=5), ValueError, "num_operations"),
        (lambda: RandAugment(num_operations=0), ValueError, "rand_augment=None"),
        (lambda: RandAugment(fill=(1, 2)), ValueError, "fill"),
        (lambda: RandAugment(fill=(1, 2, 256)), ValueError, "fill"),
        (lambda: RandomErasing(mode="pixels"), ValueError, "Did you mean 'pixel'"),
        (lambda: RandomErasing(min_area=0.5), ValueError, "min_area"),
        (lambda: RandomErasing(min_count=2), ValueError, "min_count"),
        (lambda: RandomErasing(probability=float("nan")), ValueError, "probability: received nan"),
        (lambda: Mixing(mixup_alpha=-1), ValueError, "mixup_alpha"),
        (lambda: Mixing(probability=True), TypeError, "probability"),
        (lambda: Recipe(crop="random"), TypeError, "crop: received 'random'.*RandomResizedCrop"),
        (lambda: Recipe(erasing=0.25), TypeError, "erasing"),
        (lambda: Recipe(mixing=Mixing), TypeError, "mixing"),
        (lambda: Recipe(horizontal_flip=1.5), ValueError, "horizontal_flip"),
        (lambda: Recipe(repeats=0), ValueError, "repeats"),
        (lambda: Recipe(normalize="imagnet"), ValueError, "normalize"),
        (lambda: Recipe(normalize=(0.5, 0.0)), ValueError, "normalize: .* std above zero"),
        (lambda: Recipe(normalize=((0.5, 0.5), (0.5, 0.5))), ValueError, "normalize: .* each a number or three"),
    ],
)
def test_bad_values(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
