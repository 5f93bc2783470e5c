"""Write-out, the last stage: uint8 planes [B, P, S, S] to a training batch [B, C, H, W].

The planes are resized with antialiasing, exactly as Pillow does (``fdsl_gpu.resample``), normalised by a table of 256
values, exactly as torchvision's ToTensor and Normalize do, and stored as uint8, float16, bfloat16 or float32 in any
layout. Each twin, Triton and numba, handles table and batch as words of one element each, so they agree in every bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu import checks
from fdsl_gpu.render.backend import backend_for, check_tensor, checked_backend, load_kernels, on_device
from fdsl_gpu.render.scratch import Scratch
from fdsl_gpu.resample import MAX_SIZE, Interpolation, coefficients

Normalize: TypeAlias = Literal["imagenet", "half"] | tuple[Sequence[float] | float, Sequence[float] | float] | None

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
}


class WriteOut:
    """Turns planes into batches, for one pair of sizes on one device.

    Calls may run on several threads for the numba backend. For Triton, whose scratch memory is kept between calls, use
    one object a stream.

    Args:
        canvas_size: side of the planes, S pixels.
        image_size: side of the batch's images, H = W pixels; equal to ``canvas_size``, no byte is changed.
        planes: P, 1 (grey) or 3 (red, green, blue).
        channels: C, 1 or 3. One channel of three planes is ITU-R 601-2 luma as Pillow's ``convert("L")``, taken after
            the resize; three channels of one plane repeat it.
        dtype: of the batch: torch.float32, float16, bfloat16 or uint8.
        normalize: see :func:`normalisation_table`.
        interpolation: "bilinear" or "bicubic", with antialiasing. ``MaskWriteOut`` takes the nearest pixel.
        device: where planes and batches are.
        backend: "numba" or "triton"; None chooses by device.

    Raises:
        ValueError, TypeError: an argument is not allowed.

    Example:
        >>> write = WriteOut(512, 224, planes=1, backend="numba")
        >>> batch = write.empty(8)
        >>> write(torch.zeros(8, 1, 512, 512, dtype=torch.uint8), batch)
    """

    DTYPES: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.float16, torch.bfloat16, torch.uint8)
    INTERPOLATIONS: ClassVar[tuple[str, ...]] = get_args(Interpolation)

    def __init__(
        self,
        canvas_size: int,
        image_size: int,
        planes: int,
        channels: int = 3,
        dtype: torch.dtype = torch.float32,
        normalize: Normalize = "imagenet",
        interpolation: Interpolation | Literal["nearest"] = "bilinear",
        device: torch.device | str = "cpu",
        backend: Literal["numba", "triton"] | None = None,
    ) -> None:
        self.check(image_size, planes, channels, dtype, normalize, interpolation)
        self.canvas_size = checks.integer("canvas_size", canvas_size, 1, MAX_SIZE)
        self.image_size = checks.integer("image_size", image_size, 1, MAX_SIZE)
        self.planes, self.channels, self.dtype = planes, channels, dtype
        self.device = torch.device(device)
        self.backend = checked_backend(backend or backend_for(self.device), self.device)
        first, weights = coefficients(canvas_size, image_size, interpolation)
        # Tap-major: neighbouring outputs read neighbouring weights.
        self._first = torch.tensor(first, device=self.device)
        self._weights = torch.tensor(weights.T.copy(), device=self.device)
        self._table = batch_words(normalisation_table(dtype, normalize, channels)).to(self.device)
        # Rows between the passes of a resize, if there is one.
        narrowed = {"narrowed": ((planes, self.canvas_size, self.image_size), torch.uint8)}
        self._scratch = Scratch(self.device, narrowed if self.canvas_size != self.image_size else {})
        if self.backend == "numba":
            self._arrays = tuple(tensor.numpy() for tensor in (self._first, self._weights, self._table))

    @classmethod
    def check(
        cls,
        image_size: int,
        planes: int,
        channels: int,
        dtype: torch.dtype,
        normalize: Normalize,
        interpolation: str,
    ) -> None:
        """Raise ValueError or TypeError for an argument that the constructor would refuse; touches no device."""
        checks.integer("image_size", image_size, 1, MAX_SIZE)
        checks.choice("planes", planes, (1, 3))
        checks.choice("channels", channels, (1, 3))
        checks.choice("interpolation", interpolation, cls.INTERPOLATIONS)
        checks.choice("dtype", dtype, cls.DTYPES)
        normalisation_table(dtype, normalize, channels)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of GPU memory that the rows between the passes take an image."""
        return self._scratch.row_bytes

    def empty(
        self, batch_size: int, memory_format: torch.memory_format = torch.contiguous_format, pin_memory: bool = False
    ) -> Tensor:
        """An uninitialised batch [batch_size, C, H, W] to write into; ``pin_memory`` is for CPU batches."""
        shape = (batch_size, self.channels, self.image_size, self.image_size)
        return torch.empty(
            shape, dtype=self.dtype, device=self.device, memory_format=memory_format, pin_memory=pin_memory
        )

    def __call__(self, planes: Tensor, out: Tensor, places: Tensor | None = None) -> None:
        """Fill a batch, or some of its rows.

        Args:
            planes: uint8 [B, P, S, S], contiguous; left as it is.
            out: dtype [B, C, H, W], any strides without overlap; contiguous and channels_last are fast.
            places: int32 [B], contiguous, which rows of an ``out`` of any number of them to fill; that they are inside
                is the caller's duty. None for all in order.

        Raises:
            ValueError: a shape, dtype, device or layout that does not fit.
        """
        side, width = self.canvas_size, self.image_size
        check_tensors(planes, out, places, (self.planes, side, side), (self.channels, width, width), self)
        if not planes.shape[0]:
            return
        words = batch_words(out)
        if self.backend == "numba":
            self._run_numba(planes, words, places)
        else:
            self._run_triton(planes, words, places)

    def _run_numba(self, planes: Tensor, words: Tensor, places: Tensor | None) -> None:
        from fdsl_gpu.cpu_kernels import write_out as kernels

        first, weights, table = self._arrays
        batch, side, width = planes.shape[0], self.canvas_size, self.image_size
        pictures = planes.numpy()
        if side != width:
            # Not kept, so that threads may share this object.
            pictures = np.empty((batch, self.planes, width, width), np.uint8)
            kernels.resize(
                planes.view(-1, side, side).numpy(), first, weights, pictures.reshape(batch * self.planes, width, width)
            )
        kernels.write(pictures, table, flat_words(words), rows(batch, places), words.stride(), self.channels)

    def _run_triton(self, planes: Tensor, words: Tensor, places: Tensor | None) -> None:
        kernels = load_kernels("write_out")
        batch, side, width = planes.shape[0], self.canvas_size, self.image_size
        sizes = {"IN": side, "OUT": width, "TAPS": 0 if side == width else self._weights.shape[0]}
        options: dict[str, Any] = {"num_warps": kernels.NUM_WARPS, "enable_fp_fusion": False}
        packed = self.channels > 1 and words.stride(1) == 1 and words.stride(3) == self.channels
        source, narrowed = planes, self._scratch.rows(batch)
        with on_device(planes.device):
            if narrowed:
                (source,) = narrowed
                block, grid = kernels.tiles(side, width)
                kernels.horizontal[(batch * self.planes, *grid)](
                    planes, self._first, self._weights, source, **sizes, **block, **options
                )
            block, grid = kernels.tiles(width, width * self.channels if packed else width)
            kernels.write[(batch, *grid)](
                source,
                self._first,
                self._weights,
                self._table,
                self._first if places is None else places,
                words,
                *words.stride(),
                **sizes,
                PLANES=self.planes,
                CHANNELS=self.channels,
                TABLE=self.dtype != torch.uint8,
                PACKED=packed,
                PLACED=places is not None,
                **block,
                **options,
            )


