"""FDSLLoader: what it delivers, what it leaves behind, what frameworks look for in it, and ranks that disagree."""

import gc
import itertools
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fdsl_gpu import FDSLDataset, FDSLLoader
from fdsl_gpu.prefetch import ThreadAhead

SMALL: dict[str, Any] = {"image_size": 16, "device": "cpu", "dtype": torch.uint8, "num_classes": 10, "canvas_size": 16}


def make(name: str = "exfractaldb-1k", batch_size: int | None = 4, **keywords: Any) -> FDSLDataset:
    return FDSLDataset(name, batch_size, **{**SMALL, **keywords})


def images(loader: Any, count: int) -> torch.Tensor:
    return torch.cat([batch[0] for batch in itertools.islice(loader, count)])


def loader_threads() -> list[threading.Thread]:
    """Those that are left when those about to end have ended."""
    found = [thread for thread in threading.enumerate() if thread.name.startswith("FDSLLoader")]
    for thread in found:
        thread.join(2)
    return [thread for thread in found if thread.is_alive()]


def leave_by_break(loader: FDSLLoader) -> None:
    for _ in loader:
        break


def leave_by_close(loader: FDSLLoader) -> None:
    iteration = iter(loader)
    next(iteration)
    loader.close()


def leave_by_context(loader: FDSLLoader) -> None:
    iteration = iter(loader)
    with loader:
        next(iteration)


def leave_by_error(loader: FDSLLoader) -> None:
    def train() -> None:
        for _ in loader:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()


def leave_unstarted(loader: FDSLLoader) -> None:
    iter(loader)


def leave_in_a_cycle(loader: FDSLLoader) -> None:
    cycle: list[Any] = [iter(loader)]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()


def leave_by_the_end(loader: FDSLLoader) -> None:
    loader.dataset.epoch_size = 8
    assert len(list(loader)) == 2


