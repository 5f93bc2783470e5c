"""Kernels are launched again exactly as Triton would launch them, and only when nothing it compiles for has changed."""

import importlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton.language as tl
from triton.runtime import JITFunction, driver

from bench.host_time import no_driver
from tests.compile_kernels import KERNEL_FILES
from triton_kernels.launch import Kernel

TYPES = {"i32": torch.int32, "i64": torch.int64, "u8": torch.uint8, "u16": torch.uint16, "u32": torch.uint32}
TYPES |= {"i16": torch.int16, "fp32": torch.float32, "fp64": torch.float64}


@pytest.fixture
def launches() -> Iterator[list[tuple[Any, ...]]]:
    """What reached the driver, in order: grid, stream, and all that the kernel is given."""
    found: list[tuple[Any, ...]] = []

    def launched(name: str, x: int, y: int, z: int, stream: int, function: int, packed: Any, *rest: Any) -> None:
        # Between them are Triton's hooks and what describes the launch to them.
        found.append(((x, y, z), stream, rest[3:]))

    with no_driver(launched):
        yield found


def functions() -> list[Any]:
    """(name, function, signature, constants) of every kernel, in each way it is compiled."""
    return [
        pytest.param(getattr(module, name.split("/")[0]).fn, signature, constants, id=f"{file}.{name}")
        for file in KERNEL_FILES
        for module in [importlib.import_module(f"triton_kernels.{file}")]
        for name, (signature, constants) in module.SIGNATURES.items()
    ]


def value(kind: str) -> Any:
    return torch.zeros(16, dtype=TYPES[kind[1:]]) if kind.startswith("*") else 48


@pytest.mark.parametrize(("function", "signature", "constants"), functions())
@pytest.mark.parametrize("grid", [(5,), (5, 2), (5, 2, 3)], ids=len)
def test_a_second_launch_is_the_first(
    launches: list[Any], function: Any, signature: dict[str, str], constants: dict[str, Any], grid: tuple[int, ...]
) -> None:
    kernel = Kernel(function)
    arguments = [value(kind) for name, kind in signature.items() if name not in constants]
    options = {**constants, "num_warps": 2, "enable_fp_fusion": False}
    assert kernel[grid](*arguments, **options) is kernel[grid](*arguments, **options)
    # By names in another order.
    options = dict(reversed(options.items()))
    assert kernel[grid](*arguments, **options) is kernel[grid](*arguments, **options)
    assert len(launches) == 4
    for launched_grid, stream, given in launches:
        assert launched_grid == (*grid, 1, 1)[:3]
        assert stream == 0
        assert len(given) == len(kernel.arg_names)
        for got, name in zip(given, kernel.arg_names, strict=True):
            expected = constants[name] if name in constants else arguments[kernel.arg_names.index(name)]
            assert got is expected or got == expected


def scale(source_ptr, target_ptr, count, FACTOR: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Never compiled."""


MEMORY = torch.zeros(64, dtype=torch.int32)


def launch(kernel: Kernel, **changed: Any) -> Any:
    options = {"source": MEMORY, "count": 32, "FACTOR": 3, "BLOCK": 64, "enable_fp_fusion": False, **changed}
    return kernel[(1,)](options.pop("source"), MEMORY, options.pop("count"), **options)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"source": MEMORY[1:]}, id="alignment"),
        pytest.param({"source": MEMORY.view(torch.float32)}, id="dtype"),
        pytest.param({"count": 1}, id="one"),
        pytest.param({"count": 33}, id="divisibility"),
        pytest.param({"count": 2**40}, id="width"),
        pytest.param({"FACTOR": 5}, id="constant"),
        pytest.param({"num_warps": 8}, id="option"),
    ],
)
def test_another_launch_is_another_kernel(launches: list[Any], change: dict[str, Any]) -> None:
    kernel = Kernel(scale)
    first = launch(kernel)
    assert launch(kernel) is first
    other = launch(kernel, **change)
    assert other is not first
    assert launch(kernel, **change) is other
    assert launch(kernel) is first
    assert len(launches) == 5


def test_triton_is_asked_once_until_it_is_forgotten_or_memory_is_large(launches: list[Any]) -> None:
    kernel = Kernel(scale)
    small, large = (torch.empty(size, dtype=torch.int32, device="meta") for size in (2**29 - 1, 2**29))
    with mock.patch.object(JITFunction, "run", autospec=True, side_effect=JITFunction.run) as asked:
        for _ in range(3):
            launch(kernel, source=small)
        assert asked.call_count == 1
        kernel.forget()
        launch(kernel, source=small)
        assert asked.call_count == 2
        for tensor in (large, large[1:5]):
            launch(kernel, source=tensor)
    assert asked.call_count == 4
    assert len(launches) == 6


def test_names_of_constants_count_not_their_order(launches: list[Any]) -> None:
    kernel = Kernel(scale)
    for constants in ({"FACTOR": 3, "BLOCK": 64}, {"BLOCK": 64, "FACTOR": 3}, {"BLOCK": 3, "FACTOR": 64}):
        for _ in range(2):
            kernel[(1,)](MEMORY, MEMORY, 32, **constants, enable_fp_fusion=False)
    assert [given[-2:] for *_, given in launches] == [(3, 64)] * 4 + [(64, 3)] * 2


def test_warming_up_launches_nothing(launches: list[Any]) -> None:
    kernel = Kernel(scale)
    launch(kernel)
    for _ in range(2):
        kernel.warmup(MEMORY, MEMORY, 32, FACTOR=3, BLOCK=64, enable_fp_fusion=False, grid=(1,))
    assert len(launches) == 1


def test_launches_are_of_the_current_stream_and_device(launches: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(scale)
    first = launch(kernel)
    monkeypatch.setattr(type(driver.active), "get_current_stream", lambda self, device: 7)
    assert launch(kernel) is first
    monkeypatch.setattr(type(driver.active), "get_current_device", lambda self: 1)
    assert launch(kernel) is not first
    assert [stream for _, stream, _ in launches] == [0, 7, 7]
