"""Two ways to have batches ready before they are asked for: background threads, and a side stream of a GPU.

Both are iterators over what was drawn, in order; both deliver what was drawn before an error and then raise it; both
stop, and give everything back, on ``close()`` and when nobody refers to them any more.
"""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class ThreadAhead:
    """Draws batches in background threads, at most ``depth`` ahead. For work that releases the GIL.

    Two threads: cores that find nothing left to do in one batch go on with the next. The first batch is drawn by the
    caller, before the threads start: what is done once, importing and compiling kernels and searching classes, is then
    done where an interrupt is heard, and no process is forked in the middle of it.

    Args:
        plan: (positions, the position to resume at) of each batch.
        draw: the batch at positions.
        depth: batches ahead, those that are being drawn included.
        threads: 1 where batches must be drawn one after another.
    """

    def __init__(
        self, plan: Iterator[tuple[Any, int]], draw: Callable[[Any], Any], depth: int, threads: int = 2
    ) -> None:
        # The threads know the parts but not this object, so that forgetting this object stops them.
        self._parts = _Parts(plan, draw, threading.Semaphore(depth))
        self._first: tuple[Any, int] | None = None
        self._next: tuple[Future[Any], int] | None = None
        self._started = False
        self._stop = weakref.finalize(self, _stop, self._parts)
        self._threads = [
            threading.Thread(target=_produce, args=(self._parts,), name=f"FDSLLoader_{n}", daemon=True)
            for n in range(threads)
        ]
        _OPEN.add(self)

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return self

    def __next__(self) -> tuple[Any, int]:
        if not self._stop.alive:
            raise StopIteration
        if not self._started:
            return self._draw_first()
        # Kept until it is handed out: whoever interrupts the waiting loses no batch.
        self._next = self._next or self._parts.begun.get()
        future, resume_at = self._next
        error = future.exception()
        self._next = None
        if error is not None:
            self.close()
            raise error
        # Late, as the thread that this wakes competes for the GIL.
        self._parts.room.release()
        return future.result(), resume_at

    def _draw_first(self) -> tuple[Any, int]:
        try:
            # Kept as well.
            self._first = self._first or next(self._parts.plan)
            batch = self._parts.draw(self._first[0])
        except Exception:
            self.close()
            raise
        self._started = True
        for thread in self._threads:
            _THREADS.add(thread)
            thread.start()
        return batch, self._first[1]

    def close(self) -> None:
        """End, when what is being drawn is drawn."""
        self._stop()
        self._parts.room.release(len(self._threads))
        if self._started:
            for thread in self._threads:
                thread.join()
        self._next = None
        # Batches that were drawn ahead are not kept by whoever still holds the iterator.
        begun = self._parts.begun
        while not begun.empty():
            begun.get_nowait()
        # For another thread that waits for a batch meanwhile.
        begun.put(_failed(StopIteration()))


@dataclass
class _Parts:
    """What the threads of an iteration share."""

    plan: Iterator[tuple[Any, int]]
    draw: Callable[[Any], Any]
    # For batches that may be begun. A queue would wake a thread sooner, and the consumer wait for it: 1 ms a batch.
    room: threading.Semaphore
    begun: queue.SimpleQueue[tuple[Future[Any], int]] = field(default_factory=queue.SimpleQueue)
    planning: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False


_HEARD = 0.5
"""Seconds until a thread that has nothing to do finds that its iteration was forgotten."""

_OPEN: weakref.WeakSet[ThreadAhead] = weakref.WeakSet()
_THREADS: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def _produce(parts: _Parts) -> None:
    while True:
        # Room is taken before drawing, so that what is being drawn counts.
        has_room = parts.room.acquire(timeout=_HEARD)
        if parts.stopped:
            return
        if not has_room:
            continue
        with parts.planning:
            try:
                positions, resume_at = next(parts.plan)
            except BaseException as error:
                parts.begun.put(_failed(error))
                return
            future: Future[Any] = Future()
            parts.begun.put((future, resume_at))
        try:
            future.set_result(parts.draw(positions))
        except BaseException as error:
            future.set_exception(error)
        # Not kept while this waits for room.
        del future


def _failed(error: BaseException) -> tuple[Future[Any], int]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future, 0


def _stop(parts: _Parts) -> None:
    # No lock is taken, and no thread waited for: the garbage collector may run this in any of them, anywhere.
    parts.stopped = True


@atexit.register
def _end_threads() -> None:
    """Before the interpreter goes, on which they draw."""
    for ahead in list(_OPEN):
        ahead.close()
    for thread in list(_THREADS):
        thread.join()


@dataclass(frozen=True)
class _Queued:
    """A batch that the device may still be drawing."""

    batch: Any
    resume_at: int
    memory: list[Tensor]  # taken on ``home``; the rest of the batch, on the side stream
    home: torch.cuda.Stream
    drawn: torch.cuda.Event


class StreamAhead:
    """Queues batches on a side stream of a GPU, ``depth`` ahead of the consumer's stream. The host waits for nothing.

    Memory of images and masks is taken on the consumer's stream. Its allocator hands memory out while work queued there
    may still use it, so the side stream waits for that work, and only then draws. The consumer's stream waits for the
    drawing before a batch is handed out. From then on they are like any tensors of the consumer: its allocator recycles
    them in stream order, and so no more than ``depth`` + 2 batches exist, however far the host runs ahead. What else is
    in a batch (labels) is fresh memory of the side stream, which ``record_stream`` keeps until the consumer is done.

    Args:
        plan: (positions, the position to resume at) of each batch.
        allocate: uninitialised memory for a batch: tensors, in tuples and lists.
        draw: a batch at positions, drawn into the memory given.
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
        memory = self._allocate()
        self._side.wait_stream(home)
        try:
            with self._cuda.stream(self._side):
                batch = self._draw(positions, memory)
        except BaseException:
            # Some of the drawing may be queued; the memory goes back to its stream after that.
            home.wait_stream(self._side)
            raise
        return _Queued(batch, resume_at, tensors(memory), home, self._side.record_event())

    def _hand_out(self, queued: _Queued) -> tuple[Any, int]:
        stream = self._cuda.current_stream(self._side.device)
        stream.wait_event(queued.drawn)
        if queued.home != stream:
            # Memory that did not come to be part of the batch goes back there.
            queued.home.wait_event(queued.drawn)
        for tensor in tensors(queued.batch):
            home = queued.home if any(tensor is one for one in queued.memory) else self._side
            if home != stream:
                tensor.record_stream(stream)
        return queued.batch, queued.resume_at


def _abandon(ahead: deque[_Queued]) -> None:
    while ahead:
        queued = ahead.popleft()
        # Its memory goes back to the allocator of its stream, which may hand it out at once.
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