LEAVE = [
    leave_by_break,
    leave_by_close,
    leave_by_context,
    leave_by_error,
    leave_unstarted,
    leave_in_a_cycle,
    leave_by_the_end,
]


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize("leave", LEAVE, ids=lambda function: function.__name__)
def test_no_thread_and_no_batch_stays_behind(
    leave: Callable[[FDSLLoader], None], prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = FDSLLoader(make(), prefetch=prefetch)
    drawn: list[weakref.ref[torch.Tensor]] = []
    batch = loader.dataset.source.batch

    def noted(*arguments: Any) -> Any:
        made = batch(*arguments)
        drawn.extend(weakref.ref(tensor) for tensor in made)
        return made

    monkeypatch.setattr(loader.dataset.source, "batch", noted)
    leave(loader)
    assert not loader_threads()
    gc.collect()
    for _ in range(100):
        # A helper of the renderer may still be about to see that there is nothing left to draw.
        if not any(reference() is not None for reference in drawn):
            return
        threading.Event().wait(0.01)
    raise AssertionError("a batch stays behind")


def test_what_is_ahead_is_bounded() -> None:
    drawn: list[int] = []
    ahead = ThreadAhead(((n, -n) for n in itertools.count()), lambda n: drawn.append(n) or n, 3)  # type: ignore[func-returns-value]
    assert [next(ahead) for _ in range(5)] == [(n, -n) for n in range(5)]
    for _ in range(50):
        threading.Event().wait(0.002)
    assert sorted(drawn) == list(range(8))
    ahead.close()
    assert list(ahead) == []


def test_the_first_batch_is_drawn_by_who_asks_for_it_and_the_others_are_not() -> None:
    drawn_by: list[str] = []
    ahead = ThreadAhead(
        ((n, n) for n in itertools.count()), lambda n: drawn_by.append(threading.current_thread().name), 2
    )
    assert not drawn_by
    next(ahead)
    next(ahead)
    ahead.close()
    first, *others = drawn_by
    assert first == threading.current_thread().name
    assert others
    assert {name.rpartition("_")[0] for name in others} == {"FDSLLoader"}


def test_an_interrupted_first_batch_is_not_lost() -> None:
    interrupts = [KeyboardInterrupt]

    def draw(n: int) -> int:
        while interrupts:
            raise interrupts.pop()
        return n

    ahead = ThreadAhead(((n, n) for n in itertools.count()), draw, 2)
    with pytest.raises(KeyboardInterrupt):
        next(ahead)
    assert [next(ahead)[0] for _ in range(3)] == [0, 1, 2]
    ahead.close()


def test_batches_are_transformed_one_after_another() -> None:
    threads = []

    def transform(batch: torch.Tensor) -> torch.Tensor:
        threads.append(threading.get_ident())
        # Long enough for another thread, if there were one, to begin the next.
        threading.Event().wait(0.01)
        return batch

    images(FDSLLoader(make(transform=transform), prefetch=4), 6)
    assert threads[0] == threading.get_ident()
    assert len(set(threads[1:])) == 1


def test_closing_while_another_thread_waits_ends_its_iteration() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def draw(n: int) -> int:
        begun.set()
        may_end.wait(10)
        return n

    ahead = ThreadAhead(((n, n) for n in itertools.count()), draw, 3, threads=1)
    received: list[list[Any]] = []
    consumer = threading.Thread(target=lambda: received.append(list(ahead)))
    consumer.start()
    assert begun.wait(10)
    closer = threading.Thread(target=ahead.close)
    closer.start()
    may_end.set()
    for thread in (consumer, closer):
        thread.join(10)
        assert not thread.is_alive()
    assert [item[0] for item in received[0]] == list(range(len(received[0])))


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_error_comes_after_what_was_drawn_before_it(
    prefetch: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = FDSLLoader(make(), prefetch=prefetch)
    batch = loader.dataset.source.batch

    def fails_once(positions: Any, *arguments: Any) -> Any:
        if positions[0] == 4 * before:
            raise RuntimeError("drawing failed")
        return batch(positions, *arguments)

    monkeypatch.setattr(loader.dataset.source, "batch", fails_once)
    iteration = iter(loader)
    for _ in range(before):
        next(iteration)
    with pytest.raises(RuntimeError, match="drawing failed"):
        next(iteration)
    assert loader.state_dict()["position"] == 4 * before
    assert not loader_threads()


def test_a_new_iteration_ends_the_one_before() -> None:
    loader = FDSLLoader(make())
    first = iter(loader)
    next(first)
    assert len(loader_threads()) == 2
    second = iter(loader)
    assert not loader_threads()
    with pytest.raises(RuntimeError, match="this iteration was ended"):
        next(first)
    assert torch.equal(next(second)[0], images(make(), 1))


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_state_counts_what_was_delivered(prefetch: int) -> None:
    loader = FDSLLoader(make(start=8), prefetch=prefetch)
    assert loader.state_dict()["position"] == 8
    iteration = iter(loader)
    assert loader.state_dict()["position"] == 8
    for count in range(1, 4):
        next(iteration)
        assert loader.state_dict()["position"] == 8 + 4 * count
        assert loader.state_dict() == loader.dataset.state_dict()


def test_what_frameworks_look_for() -> None:
    dataset = make(epoch_size=18)
    loader = FDSLLoader(dataset)
    assert loader.dataset is dataset
    assert (loader.batch_size, len(loader), loader.batch_sampler) == (4, 4, None)
    # As timm's training script sets the epoch and switches mixing off.
    loader.sampler.set_epoch(2)
    assert loader.state_dict()["position"] == 36
    if loader.mixup_enabled:
        loader.mixup_enabled = False
    with pytest.raises(TypeError, match="endless"):
        len(FDSLLoader(make()))


def test_loader_pickles_while_iterating() -> None:
    loader = FDSLLoader(make())
    iteration = iter(loader)
    next(iteration)
    copy = pickle.loads(pickle.dumps(loader))
    assert torch.equal(images(copy, 1), images(make(), 1))


def test_batches_are_delivered_on_another_device() -> None:
    batch = next(iter(FDSLLoader(make(), device="meta")))
    assert [part.device.type for part in batch] == ["meta", "meta"]
    assert next(iter(FDSLLoader(make(), device="cpu")))[0].device.type == "cpu"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": [1, 2]}, TypeError, "dataset: received list"),
        ({"dataset": make(batch_size=None)}, ValueError, "batch_size=None"),
        ({"prefetch": -1}, ValueError, "prefetch: received -1"),
        ({"prefetch": 1.5}, TypeError, "prefetch: received 1.5"),
        ({"device": "tpu"}, ValueError, "device: received 'tpu'"),
        ({"device": 1.5}, ValueError, "device: received 1.5"),
    ],
)
def test_bad_arguments_say_what_is_wrong(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FDSLLoader(**{"dataset": make(), **arguments})


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_batches_are_drawn_into_buffers(layout: torch.memory_format) -> None:
    dataset = make(memory_format=layout)
    buffer = torch.zeros(4, 3, 16, 16, dtype=torch.uint8).to(memory_format=layout)
    drawn, _ = dataset.draw(np.arange(4), out=buffer)
    assert drawn.data_ptr() == buffer.data_ptr()
    assert torch.equal(buffer, images(make(), 1))


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(3, 3, 16, 16, dtype=torch.uint8),
        torch.zeros(4, 3, 16, 16),
        torch.zeros(4, 3, 16, 32, dtype=torch.uint8)[..., ::2],
        [torch.zeros(4, 3, 16, 16, dtype=torch.uint8)],
        "buffer",
    ],
    ids=["size", "dtype", "layout", "list", "string"],
)
def test_bad_buffers_are_refused(out: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="out: received"):
        make().draw(np.arange(4), out=out)


