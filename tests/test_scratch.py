"""Memory kept between batches grows with the largest, and is not kept after a drawing that was interrupted."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from fdsl_gpu.formulas.rcdb import RCDB, class_table
from fdsl_gpu.formulas.segrcdb import SegRCDB
from fdsl_gpu.render.scratch import Scratch
from fdsl_gpu.renderer import Renderer

SHAPES = {"words": ((3, 2), torch.int32), "bytes": ((5,), torch.uint8)}
CPU = torch.device("cpu")
WRITE_OUT = {"image_size": 32, "channels": 1, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}


def test_tensors_are_kept_and_grow() -> None:
    scratch = Scratch(CPU, SHAPES)
    assert scratch.row_bytes == 3 * 2 * 4 + 5
    words, levels = scratch.rows(4)
    assert (words.shape, words.dtype) == ((4, 3, 2), torch.int32)
    assert (levels.shape, levels.dtype) == ((4, 5), torch.uint8)
    assert scratch.rows(2)[0] is words
    assert scratch.rows(5)[0].shape == (5, 3, 2)


def test_without_tensors() -> None:
    scratch = Scratch(CPU, {})
    assert scratch.row_bytes == 0
    assert scratch.rows(4) == ()


def test_memory_in_use_on_another_stream_is_not_handed_out() -> None:
    scratch = Scratch(CPU, SHAPES)
    tensors = [mock.MagicMock(spec=torch.Tensor, device=torch.device("cuda", 1)) for _ in SHAPES]
    for tensor in tensors:
        tensor.__len__.return_value = 2
    scratch._tensors = tuple(tensors)
    with mock.patch.object(torch.cuda, "current_stream", side_effect=lambda device: ("stream of", device)):
        scratch.rows(2)
        assert not any(tensor.record_stream.called for tensor in tensors)
        scratch.rows(3)
    for tensor in tensors:
        tensor.record_stream.assert_called_once_with(("stream of", torch.device("cuda", 1)))


def interrupted_once(owner: Any, name: str) -> Any:
    """A patch that raises in the place of the first call, where launchers have drawn lines on a canvas."""
    original, calls = getattr(owner, name), iter([True])

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls, False):
            raise KeyboardInterrupt
        return original(*arguments, **options)

    return mock.patch.object(owner, name, call)


def drawn_after_an_interrupt(renderer: Renderer, patch: Any, labels: np.ndarray, instances: np.ndarray) -> torch.Tensor:
    with patch:
        # Of other pictures, so that what they leave would show.
        with pytest.raises(KeyboardInterrupt):
            renderer(labels[::-1].copy(), instances + 7, masks=masks_of(renderer, labels))
        return renderer(labels, instances, masks=masks_of(renderer, labels))


def masks_of(renderer: Renderer, labels: np.ndarray) -> torch.Tensor | None:
    return renderer.empty_masks(len(labels)) if isinstance(renderer.formula, SegRCDB) else None


@pytest.mark.usefixtures("interpreter")
def test_a_batch_after_an_interrupted_one_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton_kernels import contour

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    labels = np.argsort(class_table(1000)["lines"], kind="stable")[10:13]
    renderers = [
        Renderer(RCDB(canvas_size=64), seed=3, device=CPU, write_out=WRITE_OUT, backend="triton") for _ in range(2)
    ]
    patch = mock.patch.object(contour, "resolve", _Interrupted(contour.resolve))
    received = drawn_after_an_interrupt(renderers[0], patch, labels, np.arange(3))
    assert torch.equal(received, renderers[1](labels, np.arange(3)))


class _Interrupted:
    """A kernel whose first launch is interrupted."""

    def __init__(self, kernel: Any) -> None:
        self._kernel, self._first = kernel, True

    def __getitem__(self, grid: Any) -> Any:
        if self._first:
            self._first = False
            raise KeyboardInterrupt
        return self._kernel[grid]


def test_a_scene_after_an_interrupted_one_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from fdsl_gpu.cpu_kernels import contour

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    renderers = [Renderer(SegRCDB(), seed=3, device=CPU, write_out=WRITE_OUT, mask_dtype=torch.uint8) for _ in range(2)]
    labels, instances = np.zeros(2, np.int64), np.arange(2)
    patch = interrupted_once(contour, "resolve_scene")
    received = drawn_after_an_interrupt(renderers[0], patch, labels, instances)
    assert torch.equal(received, renderers[1](labels, instances, masks=renderers[1].empty_masks(2)))
