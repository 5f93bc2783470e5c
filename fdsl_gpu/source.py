"""Positions to batches: what the two dataset classes share. Holds the configuration and, once used, renderers."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fdsl_gpu import arguments, checks, philox
from fdsl_gpu.arguments import AnyDataset
from fdsl_gpu.augment import Recipe
from fdsl_gpu.formulas.base import MAX_CANVAS, MAX_CLASSES, MIN_CANVAS, content_ids
from fdsl_gpu.renderer import Renderer
from fdsl_gpu.stream import MAX_POSITION, VALIDATION, MixedOrder, Order, repeated
from fdsl_gpu.version import PIXEL_CONTRACT
from fdsl_gpu.write_out import Normalize, WriteOut, mean_std

_MIXTURE = 0
"""Stands in the key of a mixture where a formula's number would."""


class Source:
    """Everything that decides the bytes of a position, and the means to draw them.

    Takes the keywords of :class:`fdsl_gpu.FDSLDataset`, which documents them.

    Attributes:
        formulas: one, or those of a mixture.
        num_classes: of all formulas together.
        target: what pictures are labelled with, "label", "mask" or "multi_hot".
        recipe: how samples are presented.
        presents: whether that takes random numbers, so that each position is a presentation of its own.
    """

    def __init__(
        self,
        dataset: AnyDataset,
        *,
        image_size: int = 224,
        device: str | torch.device | None = None,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        instances_per_class: int | None = None,
        split: Literal["train", "val"] = "train",
        views: int = 1,
        augment: str | Recipe | None = None,
        repeats: int | None = None,
        mode: Literal["canvas", "vector"] = "canvas",
        transform: Callable[[Tensor], Tensor] | None = None,
        return_masks: bool | None = None,
        mask_dtype: torch.dtype = torch.int64,
        dtype: torch.dtype = torch.float32,
        normalize: Normalize | Literal["recipe"] = "recipe",
        channels: int = 3,
        memory_format: torch.memory_format = torch.contiguous_format,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        **options: Any,
    ) -> None:
        checks.integer("image_size", image_size, MIN_CANVAS, MAX_CANVAS)
        self.formulas = arguments.formulas(dataset, options)
        self.target = self.formulas[0].TARGET
        self.num_classes = sum(formula.num_classes for formula in self.formulas)
        checks.integer("num_classes", self.num_classes, 1, MAX_CLASSES, "Mix fewer classes.")
        self._first_labels = np.cumsum([0] + [formula.num_classes for formula in self.formulas])
        self._weights = arguments.weights(weights, self.formulas)
        self.seed = checks.integer("seed", seed, 0, 2**64 - 1)
        self.device = arguments.resolve_device(device)
        self.memory_format = checks.choice(
            "memory_format", memory_format, (torch.contiguous_format, torch.channels_last)
        )
        self._split = arguments.split(split, self.formulas)
        self.instances_per_class = arguments.instances(instances_per_class, self.formulas)
        self.mode = checks.choice("mode", mode, ("canvas", "vector"))
        self._crop_canvases = [formula.canvas_size for formula in self.formulas]
        if mode == "vector":
            self.formulas = tuple(arguments.at_image_size(formula, image_size) for formula in self.formulas)
        self.return_masks = arguments.return_masks(return_masks, self.formulas[0])
        self.recipe = arguments.chosen_recipe(augment, repeats, mode, self.formulas[0], self.return_masks)
        self.presents = arguments.presents(self.recipe, self._crop_canvases, image_size)
        self.transform = arguments.transform(transform)
        self.views = arguments.views(views, self.formulas, self.presents)
        self._mask_dtype = checks.choice("mask_dtype", mask_dtype, (torch.int64, torch.uint8))
        self._write_out: dict[str, Any] = {
            "image_size": operator.index(image_size),
            "channels": checks.integer("channels", channels, 1, 3),
            "dtype": dtype,
            "normalize": arguments.normalize(normalize, self.recipe, dtype),
            "interpolation": interpolation,
        }
        for formula in self.formulas:
            WriteOut.check(planes=formula.planes, **self._write_out)
        self.order = self._make_order()
        self._renderers: list[Renderer] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_renderers": []}

    def locate(self, positions: ArrayLike, presented_before: int = 0) -> tuple[NDArray[np.int64], ...]:
        """(labels, instances), int64 [B] each, of positions, and (presentations,) if they are augmented.

        Pictures without a label have no labels here. ``presented_before`` counts positions of earlier epochs.
        """
        content = self._locate(checks.integers("positions", positions, 0, MAX_POSITION - 1), presented_before)
        return content[0 if self.target == "label" else 1 : 3 if self.presents else 2]

    def render(
        self,
        labels: ArrayLike | None = None,
        instances: ArrayLike | None = None,
        presentations: ArrayLike | None = None,
    ) -> Any:
        """Images [B, C, H, W], as the stream delivers them; with targets if pictures have those.

        Without presentations, nothing is augmented.
        """
        if self.target != "label" and self.presents and labels is not None:
            # What ``locate`` returned: instances and presentations.
            labels, instances, presentations = None, labels, instances
        pictures = self._draw(*self._content(labels, instances), self._presentations(presentations))
        return pictures[0] if len(pictures) == 1 else pictures

    def empty(self, batch_size: int) -> Tensor | list[Tensor]:
        """Uninitialised images of a batch, [B, C, H, W]; a list of them for several views."""
        renderer = self._prepare()[0]
        images = [renderer.empty(batch_size, self.memory_format) for _ in range(self.views)]
        return images[0] if self.views == 1 else images

    def empty_masks(self, batch_size: int) -> Tensor:
        """Uninitialised masks of a batch, [B, H, W]."""
        return self._prepare()[0].empty_masks(batch_size)

    def batch(
        self,
        positions: NDArray[np.int64],
        return_ids: bool = False,
        out: Any = None,
        masks: Tensor | None = None,
        *,
        presented_before: int = 0,
    ) -> tuple[Any, ...]:
        """(images, labels or other targets), and content ids int64 [B] if asked for, of positions; on the device.

        Images are drawn into ``out``, from :meth:`empty`, and masks into ``masks``, from :meth:`empty_masks`, if these
        are given; ``presented_before`` as in :meth:`locate`.
        """
        labels, instances, presentations = self._locate(positions, presented_before)
        batch = list(self._draw(labels, instances, presentations if self.presents else None, out, masks))
        if self.transform is not None:
            images = batch[0]
            batch[0] = [self.transform(view) for view in images] if self.views > 1 else self.transform(images)
        if self.target == "label":
            batch.append(self._to_device(torch.from_numpy(labels)))
        if return_ids:
            batch.append(self._to_device(torch.from_numpy(content_ids(labels, instances))))
        return tuple(batch)

    def class_parameters(self, label: int) -> dict[str, Any]:
        """The parameters that define a class, under the names of the paper."""
        label = checks.integer("label", label, 0, self.num_classes - 1)
        part = int(np.searchsorted(self._first_labels, label, side="right")) - 1
        return self.formulas[part].class_parameters(label - int(self._first_labels[part]))

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the bytes of a position, JSON-able."""
        content = [formula.fingerprint() for formula in self.formulas]
        identity = {
            "pixel_contract": PIXEL_CONTRACT,
            **(content[0] if len(content) == 1 else {"mixture": content, "weights": self._weights}),
            "seed": self.seed,
            "split": self._split,
            "instances_per_class": self.instances_per_class,
            "views": self.views,
            "mode": self.mode,
            "crop_canvases": self._crop_canvases,
            "augment": {**self.recipe.fingerprint(), "mixing": None},
            **self._write_out,
        }
        if identity["normalize"] is not None:
            # However it was said.
            values = mean_std(identity["normalize"], self._write_out["channels"])
            identity["normalize"] = [value.flatten().tolist() for value in values]
        if self.presents:
            # The recipe says how its crops are resized.
            del identity["interpolation"]
        # Through JSON and back, so that a saved state compares equal: tuples become lists, NumPy's numbers plain ones.
        return json.loads(json.dumps(identity, default=_plain))

    def _make_order(self) -> Order | MixedOrder:
        orders = []
        for formula in self.formulas:
            labels = formula.num_classes if formula.TARGET == "label" else 1
            count = self.instances_per_class or formula.default_instances
            key = philox.dataset_key(self.seed, formula.NUMBER)
            orders.append(Order(key, labels, count, self._split == "val"))
        if len(orders) == 1:
            return orders[0]
        return MixedOrder(philox.dataset_key(self.seed, _MIXTURE), tuple(orders), self._weights)

    def _locate(self, positions: NDArray[np.int64], presented_before: int) -> tuple[NDArray[np.int64], ...]:
        """(labels, instances, presentations), int64 [B] each."""
        shown = positions
        if self.recipe.repeats > 1:
            shown = repeated(positions, self.recipe.repeats, self.recipe.repeat_distance)
        first = presented_before + (VALIDATION if self._split == "val" else 0)
        return *self.order.locate(shown), positions + first

    def _presentations(self, presentations: ArrayLike | None) -> NDArray[np.int64] | None:
        """Checked presentation ids, int64 [B]."""
        if presentations is None:
            return None
        remedy = "Leave presentations out: this dataset does not augment." if not self.presents else ""
        return checks.integers("presentations", presentations, 0, 2 * VALIDATION if self.presents else -1, remedy)

    def _content(
        self, labels: ArrayLike | None, instances: ArrayLike | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Checked labels and instances, int64 [B] each, of what a user asks for."""
        if self.target == "label":
            if labels is None or instances is None:
                missing = "labels" if labels is None else "instances"
                raise TypeError(f"{missing}: received None; allowed: integers. Pictures have a label and an instance.")
            return checks.pairs(labels, instances, self.num_classes)
        if instances is None:
            labels, instances = 0, labels
        if instances is None:
            raise TypeError("instances: received None; allowed: integers. Say which pictures to draw.")
        remedy = f"Pictures of {self.formulas[0].NAME} have no label and are drawn by instance."
        checks.integers("labels", 0 if labels is None else labels, 0, 0, remedy)
        return checks.pairs(0, instances, 1)

    def _draw(
        self,
        labels: NDArray[np.int64],
        instances: NDArray[np.int64],
        presentations: NDArray[np.int64] | None = None,
        out: Any = None,
        masks: Tensor | None = None,
    ) -> tuple[Any, ...]:
        """(images,), followed by masks or multi-hot targets if pictures have those."""
        renderers = self._prepare()
        if self.return_masks and masks is None:
            masks = self.empty_masks(len(instances))
        outs = [out] if self.views == 1 else out or [None] * self.views
        views = [
            self._image(renderers, labels, instances, presentations, masks, view, outs[view])
            for view in range(self.views)
        ]
        images = views[0] if self.views == 1 else views
        if self.target == "multi_hot":
            return images, self._multi_hot(self.formulas[0].classes_shown(renderers[0].key, instances))
        return (images,) if masks is None else (images, masks)

    def _image(
        self,
        renderers: list[Renderer],
        labels: NDArray[np.int64],
        instances: NDArray[np.int64],
        presentations: NDArray[np.int64] | None,
        masks: Tensor | None,
        view: int,
        out: Tensor | None,
    ) -> Tensor:
        out = renderers[0].empty(len(labels), self.memory_format) if out is None else out
        if len(renderers) == 1:
            return renderers[0](labels, instances, presentations, out=out, masks=masks, view=view)
        parts = np.searchsorted(self._first_labels, labels, side="right") - 1
        for part, renderer in enumerate(renderers):
            places = np.flatnonzero(parts == part)
            chosen = None if presentations is None else presentations[places]
            own_labels = labels[places] - self._first_labels[part]
            renderer(own_labels, instances[places], chosen, out=out, view=view, places=places)
        return out

    def _multi_hot(self, classes: NDArray[np.int64]) -> Tensor:
        """Targets float32 [B, num_classes] of classes int64 [B, n]: 1 for each of them."""
        rows, columns = len(classes), self.num_classes
        ones = np.arange(rows)[:, None] * columns + classes
        targets = torch.zeros(rows * columns, dtype=torch.float32, device=self.device)
        targets.index_fill_(0, self._to_device(torch.from_numpy(ones.reshape(-1))), 1.0)
        return targets.view(rows, columns)

    def _prepare(self) -> list[Renderer]:
        if not self._renderers:
            if self.device.type == "cuda" and self.device.index is None:
                # Which device "cuda" means is settled by the first drawing, and then stays.
                self.device = torch.device("cuda", torch.cuda.current_device())
            settings: dict[str, Any] = {"seed": self.seed, "device": self.device, "write_out": self._write_out}
            settings["mask_dtype"] = self._mask_dtype if self.return_masks else None
            chosen = self.recipe if self.presents else None
            self._renderers = [
                Renderer(formula, recipe=chosen, vector_canvas=canvas if self.mode == "vector" else None, **settings)
                for formula, canvas in zip(self.formulas, self._crop_canvases, strict=True)
            ]
        return self._renderers

    def _to_device(self, values: Tensor) -> Tensor:
        return values if self.device.type == "cpu" else values.pin_memory().to(self.device, non_blocking=True)


