"""Checks of what a user passes in. Every error says the argument, what was received, what is allowed, the remedy."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_INSTANCE = 2**40
"""Instances of a class lie in [0, 2**40)."""


def choice(argument: str, received: Any, allowed: Iterable[Any]) -> Any:
    """Return ``received`` if it is one of ``allowed``; else raise ValueError, with the nearest allowed name."""
    names = list(allowed)
    if isinstance(received, np.generic):
        received = received.item()
    if any(received is name or (type(received) is type(name) and received == name) for name in names):
        return received
    near = difflib.get_close_matches(str(received), [str(name) for name in names], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{argument}: received {received!r}; allowed: {', '.join(repr(name) for name in names)}.{hint}")


def integer(argument: str, received: Any, low: int, high: int | None = None, remedy: str = "") -> int:
    """Return ``received`` as an int in [low, high]; TypeError or ValueError otherwise. A bool is not an integer."""
    allowed = f"an integer in [{low}, {high}]" if high is not None else f"an integer >= {low}"
    suffix = f" {remedy}" if remedy else ""
    try:
        if isinstance(received, (bool, np.bool_)):
            raise TypeError
        value = operator.index(received)
    except TypeError:
        raise TypeError(
            f"{argument}: received {received!r} ({type(received).__name__}); allowed: {allowed}.{suffix}"
        ) from None
    if value < low or (high is not None and value > high):
        raise ValueError(f"{argument}: received {value}; allowed: {allowed}.{suffix}")
    return value


def real(argument: str, received: Any, low: float, high: float) -> float:
    """Return ``received`` as a float in [low, high]; TypeError or ValueError otherwise. Text is not a number."""
    allowed = f"a number in [{low:g}, {high:g}]"
    try:
        if isinstance(received, (bool, np.bool_, str)):
            raise TypeError
        value = float(received)
    except (TypeError, ValueError):
        raise TypeError(f"{argument}: received {received!r} ({type(received).__name__}); allowed: {allowed}.") from None
    # Not a number is in no interval.
    if not low <= value <= high:
        raise ValueError(f"{argument}: received {received!r}; allowed: {allowed}.")
    return value


def integers(argument: str, received: Any, low: int, high: int, remedy: str = "") -> NDArray[np.int64]:
    """Return integers (a number, sequence, array or tensor) as int64 [B], each in [low, high]."""
    values = np.asarray(received)
    suffix = f" {remedy}" if remedy else ""
    if values.size and not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{argument}: received {values.dtype} values; allowed: integers in [{low}, {high}].{suffix}")
    values = np.atleast_1d(values)
    if values.ndim != 1:
        raise ValueError(f"{argument}: received an array of shape {values.shape}; allowed: one dimension, [B].{suffix}")
    outside = (values < low) | (values > high)
    if outside.any():
        index = int(np.argmax(outside))
        raise ValueError(
            f"{argument}: received {values[index]} at index {index}; allowed: integers in [{low}, {high}].{suffix}"
        )
    return values.astype(np.int64)


def pairs(labels: Any, instances: Any, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels and instances as two int64 [B] arrays of one length; a single value goes with all of the other."""
    labels = integers("labels", labels, 0, num_classes - 1, f"The dataset has {num_classes} classes.")
    instances = integers(
        "instances", instances, 0, MAX_INSTANCE - 1, "Published instances are 0 .. N-1; any below 2**40 is drawable."
    )
    if labels.size != instances.size and 1 not in (labels.size, instances.size):
        raise ValueError(
            f"instances: received {instances.size} for {labels.size} labels; allowed: as many as labels, or one. "
            "Pass arrays of one length."
        )
    # Repeated in memory: kernels take no views of one value.
    if labels.size == 1:
        labels = np.repeat(labels, instances.size)
    if instances.size == 1:
        instances = np.repeat(instances, labels.size)
    return labels, instances
