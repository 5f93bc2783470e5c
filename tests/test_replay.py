"""Replays launch what was launched before, for other batches, and nothing else."""

import ctypes
import threading
import weakref
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from triton.runtime import driver

from bench.host_time import no_driver
from tests.compile_kernels import run_alone
from triton_kernels import replay
from triton_kernels.launch import Kernel


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Recordings are made as where kernels are compiled, and the driver does nothing."""
    monkeypatch.setattr(replay, "_INTERPRETED", False)
    with no_driver(lambda *arguments: None):
        yield


def address(argument: Any) -> int:
    return argument.data_ptr() if isinstance(argument, torch.Tensor) else argument


def add(source: Any, scratch: Any, target: Any, count: int, *, stream: int) -> None:
    """A kernel of int32 words: the sum goes to ``target`` and to ``scratch``."""
    arrays = [(ctypes.c_int32 * count).from_address(address(memory)) for memory in (source, scratch, target)]
    terms, sums, out = map(np.frombuffer, arrays, [np.int32] * 3)
    sums += terms
    out[:] = sums


def queue(kernel: Any, *arguments: Any) -> None:
    kernel(*arguments, stream=0)
    replay.record(kernel, *arguments)


@pytest.mark.usefixtures("compiled")
def test_a_replay_works_on_the_other_batch_and_the_same_scratch_memory() -> None:
    def batch(first: int) -> list[torch.Tensor]:
        return [torch.arange(first, first + 8, dtype=torch.int32), torch.zeros(2, 4, dtype=torch.int32)]

    scratch = torch.full((4,), 7, dtype=torch.int32)
    words, out = batch(0)
    with replay.recording() as steps:
        replay.clear(scratch)
        queue(add, words[:4], scratch, out[0], 4)
        # A view of another dtype.
        queue(add, words[4:].view(torch.float32), scratch, out[1], 4)
    assert len(steps) == 3
    again = replay.Replay(steps, [words, out])
    del scratch
    old = out.clone()
    for first in (100, 1000):
        words, out_now = batch(first)
        again([words, out_now])
        assert torch.equal(out_now, torch.stack([words[:4], words[:4] + words[4:]]))
    assert torch.equal(out, old)


@pytest.mark.usefixtures("compiled")
def test_scratch_memory_lives_as_long_as_the_replay() -> None:
    words, scratch = torch.zeros(8, dtype=torch.int32), torch.zeros(4, dtype=torch.int32)
    alive = weakref.ref(scratch)
    with replay.recording() as steps:
        queue(add, words, scratch, words[4:], 4)
    again = replay.Replay(steps, [words])
    del scratch, steps
    assert alive() is not None
    del again
    assert alive() is None


@pytest.mark.usefixtures("compiled")
def test_replays_are_queued_on_the_current_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[int] = []
    again = replay.Replay([(lambda stream: streams.append(stream), ())], [])
    for current in (0, 7):
        monkeypatch.setattr(type(driver.active), "get_current_stream", lambda self, device, current=current: current)
        again([])
    assert streams == [0, 7]


@pytest.mark.usefixtures("compiled")
def test_tensors_of_one_memory_are_told_apart() -> None:
    memory, others = torch.arange(12, dtype=torch.int32), torch.arange(100, 112, dtype=torch.int32)
    with replay.recording() as steps:
        queue(add, memory[:4], torch.zeros(4, dtype=torch.int32), memory[8:], 4)
    # The second begins where the first goes on.
    again = replay.Replay(steps, [memory[:6], memory[6:]])
    target = torch.zeros(6, dtype=torch.int32)
    again([others[:6], target])
    assert target[2:].tolist() == [100, 102, 104, 106]


def nothing(pointer, count):  # type: ignore[no-untyped-def]
    """Never compiled."""


@pytest.mark.usefixtures("compiled")
def test_only_this_threads_launches_are_recorded_and_only_meanwhile() -> None:
    kernel = Kernel(nothing)
    memory = torch.zeros(4, dtype=torch.int32)

    def launch() -> None:
        kernel[(1,)](memory, 4, enable_fp_fusion=False)

    launch()
    with replay.recording() as steps:
        launch()
        other = threading.Thread(target=launch)
        other.start()
        other.join()
    launch()
    assert [arguments for _, arguments in steps] == [(memory, 4)]


@pytest.mark.usefixtures("compiled")
def test_a_first_launch_is_recorded_as_later_ones_are() -> None:
    kernel = Kernel(nothing)
    memory = torch.zeros(4, dtype=torch.int32)
    with replay.recording() as steps:
        for _ in range(2):
            kernel[(1,)](memory, 4, enable_fp_fusion=False)
    assert [arguments for _, arguments in steps] == [(memory, 4)] * 2


def test_nothing_is_recorded_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_INTERPRETED", True)
    with replay.recording() as steps:
        replay.clear(torch.ones(3))
    assert steps == []


def test_a_failed_recording_ends() -> None:
    def failing() -> None:
        with replay.recording():
            raise KeyboardInterrupt

    with mock.patch.object(replay, "_INTERPRETED", False), pytest.raises(KeyboardInterrupt):
        failing()
    assert replay._RECORDING.steps is None


MEMORY = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(MEMORY[:1], id="shape"),
        pytest.param(MEMORY.contiguous(memory_format=torch.channels_last), id="strides"),
        pytest.param(MEMORY.view(torch.int8), id="dtype"),
        pytest.param(torch.zeros(2 * 3 * 64 + 8, dtype=torch.uint8)[8:].view(2, 3, 8, 8), id="alignment"),
        pytest.param(torch.empty(2**31, dtype=torch.uint8, device="meta")[: 2 * 3 * 64].view(2, 3, 8, 8), id="size"),
    ],
)
def test_batches_are_of_one_kind_if_the_same_would_be_launched(other: torch.Tensor) -> None:
    kind = replay.kind([MEMORY, MEMORY])
    assert replay.kind([torch.ones_like(MEMORY), MEMORY]) == kind
    assert replay.kind([other, MEMORY]) != kind
    assert replay.kind([MEMORY, other]) != kind
    assert replay.kind([MEMORY]) != kind


def test_every_dataset_is_replayed_as_it_would_be_launched() -> None:
    found = run_alone("tests.replayed_launches")
    for name, options, result in found:
        assert all(result["same"]), (name, options, result)
        if isinstance(name, str):
            # Of a kind, the third is the first that is replayed; after an interrupt, again.
            expected = [False, False, True, True, False, False, False, True, None, False]
            assert result["replayed"] == expected, (name, options)
    assert len(found) > 20