def check_tensors(
    planes: Tensor, out: Tensor, places: Tensor | None, picture: tuple[int, ...], image: tuple[int, ...], like: Any
) -> None:
    """Raise ValueError unless planes uint8 [B, *picture] and a batch [B, *image] fit a write-out ``like``.

    With places int32 [B], the batch may have any number of rows. ``like`` has the ``dtype`` of batches and the
    ``device`` of all.
    """
    batch = planes.shape[0] if planes.dim() else 0
    total = batch
    if places is not None:
        check_tensor("places", places, (batch,), torch.int32, like.device)
        total = out.shape[0] if out.dim() else 0
    for name, tensor, dtype, shape in (
        ("planes", planes, torch.uint8, (batch, *picture)),
        ("out", out, like.dtype, (total, *image)),
    ):
        if tensor.shape != shape:
            raise ValueError(
                f"{name}: received shape {tuple(tensor.shape)}; allowed: {('B', *shape[1:])}, the same B for planes "
                f"and out, unless there are places. Make a {type(like).__name__} for these sizes, or take out from its "
                "empty()."
            )
        if tensor.dtype != dtype:
            raise ValueError(f"{name}: received {tensor.dtype}; allowed: {dtype}. Convert it, or use empty().")
        device = tensor.device
        if device.type != like.device.type or like.device.index not in (None, device.index):
            raise ValueError(f"{name}: received one on {device}; allowed: {like.device}. Move it there.")
    if not planes.is_contiguous():
        raise ValueError(f"planes: received strides {planes.stride()}; allowed: contiguous. Call contiguous().")
    if _overlaps(out):
        raise ValueError(
            f"out: received shape {tuple(out.shape)} with strides {out.stride()}; allowed: elements that do not share "
            "memory, an image within 2**31 elements. Use empty(), or contiguous() of the tensor."
        )


