"""Mixup and CutMix: timm's results for the same draws, timm's law, and no global state."""

import numpy as np
import pytest
import timm.data
import torch
from timm.data import mixup as timm_mixup

from fdsl_gpu.augment import Mixing, recipe
from fdsl_gpu.mixing import Mix, Mixup, apply, cut_box, mixed_targets

CLASSES = 11


def _batch(seed: int, size: int = 6, height: int = 24, width: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, height, width, generator=generator)
    return images, torch.randint(0, CLASSES, (size,), generator=generator)


def _timm(mix: Mix, drawn: tuple[float, int, int], monkeypatch: pytest.MonkeyPatch, **settings) -> timm.data.Mixup:
    """timm's Mixup that draws what ours drew."""
    lam, row, column = drawn
    theirs = timm.data.Mixup(num_classes=CLASSES, mixup_alpha=0.8, cutmix_alpha=1.0, **settings)
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (lam, mix.box is not None))
    centre = iter([row, column])
    monkeypatch.setattr(timm_mixup.np.random, "randint", lambda *_, **__: next(centre))
    return theirs


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "multi-hot"])
def test_same_as_timm_for_the_same_draws(seed: int, dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    lam, row, column = float(rng.beta(1, 1)), int(rng.integers(24)), int(rng.integers(20))
    mix = cut_box(lam, row, column, 24, 20) if seed % 2 else Mix(lam, None)
    images, labels = _batch(seed)
    targets = (torch.rand(6, CLASSES) < 0.3).float() if dense else labels
    theirs = _timm(mix, (lam, row, column), monkeypatch, label_smoothing=0.1, multi_label=dense)
    expected_images, expected_targets = theirs(images.clone(), targets)

    mixup = Mixup(CLASSES, Mixing())
    monkeypatch.setattr(mixup, "draw", lambda *_: mix)
    mine, mine_targets = mixup(images, targets)
    assert mine is images
    assert mine_targets.dtype == torch.float32
    assert torch.allclose(mine, expected_images, rtol=0, atol=1e-6)
    assert torch.allclose(mine_targets, expected_targets, rtol=0, atol=1e-6)


def test_law_is_timms() -> None:
    """Share of CutMix, weights and box sides over 20,000 batches: two-sample Kolmogorov-Smirnov at the 0.01 % level."""
    count = 20_000
    mixup, theirs = Mixup(CLASSES, "fdsl"), timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0)
    mine = [mixup.draw(step, 0, 224, 224) for step in range(count)]
    np.random.seed(0)  # noqa: NPY002 (timm draws from it)
    timms = []
    for _ in range(count):
        lam, cut = theirs._params_per_batch()
        box, lam = timm_mixup.cutmix_bbox_and_lam((224, 224), lam) if cut else (None, lam)
        timms.append(Mix(lam, (box[0], box[1], box[2], box[3]) if box else None))
    assert abs(np.mean([mix.box is not None for mix in mine]) - 0.5) < 0.015
    for cut in (False, True):
        _assert_same_law(*([mix.lam for mix in mixes if (mix.box is not None) == cut] for mixes in (mine, timms)))
    for side in range(4):
        _assert_same_law(*([mix.box[side] for mix in mixes if mix.box] for mixes in (mine, timms)))


def _assert_same_law(ours: list[float], timms: list[float]) -> None:
    one, other = np.sort(ours), np.sort(timms)
    both = np.concatenate([one, other])
    distance = np.abs(
        np.searchsorted(one, both, "right") / one.size - np.searchsorted(other, both, "right") / other.size
    ).max()
    assert distance * np.sqrt(one.size * other.size / (one.size + other.size)) < 2.23


