"""Ours beside the peers in one run: stored images, plain PyTorch, and the released generators, on one core each.

    python -m bench.peers
    python -m bench.peers --peers FOLDER --python VENV/bin/python --json FILE

Rates are of 224-pixel images of ours, uint8 of three channels in memory, against each peer's own picture in memory;
stored images are compared with float32, cropped and normalised alike. FOLDER holds checkouts of the peers by the person
who runs this, found by their files; they run in the interpreter given by ``--python``, which needs their packages
(noise, opencv-python-headless, numba, numpy, pillow). ``bench.peers.drivers`` says exactly what is timed of them. Every
contender lives in a process with one thread and takes its turn in each round. What cannot run is reported with the
reason, and the rest goes on. Where other work shares the cores, ``--clock cpu`` counts time on the CPU.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.common import commit, parser, print_table, save
from bench.peers.cuda import CUDA_PEER, cuda_renderer
from bench.peers.makers import ON_CUDA, STORED
from bench.peers.workers import Clock, Contender, NotMeasured, Worker, side_by_side

IMAGES = {
    "visualatom-1k": 256,
    STORED: 256,
    "torch eager IFS, 100k points": 64,
    "torch.compile IFS, 100k points": 64,
    "RCDB released script": 64,
    "VisualAtom released script": 16,
    "FractalDB released points": 4,
    "FractalDB released patches": 1,
    "fractal-pretraining grey": 64,
    "fractal-pretraining colour": 64,
}
"""Images a round: enough that classes of different cost even out, few enough that a round ends."""

MOST_IMAGES = 512
"""Images a round of all others."""


@dataclass(frozen=True)
class Checkout:
    """The file that a checkout is known by, what it is called in the report, and its public repository on GitHub."""

    file: str
    peer: str
    repository: str


CHECKOUTS = {
    "rcdb": Checkout("rcdb_render/make_rcdb.py", "RCDB released script", "masora1030/CVPR2022-Pretrained-ViT-PyTorch"),
    "visualatom": Checkout(
        "visual_atomic_renderer/render_VisualAtom.py",
        "VisualAtom released script",
        "masora1030/CVPR2023-FDSL-on-VisualAtom",
    ),
    "fractaldb": Checkout(
        "fractal_renderer/ifs_function.py",
        "FractalDB released points and patches",
        "hirokatsukataoka16/FractalDB-Pretrained-ResNet-PyTorch",
    ),
    "fractal_pretraining": Checkout(
        "fractal_learning/fractals/ifs.py", "fractal-pretraining", "catalys1/fractal-pretraining"
    ),
}
"""By driver."""

PACKAGES = ("noise", "opencv-python-headless", "numba", "numpy", "pillow")
"""What the peers need."""

_VERSIONS = """
import importlib.metadata, json, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        versions[name] = None
print(json.dumps(versions))
"""

EXFRACTALDB = "ExFractalDB released renderer"


@dataclass(frozen=True)
class Comparison:
    """One ratio of rates: what is required, what is aimed at, and what the two do differently."""

    ours: str
    peer: str
    required: float | None = None
    aim: float | None = None
    note: str = ""


_ALIKE = "both cropped by RandomResizedCrop to 224 pixels, normalised, float32"
_TORCH = "both 224 pixels; ours at 362 with 3x3 patches, then resized; theirs points, black and grey"

COMPARISONS = [
    Comparison("rcdb-1k, cropped float32", STORED, 1.7, None, _ALIKE + "; ours drawn from nothing"),
    Comparison("exfractaldb-1k, cropped float32", STORED, 6.0, None, _ALIKE + "; ours drawn from nothing"),
    Comparison("fractaldb-1k, 100k points", "torch eager IFS, 100k points", note=_TORCH),
    Comparison("fractaldb-1k, 100k points", "torch.compile IFS, 100k points", note=_TORCH),
    Comparison("rcdb-1k", "RCDB released script", 17, 30, "both drawn at 512 pixels; ours also resized to 224"),
    Comparison("visualatom-1k", "VisualAtom released script", 50, 100, "both drawn at 512; ours also resized to 224"),
    Comparison(
        "fractaldb-1k, 100k points",
        "fractal-pretraining grey",
        15,
        25,
        "theirs single points at 256 pixels, contractive systems; ours 3x3 patches at 362, resized to 224",
    ),
    Comparison(
        "fractaldb-1k",
        "FractalDB released points",
        note="200k points, 362 pixels; ours patches, then 224; a drawing counts once (theirs saves 4 flips)",
    ),
    Comparison(
        "fractaldb-1k",
        "FractalDB released patches",
        note="200k points, 362 pixels; ours also resized to 224; a drawing counts once (theirs saves 4 flips)",
    ),
    Comparison(
        "anderson-farrell-1k", "fractal-pretraining colour", note="both 100k points, patches, colour, background, 224"
    ),
]
COMPARISONS += [
    Comparison("fractaldb-1k, 100k points" + ON_CUDA, name + ON_CUDA, note=_TORCH)
    for name in ("torch eager IFS, 100k points", "torch.compile IFS, 100k points")
]


def find(folder: Path, file: str) -> Path:
    """A file of a checkout: FOLDER/*/file, or FOLDER/file where the folder is the checkout itself.

    Raises:
        NotMeasured: there is none.
    """
    found = sorted([*folder.glob(file), *folder.glob(f"*/{file}")])
    if not found:
        raise NotMeasured(f"no checkout with {file} in the folder")
    return found[0].resolve()


