"""The CUDA renderer of fdsl-gpu-pipeline (PDP 2026), built from a checkout for the GPU at hand, beside ours.

    python -m bench.peers.cuda FOLDER --json FILE

Both draw the pictures of one class: 1,000 vertices x 200 lines, 512 pixels, in batches of 512, random numbers made on
the device, into canvases of one byte a pixel; nothing is resized, labelled or copied. Of the peer, each batched variant
is built from its own ``profile.cu``, in which the four sizes are set, and times itself by CUDA events; the fastest is
compared. Of ours, the launcher of contours draws the records of a batch, in chunks as in training, timed likewise.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.common import commit, parser, print_table, save, summary
from fdsl_gpu import philox, renderer
from fdsl_gpu.formulas.visualatom import VisualAtom
from fdsl_gpu.records import as_words
from fdsl_gpu.render.backend import backend_for
from fdsl_gpu.render.contours import Contours

CUDA_PEER = "fdsl-gpu-pipeline"
REPOSITORY = "hpca-uji/fdsl-gpu-pipeline"
"""On GitHub."""

DIFFERENCES = [
    "its lines overlap in no order, the byte that is written last stays; ours show the later line",
    "it leaves out every side with both ends outside the canvas; ours are clipped",
    "its canvases are cleared once, before the first batch; ours for every picture",
    "its sides go without their last pixel and between truncated ends; ours as Pillow draws; neither is antialiased",
    "its Perlin gradients have another law, noise half as wide again as published, in half precision",
    "it draws one class a batch with every size known to the compiler; ours any mixture of classes",
]
"""What the two draw differently, by their sources."""

ROUNDS, CALLS = 5, 20

# Ours, put before the peer frees its memory: draws one batch on cleared canvases and counts those with a bright pixel.
_COUNT = """
    {
        const int NUM_THREADS = batch_size, NUM_BLOCKS = 1;
        cudaMemset(d_imgarr, 0, imgsize_batch);
        LAUNCH
        cudaDeviceSynchronize();
        uint8_t *pictures = (uint8_t *)malloc(imgsize_batch);
        cudaMemcpy(pictures, d_imgarr, imgsize_batch, cudaMemcpyDeviceToHost);
        int drawn = 0;
        for (int i = 0; i < batch_size; i++)
            for (size_t p = 0; p < imgsize; p++)
                if (pictures[i * imgsize + p]) { drawn++; break; }
        printf("drawn %d of %d; %s\\n", drawn, batch_size, cudaGetErrorString(cudaGetLastError()));
        free(pictures);
    }
"""

# A picture takes up to six launches from the device, which keeps 2,048 pending by default and drops the rest.
_LIMIT = "\n    cudaDeviceSetLimit(cudaLimitDevRuntimePendingLaunchCount, 8 * {batch});\n"


def adapted(source: str, *, vertices: int, lines: int, size: int, batch: int, raise_limit: bool = False) -> str:
    """``profile.cu`` with other sizes, and with a count of the pictures that a batch draws.

    Raises:
        RuntimeError: it is another program than the one known.
    """
    sizes = {"nvertex": vertices, "norbits": lines, "res": size, "batch_size": batch}
    for name, value in sizes.items():
        source, found = re.subn(rf"(\bconst(?:expr)? int {name} = )\d+;", rf"\g<1>{value};", source)
        if found != 1:
            raise RuntimeError(f"profile.cu sets {name} {found} times in place of once; it is another version")
    launches = re.findall(r"genvatom_batch<<<[^;]+;", source)
    before, free, after = source.partition("cudaFree(d_imgarr);")
    if not launches or not free:
        raise RuntimeError("profile.cu has no genvatom_batch that is launched; it is another version")
    source = before + _COUNT.replace("LAUNCH", launches[-1]) + free + after
    if raise_limit:
        source = re.sub(r"int main\(\)\s*\{", lambda head: head[0] + _LIMIT.format(batch=batch), source)
    return source


def build(source: str, folder: str | Path, capability: tuple[int, int]) -> Path:
    """Compile a program for devices of a compute capability.

    Raises:
        RuntimeError: no nvcc, or it refuses.
    """
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        raise RuntimeError("needs nvcc, of the CUDA toolkit, on PATH")
    program = Path(folder) / "program"
    program.with_suffix(".cu").write_text(source)
    # Packages from an index have the headers of cuRAND where the toolkit comes without.
    headers = Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/include/curand_kernel.h")
    includes = [f"-I{header.parent}" for header in headers]
    architecture = f"-arch=sm_{capability[0]}{capability[1]}"
    command = [nvcc, "-O3", architecture, "-rdc=true", *includes, f"{program}.cu", "-o", str(program), "-lcudadevrt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line]
        raise RuntimeError(f"nvcc cannot build it: {errors[0] if errors else f'status {done.returncode}'}")
    return program


def run(program: Path) -> tuple[float, int]:
    """Images per second as the program times itself, and how many pictures its last batch drew.

    Raises:
        RuntimeError: it failed or timed nothing.
    """
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=300, check=False)
    time = re.search(r"([\d.]+) ms", done.stdout)
    drawn = re.search(r"drawn (\d+) of \d+; (.+)", done.stdout)
    if done.returncode or not time or not drawn or not float(time[1]):
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise RuntimeError(f"its program ended with status {done.returncode} and {last}")
    return 1000 / float(time[1]), int(drawn[1])


def our_records(vertices: int, lines: int, size: int, batch: int) -> np.ndarray:
    """A batch of one class with the peer's parameters ([B] of ``CONTOURS``), centres anywhere on the canvas."""
    formula = VisualAtom(canvas_size=512)
    instances = np.arange(batch)
    records = formula.draw(philox.dataset_key(0, formula.NUMBER), np.zeros(batch, np.int64), instances)
    records["vertices"], records["lines"] = vertices, lines
    records["wave_1"], records["wave_2"], records["wave"] = 5, 8, 0.5
    records["radius_x"], records["radius_y"] = 25 * 1.2, 25 * 1.8
    records["step"], records["noise"] = 2.002, 2.0
    centers = np.random.default_rng(0).integers(0, size + 1, (2, batch))
    records["center_x"], records["center_y"] = centers
    return records


