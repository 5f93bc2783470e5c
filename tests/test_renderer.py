"""The whole path from records to batches: the same bytes from both twins, any chunking, any number of threads."""

import gc
import os
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.formulas.exfractaldb import ExFractalDB
from fdsl_gpu.formulas.rcdb import RCDB, class_table
from fdsl_gpu.renderer import Renderer, even_chunks
from fdsl_gpu.work import Work

CPU = torch.device("cpu")
FORMULAS = {"rcdb": RCDB(canvas_size=64), "exfractaldb": ExFractalDB(canvas_size=64, points=600)}
# Classes of few lines, which Triton's interpreter draws in seconds.
LABELS = np.argsort(class_table(1000)["lines"], kind="stable")[10:13]


def draw(formula: Formula, backend: Any, labels: np.ndarray = LABELS, **write_out: Any) -> torch.Tensor:
    options = {"image_size": 32, "channels": 3, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
    renderer = Renderer(formula, seed=3, device=CPU, write_out={**options, **write_out}, backend=backend)
    return renderer(labels, np.arange(len(labels)) + 5)


@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16])
@pytest.mark.parametrize("name", FORMULAS)
def test_twins_deliver_the_same_batch(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter keeps its state in globals.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    options = {"dtype": dtype, "normalize": None if dtype == torch.uint8 else "imagenet"}
    batches = [draw(FORMULAS[name], backend, **options) for backend in ("numba", "triton")]
    assert torch.equal(*(batch.view(torch.uint8) for batch in batches))
    assert len(batches[0].unique()) > 2


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_threads_and_chunks_do_not_show(threads: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(23)
    expected = draw(FORMULAS["rcdb"], "numba", labels)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("fdsl_gpu.renderer.MAX_CHUNK", chunk)
    assert torch.equal(draw(FORMULAS["rcdb"], "numba", labels), expected)


@given(count=st.integers(1, 1000), most=st.integers(1, 256))
@example(count=250, most=167)
def test_chunks_are_few_even_and_begin_at_multiples_of_four(count: int, most: int) -> None:
    chunks = [np.arange(count)[part] for part in even_chunks(count, most)]
    assert np.array_equal(np.concatenate(chunks), np.arange(count))
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) <= most
    assert sizes[0] - min(sizes) < 4 * len(sizes)
    if most >= 4:
        assert all(chunk[0] % 4 == 0 for chunk in chunks)
        assert len(chunks) <= -(-count // (most // 4 * 4))


def test_callers_on_several_threads_share_a_renderer() -> None:
    write_out = {"image_size": 32, "channels": 1, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
    renderer = Renderer(FORMULAS["rcdb"], seed=0, device=CPU, write_out=write_out)
    expected = [renderer(np.full(8, label), np.arange(8)).clone() for label in range(6)]
    results: dict[int, torch.Tensor] = {}

    def work(label: int) -> None:
        for _ in range(5):
            results[label] = renderer(np.full(8, label), np.arange(8)).clone()

    threads = [threading.Thread(target=work, args=(label,)) for label in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[label], expected[label]) for label in range(6))


def test_a_renderer_that_nobody_holds_gives_its_memory_back_at_once() -> None:
    write_out = {"image_size": 32, "channels": 1, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
    renderer = Renderer(FORMULAS["rcdb"], seed=0, device=CPU, write_out=write_out)
    renderer(np.arange(8), np.arange(8))
    gone = weakref.ref(renderer)
    gc.disable()
    try:
        del renderer
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_draws_too() -> None:
    write_out = {"image_size": 32, "channels": 1, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
    renderer = Renderer(FORMULAS["rcdb"], seed=0, device=CPU, write_out=write_out)
    expected = renderer(np.arange(8), np.arange(8)).numpy().tobytes()
    context = torch.multiprocessing.get_context("fork")
    parent, child = context.Pipe()
    process = context.Process(
        target=lambda: child.send(renderer(np.arange(8), np.arange(8)).numpy().tobytes() == expected)
    )
    process.start()
    assert parent.poll(60)
    assert parent.recv()
    process.join()


@pytest.mark.parametrize("waits", [True, False])
def test_an_error_on_a_gpu_is_waited_for_and_leaves_nothing(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    def synchronize() -> None:
        done.append("waited")
        if not waits:
            raise KeyboardInterrupt

    stream = SimpleNamespace(synchronize=synchronize, wait_event=done.append)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(Work, "staged", lambda work: torch.empty(0))
    monkeypatch.setattr(Renderer, "_launch", lambda self, work, words: 1 / 0)
    write_out = {"image_size": 32, "channels": 1, "dtype": torch.uint8, "normalize": None, "interpolation": "bilinear"}
    renderer: Any = Renderer(FORMULAS["rcdb"], seed=0, device=CPU, write_out=write_out)
    renderer._drawn, lane = "the batch before", renderer.lane()
    with pytest.raises(ZeroDivisionError if waits else KeyboardInterrupt):
        renderer._draw_on_stream(Work(renderer.key, torch.empty(1), None, torch.empty(1), None))
    assert done == ["the batch before", "waited"]
    assert renderer.lane() is not lane


def test_what_was_not_recorded_is_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from triton_kernels import replay

    drawn: list[Work] = []
    monkeypatch.setattr(replay, "_INTERPRETED", True)
    monkeypatch.setattr(Renderer, "draw_in_chunks", lambda self, work: drawn.append(work))
    renderer = Renderer(FORMULAS["rcdb"], seed=0, device=CPU, write_out={})
    work = Work(renderer.key, torch.zeros((4, 20), dtype=torch.int32), None, torch.empty(4), None)
    for _ in range(4):
        renderer._launch(work, work.records.view(-1))
    assert len(drawn) == 4


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("presented", [False, True])
@pytest.mark.parametrize("placed", [False, True])
def test_words_travel_together_and_begin_where_kernels_expect_them(
    count: int, presented: bool, placed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdsl_gpu.work.pinned", lambda count: torch.empty(count, dtype=torch.int32))
    records, presentations, places = (
        torch.arange(first, first + count * width, dtype=torch.int32).view(count, width)
        for first, width in ((0, 403), (10_000, 76), (20_000, 1))
    )
    work = Work((0, 0), records, presentations if presented else None, torch.empty(0), None, places[:, 0])
    if not placed:
        work = Work((0, 0), records, work.presentations, work.out, None)
    there = work.over(work.staged().clone())
    for name in ("records", "presentations", "places"):
        sent, received = getattr(work, name), getattr(there, name)
        assert (sent is None) == (received is None)
        if sent is not None:
            assert torch.equal(sent, received)
            assert received.storage_offset() % 4 == 0
