"""Memory kept between batches grows with the largest, and is not kept after a drawing that was interrupted."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from fdsl_gpu.formulas.rcdb import RCDB, class_table
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


class Interrupted:
    """A kernel whose first launch is interrupted."""

    def __init__(self, kernel: Any) -> None:
        self._kernel, self._first = kernel, True

    def __getitem__(self, grid: Any) -> Any:
        if self._first:
            self._first = False
            raise KeyboardInterrupt
        return self._kernel[grid]


@pytest.mark.usefixtures("interpreter")
def test_a_batch_after_an_interrupted_one_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton_kernels import contour

    # The interpreter keeps its state in globals.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    labels, instances = np.argsort(class_table(1000)["lines"], kind="stable")[10:13], np.arange(3)
    settings: dict[str, Any] = {"seed": 3, "device": CPU, "write_out": WRITE_OUT, "backend": "triton"}
    renderer, other = (Renderer(RCDB(canvas_size=64), **settings) for _ in range(2))
    monkeypatch.setattr(contour, "resolve", Interrupted(contour.resolve))
    # Lines of other pictures are on the canvas then.
    with pytest.raises(KeyboardInterrupt):
        renderer(labels, instances + 7)
    assert torch.equal(renderer(labels, instances), other(labels, instances))