RANKS = """
    import sys, torch, torch.distributed as dist
    from fdsl_gpu import FDSLDataset, FDSLLoader
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
    def make(name="exfractaldb-1k", batch_size=4, **keywords):
        options = dict(image_size=16, device="cpu", num_classes=10, canvas_size=16)
        return FDSLDataset(name, batch_size, **{**options, **keywords})
    def differ(**keywords):
        try:
            iter(FDSLLoader(make(**keywords)))
        except ValueError as error:
            return str(error)
        return "agreed"
    print(differ())
    print(differ(seed=7 * rank))
    print(differ(batch_size=4 + rank))
    print(differ(name=["exfractaldb-1k", "rcdb-1k"][rank]))
    print(differ(start=8 * rank))
    if rank == 0:  # alone, and so without waiting: a dataset, and a loader of one that was given its rank
        next(iter(make()))
        next(iter(FDSLLoader(make(rank=0, world_size=1))))
        print("alone")
    dist.barrier()
"""


def test_ranks_that_disagree_are_told_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RANKS), str(rank), address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (printed.splitlines() for printed, _ in outputs)
    assert first[-1] == "alone"
    assert first[:5] == second
    assert first[0] == "agreed"
    for line, difference in zip(
        first[1:5],
        [
            "seed: 0 on rank 0, 7 on rank 1",
            "batch_size: 4 on rank 0, 5 on rank 1",
            "on rank 0",
            "position: 0 on rank 0, 8 on rank 1",
        ],
        strict=True,
    ):
        assert line.startswith("dataset: ranks received different ones: ")
        assert difference in line


@pytest.mark.gpu
@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize("draw_on", ["cpu", "cuda"])
def test_gpu_loader_delivers_the_stream_to_a_slow_consumer_that_drops_early(prefetch: int, draw_on: str) -> None:
    loader = FDSLLoader(make(batch_size=64, device=draw_on), prefetch=prefetch, device="cuda")
    weights = torch.randn(4096, 4096, device="cuda")
    sums = []
    for (batch, labels), _ in zip(loader, range(20), strict=False):
        for _ in range(20):
            weights = torch.tanh(weights @ weights)
        seen = batch.clone(), labels.clone()
        del batch, labels
        # Memory that the batch gave back is written at once.
        torch.zeros(64, 3, 16, 16, dtype=torch.uint8, device="cuda")
        sums.append(seen)
    expected = iter(make(batch_size=64))
    for batch, labels in sums:
        want = next(expected)
        assert torch.equal(batch.cpu(), want[0])
        assert torch.equal(labels.cpu(), want[1])


@pytest.mark.gpu
def test_gpu_loader_never_waits_and_its_memory_is_flat() -> None:
    loader = FDSLLoader(FDSLDataset("exfractaldb-1k", 64, device="cuda"), prefetch=2)
    iteration = iter(loader)
    for _ in range(20):
        next(iteration)
    reserved = torch.cuda.memory_reserved()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(500):
            next(iteration)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.memory_reserved() <= 1.02 * reserved


def test_a_compiled_model_is_compiled_once() -> None:
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    torch._dynamo.reset()
    model = torch.compile(torch.nn.Conv2d(3, 4, 3), backend=counter)
    dataset = FDSLDataset("exfractaldb-1k", 4, 32, "cpu", canvas_size=32, augment="fdsl", epoch_size=10)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for images, _ in FDSLLoader(dataset):
            model(images)
    assert counter.frame_count == 1
