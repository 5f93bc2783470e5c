"""Two ways to have batches ready before they are asked for: background threads, and a side stream of a GPU.

Both are iterators over what was drawn, in order; both deliver what was drawn before an error and then raise it; both
stop, and give everything back, on ``close()`` and when nobody refers to them any more.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class _Ahead(ABC):
    """A queue of batches under way, filled up whenever one is asked for.

    Args:
        plan: (positions, the position to resume at) of each batch.
        depth: batches ahead of the one that is handed out.
    """

    _forget: weakref.finalize
    """Gives back what is under way. Knows the queue but not this object, and so runs when this object is forgotten."""

    def __init__(self, plan: Iterator[tuple[Any, int]], depth: int) -> None:
        self._plan, self._depth = plan, depth
        self._end: Exception | None = None
        self._ahead: deque[Any] = deque()

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return self

    def __next__(self) -> tuple[Any, int]:
        while self._end is None and self._forget.alive and len(self._ahead) <= self._depth:
            try:
                self._ahead.append(self._queue(*next(self._plan)))
            except Exception as error:
                self._end = error
        if not self._ahead:
            self.close()
            end, self._end = self._end or StopIteration(), StopIteration()
            raise end
        item = self._hand_out(self._ahead[0])
        # Only now: whoever interrupts the waiting loses no batch. Unless another thread has closed this meanwhile.
        if self._ahead:
            self._ahead.popleft()
        return item

    def close(self) -> None:
        """Give back what is under way, and end."""
        self._forget()

    @abstractmethod
    def _queue(self, positions: Any, resume_at: int) -> Any:
        """Begin to draw a batch."""

    @abstractmethod
    def _hand_out(self, queued: Any) -> tuple[Any, int]:
        """What :meth:`_queue` began, once it is drawn."""


class ThreadAhead(_Ahead):
    """Draws batches in background threads, ``depth`` ahead of the consumer. For work that releases the GIL.

    Two threads: cores that find nothing left to do in one batch go on with the next. A process that ends without
    :meth:`close` draws first what is queued.

    Args:
        plan: (positions, the position to resume at) of each batch.
        draw: the batch at positions.
        depth: batches ahead.
        threads: 1 where batches must be drawn one after another.
    """

    def __init__(
        self, plan: Iterator[tuple[Any, int]], draw: Callable[[Any], Any], depth: int, threads: int = 2
    ) -> None:
        super().__init__(plan, depth)
        self._draw = draw
        # The first batch is drawn alone: it compiles kernels and makes tables, which is done once.
        self._begun, self._ready = False, threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="FDSLLoader")
        self._forget = weakref.finalize(self, _cancel, self._pool, self._ahead)

    def close(self) -> None:
        """End, when what is being drawn is drawn."""
        super().close()
        self._pool.shutdown()

    def _queue(self, positions: Any, resume_at: int) -> tuple[Future[Any], int]:
        after, self._begun = self._ready if self._begun else None, True
        return self._pool.submit(_draw_after, after, self._draw, positions, self._ready), resume_at

    def _hand_out(self, queued: tuple[Future[Any], int]) -> tuple[Any, int]:
        future, resume_at = queued
        try:
            error = future.exception()
        except CancelledError:
            raise StopIteration from None
        if error is not None:
            self.close()
            raise error
        return future.result(), resume_at


def _draw_after(
    before: threading.Event | None, draw: Callable[[Any], Any], positions: Any, done: threading.Event
) -> Any:
    if before is not None:
        before.wait()
    try:
        return draw(positions)
    finally:
        done.set()


def _cancel(pool: ThreadPoolExecutor, ahead: deque[Any]) -> None:
    # Without waiting for threads, because the garbage collector may run this in any of them.
    pool.shutdown(wait=False, cancel_futures=True)
    ahead.clear()


@dataclass(frozen=True)
class _Queued:
    """A batch that the device may still be drawing."""

    batch: Any
    resume_at: int
    images: list[Tensor]  # taken on ``home``; the rest of the batch, on the side stream
    home: torch.cuda.Stream
    drawn: torch.cuda.Event


class StreamAhead(_Ahead):
    """Queues batches on a side stream of a GPU, ``depth`` ahead of the consumer's stream. The host waits for nothing.

    Memory of images is taken on the consumer's stream. Its allocator hands memory out while work queued there may still
    use it, so the side stream waits for that work, and only then draws. The consumer's stream waits for the drawing
    before a batch is handed out. From then on the images are like any tensor of the consumer's: its allocator recycles
    them in stream order, and so no more than ``depth`` + 2 batches exist, however far the host runs ahead. What else is
    in a batch (labels) is fresh memory of the side stream, which ``record_stream`` keeps until the consumer is done.

    Args:
        plan: (positions, the position to resume at) of each batch.
        allocate: images of a batch, or a list of them, uninitialised.
        draw: a batch at positions, its images drawn into those given.
        depth: batches ahead.
        side: the side stream.
        cuda: ``torch.cuda``; tests put something else in its place.
    """

    def __init__(
        self,
        plan: Iterator[tuple[Any, int]],
        allocate: Callable[[], Any],
        draw: Callable[[Any, Any], Any],
        depth: int,
        side: torch.cuda.Stream,
        cuda: Any = torch.cuda,
    ) -> None:
        super().__init__(plan, depth)
        self._allocate, self._draw = allocate, draw
        self._side, self._cuda = side, cuda
        self._forget = weakref.finalize(self, _abandon, self._ahead)
        self._forget.atexit = False

    def _queue(self, positions: Any, resume_at: int) -> _Queued:
        home = self._cuda.current_stream(self._side.device)
        images = self._allocate()
        self._side.wait_stream(home)
        try:
            with self._cuda.stream(self._side):
                batch = self._draw(positions, images)
        except BaseException:
            # Some of the drawing may be queued; the memory goes back to its stream after that.
            home.wait_stream(self._side)
            raise
        return _Queued(batch, resume_at, tensors(images), home, self._side.record_event())

    def _hand_out(self, queued: _Queued) -> tuple[Any, int]:
        stream = self._cuda.current_stream(self._side.device)
        stream.wait_event(queued.drawn)
        for tensor in tensors(queued.batch):
            home = queued.home if any(tensor is image for image in queued.images) else self._side
            if home != stream:
                tensor.record_stream(stream)
        return queued.batch, queued.resume_at


def _abandon(ahead: deque[_Queued]) -> None:
    while ahead:
        queued = ahead.popleft()
        # Its images go back to the allocator of their stream, which may hand them out at once.
        queued.home.wait_event(queued.drawn)


@dataclass(frozen=True)
class Arriving:
    """A batch on its way from the CPU to a GPU."""

    batch: Any
    arrived: torch.cuda.Event
    device: torch.device

    def receive(self) -> Any:
        """The batch, for work on the current stream."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(self.arrived)
        for tensor in tensors(self.batch):
            tensor.record_stream(stream)
        return self.batch


def send(batch: Any, device: torch.device, side: torch.cuda.Stream | None) -> Any:
    """A CPU batch on another device; if that is a GPU, :class:`Arriving` on its side stream, from pinned memory."""
    if side is None:
        return mapped(lambda tensor: tensor.to(device), batch)
    with torch.cuda.stream(side):
        moved = mapped(lambda tensor: tensor.pin_memory().to(device, non_blocking=True), batch)
        return Arriving(moved, side.record_event(), device)


def mapped(function: Callable[[Tensor], Any], batch: Any) -> Any:
    """``batch`` with each of its tensors replaced; tuples and lists keep their kind."""
    if isinstance(batch, (tuple, list)):
        return type(batch)(mapped(function, part) for part in batch)
    return function(batch)


def tensors(batch: Any) -> list[Tensor]:
    """The tensors of a batch in order, those of lists of views included."""
    if isinstance(batch, (tuple, list)):
        return [tensor for part in batch for tensor in tensors(part)]
    return [batch]
