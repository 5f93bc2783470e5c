"""Released generators, driven in memory: run by an interpreter that has their packages, one process for each peer.

    python bench/peers/drivers.py DRIVER FILE

Needs nothing but the standard library and what the peer needs. Every driver loads the peer's own code from FILE, where
its owner checked it out, and gives makers: calls that make N pictures and keep them in memory. What is timed:

rcdb, visualatom: the whole released script, started anew for N classes of one picture each with the settings of its
    shell script, with ``PIL.Image.Image.save`` doing nothing, and ``open``, ``print`` and ``os.makedirs`` likewise.
fractaldb: ``ifs_function`` from construction to ``draw_point`` or ``draw_patch``, 200,000 points, 362 pixels, grey,
    classes from the checkout's own files, saving nothing. The three mirrored copies that it makes of each drawing count
    as no pictures of their own.
fractal_pretraining: ``ifs.iterate`` and ``ifs.render_gray`` (100,000 points, 256 pixels), and ``IFSGenerator`` with its
    defaults (100,000 points, 224 pixels, patches, colour, background), of systems sampled beforehand.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[[int], None]

_SHARES = 10**6
"""Processes that a script is told to share its classes with: one is started for each request."""

_SYSTEMS = 256


def serve(makers: dict[str, Make]) -> None:
    """Answer requests, a line of JSON each, until the input ends.

    The first line that is written names the makers. [name, images] is answered with {"wall": ..., "cpu": ...}, seconds
    on the clock and of this process on the CPU, an exception with {"error": ...}.
    """
    # Whatever peers print must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    answers.write(json.dumps({"makers": list(makers)}) + "\n")
    for line in sys.stdin:
        name, images = json.loads(line)
        try:
            wall, cpu = time.perf_counter(), time.process_time()
            makers[name](images)
            answer = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


class Unsaved:
    """In place of ``PIL.Image.Image.save``: counts pictures, and writes none."""

    def __init__(self) -> None:
        from PIL import Image

        self.pictures = 0
        Image.Image.save = self._count  # type: ignore[assignment]

    def _count(self, *arguments: Any, **keywords: Any) -> None:
        self.pictures += 1

    def expect(self, pictures: int) -> None:
        """Raise RuntimeError unless so many pictures were made since the last call; a rate would be of nothing."""
        made, self.pictures = self.pictures, 0
        if made != pictures:
            raise RuntimeError(f"{made} pictures were made in place of {pictures}")


def load(path: Path, name: str) -> Any:
    """A module from a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(path: Path, settings: list[str]) -> Make:
    """A maker that starts a script which shares ``--numof_classes`` among ``--numof_thread`` processes."""
    code = compile(path.read_text(), str(path), "exec")
    unsaved, share = Unsaved(), itertools.count()
    os.makedirs = lambda *arguments, **keywords: None
    if sys.version_info >= (3, 12):
        whole = random.randint
        # The scripts pass whole numbers as floats, which Python refuses since 3.12.
        random.randint = lambda low, high: whole(int(low), int(high))

    def make(images: int) -> None:
        classes = [f"--numof_classes={images * _SHARES}", f"--numof_thread={_SHARES}", f"--thread_num={next(share)}"]
        sys.argv = [str(path), *classes, "--numof_instances=1", "--save_root=unsaved", *settings]
        quiet = {"open": lambda *arguments: io.StringIO(), "print": lambda *arguments: None}
        exec(code, {"__name__": "__main__", "__file__": str(path), **quiet})
        unsaved.expect(images)

    return make


def rcdb(path: Path) -> dict[str, Make]:
    """make_rcdb.py, 512 pixels."""
    return {"RCDB released script": script(path, ["--start_pos=400"])}


def visualatom(path: Path) -> dict[str, Make]:
    """render_VisualAtom.py, 512 pixels."""
    settings = ["--perlin_min=0", "--line_width=0.1", "--radius_min=10"]
    return {"VisualAtom released script": script(path, settings)}


def fractaldb(path: Path) -> dict[str, Make]:
    """ifs_function.py, with the classes found under data/ of the checkout."""
    fractal, unsaved = load(path, "ifs_function").ifs_function, Unsaved()
    files = sorted(path.parent.parent.glob("data/**/*.csv"))[:_SYSTEMS]
    if not files:
        raise FileNotFoundError("no class parameters (data/**/*.csv) in the checkout")
    systems = itertools.cycle([[list(map(float, row)) for row in csv.reader(file.open())] for file in files])

    def draw(how: str) -> None:
        generator = fractal(0.0, 0.0, "unsaved", "fractal", "00")
        for row in next(systems):
            generator.set_param(*row)
        generator.calculate(200_000)
        getattr(generator, how)(362, 362, 6, 6, "gray", 0)
        unsaved.expect(4)

    def maker(how: str) -> Make:
        return lambda images: [draw(how) for _ in range(images)] and None

    return {"FractalDB released points": maker("draw_point"), "FractalDB released patches": maker("draw_patch")}


def fractal_pretraining(path: Path) -> dict[str, Make]:
    """fractal_learning/fractals/ifs.py and the generator of its dataset."""
    root = path.parent.parent.parent
    sys.path.insert(0, str(root))
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    ifs = importlib.import_module("fractal_learning.fractals.ifs")
    generator = load(root / "fractal_learning/training/datamodule/datasets/generator.py", "generator").IFSGenerator()
    samples = np.random.default_rng(0)
    systems = itertools.cycle([ifs.sample_system((2, 5), rng=samples) for _ in range(_SYSTEMS)])

    def grey(images: int) -> None:
        for _ in range(images):
            ifs.render_gray(ifs.iterate(next(systems), 100_000))

    def colour(images: int) -> None:
        for _ in range(images):
            generator(next(systems))

    return {"fractal-pretraining grey": grey, "fractal-pretraining colour": colour}


DRIVERS = {"rcdb": rcdb, "visualatom": visualatom, "fractaldb": fractaldb, "fractal_pretraining": fractal_pretraining}


def main() -> None:
    driver, file = sys.argv[1:]
    # Run as a file, this folder comes first on the path, and its names might be a peer's.
    sys.path.pop(0)
    warnings.simplefilter("ignore")
    serve(DRIVERS[driver](Path(file)))


if __name__ == "__main__":
    main()