class OverSource:
    """What datasets say and draw by their :class:`Source`, whether they are streamed or indexed."""

    source: Source

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are 0 .. num_classes - 1."""
        return self.source.num_classes

    @property
    def device(self) -> torch.device:
        """Where images are drawn and delivered."""
        return self.source.device

    def render(
        self,
        labels: ArrayLike | None = None,
        instances: ArrayLike | None = None,
        presentations: ArrayLike | None = None,
    ) -> Any:
        """Images [B, C, H, W] of labels and instances, in the dtype and normalisation of this dataset.

        Pictures with masks or several objects are drawn by instance alone, and returned with their targets. Without
        presentations nothing is augmented.
        """
        return self.source.render(labels, instances, presentations)

    def class_parameters(self, label: int) -> dict[str, Any]:
        """The parameters that define a class, under the names of the paper."""
        return self.source.class_parameters(label)


def samples_of(batch: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The samples of a batch: images and other tensors by row, a list of views as a list, numbers as int."""
    columns: list[Iterable[Any]] = []
    for part in batch:
        if isinstance(part, list):
            columns.append(map(list, zip(*part, strict=True)))
        else:
            columns.append(part.tolist() if part.ndim == 1 else part)
    return zip(*columns, strict=True)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, torch.dtype) else value.tolist()
