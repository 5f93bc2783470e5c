"""The path from (label, instance) pairs to a batch of images on one device: records, planes, write-out.

On a GPU the batch is worked off in few chunks, bounded by scratch memory, by kernels queued on the current stream;
nothing waits for the device, and what was launched for one batch is launched again for the next. On a CPU, threads
take chunks, each with scratch memory of its own, and the kernels release the GIL; a thread that finds no chunk left in
one batch takes them from the next.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu import philox, vector
from fdsl_gpu.augment import Recipe
from fdsl_gpu.batch_memory import BatchMemory
from fdsl_gpu.formulas.base import Formula, Primitive
from fdsl_gpu.masks import MaskWriteOut
from fdsl_gpu.present import Presenter
from fdsl_gpu.render.backend import Backend, backend_for, load_kernels, on_device
from fdsl_gpu.render.scratch import Scratch
from fdsl_gpu.work import Work, words_of
from fdsl_gpu.write_out import WriteOut

_PRIMITIVES: dict[Primitive, str] = {
    "contours": "contours.Contours",
    "contour_scenes": "contour_scenes.ContourScenes",
    "fractal_scenes": "fractal_scenes.FractalScenes",
    "points_2d": "points_2d.Points2D",
    "points_3d": "points.Points3D",
}

CPU_BYTES, GPU_BYTES, MAX_CHUNK = 4 << 20, 320 << 20, 256
"""Bounds of a chunk: bytes of its planes on a CPU, of all its scratch memory on a GPU, images."""

# Few: each costs 0.15 ms of Python, and more where threads compete for it.
_CHUNKS_A_THREAD = 2


def make_primitive(formula: Formula, device: torch.device, backend: Backend) -> Any:
    """The launcher that draws a formula's records."""
    module, name = _PRIMITIVES[formula.PRIMITIVE].split(".")
    launcher = getattr(importlib.import_module(f"fdsl_gpu.render.{module}"), name)
    return launcher(canvas_size=formula.canvas_size, device=device, backend=backend, **formula.drawing())


class _Lane:
    """What one thread or stream needs: a primitive, write-outs, and a chunk of planes and masks."""

    def __init__(
        self,
        primitive: Any,
        write_out: WriteOut,
        presenter: Presenter | None,
        mask_write_out: MaskWriteOut | None,
        planes: Tensor,
    ) -> None:
        self._primitive, self._planes = primitive, planes
        self._write_out, self._presenter, self._mask_write_out = write_out, presenter, mask_write_out
        self._masks = torch.empty_like(planes[:, :1]) if mask_write_out else None

    @property
    def chunk(self) -> int:
        """Most images at a time."""
        return len(self._planes)

    def __call__(self, work: Work, part: slice) -> None:
        records = work.records[part]
        planes = self._planes[: len(records)]
        if self._masks is None or self._mask_write_out is None or work.masks is None:
            self._primitive.draw(records, work.key, planes)
        else:
            masks = self._masks[: len(records)]
            self._primitive.draw(records, work.key, planes, masks[:, 0])
            self._mask_write_out(masks, work.masks[part, None])
        out, places = (work.out[part], None) if work.places is None else (work.out, work.places[part])
        if self._presenter is None or work.presentations is None:
            self._write_out(planes, out, places)
        else:
            self._presenter(planes, work.presentations[part], work.key, out, places)


