"""The path from (label, instance) pairs to a batch of images on one device: records, planes, write-out.

On a GPU the batch is worked off in chunks, so that canvases stay in the L2 cache, by kernels queued on the current
stream; nothing waits for the device. On a CPU, threads take small chunks, each with scratch memory of its own, and the
kernels release the GIL.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu import philox
from fdsl_gpu.batch_memory import BatchMemory
from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.records import as_words
from fdsl_gpu.render.backend import Backend, backend_for
from fdsl_gpu.render.contours import Contours
from fdsl_gpu.render.points import Points3D
from fdsl_gpu.write_out import WriteOut

Primitive = Contours | Points3D

_PRIMITIVES: dict[str, type[Contours] | type[Points3D]] = {"contours": Contours, "points_3d": Points3D}

_CPU_CHUNK_BYTES = 1 << 20
_GPU_CHUNK_BYTES = 8 << 20
_MAX_CHUNK = 256
_CHUNKS_A_THREAD = 4


def make_primitive(formula: Formula, device: torch.device, backend: Backend) -> Primitive:
    """The launcher that draws a formula's records."""
    launcher = _PRIMITIVES[formula.PRIMITIVE]
    return launcher(canvas_size=formula.canvas_size, device=device, backend=backend, **formula.drawing())


class _Lane:
    """What one thread or stream needs: a primitive, a write-out and a chunk of planes."""

    def __init__(self, primitive: Primitive, write_out: WriteOut, planes: Tensor) -> None:
        self._primitive, self._write_out, self._planes = primitive, write_out, planes

    def __call__(self, records: Tensor, key: philox.Key, out: Tensor) -> None:
        planes = self._planes[: len(records)]
        self._primitive.draw(records, key, planes)
        self._write_out(planes, out)


class Renderer:
    """Draws batches of one formula on one device. Safe to call from several threads; they take turns.

    Args:
        formula: the configuration.
        seed: 0 .. 2**64 - 1; decides the instances, never the classes.
        device: where to draw.
        write_out: keyword arguments of ``WriteOut`` (image_size, channels, dtype, normalize, interpolation).
        backend: "numba" or "triton"; None chooses by device.
    """

    def __init__(
        self,
        formula: Formula,
        *,
        seed: int,
        device: torch.device,
        write_out: dict[str, Any],
        backend: Backend | None = None,
    ) -> None:
        self.formula = formula
        self.device = device
        self.backend = backend or backend_for(device)
        self.key = philox.dataset_key(seed, formula.NUMBER)
        image_bytes = formula.planes * formula.canvas_size**2
        budget = _CPU_CHUNK_BYTES if device.type == "cpu" else _GPU_CHUNK_BYTES
        self.chunk = min(max(budget // image_bytes, 1), _MAX_CHUNK)
        self._write_out = write_out
        self._memory = BatchMemory()
        self._drawn: torch.cuda.Event | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._pool: tuple[ThreadPoolExecutor, int] | None = None

    def empty(self, batch_size: int, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        """An uninitialised batch [B, C, H, W] of the dtype and layout that this renderer fills."""
        side, channels, dtype = (self._write_out[name] for name in ("image_size", "channels", "dtype"))
        shape = (batch_size, channels, side, side)
        if self.device.type == "cpu":
            return self._memory.empty(shape, dtype, memory_format)
        return torch.empty(shape, dtype=dtype, device=self.device, memory_format=memory_format)

    def __call__(self, labels: NDArray[np.int64], instances: NDArray[np.int64], out: Tensor | None = None) -> Tensor:
        """Images of labels and instances (int64 [B] each, already checked), into ``out`` if it is given."""
        records = self.formula.draw(self.key, labels, instances)
        words = torch.from_numpy(as_words(records))
        if out is None:
            out = self.empty(len(words))
        if self._process != os.getpid():
            self._after_fork()
        with self._lock:
            if self.device.type == "cpu":
                self._draw_on_threads(words, out)
            else:
                self._draw_on_stream(words, out)
        return out

    def _draw_on_stream(self, words: Tensor, out: Tensor) -> None:
        stream = torch.cuda.current_stream(self.device)
        if self._drawn is not None:
            # The scratch memory may still be in use on another stream.
            stream.wait_event(self._drawn)
        words = words.pin_memory().to(self.device, non_blocking=True)
        self._work(self._reserve(1)[0], iter(range(0, len(words), self.chunk)), self.chunk, words, out)
        self._drawn = stream.record_event()

    def _draw_on_threads(self, words: Tensor, out: Tensor) -> None:
        if not len(words):
            return
        threads = min(torch.get_num_threads(), len(words))
        chunk = min(self.chunk, -(-len(words) // (_CHUNKS_A_THREAD * threads)))
        # One shared iterator: a thread that is done early takes the next chunk.
        starts = iter(range(0, len(words), chunk))
        lanes = self._reserve(threads)
        helpers = [self._executor(threads).submit(self._work, lane, starts, chunk, words, out) for lane in lanes[1:]]
        try:
            self._work(lanes[0], starts, chunk, words, out)
        finally:
            # Whatever happened, nobody writes to the lanes or to ``out`` after this.
            wait(helpers)
        for helper in helpers:
            helper.result()

    def _work(self, lane: _Lane, starts: Iterator[int], chunk: int, words: Tensor, out: Tensor) -> None:
        for start in starts:
            lane(words[start : start + chunk], self.key, out[start : start + chunk])

    def _reserve(self, count: int) -> list[_Lane]:
        while len(self._lanes) < count:
            self._lanes.append(self._make_lane())
        return self._lanes[:count]

    def _make_lane(self) -> _Lane:
        side, planes = self.formula.canvas_size, self.formula.planes
        write_out = WriteOut(
            canvas_size=side, planes=planes, device=self.device, backend=self.backend, **self._write_out
        )
        scratch = torch.empty((self.chunk, planes, side, side), dtype=torch.uint8, device=self.device)
        return _Lane(make_primitive(self.formula, self.device, self.backend), write_out, scratch)

    def _executor(self, threads: int) -> ThreadPoolExecutor:
        if self._pool is None or self._pool[1] < threads - 1:
            if self._pool is not None:
                self._pool[0].shutdown(wait=False)
            self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="fdsl_gpu"), threads - 1
        return self._pool[0]

    def _after_fork(self) -> None:
        # A forked process inherits the objects of its parent's pool but none of the threads, and perhaps a held lock.
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._lanes = []
        self._pool = None
