"""What only a GPU can show: its bytes are the CPU's bytes, and drawing never waits for the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import fdsl_gpu
from fdsl_gpu import FDSLDataset, FDSLLoader
from fdsl_gpu.work import Work, words_of

pytestmark = pytest.mark.gpu

FORMULAS: list[tuple[str, dict[str, Any]]] = [
    ("rcdb-1k", {}),
    ("rcdb-1k", {"background": "black", "canvas_size": 257}),
    ("exfractaldb-1k", {}),
    ("exfractaldb-1k", {"viewpoint": "ring", "upright": True}),
    ("visualatom-1k", {}),
    ("fractaldb-1k", {}),
    ("fractaldb-1k", {"color": True}),
    ("fractaldb-1k", {"rendering": "point", "points": 50_000}),
    ("2d-ofdb-1k", {}),
    ("3d-ofdb-1k", {}),
    ("1p-frac", {}),
    ("anderson-farrell-1k", {}),
]
SCENES: list[tuple[str, dict[str, Any]]] = [
    ("segrcdb", {}),
    ("segrcdb", {"masks": "M2"}),
    ("segrcdb", {"masks": "M3"}),
    ("anderson-farrell-multi-1k", {}),
]


@contextmanager
def refusing_to_wait() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def named(case: object) -> str:
    return case if isinstance(case, str) else "-".join(f"{key}={value}" for key, value in case.items()) or "published"


@pytest.mark.parametrize(("name", "options"), FORMULAS, ids=named)
@pytest.mark.parametrize("image_size", [63, 224, 512])
def test_gpu_render_equals_cpu_render(name: str, options: dict[str, Any], image_size: int) -> None:
    labels, instances = np.arange(100) * 9, np.arange(100) * 7
    images = [
        fdsl_gpu.render(name, labels, instances, image_size=image_size, device=device, **options).cpu()
        for device in ("cpu", "cuda")
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize(("name", "options"), SCENES, ids=named)
@pytest.mark.parametrize("image_size", [100, 512])
def test_gpu_scenes_and_targets_equal_the_cpus(name: str, options: dict[str, Any], image_size: int) -> None:
    drawn = [
        fdsl_gpu.render(name, instances=np.arange(24), image_size=image_size, device=device, **options)
        for device in ("cpu", "cuda")
    ]
    for on_cpu, on_gpu in zip(*drawn, strict=True):
        assert torch.equal(on_cpu, on_gpu.cpu())


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k", "anderson-farrell-1k"])
@pytest.mark.parametrize("augment", ["fdsl", "ofdb"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32], ids=str)
def test_gpu_augments_as_the_cpu_does(name: str, augment: str, dtype: torch.dtype) -> None:
    streams = [FDSLDataset(name, 96, 224, device, dtype=dtype, augment=augment) for device in ("cpu", "cuda")]
    for (cpu_images, _), (gpu_images, _), _ in zip(*streams, range(4), strict=False):
        assert torch.equal(cpu_images.view(torch.uint8), gpu_images.cpu().view(torch.uint8))


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k", "fractaldb-1k"])
def test_gpu_draws_in_vector_mode_as_the_cpu_does(name: str) -> None:
    settings = {"augment": "fdsl", "mode": "vector", "dtype": torch.uint8}
    streams = [FDSLDataset(name, 96, 224, device, **settings) for device in ("cpu", "cuda")]
    for (cpu_images, _), (gpu_images, _), _ in zip(*streams, range(2), strict=False):
        assert torch.equal(cpu_images, gpu_images.cpu())


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_gpu_stream_equals_cpu_stream(name: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    streams = [FDSLDataset(name, 96, 224, device, dtype=dtype, memory_format=layout) for device in ("cpu", "cuda")]
    for (cpu_images, cpu_labels), (gpu_images, gpu_labels), _ in zip(*streams, range(4), strict=False):
        assert gpu_images.device.type == "cuda"
        assert gpu_images.is_contiguous(memory_format=layout)
        assert torch.equal(cpu_labels, gpu_labels.cpu())
        assert torch.equal(cpu_images.view(torch.uint8), gpu_images.cpu().view(torch.uint8))


@pytest.mark.parametrize(("name", "options"), [*FORMULAS, *SCENES], ids=named)
@pytest.mark.parametrize("augment", [None, "fdsl"])
def test_gpu_stream_never_waits_for_the_device(name: str, options: dict[str, Any], augment: str | None) -> None:
    if name == "segrcdb" and augment:
        pytest.skip("pictures with masks are not augmented")
    stream = iter(FDSLDataset(name, 64, device="cuda", dtype=torch.bfloat16, augment=augment, **options))
    next(stream)
    # The second of a kind is recorded, from then on they are replayed.
    with refusing_to_wait():
        for _ in range(3):
            next(stream)


@pytest.mark.parametrize("name", ["rcdb-1k", "exfractaldb-1k"])
def test_gpu_loader_never_waits_for_the_device(name: str) -> None:
    batches = iter(FDSLLoader(FDSLDataset(name, 64, device="cuda", augment="fdsl", return_ids=True)))
    next(batches)
    with refusing_to_wait():
        for _ in range(3):
            next(batches)


@pytest.mark.parametrize(("name", "options"), [*FORMULAS, *SCENES], ids=named)
@pytest.mark.parametrize("augment", [None, "fdsl"])
def test_gpu_kernels_of_a_batch_replay_as_a_cuda_graph(name: str, options: dict[str, Any], augment: str | None) -> None:
    if name == "segrcdb" and augment:
        pytest.skip("pictures with masks are not augmented")
    source = FDSLDataset(name, 64, device="cuda", dtype=torch.uint8, augment=augment, **options).source
    renderer = source._prepare()[0]
    first, second = (_words_on_device(source, np.arange(64) + start) for start in (0, 64))
    out = renderer.empty(64)
    masks = renderer.empty_masks(64) if source.return_masks else None
    # Drawn plainly first: compiling, loading and taking scratch memory cannot be captured.
    _draw(renderer, second, out, masks)
    expected = [tensor.clone() for tensor in (out, masks) if tensor is not None]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _draw(renderer, first, out, masks)
    for fixed, fresh in zip(first, second, strict=True):
        if fixed is not None:
            fixed.copy_(fresh)
    out.zero_()
    graph.replay()
    for tensor, drawn in zip((out, masks), expected, strict=False):
        assert torch.equal(tensor, drawn)


def _words_on_device(source: Any, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Records and presentations of positions, which a replay reads from where they were at the capture."""
    renderer = source._prepare()[0]
    labels, instances, presentations = source._locate(positions, 0)
    records = renderer.formula.draw(renderer.key, labels, instances, 0)
    presented = renderer._present(renderer.recipe, records, presentations, 0) if renderer.recipe else None
    return words_of(records).cuda(), presented if presented is None else presented.cuda()


