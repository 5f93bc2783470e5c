"""Batch memory is used again after the last tensor over it is gone, and never before."""

import pytest
import torch

from fdsl_gpu.batch_memory import BatchMemory

SHAPE = (2, 3, 8, 8)


def test_memory_of_a_dropped_batch_is_used_again() -> None:
    memory = BatchMemory()
    address = memory.empty(SHAPE, torch.float32, torch.contiguous_format).data_ptr()
    assert memory.empty(SHAPE, torch.float32, torch.contiguous_format).data_ptr() == address


@pytest.mark.parametrize("keep", [lambda t: t, lambda t: t[1:], lambda t: t.permute(0, 2, 3, 1), lambda t: t.numpy()])
def test_memory_is_not_used_again_while_anything_looks_at_it(keep: object) -> None:
    memory = BatchMemory()
    kept = keep(memory.empty(SHAPE, torch.float32, torch.contiguous_format).fill_(1))  # type: ignore[operator]
    for _ in range(3):
        memory.empty(SHAPE, torch.float32, torch.contiguous_format).fill_(2)
    assert (kept == 1).all()
    del kept


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shape_dtype_and_layout(dtype: torch.dtype, layout: torch.memory_format) -> None:
    batch = BatchMemory().empty((2, 3, 5, 7), dtype, layout)
    assert batch.shape == (2, 3, 5, 7)
    assert batch.dtype == dtype
    assert batch.is_contiguous(memory_format=layout)


def test_idle_memory_is_bounded_and_fits() -> None:
    memory = BatchMemory()
    batches = [memory.empty(SHAPE, torch.uint8, torch.contiguous_format) for _ in range(20)]
    del batches
    assert len(memory._idle) <= 4
    other = memory.empty((1, 1, 8, 8), torch.uint8, torch.contiguous_format)
    assert other.numel() == 64