def rows(count: int, places: Tensor | None) -> NDArray[np.int64]:
    """Of a CPU batch those that ``count`` images go to: the first ones, or what ``places`` says."""
    return np.arange(count) if places is None else places.numpy().astype(np.int64)


def batch_words(out: Tensor) -> Tensor:
    """A batch over the same memory as integers of the size of its dtype, as kernels take it."""
    return out.view(_WORDS[out.dtype.itemsize])


def flat_words(words: Tensor) -> np.ndarray:
    """All words from the first element of a CPU tensor to its last, whatever its strides."""
    return words.as_strided((1 + _reach(words.shape, words.stride()),), (1,)).numpy()


def _reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """The offset of the last element, in elements."""
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _overlaps(out: Tensor) -> bool:
    """Whether two elements may share memory, or an image reaches beyond int32 offsets."""
    reach = 0
    for stride, size in sorted(zip(out.stride(), out.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += (size - 1) * stride
    return reach >= 2**31 and _reach(out.shape[1:], out.stride()[1:]) >= 2**31


def normalisation_table(dtype: torch.dtype, normalize: Normalize, channels: int) -> Tensor:
    """What each byte becomes: [channels, 256] of ``dtype``, computed on the CPU.

    A float is ``byte / 255`` as torchvision's ToTensor makes it, then ``(x - mean) / std`` as its Normalize, each step
    in float32, rounded to ``dtype`` at the end.

    Args:
        dtype: torch.float32, float16, bfloat16, uint8 or int64.
        normalize: "imagenet"; "half" (mean and std 0.5, images in [-1, 1]); (mean, std), each one number, or one a
            channel; None for no normalisation, which is all that integers allow. For one channel the averages of three
            numbers are taken, as timm's loader does (``timm.data.loader.adapt_to_chs``).
        channels: 1 or 3.

    Raises:
        ValueError, TypeError: an argument is not allowed.
    """
    byte = torch.arange(256, dtype=torch.uint8, device="cpu").expand(channels, 256)
    if not dtype.is_floating_point:
        if normalize is not None:
            raise ValueError(
                f"normalize: received {normalize!r} with dtype {dtype}; allowed: None. Pass normalize=None, or a "
                "float dtype."
            )
        return byte.to(dtype).contiguous()
    table = byte.float().div(255)
    if normalize is not None:
        mean, std = mean_std(normalize, channels)
        table = table.sub(mean).div(std)
    return table.to(dtype)


def mean_std(normalize: Any, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32 [channels, 1]."""
    if isinstance(normalize, str):
        normalize = _NORMALIZATIONS.get(normalize, normalize)
    try:
        mean, std = normalize
        numbers = [np.atleast_1d(np.asarray(values, np.float64)) for values in (mean, std)]
    except (TypeError, ValueError):
        numbers = []
    fits = numbers and all(n.ndim == 1 and n.size in (1, 3) and np.isfinite(n).all() for n in numbers)
    if isinstance(normalize, str) or not fits or (numbers[1] <= 0).any():
        raise ValueError(
            f"normalize: received {normalize!r}; allowed: 'imagenet', 'half', None, or (mean, std), each a number or "
            "three, std above zero, on the scale 0 .. 1. Use ((0.5,), (0.5,)), for example."
        )
    if channels == 1:
        numbers = [n.mean(keepdims=True) for n in numbers]
    mean, std = (torch.from_numpy(np.broadcast_to(n, channels).astype(np.float32))[:, None] for n in numbers)
    return mean, std