def test_a_function_of_seed_step_and_rank_alone() -> None:
    first = Mixup(CLASSES, "fdsl", seed=5)
    again = Mixup(CLASSES, recipe("fdsl"), seed=5, rank=3)
    assert first.draw(7, 3, 64, 64) == again.draw(7, 3, 64, 64)
    draws = {first.draw(7, 3, 64, 64), first.draw(8, 3, 64, 64), first.draw(7, 4, 64, 64)}
    assert len(draws | {Mixup(CLASSES, "fdsl", seed=6).draw(7, 3, 64, 64)}) == 4


def test_steps_count_themselves_and_resume() -> None:
    one, other = Mixup(CLASSES, "fdsl", seed=1), Mixup(CLASSES, "fdsl", seed=1)
    for step in range(4):
        counted, _ = one(*_batch(step))
        given, _ = other(*_batch(step), step=step)
        assert torch.equal(counted, given)
    assert (one.step, other.step) == (4, 0)
    other.step = one.step
    assert torch.equal(one(*_batch(9))[1], other(*_batch(9))[1])


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    Mixup(CLASSES, "fdsl")(*_batch(0))
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize(
    ("mixing", "cut"),
    [(Mixing(mixup_alpha=0), True), (Mixing(cutmix_alpha=0), False), (Mixing(switch_probability=1), True)],
    ids=["cutmix-only", "mixup-only", "always-switch"],
)
def test_one_of_the_two(mixing: Mixing, cut: bool) -> None:
    assert all((Mixup(CLASSES, mixing).draw(step, 0, 64, 64).box is not None) == cut for step in range(50))


@pytest.mark.parametrize("off", ["probability", "alphas", "attribute"])
def test_off_smooths_targets_only(off: str) -> None:
    mixing = {"probability": Mixing(probability=0), "alphas": Mixing(mixup_alpha=0, cutmix_alpha=0)}.get(off, Mixing())
    mixup = Mixup(CLASSES, mixing)
    mixup.enabled = off != "attribute"
    images, labels = _batch(0)
    mixed, targets = mixup(images.clone(), labels)
    assert torch.equal(mixed, images)
    assert torch.equal(targets.argmax(1), labels)
    assert torch.allclose(targets.sum(1), torch.ones(6))
    assert torch.allclose(targets.max(1).values, torch.full((6,), 0.9 + 0.1 / CLASSES))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_types_and_layouts_stay(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    images, labels = _batch(0, size=5)
    expected = images.clone()
    images = images.to(dtype).contiguous(memory_format=memory_format)
    for mix in (Mix(0.25, None), Mix(0.5, (3, 10, 0, 20))):
        apply(images, mix)
        apply(expected, mix)
    assert images.dtype == dtype
    assert images.is_contiguous(memory_format=memory_format)
    assert torch.allclose(images.float(), expected, atol=0.05)
    assert mixed_targets(labels, CLASSES, 0.5, 0.1, "cpu").dtype == torch.float32


def test_errors() -> None:
    images, labels = _batch(0)
    mixup = Mixup(CLASSES, "fdsl")
    with pytest.raises(ValueError, match="mixing: received recipe 'none'"):
        Mixup(CLASSES, "none")
    with pytest.raises(TypeError, match="images: received"):
        mixup(images.to(torch.uint8), labels)
    with pytest.raises(ValueError, match="labels: received"):
        mixup(images, labels[:3])
    with pytest.raises(ValueError, match="labels: received"):
        mixup(images, torch.zeros(6, CLASSES + 1))
    with pytest.raises(TypeError, match="images: received a list"):
        mixup([images, images], labels)
    with pytest.raises(TypeError, match="labels: received a list"):
        mixup(images, labels.tolist())
    for label in (-1, CLASSES):
        with pytest.raises(ValueError, match=f"labels: received {label} at index 2.* num_classes"):
            mixup(images, labels.index_fill(0, torch.tensor([2]), label))
    assert mixup.step == 0
    assert torch.equal(images, _batch(0)[0])
    with pytest.raises(ValueError, match="seed"):
        Mixup(CLASSES, "fdsl", seed=-1)