def our_batch(vertices: int, lines: int, size: int, batch: int, device: torch.device) -> Callable[[], torch.Tensor]:
    """A call that draws a batch of canvases uint8 [B, 1, size, size]."""
    settings = {"canvas_size": size, "max_vertices": vertices, "max_lines": lines, "background": 0}
    contours = Contours(**settings, device=device, backend=backend_for(device))
    records = torch.from_numpy(as_words(our_records(vertices, lines, size, batch))).to(device)
    planes = torch.empty((batch, 1, size, size), dtype=torch.uint8, device=device)
    key = philox.dataset_key(0, VisualAtom.NUMBER)
    chunks = renderer.even_chunks(batch, renderer.GPU_BYTES // (size**2 + contours.scratch_bytes))

    def call() -> torch.Tensor:
        for part in chunks:
            contours.draw(records[part], key, planes[part])
        return planes

    return call


def our_rate(call: Callable[[], torch.Tensor]) -> float:
    """Images per second, each batch timed by CUDA events as the peer times its own."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    seconds = 0.0
    for _ in range(CALLS):
        events[0].record()
        images = len(call())
        events[1].record()
        events[1].synchronize()
        seconds += events[0].elapsed_time(events[1]) / 1000
    return images * CALLS / seconds


def find(folder: Path) -> list[Path]:
    """The programs of the batched variants.

    Raises:
        RuntimeError: there are none.
    """
    sources = sorted([*folder.glob("cuda/batched/*/profile.cu"), *folder.glob("*/cuda/batched/*/profile.cu")])
    if not sources:
        raise RuntimeError("no checkout with cuda/batched/*/profile.cu in the folder")
    return sources


def programs(sources: list[Path], into: str, capability: tuple[int, int], **sizes: int) -> dict[str, Path]:
    """The batched variants, built; those that drop pictures for want of pending launches are built with more."""
    built: dict[str, Path] = {}
    for file in sources:
        for name, raise_limit in ((file.parent.name, False), (f"{file.parent.name}, more launches", True)):
            place = Path(into) / name
            place.mkdir()
            program = build(adapted(file.read_text(), **sizes, raise_limit=raise_limit), place, capability)
            if run(program)[1] == sizes["batch"] or raise_limit:
                built[name] = program
                break
    return built


def cuda_renderer(
    folder: str | Path, vertices: int = 1000, lines: int = 200, size: int = 512, batch: int = 512
) -> dict[str, Any]:
    """Measure the peer's batched variants and ours in turns, on the same work.

    Args:
        folder: the checkout, or a folder of checkouts.
        vertices: of a polygon, at most 1,024.
        lines: polygons a picture.
        size: side of the canvas, pixels.
        batch: pictures, at most 1,024.

    Returns:
        "results" as of ``bench.common``; "drawn", pictures of a batch that each variant drew; "ratio", ours over its
        fastest that draws all; "differences" between the pictures; "checkouts", its repository and commit.

    Raises:
        RuntimeError: no CUDA device, no nvcc, no checkout, or a program that does not build or run.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("needs a CUDA device")
    device = torch.device("cuda")
    ours = our_batch(vertices, lines, size, batch, device)
    sizes = {"vertices": vertices, "lines": lines, "size": size, "batch": batch}
    rates: dict[str, list[float]] = {"ours": []}
    drawn: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="fdsl_gpu_bench_") as into:
        sources = find(Path(folder))
        variants = programs(sources, into, torch.cuda.get_device_capability(device), **sizes)
        our_rate(ours)
        for _ in range(ROUNDS):
            rates["ours"].append(our_rate(ours))
            for name, program in variants.items():
                rate, drawn[name] = run(program)
                rates.setdefault(name, []).append(rate)
    # One that drops pictures is no measure, unless there is no other.
    whole = [name for name in variants if drawn[name] == batch] or list(variants)
    fastest = max(statistics.median(rates[name]) for name in whole)
    return {
        "results": {name: summary(values) for name, values in rates.items()},
        "drawn": drawn,
        "ratio": round(statistics.median(rates["ours"]) / fastest, 2),
        "differences": DIFFERENCES,
        "checkouts": {CUDA_PEER: {"repository": REPOSITORY, "commit": commit(sources[0].parents[3])}},
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", help="the checkout, or a folder of checkouts")
    for name, value in {"vertices": 1000, "lines": 200, "size": 512, "batch": 512}.items():
        options.add_argument(f"--{name}", type=int, default=value)
    given = options.parse_args()
    try:
        report = cuda_renderer(given.folder, given.vertices, given.lines, given.size, given.batch)
    except RuntimeError as error:
        sys.exit(f"not measured: {error}")
    print_table(report["results"])
    print(f"{report['ratio']} x its fastest; of {given.batch} pictures it drew {report['drawn']}")
    print(*report["differences"], sep="\n")
    save(given, **report)


if __name__ == "__main__":
    main()
