"""Two ways to have batches ready before they are asked for: a background thread, and a side stream of a GPU.

Both are iterators over what was drawn, in order; both deliver what was drawn before an error and then raise it; both
stop, and give everything back, on ``close()`` and when nobody refers to them any more.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class ThreadAhead:
    """Iterates ``items`` in a background thread, at most ``depth`` items ahead. For work that releases the GIL."""

    def __init__(self, items: Iterator[Any], depth: int) -> None:
        self._ready: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        stopped = threading.Event()
        # The thread knows the parts but not this object, so that forgetting this object stops the thread.
        parts = (items, self._ready, self._room, stopped)
        thread = threading.Thread(target=_produce, args=parts, name="FDSLLoader", daemon=True)
        self.close = weakref.finalize(self, _stop, thread, self._room, stopped, self._ready)
        thread.start()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.close.alive:
            raise StopIteration
        item, error = self._ready.get()
        if error is not None:
            self.close()
            raise error
        self._room.release()
        return item


def _produce(
    items: Iterator[Any],
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]],
    room: threading.Semaphore,
    stopped: threading.Event,
) -> None:
    while True:
        # Room is taken before drawing, so that what is being drawn counts.
        room.acquire()
        if stopped.is_set():
            return
        try:
            ready.put((next(items), None))
        except BaseException as error:
            ready.put((None, error))
            return


def _stop(
    thread: threading.Thread,
    room: threading.Semaphore,
    stopped: threading.Event,
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]],
) -> None:
    stopped.set()
    room.release()
    # The garbage collector may run this in the thread itself.
    if thread is not threading.current_thread():
        thread.join()
    # Batches that were drawn ahead are not kept by whoever still holds the iterator.
    while not ready.empty():
        ready.get_nowait()


@dataclass(frozen=True)
class _Queued:
    """A batch that the device may still be drawing."""

    batch: Any
    resume_at: int
    images: list[Tensor]  # taken on ``home``; the rest of the batch, on the side stream
    home: torch.cuda.Stream
    drawn: torch.cuda.Event


class StreamAhead:
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
        self._plan, self._allocate, self._draw = plan, allocate, draw
        self._depth, self._side, self._cuda = depth, side, cuda
        self._end: Exception | None = None
        self._ahead: deque[_Queued] = deque()
        self.close = weakref.finalize(self, _abandon, self._ahead)
        self.close.atexit = False

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return self

    def __next__(self) -> tuple[Any, int]:
        while self._end is None and self.close.alive and len(self._ahead) <= self._depth:
            try:
                self._ahead.append(self._queue(*next(self._plan)))
            except Exception as error:
                self._end = error
        if not self._ahead:
            end, self._end = self._end or StopIteration(), StopIteration()
            raise end
        return self._hand_out(self._ahead.popleft())

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
