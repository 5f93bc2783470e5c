"""Write-out with augmentation: uint8 planes [B, P, S, S] and their presentations to a training batch [B, C, H, W].

A presentation (``fdsl_gpu.records.PRESENTATION``) is, in this order,

1. a crop, resized and flipped: exactly Pillow's ``crop``, ``resize`` and ``transpose``;
2. up to four operations on the bytes: Pillow's ``ImageOps``, ``ImageEnhance`` and ``transform``, exactly but for affine
   maps, which are computed in float32 where Pillow takes float64, so that few bytes differ, by one level;
3. the last write: normalised by table, cast and laid out as ``fdsl_gpu.write_out`` does, with erased rectangles.

A grey picture stays one plane until an operation tells the channels apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu import checks, philox
from fdsl_gpu.noise import EraseMode, erase_table
from fdsl_gpu.records import MAX_OPERATIONS, PRESENTATION
from fdsl_gpu.render.backend import (
    Backend,
    backend_for,
    check_tensor,
    checked_backend,
    load_kernels,
    on_device,
    signed_key,
)
from fdsl_gpu.render.scratch import Scratch
from fdsl_gpu.resample import MAX_SIZE, CoefficientTables, coefficient_tables
from fdsl_gpu.write_out import Normalize, WriteOut, batch_words, check_tensors, flat_words, normalisation_table, rows

_WORDS = PRESENTATION.itemsize // 4
_CPU_CHUNK = 4
_MODES: dict[EraseMode, int] = {"const": 0, "rand": 1, "pixel": 2}


class Presenter:
    """Turns planes and presentations into batches, for one pair of sizes on one device.

    Scratch memory is kept between calls: use one object a thread or stream.

    Args:
        canvas_size: side of the planes, S pixels.
        image_size: side of the batch's images, H = W pixels.
        planes: P, 1 (grey) or 3 (red, green, blue).
        channels: C, 1 or 3; one channel of a coloured picture is its luma.
        dtype: of the batch: torch.float32, float16, bfloat16 or uint8.
        normalize: see ``fdsl_gpu.write_out.normalisation_table``; None for uint8.
        operations: how many operations of a record are done, 0 .. 4; on a GPU each costs launches.
        erase_mode: what erased rectangles hold: "pixel", "rand" or "const" (see ``fdsl_gpu.noise``).
        erase_normalize: for uint8 batches, with what the training step will normalise them.
        fill: red, green and blue of what affine maps uncover; grey pictures that stay grey take the first.
        device: where planes, presentations and batches are.
        backend: "numba" or "triton"; None chooses by device.

    Raises:
        ValueError, TypeError: an argument is not allowed.

    Example:
        >>> present = Presenter(512, 224, planes=1, backend="numba")
        >>> batch = present.empty(len(records))
        >>> words = torch.from_numpy(fdsl_gpu.records.as_words(records))
        >>> present(torch.zeros(len(records), 1, 512, 512, dtype=torch.uint8), words, key, batch)
    """

    def __init__(
        self,
        canvas_size: int,
        image_size: int,
        planes: int,
        channels: int = 3,
        dtype: torch.dtype = torch.float32,
        normalize: Normalize = "imagenet",
        operations: int = 2,
        erase_mode: EraseMode = "pixel",
        erase_normalize: Normalize = "imagenet",
        fill: Sequence[int] = (124, 116, 104),
        device: torch.device | str = "cpu",
        backend: Backend | None = None,
    ) -> None:
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, MAX_SIZE)
        self.image_size = checks.integer("image_size", image_size, 1, MAX_SIZE)
        self.planes, self.channels = (
            checks.choice("planes", planes, (1, 3)),
            checks.choice("channels", channels, (1, 3)),
        )
        self.dtype = checks.choice("dtype", dtype, WriteOut.DTYPES)
        self.operations = checks.integer("operations", operations, 0, MAX_OPERATIONS)
        self._mode = _MODES[checks.choice("erase_mode", erase_mode, _MODES)]
        self.device = torch.device(device)
        self.backend = checked_backend(backend or backend_for(self.device), self.device)
        self._scratch = Scratch(
            self.device,
            {
                "narrowed": ((planes, self.canvas_size * self.image_size), torch.uint8),
                "pictures": ((2, 3, self.image_size, self.image_size), torch.uint8),
                "tables": ((2, 3, 256), torch.uint8),
            },
        )
        if len(fill) != 3:
            raise ValueError(f"fill: received {fill!r}; allowed: three integers in [0, 255]. Repeat a grey.")
        self._fill = tuple(checks.integer("fill", value, 0, 255) for value in fill)
        table = batch_words(normalisation_table(dtype, normalize, channels))
        noise = batch_words(erase_table(dtype, erase_mode, channels, erase_normalize))
        tables = coefficient_tables(self.canvas_size, self.image_size)
        if self.backend == "numba":
            self._arrays = self._scratch_numba(tables, table.numpy(), noise.numpy())
        else:
            arrays = {**tables._asdict(), "quotients": _quotients()}
            self._tensors = {name: torch.tensor(array, device=self.device) for name, array in arrays.items()}
            self._tensors |= {"table": table.to(self.device), "noise": noise.to(self.device)}
            self._packed_fill = self._fill[0] | self._fill[1] << 8 | self._fill[2] << 16

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that an image takes."""
        return self._scratch.row_bytes

    def empty(
        self, batch_size: int, memory_format: torch.memory_format = torch.contiguous_format, pin_memory: bool = False
    ) -> Tensor:
        """An uninitialised batch [batch_size, C, H, W] to write into; ``pin_memory`` is for CPU batches."""
        shape = (batch_size, self.channels, self.image_size, self.image_size)
        return torch.empty(
            shape, dtype=self.dtype, device=self.device, memory_format=memory_format, pin_memory=pin_memory
        )

    def __call__(
        self, planes: Tensor, presentations: Tensor, key: philox.Key, out: Tensor, places: Tensor | None = None
    ) -> None:
        """Fill a batch; queued on the current stream on a GPU, with a fixed number of launches.

        Args:
            planes: uint8 [B, P, S, S], contiguous; left as it is.
            presentations: int32 [B, 76], contiguous, on the device: rows of ``PRESENTATION``. That crops and erasures
                lie inside, and numbers of planes are right, is the maker's duty; checking would wait for the device.
            key: of the dataset, from ``philox.dataset_key``; decides the noise of erased pixels.
            out: dtype [B, C, H, W], any strides without overlap; contiguous and channels_last are fast.
            places: as of ``WriteOut``.

        Raises:
            ValueError: a shape, dtype, device or layout that does not fit.
        """
        side, width = self.canvas_size, self.image_size
        check_tensors(planes, out, places, (self.planes, side, side), (self.channels, width, width), self)
        check_tensor("presentations", presentations, (planes.shape[0], _WORDS), torch.int32, self.device)
        if not planes.shape[0]:
            return
        if self.backend == "numba":
            self._run_numba(planes, presentations, key, batch_words(out), places)
        else:
            self._run_triton(planes, presentations, key, batch_words(out), places)

    def _scratch_numba(self, tables: CoefficientTables, table: np.ndarray, noise: np.ndarray) -> dict[str, Any]:
        """Tables and scratch memory of the kernels."""
        from fdsl_gpu.cpu_kernels.resample import buffer

        width = self.image_size
        return {
            "coefficients": tuple(tables),
            "memory": buffer(self.canvas_size, width),
            "fill": np.array(self._fill, np.uint8),
            "quotients": _quotients(),
            "packed": np.zeros((width + 4) * (width + 1), np.uint32),
            "pictures": np.zeros((_CPU_CHUNK, 2, 3, width, width), np.uint8),
            "tables": np.zeros((_CPU_CHUNK, 3, 256), np.uint8),
            "results": np.zeros((_CPU_CHUNK, 2), np.int32),
            "table": table,
            "noise": noise,
        }

    def _run_numba(
        self, planes: Tensor, presentations: Tensor, key: philox.Key, words: Tensor, places: Tensor | None
    ) -> None:
        from fdsl_gpu.cpu_kernels import augment, crop, erase

        a = self._arrays
        flat, strides, targets = flat_words(words), words.stride(), rows(len(planes), places)
        images, records = planes.numpy(), presentations.numpy()
        pictures, tables, results = a["pictures"], a["tables"], a["results"]
        pixels = pictures.reshape(*pictures.shape[:3], -1)
        for start in range(0, len(images), _CPU_CHUNK):
            part = slice(start, start + _CPU_CHUNK)
            chosen = records[part]
            crop.crop(images[part], chosen, a["coefficients"], a["memory"], pictures)
            augment.augment(
                chosen,
                chosen.view(np.float32),
                self.operations,
                self.planes,
                a["fill"],
                a["quotients"],
                a["packed"],
                pixels,
                tables,
                results,
            )
            erase.write(
                chosen,
                pictures,
                tables,
                results,
                a["table"],
                a["noise"],
                self._mode,
                philox.ERASE,
                *key,
                flat,
                targets[part],
                strides,
                self.channels,
            )

    def _run_triton(
        self, planes: Tensor, presentations: Tensor, key: philox.Key, words: Tensor, places: Tensor | None
    ) -> None:
        crop, augment, erase = (load_kernels(name) for name in ("crop", "augment", "erase"))
        tiles = load_kernels("write_out").tiles
        batch, side, width = planes.shape[0], self.canvas_size, self.image_size
        t, reals = self._tensors, presentations.view(torch.float32)
        coefficients = t["first"], t["spans"], t["weights"]
        options: dict[str, Any] = {"num_warps": crop.NUM_WARPS, "enable_fp_fusion": False, "PLANES": self.planes}
        narrowed, pictures, tables = self._scratch.rows(batch)
        with on_device(planes.device):
            sizes, count = {"IN": side, "OUT": width}, batch * self.planes
            block, first = crop.first_tiles(side, width)
            crop.first_pass[(count, first)](planes, presentations, *coefficients, narrowed, **sizes, **block, **options)
            block, grid = tiles(width, width)
            crop.second_pass[(count, *grid)](
                narrowed, presentations, *coefficients, pictures, **sizes, **block, **options
            )
            for slot in range(self.operations):
                augment.tabulate[(batch, 3)](
                    presentations,
                    reals,
                    pictures,
                    t["quotients"],
                    tables,
                    slot,
                    SIZE=width,
                    BLOCK=augment.BLOCK,
                    **options,
                )
                block, grid = tiles(width, width, augment.APPLY_BLOCK)
                augment.apply[(batch, *grid)](
                    presentations, reals, pictures, tables, slot, self._packed_fill, SIZE=width, **block, **options
                )
            packed = self.channels > 1 and words.stride(1) == 1 and words.stride(3) == self.channels
            block, grid = tiles(width, width * self.channels if packed else width)
            erase.write[(batch, *grid)](
                presentations,
                pictures,
                tables,
                t["table"],
                t["noise"],
                presentations if places is None else places,
                words,
                *words.stride(),
                self.operations,
                0 if len(t["noise"]) == 1 else t["noise"].shape[1],
                *signed_key(key),
                SIZE=width,
                CHANNELS=self.channels,
                TABLE=self.dtype != torch.uint8,
                PACKED=packed,
                PLACED=places is not None,
                MODE=self._mode,
                STREAM=philox.ERASE,
                **block,
                **options,
            )


@lru_cache(maxsize=1)
def _quotients() -> np.ndarray:
    """255 / n, float64 [256], with 0 for n = 0: the scale of AutoContrast."""
    return np.concatenate([np.zeros(1), 255.0 / np.arange(1, 256)])
