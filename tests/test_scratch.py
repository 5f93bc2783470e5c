"""Memory kept between batches grows with the largest, and is not kept after a drawing that was interrupted."""

from unittest import mock

import pytest
import torch

from fdsl_gpu.render.contours import Contours
from fdsl_gpu.render.scratch import Scratch

SHAPES = {"words": ((3, 2), torch.int32), "bytes": ((5,), torch.uint8)}
CPU = torch.device("cpu")


def test_tensors_are_kept_and_grow() -> None:
    scratch = Scratch(CPU, SHAPES)
    assert scratch.row_bytes == 3 * 2 * 4 + 5
    with scratch.rows(4) as (words, levels):
        assert (words.shape, words.dtype) == ((4, 3, 2), torch.int32)
        assert (levels.shape, levels.dtype) == ((4, 5), torch.uint8)
    with scratch.rows(2) as (same, _):
        assert same is words
    with scratch.rows(5) as (more, _):
        assert more.shape == (5, 3, 2)


def test_without_tensors() -> None:
    scratch = Scratch(CPU, {})
    assert scratch.row_bytes == 0
    with scratch.rows(4) as tensors:
        assert tensors == ()


def test_what_was_zero_is_zero_again_after_an_interrupt() -> None:
    scratch = Scratch(CPU, SHAPES, zeroed=True)

    def interrupted() -> None:
        with scratch.rows(4) as (words, _):
            assert not words.any()
            words.fill_(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with scratch.rows(4) as (words, _):
        assert not words.any()


def test_memory_in_use_on_another_stream_is_not_handed_out() -> None:
    scratch = Scratch(CPU, SHAPES)
    tensors = [mock.MagicMock(spec=torch.Tensor, device=torch.device("cuda", 1)) for _ in SHAPES]
    for tensor in tensors:
        tensor.__len__.return_value = 2
    scratch._tensors = tuple(tensors)
    with mock.patch.object(torch.cuda, "current_stream", side_effect=lambda device: ("stream of", device)):
        with scratch.rows(2):
            assert not any(tensor.record_stream.called for tensor in tensors)
        with scratch.rows(3):
            pass
    for tensor in tensors:
        tensor.record_stream.assert_called_once_with(("stream of", torch.device("cuda", 1)))


@pytest.mark.usefixtures("interpreter")
def test_a_picture_after_an_interrupted_one_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from fdsl_gpu import philox
    from fdsl_gpu.records import CONTOURS, as_words

    records = torch.zeros((1, CONTOURS.itemsize // 4), dtype=torch.int32)
    rows = records.numpy().view(CONTOURS)[:, 0]
    rows["vertices"], rows["lines"], rows["grey_levels"] = 3, 1, 257
    rows["radius_x"], rows["radius_y"], rows["center_x"], rows["center_y"] = 6, 6, 8, 8
    assert torch.equal(records, torch.from_numpy(as_words(rows)))
    settings = {"canvas_size": 16, "max_vertices": 4, "max_lines": 2, "background": 255, "device": CPU}
    contours = Contours(**settings, backend="triton")
    planes, key = torch.empty((1, 1, 16, 16), dtype=torch.uint8), philox.dataset_key(0, 1)
    with monkeypatch.context() as patched:
        patched.setattr(contours.stage.kernels, "resolve", mock.MagicMock(__getitem__=mock.Mock(side_effect=KeyError)))
        with pytest.raises(KeyError):
            contours.draw(records, key, planes)
    rows["center_x"] = 1000
    contours.draw(records, key, planes)
    assert (planes == 255).all()