def _draw(
    renderer: Any, words: tuple[torch.Tensor, torch.Tensor | None], out: torch.Tensor, masks: torch.Tensor | None
) -> None:
    lane = renderer.lane()
    for start in range(0, len(out), lane.chunk):
        lane(Work(renderer.key, *words, out, masks), slice(start, start + lane.chunk))


@pytest.mark.parametrize(("name", "options"), [*FORMULAS, *SCENES], ids=named)
def test_gpu_replays_draw_what_launches_draw(name: str, options: dict[str, Any]) -> None:
    replaying, launching = (FDSLDataset(name, 48, device="cuda", dtype=torch.uint8, **options) for _ in range(2))
    stream = iter(replaying)
    for number in range(5):
        # Drawn by a renderer that draws batches of two sizes in turn, and so replays none.
        expected = launching.draw(np.arange(48) + 48 * number)
        launching.draw(np.arange(3))
        for received, drawn in zip(next(stream), expected, strict=True):
            assert torch.equal(received, drawn)


@pytest.mark.parametrize("augment", [None, "fdsl"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16], ids=str)
def test_gpu_mixtures_are_the_cpus(dtype: torch.dtype, augment: str | None) -> None:
    parts = ["rcdb-1k", "exfractaldb-1k", "anderson-farrell-1k"]
    streams = [FDSLDataset(parts, 64, device=device, dtype=dtype, augment=augment) for device in ("cpu", "cuda")]
    for on_cpu, on_gpu, _ in zip(*streams, range(3), strict=False):
        for cpu_tensor, gpu_tensor in zip(on_cpu, on_gpu, strict=True):
            assert torch.equal(cpu_tensor.view(torch.uint8), gpu_tensor.cpu().view(torch.uint8))


@pytest.mark.parametrize("name", ["exfractaldb-1k", "segrcdb", "anderson-farrell-multi-1k"])
def test_gpu_loader_delivers_the_stream(name: str) -> None:
    dataset = FDSLDataset(name, 32, device="cuda")
    # One renderer draws for both, on two streams.
    for received, expected, _ in zip(FDSLLoader(dataset), dataset, range(5), strict=False):
        for one, other in zip(received, expected, strict=True):
            assert torch.equal(one, other)
