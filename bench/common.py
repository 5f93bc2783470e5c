"""What every benchmark shares: who measured (metadata), how (rounds of contenders side by side), and strict JSON."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numba
import numpy as np
import PIL
import torch

from fdsl_gpu import __version__
from fdsl_gpu.files import replacing
from fdsl_gpu.version import PIXEL_CONTRACT

FORMATS: dict[str, dict[str, Any]] = {
    "uint8": {"dtype": torch.uint8},
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16},
}
"""Options of a dataset, by the name that a benchmark's ``--dtype`` has for them."""

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

_LOAD_BEFORE = os.getloadavg()
"""What else this machine had to do: later, the benchmark itself is the load."""


_STATUS = ("status", "--porcelain", "--untracked-files=no")


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with the option every benchmark has, ``--json``."""
    made = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", help="file to write the results to")
    return made


def save(arguments: argparse.Namespace, results: dict[str, Any], **more: Any) -> None:
    """Write metadata, settings (the arguments) and results to ``arguments.json``, if that was given."""
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name != "json"}
        write_json(arguments.json, {"metadata": metadata(), "settings": settings, "results": results, **more})


def synchronise(device: str | torch.device) -> None:
    """Wait until everything queued on a device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def device_error(device: str | torch.device) -> str | None:
    """The error that a device is in: it stays with this process, whose every later call fails. None: it works."""
    try:
        synchronise(device)
    except RuntimeError as error:
        return error_text(error)
    return None


def error_text(error: BaseException) -> str:
    """Kind and message, cut where that is long."""
    return f"{type(error).__name__}: {error}"[:1000]


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Draw on so many CPU threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def python_path() -> dict[str, str]:
    """The environment's variable with which another Python finds this checkout first, and then what this one finds."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def commit(folder: str | os.PathLike[str]) -> str | None:
    """The commit of a checkout; None for a folder that is none, also inside another one's."""
    return _output("git", f"--git-dir={folder}/.git", "rev-parse", "HEAD")


def metadata() -> dict[str, Any]:
    """Machine, load, commit and versions."""
    versions = {"fdsl_gpu": __version__, "pixel_contract": PIXEL_CONTRACT, "python": platform.python_version()}
    versions |= {"torch": torch.__version__, "numpy": np.__version__, "numba": numba.__version__}
    versions |= {"pillow": PIL.__version__, "triton": _version("triton")}
    versions |= {name: _version(name) for name in ("timm", "torchvision")}
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        # But for results, which a run of several benchmarks writes.
        "modified": bool(_output("git", "-C", str(ROOT), *_STATUS, "--", ".", ":!bench/results")),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in _LOAD_BEFORE],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "versions": versions,
    }


def side_by_side(contenders: dict[str, tuple[int, Callable[[], Any]]], rounds: int) -> dict[str, dict[str, float]]:
    """Images per second of contenders, measured in turns so that a drift of the machine meets all of them.

    Args:
        contenders: name -> (images a call, call). The call must have finished its work when it returns.
        rounds: timed calls of each, after one that is not counted.

    Returns:
        name -> median and quartiles of images per second, microseconds an image at the median, and rounds.
    """
    seconds = in_turns({name: call for name, (_, call) in contenders.items()}, rounds)
    return {name: summary([images / s for s in seconds[name]]) for name, (images, _) in contenders.items()}


def in_turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turns, after one of each that is not counted."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def until_returned_and_done(
    call: Callable[[], Any], device: str | torch.device, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds until a call returns, and until the device, idle before, is done with it; two more do not count."""
    returned, done = [], []
    for _ in range(rounds + 2):
        synchronise(device)
        start = time.perf_counter()
        call()
        returned.append(time.perf_counter() - start)
        synchronise(device)
        done.append(time.perf_counter() - start)
    return returned[2:], done[2:]


def summary(rates: list[float]) -> dict[str, float]:
    """Median and quartiles of images per second, and microseconds an image at the median."""
    low, median, high = quartiles(rates)
    return {
        "images_per_second": round(median, 1),
        "q1": round(low, 1),
        "q3": round(high, 1),
        "us_per_image": round(1e6 / median, 3),
        "rounds": len(rates),
    }


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median and upper quartile, between the least and the greatest value."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def digits(value: float) -> str:
    """A number with at least three digits, and no power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_json(path: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Write a report as strict JSON, whole or not at all; the folder is made if need be."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")


def print_table(results: dict[str, dict[str, float]], reference: str | None = None) -> None:
    """Print rates, and the ratio to ``reference``."""
    width = max(len(name) for name in results)
    for name, row in results.items():
        line = f"{name:{width}}  {row['images_per_second']:>10,.0f} img/s  [{row['q1']:,.0f}, {row['q3']:,.0f}]"
        if reference:
            line += f"  {row['images_per_second'] / results[reference]['images_per_second']:6.2f} x"
        print(line)


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