class _Team:
    """Threads that draw on a CPU: each caller's own, and helpers. Callers share them, so that no core is idle.

    Args:
        threads: most that draw at once, whoever calls.
        first: the lane of one of them.
    """

    def __init__(self, threads: int, first: _Lane) -> None:
        self._threads = threads
        self._chunk = first.chunk
        # Whoever holds a lane may draw. The others are made by the first who draw in them.
        self._lanes: SimpleQueue[_Lane | None] = SimpleQueue()
        for lane in (first, *[None] * (threads - 1)):
            self._lanes.put(lane)
        self._helpers = ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="fdsl_gpu")

    def draw(self, work: Work, make_lane: Callable[[], _Lane]) -> None:
        """Draw a batch. ``make_lane`` is not kept: it knows the renderer, which then would know itself."""
        count = len(work.records)
        chunk = min(self._chunk, -(-count // (_CHUNKS_A_THREAD * self._threads)))
        chunks = [slice(start, start + chunk) for start in range(0, count, chunk)]
        # One shared iterator: a thread that is done early takes the next chunk.
        parts = iter(chunks)
        helpers: list[Future[None]] = []
        try:
            for _ in range(min(self._threads, len(chunks)) - 1):
                helpers.append(self._helpers.submit(self._run, work, parts, make_lane))
            self._run(work, parts, make_lane)
        finally:
            # Nobody writes to ``out`` after this, whatever failed.
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()

    def _run(self, work: Work, parts: Iterator[slice], make_lane: Callable[[], _Lane]) -> None:
        lane, kept = self._lanes.get(), None
        try:
            lane = lane or make_lane()
            for part in parts:
                lane(work, part)
            # Not after an error, which may leave scratch memory other than the next batch expects it.
            kept = lane
        finally:
            self._lanes.put(kept)


class Renderer:
    """Draws batches of one formula on one device. Safe to call from several threads.

    Args:
        formula: the configuration.
        seed: 0 .. 2**64 - 1; decides the instances, never the classes.
        device: where to draw.
        write_out: keyword arguments of ``WriteOut`` (image_size, channels, dtype, normalize, interpolation).
        recipe: how presentations are drawn; None where there are none.
        vector_canvas: size of the canvas that crops are drawn for, in vector mode (see ``fdsl_gpu.vector``).
        mask_dtype: of label masks, torch.int64 or uint8; None where none are drawn.
        backend: "numba" or "triton"; None chooses by device.
    """

    def __init__(
        self,
        formula: Formula,
        *,
        seed: int,
        device: torch.device,
        write_out: dict[str, Any],
        recipe: Recipe | None = None,
        vector_canvas: int | None = None,
        mask_dtype: torch.dtype | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.formula = formula
        self.recipe = recipe
        self._vector_canvas = vector_canvas
        self._mask_dtype = mask_dtype
        self.device = device
        self.backend = backend or backend_for(device)
        self.key = philox.dataset_key(seed, formula.NUMBER)
        self._write_out = write_out
        self._memory = BatchMemory()
        self._drawn: torch.cuda.Event | None = None
        self._kind: Hashable = None
        self._replay: Any = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._lane: _Lane | None = None
        self._teams: dict[int, _Team] = {}

    def empty(self, batch_size: int, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        """An uninitialised batch [B, C, H, W] of the dtype and layout that this renderer fills."""
        side, channels, dtype = (self._write_out[name] for name in ("image_size", "channels", "dtype"))
        shape = (batch_size, channels, side, side)
        if self.device.type == "cpu":
            return self._memory.empty(shape, dtype, memory_format)
        return torch.empty(shape, dtype=dtype, device=self.device, memory_format=memory_format)

    def empty_masks(self, batch_size: int) -> Tensor:
        """Uninitialised label masks [B, H, W], if this renderer draws any."""
        shape = (batch_size, self._write_out["image_size"], self._write_out["image_size"])
        if self._mask_dtype is None:
            raise RuntimeError("this renderer draws no masks")
        if self.device.type == "cpu":
            return self._memory.empty(shape, self._mask_dtype)
        return torch.empty(shape, dtype=self._mask_dtype, device=self.device)

    def __call__(
        self,
        labels: NDArray[np.int64],
        instances: NDArray[np.int64],
        presentations: NDArray[np.int64] | None = None,
        *,
        out: Tensor | None = None,
        masks: Tensor | None = None,
        view: int = 0,
        places: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Images of labels and instances (int64 [B] each, already checked).

        Args:
            labels: which classes.
            instances: which pictures of them.
            presentations: int64 [B], how the recipe presents them; None for the whole canvas, plainly resized.
            out: where to draw, from :meth:`empty`; None for a new batch.
            masks: where to draw label masks, from :meth:`empty_masks`; None for none.
            view: which view of the instances.
            places: rows of ``out`` to draw into, int64 [B], where ``out`` has more of them; None for all in order.
        """
        records = self.formula.draw(self.key, labels, instances, view)
        presented = None
        if self.recipe is not None and presentations is not None:
            presented = self._present(self.recipe, records, presentations, view)
        if out is None:
            out = self.empty(len(records))
        if self._process != os.getpid():
            self._after_fork()
        if not len(records):
            return out
        rows = None if places is None else torch.from_numpy(places.astype(np.int32))
        work = Work(self.key, words_of(records), presented, out, masks, rows)
        if self.device.type == "cpu":
            self._draw_on_threads(work)
        else:
            with self._lock:
                self._draw_on_stream(work)
        return out

    def _present(self, recipe: Recipe, records: np.ndarray, presentations: NDArray[np.int64], view: int) -> Tensor:
        """Words of how the recipe presents the records; in vector mode these are moved into their crops."""
        # Here, because numba loads when it is first used.
        from fdsl_gpu.presentation import draw

        side = self._vector_canvas or self.formula.canvas_size
        image_size, planes = self._write_out["image_size"], self.formula.planes
        presented = draw(recipe, self.key, presentations, side, image_size, planes, view)
        if self._vector_canvas is not None:
            vector.fold(self.formula, records, presented, side)
        return words_of(presented)

    def _draw_on_stream(self, work: Work) -> None:
        stream = torch.cuda.current_stream(self.device)
        if self._drawn is not None:
            # The scratch memory may still be in use on another stream.
            stream.wait_event(self._drawn)
        try:
            self._launch(work, work.staged().to(self.device, non_blocking=True))
            self._drawn = stream.record_event()
        except BaseException:
            # Half a batch may be queued, and its scratch memory not as the next one expects it.
            try:
                stream.synchronize()
            finally:
                self._lane = self._kind = self._replay = None
            raise

    def _launch(self, work: Work, words: Tensor) -> None:
        """Queue a batch. From the third of its kind in a row on, what the second launched is launched again."""
        replay = load_kernels("replay")
        batch = [words, work.out] if work.masks is None else [words, work.out, work.masks]
        kind = (*replay.kind(batch), *work.shapes)
        if kind != self._kind:
            self._kind, self._replay = kind, None
            self.draw_in_chunks(work.over(words))
        elif self._replay is None:
            with replay.recording() as steps:
                self.draw_in_chunks(work.over(words))
            self._replay = replay.Replay(steps, batch) if steps else None
        else:
            with on_device(self.device):
                self._replay(batch)

    def draw_in_chunks(self, work: Work) -> None:
        """Queue the launches of a batch on the current stream."""
        lane = self.lane()
        for part in even_chunks(len(work.records), lane.chunk):
            lane(work, part)

    def _draw_on_threads(self, work: Work) -> None:
        # Of the calling thread: another may have another number.
        threads = torch.get_num_threads()
        with self._lock:
            if threads not in self._teams:
                self._teams[threads] = _Team(threads, self._make_lane())
            team = self._teams[threads]
        team.draw(work, self._make_lane)

    def lane(self) -> _Lane:
        """The lane that all batches of a GPU are drawn in, one after another."""
        if self._lane is None:
            self._lane = self._make_lane()
        return self._lane

    def _make_lane(self) -> _Lane:
        side, planes = self.formula.canvas_size, self.formula.planes
        place: dict[str, Any] = {"device": self.device, "backend": self.backend}
        primitive, presenter = make_primitive(self.formula, **place), self._make_presenter()
        write_out, masks = WriteOut(side, planes=planes, **self._write_out, **place), None
        if self._mask_dtype is not None:
            masks = MaskWriteOut(side, self._write_out["image_size"], self._mask_dtype, **place)
        budget, image_bytes = CPU_BYTES, planes * side**2
        if self.backend == "triton":
            budget = GPU_BYTES
            image_bytes += primitive.scratch_bytes + (presenter or write_out).scratch_bytes
            image_bytes += side**2 + masks.scratch_bytes if masks else 0
        chunk = min(max(budget // image_bytes, 1), MAX_CHUNK)
        (scratch,) = Scratch(self.device, {"planes": ((planes, side, side), torch.uint8)}).rows(chunk)
        return _Lane(primitive, write_out, presenter, masks, scratch)

    def _make_presenter(self) -> Presenter | None:
        if self.recipe is None:
            return None
        operations, erasing = self.recipe.rand_augment, self.recipe.erasing
        settings: dict[str, Any] = {name: value for name, value in self._write_out.items() if name != "interpolation"}
        return Presenter(
            self.formula.canvas_size,
            planes=self.formula.planes,
            **settings,
            operations=operations.num_operations if operations else 0,
            fill=operations.fill if operations else (0, 0, 0),
            erase_mode=erasing.mode if erasing else "const",
            erase_normalize=self.recipe.normalize,
            device=self.device,
            backend=self.backend,
        )

    def _after_fork(self) -> None:
        # A forked process inherits the objects of its parent's teams but none of the threads, and perhaps a held lock.
        self._lock = threading.Lock()
        self._teams = {}
        self._process = os.getpid()


def even_chunks(count: int, most: int) -> list[slice]:
    """Chunks that are about equal, so that none leaves a GPU half idle."""
    # In fours, since four records of any length end at a multiple of 16 bytes, which kernels are compiled for.
    most = most // 4 * 4 or most
    chunks = max(-(-count // most), 1)
    size = min((-(-count // chunks) + 3) // 4 * 4, most) or most
    return [slice(start, start + size) for start in range(0, count, size)]
