"""The path from (label, instance) pairs to a batch of images on one device: records, planes, write-out.

On a GPU the batch is worked off in chunks, so that canvases stay in the L2 cache, by kernels queued on the current
stream; nothing waits for the device. On a CPU, threads take small chunks, each with scratch memory of its own, and the
kernels release the GIL.
"""

from __future__ import annotations

import importlib
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
from fdsl_gpu.formulas.base import Formula, Primitive
from fdsl_gpu.masks import MaskWriteOut
from fdsl_gpu.records import as_words
from fdsl_gpu.render.backend import Backend, backend_for
from fdsl_gpu.write_out import WriteOut

_PRIMITIVES: dict[Primitive, str] = {
    "contours": "contours.Contours",
    "contour_scenes": "contour_scenes.ContourScenes",
    "fractal_scenes": "fractal_scenes.FractalScenes",
    "points_2d": "points_2d.Points2D",
    "points_3d": "points.Points3D",
}

_CPU_CHUNK_BYTES = 1 << 20
_GPU_CHUNK_BYTES = 8 << 20
_MAX_CHUNK = 256
_CHUNKS_A_THREAD = 4


def make_primitive(formula: Formula, device: torch.device, backend: Backend) -> Any:
    """The launcher that draws a formula's records."""
    module, name = _PRIMITIVES[formula.PRIMITIVE].split(".")
    launcher = getattr(importlib.import_module(f"fdsl_gpu.render.{module}"), name)
    return launcher(canvas_size=formula.canvas_size, device=device, backend=backend, **formula.drawing())


class _Lane:
    """What one thread or stream needs: a primitive, write-outs, and a chunk of planes and masks."""

    def __init__(self, primitive: Any, write_out: WriteOut, mask_write_out: MaskWriteOut, planes: Tensor) -> None:
        self._primitive, self._write_out, self._mask_write_out, self._planes = (
            primitive,
            write_out,
            mask_write_out,
            planes,
        )
        self._masks: Tensor | None = None

    def __call__(self, records: Tensor, key: philox.Key, out: Tensor, masks_out: Tensor | None) -> None:
        planes = self._planes[: len(records)]
        if masks_out is None:
            self._primitive.draw(records, key, planes)
        else:
            if self._masks is None:
                self._masks = torch.empty_like(self._planes[:, 0])
            masks = self._masks[: len(records)]
            self._primitive.draw(records, key, planes, masks)
            self._mask_write_out(masks, masks_out)
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

    def empty_masks(self, batch_size: int, dtype: torch.dtype) -> Tensor:
        """Uninitialised label masks [B, H, W]."""
        shape = (batch_size, self._write_out["image_size"], self._write_out["image_size"])
        if self.device.type == "cpu":
            return self._memory.empty(shape, dtype)
        return torch.empty(shape, dtype=dtype, device=self.device)

    def __call__(
        self,
        labels: NDArray[np.int64],
        instances: NDArray[np.int64],
        out: Tensor | None = None,
        masks: Tensor | None = None,
        view: int = 0,
    ) -> Tensor:
        """Images of labels and instances (int64 [B] each, already checked).

        Args:
            labels: which classes.
            instances: which pictures of them.
            out: where to draw, from :meth:`empty`; None for a new batch.
            masks: where to draw label masks, from :meth:`empty_masks`, for formulas that have them; None for none.
            view: which view of the instances.
        """
        records = self.formula.draw(self.key, labels, instances, view)
        words = torch.from_numpy(as_words(records))
        if out is None:
            out = self.empty(len(words))
        if self._process != os.getpid():
            self._after_fork()
        with self._lock:
            if self.device.type == "cpu":
                self._draw_on_threads(words, out, masks)
            else:
                self._draw_on_stream(words, out, masks)
        return out

    def _draw_on_stream(self, words: Tensor, out: Tensor, masks: Tensor | None) -> None:
        stream = torch.cuda.current_stream(self.device)
        if self._drawn is not None:
            # The scratch memory may still be in use on another stream.
            stream.wait_event(self._drawn)
        words = words.pin_memory().to(self.device, non_blocking=True)
        starts = iter(range(0, len(words), self.chunk))
        self._work(self._reserve(1)[0], starts, self.chunk, words, out, masks)
        self._drawn = stream.record_event()

    def _draw_on_threads(self, words: Tensor, out: Tensor, masks: Tensor | None) -> None:
        if not len(words):
            return
        threads = min(torch.get_num_threads(), len(words))
        chunk = min(self.chunk, -(-len(words) // (_CHUNKS_A_THREAD * threads)))
        # One shared iterator: a thread that is done early takes the next chunk.
        starts = iter(range(0, len(words), chunk))
        lanes = self._reserve(threads)
        task = (starts, chunk, words, out, masks)
        helpers = [self._executor(threads).submit(self._work, lane, *task) for lane in lanes[1:]]
        try:
            self._work(lanes[0], *task)
        finally:
            # Whatever happened, nobody writes to the lanes or to ``out`` after this.
            wait(helpers)
        for helper in helpers:
            helper.result()

    def _work(
        self, lane: _Lane, starts: Iterator[int], chunk: int, words: Tensor, out: Tensor, masks: Tensor | None
    ) -> None:
        for start in starts:
            part = slice(start, start + chunk)
            lane(words[part], self.key, out[part], None if masks is None else masks[part])

    def _reserve(self, count: int) -> list[_Lane]:
        while len(self._lanes) < count:
            self._lanes.append(self._make_lane())
        return self._lanes[:count]

    def _make_lane(self) -> _Lane:
        side, planes = self.formula.canvas_size, self.formula.planes
        write_out = WriteOut(
            canvas_size=side, planes=planes, device=self.device, backend=self.backend, **self._write_out
        )
        masks = MaskWriteOut(side, self._write_out["image_size"], self.device)
        scratch = torch.empty((self.chunk, planes, side, side), dtype=torch.uint8, device=self.device)
        return _Lane(make_primitive(self.formula, self.device, self.backend), write_out, masks, scratch)

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