def sources(folder: Path | None) -> dict[str, dict[str, str | None]]:
    """Peer -> "repository", OWNER/NAME on GitHub, and "commit", None where the checkout has no history."""
    found: dict[str, dict[str, str | None]] = {}
    for one in CHECKOUTS.values() if folder else ():
        with contextlib.suppress(NotMeasured):
            root = find(folder, one.file).parents[one.file.count("/")]
            found[one.peer] = {"repository": one.repository, "commit": commit(root)}
    return found


def versions(python: str) -> dict[str, str | None]:
    """Of an interpreter and of :data:`PACKAGES` in it; nothing if it does not start."""
    try:
        done = subprocess.run([python, "-c", _VERSIONS, *PACKAGES], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return json.loads(done.stdout)


@contextlib.contextmanager
def our_worker(image_size: int, stored: int) -> Iterator[Worker]:
    """The process of ours, of stored images and of plain PyTorch."""
    worker = Worker([sys.executable, "-m", "bench.peers.makers", f"--image-size={image_size}", f"--stored={stored}"])
    with contextlib.closing(worker):
        yield worker


@contextlib.contextmanager
def peer_workers(folder: Path | None, python: str) -> Iterator[tuple[list[Worker], dict[str, str]]]:
    """A process for each peer that can start, and why others could not."""
    started: list[Worker] = []
    failed: dict[str, str] = {}
    drivers = str(Path(__file__).with_name("drivers.py"))
    with contextlib.ExitStack() as stack:
        # Numba's caches and byte code must not be left in the checkouts.
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="fdsl_gpu_bench_"))
        environment = {"NUMBA_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": "1"}
        for driver, checkout in CHECKOUTS.items():
            try:
                if folder is None:
                    raise NotMeasured("pass --peers FOLDER, which holds its checkout")
                worker = Worker([python, drivers, driver, str(find(folder, checkout.file))], environment)
                started.append(stack.enter_context(contextlib.closing(worker)))
            except NotMeasured as error:
                failed[checkout.peer] = str(error)
        yield started, failed


def compare(results: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The ratios of :data:`COMPARISONS` whose contenders were both measured."""
    return [
        {
            "ours": item.ours,
            "peer": item.peer,
            "ratio": round(results[item.peer]["us_per_image"] / results[item.ours]["us_per_image"], 2),
            "required": item.required,
            "aim": item.aim,
            "note": item.note,
        }
        for item in COMPARISONS
        if item.ours in results and item.peer in results
    ]


def measure(
    folder: str | Path | None = None,
    python: str = sys.executable,
    *,
    image_size: int = 224,
    rounds: int = 9,
    clock: Clock = "wall",
    skip: tuple[str, ...] | list[str] = (),
    images: int | None = None,
    stored: int = 256,
) -> dict[str, Any]:
    """Measure every contender that can run.

    Args:
        folder: checkouts of the peers, or None for none.
        python: interpreter that runs them.
        image_size: of ours and of the stored images.
        rounds: that count.
        clock: "wall", or "cpu" for seconds of the process on the CPU.
        skip: contenders to leave out, by any part of their name.
        images: a round, in place of :data:`IMAGES`.
        stored: stored images; a multiple of it is read a round.

    Returns:
        "results" as of ``bench.common``, "ratios", "not_measured", peer -> reason, "checkouts" as of :func:`sources`,
        "peer_versions" as of :func:`versions`.
    """
    path = None if folder is None else Path(folder)
    with our_worker(image_size, stored) as ours, peer_workers(path, python) as (started, failed):
        contenders = {
            name: Contender(worker, images or IMAGES.get(name, MOST_IMAGES))
            for worker in [ours, *started]
            for name in worker.makers
        }
        left_out = [name for name in contenders if any(part in name for part in skip)]
        failed |= dict.fromkeys(left_out, "left out")
        chosen = {name: contender for name, contender in contenders.items() if name not in left_out}
        results, broken = side_by_side(chosen, rounds, clock)
    failed[EXFRACTALDB] = "it draws by OpenGL (EGL) from point clouds on a disk; there is no driver for it here"
    return {
        "results": results,
        "ratios": compare(results),
        "not_measured": failed | broken,
        "checkouts": sources(path),
        "peer_versions": versions(python),
    }


def print_report(report: dict[str, Any]) -> None:
    """Rates, ratios, and what was not measured."""
    print_table(report["results"])
    for item in report["ratios"]:
        required = f"required {item['required']:g}" if item["required"] else "nothing required"
        aim = f", aim {item['aim']:g}" if item["aim"] else ""
        print(f"{item['ratio']:8.2f} x  {item['ours']} / {item['peer']}  ({required}{aim}; {item['note']})")
    for peer, reason in report["not_measured"].items():
        print(f"not measured: {peer}: {reason}")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--peers", help="folder of checkouts of the peers")
    options.add_argument("--python", default=sys.executable, help="interpreter for the peers (default: this one)")
    options.add_argument("--image-size", type=int, default=224)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    options.add_argument(
        "--skip", nargs="*", default=[], metavar="NAME", help="contenders to leave out, by any part of their name"
    )
    given = options.parse_args()
    report = measure(
        given.peers, given.python, image_size=given.image_size, rounds=given.rounds, clock=given.clock, skip=given.skip
    )
    try:
        if given.peers is None or not torch.cuda.is_available():
            raise RuntimeError("needs a CUDA device, nvcc and --peers FOLDER, which holds its checkout")
        report["cuda_renderer"] = cuda_renderer(given.peers)
    except RuntimeError as error:
        report["not_measured"][CUDA_PEER] = str(error)
    print_report(report)
    if "cuda_renderer" in report:
        print_table(report["cuda_renderer"]["results"])
    # Names only: a report does not tell how folders of a machine are called.
    given.peers, given.python = given.peers and Path(given.peers).name, Path(given.python).name
    save(given, **report)


if __name__ == "__main__":
    main()
