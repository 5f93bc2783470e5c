"""Launching a kernel again as it was launched before, without finding out anew what to launch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import triton
from triton import knobs
from triton.runtime import JITFunction, driver

from triton_kernels.replay import record

# Triton makes a kernel ready in several steps, between which another thread would launch it half made.
_FIRST_LAUNCH = threading.Lock()


class Kernel(JITFunction):
    """A kernel that remembers what Triton compiled for the arguments of a launch.

    At every launch Triton describes each argument, writes the descriptions down as one text to look the kernel up by,
    and compares each global constant with the one that was compiled. Here the description is what Python has at hand,
    and Triton compiles for no more than that, so two launches of one description are launches of one kernel. Pass
    tensors and integers by position, constants by name. Settings of Triton that change after a first launch are not
    noticed.
    """

    def __init__(self, function: Callable[..., None], **options: Any) -> None:
        super().__init__(function, **options)
        self._ready: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}

    def run(self, *arguments: Any, grid: tuple[int, ...], warmup: bool, **options: Any) -> Any:
        """Launch on the current stream of the current device: what ``kernel[grid](...)`` calls."""
        device = driver.active.get_current_device()
        key = (device, *map(_described, arguments), *options, *options.values())
        ready = None if warmup else self._ready.get(key)
        if ready is None:
            with _FIRST_LAUNCH:
                compiled = super().run(*arguments, grid=grid, warmup=warmup, **options)
            if warmup:
                return compiled
            # What is passed by name is in the key, so it is the same next time.
            constants = tuple(options[name] for name in self.arg_names[len(arguments) :])
            self._ready[key] = compiled, constants
        else:
            compiled, constants = ready
        launch = compiled[(*grid, 1, 1)[:3]]
        if ready is not None:
            launch(*arguments, *constants, stream=driver.active.get_current_stream(device))
        record(launch, *arguments, *constants)
        return compiled

    def forget(self) -> None:
        """Let the next launch ask Triton."""
        self._ready.clear()


def _described(argument: Any) -> Any:
    """An integer; of a tensor dtype, alignment, and whether its memory is within 2 GiB, which AMD's GPUs go by."""
    if isinstance(argument, int):
        return argument
    return argument.dtype, argument.data_ptr() % 16, argument.untyped_storage().nbytes() >> 31


def kernel(function: Callable[..., None] | None = None, **options: Any) -> Any:
    """``triton.jit`` for what the host launches; takes its options."""
    if function is None:
        return lambda function: kernel(function, **options)
    if knobs.runtime.interpret:
        return triton.jit(function, **options)
    return Kernel(function, **options)
