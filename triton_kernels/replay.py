"""What was launched for one batch, launched again for the next.

The kernels of a batch are always the same, with the same numbers and the same scratch memory: only the addresses of the
batch itself differ. So they are found out once. A CUDA graph would save more of what the driver does, but it reads and
writes at fixed addresses, which costs copies of every batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from triton import knobs
from triton.runtime import driver

Step: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""What queues something on a stream, called with these arguments and ``stream=``."""

_Slot: TypeAlias = tuple[int, int, int]
"""Which argument is an address in the batch: in which of its tensors, how many bytes from its start."""


_INTERPRETED = knobs.runtime.interpret


class _Recording(threading.local):
    steps: list[Step] | None = None


_RECORDING = _Recording()


@contextmanager
def recording() -> Iterator[list[Step]]:
    """What this thread queues by kernels and by :func:`clear` meanwhile; nothing under Triton's interpreter."""
    steps: list[Step] = []
    _RECORDING.steps = None if _INTERPRETED else steps
    try:
        yield steps
    finally:
        _RECORDING.steps = None


def record(queue: Callable[..., Any], *arguments: Any) -> None:
    """Note something that was queued just now."""
    if _RECORDING.steps is not None:
        _RECORDING.steps.append((queue, arguments))


def clear(tensor: Any) -> None:
    """Fill scratch memory with zeros."""
    tensor.zero_()
    record(lambda stream: tensor.zero_())


def kind(tensors: Sequence[Any]) -> Hashable:
    """What of a batch's tensors decides the launches made for it: layouts, and what Triton compiles for."""
    return tuple(
        (
            *(tensor.device, tensor.dtype, tensor.shape, tensor.stride()),
            *(tensor.data_ptr() % 16, tensor.untyped_storage().nbytes() >> 31),
        )
        for tensor in tensors
    )


class Replay:
    """Queues the steps of a recording again, for another batch of the same :func:`kind`.

    Args:
        steps: from :func:`recording`.
        batch: the tensors of the batch that was recorded. Kernels may have been given any views of them; other tensors
            are scratch memory, which is kept and used again.
    """

    def __init__(self, steps: Sequence[Step], batch: Sequence[Any]) -> None:
        self._steps: list[tuple[Callable[..., Any], list[Any], list[_Slot]]] = []
        self._scratch: list[Any] = []
        for queue, arguments in steps:
            given, slots = list(arguments), []
            for slot, argument in enumerate(arguments):
                if hasattr(argument, "data_ptr"):
                    # An address is what drivers make of a tensor, after asking the GPU whether it can be reached.
                    given[slot] = argument.data_ptr()
                    found = _found_in(batch, argument)
                    if found is None:
                        self._scratch.append(argument)
                    else:
                        slots.append((slot, *found))
            self._steps.append((queue, given, slots))

    def __call__(self, batch: Sequence[Any]) -> None:
        """Queue on the current stream of the current device."""
        starts = [tensor.data_ptr() for tensor in batch]
        stream = driver.active.get_current_stream(driver.active.get_current_device())
        for queue, arguments, slots in self._steps:
            for slot, number, offset in slots:
                arguments[slot] = starts[number] + offset
            queue(*arguments, stream=stream)


def _found_in(batch: Sequence[Any], part: Any) -> tuple[int, int] | None:
    """Of which of the batch's tensors this is a part, and how many bytes from its start."""
    memory = part.untyped_storage().data_ptr()
    offsets = [
        (part.data_ptr() - tensor.data_ptr(), number)
        for number, tensor in enumerate(batch)
        if tensor.untyped_storage().data_ptr() == memory and tensor.data_ptr() <= part.data_ptr()
    ]
    if not offsets:
        return None
    # Two may lie in one memory, one behind the other.
    offset, number = min(offsets)
    return number, offset
